"""A world made of manifests alone, without a cluster: what the API server would have filled in is filled in here.

Services get virtual addresses in the order of their names, so that the same manifests always give the same world. It must never
invent what only running programs can tell: endpoints are those that the manifests hold.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from fairlead.api import certificate, client_authority, credentials, trust_material
from fairlead.api.decode import CLUSTER_SCOPED, KINDS, ApiObject, decode, reference
from fairlead.api.node import Node
from fairlead.base.diagnostics import Diagnostic
from fairlead.sources.files import Manifest
from fairlead.world.events import KindReplaced, ObjectKey

_REDUCED: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "Secret": certificate.reduced,
    "ConfigMap": trust_material.reduced,
}
_FIRST_DYNAMIC = 256
"""Offset of the first address that is given to a service that asked for none (KEP-3070 leaves the lower ones to requests)."""


class Scenario(msgspec.Struct, frozen=True):
    """A world's objects as events, where each was written, and what is wrong with them."""

    events: tuple[KindReplaced, ...]
    sources: Mapping[str, str]
    """`Kind/namespace/name` → `file:line`."""
    diagnostics: tuple[Diagnostic, ...]


def scenario(manifests: Iterable[Manifest], *, nodes: Sequence[Node], service_cidrs: Sequence[str]) -> Scenario:
    """Return the world of `manifests`; `nodes` stand in where they hold no Node."""
    objects: dict[str, dict[ObjectKey, ApiObject | Diagnostic]] = {kind: {} for kind in KINDS}
    sources: dict[str, str] = {}
    diagnostics: list[Diagnostic] = []
    services: list[tuple[ObjectKey, dict[str, Any]]] = []
    for manifest in manifests:
        kind = manifest.object["kind"]
        if kind not in KINDS:
            continue
        metadata = manifest.object["metadata"]
        namespace = "" if kind in CLUSTER_SCOPED else str(metadata.get("namespace") or "default")
        key = (namespace, str(metadata["name"]))
        name = reference(kind, *key)
        if name in sources:
            message = f"written twice; the first is at {sources[name]}"
            diagnostics.append(Diagnostic(object=name, message=message, source=manifest.source))
            continue
        sources[name] = manifest.source
        obj = {**manifest.object, "metadata": {**metadata, "namespace": namespace}}
        if kind == "Service":
            services.append((key, obj))
        else:
            objects[kind][key] = decode(kind, _REDUCED[kind](obj) if kind in _REDUCED else obj)
            if kind == "Secret" and credentials.is_credentials(obj):
                objects["Credentials"][key] = decode("Credentials", credentials.reduced(obj))
            if kind == "Secret" and client_authority.is_authority(obj):
                objects[client_authority.KIND][key] = decode(client_authority.KIND, client_authority.reduced(obj))
    taken = {str(address) for _, obj in services for address in _addresses(obj)}
    pools = [_free(cidr, taken) for cidr in service_cidrs]
    for key, obj in sorted(services, key=lambda item: item[0]):
        objects["Service"][key] = decode("Service", _with_addresses(obj, service_cidrs, pools))
    if not objects["Node"]:
        objects["Node"] = {("", node.metadata.name): node for node in nodes}
    events = tuple(KindReplaced(kind, found) for kind, found in objects.items())
    return Scenario(events, sources, tuple(diagnostics))


def located(diagnostics: Iterable[Diagnostic], sources: Mapping[str, str]) -> list[Diagnostic]:
    """Return diagnostics with the place where their object was written, where that is known."""
    return [
        each if each.source else msgspec.structs.replace(each, source=sources.get(each.object, ""))
        for each in diagnostics
    ]


def _spec(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = obj.get("spec")
    return spec if isinstance(spec, Mapping) else {}


def _addresses(obj: Mapping[str, Any]) -> list[Any]:
    spec = _spec(obj)
    several = spec.get("clusterIPs")
    return several if isinstance(several, list) and several else [spec["clusterIP"]] if spec.get("clusterIP") else []


def _with_addresses(obj: dict[str, Any], cidrs: Sequence[str], pools: Sequence[Iterator[str]]) -> dict[str, Any]:
    """Return a service with the addresses that the API server would give it (Service.spec.ipFamilyPolicy)."""
    spec = _spec(obj)
    if spec.get("type") == "ExternalName" or _addresses(obj):
        return obj
    wanted = spec.get("ipFamilies")
    families = [str(each) for each in wanted] if isinstance(wanted, list) else []
    known = ["IPv6" if ":" in cidr else "IPv4" for cidr in cidrs]
    families = families or known[:1]
    if spec.get("ipFamilyPolicy") in ("PreferDualStack", "RequireDualStack"):
        families += [each for each in known if each not in families]
    addresses = [next(pools[known.index(each)]) for each in families if each in known]
    return {**obj, "spec": {**spec, "clusterIP": addresses[0], "clusterIPs": addresses}} if addresses else obj


def _free(cidr: str, taken: set[str]) -> Iterator[str]:
    network = ipaddress.ip_network(cidr)
    for offset in range(min(_FIRST_DYNAMIC, network.num_addresses // 2), network.num_addresses - 1):
        address = str(network[offset])
        if address not in taken:
            yield address

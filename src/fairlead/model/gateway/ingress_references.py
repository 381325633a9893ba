"""Objects that annotations of Ingresses name: which they are, and what an Ingress wishes once they are known. Pure.

What cannot be had is refused as an annotation that is not supported is: without it requests would be answered otherwise than their owner wants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from fairlead.api.gateway import ReferenceGrant
from fairlead.api.httproute import HeaderFilter, HeaderValue
from fairlead.api.ingress import Ingress
from fairlead.api.trust_material import TrustMaterial
from fairlead.model.gateway.annotations import nginx, values
from fairlead.model.gateway.annotations.wishes import Reference, Remark, Wishes
from fairlead.model.gateway.grants import Grants
from fairlead.world.events import ObjectKey

_GROUP = "networking.k8s.io"
_CONFIGMAPS = (f"{nginx.PREFIX}custom-headers",)


class Referred(msgspec.Struct, frozen=True):
    """What may be referred to, and across namespaces by whom."""

    configmaps: Mapping[ObjectKey, TrustMaterial] = {}
    grants: Mapping[ObjectKey, ReferenceGrant] = {}

    def is_same(self, other: Referred) -> bool:
        """Tell whether nothing of it is another object."""
        return self.configmaps is other.configmaps and self.grants is other.grants


NOTHING = Referred()


def configmaps(ingresses: Mapping[ObjectKey, Ingress]) -> Iterator[ObjectKey]:
    """Yield the ConfigMaps that Ingresses name. Costs a look at each of them."""
    for (namespace, _), ingress in ingresses.items():
        given = ingress.metadata.annotations or {}
        for annotation in _CONFIGMAPS:
            if annotation in given:
                try:
                    where, name = values.reference(given[annotation].strip())
                except ValueError:
                    continue
                yield where or namespace, name


def resolved(namespace: str, wishes: Wishes, referred: Referred) -> Wishes:
    """Return what an Ingress of a namespace wishes with what it refers to."""
    if wishes.response_from is None:
        return wishes
    try:
        found = _headers(namespace, wishes.response_from, referred)
    except ValueError as error:
        refusal = Remark(wishes.response_from.annotation, str(error))
        return msgspec.structs.replace(wishes, refusals=(*wishes.refusals, refusal))
    own = wishes.response or HeaderFilter()
    return msgspec.structs.replace(wishes, response=msgspec.structs.replace(own, set=(*(own.set or ()), *found)))


def _headers(namespace: str, ref: Reference, referred: Referred) -> tuple[HeaderValue, ...]:
    where = (ref.namespace or namespace, ref.name)
    name = "/".join(where)
    if not Grants(referred.grants).permit((_GROUP, "Ingress", namespace), "", "ConfigMap", *where):
        raise ValueError(f"no ReferenceGrant in namespace {where[0]} permits ConfigMap {name}")
    found = referred.configmaps.get(where)
    if found is None:
        raise ValueError(f"there is no ConfigMap {name}")
    if found.headers_problem:
        raise ValueError(f"ConfigMap {name}: {found.headers_problem}")
    return tuple(HeaderValue(name=each, value=value) for each, value in found.headers.items())

"""The statuses of Gateways and routes as the API wants them, without times: conditions, reasons and counts. Pure.

Source: GatewayConditionType, ListenerConditionType and RouteConditionType of the Gateway API v1. Programmed is true only when every node
concerned says that its proxy has acknowledged this generation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from fairlead.api.certificate import Certificate
from fairlead.api.gateway import GROUP, GatewayClass, ParentRef
from fairlead.api.trust_material import TrustMaterial
from fairlead.model.gateway import versions
from fairlead.model.gateway.attachment import MOST_ANCESTORS, PolicyState
from fairlead.model.gateway.doors import NodeState, port_key
from fairlead.model.gateway.listeners import BoundGateway, BoundListener, BoundSet, Verdict
from fairlead.model.gateway.names import CONTROLLER, set_name
from fairlead.model.gateway.parameters import Objects, class_verdict
from fairlead.model.gateway.routes import BoundRoute
from fairlead.model.gateway.trust import FALLBACK, Revocation
from fairlead.world.events import ObjectKey

Json = dict[str, Any]

FEATURES = (
    "BackendTLSPolicy",
    "BackendTLSPolicySANValidation",
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "GRPCRouteRequestHeaderModifier",
    "GRPCRouteSessionPersistence",
    "GRPCRouteSessionPersistenceHeader",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayBackendClientCertificate",
    "GatewayFrontendClientCertificateValidation",
    "GatewayFrontendClientCertificateValidationInsecureFallback",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructurePropagation",
    "GatewayPort8080",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendRequestRedirect",
    "HTTPRouteBackendTimeout",
    "HTTPRouteBackendURLRewrite",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteRetry",
    "HTTPRouteRetryBackendTimeout",
    "HTTPRouteRetryConnectionError",
    "HTTPRouteSchemeRedirect",
    "HTTPRouteSessionPersistence",
    "HTTPRouteSessionPersistenceCookieLifetimeTypePermanent",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
    "UDPRoute",
)
"""`status.supportedFeatures` of our GatewayClasses, by name."""


_DOMAIN = "fairlead.dev"
CERTIFICATES = f"{_DOMAIN}/CertificatesValid"
"""Type of a condition of listeners that is there only while it is False."""
REVOCATION = f"{_DOMAIN}/RevocationListsValid"
"""Type of a condition of listeners that is there only while it is False."""
HTTP3 = f"{_DOMAIN}/HTTP3"
"""Type of a condition of listeners that is there only where a ClientTrafficPolicy wants HTTP/3."""
_LONGEST = 1024
"""Of a message; the API's limit is 32,768."""
_AFFECTED = f"{_DOMAIN}/PolicyAffected"
_PARTIAL = f"{_DOMAIN}/Partial"
"""Type of a condition of policies that is there only while it is True."""


class Condition(msgspec.Struct, frozen=True):
    """One condition without its times."""

    type: str
    status: bool
    reason: str
    message: str = ""


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """What the cluster says of a Gateway's Service."""

    addresses: tuple[str, ...] = ()
    nodes: Mapping[str, NodeState | None] = {}
    """Every node concerned, and what it reports."""
    lacking: str = ""
    """Which addresses it cannot have, and why."""
    problem: str = ""
    """Why there is no such Service."""


def route_parents(
    route: BoundRoute,
    affected: Callable[[BoundRoute, ParentRef], tuple[str, str]] = lambda _route, _parent: ("", ""),
) -> list[tuple[Json, list[Condition]]]:
    """Return (parentRef, conditions) of each parent of ours, in the order of the spec.

    `affected` says which policies decide about the route's requests there, and why some are refused.
    """
    return [
        (
            _parent(each.parent),
            [
                _condition("Accepted", each.accepted, "Accepted", "; ".join(each.notes)[:_LONGEST]),
                _condition("ResolvedRefs", each.resolved, "ResolvedRefs"),
                *_affected(*affected(route, each.parent)),
            ],
        )
        for each in route.parents
    ]


def _affected(says: str, problem: str) -> list[Condition]:
    """Return the condition of a route that policies decide about (GEP-713)."""
    if problem:
        return [Condition(_AFFECTED, True, "PolicyInvalid", problem[:_LONGEST])]
    return [Condition(_AFFECTED, True, "PolicyAffected", says[:_LONGEST])] if says else []


def policy_ancestors(state: PolicyState) -> list[tuple[Json, list[Condition]]]:
    """Return (ancestorRef, conditions) of each ancestor of a policy."""
    return [
        (
            _parent(each.ancestor),
            [
                _condition("Accepted", each.accepted, "Accepted"),
                *([_condition("ResolvedRefs", each.resolved, "ResolvedRefs")] if each.resolved is not None else []),
                *([Condition(_PARTIAL, True, "NotForRequests", each.partial[:_LONGEST])] if each.partial else []),
            ],
        )
        for each in state.verdicts
    ]


def class_conditions(of_class: GatewayClass, parameters: Objects, definitions: Mapping[str, str]) -> list[Condition]:
    """Return the conditions of a GatewayClass of ours; `definitions`: the API's versions by name, as `versions` wants them."""
    return [
        _condition("Accepted", class_verdict(of_class, parameters), "Accepted"),
        _condition("SupportedVersion", versions.verdict(definitions), "SupportedVersion"),
    ]


def gateway_conditions(gateway: BoundGateway, serving: Serving) -> list[Condition]:
    """Return the conditions of a Gateway as a whole."""
    resolved = gateway.client_resolved
    references = [] if resolved is None else [_condition("ResolvedRefs", resolved, "ResolvedRefs")]
    return [*_gateway_conditions(gateway, serving), *references, *_insecure(gateway)]


def _insecure(gateway: BoundGateway) -> Iterator[Condition]:
    if any(each.mode == FALLBACK for each in gateway.api.spec.validations):
        problem = "tls.frontend: clients without a certificate that is believed are let in; use mode AllowValidOnly"
        yield Condition("InsecureFrontendValidationMode", True, "ConfigurationChanged", problem)


def _gateway_conditions(gateway: BoundGateway, serving: Serving) -> list[Condition]:
    if refused := gateway.refused.problem:
        accepted = Condition("Accepted", False, gateway.refused.reason, refused)
        return [accepted, Condition("Programmed", False, "Invalid", refused)]
    unsupported = unsupported_address(gateway)
    if unsupported:
        accepted = Condition("Accepted", False, "UnsupportedAddress", unsupported)
        return [accepted, Condition("Programmed", False, "Invalid", unsupported)]
    bad = [each for each in gateway.own if not each.usable]
    words = _words(bad)
    accepted = Condition("Accepted", True, "ListenersNotValid" if bad else "Accepted", words)
    if not any(each.usable for each in gateway.listeners):
        accepted = Condition("Accepted", False, "ListenersNotValid", words or "there are no listeners")
        return [accepted, Condition("Programmed", False, "Invalid", accepted.message)]
    if unplaced := gateway.unplaced.problem:
        return [accepted, Condition("Programmed", False, gateway.unplaced.reason, unplaced)]
    if serving.problem:
        return [accepted, Condition("Programmed", False, "Invalid", serving.problem)]
    if unusable := _unusable_address(gateway, serving):
        return [accepted, Condition("Programmed", False, "AddressNotUsable", unusable)]
    if not serving.addresses:
        problem = serving.lacking or "no address has been assigned to the Gateway's Service yet"
        return [accepted, Condition("Programmed", False, "AddressNotAssigned", problem)]
    waiting = _waiting(gateway, serving, [each for each in gateway.own if each.usable])
    if waiting:
        return [accepted, Condition("Programmed", False, "Pending", waiting)]
    return [accepted, Condition("Programmed", True, "Programmed")]


def unsupported_address(gateway: BoundGateway) -> str:
    """Return what is wrong with the kinds of addresses that a Gateway asks for; empty when nothing is."""
    for at, each in enumerate(gateway.api.spec.addresses or ()):
        if each.type != "IPAddress":
            return f"spec.addresses[{at}].type: {each.type[:64]} is not supported; use IPAddress"
    return ""


def _unusable_address(gateway: BoundGateway, serving: Serving) -> str:
    """Return which addresses that a Gateway asks for it cannot have; empty when nothing is known to be wrong."""
    missing = [each for each in gateway.api.spec.static_addresses if each not in serving.addresses]
    if not missing:
        return ""
    if serving.lacking:
        return serving.lacking
    # Without any address the load balancer may not have looked yet.
    return f"the load balancer has not given {', '.join(missing)}" if serving.addresses else ""


def set_conditions(found: BoundSet, gateway: BoundGateway, serving: Serving) -> list[Condition]:
    """Return the conditions of a ListenerSet as a whole. Source: ListenerSetConditionType, GEP-1713."""
    refused = found.allowed
    if not refused.problem and not found.attached:
        refused = Verdict("ListenersNotValid", _words(found.listeners))
    if refused.problem:
        return [Condition(kind, False, refused.reason, refused.problem) for kind in ("Accepted", "Programmed")]
    bad = [each for each in found.listeners if not each.usable]
    accepted = Condition("Accepted", True, "ListenersNotValid" if bad else "Accepted", _words(bad))
    if unsupported_address(gateway):
        problem = "the Gateway is not accepted"
        return [Condition(kind, False, "ParentNotAccepted", problem) for kind in ("Accepted", "Programmed")]
    if serving.problem or not serving.addresses or gateway.unplaced.problem:
        problem = "the Gateway is not reachable yet"
        return [accepted, Condition("Programmed", False, "ParentNotProgrammed", problem)]
    waiting = _waiting(gateway, serving, [each for each in found.listeners if each.usable])
    if waiting:
        return [accepted, Condition("Programmed", False, "Pending", waiting)]
    return [accepted, Condition("Programmed", True, "Programmed")]


def listener_status(listener: BoundListener, attached: int) -> Json:
    """Return a listener's status but for its conditions."""
    return {
        "name": listener.api.name,
        "supportedKinds": [{"group": GROUP, "kind": each} for each in listener.kinds],
        "attachedRoutes": attached,
    }


def listener_conditions(listener: BoundListener, gateway: BoundGateway, serving: Serving) -> list[Condition]:
    """Return a listener's conditions."""
    conflict = listener.conflicted
    found = [
        _condition("Accepted", conflict if conflict.problem else listener.accepted, "Accepted"),
        Condition("Conflicted", bool(conflict.problem), conflict.reason or "NoConflicts", conflict.problem),
        _condition("ResolvedRefs", listener.resolved, "ResolvedRefs"),
    ]
    if not listener.usable:
        programmed = Condition("Programmed", False, conflict.reason or "Invalid", listener.problem)
    elif waiting := (gateway.unplaced.problem or serving.problem or _waiting(gateway, serving, [listener])):
        programmed = Condition("Programmed", False, "Pending", waiting)
    else:
        programmed = Condition("Programmed", True, "Programmed")
    overlap = "another listener of the port takes some of the same server names"
    overlaps = (
        [Condition("OverlappingTLSConfig", True, "OverlappingHostnames", overlap)] if listener.overlapping else []
    )
    return [*found, programmed, *overlaps]


def http3_conditions(
    listener: BoundListener, gateway: BoundGateway, serving: Serving, wish: Verdict | None
) -> list[Condition]:
    """Return whether every node serves a listener over HTTP/3 too; nothing where `wish` says that nobody wants that."""
    if wish is None:
        return []
    if wish.problem:
        return [_condition(HTTP3, wish, "")]
    waiting = serving.problem or _waiting(gateway, serving, [listener], transport="UDP")
    return [Condition(HTTP3, False, "Pending", waiting) if waiting else Condition(HTTP3, True, "Programmed")]


def certificate_conditions(
    listener: BoundListener, certificates: Mapping[ObjectKey, Certificate], now: str
) -> list[Condition]:
    """Return what is wrong with the times of a listener's certificates; they are served all the same, as clients decide.

    `now` is ISO 8601 in UTC, as the times of certificates are.
    """
    for key in listener.certificates:
        each = certificates[key]
        name = "/".join(key)
        if each.expires and each.expires <= now:
            return [
                Condition(CERTIFICATES, False, "Expired", f"the certificate of Secret {name} expired at {each.expires}")
            ]
        if each.starts > now:
            return [
                Condition(
                    CERTIFICATES, False, "NotYetValid", f"the certificate of Secret {name} is valid from {each.starts}"
                )
            ]
    return []


def revocation_conditions(
    listener: BoundListener, revocation: Revocation, known: Mapping[ObjectKey, TrustMaterial], now: str
) -> list[Condition]:
    """Return why some or all clients are refused whose certificates were good but for the lists of revoked ones."""

    def told(reason: str, words: str) -> list[Condition]:
        return [Condition(REVOCATION, False, reason, words[:_LONGEST])]

    if revocation == Revocation() or not listener.terminates:
        return []
    if listener.clients is None or listener.clients.optional:
        return told("NotUsed", "clients are let in without a certificate: what is revoked makes no difference")
    if revocation.problem:
        return told("RefNotResolved", f"no client is let in: {revocation.problem}")
    lists = [(key, found) for key in revocation.lists if (found := known[key].revoked) is not None]
    for key, each in lists:
        if each.until and each.until <= now:
            words = f"ConfigMap {'/'.join(key)} holds a list that is out of date since {each.until}"
            return told("Expired", f"no client of its authority is let in: {words}")
    issuers = {issuer for _, each in lists for issuer in each.issuers}
    trusted = (authority for key in listener.clients.trust.bundles for authority in known[key].authorities)
    if without := sorted(set(trusted) - issuers):
        return told("NoList", f"no client of {without[0]} is let in: there is no list of that authority")
    return []


def certificate_times(listener: BoundListener, certificates: Mapping[ObjectKey, Certificate]) -> Iterator[str]:
    """Yield when something of `certificate_conditions` changes, or has."""
    for key in listener.certificates:
        yield from (each for each in (certificates[key].starts, certificates[key].expires) if each)


def revocation_times(revocation: Revocation, known: Mapping[ObjectKey, TrustMaterial]) -> Iterator[str]:
    """Yield when something of `revocation_conditions` changes, or has."""
    for key in revocation.lists:
        if (found := known[key].revoked) is not None and found.until:
            yield found.until


def with_times(conditions: Iterable[Condition], former: Iterable[Json] | None, generation: int, now: str) -> list[Json]:
    """Return conditions for the wire, and behind them those that others wrote; a time moves only when the status of its condition does."""
    known = {each["type"]: each for each in former or ()}
    found = []
    for each in conditions:
        status = "True" if each.status else "False"
        before = known.get(each.type, {})
        same = before.get("status") == status
        found.append(
            {
                "type": each.type,
                "status": status,
                "reason": each.reason,
                "message": each.message,
                "observedGeneration": generation,
                "lastTransitionTime": before["lastTransitionTime"] if same else now,
            }
        )
    return [*found, *(each for each in known.values() if _is_of_others(each["type"]))]


def _is_of_others(kind: str) -> bool:
    """Tell whether a condition has a type of somebody's own: others add theirs to Gateways and routes, and who removes them fights them."""
    domain, slash, _ = kind.partition("/")
    return bool(slash) and domain != _DOMAIN


def merged_parents(
    present: Iterable[Json] | None, wanted: list[tuple[Json, list[Condition]]], generation: int, now: str
) -> list[Json]:
    """Return `status.parents` with ours replaced; what other controllers wrote stays."""
    return _merged("parentRef", present, wanted, generation, now)


def merged_ancestors(
    present: Iterable[Json] | None, wanted: list[tuple[Json, list[Condition]]], generation: int, now: str
) -> list[Json]:
    """Return `status.ancestors` with ours replaced, as far as there is room; what other controllers wrote stays."""
    return _merged("ancestorRef", present, wanted, generation, now)[:MOST_ANCESTORS]


def _merged(
    field: str, present: Iterable[Json] | None, wanted: list[tuple[Json, list[Condition]]], generation: int, now: str
) -> list[Json]:
    others = [each for each in present or () if each.get("controllerName") != CONTROLLER]
    former = {
        json.dumps(each[field], sort_keys=True): each.get("conditions")
        for each in present or ()
        if each.get("controllerName") == CONTROLLER
    }
    ours = [
        {
            field: ref,
            "controllerName": CONTROLLER,
            "conditions": with_times(conditions, former.get(json.dumps(ref, sort_keys=True)), generation, now),
        }
        for ref, conditions in wanted
    ]
    return [*others, *ours]


def _parent(ref: Any) -> Json:
    found = {"group": ref.group, "kind": ref.kind, "name": ref.name}
    optional = {"namespace": ref.namespace, "sectionName": ref.section_name, "port": ref.port}
    return found | {name: value for name, value in optional.items() if value is not None}


def _condition(kind: str, verdict: Verdict, good: str, note: str = "") -> Condition:
    reason = verdict.reason if verdict.problem else good
    return Condition(kind, not verdict.problem, reason, verdict.problem or note)


def _words(listeners: Iterable[BoundListener]) -> str:
    words = "; ".join(f"listener {each.api.name}: {each.problem}" for each in listeners if each.problem)
    return words if len(words) <= _LONGEST else words[: _LONGEST - 2] + " …"


def _waiting(
    gateway: BoundGateway, serving: Serving, listeners: Sequence[BoundListener], *, transport: str | None = None
) -> str:
    """Return why not every node serves the ports of some listeners, of their own transport or another one; empty when all do."""
    ports = {port_key(each.api.port, transport or each.transport) for each in listeners}
    sets = {each.key: each for each in gateway.sets}
    told = {
        set_name(sets[each.listener_set].api): sets[each.listener_set].api.metadata.generation
        for each in listeners
        if each.listener_set is not None
    }
    late = []
    for node, state in sorted(serving.nodes.items()):
        if (
            state is None
            or state.generation < gateway.api.metadata.generation
            or any(state.sets.get(name, -1) < generation for name, generation in told.items())
        ):
            late.append(node)
            continue
        for each in sorted(ports):
            if words := state.errors.get(each):
                return f"node {node}, port {each}: {words}"
        if not ports <= set(state.ports):
            late.append(node)
    if not serving.nodes:
        return "no node serves yet"
    return f"waiting for {len(late)} of {len(serving.nodes)} nodes: {', '.join(late[:4])}" if late else ""

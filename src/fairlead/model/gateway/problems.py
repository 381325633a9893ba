"""What is wrong with Gateways, routes and policies, in words for their owners. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from fairlead.api.decode import reference
from fairlead.base.diagnostics import Diagnostic
from fairlead.model.gateway import ingress_clients
from fairlead.model.gateway.index import RouteIndex
from fairlead.model.gateway.ingress import IngressReader
from fairlead.model.gateway.listeners import BoundGateway, BoundListener
from fairlead.model.gateway.names import PART
from fairlead.model.gateway.policies import Policies
from fairlead.model.gateway.routes import origin_of
from fairlead.world.events import ObjectKey


def of_gateways(gateways: Mapping[ObjectKey, BoundGateway]) -> Iterator[Diagnostic]:
    """Yield what is wrong with Gateways and their ListenerSets."""
    for key, gateway in gateways.items():
        name = reference("Gateway", *key)
        yield from _of_listeners(name, gateway.own)
        if gateway.unplaced.problem:
            yield Diagnostic(object=name, field="spec.infrastructure.parametersRef", message=gateway.unplaced.problem)
        for each in gateway.sets:
            whose = reference("ListenerSet", *each.key)
            if each.allowed.problem:
                yield Diagnostic(object=whose, field="spec.parentRef", message=each.allowed.problem)
            yield from _of_listeners(whose, each.listeners)
        if gateway.client_resolved is not None and gateway.client_resolved.problem:
            yield Diagnostic(object=name, field="spec.tls.backend", message=gateway.client_resolved.problem)


def of_routes(routes: RouteIndex) -> Iterator[Diagnostic]:
    """Yield what parents say that is wrong with routes, each thing once."""
    for key in routes.troubled:
        parents = routes.bound[key].parents
        found = {verdict.problem for parent in parents for verdict in (parent.accepted, parent.resolved)}
        yield from (Diagnostic(object=origin_of(key), message=each) for each in sorted(found) if each)


def of_ingresses(routes: RouteIndex) -> Iterator[Diagnostic]:
    """Yield why Ingresses are not accepted."""
    for key in routes.troubled:
        if key[0] == "Ingress":
            found = {each.accepted.problem for each in routes.bound[key].parents if each.accepted.problem}
            yield from (Diagnostic(object=origin_of(key), message=each) for each in sorted(found))


def of_ingress_certificates(
    ingresses: IngressReader, gateways: Mapping[ObjectKey, BoundGateway], wrong: Callable[[BoundListener], str]
) -> Iterator[Diagnostic]:
    """Yield what is wrong with the certificates of Ingresses, by what is `wrong` with the listeners that they mean."""
    for at in ingresses.gateways:
        found: dict[ObjectKey, str] = {}
        for listener in gateways[at].own:
            if listener.api.tls is not None and (message := wrong(listener)):
                for ref in listener.api.tls.certificate_refs or ():
                    found[ref.namespace or at[0], ref.name] = message
        for key in ingresses.members.get(at, ()) if found else ():
            for number, tls in enumerate(ingresses.ingress(key).spec.tls or ()):
                if message := found.get((key[0], tls.secret_name or ""), ""):
                    field = f"spec.tls[{number}].secretName"
                    yield Diagnostic(object=reference("Ingress", *key), field=field, message=message)


def of_ingress_clients(ingresses: IngressReader, gateways: Mapping[ObjectKey, BoundGateway]) -> Iterator[Diagnostic]:
    """Yield why hosts of Ingresses cannot know their clients."""
    for at, guards in ingresses.guards.items():
        yield from ingress_clients.diagnostics(gateways[at], guards)


def unresolved(listener: BoundListener) -> str:
    """Return why a listener's certificate cannot be used, empty when it can."""
    return listener.resolved.problem.removeprefix("tls.certificateRefs[0]: ")


def of_policies(policies: Policies) -> Iterator[Diagnostic]:
    """Yield what is wrong with policies; with those that Ingresses mean it is the Ingress's."""
    for state in policies.troubled():
        for each in state.problems:
            _, namespace, name = each.object.split("/", 2)
            if PART in name:
                ingress = reference("Ingress", namespace, name.partition(PART)[0])
                yield msgspec.structs.replace(each, object=ingress, field="metadata.annotations")
            else:
                yield each


def _of_listeners(name: str, listeners: Iterable[BoundListener]) -> Iterator[Diagnostic]:
    for at, listener in enumerate(listeners):
        for verdict in (listener.accepted, listener.conflicted, listener.resolved):
            if verdict.problem:
                yield Diagnostic(object=name, field=f"spec.listeners[{at}]", message=verdict.problem)

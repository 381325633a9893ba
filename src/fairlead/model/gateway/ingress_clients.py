"""Hosts of Ingresses whose clients show certificates: who must have issued them, and what becomes of a host where that is not known. Pure.

Of several Ingresses that say something of one host the oldest decides. A host that cannot know its clients lets nobody in; other hosts of the port
are not concerned, and their clients are not asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from fairlead.api.credentials import LABEL
from fairlead.api.decode import reference
from fairlead.api.gateway import ReferenceGrant
from fairlead.api.ingress import Ingress
from fairlead.api.trust_material import TrustMaterial
from fairlead.base.diagnostics import Diagnostic
from fairlead.model.gateway.annotations.wishes import ClientCertificates, Wishes
from fairlead.model.gateway.grants import Grants
from fairlead.model.gateway.ingress_routes import Around, hosts_of
from fairlead.model.gateway.listeners import BoundGateway, BoundListener, Clients
from fairlead.model.gateway.trust import Revocation, Trust
from fairlead.plan.gateway.trust import Bundle, GatewayTrust
from fairlead.world.events import ObjectKey

_INGRESS = "networking.k8s.io", "Ingress"


class Guard(msgspec.Struct, frozen=True):
    """What an Ingress wants of the clients of a host."""

    owner: ObjectKey
    wish: ClientCertificates


Guards = Mapping[str, Guard]
"""Host, empty for all → what is wanted of its clients."""


class SecretTrust(Trust, frozen=True, kw_only=True):
    """CA certificates of a Secret."""

    secret: ObjectKey
    material: TrustMaterial | None = None

    @property
    def name(self) -> str:
        """Return the name of its row."""
        return f"secret-ca/{'/'.join(self.secret)}"

    def row(self, known: Mapping[ObjectKey, TrustMaterial]) -> GatewayTrust:
        """Return its row. It must have material."""
        if self.material is None:
            raise TypeError(f"no CA certificates: {self.name}")
        revoked = self.material.revoked
        return GatewayTrust(
            name=self.name,
            bundle=Bundle(self.material.pem),
            revoked=Bundle(revoked.pem) if revoked is not None else None,
        )


def authorities(guards: Iterable[Guard]) -> set[ObjectKey]:
    """Return the Secrets whose CA certificates are wanted."""
    return {(each.wish.authorities.namespace or each.owner[0], each.wish.authorities.name) for each in guards}


def guarded(
    gateway: BoundGateway,
    guards: Guards,
    authorities: Mapping[ObjectKey, TrustMaterial],
    grants: Mapping[ObjectKey, ReferenceGrant],
) -> BoundGateway:
    """Return a Gateway that Ingresses mean whose listeners know their clients."""

    def known(listener: BoundListener) -> BoundListener:
        guard = guards.get(listener.hostname) if listener.protocol == "HTTPS" else None
        if guard is None:
            return listener
        return msgspec.structs.replace(listener, clients=_clients(guard, authorities, grants))

    return msgspec.structs.replace(gateway, own=tuple(known(each) for each in gateway.own))


def _clients(
    guard: Guard, authorities: Mapping[ObjectKey, TrustMaterial], grants: Mapping[ObjectKey, ReferenceGrant]
) -> Clients:
    wish, namespace = guard.wish, guard.owner[0]
    where = (wish.authorities.namespace or namespace, wish.authorities.name)
    name, found = "/".join(where), authorities.get(where)
    problem = ""
    if not Grants(grants).permit((*_INGRESS, namespace), "", "Secret", *where):
        problem = f"no ReferenceGrant in namespace {where[0]} permits Secret {name}"
    elif found is None:
        problem = f"there is no Secret {name} with the label {LABEL} and data[ca.crt]"
    elif found.problem:
        problem = f"Secret {name}: {found.problem}"
    if problem:
        return Clients(trust=SecretTrust(secret=where, problem=problem, revocation=Revocation(problem=problem)))
    return Clients(
        trust=SecretTrust(secret=where, material=found),
        optional=wish.mode != "required",
        untrusted=wish.mode == "any",
        depth=wish.depth,
    )


def diagnostics(gateway: BoundGateway, guards: Guards) -> Iterator[Diagnostic]:
    """Yield why clients of hosts cannot be known."""
    if not guards:
        return
    listeners = {each.hostname: each for each in gateway.own if each.protocol == "HTTPS"}
    for host, guard in guards.items():
        listener = listeners.get(host)
        shown = host or "all hosts"
        if listener is None:
            message = f"{shown}: without a certificate of its own nobody can show one"
        elif listener.clients is not None and listener.clients.trust.problem:
            message = f"{listener.clients.trust.problem}: {shown} lets nobody in"
        else:
            continue
        field = f"metadata.annotations[{guard.wish.authorities.annotation}]"
        yield Diagnostic(object=reference("Ingress", *guard.owner), field=field, message=message)


def remarks(key: ObjectKey, ingress: Ingress, wishes: Wishes, around: Around) -> Iterator[Diagnostic]:
    """Yield where an older Ingress wants something else of a host's clients."""
    if wishes.clients is None:
        return
    for host in hosts_of(ingress):
        wanted = around.clients.get(host)
        if wanted != wishes.clients:
            why = "wants other certificates of clients" if wanted else "of another namespace has it and wants none"
            message = f"{host or 'all hosts'}: an older Ingress {why}; requests are answered with 500"
            field = f"metadata.annotations[{wishes.clients.authorities.annotation}]"
            yield Diagnostic(
                object=reference("Ingress", *key), field=field, message=message, fix="say the same on both Ingresses"
            )

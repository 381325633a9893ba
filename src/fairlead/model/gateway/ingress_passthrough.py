"""Hosts of Ingresses whose TLS is their backend's: what is handed on by server name, and to whom. Pure.

As in the controllers that have it, the path `/` of a host alone says which backend that is: of a connection nothing but the server name is read.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from fairlead.api.decode import reference
from fairlead.api.gateway import ParentRef
from fairlead.api.ingress import Ingress, IngressBackend
from fairlead.api.l4route import ForwardRule, TLSRoute, TLSRouteSpec
from fairlead.base.diagnostics import Diagnostic
from fairlead.model.gateway.annotations.wishes import Wishes
from fairlead.model.gateway.ingress_routes import HTTPS, Around, backend_refs, hosts_of, places
from fairlead.model.gateway.names import PART
from fairlead.world.events import ObjectKey

_FIELD = "metadata.annotations"


def tls_routes(
    key: ObjectKey, ingress: Ingress, wishes: Wishes, around: Around
) -> Iterator[tuple[ObjectKey, TLSRoute]]:
    """Yield the routes of connections of an Ingress: (namespace, `NAME~HOST~tls`). One without a backend closes them."""
    if wishes.refusals or wishes.clients is not None:
        return
    as_it_is = msgspec.structs.replace(wishes, protocol="tcp", encrypted=False)
    for host, owner in around.passed.items():
        if owner == key:
            root = _root(key, ingress, host)
            rule = ForwardRule(backend_refs=backend_refs(root, as_it_is, 1) if root is not None else ())
            parent = ParentRef(namespace=around.gateway[0], name=around.gateway[1], port=HTTPS)
            spec = TLSRouteSpec(parent_refs=(parent,), hostnames=(host,), rules=(rule,))
            yield (key[0], f"{key[1]}{PART}{host}{PART}tls"), TLSRoute(metadata=ingress.metadata, spec=spec)


def remarks(key: ObjectKey, ingress: Ingress, wishes: Wishes, around: Around) -> Iterator[Diagnostic]:
    """Yield what is lost of an Ingress, as the TLS of its hosts is handed on, or is not."""
    name = reference("Ingress", *key)
    for host in hosts_of(ingress):
        owner = around.passed.get(host)
        if not wishes.passthrough:
            if owner is not None:
                message = (
                    f"{host}: Ingress {'/'.join(owner)} is older and has the host's TLS passed through to its backend"
                )
                yield Diagnostic(object=name, field="spec.rules", message=message)
        elif not host:
            message = "connections are told apart by their host: nothing is passed through without one"
            yield Diagnostic(object=name, field=_FIELD, message=message, fix="name a host in each rule")
        elif owner != key:
            message = f"{host}: an older Ingress has the host's TLS: nothing is passed through"
            yield Diagnostic(object=name, field=_FIELD, message=message, fix="give the host to one Ingress")
        elif wishes.clients is not None:
            message = f"{host}: TLS that is passed through shows nobody here a certificate: its connections are closed"
            yield Diagnostic(object=name, field=_FIELD, message=message, fix="take one of both annotations away")
        elif _root(key, ingress, host) is None:
            message = f"{host}: no path / says to which backend TLS is passed through: its connections are closed"
            yield Diagnostic(object=name, field=_FIELD, message=message, fix="add a path / for the host")


def _root(key: ObjectKey, ingress: Ingress, host: str) -> IngressBackend | None:
    found = (path.backend for (_, of, _, where), path in places(key, ingress) if (of, where) == (host, "/"))
    return next(found, None)

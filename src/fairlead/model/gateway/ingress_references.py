"""Objects that annotations of Ingresses name: which they are, and what an Ingress wishes once they are known. Pure.

What cannot be had is refused as an annotation that is not supported is: without it requests would be answered otherwise than their owner wants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from fairlead.api.gateway import ReferenceGrant
from fairlead.api.httproute import HeaderFilter, HeaderValue
from fairlead.api.ingress import Ingress
from fairlead.api.middleware import Middleware
from fairlead.api.securitypolicy import OwnHeader
from fairlead.api.trust_material import TrustMaterial
from fairlead.model.gateway.annotations import nginx, values
from fairlead.model.gateway.annotations.wishes import Reference, Remark, Wishes
from fairlead.model.gateway.asking import own_headers
from fairlead.model.gateway.grants import Grants
from fairlead.world.events import ObjectKey

_GROUP = "networking.k8s.io"
_CONFIGMAPS = (f"{nginx.PREFIX}custom-headers", f"{nginx.PREFIX}auth-proxy-set-headers")


class Referred(msgspec.Struct, frozen=True):
    """What may be referred to, and across namespaces by whom."""

    configmaps: Mapping[ObjectKey, TrustMaterial] = {}
    grants: Mapping[ObjectKey, ReferenceGrant] = {}
    middlewares: Mapping[ObjectKey, Middleware] = {}
    """Of Traefik: which of them concern whom is kept for each."""

    def is_same(self, other: Referred) -> bool:
        """Tell whether neither ConfigMaps nor grants are other objects."""
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


def refers(wishes: Wishes) -> bool:
    """Tell whether an Ingress wishes something that another object says."""
    return wishes.response_from is not None or wishes.asked_from is not None


def resolved(namespace: str, wishes: Wishes, referred: Referred) -> Wishes:
    """Return what an Ingress of a namespace wishes with what it refers to."""
    for ref, told in ((wishes.response_from, _answered), (wishes.asked_from, _asked)):
        if ref is None:
            continue
        try:
            wishes = told(wishes, _headers(namespace, ref, referred))
        except ValueError as error:
            refusal = Remark(ref.annotation, str(error))
            wishes = msgspec.structs.replace(wishes, refusals=(*wishes.refusals, refusal))
    return wishes


def _answered(wishes: Wishes, headers: tuple[HeaderValue, ...]) -> Wishes:
    own = wishes.response or HeaderFilter()
    return msgspec.structs.replace(wishes, response=msgspec.structs.replace(own, set=(*(own.set or ()), *headers)))


def _asked(wishes: Wishes, headers: tuple[HeaderValue, ...]) -> Wishes:
    security = wishes.security
    if security is None or security.ext_auth is None or security.ext_auth.http is None:
        return wishes
    if found := [each.name for each in headers if "$" in each.value]:
        raise ValueError(f"data[{found[0]}] must have no variables ($)")
    own = tuple(OwnHeader(name=each.name, value=each.value) for each in headers)
    own_headers(own, "data")
    http = msgspec.structs.replace(security.ext_auth.http, headers=own)
    auth = msgspec.structs.replace(security.ext_auth, http=http)
    return msgspec.structs.replace(wishes, security=msgspec.structs.replace(security, ext_auth=auth))


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

"""Who may ask, as Envoy's role-based access control. Pure. Source: envoy.config.rbac.v3.

Rules that decide in their order become one list of what is allowed: a rule that allows holds for whom no earlier rule denies.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from envoy.config.core.v3 import address_pb2
from envoy.config.rbac.v3 import rbac_pb2 as rules_pb2
from envoy.config.route.v3 import route_components_pb2 as route_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2
from envoy.type.matcher.v3 import metadata_pb2, string_pb2, value_pb2
from google.api.expr.v1alpha1 import syntax_pb2

from fairlead.drivers.xds.pack import number
from fairlead.plan.gateway.policy import Access, Addresses, Claim, Header, Who

_JWT_METADATA = "envoy.filters.http.jwt_authn"


def addresses(found: Addresses) -> Any:
    """Return the filter that lets some addresses in."""
    parts = [_any_of(_range(each) for each in found.allow)] if found.allow is not None else []
    parts += [_not(_range(each)) for each in found.deny]
    return _allow([_all_of(parts)])


def subjects(pattern: str) -> Any:
    """Return the filter that lets clients in by a pattern that a part of their certificate's subject matches. Source: Envoy's CEL attributes."""
    text = syntax_pb2.Expr(const_expr=syntax_pb2.Constant(string_value=pattern))
    connection = syntax_pb2.Expr(ident_expr=syntax_pb2.Expr.Ident(name="connection"))
    subject = syntax_pb2.Expr(select_expr=syntax_pb2.Expr.Select(operand=connection, field="subject_peer_certificate"))
    found = _allow([_all_of([])])
    call = syntax_pb2.Expr.Call(function="matches", target=subject, args=[text])
    found.rules.policies["allowed"].condition.CopyFrom(syntax_pb2.Expr(call_expr=call))
    return found


def tokens(found: Iterable[Who]) -> Any:
    """Return the filter that wants one of these of the token that was verified."""
    return _allow([_who(each) for each in found])


def access(found: Access) -> Any:
    """Return the filter of rules in their order."""
    allowed: list[Any] = []
    denied: list[Any] = []
    for rule in found.rules:
        who = _who(rule.who)
        if rule.allow:
            allowed.append(_all_of([who, *denied]))
        else:
            denied.append(_not(who))
    if found.default:
        allowed.append(_all_of(denied))
    return _allow(allowed)


def _allow(principals: list[Any]) -> Any:
    """Return what lets one of these in, nobody when there is none."""
    permission = rules_pb2.Permission()
    permission.any = True
    rules = rules_pb2.RBAC(action=rules_pb2.RBAC.Action.ALLOW)
    if principals:
        rules.policies["allowed"].CopyFrom(rules_pb2.Policy(permissions=[permission], principals=principals))
    return rbac_pb2.RBAC(rules=rules)


def _who(who: Who) -> Any:
    parts = [_any_of(_range(each) for each in who.addresses)] if who.addresses else []
    parts += [_claim(each) for each in who.claims]
    parts += [_header(each) for each in who.headers]
    parts += [_not(_claim(each)) for each in who.absent]
    return _all_of(parts)


def _range(prefix: str) -> Any:
    network = ipaddress.ip_network(prefix)
    cidr = address_pb2.CidrRange(address_prefix=str(network.network_address), prefix_len=number(network.prefixlen))
    # The address behind trusted proxies where there are some, else that of the connection.
    return rules_pb2.Principal(remote_ip=cidr)


def _claim(claim: Claim) -> Any:
    value = value_pb2.ValueMatcher()
    if claim.values:
        one = [value_pb2.ValueMatcher(string_match=string_pb2.StringMatcher(exact=each)) for each in claim.values]
        held = [value_pb2.ValueMatcher(list_match=value_pb2.ListMatcher(one_of=each)) for each in one]
        value.or_match.CopyFrom(value_pb2.OrMatcher(value_matchers=[*one, *held]))
    else:
        value.present_match = True
    segments = [metadata_pb2.MetadataMatcher.PathSegment(key=each) for each in (claim.provider, *claim.path)]
    matcher = metadata_pb2.MetadataMatcher(filter=_JWT_METADATA, path=segments, value=value)
    return rules_pb2.Principal(sourced_metadata=rules_pb2.SourcedMetadata(metadata_matcher=matcher))


def _header(header: Header) -> Any:
    return _any_of(
        rules_pb2.Principal(
            header=route_pb2.HeaderMatcher(name=header.name, string_match=string_pb2.StringMatcher(exact=each))
        )
        for each in header.values
    )


def _any_of(parts: Iterable[Any]) -> Any:
    """Return what one of these is; nobody is one of none."""
    found = list(parts)
    if not found:
        return _not(_all_of([]))
    return found[0] if len(found) == 1 else rules_pb2.Principal(or_ids=rules_pb2.Principal.Set(ids=found))


def _all_of(parts: list[Any]) -> Any:
    if not parts:
        everybody = rules_pb2.Principal()
        everybody.any = True
        return everybody
    return parts[0] if len(parts) == 1 else rules_pb2.Principal(and_ids=rules_pb2.Principal.Set(ids=parts))


def _not(part: Any) -> Any:
    return rules_pb2.Principal(not_id=part)

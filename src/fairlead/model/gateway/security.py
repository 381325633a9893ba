"""SecurityPolicies as what requests have to pass. Pure.

Each check is read apart from the others: one that cannot be had is a problem of its own, and closes only where it would have applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from fairlead.api.gateway import GROUP, BackendRef, ObjectRef
from fairlead.api.securitypolicy import (
    CHECKS,
    ApiKeyAuth,
    Authorization,
    AuthorizationRule,
    BasicAuth,
    ClientCIDRs,
    ExtAuth,
    Jwt,
    SecurityPolicy,
)
from fairlead.model.gateway import asking, tokens, trust, values
from fairlead.model.gateway.attachment import PolicyKind, Reading
from fairlead.model.gateway.backends import Backends, Target, host_of
from fairlead.model.gateway.grants import Grants
from fairlead.model.gateway.listeners import Verdict
from fairlead.model.gateway.values import RuleError, bounded
from fairlead.plan.gateway.policy import (
    Access,
    AccessRule,
    Addresses,
    ApiKeys,
    Credentials,
    ExternalAuth,
    GatewayJwt,
    Header,
    Users,
    Who,
)
from fairlead.world.events import ObjectKey
from fairlead.world.snapshot import Snapshot

OWN_GROUP = "fairlead.dev"
_MOST_RULES = 64
_MOST_CONDITIONS = 4096
_MOST_BODY = 1 << 20
_PLAIN_HEADERS = ("authorization", "cookie", "x-forwarded-for", "x-forwarded-proto")
"""What a server that speaks HTTP is told of a request where the policy does not say."""


class Security(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy means."""

    checks: Mapping[str, Mapping[str, Any]] = {}
    """Check → fields of a `RequestPolicy`."""
    problems: Mapping[str, str] = {}
    """Check → why it cannot be had: whoever would have to pass it does not."""
    exempt: frozenset[str] = frozenset()
    targets: Mapping[str, Target] = {}
    """Name → all clusters that it needs."""
    jwt: GatewayJwt | None = None


class UnresolvedError(Exception):
    """A reference leads nowhere; the message names the field."""


def read(policy: SecurityPolicy, snapshot: Snapshot) -> Reading:
    """Return what a policy means as a `Security`."""
    if policy.problem:
        return Reading(accepted=Verdict("Invalid", policy.problem))
    spec = policy.spec
    unknown = sorted(set(spec.exempt or ()) - set(CHECKS))
    if unknown:
        return Reading(accepted=Verdict("Invalid", f"spec.exempt: {unknown[0][:64]!r} is none of {', '.join(CHECKS)}"))
    reader = _Reader(policy, snapshot)
    checks: dict[str, Mapping[str, Any]] = {}
    problems: dict[str, str] = {}
    unresolved = ""
    wanted: dict[str, Any] = dict(zip(CHECKS, reader.sections(), strict=True))
    for check, parts in wanted.items():
        try:
            if (found := parts()) is not None:
                checks[check] = found
        except RuleError as error:
            return Reading(accepted=Verdict("Invalid", str(error)))
        except UnresolvedError as error:
            problems[check] = str(error)
            unresolved = unresolved or str(error)
    value = Security(
        checks=checks,
        problems=problems,
        exempt=frozenset(spec.exempt or ()),
        targets=reader.backends,
        jwt=reader.jwt if "jwt" in checks else None,
    )
    return Reading(value, resolved=Verdict("RefNotResolved", unresolved) if unresolved else Verdict())


def services(policy: SecurityPolicy) -> Iterable[ObjectKey]:
    """Yield the Services that a policy names."""
    spec, namespace = policy.spec, policy.metadata.namespace
    refs = [each.remote_jwks.backend_ref for each in (spec.jwt.providers if spec.jwt else ()) if each.remote_jwks]
    refs += [each.backend_ref for each in ((spec.ext_auth.grpc, spec.ext_auth.http) if spec.ext_auth else ()) if each]
    for ref in refs:
        yield ref.namespace or namespace, ref.name


def unheld(value: Security, _transport: str) -> frozenset[str]:
    """Return the checks that ask for more than addresses: neither connections nor datagrams have anything else."""
    found = {*value.checks, *value.problems} - {"clientCIDRs"}
    access = value.checks.get("authorization", {}).get("access")
    if isinstance(access, Access) and not any(each.who.claims or each.who.headers for each in access.rules):
        found.discard("authorization")
    return frozenset(found)


KIND = PolicyKind(
    kind="SecurityPolicy",
    table="security_policies",
    targets=frozenset(
        (GROUP, kind) for kind in ("Gateway", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")
    ),
    read=read,
    reads=("credentials", "reference_grants", "trust_material"),
    services=services,
    unheld=unheld,
    closes=True,
)


class _Reader:
    """Reads the checks of one policy."""

    def __init__(self, policy: SecurityPolicy, snapshot: Snapshot) -> None:
        self._spec = policy.spec
        self._key = (policy.metadata.namespace, policy.metadata.name)
        self._snapshot = snapshot
        self._grants = Grants(snapshot.reference_grants)
        self.backends: dict[str, Target] = {}
        self.jwt: GatewayJwt | None = None

    def sections(self) -> Iterable[Any]:
        """Yield what reads each of `CHECKS`: it returns None where the policy does not say anything."""
        spec = self._spec
        readers: tuple[tuple[Any, Any], ...] = (
            (spec.client_cidrs, _addresses),
            (spec.api_key_auth, self._keys),
            (spec.basic_auth, self._users),
            (spec.jwt, self._tokens),
            (spec.ext_auth, self._external),
            (spec.authorization, self._access),
        )
        for wanted, reader in readers:
            yield lambda wanted=wanted, reader=reader: reader(wanted) if wanted is not None else None

    def _keys(self, wanted: ApiKeyAuth) -> Mapping[str, Any]:
        field = "spec.apiKeyAuth"
        if not wanted.credential_refs:
            raise RuleError(f"{field}.credentialRefs: at least one Secret is needed")
        found = tuple(
            self._credentials(each, f"{field}.credentialRefs[{at}]", "keys_problem")
            for at, each in enumerate(bounded(wanted.credential_refs, f"{field}.credentialRefs"))
        )
        places = wanted.extract_from
        keys = ApiKeys(
            credentials=found,
            headers=names(places.headers, f"{field}.extractFrom.headers"),
            params=names(places.params, f"{field}.extractFrom.params"),
            cookies=names(places.cookies, f"{field}.extractFrom.cookies"),
            client_header=_header(wanted.forward_client_id_header, f"{field}.forwardClientIDHeader"),
            hide=wanted.sanitize,
        )
        if not (keys.headers or keys.params or keys.cookies):
            keys = msgspec.structs.replace(keys, headers=("x-api-key",))
        return {"keys": keys}

    def _users(self, wanted: BasicAuth) -> Mapping[str, Any]:
        found = self._credentials(wanted.users, "spec.basicAuth.users", "users_problem")
        header = _header(wanted.forward_username_header, "spec.basicAuth.forwardUsernameHeader")
        return {"users": Users(credentials=found, user_header=header)}

    def _tokens(self, wanted: Jwt) -> Mapping[str, Any]:
        found = tokens.read(wanted, "/".join(self._key), self._target, self._jwks)
        self.jwt = found.row
        return {"jwt": found.row.name, "token": found.required}

    def _external(self, wanted: ExtAuth) -> Mapping[str, Any]:
        field = "spec.extAuth"
        if (wanted.grpc is None) == (wanted.http is None):
            raise RuleError(f"{field}: exactly one of grpc and http is needed")
        headers = names(wanted.headers_to_ext_auth, f"{field}.headersToExtAuth")
        body = wanted.body_to_ext_auth
        common: dict[str, Any] = {
            "timeout_ms": values.duration(wanted.timeout, f"{field}.timeout", least_ms=1),
            "fail_open": wanted.fail_open,
            "body_bytes": values.number(body.max_request_bytes, 1, _MOST_BODY, f"{field}.bodyToExtAuth.maxRequestBytes")
            if body is not None
            else 0,
        }
        if wanted.grpc is not None:
            target = self._target(wanted.grpc.backend_ref, f"{field}.grpc.backendRef", protocol="h2c")
            return {
                "external": ExternalAuth(
                    cluster=target.name, host=host_of(target), grpc=True, headers=headers, **common
                )
            }
        assert wanted.http is not None
        http = wanted.http
        if http.path and http.replace_full_path:
            raise RuleError(f"{field}.http: path and replaceFullPath exclude each other")
        target = self._target(http.backend_ref, f"{field}.http.backendRef", decides=True)
        return {
            "external": ExternalAuth(
                cluster=target.name,
                host=host_of(target),
                path=values.path(http.path, f"{field}.http.path").rstrip("/") if http.path else "",
                full_path=_whole_path(http.replace_full_path, f"{field}.http.replaceFullPath"),
                **asking.read(http, f"{field}.http"),
                headers=headers or _PLAIN_HEADERS,
                to_backend=names(http.headers_to_backend, f"{field}.http.headersToBackend"),
                to_client=names(http.headers_to_client, f"{field}.http.headersToClient"),
                to_client_passed=names(http.headers_to_client_on_success, f"{field}.http.headersToClientOnSuccess"),
                **common,
            )
        }

    def _access(self, wanted: Authorization) -> Mapping[str, Any]:
        field = "spec.authorization"
        if len(wanted.rules) > _MOST_RULES:
            raise RuleError(f"{field}.rules: at most {_MOST_RULES} rules")
        known = {each.name: each for each in (self._spec.jwt.providers if self._spec.jwt is not None else ())}
        rules = tuple(_rule(each, f"{field}.rules[{at}]", known) for at, each in enumerate(wanted.rules))
        if _size(rules) > _MOST_CONDITIONS:
            raise RuleError(f"{field}.rules: too many conditions; each rule that allows costs all that deny before it")
        return {"access": Access(rules=rules, default=_allows(wanted.default_action, f"{field}.defaultAction"))}

    def _credentials(self, ref: ObjectRef, field: str, problem: str) -> Credentials:
        where = (ref.namespace or self._key[0], ref.name)
        if (ref.group, ref.kind) != ("", "Secret") or where[0] != self._key[0]:
            raise RuleError(f"{field}: must be a Secret of the policy's namespace")
        found = self._snapshot.credentials.get(where)
        if found is None:
            raise UnresolvedError(
                f"{field}: there is no Secret {'/'.join(where)} with the label fairlead.dev/credentials"
            )
        if words := getattr(found, problem):
            raise UnresolvedError(f"{field}: Secret {'/'.join(where)}: {words}")
        return Credentials("/".join(where), found.digest)

    def _jwks(self, ref: ObjectRef, field: str) -> str:
        where = trust.own(ref, self._key[0], field)
        found = self._snapshot.trust_material.get(where)
        if found is None:
            raise UnresolvedError(f"{field}: there is no ConfigMap {'/'.join(where)}")
        if found.jwks_problem:
            raise UnresolvedError(f"{field}: ConfigMap {'/'.join(where)}: {found.jwks_problem}")
        try:
            tokens.check(found.jwks, f"{field}: ConfigMap {'/'.join(where)}: data[jwks]")
        except RuleError as error:
            raise UnresolvedError(str(error)) from error
        return found.jwks

    def _target(self, ref: BackendRef, field: str, *, protocol: str = "", decides: bool = False) -> Target:
        found = Backends("SecurityPolicy", self._key[0], self._snapshot.services, self._grants, group=OWN_GROUP)
        target = found.resolve(ref, field, protocol=protocol)
        if target is None:
            raise UnresolvedError(found.verdict.problem)
        target = msgspec.structs.replace(target, decides=decides)
        self.backends[target.name] = target
        return target


def names(found: tuple[str, ...] | None, field: str) -> tuple[str, ...]:
    """Return names of headers, parameters or cookies; raises RuleError."""
    return tuple(values.token(each, f"{field}[{at}]") for at, each in enumerate(bounded(found, field)))


def _addresses(wanted: ClientCIDRs) -> Mapping[str, Any]:
    field = "spec.clientCIDRs"
    allow = values.prefixes(wanted.allow, f"{field}.allow") if wanted.allow is not None else None
    return {"addresses": Addresses(allow=allow, deny=values.prefixes(wanted.deny, f"{field}.deny"))}


def _whole_path(text: str, field: str) -> str:
    """Return a path, which may have a query."""
    if text:
        values.path(text.replace("?", "/"), field)
    return text


def _header(name: str, field: str) -> str:
    return values.changed_header(name, field) if name else ""


def _rule(rule: AuthorizationRule, field: str, known: Mapping[str, Any]) -> AccessRule:
    who = rule.principal
    claims = tokens.principal(who.jwt, known, f"{field}.principal.jwt") if who.jwt is not None else ()
    headers = [
        Header(
            name=values.token(each.name, f"{field}.principal.headers[{at}].name").lower(),
            values=_values(each.values, f"{field}.principal.headers[{at}].values"),
        )
        for at, each in enumerate(bounded(who.headers, f"{field}.principal.headers"))
    ]
    if rule.operation is not None:
        headers.append(Header(name=":method", values=names(rule.operation.methods, f"{field}.operation.methods")))
    ranges = values.prefixes(who.client_cidrs, f"{field}.principal.clientCIDRs")
    return AccessRule(
        allow=_allows(rule.action, f"{field}.action"),
        who=Who(addresses=ranges, claims=claims, headers=tuple(headers)),
    )


def _size(rules: Iterable[AccessRule]) -> int:
    """Return how many conditions the proxy makes of rules: each that allows holds for whom none before it denies."""
    found = denied = 0
    for rule in rules:
        who = rule.who
        own = 1 + len(who.addresses) + sum(len(each.values) for each in who.claims)
        own += sum(len(each.values) for each in who.headers)
        if rule.allow:
            found += own + denied
        else:
            denied += own
    return found + denied


def _values(found: tuple[str, ...], field: str) -> tuple[str, ...]:
    if not found:
        raise RuleError(f"{field}: at least one value is needed")
    return tuple(values.header_value(each, f"{field}[{at}]") for at, each in enumerate(bounded(found, field)))


def _allows(action: str, field: str) -> bool:
    if action not in ("Allow", "Deny"):
        raise RuleError(f"{field}: {action[:64]!r} is neither Allow nor Deny")
    return action == "Allow"

"""What SecurityPolicies want of tokens: who issues them, by which keys they are known, and which claims they must have. Pure.

Source: RFC 7517 (JWK), RFC 7518 (algorithms), RFC 7519 (JWT), RFC 8725 (best current practices).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from fairlead.api.gateway import BackendRef, ObjectRef
from fairlead.api.securitypolicy import ClaimMatch, Jwt, JwtProvider, LocalJwks, TokenPrincipal
from fairlead.api.trust_material import key_set
from fairlead.model.gateway import values
from fairlead.model.gateway.backends import Target, host_of
from fairlead.model.gateway.values import RuleError, bounded
from fairlead.plan.gateway import policy as rows
from fairlead.plan.gateway.policy import Claim, GatewayJwt, Who

_MOST_PROVIDERS = 16
_MOST_KEYS = 64
_CURVES: Mapping[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_LEAST_RSA_BITS = 2048
_SCOPE = "scope"
Resolve = Callable[[BackendRef, str], Target]
"""Returns where a reference, in a field, leads; raises what its caller understands."""
Keys = Callable[[ObjectRef, str], str]
"""Returns the set of keys that a reference, in a field, leads to; raises what its caller understands."""


class Tokens(msgspec.Struct, frozen=True):
    """What is wanted of tokens."""

    row: GatewayJwt
    required: tuple[Who, ...]
    """Of these a verified token has to be one; none: any is good."""


def read(wanted: Jwt, name: str, resolve: Resolve, keys: Keys) -> Tokens:
    """Return what a policy of that name wants; raises RuleError, and what `resolve` and `keys` raise."""
    field = "spec.jwt.providers"
    if not 1 <= len(wanted.providers) <= _MOST_PROVIDERS:
        raise RuleError(f"{field}: from 1 to {_MOST_PROVIDERS} providers are needed")
    if len({each.name for each in wanted.providers}) < len(wanted.providers):
        raise RuleError(f"{field}: two providers have one name")
    providers = tuple(_provider(each, f"{field}[{at}]", resolve, keys) for at, each in enumerate(wanted.providers))
    required = [
        (
            # A token of this provider is there, whatever else it says.
            Claim(provider=each.name, path=("iss",)),
            *claims(each.name, each.required_claims, each.required_scopes, f"{field}[{at}]", "required"),
        )
        for at, each in enumerate(wanted.providers)
    ]
    row = GatewayJwt(name=name, providers=providers, optional=wanted.optional)
    if all(len(each) == 1 for each in required):
        return Tokens(row, ())
    who = [Who(claims=each) for each in required]
    if wanted.optional:
        who.append(Who(absent=tuple(each[0] for each in required)))
    return Tokens(row, tuple(who))


def principal(wanted: TokenPrincipal, known: Mapping[str, JwtProvider], field: str) -> tuple[Claim, ...]:
    """Return the claims of a rule; raises RuleError."""
    if wanted.provider not in known:
        raise RuleError(f"{field}.provider: {wanted.provider[:64]!r} is no provider of this policy's spec.jwt")
    first = Claim(provider=wanted.provider, path=("iss",))
    return (first, *claims(wanted.provider, wanted.claims, wanted.scopes, field))


def claims(
    provider: str, wanted: tuple[ClaimMatch, ...] | None, scopes: tuple[str, ...] | None, field: str, prefix: str = ""
) -> tuple[Claim, ...]:
    """Return claims and scopes, all of which are wanted; raises RuleError."""
    names = ("requiredClaims", "requiredScopes") if prefix else ("claims", "scopes")
    found = []
    for at, each in enumerate(wanted or ()):
        where = f"{field}.{names[0]}[{at}]"
        if not bounded(each.values, f"{where}.values"):
            raise RuleError(f"{where}.values: at least one value is needed")
        found.append(Claim(provider=provider, path=_path(each.name, f"{where}.name"), values=each.values))
    found += [Claim(provider=provider, path=(_SCOPE,), values=(each,)) for each in scopes or ()]
    if len(found) > _MOST_KEYS:
        raise RuleError(f"{field}: at most {_MOST_KEYS} claims and scopes")
    return tuple(found)


def _path(name: str, field: str) -> tuple[str, ...]:
    """Return the parts of a claim's name; names that are URLs (RFC 7519, 4.2) are one part."""
    if not 1 <= len(name) <= 256:
        raise RuleError(f"{field}: a claim's name has 1 to 256 characters")
    parts = (name,) if "://" in name else tuple(name.split("."))
    if not all(parts):
        raise RuleError(f"{field}: {name[:64]!r} has an empty part")
    return parts


def _provider(wanted: JwtProvider, field: str, resolve: Resolve, keys: Keys) -> rows.JwtProvider:
    if not wanted.issuer or len(wanted.issuer) > 256:
        raise RuleError(f"{field}.issuer: 1 to 256 characters are needed")
    if (wanted.remote_jwks is None) == (wanted.local_jwks is None):
        raise RuleError(f"{field}: exactly one of remoteJWKS and localJWKS is needed")
    places = wanted.extract_from
    headers = tuple(
        (values.token(each.name, f"{field}.extractFrom.headers[{at}].name").lower(), each.value_prefix)
        for at, each in enumerate(bounded(places.headers, f"{field}.extractFrom.headers"))
    )
    params, cookies = (
        tuple(values.token(each, f"{field}.extractFrom.{where}[{at}]") for at, each in enumerate(bounded(found, where)))
        for where, found in (("params", places.params), ("cookies", places.cookies))
    )
    changes: dict[str, Any] = {"headers": headers, "params": params, "cookies": cookies}
    found = rows.JwtProvider(
        name=values.token(wanted.name, f"{field}.name"),
        issuer=wanted.issuer,
        audiences=bounded(wanted.audiences, f"{field}.audiences"),
        claim_headers=tuple(
            (
                values.changed_header(each.header, f"{field}.claimToHeaders[{at}].header"),
                ".".join(_path(each.claim, f"{field}.claimToHeaders[{at}].claim")),
            )
            for at, each in enumerate(bounded(wanted.claim_to_headers, f"{field}.claimToHeaders"))
        ),
        **(changes if headers or params or cookies else {}),
    )
    if (local := wanted.local_jwks) is not None:
        return msgspec.structs.replace(found, jwks=_local(local, f"{field}.localJWKS", keys))
    remote = wanted.remote_jwks
    assert remote is not None
    target = resolve(remote.backend_ref, f"{field}.remoteJWKS.backendRef")
    host = values.host(remote.hostname, f"{field}.remoteJWKS.hostname") if remote.hostname else ""
    cache_ms = values.duration(remote.cache_duration, f"{field}.remoteJWKS.cacheDuration")
    path = values.path(remote.path, f"{field}.remoteJWKS.path")
    return msgspec.structs.replace(
        found,
        cluster=target.name,
        url=f"http://{host or host_of(target)}{path}",
        cache_ms=max(cache_ms, 1000),
    )


def _local(wanted: LocalJwks, field: str, keys: Keys) -> str:
    match wanted:
        case LocalJwks(inline=str(text), value_ref=None):
            check(text, f"{field}.inline")
            return text
        case LocalJwks(inline=None, value_ref=ObjectRef() as ref):
            return keys(ref, f"{field}.valueRef")
    raise RuleError(f"{field}: exactly one of inline and valueRef is needed")


def check(text: str, field: str) -> None:
    """Refuse a set of keys that the proxy would not take; raises RuleError. One bad set would keep all others from changing."""
    try:
        keys = key_set(text, field)
    except ValueError as error:
        raise RuleError(str(error)) from error
    if not 1 <= len(keys) <= _MOST_KEYS:
        raise RuleError(f"{field}: a JSON object with a list of 1 to {_MOST_KEYS} keys is needed (RFC 7517)")
    for at, each in enumerate(keys):
        where = f"{field}: keys[{at}]"
        kind = each.get("kty") if isinstance(each, dict) else None
        if kind == "oct":
            raise RuleError(f"{where}: a symmetric key is a secret and does not belong into a policy")
        if isinstance(each, dict) and "d" in each:
            raise RuleError(f"{where}: a private key is a secret and does not belong into a policy")
        if not isinstance(kind, str) or kind not in _READERS:
            raise RuleError(f"{where}: kty must be one of {', '.join(_READERS)}")
        try:
            _READERS[kind](each)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise RuleError(f"{where}: no key of type {kind}: {error}") from error


def _bytes(key: Mapping[str, Any], name: str) -> bytes:
    text = key[name]
    if not isinstance(text, str):
        raise TypeError(f"{name} is no text")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _rsa(key: Mapping[str, Any]) -> None:
    n, e = (int.from_bytes(_bytes(key, name), "big") for name in ("n", "e"))
    if rsa.RSAPublicNumbers(e, n).public_key().key_size < _LEAST_RSA_BITS:
        raise ValueError(f"fewer than {_LEAST_RSA_BITS} bits")


def _ec(key: Mapping[str, Any]) -> None:
    if key["crv"] not in _CURVES:
        raise ValueError(f"crv must be one of {', '.join(_CURVES)}")
    x, y = (int.from_bytes(_bytes(key, name), "big") for name in ("x", "y"))
    ec.EllipticCurvePublicNumbers(x, y, _CURVES[key["crv"]]).public_key()


def _okp(key: Mapping[str, Any]) -> None:
    if key["crv"] != "Ed25519":
        raise ValueError("crv must be Ed25519")
    ed25519.Ed25519PublicKey.from_public_bytes(_bytes(key, "x"))


_READERS: Mapping[str, Callable[[Mapping[str, Any]], None]] = {"RSA": _rsa, "EC": _ec, "OKP": _okp}

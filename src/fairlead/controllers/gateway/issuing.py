"""Certificates for listeners that ask for one: for which Secrets and hosts, when anew, and from whom. Pure but for numbers that nobody may guess.

The authority is one of its own, apart from the cluster's: whoever may write a listener may choose its hosts, and the cluster's authority vouches
for the API server and for users of it. It is for labs and tests: whoever believes it believes everybody who may write listeners.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fairlead.model.gateway.values import is_hostname

Json = dict[str, Any]
Key = tuple[str, str]

ANNOTATION, LAB = "fairlead.dev/certificate", "lab"
"""Of a Gateway, ListenerSet or Ingress: have certificates issued for the Secrets that it names."""
LABEL = "fairlead.dev/issued-for"
"""Of Secrets that are ours; no other is ever written."""
AUTHORITY: Key = ("kube-system", "fairlead-gateway-ca")
_LIFE = datetime.timedelta(days=30)
_RENEW_BEFORE = datetime.timedelta(days=10)
_AUTHORITY_LIFE = datetime.timedelta(days=3650)
_BACKDATE = datetime.timedelta(minutes=5)
_MOST_HOSTS = 100
_LONGEST_NAME = 64


class Wish(msgspec.Struct, frozen=True):
    """A Secret that should hold a certificate."""

    hosts: tuple[str, ...]
    owners: tuple[Json, ...]
    """The objects that name it."""


def wishes(objects: Iterable[Json]) -> dict[Key, Wish]:
    """Return which Secrets the annotated ones of some Gateways, ListenerSets and Ingresses want, all in their own namespaces."""
    found: dict[Key, Wish] = {}
    for obj in objects:
        metadata = obj["metadata"]
        if (metadata.get("annotations") or {}).get(ANNOTATION) != LAB or "deletionTimestamp" in metadata:
            continue
        for secret, hosts in _named(obj):
            key = (metadata["namespace"], secret)
            known = found.get(key, Wish((), ()))
            able = [each.lower() for each in hosts if is_hostname(each)]
            owners = known.owners if obj in known.owners else (*known.owners, obj)
            found[key] = Wish(tuple(sorted({*known.hosts, *able})[:_MOST_HOSTS]), owners)
    return {key: each for key, each in found.items() if each.hosts}


def _named(obj: Json) -> Iterable[tuple[str, list[str]]]:
    spec, namespace = obj.get("spec") or {}, obj["metadata"]["namespace"]
    for tls in spec.get("tls") or () if isinstance(spec.get("tls"), list) else ():
        if tls.get("secretName"):
            yield tls["secretName"], list(tls.get("hosts") or ())
    for listener in spec.get("listeners") or ():
        for ref in (listener.get("tls") or {}).get("certificateRefs") or ():
            kind = (ref.get("group") or "", ref.get("kind") or "Secret")
            if kind == ("", "Secret") and ref.get("namespace") in (None, namespace) and listener.get("hostname"):
                yield ref["name"], [listener["hostname"]]


def is_ours(secret: Json) -> bool:
    """Tell whether a Secret was made here."""
    return LABEL in (secret["metadata"].get("labels") or {})


def renewal(secret: Json) -> datetime.datetime:
    """Return when the certificate of a Secret is due; long ago if it holds none."""
    try:
        return _certificate(secret).not_valid_after_utc - _RENEW_BEFORE
    except (ValueError, KeyError):
        return datetime.datetime.fromtimestamp(0, datetime.UTC)


def fits(secret: Json, wish: Wish, authority: Json) -> bool:
    """Tell whether a Secret holds a certificate of the authority for exactly the hosts of a wish."""
    try:
        found, issuer = _certificate(secret), _certificate(authority)
        found.verify_directly_issued_by(issuer)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, KeyError, TypeError, x509.ExtensionNotFound, InvalidSignature):
        return False
    return set(names.get_values_for_type(x509.DNSName)) == set(wish.hosts)


def authority(now: datetime.datetime) -> Json:
    """Return the Secret of a new authority. Its type is not that of certificates: no node may read it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fairlead gateway lab CA")])
    certificate = (
        _builder(name, name, key, now, _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _secret(AUTHORITY, "Opaque", {"tls.crt": _pem(certificate), "tls.key": _private(key)}, "authority", ())


def issue(key: Key, wish: Wish, issuer: Json, now: datetime.datetime) -> Json:
    """Return a Secret with a new key and its certificate; raises ValueError when the authority's Secret cannot be used."""
    try:
        ca = _certificate(issuer)
        ca_key = serialization.load_pem_private_key(base64.b64decode(issuer["data"]["tls.key"]), None)
    except (KeyError, TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(f"Secret {'/'.join(AUTHORITY)} holds no authority") from error
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"Secret {'/'.join(AUTHORITY)} holds a key of another kind")
    private = ec.generate_private_key(ec.SECP256R1())
    # A name in the subject is for people; it has 64 characters at most.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wish.hosts[0][:_LONGEST_NAME])])
    certificate = (
        _builder(subject, ca.subject, private, now, _LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in wish.hosts]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    data = {"tls.crt": _pem(certificate), "tls.key": _private(private), "ca.crt": _pem(ca)}
    return _secret(key, "kubernetes.io/tls", data, "listener", wish.owners)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    life: datetime.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + life)
    )


def _secret(key: Key, kind: str, data: Mapping[str, bytes], purpose: str, owners: Iterable[Json]) -> Json:
    references = [
        {
            "apiVersion": each["apiVersion"],
            "kind": each["kind"],
            "name": each["metadata"]["name"],
            "uid": each["metadata"]["uid"],
        }
        for each in owners
    ]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": key[0], "name": key[1], "labels": {LABEL: purpose}, "ownerReferences": references},
        "type": kind,
        "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
    }


def _certificate(secret: Json) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode((secret.get("data") or {})["tls.crt"]))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*form)

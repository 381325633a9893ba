"""What each signer signs, and the certificate that it makes of a request. Pure but for the numbers that nobody may guess.

Source: KEP-1513 and kube-controller-manager's signers: `kubernetes.io/kube-apiserver-client`, `…-kubelet`, `kubelet-serving` and
`legacy-unknown`.
"""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

Json = dict[str, Any]

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY = "kubernetes.io/legacy-unknown"
SIGNERS = frozenset({CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY})
_BACKDATE = datetime.timedelta(minutes=5)
_LEAST = datetime.timedelta(minutes=10)
_NODES = "system:nodes"
_NODE = "system:node:"
_ENCIPHER, _SIGN, _CLIENT_AUTH, _SERVER_AUTH = "key encipherment", "digital signature", "client auth", "server auth"
_KEY_USES = frozenset({_ENCIPHER, _SIGN, "signing", "content commitment", "data encipherment", "key agreement"})
_EXTENDED: Mapping[str, ObjectIdentifier] = {
    _CLIENT_AUTH: ExtendedKeyUsageOID.CLIENT_AUTH,
    _SERVER_AUTH: ExtendedKeyUsageOID.SERVER_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}


class Unfit(ValueError):
    """A request that its signer does not sign; the message is the Failed condition's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Who signs, and for how long at most."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    longest: datetime.timedelta

    @classmethod
    def load(cls, certificate: bytes, key: bytes, longest: datetime.timedelta) -> Authority:
        """Return the authority of PEM texts; raises ValueError."""
        private = serialization.load_pem_private_key(key, None)
        if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise ValueError("the signing key is neither of RSA nor of an elliptic curve")
        return cls(certificate=x509.load_pem_x509_certificate(certificate), key=private, longest=longest)


def condition(request: Json, type_: str) -> bool:
    """Tell whether the request has a condition of this type."""
    return any(one.get("type") == type_ for one in (request.get("status") or {}).get("conditions") or ())


def waits(request: Json) -> bool:
    """Tell whether one of our signers has to answer the request."""
    return (
        request["spec"].get("signerName") in SIGNERS
        and condition(request, "Approved")
        and not condition(request, "Denied")
        and not condition(request, "Failed")
        and not (request.get("status") or {}).get("certificate")
    )


def sign(request: Json, authority: Authority, now: datetime.datetime) -> str:
    """Return the certificate as base64 of PEM; raises Unfit."""
    spec = request["spec"]
    try:
        asked = x509.load_pem_x509_csr(base64.b64decode(spec["request"]))
    except (ValueError, binascii.Error) as error:
        raise Unfit(f"unable to parse csr {request['metadata']['name']!r}: {error}") from None
    usages = [str(usage) for usage in spec.get("usages") or ()]
    _judge(spec["signerName"], asked, usages)
    seconds = spec.get("expirationSeconds")
    life = authority.longest
    if seconds is not None:
        life = min(authority.longest, max(_LEAST, datetime.timedelta(seconds=seconds)))
    public = asked.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise Unfit("the key in the request is of a kind that is not signed")
    builder = (
        x509.CertificateBuilder()
        .subject_name(asked.subject)
        .issuer_name(authority.certificate.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(min(now + life, authority.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.certificate.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
    )
    # An extension without a single bit makes a certificate that nobody accepts (RFC 5280, 4.2.1.3).
    if any(usage in _KEY_USES for usage in usages):
        builder = builder.add_extension(_key_usage(usages), critical=True)
    if extended := [_EXTENDED[usage] for usage in usages if usage in _EXTENDED]:
        builder = builder.add_extension(x509.ExtendedKeyUsage(dict.fromkeys(extended)), critical=False)
    if (names := _names(asked)) is not None:
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(authority.key, hashes.SHA256())
    return base64.b64encode(certificate.public_bytes(serialization.Encoding.PEM)).decode()


def _judge(signer: str, asked: x509.CertificateSigningRequest, usages: Sequence[str]) -> None:
    given = set(usages)
    match signer:
        case "kubernetes.io/kube-apiserver-client":
            if _CLIENT_AUTH not in given or not given <= {_ENCIPHER, _SIGN, _CLIENT_AUTH}:
                raise Unfit(
                    'invalid usages for client certificate: must include "client auth" and no others than key uses'
                )
        case "kubernetes.io/kube-apiserver-client-kubelet":
            _judge_node(asked)
            if _names(asked) is not None:
                raise Unfit("DNS, IP, email and URI SANs are not allowed for a kubelet's client certificate")
            if not {_SIGN, _CLIENT_AUTH} <= given or not given <= {_ENCIPHER, _SIGN, _CLIENT_AUTH}:
                raise Unfit("usages did not match [client auth digital signature key encipherment]")
        case "kubernetes.io/kubelet-serving":
            _judge_node(asked)
            names = _names(asked)
            if names is None or not (
                names.get_values_for_type(x509.DNSName) or names.get_values_for_type(x509.IPAddress)
            ):
                raise Unfit("DNS or IP subjectAltName is required")
            if any(not isinstance(one, x509.DNSName | x509.IPAddress) for one in names):
                raise Unfit("email and URI subjectAltNames are not allowed")
            if not {_SIGN, _SERVER_AUTH} <= given or not given <= {_ENCIPHER, _SIGN, _SERVER_AUTH}:
                raise Unfit("usages did not match [digital signature key encipherment server auth]")


def _judge_node(asked: x509.CertificateSigningRequest) -> None:
    groups = [one.value for one in asked.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    users = [str(one.value) for one in asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if groups != [_NODES]:
        raise Unfit(f"subject organization is not {_NODES}")
    if len(users) != 1 or not users[0].startswith(_NODE):
        raise Unfit(f"subject common name does not begin with {_NODE}")


def _names(asked: x509.CertificateSigningRequest) -> x509.SubjectAlternativeName | None:
    try:
        return asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    except ValueError as error:
        raise Unfit(f"extensions cannot be read: {error}") from None


def _key_usage(usages: Sequence[str]) -> x509.KeyUsage:
    agreement = "key agreement" in usages
    return x509.KeyUsage(
        digital_signature=_SIGN in usages or "signing" in usages,
        content_commitment="content commitment" in usages,
        key_encipherment=_ENCIPHER in usages,
        data_encipherment="data encipherment" in usages,
        key_agreement=agreement,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=agreement and "encipher only" in usages,
        decipher_only=agreement and "decipher only" in usages,
    )

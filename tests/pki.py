"""Certificates for tests: an authority, what it issues, and both as objects of the API."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import NameOID

Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    private: Private

    @property
    def chain(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key(self) -> bytes:
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def secret(
        self, name: str, namespace: str = "default", key: bytes | None = None, chain: bytes | None = None
    ) -> str:
        """A Secret of type kubernetes.io/tls as a manifest; `key` and `chain` in place of its own."""
        data = {"tls.crt": base64.b64encode(self.chain if chain is None else chain).decode()}
        data["tls.key"] = base64.b64encode(self.key if key is None else key).decode()
        metadata = {"name": name, "namespace": namespace}
        return _text({"kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls", "data": data})


class Authority:
    """Issues certificates."""

    def __init__(self, name: str = "test CA") -> None:
        self.pair = signed(name, ca=True)

    @property
    def pem(self) -> str:
        return self.pair.chain.decode()

    def configmap(self, name: str, namespace: str = "default") -> str:
        """Its certificate as those that refer to CA certificates want it."""
        metadata = {"name": name, "namespace": namespace}
        return _text({"kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": self.pem}})

    def issue(
        self,
        *hosts: str,
        rsa_key: bool = False,
        private: Private | None = None,
        days: tuple[float, float] = (-2, 1),
        uris: Sequence[str] = (),
    ) -> Pair:
        """A certificate for hosts, valid between two days from now; `private` is its key, if one is given."""
        return signed(hosts[0], hosts, issuer=self.pair, rsa_key=rsa_key, private=private, days=days, uris=uris)

    def revoked(self, *pairs: Pair, days: float = 1) -> str:
        """A list of certificates that are not good any more, in PEM form, out of date so many days from now."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.pair.certificate.subject)
            .last_update(now - datetime.timedelta(days=2))
            .next_update(now + datetime.timedelta(days=days))
        )
        for each in pairs:
            one = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
            builder = builder.add_revoked_certificate(one.revocation_date(now - datetime.timedelta(days=1)).build())
        return builder.sign(self.pair.private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def signed(
    name: str,
    hosts: Sequence[str] = (),
    *,
    issuer: Pair | None = None,
    ca: bool = False,
    rsa_key: bool = False,
    private: Private | None = None,
    days: tuple[float, float] = (-3, 2),
    uris: Sequence[str] = (),
) -> Pair:
    """A certificate that `issuer` has signed, its own key where there is none."""
    if private is None:
        private = rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    names = [*(x509.DNSName(each) for each in hosts), *(x509.UniformResourceIdentifier(each) for each in uris)]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Pair(builder.sign(issuer.private if issuer else private, hashes.SHA256()), private)


def _text(obj: Mapping[str, Any]) -> str:
    return yaml.safe_dump(obj)

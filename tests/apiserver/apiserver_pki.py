"""A certificate authority for tests: server and client certificates below one folder."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_NOW = datetime.datetime.now(datetime.UTC)


class Authority:
    """Signs certificates and writes them as NAME.crt and NAME.key."""

    def __init__(self, folder: Path, *, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {name}")])
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self._write(name, certificate, self._key)

    def issue(
        self, name: str, user: str, *groups: str, addresses: tuple[str, ...] = (), hosts: tuple[str, ...] = ()
    ) -> None:
        """Write a certificate of `user` in `groups`, valid for `addresses` as a server."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, user)])
        builder = self._builder(subject, key).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        if addresses:
            names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(one)) for one in addresses]
            builder = builder.add_extension(
                x509.SubjectAlternativeName([*map(x509.DNSName, ("localhost", *hosts)), *names]), critical=False
            )
        self._write(name, builder.sign(self._key, hashes.SHA256()), key)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOW - datetime.timedelta(hours=1))
            .not_valid_after(_NOW + datetime.timedelta(days=30))
        )

    def _write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        (self.folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (self.folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def cluster(folder: Path) -> Authority:
    """Write what an API server on loopback and an administrator need."""
    authority = Authority(folder)
    authority.issue("apiserver", "kube-apiserver", addresses=("127.0.0.1", "::1"))
    authority.issue("admin", "kubernetes-admin", "system:masters")
    authority.issue("guest", "guest", "system:masters")
    authority.issue("controller", "system:kube-controller-manager")
    authority.issue("sa", "service-accounts")
    return authority


def kubeconfig(folder: Path, port: int, path: Path, *, user: str = "admin") -> None:
    """Write a kubeconfig for the server on `port` of loopback."""
    path.write_text(
        f"""apiVersion: v1
kind: Config
clusters:
- name: test
  cluster: {{server: "https://127.0.0.1:{port}", certificate-authority: {folder}/ca.crt}}
users:
- name: test
  user: {{client-certificate: {folder}/{user}.crt, client-key: {folder}/{user}.key}}
contexts:
- name: test
  context: {{cluster: test, user: test}}
current-context: test
"""
    )

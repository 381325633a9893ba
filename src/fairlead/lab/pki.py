"""The lab's certificate authority, the certificates of its components, and their kubeconfigs.

The key of the authority never leaves the lab's folder (mode 0700). Certificates are valid for a year: a lab is not meant to live longer,
and `up` on an older one makes new ones.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fairlead.lab.home import LabHome
from fairlead.lab.topology import Topology

_LIFETIME = datetime.timedelta(days=365)
_RENEW_BEFORE = datetime.timedelta(days=30)


def issue(topology: Topology, home: LabHome) -> None:
    """Write the authority, all certificates and all kubeconfigs that are missing or expire within 30 days."""
    home.pki.mkdir(parents=True, exist_ok=True)
    authority = _Authority.load_or_create(home.pki)
    authority.issue(
        "apiserver",
        common_name="kube-apiserver",
        names=(
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ),
        addresses=("127.0.0.1", "::1", *topology.control, "10.96.0.1", "fd10:96::1"),
    )
    authority.issue("admin", common_name="kubernetes-admin", groups=("system:masters",))
    authority.issue("controller", common_name="system:kube-controller-manager")
    _account_key(home.pki)
    outside = f"https://127.0.0.1:{topology.api_port}"
    inside = f"https://{topology.control[0]}:{topology.api_port}"
    _kubeconfig(home, home.kubeconfig, "admin", outside)
    _kubeconfig(home, home.folder / "controller.kubeconfig", "controller", outside)
    authority.issue("cloud", common_name="system:cloud-controller-manager")
    _kubeconfig(home, home.folder / "cloud.kubeconfig", "cloud", inside)
    for node in topology.nodes:
        authority.issue(node.name, common_name=f"system:node:{node.name}", groups=("system:nodes",))
        home.node(node.name).mkdir(parents=True, exist_ok=True)
        _kubeconfig(home, home.node(node.name) / "kubeconfig", node.name, inside)
        agent = f"agent-{node.name}"
        authority.issue(agent, common_name=f"fairlead:agent:{node.name}", groups=("fairlead:agents",))
        _kubeconfig(home, home.node(node.name) / "agent.kubeconfig", agent, inside)


def _account_key(folder: Path) -> None:
    """Write the key that signs tokens of ServiceAccounts, and its public half, once: a new key would end every token."""
    key_file = folder / "sa.key"
    if key_file.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write(folder / "sa.pub", public)
    _write(key_file, _pem(key))


class _Authority:
    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._folder = folder
        self._certificate = certificate
        self._key = key

    @classmethod
    def load_or_create(cls, folder: Path) -> _Authority:
        certificate_file, key_file = folder / "ca.crt", folder / "ca.key"
        if _current(certificate_file) and key_file.exists():
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            return cls(folder, x509.load_pem_x509_certificate(certificate_file.read_bytes()), key)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("fairlead lab", ())
        certificate = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write(key_file, _pem(key))
        _write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM))
        for leaf in folder.glob("*.crt"):
            if leaf != certificate_file:
                leaf.unlink()
        return cls(folder, certificate, key)

    def issue(
        self,
        file: str,
        *,
        common_name: str,
        groups: Sequence[str] = (),
        names: Sequence[str] = (),
        addresses: Sequence[str] = (),
    ) -> None:
        subject = _name(common_name, groups)
        if _current(self._folder / f"{file}.crt", subject) and (self._folder / f"{file}.key").exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        serves = bool(names or addresses)
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if serves else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            _builder(subject, self._certificate.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if serves:
            entries: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
            entries += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(entries), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        _write(self._folder / f"{file}.key", _pem(key))
        _write(self._folder / f"{file}.crt", certificate.public_bytes(serialization.Encoding.PEM))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # A clock that is a little behind must not make a lab unusable.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
    )


def _name(common_name: str, groups: Sequence[str]) -> x509.Name:
    # Kubernetes reads the user from CN and the groups from O.
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _current(file: Path, subject: x509.Name | None = None) -> bool:
    """Tell whether the certificate in `file` is good for a while; one of another subject has rights of another time."""
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError):
        return False
    if subject is not None and certificate.subject != subject:
        return False
    return certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC) > _RENEW_BEFORE


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(file: Path, content: bytes) -> None:
    scratch = file.with_suffix(file.suffix + ".new")
    scratch.touch(mode=0o600)
    scratch.write_bytes(content)
    scratch.replace(file)


def _kubeconfig(home: LabHome, file: Path, user: str, server: str) -> None:

    def data(name: str) -> str:
        return base64.b64encode((home.pki / name).read_bytes()).decode()

    context = f"fairlead-{home.name}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": context, "cluster": {"server": server, "certificate-authority-data": data("ca.crt")}},
        ],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": data(f"{user}.crt"), "client-key-data": data(f"{user}.key")},
            },
        ],
        "contexts": [{"name": context, "context": {"cluster": context, "user": user, "namespace": "default"}}],
        "current-context": context,
    }
    _write(file, yaml.safe_dump(config, sort_keys=False).encode())

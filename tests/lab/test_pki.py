"""The lab's certificates: signed by its authority, with the names that Kubernetes reads, kept as long as they are good."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fairlead.lab import pki
from fairlead.lab.home import LabHome
from fairlead.lab.topology import Topology, design
from fairlead.sources import kubeconfig


@pytest.fixture
def lab(tmp_path: Path) -> tuple[Topology, LabHome]:
    topology = design(name="p", nodes=2, zones=1, api_port=7000, strict_commands=False, tunnel="auto")
    home = LabHome(name="p", folder=tmp_path / "p")
    pki.issue(topology, home)
    return topology, home


def read(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def names(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(oid)]


@pytest.mark.parametrize(
    ("file", "user", "groups", "purpose"),
    [
        ("apiserver", "kube-apiserver", [], ExtendedKeyUsageOID.SERVER_AUTH),
        ("admin", "kubernetes-admin", ["system:masters"], ExtendedKeyUsageOID.CLIENT_AUTH),
        ("controller", "system:kube-controller-manager", [], ExtendedKeyUsageOID.CLIENT_AUTH),
        ("cloud", "system:cloud-controller-manager", [], ExtendedKeyUsageOID.CLIENT_AUTH),
        ("node-1", "system:node:node-1", ["system:nodes"], ExtendedKeyUsageOID.CLIENT_AUTH),
        ("agent-node-1", "fairlead:agent:node-1", ["fairlead:agents"], ExtendedKeyUsageOID.CLIENT_AUTH),
    ],
)
def test_certificates_name_user_and_groups(
    lab: tuple[Topology, LabHome], file: str, user: str, groups: list[str], purpose: x509.ObjectIdentifier
) -> None:
    certificate = read(lab[1].pki / f"{file}.crt")
    assert names(certificate, NameOID.COMMON_NAME) == [user]
    assert names(certificate, NameOID.ORGANIZATION_NAME) == groups
    assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [purpose]
    certificate.verify_directly_issued_by(read(lab[1].pki / "ca.crt"))


def test_keys_are_for_their_owner_alone(lab: tuple[Topology, LabHome]) -> None:
    files = [*lab[1].pki.glob("*.key"), lab[1].kubeconfig]
    assert files and all(file.stat().st_mode & 0o077 == 0 for file in files)


def test_good_certificates_are_kept(lab: tuple[Topology, LabHome]) -> None:
    topology, home = lab
    before = {file.name: file.read_bytes() for file in home.pki.iterdir()}
    pki.issue(topology, home)
    assert before == {file.name: file.read_bytes() for file in home.pki.iterdir()}


def test_old_certificates_are_renewed(lab: tuple[Topology, LabHome], monkeypatch: pytest.MonkeyPatch) -> None:
    topology, home = lab
    before = read(home.pki / "node-1.crt")
    monkeypatch.setattr(pki, "_RENEW_BEFORE", datetime.timedelta(days=400))
    pki.issue(topology, home)
    after = read(home.pki / "node-1.crt")
    assert after.serial_number != before.serial_number
    after.verify_directly_issued_by(read(home.pki / "ca.crt"))


def test_a_component_whose_rights_change_gets_another_certificate(lab: tuple[Topology, LabHome]) -> None:
    topology, home = lab
    authority = pki._Authority.load_or_create(home.pki)
    (home.pki / "controller.crt").unlink()
    authority.issue("controller", common_name="system:kube-controller-manager", groups=("system:masters",))
    pki.issue(topology, home)
    assert names(read(home.pki / "controller.crt"), NameOID.ORGANIZATION_NAME) == []


def test_kubeconfigs_lead_to_the_api_server(lab: tuple[Topology, LabHome]) -> None:
    outside = kubeconfig.read(lab[1].kubeconfig)
    inside = kubeconfig.read(lab[1].node("node-1") / "kubeconfig")
    assert (outside.server, inside.server) == ("https://127.0.0.1:7000", "https://10.10.0.10:7000")
    assert isinstance(inside.tls(), ssl.SSLContext)

"""What people and strangers get wrong, against a running lab: each gets a clear error, and the lab stays well."""

from __future__ import annotations

import base64
import datetime
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.e2e import kubectls
from tests.e2e.conftest import Lab
from tests.e2e.kubectls import Kubectl

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module", params=["1.20", "1.33"])
def kubectl(request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    found = kubectls.of(lab, request.param, tmp_path_factory.mktemp("kubectl"))
    return kubectls.in_namespace(found, "default")


POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: wrong}\nspec: {containers: [{name: c, image: i}]%s}\n"

WRONG = {
    "no YAML": ("kind: [", "error converting YAML to JSON"),
    "no object": ("just words", "invalid object"),
    "no kind": ("apiVersion: v1\nmetadata: {name: x}\n", "kind"),
    "no apiVersion": ("kind: Pod\nmetadata: {name: x}\n", "apiVersion"),
    "unknown kind": ("apiVersion: v1\nkind: Spaceship\nmetadata: {name: x}\n", 'no matches for kind "Spaceship"'),
    "unknown version": ("apiVersion: apps/v9\nkind: Deployment\nmetadata: {name: x}\n", "no matches for kind"),
    "a list for a map": ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: [a]\n", "data"),
    "a number for a string": ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: 1}\n", "cannot be handled as a ConfigMap"),
    "a word for a number": (POD % ", terminationGracePeriodSeconds: soon", "terminationGracePeriodSeconds"),
    "no name": ("apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n", "name"),
    "a name that is none": ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Not_A_Name}\n", "Not_A_Name"),
    "a wrong port": (
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 99999}]}\n",
        "spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive",
    ),
    "no containers": ("apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: []}\n", "spec.containers"),
    "an unknown policy": (POD % ", restartPolicy: Sometimes", '"Sometimes"'),
    "an unknown field": (POD % ", colour: green", "colour"),
    "a namespace that is not there": (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: nowhere}\n",
        'namespaces "nowhere" not found',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_manifests(case: str, kubectl: Kubectl) -> None:
    manifest, problem = WRONG[case]
    namespace = [] if "nowhere" not in manifest else ["--namespace", "nowhere"]
    said = kubectl.refused("create", "-f", "-", *namespace, given=manifest)
    assert problem in said
    assert "Traceback" not in said and "Internal error" not in said


def test_unknown_fields(kubectl: Kubectl) -> None:
    if kubectl.version < (1, 25):
        pytest.skip("kubectl before 1.25 judges fields itself")
    unknown = POD % ", colour: green"
    assert 'unknown field "spec.colour"' in kubectl.refused("apply", "-f", "-", "--validate=strict", given=unknown)
    warned = kubectl.run("apply", "-f", "-", "--validate=warn", "--dry-run=server", given=unknown)
    assert 'Warning: unknown field "spec.colour"' in warned.stderr
    silent = kubectl.run("apply", "-f", "-", "--validate=ignore", "--dry-run=server", given=unknown)
    assert silent.stderr == ""


def test_a_manifest_that_is_too_large(kubectl: Kubectl) -> None:
    for size, problem in ((1_500_000, "Too long"), (4_000_000, "Request entity too large")):
        big = json.dumps(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"a": "x" * size}}
        )
        assert problem in kubectl.refused("create", "-f", "-", given=big)


# Strangers.


def _certificate(
    name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None, days: int
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=10)
    signer = issuer[1] if issuer else key
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=10 + days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
    return made, key


def _authority(lab: Lab) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    pki = lab.folder / "pki"
    key = serialization.load_pem_private_key((pki / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return x509.load_pem_x509_certificate((pki / "ca.crt").read_bytes()), key


def _with_user(lab: Lab, path: Path, user: dict[str, str], **cluster: str) -> str:
    config = yaml.safe_load((lab.folder / "kubeconfig").read_text())
    config["users"][0]["user"] = user
    config["clusters"][0]["cluster"] |= cluster
    path.write_text(yaml.safe_dump(config))
    return str(path)


def _encoded(pair: tuple[x509.Certificate, ec.EllipticCurvePrivateKey]) -> dict[str, str]:
    private = pair[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "client-certificate-data": base64.b64encode(pair[0].public_bytes(serialization.Encoding.PEM)).decode(),
        "client-key-data": base64.b64encode(private).decode(),
    }


CREDENTIALS = {
    "another authority": ("unknown certificate authority",),
    "expired": ("expired certificate",),
    "nobody": ('User "system:anonymous" cannot list resource "pods"',),
    "a token that nobody issued": ("Unauthorized",),
}


@pytest.mark.parametrize("who", CREDENTIALS)
def test_wrong_credentials(who: str, lab: Lab, kubectl: Kubectl, tmp_path: Path) -> None:
    # Where there are no credentials kubectl asks for a name and a password, so that nobody has wrong ones.
    user = {"username": "nobody", "password": "guessed"}
    match who:
        case "another authority":
            user = _encoded(_certificate("kubernetes-admin", _certificate("other-ca", None, 10), 10))
        case "expired":
            user = _encoded(_certificate("kubernetes-admin", _authority(lab), -1))
        case "a token that nobody issued":
            user = {"token": "made-up"}
    config = _with_user(lab, tmp_path / "config", user)
    said = kubectl.run("--kubeconfig", config, "get", "pods", code=1, given="").stderr
    assert any(word in said for word in CREDENTIALS[who]), said


def test_the_right_person_is_let_in(lab: Lab, kubectl: Kubectl, tmp_path: Path) -> None:
    """What the refusals above lack is the authority and the date alone."""
    config = _with_user(lab, tmp_path / "config", _encoded(_certificate("kubernetes-admin", _authority(lab), 10)))
    kubectl("--kubeconfig", config, "get", "pods")


def test_a_server_that_is_another(lab: Lab, kubectl: Kubectl, tmp_path: Path) -> None:
    other, _ = _certificate("other-ca", None, 10)
    user = yaml.safe_load((lab.folder / "kubeconfig").read_text())["users"][0]["user"]
    data = base64.b64encode(other.public_bytes(serialization.Encoding.PEM)).decode()
    config = _with_user(lab, tmp_path / "config", user, **{"certificate-authority-data": data})
    assert "unknown authority" in kubectl.refused("--kubeconfig", config, "get", "pods")


@pytest.fixture
def address(lab: Lab) -> tuple[str, int]:
    server = yaml.safe_load((lab.folder / "kubeconfig").read_text())["clusters"][0]["cluster"]["server"]
    host, _, port = server.removeprefix("https://").rpartition(":")
    return host, int(port)


@pytest.fixture
def dawdlers(address: tuple[str, int]) -> Iterator[list[socket.socket]]:
    """Three hundred connections that never get to the point: silent, within TLS, within a header, within a body."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    found: list[socket.socket] = []
    try:
        for number in range(300):
            plain = socket.create_connection(address, timeout=10)
            found.append(plain)
            if number % 30 == 1:
                plain.send(b"\x16\x03\x01")
            elif number % 30 in (2, 3):
                found[-1] = secure = context.wrap_socket(plain)
                body = b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
                secure.send(b"GET /api HTTP/1.1\r\nHost:" if number % 30 == 2 else body)
        yield found
    finally:
        for connection in found:
            connection.close()


def test_clients_that_dawdle(kubectl: Kubectl, lab: Lab, dawdlers: list[socket.socket]) -> None:
    began = time.monotonic()
    kubectl("get", "nodes")
    kubectl("auth", "can-i", "create", "pods")
    assert time.monotonic() - began < 10
    descriptors = len(os.listdir(f"/proc/{lab.record('apiserver')['pid']}/fd"))
    assert descriptors < 2000


def test_noise_on_the_port(kubectl: Kubectl, address: tuple[str, int]) -> None:
    for noise in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(10_000), b"\x16\x03\x01\xff\xff" + bytes(70_000)):
        with socket.create_connection(address, timeout=10) as stranger:
            try:
                stranger.sendall(noise)
                stranger.shutdown(socket.SHUT_WR)
                while stranger.recv(65536):
                    pass
            except ConnectionError:
                pass
    kubectl("get", "nodes")

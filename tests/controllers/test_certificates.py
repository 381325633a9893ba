"""The signers: what each signs, for how long, and that an approved request is answered."""

from __future__ import annotations

import base64
import datetime
import ipaddress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from tests.controllers.lab import lab

from fairlead.api.resources import CERTIFICATESIGNINGREQUESTS as REQUESTS
from fairlead.controllers.certificates import core
from fairlead.controllers.context import Settings

Json = dict[str, Any]
KEY = ec.generate_private_key(ec.SECP256R1())
NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
YEAR = datetime.timedelta(days=365)


def request(signer: str, user: str, *groups: str, names: list[x509.GeneralName] | None = None, **spec: Any) -> Json:
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([*subject, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return {
        "apiVersion": REQUESTS.api_version,
        "kind": REQUESTS.kind,
        "metadata": {"name": "r"},
        "spec": {"signerName": signer, "request": base64.b64encode(pem).decode(), "usages": ["client auth"], **spec},
    }


@pytest.fixture(scope="module")
def authority(certificates: Path) -> core.Authority:
    files = ((certificates / f"ca.{end}").read_bytes() for end in ("crt", "key"))
    return core.Authority.load(*files, longest=YEAR)


def certificate(text: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(text))


SERVING = {"usages": ["digital signature", "server auth"]}
NODE_CLIENT = {"usages": ["digital signature", "client auth"]}
DNS: list[x509.GeneralName] = [x509.DNSName("node-1")]
FIT = {
    "a person": request(core.CLIENT, "alice", "dev"),
    "a kubelet": request(core.KUBELET_CLIENT, "system:node:n", "system:nodes", **NODE_CLIENT),
    "a kubelet that serves": request(
        core.KUBELET_SERVING,
        "system:node:n",
        "system:nodes",
        names=[*DNS, x509.IPAddress(ipaddress.ip_address("fd10::1"))],
        **SERVING,
    ),
    "anything": request(core.LEGACY, "x", usages=["server auth", "code signing"]),
}
UNFIT = {
    "a person that serves": (request(core.CLIENT, "alice", usages=["client auth", "server auth"]), "invalid usages"),
    "a kubelet of no node": (request(core.KUBELET_CLIENT, "alice", "system:nodes", **NODE_CLIENT), "common name"),
    "a kubelet of other groups": (
        request(core.KUBELET_CLIENT, "system:node:n", "system:nodes", "system:masters", **NODE_CLIENT),
        "organization",
    ),
    "a kubelet with names": (
        request(core.KUBELET_CLIENT, "system:node:n", "system:nodes", names=DNS, **NODE_CLIENT),
        "SANs are not allowed",
    ),
    "a server without names": (
        request(core.KUBELET_SERVING, "system:node:n", "system:nodes", **SERVING),
        "is required",
    ),
    "a server with a URI": (
        request(
            core.KUBELET_SERVING,
            "system:node:n",
            "system:nodes",
            names=[*DNS, x509.UniformResourceIdentifier("https://x")],
            **SERVING,
        ),
        "not allowed",
    ),
    "no request": (
        request(core.CLIENT, "alice") | {"spec": {"signerName": core.CLIENT, "request": "eA=="}},
        "unable to parse",
    ),
}


@pytest.mark.parametrize("case", FIT)
def test_what_is_signed(case: str, authority: core.Authority) -> None:
    asked = FIT[case]
    made = certificate(core.sign(asked, authority, NOW))
    made.verify_directly_issued_by(authority.certificate)
    original = x509.load_pem_x509_csr(base64.b64decode(asked["spec"]["request"]))
    assert (made.subject, made.public_key()) == (original.subject, KEY.public_key())
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    uses = "digital signature" in asked["spec"]["usages"]
    assert any(one.oid == ExtensionOID.KEY_USAGE for one in made.extensions) is uses
    extended = set(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    client = "client auth" in asked["spec"]["usages"]
    assert (ExtendedKeyUsageOID.CLIENT_AUTH in extended) is client
    wanted = [one.value for one in original.extensions]
    assert [made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value for _ in wanted] == wanted


@pytest.mark.parametrize("case", UNFIT)
def test_what_is_not_signed(case: str, authority: core.Authority) -> None:
    asked, words = UNFIT[case]
    with pytest.raises(core.Unfit, match=words):
        core.sign(asked, authority, NOW)


@pytest.mark.parametrize(("seconds", "life"), [(None, None), (3600, 3600), (60, 600), (1 << 40, None)])
def test_lives(seconds: int | None, life: int | None, authority: core.Authority) -> None:
    spec = {} if seconds is None else {"expirationSeconds": seconds}
    made = certificate(core.sign(request(core.CLIENT, "alice", **spec), authority, NOW))
    expected = (
        min(NOW + YEAR, authority.certificate.not_valid_after_utc)
        if life is None
        else NOW + datetime.timedelta(seconds=life)
    )
    assert made.not_valid_after_utc == expected
    assert made.not_valid_before_utc == NOW - datetime.timedelta(minutes=5)


async def test_approved_requests_are_answered(tmp_path: Path, certificates: Path) -> None:
    settings = Settings(cluster_signing=(certificates / "ca.crt", certificates / "ca.key"))
    async with lab(tmp_path, certificates, ["certificatesigningrequest-signing"], settings=settings) as it:
        it.follow(REQUESTS)
        for name, asked in (
            ("good", FIT["a person"]),
            ("bad", UNFIT["a person that serves"][0]),
            ("waiting", FIT["anything"]),
        ):
            await it.client.create(REQUESTS, asked | {"metadata": {"name": name}})
        approved = {"type": "Approved", "status": "True", "reason": "Test", "message": ""}
        for name in ("good", "bad"):
            body = {"status": {"conditions": [approved]}}
            await it.client.patch(REQUESTS, name, body, subresource="approval")

        def status(name: str) -> Json:
            found: Json = (it.get(REQUESTS, name) or {}).get("status") or {}
            return found

        text = await it.until(lambda: status("good").get("certificate"), "a certificate")
        certificate(text).verify_directly_issued_by(
            x509.load_pem_x509_certificate((certificates / "ca.crt").read_bytes())
        )
        await it.until(
            lambda: [one["type"] for one in status("bad").get("conditions", ())] == ["Approved", "Failed"], "a failure"
        )
        assert "certificate" not in status("bad") and not status("waiting")

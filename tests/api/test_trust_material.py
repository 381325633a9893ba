"""CA certificates, lists of revoked ones and keys of tokens in ConfigMaps: what is taken, what is not, and that nothing else is kept."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from tests.pki import Authority

from fairlead.api.decode import decode
from fairlead.api.trust_material import TrustMaterial, reduced

AUTHORITY = Authority()
PUBLIC = '{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}'
METADATA = {"name": "ca", "namespace": "x", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "all"}}


def bundle(data: Any) -> TrustMaterial:
    found = decode("ConfigMap", reduced({"metadata": METADATA, "data": data, "binaryData": {"other": "AAAA"}}))
    assert isinstance(found, TrustMaterial)
    return found


def test_certificates_are_kept_and_nothing_beside_them() -> None:
    both = AUTHORITY.pem + "# a remark\n" + AUTHORITY.pair.key.decode() + Authority("other").pem
    found = bundle({"ca.crt": both, "other": "secret"})
    assert (found.pem.count("BEGIN CERTIFICATE"), found.problem) == (2, "")
    assert not any(word in str(found) for word in ("PRIVATE", "remark", "secret", "last-applied"))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (None, "data[ca.crt] is missing"),
        ({}, "data[ca.crt] is missing"),
        ({"ca.crt": 7}, "data[ca.crt] is missing"),
        ({"ca.crt": ""}, "data[ca.crt] holds no certificate in PEM form"),
        (
            {"ca.crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"},
            "holds no certificate in PEM form",
        ),
        ({"ca.crt": "\0é"}, "holds no certificate in PEM form"),
        ({"ca.crt": "x" * (1 << 20)}, "data[ca.crt] is larger than 524288 bytes"),
        ({"ca.crt": AUTHORITY.pem * 257}, "data[ca.crt] holds more than 256 certificates"),
    ],
)
def test_what_is_no_bundle(data: Any, problem: str) -> None:
    found = bundle(data)
    assert found.pem == ""
    assert problem in found.problem


def test_lists_of_revoked_certificates_are_kept() -> None:
    other = Authority("other")
    text = f"# a remark\n{AUTHORITY.revoked(days=9)}between{AUTHORITY.pem}{other.revoked(days=3)}"
    found = bundle({"ca.crl": text})
    assert found.revoked is not None
    assert (found.revoked.pem.count("BEGIN X509 CRL"), found.revoked.issuers) == (2, ("CN=test CA", "CN=other"))
    # The first that is out of date decides.
    until = datetime.datetime.fromisoformat(found.revoked.until) - datetime.datetime.now(datetime.UTC)
    assert 2.9 < until.total_seconds() / 86400 < 3.1
    assert "remark" not in str(found) and "between" not in str(found)
    assert bundle({"ca.crt": AUTHORITY.pem + other.pem}).authorities == ("CN=test CA", "CN=other")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "data[ca.crl] holds no list of revoked certificates in PEM form"),
        (AUTHORITY.pem, "data[ca.crl] holds no list of revoked certificates in PEM form"),
        (AUTHORITY.revoked().replace("\nMI", "\nAA"), "data[ca.crl] holds what is no list of revoked certificates"),
        ("-----BEGIN X509 CRL-----\n-----END X509 CRL-----", "data[ca.crl] holds what is no list"),
        (AUTHORITY.revoked() * 65, "data[ca.crl] holds more than 64 lists"),
        ("x" * (1 << 20), "data[ca.crl] is larger than 524288 bytes"),
        (None, "data[ca.crl] is missing"),
    ],
)
def test_what_is_no_list_of_revoked_certificates(text: Any, problem: str) -> None:
    found = bundle({"ca.crl": text})
    assert found.revoked is None
    assert problem in found.revoked_problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PUBLIC, ""),
        (PUBLIC.replace('"kty"', '"d": "secret", "kty"'), "holds a private or symmetric key"),
        ('{"keys": [{"kty": "oct", "k": "secret"}]}', "holds a private or symmetric key"),
        ("nonsense", "no JSON"),
        ("[]", "a JSON object with a list of keys"),
        ('{"keys": {}}', "a JSON object with a list of keys"),
        ("x" * 65537, "at most 65536 characters"),
        (None, "is missing"),
    ],
)
def test_keys_of_tokens(text: Any, problem: str) -> None:
    found = bundle({"jwks": text})
    assert found.jwks == ("" if problem else text)
    assert problem in found.jwks_problem
    assert "secret" not in found.jwks

"""CA certificates of ConfigMaps: what is taken, what is not, and that nothing else of them is kept."""

from __future__ import annotations

from typing import Any

import pytest
from tests.pki import Authority

from fairlead.api.ca_bundle import CaBundle, reduced
from fairlead.api.decode import decode

AUTHORITY = Authority()
METADATA = {"name": "ca", "namespace": "x", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "all"}}


def bundle(data: Any) -> CaBundle:
    found = decode("ConfigMap", reduced({"metadata": METADATA, "data": data, "binaryData": {"other": "AAAA"}}))
    assert isinstance(found, CaBundle)
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

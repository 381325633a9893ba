"""Certificates and keys in every form that users write: served, or refused in words; never refused by Envoy, and never at a neighbor's cost."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.pki import Authority

pytestmark = pytest.mark.asyncio(loop_scope="module")
AUTHORITY, MIDDLE = Authority(), Authority("another CA")
HOST, NEIGHBOR = "form.example.com", "neighbor.example.com"
PAIR, OTHER = AUTHORITY.issue(HOST), AUTHORITY.issue(HOST)
TRADITIONAL = PAIR.private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
BROKEN = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

SERVED = {
    "as it is": PAIR.secret("form"),
    "Ed25519": AUTHORITY.issue(HOST, private=ed25519.Ed25519PrivateKey.generate()).secret("form"),
    "RSA": AUTHORITY.issue(HOST, rsa_key=True).secret("form"),
    "P-521": AUTHORITY.issue(HOST, private=ec.generate_private_key(ec.SECP521R1())).secret("form"),
    "a key in OpenSSL's form": PAIR.secret("form", key=TRADITIONAL),
    "parameters before the key": PAIR.secret("form", key=PARAMETERS + TRADITIONAL),
    "the certificate beside the key": PAIR.secret("form", key=PAIR.chain + PAIR.key),
    "the chain's others in odd order": PAIR.secret("form", chain=PAIR.chain + MIDDLE.pair.chain + AUTHORITY.pair.chain),
    "certificates without a line's end between them": PAIR.secret("form", chain=PAIR.chain.strip() + MIDDLE.pair.chain),
    "text around it": PAIR.secret("form", chain=b"Bag Attributes\n a: b\n" + PAIR.chain + b"the end"),
    "lines that end as on Windows": PAIR.secret("form", chain=PAIR.chain.replace(b"\n", b"\r\n")),
    "expired": AUTHORITY.issue(HOST, days=(-2, -1)).secret("form"),
}
REFUSED = {
    "another certificate's key": (PAIR.secret("form", key=OTHER.key), "is not that of the certificate"),
    "the authority's certificate first": (
        PAIR.secret("form", chain=AUTHORITY.pair.chain + PAIR.chain),
        "is not that of the certificate",
    ),
    "RSA that is too short": (
        AUTHORITY.issue(HOST, private=rsa.generate_private_key(65537, 1024)).secret("form"),
        "RSA with 1024 bits; 2048 are the least",
    ),
    "a curve that nobody speaks": (
        AUTHORITY.issue(HOST, private=ec.generate_private_key(ec.SECP224R1())).secret("form"),
        "of the curve secp224r1",
    ),
    "DSA": (
        AUTHORITY.issue(HOST, private=dsa.generate_private_key(2048)).secret("form"),
        "neither RSA nor ECDSA nor Ed25519",
    ),
    "a broken certificate behind": (PAIR.secret("form", chain=PAIR.chain + BROKEN), "holds no certificate in PEM"),
    "nothing": (PAIR.secret("form", chain=b"", key=b""), "holds no certificate in PEM"),
    "another type of Secret": (PAIR.secret("form").replace("kubernetes.io/tls", "Opaque"), "type is Opaque"),
}


async def shaken(lab: GatewayLab, host: str) -> bool:
    """Whether a handshake for a host succeeds with a certificate for it, whatever its time."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", lab.ports["forms", 443], ssl=context, server_hostname=host
        )
    except (ConnectionError, ssl.SSLError):
        return False
    writer.close()
    return True


async def both(lab: GatewayLab) -> tuple[bool, bool]:
    return await shaken(lab, HOST), await shaken(lab, NEIGHBOR)


@pytest.fixture(scope="module")
def manifests() -> str:
    return f"""{AUTHORITY.issue(NEIGHBOR).secret("neighbor")}---
kind: Gateway
metadata: {{name: forms}}
spec:
  gatewayClassName: fairlead
  listeners:
    - {{name: form, port: 443, protocol: HTTPS, hostname: {HOST}, tls: {{certificateRefs: [{{name: form}}]}}}}
    - {{name: neighbor, port: 443, protocol: HTTPS, hostname: {NEIGHBOR}, tls: {{certificateRefs: [{{name: neighbor}}]}}}}
"""


@pytest.mark.parametrize("case", SERVED)
async def test_what_is_served(lab: GatewayLab, manifests: str, case: str) -> None:
    await lab.apply(f"{SERVED[case]}---\n{manifests}")
    assert await both(lab) == (True, True)
    assert not lab.complaints("Gateway/default/forms")


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_in_words(lab: GatewayLab, manifests: str, case: str) -> None:
    text, words = REFUSED[case]
    await lab.apply(f"{PAIR.secret('form')}---\n{manifests}")
    await lab.apply(text)
    assert await both(lab) == (False, True)
    assert words in " ".join(lab.complaints("Gateway/default/forms"))


async def test_a_secret_that_goes_and_comes_back(lab: GatewayLab, manifests: str) -> None:
    await lab.apply(f"{PAIR.secret('form')}---\n{manifests}")
    await lab.delete("Secret", "form")
    assert await both(lab) == (False, True)
    await lab.apply(PAIR.secret("form"))
    assert await both(lab) == (True, True)

"""Clients whose certificates are revoked, by real handshakes: lists hold at once, and nobody gets in where they cannot be told."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
import yaml
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.pki import Authority, Pair

from fairlead.model.gateway import status
from fairlead.model.gateway.stage import GatewayStage

pytestmark = pytest.mark.asyncio(loop_scope="module")
SERVER, OURS, RIVALS = Authority("server"), Authority("ours"), Authority("rivals")
PEOPLE: dict[str, Pair] = {
    "ann": OURS.issue("ann"),
    "bob": OURS.issue("bob"),
    "eve": RIVALS.issue("eve"),
}
NEVER = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mutual(lab: GatewayLab) -> GatewayLab:
    for name, pair in PEOPLE.items():
        (lab.folder / f"{name}.pem").write_bytes(pair.chain + pair.key)
    refs = ", ".join(f"{{group: '', kind: ConfigMap, name: {name}}}" for name in ("ours", "rivals"))
    await lab.apply(
        "---\n".join(
            (
                SERVER.issue("mutual.example").secret("mutual"),
                OURS.configmap("ours"),
                RIVALS.configmap("rivals"),
                f"""
kind: Gateway
metadata: {{name: mutual}}
spec:
  gatewayClassName: fairlead
  listeners:
  - {{name: https, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: mutual}}]}}}}
  - {{name: loose, port: 8443, protocol: HTTPS, tls: {{certificateRefs: [{{name: mutual}}]}}}}
  tls:
    frontend:
      default: {{validation: {{caCertificateRefs: [{refs}]}}}}
      perPort: [{{port: 8443, tls: {{validation: {{mode: AllowInsecureFallback, caCertificateRefs: [{refs}]}}}}}}]
---
kind: HTTPRoute
metadata: {{name: mutual}}
spec: {{parentRefs: [{{name: mutual}}], rules: [{{backendRefs: [{{name: one, port: 80}}]}}]}}
""",
            )
        )
    )
    return lab


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _without_a_policy(mutual: GatewayLab) -> AsyncIterator[None]:
    yield
    await mutual.delete("ClientTrafficPolicy", "lists")


def lists(*texts: str, name: str = "lists") -> str:
    return yaml.safe_dump({"kind": "ConfigMap", "metadata": {"name": name}, "data": {"ca.crl": "".join(texts)}})


def policy(*names: str, more: str = "", crl: str = "") -> str:
    refs = ", ".join(f"{{name: {each}}}" for each in names)
    return f"""
---
kind: ClientTrafficPolicy
metadata: {{name: lists}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: mutual}}]
  tls: {{clientValidation: {{crl: {{refs: [{refs}]{crl}}}}}}}
  {more}
"""


def identity(lab: GatewayLab, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=SERVER.pem)
    context.load_cert_chain(lab.folder / f"{name}.pem")
    return context


async def let_in(lab: GatewayLab, port: int = 443) -> set[str]:
    found = set()
    for name in PEOPLE:
        try:
            await lab.ask(f"https://mutual.example:{port}/", gateway="mutual", tls=identity(lab, name))
        except (aiohttp.ClientError, OSError):
            continue
        found.add(name)
    return found


def told(lab: GatewayLab, listener: str = "https", now: datetime.datetime = NEVER) -> tuple[str, str]:
    """Reason and message of what a listener is told of lists of revoked certificates."""
    stage = GatewayStage()
    stage.update(lab.snapshot, None)
    bound = next(each for each in stage.gateways["default", "mutual"].listeners if each.api.name == listener)
    revoked = stage.clients.of(bound).revocation
    found = status.revocation_conditions(bound, revoked, lab.snapshot.trust_material, now.isoformat())
    assert [each.type for each in found] in ([], [status.REVOCATION])
    return (found[0].reason, found[0].message) if found else ("", "")


async def test_who_is_revoked_is_refused_from_then_on(mutual: GatewayLab) -> None:
    assert await let_in(mutual) == {"ann", "bob", "eve"}
    await mutual.apply(lists(OURS.revoked(), RIVALS.revoked()) + policy("lists"))
    assert await let_in(mutual) == {"ann", "bob", "eve"}
    before = mutual.plan.table("gateway_listeners")
    await mutual.apply(lists(OURS.revoked(PEOPLE["bob"]), RIVALS.revoked()))
    assert (await let_in(mutual), told(mutual)) == ({"ann", "eve"}, ("", ""))
    # Another list is not another listener.
    assert mutual.plan.table("gateway_listeners") == before
    await mutual.apply(lists(OURS.revoked(PEOPLE["ann"]), RIVALS.revoked()))
    assert await let_in(mutual) == {"bob", "eve"}
    await mutual.delete("ClientTrafficPolicy", "lists")
    assert await let_in(mutual) == {"ann", "bob", "eve"}


async def test_a_session_of_who_is_revoked_does_not_go_on(mutual: GatewayLab) -> None:
    await mutual.apply(lists(OURS.revoked(), RIVALS.revoked()) + policy("lists"))
    context = identity(mutual, "bob")
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def connect(session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool | None]:
        plain = socket.create_connection(("127.0.0.1", mutual.ports["mutual", 443]), timeout=10)
        with context.wrap_socket(plain, server_hostname="mutual.example", session=session) as secure:
            return secure.session, secure.session_reused

    session, _ = await asyncio.to_thread(connect, None)
    # Without another list the session would go on.
    assert (await asyncio.to_thread(connect, session))[1]
    await mutual.apply(lists(OURS.revoked(PEOPLE["bob"]), RIVALS.revoked()))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.to_thread(connect, session)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "there is no ConfigMap default/none"),
        ("nonsense", "holds no list of revoked certificates in PEM form"),
        (OURS.pem, "holds no list of revoked certificates in PEM form"),
    ],
    ids=["missing", "nonsense", "a certificate"],
)
async def test_nobody_gets_in_where_a_list_is_none(mutual: GatewayLab, data: str, words: str) -> None:
    text = lists(data, name="none") if data else ""
    await mutual.apply(lists(RIVALS.revoked()) + "---\n" + text + policy("lists", "none"))
    assert await let_in(mutual) == set()
    reason, message = told(mutual)
    assert (reason, words in message) == ("RefNotResolved", True)
    assert any(words in each for each in mutual.complaints("ClientTrafficPolicy/default/lists"))
    # Who would let in anybody does so still.
    assert await let_in(mutual, 8443) == {"ann", "bob", "eve"}
    assert told(mutual, "loose")[0] == "NotUsed"
    await mutual.apply(lists(OURS.revoked(PEOPLE["bob"]), name="none"))
    assert await let_in(mutual) == {"ann", "eve"}
    await mutual.delete("ConfigMap", "none")


async def test_a_policy_that_is_not_valid_lets_nobody_in(mutual: GatewayLab) -> None:
    await mutual.apply(lists(OURS.revoked(), RIVALS.revoked()) + policy("lists", more="timeouts: {idle: soon}"))
    assert (await let_in(mutual), told(mutual)[0]) == (set(), "RefNotResolved")
    await mutual.apply(policy("lists").replace("{name: lists}]", "{name: lists, kind: Secret}]"))
    assert await let_in(mutual) == set()
    assert any("must be a ConfigMap" in each for each in mutual.complaints("ClientTrafficPolicy/default/lists"))


async def test_an_authority_without_a_list_or_with_an_old_one_vouches_for_nobody(mutual: GatewayLab) -> None:
    await mutual.apply(lists(OURS.revoked()) + policy("lists"))
    assert await let_in(mutual) == {"ann", "bob"}
    assert told(mutual) == ("NoList", "no client of CN=rivals is let in: there is no list of that authority")
    await mutual.apply(lists(OURS.revoked(days=-1), RIVALS.revoked()))
    assert await let_in(mutual) == {"eve"}
    reason, message = told(mutual, now=datetime.datetime.now(datetime.UTC))
    assert (reason, "default/lists holds a list that is out of date since" in message) == ("Expired", True)
    assert told(mutual) == ("", "")

"""Certificates of clients that Ingresses want for their hosts, by real handshakes: other hosts of the port are not concerned, and nobody gets round them."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import urllib.parse
from collections.abc import Mapping

import aiohttp
import pytest
import pytest_asyncio
from tests.drivers.xds.gatewaylab import Answer, GatewayLab, Json
from tests.drivers.xds.ingresslab import asked, ingress, klass, opened, text
from tests.drivers.xds.test_https_listeners import statuses
from tests.pki import Authority, Pair, signed

from fairlead.api.credentials import LABEL
from fairlead.model.gateway.conversion import Options, convert
from fairlead.model.gateway.ingress import gateway_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
FEW_AND_MANY = True
SERVER, OURS, RIVALS = Authority("server"), Authority("ours"), Authority("rivals")
MIDDLE = signed("middle", ca=True, issuer=OURS.pair)
LAST = signed("last", ca=True, issuer=MIDDLE)
FAR = signed("far", issuer=LAST)
PEOPLE: dict[str, Pair | None] = {
    "ann": OURS.issue("ann"),
    "bob": OURS.issue("bob"),
    "eve": RIVALS.issue("eve"),
    "nobody": None,
}
CLASSES = [klass("nginx"), klass("haproxy", http3="true")]
DEFAULT = {"auth-tls-secret": "default/ours"}


def secret(name: str, authority: Authority, *, crl: str = "", namespace: str = "default") -> Json:
    data = {"ca.crt": authority.pem, **({"ca.crl": crl} if crl else {})}
    encoded = {each: base64.b64encode(text.encode()).decode() for each, text in data.items()}
    metadata = {"name": name, "namespace": namespace, "labels": {LABEL: ""}}
    return {"kind": "Secret", "metadata": metadata, "type": "Opaque", "data": encoded}


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def hosts(lab: GatewayLab) -> None:
    for name, pair in PEOPLE.items():
        if pair is not None:
            (lab.folder / f"{name}.pem").write_bytes(pair.chain + pair.key)
    for each in CLASSES:
        lab.door(*gateway_of(each["metadata"]["name"]), 80, 443, udp=(443,))
    names = ("known.test", "open.test", "*.sub.test", "a.sub.test")
    open_hosts = [
        ingress(f"open-{of}", {"/": "two"}, of=of, host="open.test", tls="server") for of in ("nginx", "haproxy")
    ]
    await lab.apply(
        "---\n".join((SERVER.issue(*names).secret("server"), text(*CLASSES, *open_hosts, secret("ours", OURS))))
    )
    for of in ("nginx", "haproxy"):
        await opened(lab, of, 443)


def identity(lab: GatewayLab, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=SERVER.pem)
    if PEOPLE[name] is not None:
        context.load_cert_chain(lab.folder / f"{name}.pem")
    return context


async def ask(lab: GatewayLab, name: str, url: str = "https://known.test/", *, of: str = "nginx") -> Answer | None:
    """What somebody is answered, None without a connection. Each time it is a new one, and forges what backends are told."""
    forged = {
        "ssl-client-verify": "SUCCESS",
        "ssl-client-subject-dn": "CN=root",
        "ssl-client-cert": "x",
        "x-ssl-client-dn": "CN=root",
    }
    try:
        headers = {**forged, "connection": "close"}
        return await lab.ask(url, gateway=gateway_of(of)[1], tls=identity(lab, name), headers=headers)
    except (aiohttp.ClientError, OSError):
        return None


async def let_in(lab: GatewayLab, url: str = "https://known.test/", *, of: str = "nginx") -> dict[str, int]:
    """Who has a connection → the status."""
    found = {name: await ask(lab, name, url, of=of) for name in PEOPLE}
    return {name: answer.status for name, answer in found.items() if answer is not None}


def why(lab: GatewayLab, name: str = "known") -> str:
    return " ".join(lab.complaints(f"Ingress/default/{name}"))


OK = {"ann": 200, "bob": 200}
CASES: dict[str, tuple[Mapping[str, str], dict[str, int]]] = {
    "on where nothing else is said": (DEFAULT, OK),
    "on": ({**DEFAULT, "auth-tls-verify-client": "on"}, OK),
    "optional": ({**DEFAULT, "auth-tls-verify-client": "optional"}, {**OK, "nobody": 200}),
    "optional from anybody": (
        {**DEFAULT, "auth-tls-verify-client": "optional_no_ca"}, {**OK, "nobody": 200, "eve": 200},
    ),
    "off": ({**DEFAULT, "auth-tls-verify-client": "off"}, {**OK, "nobody": 200, "eve": 200}),
    "a common name": ({**DEFAULT, "auth-tls-match-cn": "CN=(ann|carl)$"}, {"ann": 200, "bob": 403}),
    "a pattern without a common name": ({**DEFAULT, "auth-tls-match-cn": "ann"}, {**OK, "nobody": 500, "eve": 500}),
    "no certificates to believe": ({"auth-tls-verify-client": "on"}, {"ann": 500, "bob": 500}),
    "a common name without them": ({"auth-tls-match-cn": "CN=ann"}, {"ann": 500, "bob": 500}),
    "an error page": ({**DEFAULT, "auth-tls-error-page": "/sorry"}, {"ann": 500, "bob": 500}),
}  # fmt: skip


async def test_clients_of_a_host_show_certificates(lab: GatewayLab) -> None:
    for case, (wishes, wanted) in CASES.items():
        await lab.apply(text(ingress("known", {"/": "one"}, wishes, tls="server")))
        found = await let_in(lab)
        if "500" in str(wanted):
            found = {name: status for name, status in found.items() if name in wanted}
            wanted = dict.fromkeys(found, 500)
        assert found == wanted, case
        assert (await let_in(lab, "https://open.test/")) == dict.fromkeys(PEOPLE, 200), case
    await lab.delete("Ingress", "known")


async def check_sessions(lab: GatewayLab) -> None:
    """A session of a host that asks nobody is not taken up by one that does (RFC 5077, 3)."""
    context = identity(lab, "nobody")
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def connect(host: str, session: ssl.SSLSession | None) -> ssl.SSLSession | None:
        plain = socket.create_connection(("127.0.0.1", lab.ports[gateway_of("nginx")[1], 443]), timeout=10)
        with context.wrap_socket(plain, server_hostname=host, session=session) as secure:
            return secure.session

    session = await asyncio.to_thread(connect, "open.test", None)
    assert session is not None
    await asyncio.to_thread(connect, "open.test", session)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.to_thread(connect, "known.test", session)


async def test_no_other_way_leads_to_the_host(lab: GatewayLab) -> None:
    objects = [
        ingress("known", {"/": "one"}, {**DEFAULT, "ssl-redirect": "false"}, tls="server"),
        ingress("wild", {"/": "one"}, DEFAULT, host="*.sub.test", tls="server"),
        ingress("exact", {"/mine": "two"}, host="a.sub.test", tls="server"),
    ]
    await lab.apply(text(*objects))
    port = lab.ports[gateway_of("nginx")[1], 443]
    # One connection for many hosts, as browsers have it (RFC 9113, 9.1.1).
    asked_for = ["open.test", "known.test", "KNOWN.test", "known.test:443", "b.sub.test", "open.test"]
    assert await statuses(port, "open.test", asked_for, identity(lab, "nobody")) == [200, 421, 421, 421, 421, 200]
    assert await statuses(port, "known.test", ["known.test", "open.test"], identity(lab, "ann")) == [200, 421]
    await check_sessions(lab)
    assert await let_in(lab, "https://b.sub.test/") == OK
    assert await let_in(lab, "https://a.sub.test/mine") == dict.fromkeys(PEOPLE, 200)
    # What an Ingress has for a wildcard is not to be had through a host of another's that asks nobody.
    assert await let_in(lab, "https://a.sub.test/") == dict.fromkeys(PEOPLE, 404)
    assert await asked(lab, "http://known.test/x") == "308 https://known.test/x"
    await lab.apply(text(ingress("known", {"/": "one"}, DEFAULT)))
    assert await asked(lab, "http://known.test/x") == "308 https://known.test/x"
    assert await let_in(lab) == {}
    assert "without a certificate of its own" in why(lab)
    # A certificate for a wildcard does for a host with a chain of its own.
    await lab.apply(text(ingress("deep", {"/": "one"}, DEFAULT, host="b.sub.test")))
    await lab.delete("Ingress", "wild")
    await lab.apply(text(ingress("wild", {"/": "two"}, host="*.sub.test", tls="server")))
    assert await let_in(lab, "https://b.sub.test/") == OK
    assert await let_in(lab, "https://c.sub.test/") == dict.fromkeys(PEOPLE, 200)
    # Nor does the listener of a wildcard serve a host whose own certificate is none, whichever Ingress has the path.
    broken = SERVER.issue("b.sub.test").secret("broken", key=b"none")
    beside = ingress("beside", {"/beside": "one"}, host="b.sub.test", age=1)
    await lab.apply(
        f"{broken}---\n{text(ingress('deep', {'/': 'one'}, DEFAULT, host='b.sub.test', tls='broken'), beside)}"
    )
    for path in ("", "beside"):
        answer = await ask(lab, "nobody", f"https://b.sub.test/{path}")
        assert answer is None or answer.backend in ("404", "two")
    assert await let_in(lab, "https://c.sub.test/") == dict.fromkeys(PEOPLE, 200)
    for each in ("known", "wild", "exact", "deep", "beside"):
        await lab.delete("Ingress", each)


async def test_backends_hear_who_the_client_is(lab: GatewayLab) -> None:
    async def told(name: str, wishes: Mapping[str, str]) -> dict[str, str]:
        await lab.apply(text(ingress("known", {"/": "one"}, {**DEFAULT, **wishes}, tls="server")))
        answer = await ask(lab, name)
        assert answer is not None
        assert answer.status == 200
        return {each: value for each, value in answer.json["headers"].items() if "ssl-client" in each}

    ann = {
        "ssl-client-verify": "SUCCESS",
        "ssl-client-subject-dn": "CN=ann",
        "ssl-client-issuer-dn": "CN=ours",
    }
    assert await told("ann", {}) == ann
    found = await told("ann", {"auth-tls-pass-certificate-to-upstream": "true"})
    certificate = PEOPLE["ann"]
    assert certificate is not None
    assert urllib.parse.unquote(found.pop("ssl-client-cert")) == certificate.chain.decode()
    assert found == ann
    for mode in ("optional", "optional_no_ca"):
        more = {"auth-tls-verify-client": mode, "auth-tls-pass-certificate-to-upstream": "true"}
        assert await told("nobody", more) == {"ssl-client-verify": "NONE"}
        assert (await told("ann", more))["ssl-client-verify"] == "SUCCESS"
    eve = await told("eve", {"auth-tls-verify-client": "optional_no_ca"})
    assert eve["ssl-client-verify"].startswith("FAILED:")
    assert eve["ssl-client-subject-dn"] == "CN=eve"
    # Nobody is believed about himself where no certificates are asked for.
    assert await told("nobody", {"auth-tls-verify-client": "off"}) == {}
    await lab.delete("Ingress", "known")


async def test_so_many_authorities_may_stand_between(lab: GatewayLab) -> None:
    (lab.folder / "far.pem").write_bytes(FAR.chain + LAST.chain + MIDDLE.chain + FAR.key)
    context = ssl.create_default_context(cadata=SERVER.pem)
    context.load_cert_chain(lab.folder / "far.pem")
    found = {}
    for depth in ("", "1", "2"):
        wishes = {**DEFAULT, **({"auth-tls-verify-depth": depth} if depth else {})}
        await lab.apply(text(ingress("known", {"/": "one"}, wishes, tls="server")))
        try:
            found[depth] = await asked(lab, "https://known.test/", tls=context, headers={"connection": "close"})
        except (aiohttp.ClientError, OSError):
            found[depth] = ""
    assert found == {"": "", "1": "", "2": "one /"}
    await lab.delete("Ingress", "known")


async def test_a_host_whose_clients_cannot_be_known_lets_nobody_in(lab: GatewayLab) -> None:
    bad = secret("bad", OURS)
    bad["data"]["ca.crt"] = base64.b64encode(b"nonsense").decode()
    bare = secret("bare", OURS)
    del bare["metadata"]["labels"]
    await lab.apply(text(bad, bare))
    cases = {
        "default/gone": "there is no Secret default/gone with the label fairlead.dev/credentials and data[ca.crt]",
        "default/bare": "there is no Secret default/bare",
        "default/bad": "Secret default/bad: data[ca.crt] holds no certificate in PEM form",
        "team/ours": "no ReferenceGrant in namespace team permits Secret team/ours",
    }
    await lab.apply(text(secret("ours", OURS, namespace="team")))
    for name, words in cases.items():
        for mode in ("on", "optional", "optional_no_ca") if name == "default/gone" else ("on",):
            wishes = {"auth-tls-secret": name, "auth-tls-verify-client": mode}
            await lab.apply(text(ingress("known", {"/": "one"}, wishes, tls="server")))
            assert await let_in(lab) == {}, (name, mode)
        assert words in why(lab)
        assert await let_in(lab, "https://open.test/") == dict.fromkeys(PEOPLE, 200)
    port = lab.ports[gateway_of("nginx")[1], 443]
    assert await statuses(port, "open.test", ["known.test"], identity(lab, "ann")) == [421]
    source = {"group": "networking.k8s.io", "kind": "Ingress", "namespace": "default"}
    spec = {"from": [source], "to": [{"group": "", "kind": "Secret", "name": "ours"}]}
    wishes = {"auth-tls-secret": "team/ours"}
    grant = {"kind": "ReferenceGrant", "metadata": {"name": "clients", "namespace": "team"}, "spec": spec}
    await lab.apply(text(grant, ingress("known", {"/": "one"}, wishes, tls="server")))
    assert await let_in(lab) == OK
    # Changed authorities, and lists of revoked certificates, hold at once.
    assert PEOPLE["bob"] is not None
    await lab.apply(text(secret("ours", OURS, crl=OURS.revoked(PEOPLE["bob"]), namespace="team")))
    assert await let_in(lab) == {"ann": 200}
    await lab.apply(text(secret("ours", RIVALS, namespace="team")))
    assert await let_in(lab) == {"eve": 200}
    await lab.delete("ClientAuthority", "ours", "team")
    assert await let_in(lab) == {}
    await lab.delete("Ingress", "known")


async def test_of_several_ingresses_the_oldest_decides_for_the_host(lab: GatewayLab) -> None:
    await lab.apply(text(secret("theirs", RIVALS)))
    objects = [
        ingress("plain", {"/plain": "two"}, host="known.test", tls="server", age=1),
        ingress("known", {"/": "one"}, DEFAULT, age=2),
        ingress("other", {"/other": "one"}, {"auth-tls-secret": "theirs"}, host="known.test", age=3),
    ]
    await lab.apply(text(*objects))
    assert await let_in(lab) == OK
    assert await let_in(lab, "https://known.test/plain") == OK
    assert await let_in(lab, "https://known.test/other") == {"ann": 500, "bob": 500}
    assert "an older Ingress wants other certificates" in why(lab, "other")
    await lab.delete("Ingress", "known")
    assert await let_in(lab, "https://known.test/other") == {"eve": 200}
    await lab.delete("Ingress", "other")
    assert await let_in(lab, "https://known.test/plain") == dict.fromkeys(PEOPLE, 200)
    await lab.delete("Ingress", "plain")


async def test_haproxy_ingress(lab: GatewayLab) -> None:
    prefix = "haproxy-ingress.github.io/"
    wishes = {f"{prefix}auth-tls-secret": "ours", f"{prefix}auth-tls-strict": "true"}
    await lab.apply(text(ingress("known", {"/": "one"}, wishes, of="haproxy", tls="server")))
    assert await let_in(lab, of="haproxy") == OK
    answer = await ask(lab, "ann", of="haproxy")
    assert answer is not None
    assert answer.json["headers"]["x-ssl-client-dn"] == "CN=ann"
    assert len(answer.json["headers"]["x-ssl-client-sha1"]) == 40
    assert "ssl-client-verify" not in answer.json["headers"]
    # Over HTTP/3 nobody is asked, so such hosts have none.
    over_quic = (chain for _, row in lab.plan.table("gateway_quic_listeners").items() for chain in row.chains)  # type: ignore[attr-defined]
    assert [each.server_names for each in over_quic] == [("open.test",)]
    assert await let_in(lab, "https://open.test/", of="haproxy") == dict.fromkeys(PEOPLE, 200)
    await lab.delete("Ingress", "known")


async def test_what_a_gateway_cannot_ask_of_one_host_converts_to_nothing_open(lab: GatewayLab) -> None:
    objects = [
        ingress("known", {"/": "one"}, DEFAULT, tls="server"),
        ingress("beside", {"/beside": "one"}, host="known.test", tls="server"),
    ]
    await lab.apply(text(*objects))
    snapshot = lab.snapshot
    ingresses = {key: each for key, each in snapshot.ingresses.items() if key[1] in ("known", "beside")}
    made = convert(snapshot.ingress_classes, ingresses, snapshot.services, Options())
    assert {each.object for each in made.problems} == {"Ingress/default/known", "Ingress/default/beside"}
    rules = [rule for each in made.objects if each["kind"] == "HTTPRoute" for rule in each["spec"]["rules"]]
    assert rules
    assert not any("backendRefs" in each for each in rules)
    for name in ("known", "beside"):
        await lab.delete("Ingress", name)

"""What Ingresses say of TLS by annotations, by real connections through the real Envoy: one Envoy, hosts of each test's own."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import yaml
from tests.drivers.xds.gatewaylab import GatewayLab, Json
from tests.drivers.xds.ingresslab import asked, ingress, klass, opened, text
from tests.drivers.xds.l4 import REFUSED, Echo, ask
from tests.drivers.xds.test_proxy_life import secret, trusting

from fairlead.model.gateway.conversion import Options, convert
from fairlead.model.gateway.ingress import gateway_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
CLASSES = [klass(each) for each in ("nginx", "haproxy")]
HOSTS = (
    "*.own.test",
    *(f"{each}.test" for each in ("held", "passed", "both", "refused", "narrow", "ended", "known", "open", "maybe")),
)
PASS = {"ssl-passthrough": "true"}


class Tls(msgspec.Struct, frozen=True):
    lab: GatewayLab
    gate: ssl.SSLContext
    """Trusts the Ingresses' certificate alone."""
    inner: ssl.SSLContext
    """Trusts the backends' certificate alone."""

    async def who(self, name: str, *, of: str = "nginx", gate: bool = False, gateway: str = "") -> str:
        """Who answers a connection of TLS for a host: the backend itself, or nobody."""
        port = self.lab.ports[gateway or gateway_of(of)[1], 443]
        return await ask(port, name=name, tls=self.gate if gate else self.inner)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tls(lab: GatewayLab, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tls]:
    folder: Path = tmp_path_factory.mktemp("inner")
    key, gate = secret("gate", *HOSTS)
    inner_text, inner = secret("inner", *HOSTS)
    pem = folder / "inner.pem"
    data = yaml.safe_load(inner_text)["data"]
    pem.write_bytes(b"".join(base64.b64decode(data[each]) for each in ("tls.crt", "tls.key")))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    servers = []
    for name in ("secret-one", "secret-two"):
        server = await asyncio.get_running_loop().create_server(
            lambda name=name: Echo(name), "127.0.0.1", 0, ssl=context
        )
        servers.append(server)
        await lab.serve(name, server.sockets[0].getsockname()[1])
    for each in CLASSES:
        lab.door(*gateway_of(each["metadata"]["name"]), 80, 443)
    held = [ingress(f"held-{of}", {"/": "one"}, of=of, host="held.test", tls="gate") for of in ("nginx", "haproxy")]
    await lab.apply(f"{key}---\n{text(*CLASSES, *held)}")
    for of in ("nginx", "haproxy"):
        await opened(lab, of)
        await opened(lab, of, 443)
    yield Tls(lab, trusting(gate), trusting(inner))
    for each in servers:
        each.close()


async def test_tls_of_a_host_goes_to_its_backend_as_it_is(tls: Tls) -> None:
    lab = tls.lab
    passed = ingress("passed", {"/other": "one", "/": "secret-one"}, PASS)
    await lab.apply(text(passed, ingress("wild", {"/": "secret-two"}, PASS, host="*.own.test")))
    assert [await tls.who(f"{each}.test") for each in ("passed", "a.own", "held")] == [
        "secret-one",
        "secret-two",
        REFUSED,
    ]
    assert await asked(lab, "https://held.test/x", tls=tls.gate) == "one /x"
    assert await asked(lab, "http://passed.test/x?y") == "308 https://passed.test/x?y"
    # The connection of a host whose TLS ends here is no way to it.
    stray = await lab.ask(
        "https://held.test/", gateway=gateway_of("nginx")[1], headers={"Host": "passed.test"}, tls=tls.gate
    )
    assert stray.status == 421
    assert lab.complaints("Ingress/default/passed") == []

    plain = ingress("passed", {"/": "one"}, {**PASS, "ssl-redirect": "false"})
    await lab.apply(text(plain))
    assert await asked(lab, "http://passed.test/x") == "one /x"
    lost = [
        ingress("passed", {"/a": "secret-one"}, PASS),
        ingress("nameless", {"/": "secret-one"}, PASS, host=""),
        ingress("refused", {"/": "secret-one"}, {**PASS, "server-snippet": "x"}),
    ]
    await lab.apply(text(*lost))
    assert [await tls.who(f"{each}.test") for each in ("passed", "refused")] == [REFUSED, REFUSED]
    assert "no path / says" in " ".join(lab.complaints("Ingress/default/passed"))
    assert "without one" in " ".join(lab.complaints("Ingress/default/nameless"))
    assert await asked(lab, "http://refused.test/") == "500"
    for each in ("passed", "wild", "nameless", "refused"):
        await lab.delete("Ingress", each)
    assert await tls.who("passed.test") == REFUSED


async def test_of_several_ingresses_with_the_tls_of_a_host_the_oldest_counts(tls: Tls) -> None:
    lab = tls.lab
    ended = ingress("ended", {"/": "one"}, host="both.test", tls="gate", age=1)
    passed = ingress("passed", {"/": "secret-one"}, PASS, host="both.test", age=2)
    younger = ingress("younger", {"/b": "two"}, host="both.test", tls="gate", age=3)
    await lab.apply(text(ended, passed, younger))
    assert await tls.who("both.test") == REFUSED
    assert await asked(lab, "https://both.test/x", tls=tls.gate) == "one /x"
    assert await asked(lab, "https://both.test/b", tls=tls.gate) == "two /b"
    assert "an older Ingress has the host's TLS" in " ".join(lab.complaints("Ingress/default/passed"))
    await lab.delete("Ingress", "ended")
    assert await tls.who("both.test") == "secret-one"
    assert await asked(lab, "http://both.test/b") == "308 https://both.test/b"
    said = " ".join(lab.complaints("Ingress/default/younger"))
    assert "Ingress default/passed is older" in said
    assert lab.complaints("Ingress/default/passed") == []
    await lab.delete("Ingress", "passed")
    assert await asked(lab, "https://both.test/b", tls=tls.gate) == "two /b"
    assert lab.complaints("Ingress/default/younger") == []
    await lab.delete("Ingress", "younger")


DIALECTS: Mapping[str, Mapping[str, str]] = {
    "haproxy.org": {"haproxy.org/ssl-passthrough": "true"},
    "haproxy-ingress": {"haproxy-ingress.github.io/ssl-passthrough": "true"},
}


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_controllers_of_haproxy_hand_tls_on_too(tls: Tls, dialect: str) -> None:
    lab = tls.lab
    await lab.apply(text(ingress("passed", {"/": "secret-one"}, DIALECTS[dialect], of="haproxy")))
    assert await tls.who("passed.test", of="haproxy") == "secret-one"
    assert await asked(lab, "http://passed.test/x", of="haproxy") == "302 https://passed.test/x"
    await lab.delete("Ingress", "passed")


async def test_prefixes_of_clients_hold_for_connections_too(tls: Tls) -> None:
    for allowed, wanted in (("127.0.0.0/8", "secret-one"), ("192.0.2.0/24", REFUSED)):
        wishes = {**PASS, "whitelist-source-range": allowed}
        await tls.lab.apply(text(ingress("narrow", {"/": "secret-one"}, wishes)))
        assert await tls.who("narrow.test") == wanted
    await tls.lab.apply(text(ingress("narrow", {"/": "secret-one"}, {**PASS, "auth-url": "http://one.default.svc"})))
    assert await tls.who("narrow.test") == REFUSED
    await tls.lab.delete("Ingress", "narrow")


async def test_what_is_handed_on_converts_to_a_listener_and_a_tlsroute(tls: Tls) -> None:
    lab = tls.lab
    objects: list[Json] = [
        ingress("passed", {"/": "secret-one"}, {**PASS, "whitelist-source-range": "127.0.0.0/8"}),
        ingress("ended", {"/": "one"}, tls="gate"),
    ]
    await lab.apply(text(*objects))
    snapshot = lab.snapshot
    ingresses = {key: each for key, each in snapshot.ingresses.items() if key[1] in ("passed", "ended")}
    made = convert(snapshot.ingress_classes, ingresses, snapshot.services, Options())
    assert made.problems == ()
    await lab.apply(text(*made.objects))
    (gateway,) = (each for each in made.objects if each["kind"] == "Gateway")
    (route,) = (each for each in made.objects if each["kind"] == "TLSRoute")
    listener = next(each for each in gateway["spec"]["listeners"] if each["protocol"] == "TLS")
    assert (listener["hostname"], listener["tls"]) == ("passed.test", {"mode": "Passthrough"})
    assert route["spec"]["rules"] == [{"backendRefs": [{"name": "secret-one", "port": 80}]}]
    for at in (gateway_of("nginx")[1], "nginx"):
        assert await tls.who("passed.test", gateway=at) == "secret-one"
        assert (await lab.ask("https://ended.test/", gateway=at, tls=tls.gate)).status == 200
        assert (await lab.ask("http://passed.test/", gateway=at)).status == 308
    for each in reversed(made.objects):
        metadata = each["metadata"]
        await lab.delete(each["kind"], metadata["name"], metadata.get("namespace", ""))
    for name in ("passed", "ended"):
        await lab.delete("Ingress", name)

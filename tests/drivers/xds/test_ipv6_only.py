"""A node, Services, pods and clients that have IPv6 alone: Gateway and Ingress serve, and nothing of IPv4 is opened. Real Envoy, real requests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.drivers.xds.gatewaylab import NODE, GatewayLab
from tests.drivers.xds.ingresslab import asked, ingress, klass, text
from tests.drivers.xds.load import Load
from tests.drivers.xds.test_proxy_life import secret, trusting
from tests.drivers.xds.test_proxy_succession import only_one, renewed, resync

from fairlead.model.gateway.doors import slices
from fairlead.model.gateway.ingress import gateway_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOST = "six.example.com"
OBJECTS = f"""
kind: Gateway
metadata: {{name: web}}
spec:
  gatewayClassName: fairlead
  listeners:
    - {{name: http, port: 80, protocol: HTTP}}
    - {{name: tls, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: six}}]}}}}
---
kind: HTTPRoute
metadata: {{name: six}}
spec: {{parentRefs: [{{name: web}}], hostnames: [{HOST}], rules: [{{backendRefs: [{{name: one, port: 80}}]}}]}}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def six(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayLab]:
    found = GatewayLab(tmp_path_factory.mktemp("six"), addresses=("::1",))
    try:
        await found.start()
        await found.backend("one")
        yield found
    finally:
        await found.stop()


async def test_gateway_and_ingress_serve(six: GatewayLab, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, chain = secret("six", HOST)
    six.door(*gateway_of("nginx"), 80, 443)
    ingresses = text(klass("nginx"), ingress("own", {"/": "one"}))
    await six.apply("---\n".join((OBJECTS, certificate, ingresses)))
    trusted = trusting(chain)
    assert (await six.ask(f"https://{HOST}/", tls=trusted)).backend == "one"
    assert await asked(six, "http://own.test/a") == "one /a"
    before = await only_one(six)
    async with (
        Load(six.ports["web", 80], HOST, address="::1") as plain,
        Load(six.ports["web", 443], HOST, address="::1", tls=trusted) as secure,
    ):
        await plain.more(50)
        renewed(monkeypatch, stats_flush_interval="7s")
        await resync(six)
        await plain.more(50)
        await secure.more(50)
    assert not plain.failed and not secure.failed
    assert (await only_one(six)).epoch == before.epoch + 1


async def test_only_slices_of_ipv6_say_that_it_serves(six: GatewayLab) -> None:
    await six.apply(OBJECTS)
    own = [each for each in six.driver.states.values() if each.row.name.startswith("default/web/")]
    assert {(each.row.public_port, each.error) for each in own} == {(80, ""), (443, "")}
    found = slices(("default", "web"), six.snapshot.nodes[NODE], [(each.row, each.error) for each in own], {})
    assert [each["addressType"] for each in found] == ["IPv6"]
    assert found[0]["endpoints"][0]["addresses"] == ["::1"]


async def test_clients_are_known_by_their_prefix(six: GatewayLab) -> None:
    policy = """
---
apiVersion: fairlead.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: six}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: six}]
  clientCIDRs: {allow: ['%s']}
"""
    for prefix, status in (("::1/128", 200), ("fd00::/8", 403)):
        await six.apply(OBJECTS + policy % prefix)
        assert (await six.ask(f"http://{HOST}/")).status == status

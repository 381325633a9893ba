"""What a proxy counts of Gateways, as Prometheus reads it: by port of a Gateway and class of answers, by real requests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import aiohttp
import pytest
from aiohttp import web
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.drivers.xds.l4 import Echoes, ask
from tests.drivers.xds.requestpolicies import route
from tests.pki import Authority

from fairlead.observe.gateway_metrics import Counted, render

pytestmark = pytest.mark.asyncio(loop_scope="module")
GATEWAY = """
kind: Gateway
metadata: {name: counts.v1}
spec:
  gatewayClassName: fairlead
  listeners:
  - {name: web, port: 80, protocol: HTTP}
  - {name: safe, port: 443, protocol: HTTPS, hostname: a.example, tls: {certificateRefs: [{name: counts}]}}
  - {name: raw, port: 7, protocol: TCP}
  - {name: dns, port: 7, protocol: UDP}
---
"""


TIMES = "fairlead_gateway_request_duration_seconds"
_SAMPLE = re.compile(r'(\w+)(?:\{((?:\w+="[^"\\\n]*",?)*)\})? ([0-9.e+-]+)')


def parsed(text: str) -> dict[tuple[str, str, str], float]:
    """(name, port and protocol, class or end of a step) → value, of the Gateway of this module and of the node."""
    found = {}
    typed = set(re.findall(r"^# TYPE (\w+) (?:counter|gauge|histogram)$", text, re.MULTILINE))
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = _SAMPLE.fullmatch(line)
        assert match is not None, line
        assert {match[1], re.sub("_(bucket|sum|count)$", "", match[1])} & typed, line
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
        if labels.pop("gateway", "counts.v1") == "counts.v1":
            at = f"{labels.get('port', '')}{labels.get('protocol', '')}"
            key = (match[1], at, labels.get("code_class", labels.get("le", "")))
            assert key not in found
            found[key] = float(match[3])
    return found


async def samples(lab: GatewayLab) -> Mapping[tuple[str, str, str], float]:
    found = await lab.driver.counted()
    listeners = [Counted(each.row, not each.error) for each in lab.driver.states.values()]
    return parsed(render(listeners, found.values, found.durations))


async def test_answers_and_connections_of_a_gateway(lab: GatewayLab) -> None:
    echoes = Echoes(lab)
    authority = Authority()
    try:
        await echoes.tcp("raw")
        await lab.apply(authority.issue("a.example").secret("counts"))
        await lab.apply(
            GATEWAY
            + """
kind: TCPRoute
metadata: {name: raw}
spec: {parentRefs: [{name: counts.v1, sectionName: raw}], rules: [{backendRefs: [{name: raw, port: 7}]}]}
"""
            + route("counted", gateway="counts.v1")
        )
        before = await samples(lab)
        lab.backends["one"].respond = lambda request: web.Response(status=int(request["path"].strip("/")))
        # Envoy counts whole milliseconds: what is faster took none.
        lab.backends["one"].delay_s = 0.05
        asked = [200, 204, 301, 404, 404, 500]
        for status in asked:
            answer = await lab.ask(f"http://counted.example.com/{status}", gateway="counts.v1")
            assert answer.status == status
        assert await ask(lab.ports["counts.v1", 7]) == "raw"
        with pytest.raises(aiohttp.ClientError):
            # Nobody has this server name.
            await lab.ask("https://b.example/", gateway="counts.v1")
        after = await samples(lab)
        grown = {key: value - before.get(key, 0.0) for key, value in after.items() if value != before.get(key, 0.0)}
        for code, count in {"2xx": 2, "3xx": 1, "4xx": 2, "5xx": 1}.items():
            assert grown["fairlead_gateway_requests_total", "80TCP", code] == count
        # The driver has connected to each address once, to see that it is listened on; that may be counted only now.
        for at, count in {"80TCP": len(asked), "7TCP": 1}.items():
            assert 0 <= grown["fairlead_gateway_connections_total", at, ""] - count <= 2
        assert grown["fairlead_gateway_unserved_connections_total", "443TCP", ""] == 1
        async with asyncio.timeout(20):
            # Envoy sums times up every few seconds.
            while after.get((TIMES + "_count", "", ""), 0) - before.get((TIMES + "_count", "", ""), 0) < len(asked):
                await asyncio.sleep(0.1)
                after = await samples(lab)
        steps = {float(end): value for (name, _, end), value in after.items() if name == TIMES + "_bucket"}
        assert list(steps) == sorted(steps) and list(steps.values()) == sorted(steps.values())
        assert steps[float("inf")] == after[TIMES + "_count", "", ""]
        took = after[TIMES + "_sum", "", ""] - before.get((TIMES + "_sum", "", ""), 0)
        assert len(asked) * 0.04 < took < 10
        ready = [value for (name, _, _), value in after.items() if name == "fairlead_gateway_listener_ready"]
        assert ready == [1.0] * 4
    finally:
        lab.backends["one"].respond = lambda _: None
        lab.backends["one"].delay_s = 0.0
        await echoes.stop()


async def test_a_proxy_that_does_not_answer_counts_nothing(lab: GatewayLab) -> None:
    await lab.apply(GATEWAY)
    listeners = [Counted(each.row, False) for each in lab.driver.states.values()]
    assert {name for name, _, _ in parsed(render(listeners, {}, {}))} == {"fairlead_gateway_listener_ready"}
    assert render([], {}, {}) == ""

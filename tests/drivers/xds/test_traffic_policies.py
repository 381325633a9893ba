"""TrafficPolicies by real requests: how many, how large, how encoded."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from aiohttp import web
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.drivers.xds.requestpolicies import policy, route, secret, status_from

pytestmark = pytest.mark.asyncio(loop_scope="module")
FEW_AND_MANY = True


def limits(name: str, spec: str, **where: str) -> str:
    return policy(name, spec, kind="TrafficPolicy", **where)


async def test_a_rate_for_a_route(lab: GatewayLab) -> None:
    spec = "rateLimit: {rules: [{requests: 3, unit: Hour}, {requests: 100, unit: Second, burst: 1000}]}"
    await lab.apply(route("rate") + route("unlimited") + limits("rate", spec))
    found = [await lab.ask("http://rate.example.com/") for _ in range(5)]
    assert [each.status for each in found] == [200, 200, 200, 429, 429]
    assert found[-1].headers["x-ratelimit-remaining"] == "0"
    assert {(await lab.ask("http://unlimited.example.com/")).status for _ in range(5)} == {200}


async def test_a_rate_for_each_client(lab: GatewayLab) -> None:
    spec = "rateLimit: {rules: [{requests: 2, unit: Hour, by: ClientAddress}]}"
    await lab.apply(route("clients") + limits("clients", spec))
    found = {
        source: [
            await status_from(lab, source, "clients.example.com", **{"X-Forwarded-For": f"192.0.2.{at}"})
            for at in range(3)
        ]
        for source in ("127.0.0.1", "127.0.0.2", "::1")
    }
    assert set(map(tuple, found.values())) == {(200, 200, 429)}


async def test_clients_that_are_not_counted(lab: GatewayLab) -> None:
    by = {"Route": "", "ClientAddress": ", by: ClientAddress", "Header": ", by: Header, header: X-Tenant"}
    for name, more in by.items():
        host = f"exempt-{name.lower()}"
        spec = f"rateLimit: {{exemptCIDRs: [127.0.0.2/32, '::1/128'], rules: [{{requests: 1, unit: Hour{more}}}]}}"
        await lab.apply(route(host) + limits(host, spec))
        found = {
            source: [await status_from(lab, source, f"{host}.example.com") for _ in range(3)]
            for source in ("127.0.0.2", "::1", "127.0.0.1")
        }
        assert found == {"127.0.0.2": [200] * 3, "::1": [200] * 3, "127.0.0.1": [200, 429, 429]}, name
    await lab.apply(limits("exempt-route", "rateLimit: {exemptCIDRs: [me], rules: [{requests: 1}]}"))
    assert await status_from(lab, "127.0.0.2", "exempt-route.example.com") == 500
    assert "spec.rateLimit.exemptCIDRs[0]: 'me' is no prefix" in lab.complaints("TrafficPolicy/default/exempt-route")[0]


async def test_a_rate_for_each_value_of_a_header_and_for_those_without(lab: GatewayLab) -> None:
    spec = "rateLimit: {rules: [{requests: 1, unit: Hour, by: Header, header: X-Tenant}]}"
    await lab.apply(route("tenants") + limits("tenants", spec))
    asked = ("a", "b", "a", "", "b", "")
    found = [
        (await lab.ask("http://tenants.example.com/", headers={"x-tenant": each} if each else {})).status
        for each in asked
    ]
    assert found == [200, 200, 429, 200, 429, 429]


async def test_rates_come_before_passwords(lab: GatewayLab) -> None:
    keys = secret("rate-keys", a="k1")
    spec = "apiKeyAuth: {credentialRefs: [{name: rate-keys}]}"
    text = keys + route("guess") + policy("guess", spec)
    await lab.apply(text + limits("guess", "rateLimit: {rules: [{requests: 2, unit: Hour}]}"))
    found = [
        (await lab.ask("http://guess.example.com/", headers={"x-api-key": each})).status for each in ("a", "b", "k1")
    ]
    assert found == [401, 401, 429]


async def test_bodies_that_are_too_large(lab: GatewayLab) -> None:
    await lab.apply(route("size") + limits("size", "maxRequestBytes: 1000"))
    url = "http://size.example.com/"
    found = {size: (await lab.ask(url, "POST", body=b"x" * size)).status for size in (0, 1000, 1001, 100_000)}
    assert found == {0: 200, 1000: 200, 1001: 413, 100_000: 413}
    assert await _chunked(lab, "size.example.com", 10) == 200
    assert await _chunked(lab, "size.example.com", 300) == 413


async def _chunked(lab: GatewayLab, host: str, chunks: int) -> int:
    """Send a body of unknown length, ten bytes at a time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.ports["web", 80])
    head = f"POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + b"a\r\n0123456789\r\n" * chunks + b"0\r\n\r\n")
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


ENCODINGS = {
    "only what is wanted": ("[Gzip]", "br, zstd", None),
    "gzip": ("[Gzip]", "gzip", "gzip"),
    "brotli": ("[Brotli]", "br", "br"),
    "zstd": ("[Zstd]", "zstd", "zstd"),
    "the first of equals": ("[Brotli, Gzip]", "gzip, br", "br"),
    "another first of equals": ("[Gzip, Zstd, Brotli]", "zstd, br, gzip", "gzip"),
    "the second where the first is not wanted": ("[Zstd, Brotli, Gzip]", "gzip, br", "br"),
    "what the client likes best": ("[Brotli, Gzip]", "gzip;q=1, br;q=0.5", "gzip"),
    "none": ("[Zstd, Brotli, Gzip]", "identity", None),
}


@pytest.mark.parametrize("case", ENCODINGS, ids=str)
async def test_answers_are_encoded(lab: GatewayLab, case: str) -> None:
    algorithms, accepted, wanted = ENCODINGS[case]
    text = await _texts(lab)
    await lab.apply(route("encoded", "[{backendRefs: [{name: texts, port: 80}]}]"))
    await lab.apply(limits("encoded", f"compression: {{algorithms: {algorithms}}}"))
    answer = await lab.ask("http://encoded.example.com/", headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") == wanted
    if wanted == "gzip":
        assert gzip.decompress(answer.body) == text.encode()
    elif wanted is None:
        assert answer.body == text.encode()
    else:
        assert len(answer.body) < len(text) / 10


async def test_some_answers_are_not_encoded(lab: GatewayLab) -> None:
    await _texts(lab)
    spec = "compression: {algorithms: [Gzip], contentTypes: [text/plain], minBytes: 1000}"
    await lab.apply(route("some", "[{backendRefs: [{name: texts, port: 80}]}]") + limits("some", spec))
    found = [
        (await lab.ask(f"http://some.example.com{path}", headers={"accept-encoding": "gzip"})).headers.get(
            "content-encoding"
        )
        for path in ("/", "/short", "/html")
    ]
    assert found == ["gzip", None, None]


async def _texts(lab: GatewayLab) -> str:
    text = "to be or not to be " * 200
    backend = lab.backends.get("texts") or await lab.backend("texts")
    backend.respond = lambda request: web.Response(
        text=text[:500] if request["path"] == "/short" else text,
        content_type="text/html" if request["path"] == "/html" else "text/plain",
    )
    return text


BAD = {
    "spec.rateLimit.rules[0].unit": "rateLimit: {rules: [{requests: 1, unit: Year}]}",
    "spec.rateLimit.rules[0].requests": "rateLimit: {rules: [{requests: 0}]}",
    "spec.rateLimit.rules[0].header": "rateLimit: {rules: [{requests: 1, by: Header}]}",
    "spec.rateLimit.rules[0].by": "rateLimit: {rules: [{requests: 1, by: Moon}]}",
    "spec.maxRequestBytes": "maxRequestBytes: 99999999999",
    "spec.compression.algorithms": "compression: {algorithms: [Lzma]}",
    "spec.exempt": "exempt: [everything]",
}


@pytest.mark.parametrize("case", BAD, ids=str)
async def test_a_policy_that_is_not_valid_closes_its_route_alone(lab: GatewayLab, case: str) -> None:
    await lab.apply(route("bad-limits") + route("neighbor") + limits("bad-limits", BAD[case]))
    found = [(await lab.ask(f"http://{each}.example.com/")).status for each in ("bad-limits", "neighbor")]
    assert found == [500, 200]
    assert any(each.startswith(case) for each in lab.complaints("TrafficPolicy/default/bad-limits"))
    await lab.delete("TrafficPolicy", "bad-limits")

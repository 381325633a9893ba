"""BackendTrafficPolicies by real requests: how they are shared among real endpoints, limited, and kept from those that fail."""

from __future__ import annotations

import asyncio
import json
import math
import os
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web
from tests.drivers.xds.gatewaylab import Backend, GatewayLab

pytestmark = pytest.mark.asyncio(loop_scope="module")


def route(name: str) -> str:
    return f"""
kind: HTTPRoute
metadata: {{name: {name}}}
spec: {{parentRefs: [{{name: web}}], hostnames: [{name}.example.com], rules: [{{backendRefs: [{{name: {name}, port: 80}}]}}]}}
"""


def policy(name: str, spec: str) -> str:
    return f"""
kind: BackendTrafficPolicy
metadata: {{name: {name}}}
spec: {{targetRefs: [{{group: '', kind: Service, name: {name}}}], {spec}}}
"""


async def several(lab: GatewayLab, name: str, count: int, spec: str) -> list[Backend]:
    """Make a Service of `count` endpoints with a route and a policy."""
    found = [Backend(f"{name}-{at}") for at in range(count)]
    for each in found:
        lab.backends[each.name] = each
        await each.start()
    await lab.serve(name, *(each.port for each in found))
    await lab.apply(f"{route(name)}---{policy(name, spec)}")
    return found


async def asked(lab: GatewayLab, name: str, count: int, query: str = "", **headers: str) -> Counter[str]:
    url = f"http://{name}.example.com/{query}"
    return Counter([(await lab.ask(url, headers=headers)).backend for _ in range(count)])


SHARES = {
    # Each of the proxy's threads has a round of its own.
    "round robin": ("RoundRobin", (97, 103)),
    "least request": ("LeastRequest", (60, 140)),
    # Five standard deviations of a binomial distribution around the mean.
    "random": ("Random", (67, 133)),
}


@pytest.mark.parametrize("case", SHARES, ids=str)
async def test_how_requests_are_shared_out(lab: GatewayLab, case: str) -> None:
    kind, (least, most) = SHARES[case]
    name = "share-" + kind.lower()
    await several(lab, name, 3, f"loadBalancing: {{type: {kind}}}")
    count = await asked(lab, name, 300)
    assert sum(count.values()) == 300
    assert all(least <= count[f"{name}-{at}"] <= most for at in range(3)), count


KEYS = {
    "header": ("key: Header, header: X-User", lambda n: ("", {"x-user": f"u{n}"})),
    "cookie": ("key: Cookie, cookie: {name: user}", lambda n: ("", {"cookie": f"user=u{n}"})),
    "query": ("key: QueryParameter, queryParameter: user", lambda n: (f"?user=u{n}", {})),
}


@pytest.mark.parametrize("algorithm", ["Maglev", "RingHash"])
@pytest.mark.parametrize("case", KEYS, ids=str)
async def test_alike_requests_go_to_one_endpoint(lab: GatewayLab, case: str, algorithm: str) -> None:
    key, request = KEYS[case]
    name = f"hash-{case}-{algorithm.lower()}"
    hashing = f"loadBalancing: {{type: ConsistentHash, consistentHash: {{algorithm: {algorithm}, {key}}}}}"
    ends = await several(lab, name, 3, hashing)
    users = {n: await asked(lab, name, 3, request(n)[0], **request(n)[1]) for n in range(30)}
    assert all(len(count) == 1 for count in users.values()), users
    homes = {n: next(iter(count)) for n, count in users.items()}
    # With 30 keys an endpoint stays without any once in 60,000.
    assert set(homes.values()) == {each.name for each in ends}
    await lab.serve(name, *(each.port for each in ends[:2]))
    await lab.delete("EndpointSlice", f"{name}-2")
    moved = {n: next(iter(await asked(lab, name, 1, request(n)[0], **request(n)[1]))) for n in range(30)}
    stayed = [n for n, home in homes.items() if home != f"{name}-2"]
    assert sum(moved[n] == homes[n] for n in stayed) >= len(stayed) * 0.7


async def ask_from(lab: GatewayLab, source: str, name: str) -> str:
    """Ask from an address of loopback; return the answer's body."""
    connector = aiohttp.TCPConnector(local_addr=(source, 0))
    async with aiohttp.ClientSession(connector=connector) as client:
        url = f"http://127.0.0.1:{lab.ports['web', 80]}/"
        async with client.get(url, headers={"host": f"{name}.example.com"}) as answer:
            return await answer.text()


async def test_a_client_stays_with_one_endpoint_by_its_address(lab: GatewayLab) -> None:
    hashing = "loadBalancing: {type: ConsistentHash, consistentHash: {key: SourceAddress}}"
    await several(lab, "hash-source", 3, hashing)
    homes = {
        n: {json.loads(await ask_from(lab, f"127.0.1.{n}", "hash-source"))["pod"] for _ in range(3)}
        for n in range(1, 25)
    }
    assert all(len(pods) == 1 for pods in homes.values())
    assert len(set.union(*homes.values())) > 1


async def test_clients_without_the_cookie_are_given_one(lab: GatewayLab) -> None:
    cookie = "cookie: {name: seat, ttl: 1h, path: /x}"
    hashing = f"loadBalancing: {{type: ConsistentHash, consistentHash: {{key: Cookie, {cookie}}}}}"
    await several(lab, "hash-given", 3, hashing)
    first = await lab.ask("http://hash-given.example.com/")
    given = first.headers["set-cookie"]
    assert given.startswith("seat=")
    assert "Max-Age=3600" in given
    assert "Path=/x" in given
    pair = given.partition(";")[0]
    count = await asked(lab, "hash-given", 10, cookie=pair)
    assert count == {first.backend: 10}


async def test_a_new_endpoint_gets_its_share_little_by_little(lab: GatewayLab) -> None:
    slow = "loadBalancing: {type: RoundRobin, slowStart: {window: 1s, minWeightPercent: 1}}"
    first, second = await several(lab, "slow-start", 2, slow)
    await lab.delete("EndpointSlice", "slow-start-1")
    began = time.monotonic()
    await lab.delete("EndpointSlice", "slow-start-0")
    await lab.serve("slow-start", first.port)
    while time.monotonic() < began + 1.2:
        assert set(await asked(lab, "slow-start", 5)) == {first.name}
    await lab.serve("slow-start", first.port, second.port)
    count = await asked(lab, "slow-start", 60)
    assert count[second.name] < 20, count


async def eventually(lab: GatewayLab, name: str, wanted: set[str]) -> None:
    """Wait until answers of the next 20 requests come from these backends exactly."""
    async with asyncio.timeout(10):
        while set(await asked(lab, name, 20)) != wanted:
            pass


async def test_endpoints_that_fail_an_active_check_are_left_and_come_back(lab: GatewayLab) -> None:
    check = "active: {type: HTTP, interval: 50ms, unhealthyThreshold: 2, http: {path: /ready, expectedStatuses: [200, 204]}}"
    good, bad = await several(lab, "active-http", 2, f"healthCheck: {{{check}}}")
    await eventually(lab, "active-http", {good.name, bad.name})
    bad.respond = lambda what: web.Response(status=503) if what["path"] == "/ready" else None
    await eventually(lab, "active-http", {good.name})
    bad.respond = lambda what: web.Response(status=204) if what["path"] == "/ready" else None
    await eventually(lab, "active-http", {good.name, bad.name})
    # What the cluster takes away goes at once, although it answers well.
    await lab.delete("EndpointSlice", "active-http-1")
    assert set(await asked(lab, "active-http", 20)) == {good.name}


async def test_endpoints_that_cannot_be_connected_to_fail_a_tcp_check(lab: GatewayLab) -> None:
    good, bad = await several(lab, "active-tcp", 2, "healthCheck: {active: {type: TCP, interval: 50ms}}")
    await eventually(lab, "active-tcp", {good.name, bad.name})
    await bad.stop()
    await eventually(lab, "active-tcp", {good.name})


async def test_endpoints_that_say_so_fail_a_check_of_grpc(lab: GatewayLab) -> None:
    serving, not_serving = b"\x08\x01", b"\x08\x02"
    states = {"g-health-0": serving, "g-health-1": serving}

    class Health(grpc.GenericRpcHandler):
        def __init__(self, name: str) -> None:
            self._name = name

        def service(self, details: Any) -> Any:
            async def check(request: bytes, _context: Any) -> bytes:
                assert request == b"\x0a\x03a.B"
                return states[self._name]

            async def answer(_request: bytes, _context: Any) -> bytes:
                return self._name.encode()

            checks = details.method == "/grpc.health.v1.Health/Check"
            return grpc.unary_unary_rpc_method_handler(check if checks else answer)

    servers = []
    ports = []
    for name in states:
        servers.append(grpc.aio.server(handlers=(Health(name),)))
        ports.append(servers[-1].add_insecure_port("127.0.0.1:0"))
        await servers[-1].start()
    await lab.serve("g-health", *ports)
    check = "healthCheck: {active: {type: GRPC, interval: 50ms, unhealthyThreshold: 1, grpc: {service: a.B}}}"
    text = route("g-health").replace("HTTPRoute", "GRPCRoute")
    await lab.apply(f"{text}---{policy('g-health', check)}")

    async def answers() -> set[str]:
        options = [("grpc.default_authority", "g-health.example.com"), ("grpc.enable_http_proxy", 0)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{lab.ports['web', 80]}", options=options) as channel:
            call = channel.unary_unary("/a.B/Get")
            return {(await call(b"", timeout=10, wait_for_ready=True)).decode() for _ in range(20)}

    async def until(wanted: set[str]) -> None:
        async with asyncio.timeout(10):
            while await answers() != wanted:
                pass

    try:
        await until({"g-health-0", "g-health-1"})
        states["g-health-1"] = not_serving
        await until({"g-health-0"})
    finally:
        for server in servers:
            await server.stop(None)


async def test_endpoints_whose_answers_fail_are_left_alone(lab: GatewayLab) -> None:
    check = "passive: {consecutiveErrors: 3, interval: 50ms, baseEjectionTime: 60s}"
    good, bad = await several(lab, "passive", 2, f"healthCheck: {{{check}}}")
    bad.respond = lambda _: web.Response(status=500)
    await eventually(lab, "passive", {good.name})
    assert 3 <= len(bad.seen) < 20


async def together(lab: GatewayLab, name: str, count: int) -> Counter[int]:
    answers = await asyncio.gather(*(lab.ask(f"http://{name}.example.com/") for _ in range(count)))
    return Counter(each.status for each in answers)


LIMITS = {
    # Each of the proxy's threads has at least one connection, whatever the limit.
    "connections": ("maxConnections: 2, maxPendingRequests: 1", 4),
    "requests": ("maxParallelRequests: 3", 3),
}


@pytest.mark.parametrize("case", LIMITS, ids=str)
async def test_what_is_more_than_a_limit_is_refused(lab: GatewayLab, case: str) -> None:
    limits, most = LIMITS[case]
    name = f"limit-{case}"
    (backend,) = await several(lab, name, 1, f"circuitBreaker: {{{limits}}}")
    backend.delay_s = 0.3
    count = await together(lab, name, 20)
    assert count[200] + count[503] == 20
    assert 1 <= count[200] <= most
    assert len(backend.seen) == count[200]


BUDGETS = {
    "no policy": ("", 100, 100),
    "a part of what runs": ("retryConstraint: {budget: {percent: 20}, minParallelRetries: 0},", 10, 24),
    "so many whatever runs": ("retryConstraint: {budget: {percent: 0}, minParallelRetries: 5},", 3, 7),
    "so many at most": ("circuitBreaker: {maxParallelRetries: 5},", 3, 7),
}


@pytest.mark.parametrize("case", BUDGETS, ids=str)
async def test_retries_are_bounded(lab: GatewayLab, case: str) -> None:
    spec, least, most = BUDGETS[case]
    name = "budget-" + case.replace(" ", "-")
    (backend,) = await several(lab, name, 1, f"{spec} connectTimeout: 5s")
    backend.respond = lambda _: web.Response(status=503)
    backend.delay_s = 0.3
    retry = "retry: {attempts: 1, codes: [503], backoff: 1ms}"
    await lab.apply(route(name).replace("{backendRefs", f"{{{retry}, backendRefs"))
    assert await together(lab, name, 100) == {503: 100}
    assert least <= len(backend.seen) - 100 <= most


@pytest.mark.parametrize(
    ("interval", "least", "most"), [("", 5, 13), (", interval: 1m", 50, 50)], ids=["running", "begun"]
)
async def test_a_budget_of_what_runs_and_of_what_began_in_a_while(
    lab: GatewayLab, interval: str, least: int, most: int
) -> None:
    name = f"window-{most}"
    spec = f"retryConstraint: {{budget: {{percent: 20{interval}}}, minParallelRetries: 0}}, connectTimeout: 5s"
    (backend,) = await several(lab, name, 1, spec)
    retry = "retry: {attempts: 1, codes: [503], backoff: 1ms}"
    await lab.apply(route(name).replace("{backendRefs", f"{{{retry}, backendRefs"))
    assert await together(lab, name, 250) == {200: 250}
    backend.respond = lambda _: web.Response(status=503)
    backend.delay_s = 0.3
    # A fifth of 50 that run, or of 300 that began.
    assert await together(lab, name, 50) == {503: 50}
    assert least <= len(backend.seen) - 300 <= most


async def test_a_connection_takes_no_longer_than_it_may(lab: GatewayLab) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        # The kernel answers nobody whose connection would have to wait.
        fillers = [socket.socket() for _ in range(4)]
        for each in fillers:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        await lab.serve("connect", port)
        await lab.apply(f"{route('connect')}---{policy('connect', 'connectTimeout: 100ms')}")
        began = time.monotonic()
        assert (await lab.ask("http://connect.example.com/")).status == 503
        assert time.monotonic() - began < 3
        for each in fillers:
            each.close()


async def test_a_changed_policy_loses_no_request(lab: GatewayLab) -> None:
    await several(lab, "changing", 2, "loadBalancing: {type: Random}")
    done = False

    async def ask() -> Counter[str]:
        found: Counter[str] = Counter()
        while not done:
            found += await asked(lab, "changing", 5)
        return found

    asking = asyncio.create_task(ask())
    for kind in ("RoundRobin", "Random", "LeastRequest"):
        await lab.apply(policy("changing", f"loadBalancing: {{type: {kind}}}"))
    await lab.delete("BackendTrafficPolicy", "changing")
    done = True
    assert set(await asking) == {"changing-0", "changing-1"}


class Raw:
    """Answers requests with how the connection began, and counts connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for each in self._writers:
            each.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        begin = ""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"PROXY"):
                    begin = head.partition(b"\r\n")[0].decode()
                elif head.startswith(b"\r\n\r\n"):
                    # The second version's signature begins with two empty lines.
                    fixed = await reader.readexactly(12)
                    body = await reader.readexactly(int.from_bytes(fixed[10:12], "big"))
                    begin = f"PROXY2 {socket.inet_ntop(socket.AF_INET, body[:4])}"
                    continue
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(begin)}\r\n\r\n{begin}".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.mark.parametrize(("version", "words"), [("V1", "PROXY TCP4 {} 127.0.0.1"), ("V2", "PROXY2 {}")])
async def test_backends_hear_the_clients_address_by_the_proxy_protocol(
    lab: GatewayLab, version: str, words: str
) -> None:
    raw = Raw()
    await raw.start()
    try:
        name = f"proxy-{version.lower()}"
        await lab.serve(name, raw.port)
        await lab.apply(f"{route(name)}---{policy(name, f'proxyProtocol: {version}')}")
        for source in ("127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"):
            assert (await ask_from(lab, source, name)).startswith(words.format(source))
    finally:
        await raw.stop()


async def test_connections_last_for_so_many_requests_and_are_kept_alive(lab: GatewayLab) -> None:
    raw = Raw()
    await raw.start()
    try:
        await lab.serve("kept", raw.port)
        spec = "circuitBreaker: {maxRequestsPerConnection: 1}, tcpKeepalive: {idleTime: 100s}"
        await lab.apply(f"{route('kept')}---{policy('kept', spec)}")
        for _ in range(4):
            assert (await lab.ask("http://kept.example.com/")).status == 200
        assert raw.connections == 4
        await lab.apply(policy("kept", "tcpKeepalive: {idleTime: 100s}"))
        assert (await lab.ask("http://kept.example.com/")).status == 200
        assert _keepalives(raw.port) == {(2, 100)}
    finally:
        await raw.stop()


def _keepalives(port: int) -> set[tuple[int, int]]:
    """(kind of timer, seconds until it fires, rounded up) of the connections to a port, by the kernel's own table."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[2].endswith(f":{port:04X}") and fields[3] == "01":
            kind, _, ticks = fields[5].partition(":")
            found.add((int(kind, 16), math.ceil(int(ticks, 16) / os.sysconf("SC_CLK_TCK"))))
    return found

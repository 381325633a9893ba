"""Sessions by real requests: who comes back gets the same endpoint, whatever comes and goes, and learns nothing of it."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
import struct
import time
from collections import Counter

import grpc
import pytest
from tests.drivers.xds.gatewaylab import Answer, Backend, GatewayLab
from tests.pki import Authority

pytestmark = pytest.mark.asyncio(loop_scope="module")
FEW_AND_MANY = True


def route(name: str, session: str, refs: str = "", uid: str = "3f0c", kind: str = "HTTPRoute") -> str:
    refs = refs or f"{{name: {name}, port: 80}}"
    return f"""
kind: {kind}
metadata: {{name: {name}, uid: {uid}}}
spec:
  parentRefs: [{{name: web}}]
  hostnames: [{name}.example.com]
  rules: [{{backendRefs: [{refs}], sessionPersistence: {{{session}}}}}]
"""


async def several(lab: GatewayLab, name: str, count: int) -> list[Backend]:
    found = [Backend(f"{name}-{at}") for at in range(count)]
    for each in found:
        lab.backends[each.name] = each
        await each.start()
    await lab.serve(name, *(each.port for each in found))
    return found


def given(answer: Answer) -> tuple[str, set[str]]:
    """(`NAME=VALUE`, attributes) of the cookie of an answer."""
    pair, *attributes = answer.headers["set-cookie"].split("; ")
    return pair, set(attributes)


async def homes(lab: GatewayLab, name: str, count: int, **headers: str) -> Counter[str]:
    asked = [await lab.ask(f"http://{name}.example.com/", headers=headers) for _ in range(count)]
    assert all("set-cookie" not in each.headers for each in asked)
    return Counter(each.backend for each in asked)


async def test_a_cookie_leads_back_to_the_endpoint_as_long_as_it_is_there(lab: GatewayLab) -> None:
    ends = await several(lab, "stay", 3)
    await lab.apply(route("stay", "sessionName: seat"))
    first = await lab.ask("http://stay.example.com/")
    cookie, attributes = given(first)
    assert cookie.startswith("seat=")
    # A cookie of the client's session: no Max-Age, no Expires.
    assert attributes == {"Path=/", "HttpOnly"}
    assert await homes(lab, "stay", 20, cookie=f"a=b; {cookie}; c=d") == {first.backend: 20}
    # It survives scaling up and down.
    more = await several(lab, "stay-more", 3)
    await lab.serve("stay", *(each.port for each in (*ends, *more)))
    assert await homes(lab, "stay", 20, cookie=cookie) == {first.backend: 20}
    home = next(each for each in ends if each.name == first.backend)
    for at in range(6):
        await lab.delete("EndpointSlice", f"stay-{at}")
    await lab.serve("stay", home.port)
    assert await homes(lab, "stay", 10, cookie=cookie) == {first.backend: 10}
    # When the endpoint goes, the client gets another one and a cookie for it.
    await lab.serve("stay", more[0].port)
    moved = await lab.ask("http://stay.example.com/", headers={"cookie": cookie})
    assert moved.backend == more[0].name
    assert given(moved)[0] != cookie


async def test_a_token_tells_no_addresses_and_cannot_be_made(lab: GatewayLab) -> None:
    ends = await several(lab, "sealed", 2)
    await lab.apply(route("sealed", "sessionName: seat"))
    first = await lab.ask("http://sealed.example.com/")
    token = given(first)[0].partition("=")[2]
    assert re.fullmatch("[0-9a-f]+", token)
    readable = {
        token,
        bytes.fromhex(token).decode(errors="replace"),
        str(base64.b64decode(token + "=" * (-len(token) % 4))),
    }
    address = f"127.0.0.1:{ends[0].port}"
    assert not any("127.0.0" in each or base64.b64encode(address.encode()).decode() in each for each in readable)
    changed = token[:-1] + ("0" if token[-1] != "0" else "1")
    forged = base64.b64encode(address.encode()).decode()
    for bad in (changed, token[:-2], token * 40, "", "zz", forged, token[:8], "%s%d", "a" * 3000):
        answer = await lab.ask(
            "http://sealed.example.com/", headers={"cookie": f"seat={bad}", "x-fairlead-session": forged}
        )
        assert answer.status == 200
        assert "set-cookie" in answer.headers
        seen = answer.json["headers"]
        assert "x-fairlead-session" not in seen
        assert "x-fairlead-session" not in answer.headers
    # The key is the route's: a token of another route means nothing.
    await lab.apply(route("sealed", "sessionName: seat", uid="another"))
    found = await lab.ask("http://sealed.example.com/", headers={"cookie": f"seat={token}"})
    assert "set-cookie" in found.headers


def opened(token: str, key: str) -> str:
    """What a token says to whoever has the key: an implementation apart from the proxy's."""

    def cipher(words: list[int], block: bytes) -> bytes:
        left, right = struct.unpack(">2I", block)
        total = 0
        for _ in range(32):
            left = left + (((right << 4 ^ right >> 5) + right) ^ (total + words[total & 3])) & 0xFFFFFFFF
            total = total + 0x9E3779B9 & 0xFFFFFFFF
            right = right + (((left << 4 ^ left >> 5) + left) ^ (total + words[total >> 11 & 3])) & 0xFFFFFFFF
        return struct.pack(">2I", left, right)

    def mixed(one: bytes, other: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(one, other, strict=False))

    words = list(struct.unpack(">8I", bytes.fromhex(key)))
    raw = bytes.fromhex(token[8:])
    mac, rest = raw[:8], raw[8:]
    left, right = struct.unpack(">2I", mac)
    stream = b"".join(
        cipher(words[4:], struct.pack(">2I", left, right + at & 0xFFFFFFFF)) for at in range(1, len(rest) // 8 + 2)
    )
    text = mixed(rest, stream)
    found = cipher(words[:4], struct.pack(">2I", len(text), 0))
    for at in range(0, len(text), 8):
        found = cipher(words[:4], mixed(found, text[at : at + 8].ljust(8, b"\0")))
    assert found == mac
    return text.decode()


async def test_a_token_is_what_the_key_says(lab: GatewayLab) -> None:
    (end,) = await several(lab, "key", 1)
    await lab.apply(route("key", "sessionName: seat, absoluteTimeout: 1h, idleTimeout: 1m"))
    now = time.time()
    token = given(await lab.ask("http://key.example.com/"))[0].partition("=")[2]
    key = hashlib.sha256(b"session 3f0c HTTPRoute/default/key/0").hexdigest()
    before, last, address = opened(token, key).split("|")
    assert now - 2 < int(before) - 60 < now + 5
    assert now - 2 < int(last) - 3600 < now + 5
    assert base64.b64decode(address).decode() == f"127.0.0.1:{end.port}"


async def test_cookies_of_https_are_never_sent_without(lab: GatewayLab) -> None:
    authority = Authority()
    await lab.apply(
        authority.issue("secure.example.com").secret("secure")
        + """
---
kind: Gateway
metadata: {name: secure}
spec:
  gatewayClassName: fairlead
  listeners: [{name: tls, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: secure}]}}]
"""
    )
    text = route("secure", "sessionName: seat", "{name: one, port: 80}").replace("{name: web}", "{name: secure}")
    await lab.apply(text)
    trusting = ssl.create_default_context(cadata=authority.pem)
    answer = await lab.ask("https://secure.example.com/", gateway="secure", tls=trusting)
    assert given(answer)[1] == {"Path=/", "HttpOnly", "Secure"}


async def test_a_permanent_cookie_lasts_as_long_as_it_says(lab: GatewayLab) -> None:
    await several(lab, "lasting", 3)
    session = "sessionName: seat, absoluteTimeout: 2s, cookieConfig: {lifetimeType: Permanent}"
    await lab.apply(route("lasting", session))
    began = time.monotonic()
    first = await lab.ask("http://lasting.example.com/")
    cookie, attributes = given(first)
    assert attributes == {"Path=/", "HttpOnly", "Max-Age=2"}
    assert await homes(lab, "lasting", 5, cookie=cookie) == {first.backend: 5}
    # A client that keeps it for longer has no session any more, and is given a new one.
    while (
        "set-cookie" not in (answer := await lab.ask("http://lasting.example.com/", headers={"cookie": cookie})).headers
    ):
        assert time.monotonic() < began + 10
    assert time.monotonic() > began + 1
    assert given(answer)[0] != cookie


async def test_an_idle_session_ends_and_one_in_use_does_not(lab: GatewayLab) -> None:
    await several(lab, "idle", 3)
    await lab.apply(route("idle", "sessionName: seat, idleTimeout: 1s"))
    began = time.monotonic()
    first = await lab.ask("http://idle.example.com/")
    old = cookie = given(first)[0]
    while time.monotonic() < began + 2.5:
        answer = await lab.ask("http://idle.example.com/", headers={"cookie": cookie})
        # Each use puts the end off.
        assert answer.backend == first.backend
        cookie = given(answer)[0]
    assert cookie != old
    backends = {(await lab.ask("http://idle.example.com/", headers={"cookie": old})).backend for _ in range(30)}
    assert len(backends) > 1


async def test_a_header_leads_back_as_well(lab: GatewayLab) -> None:
    await several(lab, "headed", 3)
    await lab.apply(route("headed", "type: Header, sessionName: X-Seat"))
    first = await lab.ask("http://headed.example.com/")
    assert "set-cookie" not in first.headers
    token = first.headers["x-seat"]
    assert await homes(lab, "headed", 20, **{"x-seat": token}) == {first.backend: 20}


async def test_a_session_outlives_the_choice_by_weight(lab: GatewayLab) -> None:
    await several(lab, "split-a", 2)
    await several(lab, "split-b", 2)
    refs = "{name: split-a, port: 80, weight: 1}, {name: split-b, port: 80, weight: 1}"
    await lab.apply(route("split", "sessionName: seat", refs))
    seen: set[str] = set()
    for _ in range(12):
        first = await lab.ask("http://split.example.com/")
        assert await homes(lab, "split", 8, cookie=given(first)[0]) == {first.backend: 8}
        seen.add(first.backend.rpartition("-")[0])
    assert seen == {"split-a", "split-b"}
    # A backend that gets nothing any more has no sessions either.
    await lab.apply(
        route(
            "split", "sessionName: seat", refs.replace("split-b, port: 80, weight: 1", "split-b, port: 80, weight: 0")
        )
    )
    answers = [await lab.ask("http://split.example.com/", headers={"cookie": given(first)[0]}) for _ in range(10)]
    assert {each.backend.rpartition("-")[0] for each in answers} == {"split-a"}


async def test_an_endpoint_that_refuses_loses_its_sessions(lab: GatewayLab) -> None:
    ends = await several(lab, "broken", 2)
    await lab.apply(route("broken", "sessionName: seat"))
    first = await lab.ask("http://broken.example.com/")
    home = next(each for each in ends if each.name == first.backend)
    other = next(each for each in ends if each.name != first.backend)
    await home.stop()
    answer = await lab.ask("http://broken.example.com/", "POST", headers={"cookie": given(first)[0]})
    assert answer.backend == other.name
    assert await homes(lab, "broken", 5, cookie=given(answer)[0]) == {other.name: 5}


async def test_calls_of_grpc_have_sessions(lab: GatewayLab) -> None:
    class Name(grpc.GenericRpcHandler):
        def __init__(self, name: str) -> None:
            self._name = name.encode()

        def service(self, _details: object) -> grpc.RpcMethodHandler:
            async def answer(_request: bytes, _context: object) -> bytes:
                return self._name

            return grpc.unary_unary_rpc_method_handler(answer)

    servers = [grpc.aio.server(handlers=(Name(f"g{at}"),)) for at in range(3)]
    ports = [each.add_insecure_port("127.0.0.1:0") for each in servers]
    for each in servers:
        await each.start()
    await lab.serve("g-session", *ports)
    await lab.apply(route("g-session", "sessionName: seat", kind="GRPCRoute"))
    options = [("grpc.default_authority", "g-session.example.com"), ("grpc.enable_http_proxy", 0)]

    async def call(*metadata: tuple[str, str], told: str = "set-cookie") -> tuple[bytes, str]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{lab.ports['web', 80]}", options=options) as channel:
            running = channel.unary_unary("/a.B/Get")(b"", metadata=metadata, timeout=10)
            answer = await running
            return answer, str(dict(await running.initial_metadata()).get(told, ""))

    try:
        first, cookie = await call()
        pair = cookie.partition(";")[0]
        assert "Max-Age" not in cookie
        assert {await call(("cookie", pair)) for _ in range(10)} == {(first, "")}
        await lab.apply(route("g-session", "type: Header, sessionName: x-seat", kind="GRPCRoute"))
        first, token = await call(told="x-seat")
        assert token
        assert {(await call(("x-seat", token), told="x-seat"))[0] for _ in range(10)} == {first}
    finally:
        for each in servers:
            await each.stop(None)


async def test_other_routes_of_the_host_have_none(lab: GatewayLab) -> None:
    text = route("beside", "sessionName: seat", "{name: one, port: 80}").replace(
        "rules: [", "rules: [{matches: [{path: {value: /free}}], backendRefs: [{name: two, port: 80}]}, "
    )
    await lab.apply(text)
    cookie, _ = given(await lab.ask("http://beside.example.com/"))
    for headers in ({}, {"cookie": cookie}):
        answer = await lab.ask("http://beside.example.com/free", headers=headers)
        assert answer.backend == "two"
        assert not {"set-cookie", "x-fairlead-session"} & answer.headers.keys()


WRONG = {
    "a type": "type: Query",
    "a permanent cookie without an end": "cookieConfig: {lifetimeType: Permanent}",
    "a cookie in a header": "type: Header, cookieConfig: {lifetimeType: Session}",
    "no duration": "idleTimeout: soon",
    "a name that is none": "sessionName: 'a=b; c'",
}


@pytest.mark.parametrize("case", WRONG, ids=str)
async def test_what_is_wrong_with_sessions_is_said(lab: GatewayLab, case: str) -> None:
    await lab.apply(route("wrong", WRONG[case], "{name: one, port: 80}"))
    assert (await lab.ask("http://wrong.example.com/")).status == 404
    assert any("sessionPersistence" in each for each in lab.complaints("HTTPRoute/default/wrong"))

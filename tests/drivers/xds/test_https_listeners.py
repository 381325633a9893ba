"""Listeners with TLS by real requests: which of them takes a connection, and which requests it may carry."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

import h2.config
import h2.connection
import h2.events
import pytest
import pytest_asyncio
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.pki import Authority

pytestmark = pytest.mark.asyncio(loop_scope="module")
AUTHORITY = Authority()
TLS = "tls: {certificateRefs: [{name: all}]}"


async def statuses(port: int, server_name: str, hosts: Sequence[str], context: ssl.SSLContext) -> list[int]:
    """Ask for hosts, one after the other, over one HTTP/2 connection that was made for `server_name`."""
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=server_name)
    found: list[int] = []
    try:
        speaker = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        speaker.initiate_connection()
        for host in hosts:
            stream = speaker.get_next_available_stream_id()
            headers = [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", "/")]
            speaker.send_headers(stream, headers, end_stream=True)
            writer.write(speaker.data_to_send())
            ended = False
            while not ended:
                data = await asyncio.wait_for(reader.read(65536), 20)
                assert data, "the proxy closed the connection"
                for event in speaker.receive_data(data):
                    if isinstance(event, h2.events.ResponseReceived):
                        assert event.headers is not None
                        found.append(int(dict(event.headers)[":status"]))
                    ended |= isinstance(event, h2.events.StreamEnded)
                writer.write(speaker.data_to_send())
    finally:
        writer.close()
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secure(lab: GatewayLab) -> GatewayLab:
    hosts = ["second.org", "unknown.org", "*.wildcard.org", "*.example.org"]
    await lab.apply(AUTHORITY.issue("example.org", *hosts).secret("all"))
    return lab


def trusted() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=AUTHORITY.pem)


async def test_misdirected_requests(secure: GatewayLab) -> None:
    # The cases of the conformance test HTTPRouteHTTPSListenerDetectMisdirectedRequests.
    names = {"all": "", "second": "second.org", "wild": "*.wildcard.org", "fourth": "fourth.wildcard.org"}
    listeners = ", ".join(
        f"{{name: {name}, port: 443, protocol: HTTPS, {f'hostname: {host!r}, ' if host else ''}{TLS}}}"
        for name, host in names.items()
    )
    routes = "".join(
        f"""
---
kind: HTTPRoute
metadata: {{name: misdirected-{name}}}
spec:
  parentRefs: [{{name: misdirected, sectionName: {name}}}]
  {"hostnames: [example.org, fourth.wildcard.org]" if name == "all" else ""}
  rules: [{{backendRefs: [{{name: one, port: 80}}]}}]
"""
        for name in names
    )
    await secure.apply(
        f"kind: Gateway\nmetadata: {{name: misdirected}}\nspec: {{gatewayClassName: fairlead, listeners: [{listeners}]}}\n{routes}"
    )
    cases = {
        "example.org": {"example.org": 200, "second.org": 421, "unknown.org": 404, "fourth.wildcard.org": 421},
        "second.org": {
            "second.org": 200,
            "example.org": 421,
            "unknown.org": 421,
            "SECOND.org": 200,
            "second.org:443": 200,
        },
        "third.wildcard.org": {
            "third.wildcard.org": 200,
            "fifth.wildcard.org": 200,
            "fourth.wildcard.org": 421,
            "second.org": 421,
            "unknown.org": 421,
        },
        "fourth.wildcard.org": {"fourth.wildcard.org": 200, "fifth.wildcard.org": 421},
        "unknown.org": {"example.org": 200, "unknown.org": 404},
    }
    port = secure.ports["misdirected", 443]
    found = {}
    for server_name, wanted in cases.items():
        found[server_name] = dict(zip(wanted, await statuses(port, server_name, list(wanted), trusted()), strict=True))
    assert found == cases
    # Where nobody serves a host, nobody else could: the last listener for all hosts gone, that is 404 again.
    await secure.apply(
        f"kind: Gateway\nmetadata: {{name: misdirected}}\nspec: {{gatewayClassName: fairlead, listeners: [{listeners.partition(', {')[2].join(('{', ''))}]}}\n"
    )
    hosts = ["second.org", "unknown.org", "fourth.wildcard.org"]
    assert await statuses(port, "second.org", hosts, trusted()) == [200, 404, 421]

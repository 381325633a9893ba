"""The ConfigMap's way into the resolver: good, faulty, gone, and remembered; metrics over HTTP."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from fairlead.agent import metrics
from fairlead.agent.dns_config import DnsConfigKeeper
from fairlead.agent.drivers import host_search
from fairlead.drivers.dns.config import Configuration, parse
from fairlead.drivers.dns.driver import DnsDriver


class Client:
    """An API server that only takes Events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    async def event(self, regarding: dict[str, Any], **fields: Any) -> None:
        self.events.append({"name": regarding["metadata"]["name"], **fields})


def config_map(text: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "kube-system", "name": "fairlead-dns"}, "data": {"config.yaml": text}}


def free_port() -> int:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.bind(("::", 0))
        number: int = sock.getsockname()[1]
        return number


def keeper(client: Client, driver: DnsDriver, path: Path) -> DnsConfigKeeper:
    return DnsConfigKeeper(client, driver, path, "n1")  # type: ignore[arg-type]


async def test_a_good_one_is_taken_and_remembered_a_faulty_one_reported(tmp_path: Path) -> None:
    client, driver, known = Client(), DnsDriver(["10.96.0.10"]), tmp_path / "dns.yaml"
    made = keeper(client, driver, known)
    await made._take(config_map("upstreams: [192.0.2.1]"))
    good = parse("upstreams: [192.0.2.1]")
    assert driver._configuration == good
    await made._take(config_map("upstreams: [10.96.0.10]"))
    assert driver._configuration == good
    (event,) = client.events
    assert (event["name"], event["type"], event["reason"]) == ("fairlead-dns", "Warning", "InvalidConfiguration")
    assert "upstreams[0]: 10.96.0.10 is the cluster's own DNS address" in event["message"]
    next_one = DnsDriver(["10.96.0.10"])
    keeper(client, next_one, known).load()
    assert next_one._configuration == good
    await made._take(None)
    assert driver._configuration == Configuration()


def test_a_record_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    driver, known = DnsDriver(["10.96.0.10"]), tmp_path / "dns.yaml"
    keeper(Client(), driver, known).load()
    known.write_text("[")
    keeper(Client(), driver, known).load()
    assert driver._configuration == Configuration()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("nameserver 1.1.1.1\n", ()),
        ("domain corp.example\nsearch a.example b.example.\n", ("a.example", "b.example")),
        ("search .\n", ()),
    ],
)
def test_search_domains_of_the_node(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text(text)
    assert host_search(file) == expected
    assert host_search(tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        ("GET /metrics HTTP/1.1", "200 OK", "x 1\n"),
        ("HEAD /metrics HTTP/1.1", "200 OK", ""),
        ("GET /metrics?x=y HTTP/1.0", "200 OK", "x 1\n"),
        ("GET /other HTTP/1.1", "404 Not Found", "served here: /metrics\n"),
        ("POST /metrics HTTP/1.1", "405 Method Not Allowed", "only GET is served here\n"),
        ("nonsense", "405 Method Not Allowed", "only GET is served here\n"),
    ],
)
async def test_metrics_are_served(request_line: str, status: str, body: str) -> None:
    async with metrics.serve(free_port(), {"/metrics": lambda: "x 1\n"}) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{request_line}\r\nHost: x\r\n\r\n".encode())
        head, _, found = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
    assert head.startswith(f"HTTP/1.1 {status}\r\n")
    assert found == body


async def test_a_taken_port_stops_nothing() -> None:
    async with metrics.serve(free_port(), {}) as port, metrics.serve(port, {}) as other:
        assert port
        assert other == 0

"""The DNS driver on a node, asked by a pod with the programs that people use: both families, UDP and TCP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fairlead.drivers.dns.driver import DnsDriver
from fairlead.drivers.netlink.socket import enter
from fairlead.plan.plan import Plan, index
from fairlead.plan.tables import DnsRecords

pytestmark = pytest.mark.kernel

PREFIX = f"flt-dns-{os.getpid()}"
SERVERS = ("10.96.0.10", "fd10:96::a")
HOME = Path("/proc/self/ns/net")
WEB = "web.default.svc.cluster.local"
BIG = tuple(sorted(f"10.244.{number // 200}.{number % 200 + 2}" for number in range(300)))


def run(*argv: str, check: bool = True) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


async def inside(name: str, *argv: str, check: bool = True) -> str:
    return await asyncio.to_thread(run, "nsenter", f"--net=/run/netns/{PREFIX}-{name}", *argv, check=check)


async def dig(server: str, *argv: str) -> str:
    return (await inside("pod", "dig", f"@{server}", "+tries=1", "+time=3", *argv)).strip()


def plan(**records: tuple[str, ...]) -> Plan:
    """A plan of records: `name_TYPE` with dots as `__`."""
    rows = [
        DnsRecords(name=f"{WEB}.", type="A", ttl=5, data=("10.96.0.20",)),
        DnsRecords(name=f"{WEB}.", type="AAAA", ttl=5, data=("fd10:96::20",)),
        DnsRecords(name="20.0.96.10.in-addr.arpa.", type="PTR", ttl=5, data=(f"{WEB}.",)),
        DnsRecords(name=f"_http._tcp.{WEB}.", type="SRV", ttl=5, data=(f"0 100 80 {WEB}.",)),
        DnsRecords(name="alias.default.svc.cluster.local.", type="CNAME", ttl=5, data=(f"{WEB}.",)),
        DnsRecords(name="big.default.svc.cluster.local.", type="A", ttl=5, data=BIG),
    ]
    rows += [
        DnsRecords(name=f"{name}.default.svc.cluster.local.", type="A", ttl=5, data=data)
        for name, data in records.items()
    ]
    return Plan(node="n", revision="1", tables={"dns_records": index(rows)})


@pytest.fixture
def namespaces() -> Iterator[None]:
    try:
        for name in ("node", "pod"):
            run("ip", "netns", "add", f"{PREFIX}-{name}")
            run("ip", "-n", f"{PREFIX}-{name}", "link", "set", "lo", "up")
        run(*f"ip -n {PREFIX}-pod link add eth0 type veth peer name veth netns {PREFIX}-node".split())
        for name, device, number in (("pod", "eth0", 2), ("node", "veth", 1)):
            run(*f"ip -n {PREFIX}-{name} link set {device} up".split())
            run(*f"ip -n {PREFIX}-{name} address add 10.244.1.{number}/24 dev {device}".split())
            run(*f"ip -n {PREFIX}-{name} address add fd10:244:0:1::{number}/64 dev {device} nodad".split())
        run(*f"ip -n {PREFIX}-pod route add default via 10.244.1.1".split())
        run(*f"ip -n {PREFIX}-pod route add default via fd10:244:0:1::1".split())
        yield
    finally:
        for name in ("node", "pod"):
            run("ip", "netns", "delete", f"{PREFIX}-{name}", check=False)


@contextlib.contextmanager
def on_the_node() -> Iterator[None]:
    """Let this thread bind sockets and claim addresses in the node's namespace."""
    with HOME.open("rb") as home:
        enter(Path(f"/run/netns/{PREFIX}-node"))
        try:
            yield
        finally:
            enter(home.fileno())


class NodeDriver(DnsDriver):
    """The driver with its sockets in the node's namespace: binding is all that depends on where the thread is."""

    def _listen(self) -> None:
        with on_the_node():
            super()._listen()

    async def _retire(self) -> None:
        with on_the_node():
            await super()._retire()


def made() -> NodeDriver:
    return NodeDriver(
        SERVERS,
        service_cidrs=["10.96.0.0/16", "fd10:96::/108"],
        pod_cidrs=["10.244.0.0/16", "fd10:244::/48"],
    )


@pytest.fixture
async def driver(namespaces: None) -> AsyncIterator[NodeDriver]:
    driver = made()
    await driver.start()
    assert (await driver.apply(plan())).failed == ()
    yield driver
    await driver.close()


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
async def test_dig(driver: NodeDriver, server: str, transport: str) -> None:
    assert await dig(server, transport, "+short", WEB, "A") == "10.96.0.20"
    assert await dig(server, transport, "+short", WEB, "AAAA") == "fd10:96::20"
    assert await dig(server, transport, "+short", "-x", "10.96.0.20") == f"{WEB}."
    assert await dig(server, transport, "+short", f"_http._tcp.{WEB}", "SRV") == f"0 100 80 {WEB}."
    assert await dig(server, transport, "+short", "alias.default.svc.cluster.local") == f"{WEB}.\n10.96.0.20"
    assert "status: NXDOMAIN" in await dig(server, transport, "none.default.svc.cluster.local")
    assert "status: NOERROR" in await dig(server, transport, "default.svc.cluster.local")
    refused = await dig(server, transport, "example.com")
    assert "status: REFUSED" in refused
    assert "there is no upstream resolver" in refused


@pytest.mark.parametrize("server", SERVERS)
async def test_a_long_answer_is_fetched_over_tcp(driver: NodeDriver, server: str) -> None:
    answer = await dig(server, "+short", "big.default.svc.cluster.local")
    assert sorted(answer.split()) == list(BIG)
    cut = await dig(server, "+ignore", "big.default.svc.cluster.local")
    assert " tc " in cut.partition("flags:")[2].partition("\n")[0].replace(";", " ")


@pytest.mark.parametrize("server", SERVERS)
async def test_the_system_s_resolver(driver: NodeDriver, server: str) -> None:
    with tempfile.NamedTemporaryFile("w", prefix="flt-dns-") as file:
        file.write(f"search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver {server}\n")
        file.write("options ndots:5 timeout:2 attempts:1\n")
        file.flush()
        script = f"mount --bind {file.name} /etc/resolv.conf && exec getent -s dns ahosts $0"
        for name in ("web", "web.default", "web.default.svc", WEB, "alias"):
            found = await inside("pod", "unshare", "-m", "sh", "-c", script, name)
            assert {line.split()[0] for line in found.splitlines()} == {"10.96.0.20", "fd10:96::20"}
        assert await inside("pod", "unshare", "-m", "sh", "-c", script, "none", check=False) == ""


async def test_the_node_itself_may_ask(driver: NodeDriver) -> None:
    for server in SERVERS:
        assert (await inside("node", "dig", f"@{server}", "+short", WEB)).strip() == "10.96.0.20"


async def test_a_change_is_visible_at_once_and_nothing_else_changes(driver: NodeDriver) -> None:
    outcome = await driver.apply(plan(new=("10.96.0.30",)))
    assert outcome.applied == 1
    assert await dig(SERVERS[0], "+short", "new.default.svc.cluster.local") == "10.96.0.30"
    assert (await driver.apply(plan(new=("10.96.0.31",)))).applied == 1
    assert await dig(SERVERS[0], "+short", "new.default.svc.cluster.local") == "10.96.0.31"
    assert (await driver.apply(plan(new=("10.96.0.31",)))).applied == 0
    assert (await driver.apply(plan())).applied == 1
    assert "NXDOMAIN" in await dig(SERVERS[0], "new.default.svc.cluster.local")


async def test_a_bad_row_is_reported_and_stops_no_other(driver: NodeDriver) -> None:
    outcome = await driver.apply(plan(bad=("not an address",), good=("10.96.0.30",)))
    assert [failure.key for failure in outcome.failed] == [("bad.default.svc.cluster.local.", "A")]
    assert await dig(SERVERS[0], "+short", "good.default.svc.cluster.local") == "10.96.0.30"
    assert (await driver.apply(plan())).failed == ()


async def test_the_addresses_are_ours_and_go_with_the_last_plan(driver: NodeDriver) -> None:
    shown = "ip route show table local proto 79", "ip -6 route show table local proto 79"
    for command, server in zip(shown, SERVERS, strict=True):
        assert f"local {server} dev lo" in await inside("node", *command.split())
    await inside("node", *"ip route delete local 10.96.0.10 table local".split())
    with on_the_node():
        await driver.resync(plan())
    assert await dig(SERVERS[0], "+short", WEB) == "10.96.0.20"
    await driver.apply(Plan.empty("n"))
    for command in shown:
        assert await inside("node", *command.split()) == ""
    await driver.apply(plan())
    assert await dig(SERVERS[1], "+short", WEB) == "10.96.0.20"


async def test_a_successor_takes_over_while_the_old_one_still_answers(driver: NodeDriver) -> None:
    successor = made()
    await successor.start()
    await successor.apply(plan())
    await driver.close()
    try:
        for _ in range(5):
            assert await dig(SERVERS[0], "+short", WEB) == "10.96.0.20"
    finally:
        await successor.close()


async def test_questions_wait_for_the_first_plan(namespaces: None) -> None:
    driver = made()
    await driver.start()
    try:
        early = asyncio.create_task(dig(SERVERS[0], "+short", WEB))
        ready = await inside("node", "ss", "-lnuH")
        assert "10.96.0.10:53" in ready
        await driver.apply(plan())
        assert await early == "10.96.0.20"
    finally:
        await driver.close()

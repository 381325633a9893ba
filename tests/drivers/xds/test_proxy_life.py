"""The proxy and its server over time: restarts of either, rejections, certificates, what outsiders try. Real Envoy, real requests."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import ssl
import stat
from pathlib import Path

import aiohttp
import msgspec
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.drivers.xds.gatewaylab import GatewayLab

from fairlead.drivers.xds.listeners import FORGEABLE, FORGEABLE_BY_OUTSIDERS, FORGEABLE_FAMILIES
from fairlead.drivers.xds.process import USER
from fairlead.drivers.xds.protocol import Cache
from fairlead.drivers.xds.server import Server
from fairlead.plan.gateway.route import GatewayHost
from fairlead.plan.plan import Plan
from fairlead.world.fold import fold

pytestmark = pytest.mark.asyncio(loop_scope="module")
ONE, TWO = "backendRefs: [{name: one, port: 80}]", "backendRefs: [{name: two, port: 80}]"


def route(name: str, rules: str) -> str:
    return f"""
kind: HTTPRoute
metadata: {{name: {name}}}
spec: {{parentRefs: [{{name: web}}], hostnames: ['{name}.example.com'], rules: {rules}}}
"""


def secret(name: str, *hosts: str, days: int = 1, namespace: str = "default") -> tuple[str, bytes]:
    """A Secret of type kubernetes.io/tls, and its certificate in PEM form."""
    import datetime

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in hosts]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain = built.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    data = {"tls.crt": base64.b64encode(chain).decode(), "tls.key": base64.b64encode(private).decode()}
    return (
        f"kind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ntype: kubernetes.io/tls\ndata: {data}\n",
        chain,
    )


def trusting(*chains: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata="".join(each.decode() for each in chains))
    context.set_alpn_protocols(["http/1.1"])
    return context


def broken(plan: Plan, *domains: str) -> Plan:
    """The plan with a route in these hosts that only Envoy finds wrong."""
    hosts = dict(plan.table("gateway_hosts"))
    for domain in domains:
        row = hosts["default/web/80", domain]
        assert isinstance(row, GatewayHost)
        routes = tuple(msgspec.structs.replace(each, path_kind="regex", path="(?=x)") for each in row.routes)
        hosts["default/web/80", domain] = msgspec.structs.replace(row, routes=routes)
    return msgspec.structs.replace(plan, tables={**plan.tables, "gateway_hosts": hosts}, delta=None, serial=0)


async def test_hosts_that_envoy_rejects_harm_no_others(lab: GatewayLab) -> None:
    await lab.apply(route("stays", f"[{{{ONE}}}]"))
    names = ("bad", "good", "worse", "stays", "other")
    lab.snapshot = fold(lab.snapshot, [lab.event(yaml.safe_load(route(name, f"[{{{TWO}}}]"))) for name in names])
    plan = lab.compiler.compile(lab.snapshot).plan
    wrong = [f"{name}.example.com" for name in ("bad", "stays", "worse")]
    outcome = await lab.driver.apply(broken(plan, *wrong))
    assert sorted(each.key[1] for each in outcome.failed) == wrong
    assert all("invalid perl operator" in each.error for each in outcome.failed)
    found = {name: (await lab.ask(f"http://{name}.example.com/")).backend for name in names}
    # What was there and is rejected now stays as it was.
    assert found == {"bad": "404", "good": "two", "worse": "404", "stays": "one", "other": "two"}
    again = await lab.driver.resync(broken(plan, *wrong))
    assert sorted(each.key[1] for each in again.failed) == wrong
    assert not (await lab.driver.apply(plan)).failed
    assert {(await lab.ask(f"http://{name}.example.com/")).backend for name in names} == {"two"}


async def test_a_pattern_that_is_none_is_the_routes_own_fault(lab: GatewayLab) -> None:
    bad = "{matches: [{path: {type: RegularExpression, value: '(?=x)'}}], backendRefs: [{name: one, port: 80}]}"
    await lab.apply(route("pattern", f"[{bad}]"))
    assert lab.complaints("pattern") == [
        "spec.rules[0].matches[0].path.value: no pattern of RE2: invalid perl operator: (?="
    ]
    await lab.delete("HTTPRoute", "pattern")


async def test_a_new_server_adopts_the_proxy_and_sends_nothing_again(lab: GatewayLab) -> None:
    await lab.apply(route("adopted", f"[{{{ONE}}}]"))
    before = lab.driver.pid
    stop = asyncio.Event()

    async def load() -> list[str]:
        found = []
        while not stop.is_set():
            found.append((await lab.ask("http://adopted.example.com/")).backend)
        return found

    asking = asyncio.create_task(load())
    await lab.driver.close()
    while_away = await lab.ask("http://adopted.example.com/")
    lab.driver = lab.new_driver()
    outcome = await lab.settle()
    stop.set()
    assert while_away.backend == "one"
    assert not outcome.failed
    assert lab.driver.pid == before
    assert set(await asking) == {"one"}


async def test_a_proxy_that_dies_is_started_again(lab: GatewayLab) -> None:
    await lab.apply(route("reborn", f"[{{{ONE}}}]"))
    lost = asyncio.Event()
    lab.driver.on_lost(lost.set)
    before = lab.driver.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    await asyncio.wait_for(lost.wait(), 30)
    outcome = await lab.driver.resync(lab.compiler.compile(lab.snapshot).plan)
    assert not outcome.failed
    assert lab.driver.pid not in (before, None)
    assert (await lab.ask("http://reborn.example.com/")).backend == "one"


async def test_a_port_that_somebody_had_is_served_when_it_is_free(lab: GatewayLab) -> None:
    lab.door("default", "late", 80)
    with socket.create_server(("127.0.0.1", lab.ports["late", 80])):
        outcome = await lab.apply(
            """
kind: Gateway
metadata: {name: late}
spec:
  gatewayClassName: fairlead
  listeners: [{name: http, port: 80, protocol: HTTP}]
""",
            fails=True,
        )
        assert ["Address already in use" in each.error for each in outcome.failed] == [True]
        assert (await lab.driver.resync(lab.plan)).failed == outcome.failed
    assert not (await lab.driver.resync(lab.plan)).failed
    assert (await lab.ask("http://nobody.example.com/", gateway="late")).status == 404
    await lab.delete("Gateway", "late")


async def test_nothing_but_the_proxys_user_reaches_the_server(lab: GatewayLab) -> None:
    folder = lab.folder / "envoy"
    assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE((folder / "run").stat().st_mode)) == (0o710, 0o700)
    if os.geteuid() == 0:
        status = Path(f"/proc/{lab.driver.pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split() == [str(USER)] * 4
        assert (fields["CapEff"], fields["NoNewPrivs"], fields["Groups"].strip()) == ("0" * 16, "1", "")


async def test_answers_are_counted_and_nothing_is_for_each_backend(lab: GatewayLab) -> None:
    async def counted() -> dict[str, int]:
        connector = aiohttp.UnixConnector(os.path.relpath(lab.folder / "envoy" / "run" / "admin.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://admin/stats?format=json") as response,
        ):
            return {each["name"]: each["value"] for each in (await response.json())["stats"] if "name" in each}

    await lab.apply(route("counted", f"[{{{ONE}}}]"))
    answers = "http.gateway.downstream_rq_2xx"
    before = await counted()
    assert (await lab.ask("http://counted.example.com/")).backend == "one"
    after = await counted()
    assert after[answers] - before[answers] == 1
    assert any(name.startswith("listener.") and name.endswith(".downstream_cx_active") for name in after)
    # Every counter of a cluster has its name, and a cluster that never was asked has some eighty.
    assert not [name for name in after if name.startswith("cluster.") or "one" in name.split(".")]


async def test_what_outsiders_say_of_themselves_is_not_believed(lab: GatewayLab) -> None:
    await lab.apply(route("forged", f"[{{{ONE}}}]"))
    families = (*FORGEABLE_FAMILIES, *FORGEABLE_BY_OUTSIDERS)
    others = [f"{family}{name}" for family in families for name in ("user", "attempt-count", "uri")]
    sent = dict.fromkeys([*FORGEABLE, *others], "forged") | {"x_forwarded_for": "forged", "x-envoy-internal": "true"}
    seen = (await lab.ask("http://forged.example.com/", headers=sent)).json["headers"]
    assert "forged" not in seen.values()
    assert seen["x-forwarded-proto"] == "http"
    assert "x-envoy-internal" not in seen


PATHS = {
    "/a/../admin": "/admin",
    "/a/%2e%2e/admin": "/admin",
    "//admin": "/admin",
    "/./admin": "/admin",
}


@pytest.mark.parametrize("path", PATHS)
async def test_paths_are_normalized_before_they_are_matched(lab: GatewayLab, path: str) -> None:
    await lab.apply(route("paths", f"[{{matches: [{{path: {{value: /admin}}}}], {ONE}}}, {{{TWO}}}]"))
    answer = await _raw(lab, f"GET {path} HTTP/1.1\r\nHost: paths.example.com\r\nConnection: close\r\n\r\n")
    assert '"pod": "one"' in answer
    assert f'"path": "{PATHS[path]}"' in answer


SMUGGLED = {
    "two lengths": "POST / HTTP/1.1\r\nHost: paths.example.com\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length and chunks": "POST / HTTP/1.1\r\nHost: paths.example.com\r\nContent-Length: 4\r\n"
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two hosts": "GET / HTTP/1.1\r\nHost: paths.example.com\r\nHost: other.example.com\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("case", SMUGGLED)
async def test_requests_that_may_be_read_in_two_ways_are_refused(lab: GatewayLab, case: str) -> None:
    answer = await _raw(lab, SMUGGLED[case])
    assert answer.startswith("HTTP/1.1 4") and "pod" not in answer


async def _raw(lab: GatewayLab, request: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.ports["web", 80])
    writer.write(request.encode())
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    await writer.wait_closed()
    return answer.decode()


async def test_certificates_by_server_name_and_their_rotation(lab: GatewayLab) -> None:
    exact, exact_chain = secret("exact", "secure.example.com")
    wild, wild_chain = secret("wild", "*.example.com")
    await lab.apply(
        f"""{exact}---
{wild}---
kind: Gateway
metadata: {{name: tls}}
spec:
  gatewayClassName: fairlead
  listeners:
    - {{name: exact, port: 443, protocol: HTTPS, hostname: secure.example.com, tls: {{certificateRefs: [{{name: exact}}]}}}}
    - {{name: wild, port: 443, protocol: HTTPS, hostname: '*.example.com', tls: {{certificateRefs: [{{name: wild}}]}}}}
---
kind: HTTPRoute
metadata: {{name: tls}}
spec: {{parentRefs: [{{name: tls, sectionName: exact}}], rules: [{{{ONE}}}]}}
---
kind: HTTPRoute
metadata: {{name: tls-wild}}
spec: {{parentRefs: [{{name: tls, sectionName: wild}}], rules: [{{{TWO}}}]}}
"""
    )
    first = await lab.ask("https://secure.example.com/", gateway="tls", tls=trusting(exact_chain))
    second = await lab.ask("https://other.example.com/", gateway="tls", tls=trusting(wild_chain))
    assert (first.backend, second.backend) == ("one", "two")
    assert first.json["headers"]["x-forwarded-proto"] == "https"
    rotated, rotated_chain = secret("exact", "secure.example.com")
    await lab.apply(rotated)
    again = await lab.ask("https://secure.example.com/", gateway="tls", tls=trusting(rotated_chain))
    assert again.backend == "one"
    with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        await lab.ask("https://secure.example.com/", gateway="tls", tls=trusting(exact_chain))
    broken = rotated.replace("'tls.key': '", "'tls.key': 'AAAA")
    await lab.apply(broken)
    assert "data[tls.key]" in " ".join(lab.complaints("Gateway/default/tls"))
    assert (await lab.ask("https://other.example.com/", gateway="tls", tls=trusting(wild_chain))).backend == "two"


async def test_keys_stand_in_no_plan_and_no_log(lab: GatewayLab) -> None:
    from fairlead.plan.render import render, to_data

    text, _ = secret("private", "private.example.com")
    await lab.apply(
        f"""{text}---
kind: Gateway
metadata: {{name: private}}
spec:
  gatewayClassName: fairlead
  listeners: [{{name: a, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: private}}]}}}}]
"""
    )
    pair = next(
        pair for digest, pair in lab.pairs.items() if digest == lab.snapshot.certificates["default", "private"].digest
    )
    lines = [line for line in pair.key.decode().splitlines() if "PRIVATE" not in line]
    plan: Plan = lab.compiler.compile(lab.snapshot).plan
    places = (render(plan), str(to_data(plan)), repr(lab.driver), repr(pair), str(lab.snapshot), *_files(lab.folder))
    assert lines and not any(line in place for line in lines for place in places)


def _files(folder: Path) -> list[str]:
    return [each.read_text(errors="replace") for each in folder.rglob("*") if each.is_file()]


async def test_nothing_is_left_when_the_last_gateway_goes(lab: GatewayLab) -> None:
    for name in ("tls", "private", "web"):
        outcome = await lab.delete("Gateway", name)
    assert not outcome.failed
    assert lab.driver.pid is None
    assert not list((lab.folder / "envoy").glob("process*"))


async def test_a_server_that_is_closed_twice_at_once_closes_nothing_of_others(tmp_path: Path) -> None:
    server = Server(Cache(("clusters",)), tmp_path / "xds.sock", None, lambda: None)
    before = set(os.listdir("/proc/self/fd"))
    await server.start()
    await asyncio.gather(server.close(), server.close())
    await server.close()
    assert set(os.listdir("/proc/self/fd")) <= before

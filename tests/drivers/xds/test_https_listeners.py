"""Listeners with TLS by real requests: which of them takes a connection, and which requests it may carry."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

import aiohttp
import h2.config
import h2.connection
import h2.events
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.x509.oid import NameOID
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.pki import Authority

pytestmark = pytest.mark.asyncio(loop_scope="module")
FEW_AND_MANY = True
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


async def test_clients_show_certificates(secure: GatewayLab) -> None:
    believed, rival, other = Authority("believed"), Authority("rival"), Authority("other")
    await secure.apply("---\n".join((believed.configmap("believed"), rival.configmap("rival"))))

    def gateway(default: str, per_port: str = "") -> str:
        listeners = ", ".join(
            f"{{name: {kind}-{port}, port: {port}, protocol: {kind.upper()}, {TLS if kind == 'https' else ''}}}"
            for kind, port in (("http", 80), ("https", 443), ("https", 8443))
        )
        frontend = f"default: {default}" + (f", perPort: [{{port: 8443, tls: {per_port}}}]" if per_port else "")
        return f"""
kind: Gateway
metadata: {{name: mutual}}
spec: {{gatewayClassName: fairlead, listeners: [{listeners}], tls: {{frontend: {{{frontend}}}}}}}
---
kind: HTTPRoute
metadata: {{name: mutual}}
spec: {{parentRefs: [{{name: mutual}}], rules: [{{backendRefs: [{{name: one, port: 80}}]}}]}}
"""

    def trust(*names: str, mode: str = "AllowValidOnly") -> str:
        refs = ", ".join(f"{{group: '', kind: ConfigMap, name: {name}}}" for name in names)
        return f"{{validation: {{caCertificateRefs: [{refs}], mode: {mode}}}}}"

    people = {
        "nobody": None,
        "ours": believed.issue("client.example", uris=["spiffe://x/client"]),
        "rivals": rival.issue("client.example"),
        "other": other.issue("client.example"),
        "expired": believed.issue("client.example", days=(-2, -1)),
    }

    async def let_in(port: int) -> set[str]:
        found = set()
        for name, pair in people.items():
            context = trusted()
            if pair is not None:
                path = secure.folder / f"{name}.pem"
                path.write_bytes(pair.chain + pair.key)
                context.load_cert_chain(path)
            try:
                headers = {"x-forwarded-client-cert": 'Subject="CN=root"'}
                answer = await secure.ask(f"https://second.org:{port}/", gateway="mutual", tls=context, headers=headers)
            except aiohttp.ClientError:
                continue
            found.add(name)
            said[name] = answer.json["headers"].get("x-forwarded-client-cert", "")
        return found

    said: dict[str, str] = {}
    everybody = set(people)
    await secure.apply(gateway(trust("believed")))
    assert await let_in(443) == await let_in(8443) == {"ours"}
    assert "CN=client.example" in said["ours"] and "spiffe://x/client" in said["ours"] and "root" not in said["ours"]
    assert (await secure.ask("http://second.org/", gateway="mutual")).status == 200
    # A port's own word replaces the default, also where it says nothing.
    await secure.apply(gateway(trust("believed", "rival"), "{}"))
    assert (await let_in(443), await let_in(8443)) == ({"ours", "rivals"}, everybody)
    await secure.apply(gateway(trust("believed"), trust("rival")))
    assert (await let_in(443), await let_in(8443)) == ({"ours"}, {"rivals"})
    # A replaced authority counts at once, and the listener stays as it is.
    before = secure.plan.table("gateway_listeners")
    await secure.apply(other.configmap("rival"))
    assert await let_in(8443) == {"other"}
    assert secure.plan.table("gateway_listeners") == before
    await secure.apply(gateway(trust("believed", mode="AllowInsecureFallback")))
    said.clear()
    assert await let_in(443) == everybody
    assert set(said.values()) == {""}
    # One reference that leads nowhere leaves the others; none that leads anywhere closes the port, and HTTP stays.
    await secure.apply(gateway(trust("believed", "nowhere")))
    assert await let_in(443) == {"ours"}
    await secure.apply(gateway(trust("nowhere"), "{}"))
    assert (await let_in(443), await let_in(8443)) == (set(), everybody)
    assert (await secure.ask("http://second.org/", gateway="mutual")).status == 200
    assert any("there is no ConfigMap default/nowhere" in each for each in secure.complaints("Gateway/default/mutual"))


async def test_several_certificates_of_a_listener(secure: GatewayLab) -> None:
    """The one of the client's server name, of the kind that it can verify; one that cannot be used leaves the others."""
    other, far = AUTHORITY.issue("far.example"), AUTHORITY.issue("far.example", rsa_key=True)
    await secure.apply(
        "---\n".join(
            (
                AUTHORITY.issue("near.example").secret("near-ec"),
                AUTHORITY.issue("near.example", rsa_key=True).secret("near-rsa"),
                far.secret("far"),
                other.secret("misfit", key=far.key),
                AUTHORITY.issue("old.example", days=(-3, -1)).secret("old"),
                f"""
kind: Gateway
metadata: {{name: several}}
spec:
  gatewayClassName: fairlead
  listeners:
  - name: https
    port: 443
    protocol: HTTPS
    tls: {{certificateRefs: [{", ".join(f"{{name: {each}}}" for each in ("near-ec", "misfit", "near-rsa", "far", "old"))}]}}
""",
            )
        )
    )

    async def shown(server_name: str, ciphers: str = "") -> tuple[str, str]:
        context = trusted()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        if ciphers:
            context.set_ciphers(ciphers)
        port = secure.ports["several", 443]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=server_name)
        found = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.close()
        name = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        return str(name), type(found.public_key()).__name__.partition("P")[0]

    ec, rsa = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"
    found = {
        (name, ciphers): await shown(name, ciphers)
        for name, ciphers in (("near.example", ec), ("near.example", rsa), ("far.example", rsa), ("old.example", ""))
    }
    assert {at: name for at, (name, _) in found.items()} == {at: at[0] for at in found}
    assert found["near.example", ec][1] != found["near.example", rsa][1] == found["far.example", rsa][1]
    assert secure.complaints("Gateway/default/several") == [
        "tls.certificateRefs[1]: Secret default/misfit: the key in data[tls.key] is not that of the certificate in data[tls.crt]"
    ]

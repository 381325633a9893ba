"""TLS to backends by real handshakes: whom the proxy believes, whom it asks for, what it shows, and that it never speaks plainly instead."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.pki import Authority, Pair

pytestmark = pytest.mark.asyncio(loop_scope="module")


class TlsBackend:
    """Answers with its certificate's number, the server name that was asked for, and who asked."""

    def __init__(self, folder: Path, pair: Pair, clients: Authority | None = None, most: str = "") -> None:
        self.pair = pair
        self.plain = 0
        self.port = 0
        self.versions: set[str | None] = set()
        self._folder = folder
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        self._context.sni_callback = self._asked
        if most == "TLSv1.1":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                self._context.minimum_version = ssl.TLSVersion.TLSv1_1
                self._context.maximum_version = ssl.TLSVersion.TLSv1_1
            # Without it OpenSSL itself refuses what the proxy should.
            self._context.set_ciphers("DEFAULT:@SECLEVEL=0")
        elif most == "TLSv1.2":
            self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        if clients is not None:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(cadata=clients.pem)
        self._names: dict[ssl.SSLObject | ssl.SSLSocket, str | None] = {}
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self.show(self.pair)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    def show(self, pair: Pair) -> None:
        """Show this certificate to whoever comes from now on."""
        path = self._folder / f"{id(self)}.pem"
        path.write_bytes(pair.chain + pair.key)
        self._context.load_cert_chain(path)
        self.pair = pair

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _asked(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
        self._names[connection] = name

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("ssl_object")
        self.versions.add(connection.version())
        shown = connection.getpeercert() or {}
        client = "".join(value for part in shown.get("subject", ()) for _, value in part)
        words = f"{self._names.get(connection)} {connection.selected_alpn_protocol()} {client or '-'}".encode()
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(words), words))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def authority(lab: GatewayLab) -> AsyncIterator[Authority]:
    found = Authority()
    await lab.apply(found.configmap("trusted"))
    await lab.apply(Authority("another CA").configmap("another"))
    await lab.apply("kind: ConfigMap\nmetadata: {name: broken}\ndata: {ca.crt: nonsense}\n")
    yield found


def policy(name: str, validation: str, section: str = "") -> str:
    part = f", sectionName: {section}" if section else ""
    return f"""
kind: BackendTLSPolicy
metadata: {{name: {name}}}
spec: {{targetRefs: [{{group: '', kind: Service, name: {name}{part}}}], validation: {{{validation}}}}}
"""


def route(name: str, gateway: str = "web") -> str:
    return f"""
kind: HTTPRoute
metadata: {{name: {name}}}
spec: {{parentRefs: [{{name: {gateway}}}], hostnames: [{name}.example.com], rules: [{{backendRefs: [{{name: {name}, port: 80}}]}}]}}
"""


TRUSTED = "caCertificateRefs: [{group: '', kind: ConfigMap, name: trusted}]"


async def started(lab: GatewayLab, tmp_path: Path, name: str, pair: Pair, **options: Any) -> TlsBackend:
    backend = TlsBackend(tmp_path, pair, **options)
    await backend.start()
    await lab.serve(name, backend.port)
    return backend


async def test_a_backend_is_asked_for_by_name_and_known_by_its_certificate(
    lab: GatewayLab, authority: Authority, tmp_path: Path
) -> None:
    backend = await started(lab, tmp_path, "tls", authority.issue("inner.example"))
    try:
        await lab.apply(f"{route('tls')}---{policy('tls', f'hostname: inner.example, {TRUSTED}')}")
        answer = await lab.ask("http://tls.example.com/")
        assert (answer.status, answer.body.decode()) == (200, "inner.example http/1.1 -")
        assert backend.versions == {"TLSv1.3"}
    finally:
        await backend.stop()


KNOWN: dict[str, tuple[tuple[str, ...], tuple[str, ...], str, int]] = {
    # names and URIs of the certificate, validation, status
    "a certificate for all hosts of the domain": (("*.inner.example",), (), f"hostname: a.inner.example, {TRUSTED}", 200),
    "another host's certificate": (("other.example",), (), f"hostname: inner.example, {TRUSTED}", 503),
    "another authority": (("inner.example",), (), f"hostname: inner.example, {TRUSTED.replace('trusted', 'another')}", 503),
    "the system's authorities": (("inner.example",), (), "hostname: inner.example, wellKnownCACertificates: System", 503),
    "a name in place of the host": (
        ("other.example",), (),
        f"hostname: inner.example, {TRUSTED}, subjectAltNames: [{{type: Hostname, hostname: other.example}}]", 200,
    ),
    "the host alone does not count beside names": (
        ("inner.example",), (),
        f"hostname: inner.example, {TRUSTED}, subjectAltNames: [{{type: Hostname, hostname: other.example}}]", 503,
    ),
    "any host of a domain": (
        ("b.other.example",), (),
        f"hostname: inner.example, {TRUSTED}, subjectAltNames: [{{type: Hostname, hostname: '*.other.example'}}]", 200,
    ),
    "one of several names": (
        ("x.example",), ("spiffe://cluster.local/ns/a/sa/b",),
        f"hostname: inner.example, {TRUSTED}, subjectAltNames: "
        "[{type: Hostname, hostname: no.example}, {type: URI, uri: 'spiffe://cluster.local/ns/a/sa/b'}]", 200,
    ),
    "another URI": (
        ("x.example",), ("spiffe://cluster.local/ns/a/sa/bc",),
        f"hostname: inner.example, {TRUSTED}, subjectAltNames: [{{type: URI, uri: 'spiffe://cluster.local/ns/a/sa/b'}}]", 503,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KNOWN, ids=str)
async def test_by_what_a_backend_is_known(lab: GatewayLab, authority: Authority, tmp_path: Path, case: str) -> None:
    names, uris, validation, status = KNOWN[case]
    backend = await started(lab, tmp_path, "known", authority.issue(*names, uris=uris))
    try:
        await lab.apply(f"{route('known')}---{policy('known', validation)}")
        assert (await lab.ask("http://known.example.com/")).status == status
    finally:
        await backend.stop()


INVALID = {
    "no such ConfigMap": "hostname: a.example, caCertificateRefs: [{group: '', kind: ConfigMap, name: nobody}]",
    "a broken ConfigMap": "hostname: a.example, caCertificateRefs: [{group: '', kind: ConfigMap, name: broken}]",
    "another kind": "hostname: a.example, caCertificateRefs: [{group: '', kind: Secret, name: trusted}]",
    "other well-known authorities": "hostname: a.example, wellKnownCACertificates: example.com/Others",
    "no authority": "hostname: a.example",
    "no host name": f"hostname: 'a example', {TRUSTED}",
}


@pytest.mark.parametrize("case", INVALID, ids=str)
async def test_what_is_not_valid_lets_nothing_through(lab: GatewayLab, authority: Authority, case: str) -> None:
    backend = await lab.backend("never-plain")
    await lab.apply(f"{route('never-plain')}---{policy('never-plain', INVALID[case])}")
    assert (await lab.ask("http://never-plain.example.com/")).status == 500
    assert backend.seen == []
    assert lab.complaints("BackendTLSPolicy/default/never-plain")
    await lab.delete("BackendTLSPolicy", "never-plain")
    assert (await lab.ask("http://never-plain.example.com/")).backend == "never-plain"
    await backend.stop()


@pytest.mark.parametrize("protocol", ["https", "kubernetes.io/wss"])
async def test_a_backend_that_wants_tls_gets_nothing_without_a_policy(lab: GatewayLab, protocol: str) -> None:
    backend = await lab.backend("wants-tls", app_protocol=protocol)
    await lab.apply(route("wants-tls"))
    assert (await lab.ask("http://wants-tls.example.com/")).status == 500
    assert backend.seen == []
    assert any("needs a BackendTLSPolicy" in each for each in lab.complaints("HTTPRoute/default/wants-tls"))
    await backend.stop()


async def test_new_authorities_and_certificates_lose_no_request(
    lab: GatewayLab, authority: Authority, tmp_path: Path
) -> None:
    first, second = Authority("first"), Authority("second")
    backend = await started(lab, tmp_path, "turning", first.issue("turn.example"))
    turning = policy(
        "turning", "hostname: turn.example, caCertificateRefs: [{group: '', kind: ConfigMap, name: turning}]"
    )
    await lab.apply(f"{first.configmap('turning')}---{route('turning')}---{turning}")
    done = False
    found: set[int] = set()

    async def ask() -> None:
        while not done:
            found.add((await lab.ask("http://turning.example.com/")).status)

    asking = asyncio.create_task(ask())
    for pem in (first.pem + second.pem, second.pem, first.pem + second.pem, second.pem):
        await lab.apply(bundle("turning", pem))
        backend.show(second.issue("turn.example"))
        for _ in range(5):
            assert (await lab.ask("http://turning.example.com/")).status == 200
    done = True
    await asking
    assert found == {200}
    # Connections of the old certificate may live; who connects anew with it is not believed.
    await backend.stop()
    backend = await started(lab, tmp_path, "turning", first.issue("turn.example"))
    assert (await lab.ask("http://turning.example.com/")).status == 503
    await backend.stop()


def bundle(name: str, pem: str) -> str:
    lines = "\n".join(f"    {line}" for line in pem.splitlines())
    return f"kind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n  ca.crt: |\n{lines}\n"


async def test_a_gateway_is_known_to_backends_by_its_own_certificate(
    lab: GatewayLab, authority: Authority, tmp_path: Path
) -> None:
    clients = Authority("clients")
    backend = await started(lab, tmp_path, "mutual", authority.issue("mutual.example"), clients=clients)
    try:
        for name in ("one", "two"):
            client = clients.issue(f"gateway-{name}")
            ref = f"tls: {{backend: {{clientCertificateRef: {{name: client-{name}}}}}}}"
            await lab.apply(
                f"""
kind: Gateway
metadata: {{name: mutual-{name}}}
spec: {{gatewayClassName: fairlead, {ref}, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}
---
{client.secret(f"client-{name}")}"""
            )
        text = route("mutual").replace("{name: web}", "{name: web}, {name: mutual-one}, {name: mutual-two}")
        await lab.apply(f"{text}---{policy('mutual', f'hostname: mutual.example, {TRUSTED}')}")
        answers = {}
        for name in ("web", "mutual-one", "mutual-two"):
            answer = await lab.ask("http://mutual.example.com/", gateway=name)
            answers[name] = answer.body.decode() if answer.status == 200 else str(answer.status)
        assert answers == {
            "web": "503",
            "mutual-one": "mutual.example http/1.1 gateway-one",
            "mutual-two": "mutual.example http/1.1 gateway-two",
        }
        await lab.apply(clients.issue("gateway-new").secret("client-one"))
        async with asyncio.timeout(10):
            while b"gateway-new" not in (await lab.ask("http://mutual.example.com/", gateway="mutual-one")).body:
                await backend.stop()
                backend = await started(lab, tmp_path, "mutual", authority.issue("mutual.example"), clients=clients)
    finally:
        await backend.stop()


async def test_old_versions_of_tls_are_refused(lab: GatewayLab, authority: Authority, tmp_path: Path) -> None:
    statuses = {}
    for version in ("TLSv1.1", "TLSv1.2"):
        backend = await started(lab, tmp_path, "old", authority.issue("old.example", rsa_key=True), most=version)
        await lab.apply(f"{route('old')}---{policy('old', f'hostname: old.example, {TRUSTED}')}")
        statuses[version] = (await lab.ask("http://old.example.com/")).status
        await backend.stop()
    assert statuses == {"TLSv1.1": 503, "TLSv1.2": 200}


async def test_calls_of_grpc_go_over_tls_and_http2(lab: GatewayLab, authority: Authority) -> None:
    class Echo(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            async def answer(request: bytes, context: Any) -> bytes:
                return details.method.encode() + b" " + request

            return grpc.unary_unary_rpc_method_handler(answer)

    pair = authority.issue("calls.example")
    server = grpc.aio.server(handlers=(Echo(),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair.key, pair.chain)]))
    await server.start()
    try:
        await lab.serve("tls-calls", port)
        text = route("tls-calls").replace("HTTPRoute", "GRPCRoute")
        await lab.apply(f"{text}---{policy('tls-calls', f'hostname: calls.example, {TRUSTED}', 'http')}")
        options = [("grpc.default_authority", "tls-calls.example.com"), ("grpc.enable_http_proxy", 0)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{lab.ports['web', 80]}", options=options) as channel:
            assert await channel.unary_unary("/a.B/Get")(b"hi", timeout=10) == b"/a.B/Get hi"
    finally:
        await server.stop(None)


@pytest.mark.parametrize("valid", [True, False])
async def test_connections_whose_tls_ends_here_go_on_with_tls_where_a_policy_wants_it(
    lab: GatewayLab, authority: Authority, tmp_path: Path, valid: bool
) -> None:
    backend = await started(lab, tmp_path, "again", authority.issue("again.example"))
    try:
        outer = authority.issue("outer.example.com")
        await lab.apply(
            f"""
kind: Gateway
metadata: {{name: again}}
spec:
  gatewayClassName: fairlead
  listeners: [{{name: tls, port: 443, protocol: TLS, tls: {{mode: Terminate, certificateRefs: [{{name: outer}}]}}}}]
---
{outer.secret("outer")}
---
kind: TLSRoute
metadata: {{name: again}}
spec: {{parentRefs: [{{name: again}}], hostnames: [outer.example.com], rules: [{{backendRefs: [{{name: again, port: 80}}]}}]}}
---
{policy("again", f"hostname: again.example, {TRUSTED if valid else TRUSTED.replace('trusted', 'nobody')}")}"""
        )
        context = ssl.create_default_context(cadata=authority.pem)
        answer = b""
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", lab.ports["again", 443], ssl=context, server_hostname="outer.example.com"
            )
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            answer = await reader.read(4096)
            writer.close()
        except ConnectionError:
            pass
        assert (b"again.example None -" in answer) == valid
        assert bool(backend.versions) == valid
    finally:
        await backend.stop()

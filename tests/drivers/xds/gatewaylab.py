"""Gateways for tests by real requests: objects as users write them, compiled, given to a real Envoy on loopback, and asked over HTTP.

Nothing of it needs privileges or a namespace: the node's addresses are those of loopback, and its Gateways' ports are free ones.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import yaml
from aiohttp import abc, web
from tests.drivers.xds.load import until

from fairlead.api import client_authority, credentials, trust_material
from fairlead.api.certificate import KeyPair, key_pair, reduced
from fairlead.api.credentials import CredentialData
from fairlead.api.decode import CLUSTER_SCOPED, decode
from fairlead.base.diagnostics import Diagnostic
from fairlead.drivers.protocol import Outcome
from fairlead.drivers.xds.proxies import Proxies
from fairlead.drivers.xds.settings import ProxySettings
from fairlead.drivers.xds.tables import MANY
from fairlead.model.compile import Compiler
from fairlead.model.gateway.names import CONTROLLER, GATEWAY_LABEL, service_name
from fairlead.plan.plan import Plan
from fairlead.world.events import ObjectChanged
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

Json = dict[str, Any]
NODE = "n1"
DRAIN_S = 1
PATIENCE_S = 30.0
"""Tests of one proxy that harms no other set a shorter one."""
DUAL = ("127.0.0.1", "::1")
_CLUSTER_IPS = {"IPv4": "10.96.0.99", "IPv6": "fd10:96::99"}


def start_of(addresses: Iterable[str]) -> str:
    """The manifests of a world with a node of these addresses."""
    own = ", ".join(f"{{type: InternalIP, address: '{each}'}}" for each in addresses)
    return f"""
kind: GatewayClass
metadata: {{name: fairlead}}
spec: {{controllerName: {CONTROLLER}}}
---
kind: Node
metadata: {{name: {NODE}}}
status: {{addresses: [{own}]}}
"""


CLASS = start_of(DUAL)


class Answer(msgspec.Struct):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        found: Json = msgspec.json.decode(self.body)
        return found

    @property
    def backend(self) -> str:
        return str(self.json["pod"]) if self.status == 200 else f"{self.status}"


class Backend:
    """Answers with what it was asked, and remembers it; `respond` may say something else."""

    def __init__(self, name: str, address: str = DUAL[0]) -> None:
        self.name = name
        self._address = address
        self.seen: list[Json] = []
        self.respond: Callable[[Json], web.Response | None] = lambda _: None
        self.delay_s = 0.0
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        sock = socket.create_server((self._address, 0), family=_family(self._address))
        self.port = sock.getsockname()[1]
        await web.SockSite(self._runner, sock).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        what = {"pod": self.name, "path": request.raw_path, "method": request.method, "headers": headers}
        self.seen.append(what)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return self.respond(what) or web.json_response(what, headers={"x-from": self.name})


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _is_free(address: str, port: int) -> bool:
    try:
        socket.create_server((address, port), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


class _Loopback(abc.AbstractResolver):
    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[Any]:
        own = _family(self._address)
        return [{"hostname": host, "host": self._address, "port": port, "family": own, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


class GatewayLab:
    """One node's proxy, and a world that grows by what tests apply."""

    def __init__(
        self, folder: Path, *, drain_s: int = DRAIN_S, many: int = MANY, addresses: tuple[str, ...] = DUAL
    ) -> None:
        """`many`: from so many hosts on a port has scopes; `addresses` are the node's, the first of which backends and clients use."""
        self.folder = folder
        self.many = many
        self.addresses = addresses
        self.drain_s = drain_s
        self.pairs: dict[str, KeyPair] = {}
        self.credentials: dict[str, CredentialData] = {}
        self.hidden = False
        """Whether the driver finds no bytes of credentials yet."""
        self.driver = self.new_driver()
        self.snapshot = Snapshot(settings=Settings(node=NODE))
        self.compiler = Compiler()
        self.ports: dict[tuple[str, int], int] = {}
        """(Gateway, with its namespace where tests give it another one; client's port) → port on loopback."""
        self.udp_ports: dict[tuple[str, int], int] = {}
        self.backends: dict[str, Backend] = {}
        self._client: aiohttp.ClientSession | None = None

    def new_driver(self, *, patience_s: float = PATIENCE_S) -> Proxies:
        """Return what the next agent would make."""
        return Proxies(
            self.folder / "envoy",
            ProxySettings(
                node=NODE,
                keys=self.pairs.get,
                credentials=self._find,
                drain_s=self.drain_s,
                patience_s=patience_s,
                many=self.many,
            ),
        )

    def _find(self, digest: str) -> CredentialData | None:
        return None if self.hidden else self.credentials.get(digest)

    async def start(self) -> None:
        connector = aiohttp.TCPConnector(resolver=_Loopback(self.addresses[0]), force_close=True)
        self._client = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )
        await self.driver.start()
        await self.apply(start_of(self.addresses))

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.close()
        await self.driver.apply(Plan.empty(NODE))
        await until(lambda: self.driver.pid is None)
        await self.driver.close()
        for backend in self.backends.values():
            await backend.stop()

    async def backend(self, name: str, *, namespace: str = "default", app_protocol: str = "http") -> Backend:
        """Start a backend behind a Service of its name, port 80."""
        found = self.backends[name] = Backend(name, self.addresses[0])
        await found.start()
        await self.serve(name, found.port, namespace=namespace, app_protocol=app_protocol)
        return found

    async def serve(self, name: str, *ports: int, namespace: str = "default", app_protocol: str = "http") -> None:
        """Make a Service, port 80, whose endpoints are these ports of loopback, one slice for each."""
        family = "IPv6" if ":" in self.addresses[0] else "IPv4"
        await self.apply(
            f"""
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{clusterIP: '{_CLUSTER_IPS[family]}', ports: [{{name: http, port: 80, appProtocol: {app_protocol}}}]}}
"""
            + "".join(
                f"""
---
kind: EndpointSlice
metadata: {{name: {name}-{at}, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: {family}
endpoints: [{{addresses: ['{self.addresses[0]}']}}]
ports: [{{name: http, port: {port}, protocol: TCP}}]
"""
                for at, port in enumerate(ports)
            )
        )

    async def apply(self, text: str, *, fails: bool = False) -> Outcome:
        """Apply manifests and wait until the proxy follows them."""
        self.add(text)
        outcome = await self.settle()
        assert bool(outcome.failed) == fails, outcome.failed
        return outcome

    def add(self, text: str) -> None:
        """Have manifests applied without telling the proxy."""
        events = [event for each in yaml.safe_load_all(text) if each for event in self.events(each)]
        self.snapshot = fold(self.snapshot, events)

    async def delete(self, kind: str, name: str, namespace: str = "default") -> Outcome:
        self.remove(kind, name, namespace)
        return await self.settle()

    def remove(self, kind: str, name: str, namespace: str = "default") -> None:
        """Have an object deleted without telling the proxy."""
        self.snapshot = fold(self.snapshot, [ObjectChanged(kind, (namespace, name), None)])

    @property
    def plan(self) -> Plan:
        return self.compiler.compile(self.snapshot).plan

    async def settle(self) -> Outcome:
        return await self.driver.apply(self.plan)

    def complaints(self, text: str) -> list[str]:
        """What is wrong with the objects whose reference holds `text`."""
        found = self.compiler.compile(self.snapshot).diagnostics
        return [each.message for each in found if text in each.object]

    async def ask(
        self,
        url: str,
        method: str = "GET",
        *,
        gateway: str = "web",
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send a request to a Gateway; the port in `url` is the one that its listener names."""
        assert self._client is not None
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        name, _, port = host.partition(":")
        number = self.ports[gateway, int(port or {"http": 80, "https": 443}[scheme])]
        async with self._client.request(
            method,
            f"{scheme}://{name}:{number}{slash}{path}",
            headers={"Host": host, **(headers or {})},
            ssl=tls if tls is not None else True,
            allow_redirects=False,
            data=body,
        ) as response:
            return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read())

    def events(self, obj: Json) -> list[ObjectChanged]:
        """What an object means: a Secret with credentials is known as such too."""
        found = [self.event(obj)]
        if obj["kind"] == "Secret" and credentials.is_credentials(obj):
            data = credentials.data_of(obj)
            self.credentials[data.digest] = data
            new = decode("Credentials", credentials.reduced(obj))
            assert not isinstance(new, Diagnostic), new
            found.append(ObjectChanged("Credentials", found[0].key, new))
        if obj["kind"] == "Secret" and client_authority.is_authority(obj):
            authority = decode(client_authority.KIND, client_authority.reduced(obj))
            assert not isinstance(authority, Diagnostic), authority
            found.append(ObjectChanged(client_authority.KIND, found[0].key, authority))
        return found

    def event(self, obj: Json) -> ObjectChanged:
        kind, metadata = obj["kind"], obj["metadata"]
        metadata.setdefault("namespace", "" if kind in CLUSTER_SCOPED else "default")
        key = (metadata["namespace"], metadata["name"])
        if kind == "Secret":
            try:
                pair = key_pair(obj)
                self.pairs[pair.digest] = pair
            except ValueError:
                pass
            obj = reduced(obj)
        elif kind == "ConfigMap":
            obj = trust_material.reduced(obj)
        found = decode(kind, obj)
        assert not isinstance(found, Diagnostic), found
        if kind == "Gateway":
            # HTTP/3 has a UDP port beside HTTPS; without the wish for it nobody listens there.
            udp = {each["port"] for each in obj["spec"]["listeners"] if each["protocol"] in ("UDP", "HTTPS")}
            tcp = {each["port"] for each in obj["spec"]["listeners"] if each["protocol"] != "UDP"}
            self.door(metadata["namespace"], metadata["name"], *tcp, udp=udp)
        return ObjectChanged(kind, key, found)

    def door(self, namespace: str, gateway: str, *numbers: int, udp: Iterable[int] = ()) -> None:
        """Make the Service that the controller would make for a Gateway."""
        whole = gateway if namespace in ("default", "kube-system") else f"{namespace}/{gateway}"
        for number in numbers:
            while (whole, number) not in self.ports:
                with socket.create_server(("127.0.0.1", 0)) as free:
                    port = free.getsockname()[1]
                # The kernel gives a port twice while nobody listens on it yet, and one family's that is taken in the other.
                if port not in self.ports.values() and _is_free("::1", port):
                    self.ports[whole, number] = port
        ports: list[Json] = [{"port": each, "targetPort": self.ports[whole, each]} for each in sorted(numbers)]
        for number in sorted(udp):
            while (whole, number) not in self.udp_ports:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                    one.bind(("127.0.0.1", 0))
                    port = one.getsockname()[1]
                if port not in self.udp_ports.values():
                    self.udp_ports[whole, number] = port
            ports.append({"port": number, "targetPort": self.udp_ports[whole, number], "protocol": "UDP"})
        name = service_name(gateway)
        found = decode(
            "Service",
            {
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": {GATEWAY_LABEL: gateway},
                },
                "spec": {"ports": ports},
            },
        )
        self.snapshot = fold(self.snapshot, [ObjectChanged("Service", (namespace, name), found)])

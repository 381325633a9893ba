"""The API server as a whole: opened, listening, closed.

It must be the only process on its state folder; that is what the lock in it is for.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from fairlead.apiserver import bootstrap, crds, namespaces
from fairlead.apiserver.admission import account_tokens, certificates, node_restriction
from fairlead.apiserver.admission.chain import Chain
from fairlead.apiserver.admission.ingresses import set_default_class
from fairlead.apiserver.admission.limits import check_limits, set_default_limits
from fairlead.apiserver.admission.pods import admit_pod
from fairlead.apiserver.admission.quota import admit_within_quota
from fairlead.apiserver.api import Api
from fairlead.apiserver.app import App
from fairlead.apiserver.authn.tokens import Tokens
from fairlead.apiserver.authz import bootstrap as rights
from fairlead.apiserver.authz import escalation
from fairlead.apiserver.authz.aggregation import Aggregation
from fairlead.apiserver.authz.authorizer import Authorizer
from fairlead.apiserver.dynamic.entry import Dynamic
from fairlead.apiserver.http.connection import IDLE_TIMEOUT_S, Connections
from fairlead.apiserver.kubelet import KubeletRequests
from fairlead.apiserver.listeners import Address, listen, tls
from fairlead.apiserver.served import builtin_catalog
from fairlead.apiserver.services.admission import ServiceAddresses
from fairlead.apiserver.store.engine import Store
from fairlead.base.errors import UserError

log = logging.getLogger(__name__)

_SHUTDOWN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a server runs. `kubelet_sockets` is a path pattern with `{node}`; `advertise` are the addresses that pods reach it at."""

    state: Path
    pki: Path
    listen: Sequence[Address]
    kubelet_sockets: str = ""
    service_cidrs: Sequence[str] = ("10.96.0.0/16", "fd10:96::/108")
    node_ports: tuple[int, int] = (30000, 32767)
    advertise: Sequence[Address] = ()
    definitions: Path | None = None
    """Folder of CustomResourceDefinitions that are there from the start."""


class Server:
    """One API server; an async context manager that serves between entering and leaving."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock: int | None = None
        self._servers: list[asyncio.Server] = []
        self._connections: Connections | None = None
        self._kubelets: KubeletRequests | None = None
        self._definitions: asyncio.Task[None] | None = None
        self.api: Api | None = None

    def __repr__(self) -> str:
        return f"<Server {', '.join(map(str, self._settings.listen))}>"

    async def __aenter__(self) -> Server:
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def ports(self) -> list[int]:
        """The ports listened on, in the order of the settings."""
        return [sock.getsockname()[1] for server in self._servers for sock in server.sockets]

    async def close(self) -> None:
        """End all requests, finish all writes, free the folder."""
        for server in self._servers:
            server.close()
        if self._definitions is not None:
            self._definitions.cancel()
            await asyncio.wait([self._definitions])
        if self.api is not None:
            await self.api.store.close()
        if self._connections is not None:
            await self._connections.shutdown(_SHUTDOWN_S)
        if self._kubelets is not None:
            await self._kubelets.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _open(self) -> None:
        settings = self._settings
        context = tls(settings.pki / "apiserver.crt", settings.pki / "apiserver.key", settings.pki / "ca.crt")
        settings.state.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(settings.state)
        account_key = _account_key(settings.pki)
        store = Store(settings.state / "state.db")
        store.open()
        api = Api(
            store=store,
            catalog=builtin_catalog(),
            admission=Chain(),
            authorizer=Authorizer(store),
            tokens=Tokens(store, account_key),
            ca_certificate=(settings.pki / "ca.crt").read_text(),
        )
        self.api = api
        crds.serve_stored(api)
        addresses = ServiceAddresses(settings.service_cidrs, settings.node_ports)
        self._kubelets = KubeletRequests(api, settings.kubelet_sockets)
        _compose(api, addresses, self._kubelets)
        addresses.rebuild(entry.obj for entry in api.store.latest_entries("services"))
        await bootstrap.run(api, addresses, settings.advertise)
        await rights.ensure(store)
        Aggregation(store).look()
        if settings.definitions is not None:
            await bootstrap.install(api, settings.definitions)
        self._definitions = asyncio.create_task(crds.Definitions(api).run(), name="definitions")
        self._definitions.add_done_callback(_report)
        api.admission.releasing.append(bootstrap.restore(api, addresses, settings.advertise))
        gc.collect()
        gc.freeze()
        # Objects of the store live long: frequent full collections would only walk them again.
        gc.set_threshold(100_000, 50, 100)
        app = App(api, self._kubelets, str(settings.listen[0]))
        self._connections = Connections(
            app.handle,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=IDLE_TIMEOUT_S,
            max_field_size=16384,
        )
        loop = asyncio.get_running_loop()
        for address in settings.listen:
            sock = listen(address)
            self._servers.append(await loop.create_server(self._connections, sock=sock, ssl=context, backlog=1024))
            log.info("listening", extra={"address": address})


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("definitions are not followed any more", extra={"error": repr(error)})


def _compose(api: Api, addresses: ServiceAddresses, kubelets: KubeletRequests) -> None:
    """Put the admission functions in order."""
    api.admission.mutating += [
        namespaces.lifecycle(api),
        crds.refuse_while_ending(api),
        certificates.admit(api.authorizer),
        admit_pod(api),
        set_default_limits(api),
        set_default_class(api),
    ]
    defined = Dynamic(api, kubelets.dial_service)
    api.admission.mutating.append(defined.mutating(tuple(api.admission.mutating)))
    api.admission.validating += [
        namespaces.protect(),
        node_restriction.restrict(api),
        escalation.admit(api.authorizer),
        check_limits(api),
        defined.policies(),
        defined.validating(),
    ]
    api.admission.mutating += [addresses.complete]
    api.admission.connecting += [defined.policies(), defined.validating()]
    api.admission.allocating += [
        account_tokens.fill(api),
        admit_within_quota(api),
        addresses.allocate,
        crds.follow(api),
    ]
    api.admission.releasing += [addresses.release, crds.forget(api)]


def _account_key(pki: Path) -> Path:
    """Return the file of the key that signs tokens of ServiceAccounts."""
    file = pki / "sa.key"
    if not file.exists():
        raise UserError(f"{file} does not exist", fix="put the key there that signs tokens of ServiceAccounts")
    return file


def _lock(state: Path) -> int:
    descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(f"another API server works on {state}", fix="stop it, or choose another --state") from None
    return descriptor

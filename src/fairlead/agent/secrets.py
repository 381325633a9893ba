"""Certificates and credentials of the cluster: what may be known of them goes to the engine, their bytes to whoever serves them.

The bytes live in this process's memory alone: they are in no record, no log and no plan. It must never hand them out but by their digest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from fairlead.api import certificate, client_authority, credentials
from fairlead.api.certificate import KeyPair
from fairlead.api.credentials import CredentialData
from fairlead.api.decode import decode
from fairlead.api.resources import SECRETS
from fairlead.engine.reconcile import Engine
from fairlead.sources.client import Client
from fairlead.sources.errors import ApiError, Forbidden, Unreachable
from fairlead.sources.informer import Informer, key_of
from fairlead.world.events import KindReplaced, ObjectChanged, ObjectKey

Json = dict[str, Any]

log = logging.getLogger(__name__)

_RETRY_S = 10.0


class Bytes(Protocol):
    """What a Secret holds."""

    @property
    def digest(self) -> str:
        """Return how it is called."""


Held = TypeVar("Held", bound=Bytes)


class Vault(Generic[Held]):
    """The bytes of Secrets by digest."""

    def __init__(self) -> None:
        self._of: dict[ObjectKey, Held] = {}
        self._by_digest: dict[str, Held] = {}

    def __repr__(self) -> str:
        return f"<Vault secrets={len(self._of)}>"

    def get(self, digest: str) -> Held | None:
        """Return the bytes behind a digest, None when they are not here."""
        return self._by_digest.get(digest)

    def put(self, key: ObjectKey, held: Held | None) -> None:
        """Remember what a Secret holds now; None: nothing of use."""
        old = self._of.pop(key, None)
        if held is not None:
            self._of[key] = held
            self._by_digest[held.digest] = held
        if old is not None and all(each.digest != old.digest for each in self._of.values()):
            del self._by_digest[old.digest]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which Secrets a keeper follows, and what it makes of each."""

    kind: str
    """Of what may be known of them."""
    fields: str | None = None
    labels: str | None = None
    read: Callable[[Json], Any] | None = None
    """Returns the bytes; raises ValueError. None: nothing of it is secret."""
    reduced: Callable[[Json], Json]
    """Returns what may be known."""
    without: str
    """What is missing where they may not be read."""


CERTIFICATES = Wanted(
    kind="Secret",
    fields=f"type={certificate.TYPE}",
    read=certificate.key_pair,
    reduced=certificate.reduced,
    without="certificates not read: Gateways serve no TLS",
)
CREDENTIALS = Wanted(
    kind="Credentials",
    labels=credentials.LABEL,
    read=credentials.data_of,
    reduced=credentials.reduced,
    without="credentials not read: nobody passes basic authentication or has a key",
)


AUTHORITIES = Wanted(
    kind=client_authority.KIND,
    labels=credentials.LABEL,
    reduced=client_authority.reduced,
    without="CA certificates of clients not read: hosts of Ingresses that want some let nobody in",
)


class Vaults(msgspec.Struct, frozen=True):
    """The bytes of all Secrets that the proxy is given."""

    certificates: Vault[KeyPair]
    credentials: Vault[CredentialData]


class SecretKeeper:
    """Follows some Secrets, and no others."""

    def __init__(self, client: Client, vault: Vault[Any], engine: Engine, wanted: Wanted) -> None:
        self._vault = vault
        self._engine = engine
        self._client = client
        self._wanted = wanted
        self._selectors = {"field_selector": wanted.fields, "label_selector": wanted.labels}
        self._informer = Informer(client, SECRETS, reduce=self._reduce, **self._selectors)
        self._informer.on_change(self._changed)

    def __repr__(self) -> str:
        return f"<SecretKeeper of {self._wanted.kind} {self._vault}>"

    async def run(self) -> None:
        """Follow them, forever. Without the right to read them there are none: the node's network does not wait for that."""
        while True:
            if await self._may_read():
                break
            await asyncio.sleep(_RETRY_S)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run())
            await self._informer.wait_synced()
            kind = self._wanted.kind
            objects = {key: decode(kind, obj) for key, obj in self._informer.store.items()}
            self._engine.push(KindReplaced(kind, objects, self._informer.resource_version))

    async def _may_read(self) -> bool:
        """Ask once; raises nothing."""
        try:
            await self._client.list(SECRETS, **self._selectors)
        except Forbidden as error:
            log.warning(self._wanted.without, extra={"error": str(error)})
            self._engine.push(KindReplaced(self._wanted.kind, {}))
            return False
        except (ApiError, Unreachable):
            # The informer waits for the server as every other does.
            return True
        return True

    def _reduce(self, secret: Json) -> Json:
        """Keep the bytes aside and return what may be known: nothing else of a Secret stays in memory."""
        try:
            held = self._wanted.read(secret) if self._wanted.read is not None else None
        except ValueError:
            held = None
        self._vault.put(key_of(secret), held)
        return self._wanted.reduced(secret)

    def _changed(self, old: Json | None, new: Json | None) -> None:
        subject = new or old
        assert subject is not None
        key = key_of(subject)
        if new is None:
            self._vault.put(key, None)
        if self._informer.synced:
            found = decode(self._wanted.kind, new) if new is not None else None
            self._engine.push(ObjectChanged(self._wanted.kind, key, found))

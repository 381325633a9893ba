"""Certificates of the cluster: what may be known of them goes to the engine, their bytes to whoever serves them.

The bytes live in this process's memory alone: they are in no record, no log and no plan. It must never hand them out but by their digest.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fairlead.api import certificate
from fairlead.api.certificate import KeyPair
from fairlead.api.decode import decode
from fairlead.api.resources import SECRETS
from fairlead.engine.reconcile import Engine
from fairlead.sources.client import Client
from fairlead.sources.errors import ApiError, Forbidden, Unreachable
from fairlead.sources.informer import Informer, key_of
from fairlead.world.events import KindReplaced, ObjectChanged, ObjectKey

Json = dict[str, Any]

log = logging.getLogger(__name__)


_SELECTOR = f"type={certificate.TYPE}"
_RETRY_S = 10.0


class Vault:
    """The bytes of certificates by digest."""

    def __init__(self) -> None:
        self._of: dict[ObjectKey, KeyPair] = {}
        self._by_digest: dict[str, KeyPair] = {}

    def __repr__(self) -> str:
        return f"<Vault certificates={len(self._of)}>"

    def get(self, digest: str) -> KeyPair | None:
        """Return the bytes behind a digest, None when they are not here."""
        return self._by_digest.get(digest)

    def put(self, key: ObjectKey, pair: KeyPair | None) -> None:
        """Remember what a Secret holds now; None: nothing of use."""
        old = self._of.pop(key, None)
        if pair is not None:
            self._of[key] = pair
            self._by_digest[pair.digest] = pair
        if old is not None and all(each.digest != old.digest for each in self._of.values()):
            del self._by_digest[old.digest]


class CertificateKeeper:
    """Follows the Secrets of type kubernetes.io/tls."""

    def __init__(self, client: Client, vault: Vault, engine: Engine) -> None:
        self._vault = vault
        self._engine = engine
        self._client = client
        self._informer = Informer(client, SECRETS, field_selector=_SELECTOR, reduce=self._reduce)
        self._informer.on_change(self._changed)

    async def run(self) -> None:
        """Follow them, forever. Without the right to read them there are none: the node's network does not wait for that."""
        while True:
            if await self._may_read():
                break
            await asyncio.sleep(_RETRY_S)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run())
            await self._informer.wait_synced()
            objects = {key: decode("Secret", obj) for key, obj in self._informer.store.items()}
            self._engine.push(KindReplaced("Secret", objects, self._informer.resource_version))

    async def _may_read(self) -> bool:
        """Ask once; raises nothing."""
        try:
            await self._client.list(SECRETS, field_selector=_SELECTOR)
        except Forbidden as error:
            log.warning("certificates not read: Gateways serve no TLS", extra={"error": str(error)})
            self._engine.push(KindReplaced("Secret", {}))
            return False
        except (ApiError, Unreachable):
            # The informer waits for the server as every other does.
            return True
        return True

    def _reduce(self, secret: Json) -> Json:
        """Keep the bytes aside and return what may be known: nothing else of a Secret stays in memory."""
        try:
            pair = certificate.key_pair(secret)
        except ValueError:
            pair = None
        self._vault.put(key_of(secret), pair)
        return certificate.reduced(secret)

    def _changed(self, old: Json | None, new: Json | None) -> None:
        subject = new or old
        assert subject is not None
        key = key_of(subject)
        if new is None:
            self._vault.put(key, None)
        if self._informer.synced:
            found = decode("Secret", new) if new is not None else None
            self._engine.push(ObjectChanged("Secret", key, found))

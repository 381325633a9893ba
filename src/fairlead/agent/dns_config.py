"""Follows the ConfigMap `kube-system/fairlead-dns` and keeps the last good configuration on disk.

A faulty configuration changes nothing: the last good one stays in force, and the fault is an Event on the ConfigMap and a line in
the log. Without the API server the agent goes on with what it last knew.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from fairlead.api.resources import CONFIGMAPS
from fairlead.drivers.dns.config import KEY, ConfigError, Configuration, parse
from fairlead.drivers.dns.driver import DnsDriver
from fairlead.sources.client import Client, Json
from fairlead.sources.informer import Informer

log = logging.getLogger(__name__)

NAMESPACE, NAME = "kube-system", "fairlead-dns"


class DnsConfigKeeper:
    """Gives the driver the configuration that the cluster holds."""

    def __init__(self, client: Client, driver: DnsDriver, known: Path, node: str) -> None:
        """`known` is the file of the last good configuration."""
        self._client = client
        self._driver = driver
        self._known = known
        self._node = node
        self._informer = Informer(client, CONFIGMAPS, namespace=NAMESPACE, field_selector=f"metadata.name={NAME}")

    def load(self) -> None:
        """Put the last good configuration in force, if there is one."""
        try:
            self._driver.configure(self._parse(self._known.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return
        except (OSError, ConfigError) as error:
            log.warning("last dns configuration not used", extra={"path": str(self._known), "error": str(error)})

    async def run(self) -> None:
        """Follow the ConfigMap, forever."""
        changed = asyncio.Event()
        self._informer.on_change(lambda _old, _new: changed.set())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run())
            await self._informer.wait_synced()
            while True:
                changed.clear()
                await self._take(self._informer.store.get((NAMESPACE, NAME)))
                await changed.wait()

    async def _take(self, obj: Json | None) -> None:
        text = ((obj or {}).get("data") or {}).get(KEY, "")
        try:
            configuration = self._parse(text)
        except ConfigError as error:
            self._driver.meters.reload_failures += 1
            log.warning("dns configuration refused", extra={"object": f"{NAMESPACE}/{NAME}", "error": str(error)})
            assert obj is not None
            await self._client.event(
                obj,
                type="Warning",
                reason="InvalidConfiguration",
                message=f"{error}; the last good configuration stays in force",
                component="fairlead-agent",
                node=self._node,
            )
            return
        self._driver.configure(configuration)
        self._save(text)
        log.info("dns configured", extra={"fields": ",".join(_changed(configuration)) or "defaults"})

    def _parse(self, text: str) -> Configuration:
        return parse(text, forbidden=self._driver.addresses)

    def _save(self, text: str) -> None:
        temporary = self._known.with_name(f".{self._known.name}.{os.getpid()}")
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self._known)
        except OSError as error:
            log.warning("dns configuration not remembered", extra={"path": str(self._known), "error": str(error)})


def _changed(configuration: Configuration) -> list[str]:
    default = Configuration()
    names = configuration.__struct_fields__
    return [name for name in names if getattr(configuration, name) != getattr(default, name)]

"""Certificates and credentials: their bytes stay here, and a missing right stops nothing else."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from fairlead.agent.secrets import AUTHORITIES, CERTIFICATES, CREDENTIALS, SecretKeeper, Vault, Wanted
from fairlead.api.certificate import KeyPair
from fairlead.engine.reconcile import Engine
from fairlead.sources.client import Client
from fairlead.sources.errors import Forbidden
from fairlead.world.events import Event, KindReplaced

A, B = (KeyPair(chain=each, key=b"key") for each in (b"a", b"b"))


def test_bytes_are_forgotten_with_the_last_secret_that_holds_them() -> None:
    vault: Vault[KeyPair] = Vault()
    vault.put(("x", "one"), A)
    vault.put(("x", "two"), A)
    vault.put(("x", "one"), B)
    assert (vault.get(A.digest), vault.get(B.digest)) == (A, B)
    vault.put(("x", "two"), None)
    assert (vault.get(A.digest), vault.get(B.digest)) == (None, B)
    assert "key" not in repr(vault)


class _NoRight:
    async def list(self, *_: Any, **__: Any) -> Any:
        raise Forbidden({"message": "no", "code": 403})


class _Engine:
    def __init__(self) -> None:
        self.said: asyncio.Queue[Event] = asyncio.Queue()

    def push(self, *events: Event) -> None:
        for event in events:
            self.said.put_nowait(event)


@pytest.mark.parametrize("wanted", (CERTIFICATES, CREDENTIALS, AUTHORITIES), ids=lambda each: each.kind)
async def test_without_the_right_to_read_them_there_are_none(wanted: Wanted) -> None:
    engine = _Engine()
    keeper = SecretKeeper(cast(Client, _NoRight()), Vault(), cast(Engine, engine), wanted)
    running = asyncio.create_task(keeper.run())
    assert await asyncio.wait_for(engine.said.get(), 30) == KindReplaced(wanted.kind, {})
    running.cancel()

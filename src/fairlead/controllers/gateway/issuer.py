"""The shell of listeners' certificates: makes the authority, then a certificate for each Secret that is wanted, and each anew before it expires."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from fairlead.api.resources import GATEWAYS, INGRESSES, LISTENERSETS, SECRETS
from fairlead.controllers.actions import Create, Event, Replace
from fairlead.controllers.context import Context
from fairlead.controllers.controller import Controller
from fairlead.controllers.expectations import Key

if TYPE_CHECKING:
    from fairlead.controllers.gateway.issuing import Wish

Json = dict[str, Any]

_EVERYTHING: Key = ("", "")
_TOGETHER_S = 0.02
_LONGEST_S = 86_400.0
_KINDS = (GATEWAYS, LISTENERSETS, INGRESSES)


class CertificateIssuer(Controller):
    """Issues certificates for Gateways, ListenerSets and Ingresses that ask for them by annotation. Without one that does it makes nothing."""

    name = "gateway-certificate-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._users = [self.follow(each, enqueue=self._wake) for each in _KINDS]
        self._secrets = self.follow(SECRETS, enqueue=self._wake)
        self._told: set[tuple[Key, str]] = set()

    async def reconcile(self, key: Key) -> None:
        """Bring all certificates nearer to what they should be."""
        # The library of certificates is loaded with the first object.
        from fairlead.controllers.gateway import issuing

        objects = [
            {"apiVersion": kind.api_version, "kind": kind.kind, **each}
            for kind, informer in zip(_KINDS, self._users, strict=True)
            for each in informer.store.values()
        ]
        wanted = issuing.wishes(objects)
        if not wanted:
            return
        now = datetime.datetime.fromtimestamp(self.context.now(), datetime.UTC)
        issuer = self._secrets.store.get(issuing.AUTHORITY)
        if issuer is None:
            await self.perform(key, [Create(SECRETS, issuing.authority(now))])
            return
        due = []
        for where, wish in sorted(wanted.items(), key=lambda each: each[0]):
            present = self._secrets.store.get(where)
            if where == issuing.AUTHORITY or (present is not None and not issuing.is_ours(present)):
                await self._refuse(where, wish, f"Secret {'/'.join(where)} was made by somebody else")
            elif present is not None and issuing.fits(present, wish, issuer) and issuing.renewal(present) > now:
                due.append(issuing.renewal(present))
            else:
                try:
                    made = issuing.issue(where, wish, issuer, now)
                except ValueError as error:
                    await self._refuse(where, wish, str(error))
                    continue
                if present is None:
                    await self.perform(key, [Create(SECRETS, made)])
                else:
                    version = {"resourceVersion": present["metadata"]["resourceVersion"]}
                    await self.perform(key, [Replace(SECRETS, {**made, "metadata": {**made["metadata"], **version}})])
        if due:
            self.queue.add_after(key, min((min(due) - now).total_seconds() + 1, _LONGEST_S))

    async def _refuse(self, where: Key, wish: Wish, problem: str) -> None:
        if (where, problem) in self._told:
            return
        self._told.add((where, problem))
        await self.perform(
            _EVERYTHING, [Event(each, "Warning", "CertificateNotIssued", problem) for each in wish.owners]
        )

    def _wake(self, _obj: Json) -> None:
        self.queue.add_after(_EVERYTHING, _TOGETHER_S)

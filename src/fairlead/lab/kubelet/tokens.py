"""Tokens of the pods' ServiceAccounts: asked for when a volume needs one, and again before it expires.

A token is asked for anew after 80 % of its life or a day, as upstream's token manager does; where that fails, the old one stays
as long as it holds.
"""

from __future__ import annotations

import calendar
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from fairlead.api.resources import SERVICEACCOUNTS
from fairlead.lab.kubelet.content import token_wanted
from fairlead.lab.kubelet.pod import Json, Pod
from fairlead.lab.kubelet.volumes import MountError
from fairlead.sources.client import Client
from fairlead.sources.errors import ApiError, Unreachable

Wanted: TypeAlias = tuple[str, int]
"""Audience (empty: the API server) and lifetime in seconds."""

_MOST_AGE_S = 24 * 3600
_LEFT = 0.2
_JITTER_S = 10.0
_RETRY_S = 60.0


@dataclass(slots=True)
class _Token:
    text: str
    expires_at: float
    renew_at: float


class Tokens:
    """The tokens of this node's pods."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tokens: dict[str, dict[Wanted, _Token]] = {}

    async def of(self, pod: Pod) -> dict[Wanted, str]:
        """Return the tokens that the pod's volumes show; raises MountError when one is refused, Unreachable."""
        found: dict[Wanted, str] = {}
        for volume, wanted in sources(pod):
            held = self._tokens.setdefault(pod.uid, {})
            token = held.get(wanted)
            if token is None or token.renew_at <= time.time():
                token = held[wanted] = await self._renewed(pod, volume, wanted, token)
            found[wanted] = token.text
        return found

    def renew_at(self, uid: str) -> float | None:
        """Return when the first token of a pod is to be asked for again; None when it has none."""
        return min((token.renew_at for token in self._tokens.get(uid, {}).values()), default=None)

    def forget(self, uid: str) -> None:
        """Drop the tokens of a pod that is gone."""
        self._tokens.pop(uid, None)

    async def _renewed(self, pod: Pod, volume: str, wanted: Wanted, old: _Token | None) -> _Token:
        try:
            return await self._request(pod, wanted)
        except (ApiError, Unreachable) as error:
            if old is not None and old.expires_at > time.time():
                old.renew_at = time.time() + _RETRY_S
                return old
            if isinstance(error, Unreachable):
                raise
            message = f'MountVolume.SetUp failed for volume "{volume}" : failed to fetch token: {error}'
            raise MountError(message) from error

    async def _request(self, pod: Pod, wanted: Wanted) -> _Token:
        audience, seconds = wanted
        reference = {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.uid}
        spec: Json = {"expirationSeconds": seconds, "boundObjectRef": reference}
        if audience:
            spec["audiences"] = [audience]
        answer = await self._client.create(
            SERVICEACCOUNTS,
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
            namespace=pod.metadata.namespace,
            name=pod.spec.service_account_name or "default",
            subresource="token",
        )
        status, now = answer["status"], time.time()
        expires_at = float(calendar.timegm(time.strptime(status["expirationTimestamp"], "%Y-%m-%dT%H:%M:%SZ")))
        life_s = min(_MOST_AGE_S, (1 - _LEFT) * (expires_at - now))
        return _Token(status["token"], expires_at, now + life_s - random.uniform(0, min(_JITTER_S, life_s / 10)))


def sources(pod: Pod) -> Iterator[tuple[str, Wanted]]:
    """Yield the volume and what it wants for each token that the pod's volumes show."""
    for volume in pod.spec.volumes or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            if (token := source.get("serviceAccountToken")) is not None:
                yield str(volume["name"]), token_wanted(token)

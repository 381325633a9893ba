"""Which verifiers of tokens Envoy accepts: they are one resource, and a bad one must not keep the others from changing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

from fairlead.plan.gateway.policy import GatewayJwt

Try = Callable[[Iterable[GatewayJwt]], Awaitable[str]]
"""Has Envoy take these and no others; returns its words if it does not want them."""


class Verifiers:
    """What Envoy has accepted last, and what it rejects."""

    def __init__(self) -> None:
        self._good: Mapping[str, GatewayJwt] = {}
        self.bad: dict[str, str] = {}
        """Name → Envoy's words; who needs it does not pass, or is verified as before."""

    def __repr__(self) -> str:
        return f"<Verifiers good={len(self._good)} bad={sorted(self.bad)}>"

    async def settle(self, wanted: Mapping[str, GatewayJwt], words: str, attempt: Try) -> None:
        """Take note that Envoy has accepted all that is wanted, or (with `words`) find what it can accept of it.

        Costs an exchange for each of those that changed.
        """
        if not words:
            self._good, self.bad = wanted, {}
            return
        self.bad = {}
        good = {name: row for name, row in self._good.items() if name in wanted}
        for name, row in sorted(wanted.items()):
            if good.get(name) == row:
                continue
            if words := await attempt((good | {name: row}).values()):
                self.bad[name] = words
            else:
                good[name] = row
        await attempt(good.values())
        self._good = good

"""Turns for requests: one client that asks without measure waits behind itself, not in front of everybody else.

Each user is a flow with a number of seats. A request takes a seat while it runs (a long list several), and waits for its flow's next one
when all are taken. As the server is one thread, a request of another flow waits for no more than what sits there. Long-running requests take
no seat. The idea is that of API Priority and Fairness (KEP-1040), without priority levels: a lab has few users.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from fairlead.apiserver.errors import StatusError, too_many_requests

SEATS = 32
MOST_WAITING = 1000
"""Requests of one flow that may wait; more are told to come back."""
_OBJECTS_PER_SEAT = 100
_MOST_SEATS = 10
_LONG_RUNNING = frozenset({"log", "exec", "attach", "portforward", "proxy"})


class Flow:
    """The requests of one user. Whoever entered must leave, whatever happens."""

    def __init__(self, seats: int = SEATS, most_waiting: int = MOST_WAITING) -> None:
        self._free = seats
        self._most_waiting = most_waiting
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.inside = 0

    def __repr__(self) -> str:
        return f"<Flow free={self._free} inside={self.inside} waiting={len(self._waiting)}>"

    async def enter(self, seats: int) -> None:
        """Take `seats` when it is this request's turn; raises 429 when too many wait already."""
        if not seats or (self._free >= seats and not self._waiting):
            self._free -= seats
            self.inside += 1
            return
        if len(self._waiting) >= self._most_waiting:
            raise _too_many()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (seats, turn)
        self._waiting.append(place)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(seats)
            else:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(place)
                self._admit()
            raise

    def leave(self, seats: int) -> None:
        """Give back what was taken, to whoever is next."""
        self._free += seats
        self.inside -= 1
        self._admit()

    @property
    def is_idle(self) -> bool:
        """Whether nobody is inside and nobody waits."""
        return not self.inside and not self._waiting

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            seats, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= seats
                self.inside += 1
                turn.set_result(None)


class Fairness:
    """The flows of all users."""

    def __init__(self) -> None:
        self._flows: dict[str, Flow] = {}

    def flow(self, user: str) -> Flow:
        """Return the flow of a user."""
        found = self._flows.get(user)
        if found is None:
            self.forget_idle()
            found = self._flows[user] = Flow()
        return found

    def forget_idle(self) -> None:
        """Drop the flows in which nothing happens; they come back as new."""
        for user in [user for user, flow in self._flows.items() if flow.is_idle]:
            del self._flows[user]


def seats_of(verb: str, subresource: str, objects: int) -> int:
    """Return how many seats a request takes: none when it stays, more for a list of many `objects`."""
    if verb == "watch" or subresource in _LONG_RUNNING:
        return 0
    if verb in ("list", "deletecollection"):
        return min(_MOST_SEATS, 1 + objects // _OBJECTS_PER_SEAT)
    return 1


def _too_many() -> StatusError:
    return too_many_requests("Too many requests, please try again later.", 1)

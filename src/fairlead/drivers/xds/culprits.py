"""Which hosts of a table Envoy does not want: it rejects the table as a whole, so those that changed are halved until the bad ones are alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from fairlead.drivers.xds.hosts import HostTables

Try = Callable[[Collection[str]], Awaitable[str]]
"""Has Envoy take a table, some hosts of which stay as they were; returns its words if it does not want it."""


async def find(hosts: HostTables, table: str, words: str, attempt: Try) -> None:
    """Bring a table that Envoy rejects, with `words`, to what it accepts, and note the hosts at fault.

    Costs an exchange for each halving of the hosts that changed.
    """
    if suspects := hosts.suspects(table):
        await _halve(hosts, table, set(suspects), suspects, words, attempt)


async def _halve(hosts: HostTables, table: str, out: set[str], suspects: list[str], words: str, attempt: Try) -> None:
    """Take as many of the suspects from `out`, hosts that stay as they were, as Envoy accepts; note the others as bad."""
    if len(suspects) == 1:
        hosts.reject(table, suspects[0], words)
        await attempt(out)
        return
    middle = len(suspects) // 2
    for half in (suspects[:middle], suspects[middle:]):
        if not half:
            continue
        if words_now := await attempt(out - set(half)):
            await _halve(hosts, table, out, half, words_now, attempt)
        else:
            out -= set(half)

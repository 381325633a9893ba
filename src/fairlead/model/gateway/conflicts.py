"""Which listeners of a Gateway cannot stand beside each other. Pure.

Source: ListenerConditionConflicted; GEP-1713 for the precedence between a Gateway's own listeners and those of its ListenerSets. What goes
first stands; between listeners of one object there is no precedence, so both lose.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

_SPACE: Mapping[str, str] = {"UDP": "UDP"}
"""Protocol of a listener → whose port numbers it takes, TCP's where none is named."""
_SPEECH: Mapping[str, str] = {"HTTPS": "TLS"}
"""Protocol of a listener → what clients must speak on its port, itself where nothing else is named."""
_NAMED = frozenset(("HTTP", "HTTPS", "TLS"))
"""Protocols whose connections or requests name a host, by which several listeners share a port."""

Conflict = tuple[str, str]
"""Reason and problem."""


class Contender(Protocol):
    """A listener."""

    @property
    def port(self) -> int:
        """Return its port."""

    @property
    def protocol(self) -> str:
        """Return its protocol."""

    @property
    def hostname(self) -> str:
        """Return its host in lower case, empty for all."""


def conflicts(ranks: Iterable[Sequence[Contender]]) -> list[list[Conflict | None]]:
    """Return what is wrong with each listener; those of the first rank go first. Costs time proportional to the listeners.

    What a listener is told of others is not whose they are: they may be another tenant's.
    """
    speeches: dict[tuple[str, int], str] = {}
    hosts: set[tuple[str, int, str]] = set()
    found = []
    for listeners in ranks:
        spoken: dict[tuple[str, int], set[str]] = {}
        for each in listeners:
            # What has lost to something that goes first takes nothing away from its neighbors.
            if speeches.get(_port(each), _speech(each)) == _speech(each):
                spoken.setdefault(_port(each), set()).add(_speech(each))
        alike = Counter(_place(each) for each in listeners)
        verdicts: list[Conflict | None] = []
        for each in listeners:
            port, place = _port(each), _place(each)
            if len(spoken.get(port, ())) > 1 or speeches.get(port, _speech(each)) != _speech(each):
                problem = f"another listener has port {each.port} for another protocol than {each.protocol}"
                verdicts.append(("ProtocolConflict", problem))
            elif each.protocol not in _NAMED and (alike[place] > 1 or place in hosts):
                problem = (
                    f"another listener has port {each.port}, and {each.protocol} has nothing to tell them apart by"
                )
                verdicts.append(("ProtocolConflict", problem))
            elif alike[place] > 1 or place in hosts:
                verdicts.append(("HostnameConflict", f"another listener has port {each.port} and the same host name"))
            else:
                verdicts.append(None)
        for each, verdict in zip(listeners, verdicts, strict=True):
            if verdict is None:
                speeches[_port(each)] = _speech(each)
                hosts.add(_place(each))
        found.append(verdicts)
    return found


def _port(each: Contender) -> tuple[str, int]:
    return _SPACE.get(each.protocol, "TCP"), each.port


def _speech(each: Contender) -> str:
    return _SPEECH.get(each.protocol, each.protocol)


def _place(each: Contender) -> tuple[str, int, str]:
    return *_port(each), each.hostname if each.protocol in _NAMED else ""

"""A plan divided among the node's proxies: each gets its listeners, what these name, and what that names. Pure.

It remembers who needs what, so that a changed endpoint costs itself and the proxies that use it. While every listener is the shared
proxy's there is nothing to divide, and nothing is remembered. A listener that passes from one proxy to another stays with the former one, as
it was, until it is released: the next one serves before that one stops. What it names stays until its last connections are over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from fairlead.drivers.xds.needs import uses
from fairlead.plan.gateway.listener import AnyListener
from fairlead.plan.gateway.presence import GatewayHealthPort
from fairlead.plan.plan import Delta, Plan, changes
from fairlead.plan.tables import Key, Row

SHARED = ""
"""The proxy of all Gateways that have none of their own."""
_LISTENERS = ("gateway_listeners", "gateway_quic_listeners", "gateway_udp_listeners", "gateway_health_ports")
_HOSTS, _DRAINS = "gateway_hosts", "gateway_drains"

_At: TypeAlias = tuple[str, Key]
"""Table and key of a row. What is named together has a place of its own: the hosts of a table, whose key is its name, and all drains."""
_ALL_DRAINS: _At = (_DRAINS, ())
Listening: TypeAlias = AnyListener | GatewayHealthPort
"""What a proxy has a port for."""


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """A listener on its way from one proxy to another."""

    former: str
    row: Listening
    """As the former proxy has it."""
    to: str
    is_released: bool = False
    """Whether the former proxy has only what connections need that it has taken."""


class Division:
    """One plan after the other, divided."""

    def __init__(self, tables: Collection[str], node: str) -> None:
        """`tables` are those that proxies are made of."""
        self._tables = tuple(sorted(tables))
        self._plan = Plan.empty(node)
        self._parts: dict[str, Plan] = {SHARED: self._plan}
        self._serial = 0
        self._is_whole = False
        """Whether the shared proxy's part is the whole plan."""
        self._is_divided = False
        self._names: dict[_At, set[_At]] = {}
        """Row → what it names."""
        self._users: dict[_At, Counter[str]] = {}
        """Row → proxy → how many of the proxy's rows name it, and whether it is its listener."""
        self._touched: set[tuple[str, _At]] = set()
        """(proxy, row) that may be others than the parts say."""
        self._moves: dict[_At, Move] = {}

    def __repr__(self) -> str:
        return f"<Division proxies={sorted(self._parts)} moves={len(self._moves)}>"

    @property
    def parts(self) -> Mapping[str, Plan]:
        """Return each proxy's plan; the shared one always has one."""
        return self._parts

    @property
    def moves(self) -> Mapping[str, Move]:
        """Return the listeners by name of which a former proxy still has something beside the next one."""
        return {str(key[0]): each for (_, key), each in self._moves.items()}

    def update(self, plan: Plan) -> set[str]:
        """Divide another plan; return the proxies whose part is another one now, or has no listeners left.

        Costs time proportional to what changed; to the whole plan where the first proxy besides the shared one comes.
        """
        old, self._plan = self._plan, plan
        if not self._is_divided:
            same = all(old.table(each) is plan.table(each) for each in _LISTENERS)
            if same or not any(row.proxy for row in _listening(plan)):
                return self._hand_over(old, plan)
            self._divide(old)
        self._take(old, plan)
        return self._rewrite()

    def release(self, names: Iterable[str]) -> set[str]:
        """Take listeners away from the proxies that had them before, not what they name; return the proxies whose part is another one now."""
        for at in self._moving(names):
            self._moves[at] = msgspec.structs.replace(self._moves[at], is_released=True)
            self._touched.add((self._moves[at].former, at))
        return self._rewrite()

    def finish(self, names: Iterable[str]) -> set[str]:
        """Take away what released listeners among these name; return the proxies whose part is another one now."""
        for at in self._moving(names):
            if not self._moves[at].is_released:
                continue
            self._settle(at)
            self._name(at, self._plan.table(at[0]).get(at[1]))
        return self._rewrite()

    def _moving(self, names: Iterable[str]) -> list[_At]:
        wanted = set(names)
        return [at for at in self._moves if at[1][0] in wanted]

    def forget(self, proxy: str) -> None:
        """Forget a proxy that has no listeners. With the last one of its own there is nothing to divide any more."""
        if self._parts[proxy].tables:
            raise ValueError(f"{proxy} has listeners")
        del self._parts[proxy]
        if self._parts.keys() == {SHARED}:
            self._is_divided = False
            self._names, self._users = {}, {}

    def _hand_over(self, old: Plan, plan: Plan) -> set[str]:
        """Give the shared proxy the whole plan."""
        if plan is old:
            return set()
        follows = plan.delta is not None and old.serial and plan.delta.since == old.serial
        keys = plan.delta.keys if plan.delta is not None and follows and self._is_whole else None
        self._is_whole = True
        self._put(SHARED, {each: plan.table(each) for each in self._tables if plan.table(each)}, keys)
        return {SHARED}

    def _divide(self, plan: Plan) -> None:
        self._is_divided, self._is_whole = True, False
        self._take(Plan.empty(plan.node), plan)
        # What no listener needs is nobody's.
        self._touched |= {(SHARED, (table, key)) for table, rows in self._parts[SHARED].tables.items() for key in rows}

    def _put(
        self, proxy: str, tables: Mapping[str, Mapping[Key, Row]], keys: Mapping[str, frozenset[Key]] | None
    ) -> None:
        """Set a part; `keys` are those of the rows that differ from the former one, where that is known."""
        before = self._parts.get(proxy)
        # Serials are this object's own: those of whole plans count something else.
        self._serial += 1
        self._parts[proxy] = Plan(
            node=self._plan.node,
            revision=self._plan.revision,
            tables=tables,
            serial=self._serial,
            delta=Delta(before.serial, keys) if before is not None and keys is not None else None,
        )

    def _take(self, old: Plan, new: Plan) -> None:
        """Take in what differs between two plans."""
        for table in self._tables:
            for key, was, now in changes(old, new, table):
                at = (table, key)
                if table in _LISTENERS:
                    self._listen(at, _listener(was), _listener(now))
                if table in (_HOSTS, _DRAINS) and (was is None) != (now is None):
                    self._place(at, here=now is not None)
                self._name(at, now)
                self._touched |= {(proxy, at) for proxy in self._users.get(at, ())}

    def _listen(self, at: _At, was: Listening | None, now: Listening | None) -> None:
        """Note whose listener it is."""
        former, proxy = was.proxy if was else None, now.proxy if now else None
        if former == proxy:
            return
        move = self._moves.get(at)
        if move is not None and proxy in (None, move.former):
            self._settle(at)
            move = None
        if proxy is not None:
            self._use(at, proxy, 1)
        if was is None or former is None:
            return
        if move is not None:
            self._moves[at] = msgspec.structs.replace(move, to=proxy)
        elif proxy is not None and at[1] in self._parts[former].table(at[0]):
            self._moves[at] = Move(former=former, row=was, to=proxy)
            return
        self._use(at, former, -1)

    def _settle(self, at: _At) -> None:
        """End a move: the former proxy has the listener no more."""
        former = self._moves.pop(at).former
        self._touched.add((former, at))
        self._use(at, former, -1)

    def _place(self, at: _At, *, here: bool) -> None:
        """Put a host into its table, or a drain among the others, or take it out."""
        table = (_HOSTS, at[1][:1]) if at[0] == _HOSTS else _ALL_DRAINS
        known = self._names.setdefault(table, set())
        (known.add if here else known.discard)(at)
        if not known:
            del self._names[table]
        for proxy in tuple(self._users.get(table, ())):
            self._use(at, proxy, 1 if here else -1)

    def _name(self, at: _At, row: Row | None) -> None:
        """Note what a row names."""
        rows = [row] if row is not None else []
        if (move := self._moves.get(at)) is not None:
            rows.append(move.row)
        new: set[_At] = {(table, (name,)) for each in rows for table, name in uses(each)}
        if rows and at[0] in _LISTENERS:
            new.add(_ALL_DRAINS)
        old = self._names.pop(at, set())
        if new:
            self._names[at] = new
        for proxy in tuple(self._users.get(at, ())):
            for each in new ^ old:
                self._use(each, proxy, 1 if each in new else -1)

    def _use(self, at: _At, proxy: str, count: int) -> None:
        """Note that one more row of a proxy names a row, or one less: what this one names follows it."""
        found = [at]
        while found:
            each = found.pop()
            users = self._users.setdefault(each, Counter())
            before = users[proxy]
            users[proxy] = before + count
            if not before + count:
                del users[proxy]
                if not users:
                    del self._users[each]
            if not before or not before + count:
                self._touched.add((proxy, each))
                found += self._names.get(each, ())

    def _rewrite(self) -> set[str]:
        """Bring the parts to what they should be; return those that are others now."""
        by_proxy: dict[str, set[_At]] = {}
        for proxy, at in self._touched:
            by_proxy.setdefault(proxy, set()).add(at)
        self._touched = set()
        return {proxy for proxy, places in by_proxy.items() if self._rewrite_part(proxy, places)}

    def _rewrite_part(self, proxy: str, places: Iterable[_At]) -> bool:
        before = self._parts.get(proxy)
        tables: dict[str, Mapping[Key, Row]] = dict(before.tables) if before is not None else {}
        fresh: dict[str, dict[Key, Row]] = {}
        keys: dict[str, set[Key]] = {}
        for table, key in places:
            row = self._row(proxy, (table, key))
            if tables.get(table, {}).get(key) == row:
                continue
            keys.setdefault(table, set()).add(key)
            if table not in fresh:
                fresh[table] = dict(tables.get(table, {}))
            if row is None:
                del fresh[table][key]
            else:
                fresh[table][key] = row
        if keys:
            present = {table: rows for table, rows in (tables | fresh).items() if rows}
            self._put(proxy, present, {table: frozenset(each) for table, each in keys.items()})
        return bool(keys)

    def _row(self, proxy: str, at: _At) -> Row | None:
        if proxy not in self._users.get(at, ()):
            return None
        move = self._moves.get(at)
        if move is not None and move.former == proxy:
            return None if move.is_released else move.row
        table, key = at
        return self._plan.table(table).get(key)


def _listening(plan: Plan) -> Iterator[Listening]:
    for table in _LISTENERS:
        yield from (found for row in plan.table(table).values() if (found := _listener(row)) is not None)


def _listener(row: Row | None) -> Listening | None:
    return row if isinstance(row, AnyListener | GatewayHealthPort) else None

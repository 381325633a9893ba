"""The tree of an expression. Positions are offsets into the text, for messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: null, bool, int, Unsigned, float, str or bytes."""

    at: int
    value: Any


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, a type, or the first part of a qualified name."""

    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`; `test` is has(operand.field), `optional` is `operand.?field`."""

    at: int
    operand: Expr
    field: str
    test: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """`operand[key]`; `optional` is `operand[?key]`."""

    at: int
    operand: Expr
    key: Expr
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """`name(args)` or `target.name(args)`; operators are named as the specification names them (`_&&_`)."""

    at: int
    name: str
    args: tuple[Expr, ...]
    target: Expr | None = None


@dataclass(frozen=True, slots=True)
class ListLiteral:
    """`[a, ?b]`; `optional` holds the positions of optional items."""

    at: int
    items: tuple[Expr, ...]
    optional: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class MapLiteral:
    """`{key: value, ?key: value}`; `optional` holds the positions of optional entries."""

    at: int
    entries: tuple[tuple[Expr, Expr], ...]
    optional: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Comprehension:
    """A macro over a list or map: `kind` is all, exists, existsOne, map, filter, transformList, transformMap or transformMapEntry.

    `second` is the name of the second variable of the two-variable forms; `condition` the filter of the forms that have one.
    """

    at: int
    kind: str
    source: Expr
    first: str
    second: str | None
    body: Expr
    condition: Expr | None = None


@dataclass(frozen=True, slots=True)
class Bind:
    """cel.bind(name, value, body), and optMap (`kind` "optMap" or "optFlatMap") whose body sees the value of an optional."""

    at: int
    kind: str
    name: str
    value: Expr
    body: Expr


Expr: TypeAlias = Literal | Name | Select | Index | Call | ListLiteral | MapLiteral | Comprehension | Bind


def children(expr: Expr) -> tuple[Expr, ...]:
    """Return the expressions directly below `expr`."""
    match expr:
        case Select():
            return (expr.operand,)
        case Index():
            return (expr.operand, expr.key)
        case Call():
            return expr.args if expr.target is None else (expr.target, *expr.args)
        case ListLiteral():
            return expr.items
        case MapLiteral():
            return tuple(part for entry in expr.entries for part in entry)
        case Comprehension():
            return (expr.source, expr.body) if expr.condition is None else (expr.source, expr.condition, expr.body)
        case Bind():
            return (expr.value, expr.body)
        case _:
            return ()

"""A plan as text for people and goldens, and as plain data for tools.

Canonical: equal plans give equal text, rows sorted by key, so that a line diff of two renderings is the difference of the plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from fairlead.plan.plan import Plan
from fairlead.plan.tables import TABLES, Key, Origin, Row, key_of


def render(plan: Plan, tables: Iterable[str] | None = None, *, origins: bool = False) -> str:
    """Return the named tables (default: all) as aligned text; empty tables are left out.

    With `origins`, each row ends with the objects that caused it.
    """
    parts = []
    for table in TABLES if tables is None else tables:
        rows = plan.table(table)
        if rows:
            parts.append(_table(plan, table, origins=origins))
    return "\n".join(parts)


def to_data(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain data: node, revision, tables → rows sorted by key, each with its `origins`."""
    tables = {}
    for table in TABLES:
        rows = plan.table(table)
        tables[table] = [
            {**msgspec.to_builtins(row), "origins": list(plan.origins.get((table, key), ()))}
            for key, row in sorted(rows.items(), key=_order)
        ]
    return {"node": plan.node, "revision": plan.revision, "tables": tables}


def from_data(data: Mapping[str, Any]) -> Plan:
    """Return the plan that `to_data` made this of; raises msgspec.ValidationError or KeyError for anything else."""
    tables: dict[str, dict[Key, Row]] = {}
    origins: dict[tuple[str, Key], tuple[Origin, ...]] = {}
    for table, rows in data["tables"].items():
        for each in rows:
            row = msgspec.convert(each, TABLES[table][0])
            tables.setdefault(table, {})[key_of(row)] = row
            if each["origins"]:
                origins[table, key_of(row)] = tuple(each["origins"])
    return Plan(node=data["node"], revision=data["revision"], tables=tables, origins=origins)


def _table(plan: Plan, table: str, *, origins: bool) -> str:
    rows = sorted(plan.table(table).items(), key=_order)
    row_type, key_fields = TABLES[table]
    fields = [*key_fields, *(field for field in row_type.__struct_fields__ if field not in key_fields)]
    lines = [[_cell(getattr(row, field)) for field in fields] for _, row in rows]
    # A column that says nothing in any row only widens the text.
    used = [at for at, field in enumerate(fields) if field in key_fields or any(line[at] != "-" for line in lines)]
    titles = [fields[at] for at in used]
    cells = [[line[at] for at in used] for line in lines]
    if origins:
        titles.append("origin")
        for line, (key, _) in zip(cells, rows, strict=True):
            line.append(" ".join(plan.origins.get((table, key), ())) or "-")
    count = f"{len(rows)} row" if len(rows) == 1 else f"{len(rows)} rows"
    return f"{table}: {count}\n" + "".join(f"  {line}\n" for line in aligned([titles, *cells]))


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of cells as text in columns two spaces apart, without trailing blanks."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _cell(value: object) -> str:
    match value:
        case None | "" | () | False:
            return "-"
        case True:
            return "yes"
        case tuple():
            return ",".join(_cell(each) for each in value)
        case msgspec.Struct() if hasattr(value, "address") and hasattr(value, "port"):
            return f"[{value.address}]:{value.port}" if ":" in value.address else f"{value.address}:{value.port}"
        case _:
            return str(value)


def _order(item: tuple[Key, Row]) -> tuple[tuple[int, int, str], ...]:
    return tuple((0, part, "") if isinstance(part, int) else (1, 0, part) for part in item[0])

"""The tables of annotations say what the readers do, and docs/migrate-ingress.md says what the tables do."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from fairlead.api import middleware
from fairlead.model.gateway.annotations import PREFIXES, read
from fairlead.model.gateway.annotations.known import Table, find
from fairlead.model.gateway.annotations.reader import Reader
from fairlead.model.gateway.middlewares import known as middlewares

GUIDE = Path(__file__).parents[2] / "docs/migrate-ingress.md"
TABLES = {prefix: each.table for prefix, each in PREFIXES.items() if prefix != "haproxy.com/"}
CASES = [(prefix, name) for prefix, table in TABLES.items() for name in table]


class Noting(Reader):
    """Remembers what it was asked for."""

    def __init__(self, prefix: str, table: Table) -> None:
        super().__init__(prefix, {}, table)
        self.asked: set[str] = set()

    def has(self, name: str) -> bool:
        self.asked.add(name)
        return super().has(name)

    def take(self, name: str, parse: Callable[[str], Any], default: Any) -> Any:
        self.asked.add(name)
        return super().take(name, parse, default)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_is_read_is_what_the_table_calls_honored(prefix: str) -> None:
    of = PREFIXES[prefix]
    reader = Noting(prefix, of.table)
    of.read(reader)
    assert reader.asked == {name for name, known in of.table.items() if known.state == "honored"}


def test_each_annotation_alone_is_told_what_its_state_says() -> None:
    for prefix, name in CASES:
        known = TABLES[prefix][name]
        wishes = read({prefix + name: "x"}, PREFIXES[prefix].dialect)
        said = [(each.annotation, each.fix) for each in wishes.refusals], [each.message for each in wishes.notes]
        if known.state == "refused":
            assert said == ([(prefix + name, known.words)], []), name
        elif known.state == "warned":
            assert said == ([], [f"has no effect: {known.words}"]), name
        else:
            assert not wishes.notes, name
        if known.switch:
            assert read({prefix + name: "false"}, PREFIXES[prefix].dialect).refusals == (), name


def test_without_annotations_controllers_have_their_own_status_of_redirects() -> None:
    found = {dialect: read({}, dialect).secured_status for dialect in ("nginx", "haproxy", "traefik", "")}
    assert found == {"nginx": 308, "haproxy": 302, "traefik": 308, "": 308}


def test_numbers_in_names() -> None:
    traefik = TABLES["traefik.ingress.kubernetes.io/"]
    assert find(traefik, "router.tls.domains.12.main") == traefik["router.tls.domains.n.main"]
    haproxy = TABLES["haproxy-ingress.github.io/"]
    assert find(haproxy, "http-response-404") == haproxy["http-response-n"]
    assert find(haproxy, "http-response-many") is None


def test_the_prefix_that_two_controllers_share_is_refused() -> None:
    (refusal,) = read({"ingress.kubernetes.io/whitelist-source-range": "10.0.0.0/8"}, "haproxy").refusals
    assert "haproxy-ingress.github.io/" in refusal.fix
    assert read({"ingress.kubernetes.io/whitelist-source-range": "10.0.0.0/8"}, "nginx").refusals == ()
    assert read({"haproxy.com/allow-list": "10.0.0.0/8"}, "haproxy").security is not None


def test_what_services_may_say_is_known() -> None:
    assert {prefix for prefix, each in PREFIXES.items() if not each.on_services} == {"nginx.ingress.kubernetes.io/"}
    for prefix, each in PREFIXES.items():
        assert each.on_services <= each.table.keys(), prefix


def test_each_kind_of_middleware_that_is_honored_is_read() -> None:
    honored = {kind for kind, known in middlewares.TABLE.items() if known.state == "honored"}
    assert honored == middleware.KINDS.keys()


def rows(table: Table) -> list[str]:
    """A table as Markdown; what becomes the same stands in one row."""
    found = ["| kind | state | |" if table is middlewares.TABLE else "| annotation | state | |", "|---|---|---|"]
    states = {"honored": "honored", "warned": "no effect", "refused": "refused"}
    for known, names in groupby(sorted(table, key=lambda name: [*states].index(table[name].state)), key=table.get):
        assert known is not None
        switch = " unless off" if known.switch else ""
        found.append(f"| {', '.join(f'`{each}`' for each in names)} | {states[known.state]}{switch} | {known.words} |")
    return found


def of_prefix(prefix: str) -> list[str]:
    """The table of one prefix, and what of it Services may say."""
    found = rows(TABLES[prefix])
    if services := [name for name in TABLES[prefix] if name in PREFIXES[prefix].on_services]:
        found += ["", f"On Services too, where they go first: {', '.join(f'`{each}`' for each in services)}."]
    return found


@pytest.mark.parametrize("name", (*TABLES, "Middleware"))
def test_the_guide_has_the_tables(name: str, pytestconfig: pytest.Config) -> None:
    text = GUIDE.read_text()
    first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    between = re.compile(f"(?<={re.escape(first)}).*(?={re.escape(last)})", re.DOTALL)
    wanted = "\n".join(rows(middlewares.TABLE) if name == "Middleware" else of_prefix(name)) + "\n"
    if pytestconfig.getoption("--update-goldens"):
        text = between.sub(lambda _: wanted, text)
        GUIDE.write_text(text)
    found = between.search(text)
    assert found is not None
    assert found[0] == wanted

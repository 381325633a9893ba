"""What `fairlead status` says of Gateways and proxies, from what the API server and agents say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from fairlead.base.diagnostics import Diagnostic
from fairlead.cli import status as command
from fairlead.lab import state
from fairlead.lab import status as lab_status
from fairlead.lab.gateway_status import gateways
from fairlead.lab.status import Item, Report
from fairlead.model.gateway.names import CONTROLLER

CLASSES = [
    {"metadata": {"name": "ours"}, "spec": {"controllerName": CONTROLLER}},
    {"metadata": {"name": "theirs"}, "spec": {"controllerName": "example.com/other"}},
]


def condition(kind: str, good: bool, message: str = "", generation: int = 2) -> dict[str, Any]:
    status = "True" if good else "False"
    return {"type": kind, "status": status, "reason": "R", "message": message, "observedGeneration": generation}


def gateway(*conditions: dict[str, Any], listener: Any = (), of_class: str = "ours", routes: int = 3) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "web", "name": "g", "generation": 2},
        "spec": {"gatewayClassName": of_class, "listeners": [{"name": "l", "port": 443, "protocol": "HTTPS"}]},
        "status": {
            "addresses": [{"value": "203.0.113.1"}, {"value": "fd10::1"}],
            "conditions": list(conditions),
            "listeners": [{"name": "l", "attachedRoutes": routes, "conditions": list(listener)}],
        },
    }


GOOD = "203.0.113.1, fd10::1; l 443/HTTPS: 3 routes"
CASES = {
    "all is well": (gateway(condition("Programmed", True)), (True, "", GOOD)),
    "one route": (gateway(condition("Programmed", True), routes=1), (True, "", GOOD.replace("3 routes", "1 route"))),
    "a proxy's words": (
        gateway(condition("Accepted", True), condition("Programmed", False, "node n: Envoy: no")),
        (False, "node n: Envoy: no", f"{GOOD}; node n: Envoy: no"),
    ),
    "a reason without words": (gateway(condition("Programmed", False)), (False, "R", f"{GOOD}; R")),
    "a listener's words": (
        gateway(condition("Programmed", True), listener=[condition("ResolvedRefs", False, "no Secret")]),
        (True, "", f"{GOOD}; l: no Secret"),
    ),
    "what is out of date": (
        gateway(condition("Programmed", True), listener=[condition("fairlead.dev/RevocationListsValid", False, "old")]),
        (True, "", f"{GOOD}; l: old"),
    ),
    "no conflict is none": (
        gateway(condition("Programmed", True), listener=[condition("Conflicted", False, "x")]), (True, "", GOOD),
    ),
    "of an older generation": (
        gateway(condition("Programmed", True, generation=1)),
        (False, "the controller has not looked at this generation yet", None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_a_gateway_says_of_itself(case: str) -> None:
    obj, (programmed, problem, detail) = CASES[case]
    (found,) = gateways([obj], CLASSES)
    assert (found.programmed, found.problem) == (programmed, problem)
    assert detail in (None, found.detail)


def test_gateways_of_others_and_new_ones() -> None:
    new = {"metadata": {"namespace": "a", "name": "new", "generation": 1}, "spec": {"gatewayClassName": "ours"}}
    found = list(gateways([gateway(of_class="theirs"), gateway(), new], CLASSES))
    assert [(each.namespace, each.name, each.programmed) for each in found] == [
        ("a", "new", False),
        ("web", "g", False),
    ]


def answer(failed: int, **proxy: int) -> dict[str, Any]:
    rows = [{"table": "gateway_hosts", "key": ["web/g/80", f"h{at}"], "error": "Envoy: no"} for at in range(failed)]
    wrong = [{"object": "HTTPRoute/web/r", "message": "m"}, {"object": "Service/web/s", "message": "other"}]
    return {
        "healthy": True,
        "summary": "all",
        "drivers": [{"driver": "nft"}, {"driver": "xds", "revision": "7"}],
        "diagnostics": wrong,
        "proxies": {"": {"pid": 9, "failed": rows, **proxy}} if proxy else {},
    }


def test_what_a_proxy_does() -> None:
    def told(found: dict[str, Any]) -> list[tuple[bool, str]]:
        _, *proxy = lab_status._agent("n1", found)
        return [(each.healthy, each.detail) for each in proxy]

    assert told(answer(0)) == told(answer(0, listeners=0, serving=0)) == []
    assert told(answer(0, listeners=2, serving=2)) == [(True, "pid 9, 2 of 2 ports, revision 7")]
    ((healthy, detail),) = told(answer(5, listeners=2, serving=1))
    assert not healthy
    assert detail.startswith("pid 9, 1 of 2 ports, revision 7; web/g/80 h0: Envoy: no; ")
    assert detail.endswith("; and 2 more")
    both = answer(0, listeners=1, serving=1)
    both["proxies"]["web.own"] = {
        "pid": 10,
        "listeners": 1,
        "serving": 0,
        "failed": answer(1, listeners=1)["proxies"][""]["failed"],
    }
    assert [(each.component, each.healthy) for each in lab_status._agent("n1", both)] == [
        ("network n1", True),
        ("proxy n1", True),
        ("proxy n1 web.own", False),
    ]
    assert [each.object for each in lab_status._problems(answer(0))] == ["HTTPRoute/web/r"]
    assert lab_status._agent("n1", "agent does not answer: x")[0].healthy is False


@pytest.mark.parametrize("output", ["text", "json"])
def test_gateways_are_shown_and_do_not_make_a_lab_sick(monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    problems = tuple(Diagnostic(object=f"HTTPRoute/web/r{at:02}", message="m") for at in range(25))
    found = tuple(gateways([gateway(condition("Programmed", False, "why"))], CLASSES))
    report = Report(
        lab="lab", items=(Item(component="api", healthy=True, detail="d"),), gateways=found, problems=problems
    )

    async def collect(*_: object) -> Report:
        return report

    monkeypatch.setattr(lab_status, "collect", collect)
    monkeypatch.setattr(state, "require", lambda _: None)
    done = CliRunner().invoke(command.status, ["-o", output], standalone_mode=False)
    assert done.return_value == 0
    if output == "json":
        told = json.loads(done.stdout)
        assert (told["healthy"], len(told["problems"])) == (True, 25)
        (shown,) = told["gateways"]
        assert (shown["namespace"], shown["name"], shown["programmed"]) == ("web", "g", False)
        assert shown["listeners"] == [{"name": "l", "port": 443, "protocol": "HTTPS", "routes": 3, "problem": ""}]
        return
    lines = done.stdout.splitlines()
    assert lines[0].startswith("✓ api ") and lines[1].startswith("✗ gateway web/g  203.0.113.1")
    assert len(lines) == 2 + 20 + 1 and lines[-1] == "! and 5 more: see -o json"

from __future__ import annotations

import json

import pytest

from fairlead.plan.plan import Delta, Plan, changes, index
from fairlead.plan.render import from_data, render, to_data
from fairlead.plan.tables import Endpoint, Route, ServicePort

PLAN = Plan(
    node="n1",
    revision="12",
    tables={
        "routes": index(
            [Route(destination="10.244.2.0/24", via="10.10.0.12"), Route(destination="10.244.1.0/24", kind="blackhole")]
        ),
        "service_ports": index(
            [
                ServicePort(address="fd10:96::5", protocol="tcp", port=80, endpoints=(Endpoint("fd10:244::5", 8080),)),
                ServicePort(address="10.96.0.5", protocol="tcp", port=443, endpoints=()),
                ServicePort(
                    address="10.96.0.5",
                    protocol="tcp",
                    port=80,
                    endpoints=(Endpoint("10.244.1.5", 8080), Endpoint("10.244.2.5", 8080)),
                ),
            ]
        ),
    },
    origins={("routes", ("10.244.2.0/24",)): ("Node//n2",)},
)

TEXT = """\
routes: 2 rows
  destination    via         kind       origin
  10.244.1.0/24  -           blackhole  -
  10.244.2.0/24  10.10.0.12  unicast    Node//n2

service_ports: 3 rows
  address     protocol  port  endpoints                        origin
  10.96.0.5   tcp       80    10.244.1.5:8080,10.244.2.5:8080  -
  10.96.0.5   tcp       443   -                                -
  fd10:96::5  tcp       80    [fd10:244::5]:8080               -
"""


def test_text() -> None:
    assert render(PLAN, origins=True) == TEXT
    assert render(Plan.empty("n1")) == ""


def test_data_comes_back_through_json() -> None:
    assert from_data(json.loads(json.dumps(to_data(PLAN)))) == PLAN


def test_two_rows_with_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="two rows for key"):
        index([Route(destination="10.0.0.0/8"), Route(destination="10.0.0.0/8", via="10.1.1.1")])


def test_changes_need_no_delta_and_believe_only_one_that_follows() -> None:
    empty = Plan(node="n1", revision="", tables={}, serial=4)
    wrong = Plan(node="n1", revision="", tables=PLAN.tables, serial=9, delta=Delta(since=8, keys={}))
    right = Plan(
        node="n1",
        revision="",
        tables=PLAN.tables,
        serial=5,
        delta=Delta(since=4, keys={"routes": frozenset([("10.244.1.0/24",)])}),
    )
    assert {key for key, _, _ in changes(empty, wrong, "routes")} == {("10.244.1.0/24",), ("10.244.2.0/24",)}
    assert [key for key, _, _ in changes(empty, right, "routes")] == [("10.244.1.0/24",)]

"""Objects of every kind with any JSON in any field: refused with a text or taken through all rules, never a crash."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead.apiserver.kinds import registry, status_error, strategy, tables, wire

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.sampled_from(
        ["", "a", "Bad_Name", "10.0.0.1", "fd00::/64", "*.a", "None", "ClusterIP", "Always", "In"]
    ),
    "bool": st.booleans(),
    "int32": st.sampled_from([-1, 0, 1, 80, 2**31 - 1]),
    "int64": st.sampled_from([-1, 0, 30, 2**63 - 1]),
    "float64": st.floats(allow_nan=False, allow_infinity=False),
    "bytes": st.sampled_from(["", "YQ=="]),
    "resource.Quantity": st.sampled_from(["0", "1", "-1", "500m", "1Gi", 2, 0.5]),
    "intstr.IntOrString": st.sampled_from([0, 1, -1, 70000, "25%", "http", "x!", ""]),
    "meta/v1.Time": st.sampled_from(["2026-03-01T12:00:00Z", ""]),
    "meta/v1.MicroTime": st.just("2026-03-01T12:00:00.000001Z"),
    "meta/v1.Duration": st.just("1h"),
    "stringlist": st.lists(st.just("a"), max_size=2),
}


@st.composite
def values(draw: st.DrawFn, type_name: str, depth: int) -> Any:
    """Return a value of the type, seldom of another."""
    if draw(st.integers(0, 30)) == 0:
        return draw(ANY)
    if type_name in SCALARS:
        return draw(SCALARS[type_name])
    kind = wire.message(type_name)
    if kind is None:
        return draw(ANY)
    if depth > 6:
        return {}
    obj = {}
    for name in draw(st.lists(st.sampled_from(sorted(kind.by_json)), max_size=4, unique=True)) if kind.by_json else ():
        field = kind.by_json[name]
        inner = values(field.type, depth + 1)
        if field.shape == "list":
            inner = st.lists(inner, max_size=2)
        elif field.shape == "map":
            inner = st.dictionaries(st.sampled_from(["a", "cpu", "bad key!"]), inner, max_size=2)
        obj[name] = draw(inner)
    return obj


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_no_object_breaks_the_rules_themselves(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(registry.KINDS))
    obj = data.draw(values(wire.message_of(kind).name, 0))
    if not isinstance(obj, dict):
        assert strategy.type_errors(kind, obj) is not None
        return
    strategy.check_fields(kind, obj, b"{}")
    wrong = strategy.type_errors(kind, obj)
    if wrong is not None:
        assert "cannot be handled as a" in wrong
        return
    strategy.default(kind, obj)
    again = copy.deepcopy(obj)
    strategy.default(kind, again)
    assert again == obj
    obj["metadata"] |= {"name": "x", "uid": "u"}
    strategy.prepare_for_create(kind, obj)
    errors = strategy.validate_create(kind, obj)
    if errors:
        assert status_error.invalid(kind, "x", errors)["code"] == 422
    new = copy.deepcopy(obj)
    strategy.prepare_for_update(kind, new, obj)
    strategy.validate_update(kind, new, obj)
    strategy.prepare_for_status_update(kind, new, obj)
    assert len(tables.row_cells(kind, obj, datetime.now(UTC))) == len(tables.columns(kind))

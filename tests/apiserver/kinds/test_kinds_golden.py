"""Requests whose answers a real kube-apiserver gave: ours must be the same, word by word."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from fairlead.apiserver.kinds import registry, status_error, strategy

CASES = json.loads((Path(__file__).parent / "data" / "validation_golden.json").read_text())


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return what creating `request` answers: a Status, or {"kind", "accepted"}."""
    body = json.dumps(request).encode()
    obj = copy.deepcopy(request)
    api_version = "discovery.k8s.io/v1" if obj["apiVersion"] == "discovery.k8s.io/v1beta1" else obj["apiVersion"]
    kind = registry.by_kind(api_version, obj["kind"])
    assert kind is not None
    wrong = strategy.type_errors(kind, obj, body)
    if wrong is not None:
        return status_error.bad_request(wrong)
    strategy.default(kind, obj)
    obj["metadata"] |= {"namespace": "default", "uid": "1c3c1d0c-0000-0000-0000-000000000000"}
    strategy.prepare_for_create(kind, obj)
    errors = strategy.validate_create(kind, obj)
    if errors:
        return status_error.invalid(kind, obj["metadata"]["name"], errors)
    return {"kind": kind.resource.kind, "accepted": True}


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{number}-{case['request']['kind']}" for number, case in enumerate(CASES)]
)
def test_answers_as_the_real_server(case: dict[str, Any]) -> None:
    assert answer(case["request"]) == case["response"]

"""Values that no schema has checked, as files hold them: each makes its own route or listener invalid and is named."""

from __future__ import annotations

import json

import pytest
import yaml
from tests.model.test_gateway import gateway, stage

from fairlead.model.gateway.listeners import BoundListener

LONG = "x" * 5000
_ONE = {"backendRefs": [{"name": "app", "port": 80}]}
RULES: dict[str, tuple[dict[str, object], str]] = {
    "a path with a query": ({"matches": [{"path": {"value": "/a?b"}}]}, "matches[0].path.value"),
    "a path without a slash": ({"matches": [{"path": {"value": "a"}}]}, "matches[0].path.value"),
    "a path that never ends": ({"matches": [{"path": {"value": f"/{LONG}"}}]}, "matches[0].path.value"),
    "a method of two words": ({"matches": [{"method": "GET A"}]}, "matches[0].method"),
    "a header's name with a line in it": ({"matches": [{"headers": [{"name": "a\nb", "value": "c"}]}]}, "headers[0].name"),
    "a pattern of many instructions": (
        {"matches": [{"headers": [{"name": "a", "value": "((a{30}){30}){30}", "type": "RegularExpression"}]}]}, "headers[0].value",
    ),
    "a line in a header's value": (
        {"filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "a", "value": "b\r\nc: d"}]}}]},
        "filters[0]: set.value",
    ),
    "a pseudo header": (
        {"filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": [{"name": ":path", "value": "/"}]}}]},
        "filters[0]: add.name",
    ),
    "the host as a header": (
        {"filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["Host"]}}]}, "filters[0]: remove",
    ),
    "a host name of several lines": (
        {"filters": [{"type": "URLRewrite", "urlRewrite": {"hostname": "a\nb"}}]}, "urlRewrite.hostname",
    ),
    "a new path of several lines": (
        {"filters": [{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/\0"}}}]},
        "urlRewrite.path.replaceFullPath",
    ),
    "a port beyond all": ({"filters": [{"type": "RequestRedirect", "requestRedirect": {"port": 1 << 40}}]}, "requestRedirect.port"),
    "a scheme of its own": ({"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "a b"}}]}, "requestRedirect.scheme"),
    "an origin of several lines": ({"filters": [{"type": "CORS", "cors": {"allowOrigins": ["http://a\n"]}}]}, "cors.allowOrigins"),
    "a method that ends the header": ({"filters": [{"type": "CORS", "cors": {"allowMethods": ["A\r\nB: c"]}}]}, "cors.allowMethods"),
    "a negative age": ({"filters": [{"type": "CORS", "cors": {"maxAge": -1}}]}, "cors.maxAge"),
    "more than all requests": (
        {"filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": _ONE["backendRefs"][0], "percent": 1 << 33}}]},
        "requestMirror.percent",
    ),
    "a negative weight": ({"backendRefs": [{"name": "app", "port": 80, "weight": -1}]}, "backendRefs[0].weight"),
    "a weight beyond all": ({"backendRefs": [{"name": "app", "port": 80, "weight": 1 << 33}]}, "backendRefs[0].weight"),
    "a negative number of attempts": ({"retry": {"attempts": -1}}, "retry.attempts"),
    "a code that is none": ({"retry": {"codes": [1 << 33]}}, "retry.codes"),
}  # fmt: skip


@pytest.mark.parametrize("case", RULES)
def test_a_value_that_no_schema_allows_makes_its_route_invalid(case: str) -> None:
    rule, field = RULES[case]
    spec = {"parentRefs": [{"name": "web"}], "rules": [{**_ONE, **rule}]}
    found = stage(gateway(), yaml.safe_dump({"kind": "HTTPRoute", "metadata": {"name": "r"}, "spec": spec}))
    (bound,) = found.bound.values()
    (parent,) = bound.parents
    assert parent.accepted.reason == "UnsupportedValue"
    assert field in parent.accepted.problem and "spec.rules[0]." in parent.accepted.problem
    assert len(parent.accepted.problem) < 300
    assert not bound.rules


@pytest.mark.parametrize("host", ["a..b", "*", "a.*.b", "*.", "a\nb", LONG, " ", "é.example"])
def test_a_host_that_is_none_makes_its_route_and_its_listener_invalid(host: str) -> None:
    spec = {"parentRefs": [{"name": "web"}], "hostnames": [host], "rules": [_ONE]}
    found = stage(gateway(), yaml.safe_dump({"kind": "HTTPRoute", "metadata": {"name": "r"}, "spec": spec}))
    (bound,) = found.bound.values()
    assert bound.parents[0].accepted.problem.startswith("spec.hostnames") and not bound.attached
    assert _listener({"name": "a", "port": 80, "protocol": "HTTP", "hostname": host}).startswith("hostname: ")


@pytest.mark.parametrize("port", [0, -1, 65536, 1 << 40])
def test_a_port_that_is_none_makes_its_listener_invalid(port: int) -> None:
    assert _listener({"name": "a", "port": port, "protocol": "HTTP"}).startswith("port: ")


def test_a_listener_without_a_proper_name_is_invalid() -> None:
    assert _listener({"name": "a/b", "port": 80, "protocol": "HTTP"}).startswith("name: ")


def _listener(listener: dict[str, object]) -> str:
    (found,) = stage(gateway(listeners=json.dumps([listener]))).gateways.values()
    (bound,) = found.listeners
    assert isinstance(bound, BoundListener) and not bound.usable
    return bound.accepted.problem

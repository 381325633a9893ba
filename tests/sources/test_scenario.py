from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.model.worlds import N1

from fairlead.api.service import Service
from fairlead.sources.files import Manifest
from fairlead.sources.scenario import located, scenario

CIDRS = ("10.96.0.0/16", "fd10:96::/108")


def manifest(line: int, name: str, **spec: Any) -> Manifest:
    return Manifest({"kind": "Service", "metadata": {"name": name}, "spec": spec}, Path("x.yaml"), line)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ("10.96.1.0",)),
        ({"clusterIP": "10.96.0.7"}, ("10.96.0.7",)),
        ({"ipFamilyPolicy": "PreferDualStack"}, ("10.96.1.0", "fd10:96::100")),
        ({"ipFamilies": ["IPv6"]}, ("fd10:96::100",)),
        ({"ipFamilies": ["IPv6"], "ipFamilyPolicy": "RequireDualStack"}, ("fd10:96::100", "10.96.1.0")),
        ({"clusterIP": "None"}, ()),
        ({"type": "ExternalName", "externalName": "x.org"}, ()),
    ],
)
def test_services_get_the_addresses_that_the_api_server_would_give(
    spec: dict[str, Any], expected: tuple[str, ...]
) -> None:
    world = scenario([manifest(1, "web", **spec)], nodes=[N1], service_cidrs=CIDRS)
    found = next(each for each in world.events if each.kind == "Service").objects["default", "web"]
    assert isinstance(found, Service) and found.cluster_ips == expected


def test_addresses_follow_from_names_and_never_collide() -> None:
    world = scenario(
        [manifest(1, "b"), manifest(2, "a"), manifest(3, "c", clusterIP="10.96.1.0")], nodes=[N1], service_cidrs=CIDRS
    )
    found = next(each for each in world.events if each.kind == "Service").objects
    addresses = {name: each.cluster_ips for (_, name), each in found.items() if isinstance(each, Service)}
    assert addresses == {"a": ("10.96.1.1",), "b": ("10.96.1.2",), "c": ("10.96.1.0",)}


def test_an_object_that_is_written_twice_is_reported_with_both_places() -> None:
    world = scenario([manifest(1, "web"), manifest(9, "web")], nodes=[N1], service_cidrs=CIDRS)
    assert str(world.diagnostics[0]) == "x.yaml:9: Service/default/web: written twice; the first is at x.yaml:1"
    assert located(world.diagnostics, world.sources)[0].source == "x.yaml:9"

"""Endpoints that somebody wrote, mirrored to slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.controllers.lab import lab
from tests.controllers.world import World

from fairlead.api.resources import ENDPOINTS, ENDPOINTSLICES, PODS, RESOURCEQUOTAS, SERVICES
from fairlead.controllers.endpoints import mirror
from fairlead.controllers.quota import core as quota_core

Json = dict[str, Any]
SERVICE: Json = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "db", "namespace": "default"},
    "spec": {"ports": [{"port": 5432}], "clusterIP": "10.96.0.9"},
}


def endpoints(*subsets: Json, **metadata: Any) -> Json:
    meta = {"name": "db", "namespace": "default", "uid": "e", "resourceVersion": "7", **metadata}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": list(subsets)}


def subset(*addresses: str, unready: tuple[str, ...] = (), port: int = 5432) -> Json:
    return {
        "addresses": [{"ip": each} for each in addresses],
        "notReadyAddresses": [{"ip": each} for each in unready],
        "ports": [{"port": port, "protocol": "TCP"}],
    }


class Mirrored:
    def __init__(self) -> None:
        self.world = World()

    def apply(self, service: Json | None, obj: Json | None) -> int:
        actions = mirror.reconcile(service, obj, self.world.all(ENDPOINTSLICES))
        self.world.apply(actions)
        assert mirror.reconcile(service, obj, self.world.all(ENDPOINTSLICES)) == [], "twice changes nothing"
        return len(actions)

    def rows(self) -> list[tuple[str, int, list[tuple[str, bool]]]]:
        return sorted(
            (
                each["addressType"],
                each["ports"][0]["port"],
                [(one["addresses"][0], one["conditions"]["ready"]) for one in each["endpoints"]],
            )
            for each in self.world.all(ENDPOINTSLICES)
        )


def test_families_ports_and_readiness_are_mirrored() -> None:
    it = Mirrored()
    it.apply(
        SERVICE, endpoints(subset("192.0.2.1", "2001:db8::1", unready=("192.0.2.2",)), subset("192.0.2.3", port=1))
    )
    assert it.rows() == [
        ("IPv4", 1, [("192.0.2.3", True)]),
        ("IPv4", 5432, [("192.0.2.1", True), ("192.0.2.2", False)]),
        ("IPv6", 5432, [("2001:db8::1", True)]),
    ]
    (first, *_) = it.world.all(ENDPOINTSLICES)
    assert first["metadata"]["labels"] == {
        "kubernetes.io/service-name": "db",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    assert first["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"


def test_a_change_rewrites_the_slice_that_it_concerns() -> None:
    it = Mirrored()
    it.apply(SERVICE, endpoints(subset("192.0.2.1"), subset("192.0.2.3", port=1)))
    names = {each["metadata"]["name"] for each in it.world.all(ENDPOINTSLICES)}
    assert it.apply(SERVICE, endpoints(subset("192.0.2.9"), subset("192.0.2.3", port=1))) == 1
    assert {each["metadata"]["name"] for each in it.world.all(ENDPOINTSLICES)} == names


@pytest.mark.parametrize(
    ("service", "obj"),
    [
        (None, endpoints(subset("192.0.2.1"))),
        (SERVICE, None),
        ({**SERVICE, "spec": {"selector": {"a": "b"}}}, endpoints(subset("192.0.2.1"))),
        ({**SERVICE, "spec": {"type": "ExternalName"}}, endpoints(subset("192.0.2.1"))),
        (SERVICE, endpoints(subset("192.0.2.1"), labels={"endpointslice.kubernetes.io/skip-mirror": "true"})),
        (SERVICE, endpoints(subset("192.0.2.1"), annotations={"control-plane.alpha.kubernetes.io/leader": "x"})),
        (SERVICE, endpoints(subset("192.0.2.1"), deletionTimestamp="2026-01-01T00:00:00Z")),
    ],
)
def test_what_is_not_mirrored_takes_its_mirror_away(service: Json | None, obj: Json | None) -> None:
    it = Mirrored()
    it.apply(SERVICE, endpoints(subset("192.0.2.1")))
    it.apply(service, obj)
    assert it.rows() == []


def test_large_subsets_are_cut_into_slices() -> None:
    it = Mirrored()
    it.apply(SERVICE, endpoints(subset(*(f"192.0.2.{number}" for number in range(250)))))
    assert sorted(len(row[2]) for row in it.rows()) == [50, 100, 100]


def test_a_quota_counts_what_it_covers() -> None:
    quota: Json = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5", "services": "2", "cpu": "4"}}}
    assert quota_core.collections_of(quota) == {"pods", "services"}
    pods = [{"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "500m"}}}]}} for _ in range(3)]
    (action,) = quota_core.reconcile(quota, {"pods": pods, "services": []})
    assert action.obj["status"] == {  # type: ignore[union-attr]
        "hard": {"pods": "5", "services": "2", "cpu": "4"},
        "used": {"pods": "3", "services": "0", "cpu": "1500m"},
    }
    assert quota_core.reconcile(action.obj, {"pods": pods}) == []  # type: ignore[union-attr]


async def test_together_with_the_api_server(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, ("endpointslicemirroring", "resourcequota", "endpoints")) as it:
        await it.client.create(SERVICES, {**SERVICE, "spec": {"ports": [{"port": 5432}]}})
        quota = {
            "metadata": {"name": "q", "namespace": "default"},
            "spec": {"hard": {"pods": "2", "count/widgets.x": "1"}},
        }
        await it.client.create(RESOURCEQUOTAS, {"apiVersion": "v1", "kind": "ResourceQuota", **quota})
        written = endpoints(subset("192.0.2.1"))
        for key in ("uid", "resourceVersion"):
            del written["metadata"][key]
        await it.client.create(ENDPOINTS, written)
        await it.until(
            lambda: (
                [
                    one["endpoints"][0]["addresses"]
                    for one in it.all(ENDPOINTSLICES)
                    if one["metadata"]["name"].startswith("db-")
                ]
                == [["192.0.2.1"]]
            ),
            "the mirror",
        )
        spec = {"containers": [{"name": "a", "image": "web:1"}]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": spec}
        await it.client.create(PODS, pod)

        def used() -> Any:
            return ((it.get(RESOURCEQUOTAS, "q") or {}).get("status") or {}).get("used")

        await it.until(lambda: used() == {"pods": "1", "count/widgets.x": "0"}, "the pod is counted")
        await it.client.delete(PODS, "p", namespace="default", grace_period_s=0)
        await it.until(lambda: used() == {"pods": "0", "count/widgets.x": "0"}, "the pod is gone")
        assert not any(
            one["metadata"]["labels"].get("endpointslice.kubernetes.io/managed-by") == mirror.MANAGER
            for one in it.all(ENDPOINTSLICES)
            if one["metadata"].get("labels", {}).get("kubernetes.io/service-name") == "kubernetes"
        )

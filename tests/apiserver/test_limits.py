"""What namespaces may take: quotas, ranges of limits; and the class that Ingresses get."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from apiserver_client import Http, Json, config_map, pod

CORE = "/api/v1/namespaces/default"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
CLASSES = "/apis/networking.k8s.io/v1/ingressclasses"


async def quota(http: Http, name: str = "q", /, **spec: Any) -> None:
    hard = {key.replace("__", "/").replace("_", "."): amount for key, amount in spec.pop("hard").items()}
    await http.ok("POST", f"{CORE}/resourcequotas", {"metadata": {"name": name}, "spec": {"hard": hard, **spec}})


def service(name: str, kind: str = "ClusterIP", ports: int = 1, **spec: Any) -> Json:
    listed = [{"name": f"p{number}", "port": number} for number in range(80, 80 + ports)]
    return {"metadata": {"name": name}, "spec": {"type": kind, "ports": listed, **spec}}


def sized(name: str, **resources: Any) -> Json:
    return pod(name, containers=[{"name": "main", "image": "web:1", "resources": resources}])


async def test_a_quota_of_pods_is_exact_also_when_many_come_at_once(http: Http) -> None:
    await quota(http, hard={"pods": "5"})
    answers = await asyncio.gather(*(http("POST", f"{CORE}/pods", pod(f"p{number}")) for number in range(20)))
    assert sorted(answer.code for answer in answers) == [201] * 5 + [403] * 15
    refused = next(answer for answer in answers if answer.code == 403)
    assert refused.message.endswith("is forbidden: exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5")
    assert refused.body["reason"] == "Forbidden"
    name = next(answer.body["metadata"]["name"] for answer in answers if answer.code == 201)
    await http.ok("DELETE", f"{CORE}/pods/{name}")
    assert (await http("POST", f"{CORE}/pods?dryRun=All", pod("trial"))).code == 201
    assert (await http("POST", f"{CORE}/pods", pod("late"))).code == 201
    assert (await http("POST", f"{CORE}/pods", pod("later"))).code == 403


async def test_finished_pods_take_nothing(http: Http) -> None:
    await quota(http, hard={"pods": "1", "count__pods": "2"})
    await http.ok("POST", f"{CORE}/pods", pod("a"))
    patch = {"status": {"phase": "Succeeded"}}
    await http.ok("PATCH", f"{CORE}/pods/a/status", patch, type="application/merge-patch+json")
    await http.ok("POST", f"{CORE}/pods", pod("b"))
    refused = await http("POST", f"{CORE}/pods", pod("c"))
    assert "requested: count/pods=1,pods=1, used: count/pods=2,pods=1, limited: count/pods=2,pods=1" in refused.message


async def test_compute_must_be_stated_and_fit(http: Http) -> None:
    await quota(http, hard={"requests_cpu": "1", "limits_memory": "1Gi"})
    silent = await http("POST", f"{CORE}/pods", pod("p"))
    assert silent.code == 403
    assert silent.message == (
        'pods "p" is forbidden: failed quota: q: must specify limits.memory for: main; requests.cpu for: main'
    )
    await http.ok("POST", f"{CORE}/pods", sized("a", requests={"cpu": "600m"}, limits={"memory": "512Mi"}))
    refused = await http("POST", f"{CORE}/pods", sized("b", requests={"cpu": "0.5"}, limits={"memory": "600Mi"}))
    assert refused.message == (
        'pods "b" is forbidden: exceeded quota: q, requested: limits.memory=600Mi,requests.cpu=500m, '
        "used: limits.memory=512Mi,requests.cpu=600m, limited: limits.memory=1Gi,requests.cpu=1"
    )


async def test_services_are_counted_by_kind_and_node_ports(http: Http) -> None:
    await quota(http, hard={"services": "4", "services_nodeports": "3", "services_loadbalancers": "1"})
    await http.ok("POST", f"{CORE}/services", service("a", "NodePort", ports=2))
    assert "services.nodeports=2" in (await http("POST", f"{CORE}/services", service("b", "NodePort", 2))).message
    await http.ok("POST", f"{CORE}/services", service("c", "LoadBalancer"))
    refused = await http("POST", f"{CORE}/services", service("d", "LoadBalancer", allocateLoadBalancerNodePorts=False))
    assert "exceeded quota: q, requested: services.loadbalancers=1, used" in refused.message
    await http.ok("POST", f"{CORE}/services", service("e"))
    grown = await http(
        "PATCH", f"{CORE}/services/e", {"spec": {"type": "NodePort"}}, type="application/merge-patch+json"
    )
    assert grown.code == 403, "an update may exceed, too"
    shrunk = {"spec": {"type": "ClusterIP"}}
    await http.ok("PATCH", f"{CORE}/services/a", shrunk, type="application/merge-patch+json")
    assert (await http.ok("GET", f"{CORE}/services/e"))["spec"]["type"] == "ClusterIP"


@pytest.mark.parametrize(
    ("key", "path", "body"),
    [
        ("configmaps", f"{CORE}/configmaps", config_map("x")),
        ("count__secrets", f"{CORE}/secrets", {"metadata": {"name": "x"}}),
        (
            "count__ingresses.networking.k8s.io",
            INGRESSES,
            {"metadata": {"name": "x"}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}},
        ),
    ],
)
async def test_objects_are_counted(http: Http, key: str, path: str, body: Json) -> None:
    there = len((await http.ok("GET", path))["items"])
    await quota(http, hard={key: str(there + 1)})
    await http.ok("POST", path, body)
    second = {**body, "metadata": {"name": "y"}}
    assert "exceeded quota" in (await http("POST", path, second)).message
    assert (
        await http("POST", path.replace("default", "kube-public"), {**second, "metadata": {"name": "y"}})
    ).code == 201


async def test_scopes_choose_pods(http: Http) -> None:
    await quota(http, hard={"pods": "0"}, scopes=["BestEffort"])
    assert (await http("POST", f"{CORE}/pods", pod("p"))).code == 403
    await http.ok("POST", f"{CORE}/pods", sized("q", requests={"cpu": "1m"}))


async def limits(http: Http, *items: Json) -> None:
    await http.ok("POST", f"{CORE}/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": list(items)}})


async def test_containers_get_what_they_do_not_say(http: Http) -> None:
    await limits(
        http, {"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}
    )
    made = await http.ok("POST", f"{CORE}/pods", sized("p", requests={"memory": "10Mi"}))
    assert made["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m", "memory": "10Mi"},
        "limits": {"cpu": "500m", "memory": "1Gi"},
    }
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu request for container main; cpu, memory limit for container main"
    )
    assert made["status"]["qosClass"] == "Burstable"
    full = sized("full", requests={"cpu": "1m", "memory": "1Mi"}, limits={"cpu": "1m", "memory": "1Mi"})
    assert "annotations" not in (await http.ok("POST", f"{CORE}/pods", full))["metadata"]


@pytest.mark.parametrize(
    ("item", "resources", "words"),
    [
        (
            {"min": {"cpu": "100m"}},
            {"requests": {"cpu": "50m"}},
            "minimum cpu usage per Container is 100m, but request is 50m",
        ),
        ({"max": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, "maximum cpu usage per Container is 1, but limit is 2"),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {"requests": {"cpu": "100m"}, "limits": {"cpu": "300m"}},
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {},
            "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
        ),
        ({"type": "Pod", "max": {"cpu": "1"}}, {}, "maximum cpu usage per Pod is 1.  No limit is specified"),
        ({"type": "Pod", "min": {"cpu": "1"}}, {}, "minimum cpu usage per Pod is 1.  No request is specified"),
        (
            {"type": "Pod", "max": {"cpu": "1", "memory": "1Mi"}},
            {"limits": {"cpu": "2", "memory": "2Mi"}},
            "[maximum cpu usage per Pod is 1, but limit is 2, maximum memory usage per Pod is 1Mi, but limit is 2Mi]",
        ),
    ],
)
async def test_what_is_outside_of_the_limits_is_refused(http: Http, item: Json, resources: Json, words: str) -> None:
    await limits(http, {"type": "Container", **item})
    refused = await http("POST", f"{CORE}/pods", sized("p", **resources))
    assert refused.code == 403, refused.body
    assert refused.message == f'pods "p" is forbidden: {words}'


async def test_claims_have_limits_too(http: Http) -> None:
    await limits(http, {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}})
    claim: Json = {"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    claim["spec"]["resources"] = {"requests": {"storage": "2Gi"}}
    refused = await http("POST", f"{CORE}/persistentvolumeclaims", claim)
    assert "maximum storage usage per PersistentVolumeClaim is 1Gi, but" in refused.message


async def test_ingresses_get_the_default_class(http: Http) -> None:
    backend = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}

    async def made(name: str, metadata: Json | None = None, **spec: Any) -> str | None:
        body = {"metadata": {"name": name, **(metadata or {})}, "spec": {**backend, **spec}}
        answer = await http.ok("POST", INGRESSES, body)
        found: str | None = answer["spec"].get("ingressClassName")
        return found

    assert await made("early") is None
    for name, default in (("plain", "false"), ("b", "true"), ("a", "true")):
        annotations = {"ingressclass.kubernetes.io/is-default-class": default}
        await http.ok(
            "POST", CLASSES, {"metadata": {"name": name, "annotations": annotations}, "spec": {"controller": "x.io/y"}}
        )
    assert await made("by-default") in ("a", "b")
    assert await made("stated", ingressClassName="plain") == "plain"
    assert await made("old", {"annotations": {"kubernetes.io/ingress.class": "nginx"}}) is None

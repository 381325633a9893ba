"""What the holder of one node's credential can do, and what he cannot: another node's things, secrets of pods that run elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from apiserver_client import Http, acting_as, config_map, pod

from fairlead.api import crds
from fairlead.api.resources import NODEPOLICYREPORTS
from fairlead.apiserver.listeners import Address
from fairlead.apiserver.server import Server, Settings

Json = dict[str, Any]
IN_DEFAULT = "/api/v1/namespaces/default"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
MERGE = "application/merge-patch+json"


def as_node(name: str) -> dict[str, Any]:
    return acting_as(f"system:node:{name}", "system:nodes")


ONE = as_node("node-1")


def node(name: str, **labels: str) -> Json:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


def lease(name: str) -> Json:
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": {}}


def secret(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"a": "b"}}


@pytest.fixture
async def cluster(http: Http) -> Http:
    """Two nodes, and on each a pod that reads a secret and a ConfigMap of its own."""
    for number in (1, 2):
        await http.ok("POST", "/api/v1/nodes", node(f"node-{number}"))
        await http.ok("POST", f"{IN_DEFAULT}/secrets", secret(f"s{number}"))
        await http.ok("POST", f"{IN_DEFAULT}/configmaps", config_map(f"c{number}"))
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": f"a{number}"}}
        await http.ok("POST", f"{IN_DEFAULT}/serviceaccounts", account)
        await http.ok("POST", LEASES, lease(f"node-{number}"))
        volumes = [{"name": "c", "configMap": {"name": f"c{number}"}}]
        one = pod(f"p{number}", nodeName=f"node-{number}", volumes=volumes, serviceAccountName=f"a{number}")
        one["spec"]["containers"][0]["envFrom"] = [{"secretRef": {"name": f"s{number}"}}]
        await http.ok("POST", f"{IN_DEFAULT}/pods", one)
    return http


READS = {
    "its secret": (f"{IN_DEFAULT}/secrets/s1", ""),
    "another node's secret": (
        f"{IN_DEFAULT}/secrets/s2",
        "no relationship found between node 'node-1' and this object",
    ),
    "all secrets of a namespace": (f"{IN_DEFAULT}/secrets", "No Object name found"),
    "all secrets": ("/api/v1/secrets", "can only read namespaced object of this type"),
    "its secret, as a list of one": (f"{IN_DEFAULT}/secrets?fieldSelector=metadata.name%3Ds1", ""),
    "another's secret, as a list of one": (
        f"{IN_DEFAULT}/secrets?fieldSelector=metadata.name%3Ds2",
        "no relationship found between node 'node-1' and this object",
    ),
    "its ConfigMap": (f"{IN_DEFAULT}/configmaps/c1", ""),
    "the certificate of the authority": (f"{IN_DEFAULT}/configmaps/kube-root-ca.crt", ""),
    "another's ConfigMap": (
        f"{IN_DEFAULT}/configmaps/c2",
        "no relationship found between node 'node-1' and this object",
    ),
    "its pods": ("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1", ""),
    "another's pods": (
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-2",
        "can only list/watch pods with spec.nodeName field selector",
    ),
    "all pods": ("/api/v1/pods", "can only list/watch pods with spec.nodeName field selector"),
    "its pod": (f"{IN_DEFAULT}/pods/p1", ""),
    "another's pod": (f"{IN_DEFAULT}/pods/p2", "no relationship found between node 'node-1' and this object"),
    "itself": ("/api/v1/nodes/node-1", ""),
    "another node": ("/api/v1/nodes/node-2", "node 'node-1' cannot read 'node-2', only its own Node object"),
    "all nodes": ("/api/v1/nodes", "node 'node-1' cannot read all nodes, only its own Node object"),
    "its lease": (f"{LEASES}/node-1", ""),
    "another's lease": (f"{LEASES}/node-2", "can only access node lease with the same name as the requesting node"),
    "services": ("/api/v1/services", ""),
    "its claims": (f"{IN_DEFAULT}/persistentvolumeclaims", "can only get individual resources of this type"),
}


@pytest.mark.parametrize("case", READS)
async def test_reads(case: str, cluster: Http):
    path, why = READS[case]
    answer = await cluster("GET", path, **ONE)
    if why:
        assert answer.code == 403 and answer.message.endswith(f": {why}"), answer.body
    else:
        assert answer.code == 200, answer.body


FORBIDDEN_READS = [
    "/api/v1/namespaces",
    "/api/v1/endpoints",
    "/apis/apps/v1/deployments",
    f"{IN_DEFAULT}/serviceaccounts",
]


@pytest.mark.parametrize("path", FORBIDDEN_READS)
async def test_what_no_node_reads(path: str, cluster: Http):
    assert (await cluster("GET", path, **ONE)).code == 403


def status(ready: str) -> Json:
    return {"status": {"conditions": [{"type": "Ready", "status": ready}]}}


WRITES: dict[str, tuple[str, str, Json | None, str]] = {
    "its status": ("PATCH", "/api/v1/nodes/node-1/status", status("True"), ""),
    "another's status": (
        "PATCH",
        "/api/v1/nodes/node-2/status",
        status("True"),
        'node "node-1" is not allowed to modify node "node-2"',
    ),
    "its taints": (
        "PATCH",
        "/api/v1/nodes/node-1",
        {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}},
        'node "node-1" is not allowed to modify taints',
    ),
    "its zone": ("PATCH", "/api/v1/nodes/node-1", {"metadata": {"labels": {"topology.kubernetes.io/zone": "a"}}}, ""),
    "a label of isolation": (
        "PATCH",
        "/api/v1/nodes/node-1",
        {"metadata": {"labels": {"node-restriction.kubernetes.io/trusted": "yes"}}},
        "is not allowed to modify labels: node-restriction.kubernetes.io/trusted",
    ),
    "a label of the control plane": (
        "PATCH",
        "/api/v1/nodes/node-1",
        {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}},
        "is not allowed to modify labels: node-role.kubernetes.io/control-plane",
    ),
    "the death of another": (
        "DELETE",
        "/api/v1/nodes/node-2",
        None,
        'User "system:node:node-1" cannot delete resource "nodes" in API group "" at the cluster scope',
    ),
    "the status of its pod": ("PATCH", f"{IN_DEFAULT}/pods/p1/status", {"status": {"phase": "Running"}}, ""),
    "the status of another's pod": (
        "PATCH",
        f"{IN_DEFAULT}/pods/p2/status",
        {"status": {"phase": "Running"}},
        'node "node-1" can only update pod status for pods with spec.nodeName set to itself',
    ),
    "its pod's labels": (
        "PATCH",
        f"{IN_DEFAULT}/pods/p1/status",
        {"metadata": {"labels": {"app": "db"}}},
        'node "node-1" cannot update labels through pod status',
    ),
    "its pod's specification": (
        "PATCH",
        f"{IN_DEFAULT}/pods/p1",
        {"metadata": {"labels": {"app": "db"}}},
        'User "system:node:node-1" cannot patch resource "pods" in API group "" in the namespace "default"',
    ),
    "its pod's end": ("DELETE", f"{IN_DEFAULT}/pods/p1", None, ""),
    "another's pod's end": (
        "DELETE",
        f"{IN_DEFAULT}/pods/p2",
        None,
        'node "node-1" can only delete pods with spec.nodeName set to itself',
    ),
    "an ordinary pod": (
        "POST",
        f"{IN_DEFAULT}/pods",
        pod("evil", nodeName="node-1"),
        'pod does not have "kubernetes.io/config.mirror" annotation, node "node-1" can only create mirror pods',
    ),
    "a lease": (
        "POST",
        LEASES,
        lease("node-3"),
        "can only access node lease with the same name as the requesting node",
    ),
    "another's lease": (
        "PATCH",
        f"{LEASES}/node-2",
        {"spec": {"holderIdentity": "x"}},
        "can only access node lease with the same name as the requesting node",
    ),
    "another node's registration": (
        "POST",
        "/api/v1/nodes",
        node("node-3"),
        'node "node-1" is not allowed to modify node "node-3"',
    ),
    "a secret": ("POST", f"{IN_DEFAULT}/secrets", secret("x"), "can only read resources of this type"),
    "rights": (
        "POST",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        {},
        'User "system:node:node-1" cannot create resource "clusterrolebindings" in API group "rbac.authorization.k8s.io" '
        "at the cluster scope",
    ),
    "a command in its pod": (
        "POST",
        f"{IN_DEFAULT}/pods/p1/exec",
        None,
        'User "system:node:node-1" cannot create resource "pods/exec" in API group "" in the namespace "default"',
    ),
}


@pytest.mark.parametrize("case", WRITES)
async def test_writes(case: str, cluster: Http):
    method, path, body, why = WRITES[case]
    answer = await cluster(method, path, body, **({"type": MERGE} if method == "PATCH" else {}), **ONE)
    if why:
        assert answer.code == 403 and answer.message.endswith(why), answer.body
    else:
        assert answer.code in (200, 201), answer.body


def request(name: str, uid: str, **more: Any) -> Json:
    reference = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"boundObjectRef": reference, **more},
    }


async def test_tokens_are_those_of_its_own_pods(cluster: Http):
    uids = {n: (await cluster.ok("GET", f"{IN_DEFAULT}/pods/p{n}"))["metadata"]["uid"] for n in (1, 2)}

    async def ask(account: str, body: Json) -> tuple[int, str]:
        answer = await cluster("POST", f"{IN_DEFAULT}/serviceaccounts/{account}/token", body, **ONE)
        return answer.code, answer.body.get("message", "").rpartition("forbidden: ")[2]

    assert (await ask("a1", request("p1", uids[1])))[0] == 201
    assert (await ask("a2", request("p2", uids[2])))[1].endswith(
        "no relationship found between node 'node-1' and this object"
    )
    assert await ask("a1", request("p2", uids[2])) == (
        403,
        "node requested token bound to a pod scheduled on a different node",
    )
    assert await ask("a1", request("p1", "")) == (403, "node requested token with a pod binding without a uid")
    assert (await ask("a1", request("p1", uids[2])))[1].startswith("the UID in the bound object reference")
    assert await ask("a1", {"spec": {}}) == (403, "node requested token not bound to a pod")
    assert await ask("a1", request("p1", uids[1], audiences=["vault"])) == (
        403,
        'audience "vault" not found in pod spec volume, system:node:node-1 is not authorized to request tokens for this audience',
    )


async def test_rights_end_with_the_pod(cluster: Http):
    assert (await cluster("GET", f"{IN_DEFAULT}/secrets/s1", **ONE)).code == 200
    await cluster.ok("DELETE", f"{IN_DEFAULT}/pods/p1?gracePeriodSeconds=0")
    assert (await cluster("GET", f"{IN_DEFAULT}/secrets/s1", **ONE)).code == 403


async def test_rights_begin_with_the_binding(cluster: Http):
    late = pod("late", volumes=[{"name": "s", "projected": {"sources": [{"secret": {"name": "s2"}}]}}])
    await cluster.ok("POST", f"{IN_DEFAULT}/pods", late)
    assert (await cluster("GET", f"{IN_DEFAULT}/secrets/s2", **ONE)).code == 403
    await cluster.ok("POST", f"{IN_DEFAULT}/pods/late/binding", {"target": {"kind": "Node", "name": "node-1"}})
    assert (await cluster("GET", f"{IN_DEFAULT}/secrets/s2", **ONE)).code == 200


async def test_a_member_of_nodes_without_a_node(cluster: Http):
    answer = await cluster("GET", "/api/v1/services", **acting_as("mallory", "system:nodes"))
    assert answer.code == 403


async def test_volumes_are_reached_through_claims(cluster: Http):
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "volumeName": "v",
            "storageClassName": "",
        },
    }
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "v"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/x"},
            "claimRef": {"namespace": "default", "name": "data"},
        },
    }
    await cluster.ok("POST", f"{IN_DEFAULT}/persistentvolumeclaims", claim)
    await cluster.ok("POST", "/api/v1/persistentvolumes", volume)
    assert (await cluster("GET", "/api/v1/persistentvolumes/v", **ONE)).code == 403
    user = pod("user", nodeName="node-1", volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}])
    await cluster.ok("POST", f"{IN_DEFAULT}/pods", user)
    assert (await cluster("GET", "/api/v1/persistentvolumes/v", **ONE)).code == 200
    assert (await cluster("GET", f"{IN_DEFAULT}/persistentvolumeclaims/data", **ONE)).code == 200
    assert (await cluster("GET", f"{IN_DEFAULT}/persistentvolumeclaims/data", **as_node("node-2"))).code == 403


async def test_an_agent_reports_on_its_own_node_alone(tmp_path: Path, certificates: Path):
    running = Settings(
        state=tmp_path / "state", pki=certificates, listen=[Address("127.0.0.1", 0)], definitions=crds.FOLDER
    )
    async with Server(running) as server:
        http = Http(certificates, server.ports[0])
        agent = acting_as("fairlead:agent:node-1", "fairlead:agents")
        reports = NODEPOLICYREPORTS.path()
        mine, other = (
            {
                "apiVersion": NODEPOLICYREPORTS.api_version,
                "kind": NODEPOLICYREPORTS.kind,
                "metadata": {"name": f"node-{number}"},
                "revision": "1",
                "policies": {},
            }
            for number in (1, 2)
        )
        assert (await http("POST", reports, mine, **agent)).code == 201
        answer = await http("POST", reports, other, **agent)
        assert answer.code == 403
        assert answer.message.endswith("can only access NodePolicyReport with the same name as the requesting node")
        await http.ok("POST", reports, other)
        patch = await http("PATCH", f"{reports}/node-2", {"revision": "2"}, type=MERGE, **agent)
        assert patch.code == 403
        for path, code in (
            ("/api/v1/pods", 200),
            ("/api/v1/services", 200),
            ("/api/v1/secrets", 403),
            ("/api/v1/secrets?fieldSelector=type%3DOpaque", 403),
            ("/api/v1/secrets?fieldSelector=type%3Dkubernetes.io%2Ftls", 200),
            (f"{IN_DEFAULT}/secrets/any", 403),
            (f"{IN_DEFAULT}/configmaps", 403),
            ("/api/v1/configmaps?fieldSelector=metadata.name%3Dca", 403),
            (f"{IN_DEFAULT}/configmaps?fieldSelector=metadata.name%3Dca", 200),
            (f"{IN_DEFAULT}/configmaps?fieldSelector=metadata.name!%3Dca", 403),
            ("/api/v1/namespaces/kube-system/configmaps?fieldSelector=metadata.name%3Dfairlead-dns", 200),
        ):
            assert (await http("GET", path, **agent)).code == code, path
        slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        for label, code in (("node-1", 201), ("node-2", 403), ("", 403)):
            labels = {"fairlead.dev/gateway-node": label} if label else {}
            body = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": f"s-{label or 'none'}", "labels": labels},
                "addressType": "IPv4",
                "endpoints": [],
            }
            assert (await http("POST", slices, body, **agent)).code == code
        stolen = {"metadata": {"labels": {"fairlead.dev/gateway-node": "node-2"}}}
        assert (await http("PATCH", f"{slices}/s-node-1", stolen, type=MERGE, **agent)).code == 403
        await http.ok("POST", slices, {**body, "metadata": {"name": "foreign"}})
        assert (await http("DELETE", f"{slices}/foreign", None, **agent)).code == 403
        for method, path in (("PATCH", "/api/v1/nodes/node-1/status"), ("DELETE", f"{IN_DEFAULT}/pods/p")):
            assert (await http(method, path, None, **agent)).code == 403
        await http.close()

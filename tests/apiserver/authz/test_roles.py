"""Roles in a running server: who may do what, in upstream's words; nobody grants what he does not hold."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from apiserver_client import Http, acting_as, config_map, pod

from fairlead.apiserver.authz.default_roles import cluster_role_bindings, cluster_roles
from fairlead.apiserver.authz.rbac import CLUSTER_ROLES
from fairlead.apiserver.authz.rules import Rights, rules_of
from fairlead.apiserver.listeners import Address
from fairlead.apiserver.server import Server, Settings
from fairlead.apiserver.store.records import Op
from fairlead.sources.k8s_watch import OPTIONAL, WATCHED

Json = dict[str, Any]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
IN_DEFAULT = f"{RBAC}/namespaces/default"
MAPS = "/api/v1/namespaces/default/configmaps"


def role(name: str, *rules: Json, kind: str = "Role", **more: Any) -> Json:
    metadata = {"name": name} | ({"namespace": "default"} if kind == "Role" else {})
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": metadata,
        "rules": list(rules),
        **more,
    }


def rule(verbs: str, resources: str, group: str = "", names: str = "") -> Json:
    found: Json = {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split()}
    return found | ({"resourceNames": names.split()} if names else {})


def binding(name: str, to: str, *subjects: Json, kind: str = "RoleBinding") -> Json:
    metadata = {"name": name} | ({"namespace": "default"} if kind == "RoleBinding" else {})
    of, _, called = to.partition("/")
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": of, "name": called}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": metadata,
        "roleRef": reference,
        "subjects": list(subjects),
    }


def user(name: str) -> Json:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}


async def grant(http: Http, name: str, *rules: Json, to: str = "bob") -> None:
    await http.ok("POST", f"{IN_DEFAULT}/roles", role(name, *rules))
    await http.ok("POST", f"{IN_DEFAULT}/rolebindings", binding(name, f"Role/{name}", user(to)))


async def test_a_role_allows_what_it_says_and_nothing_else(http: Http):
    await http.ok("POST", MAPS, config_map("a"))
    await http.ok("POST", MAPS, config_map("b"))
    assert (await http("GET", MAPS, **acting_as("bob"))).code == 403
    await grant(http, "reader", rule("list watch", "configmaps"), rule("get", "configmaps", names="a"))
    assert (await http("GET", MAPS, **acting_as("bob"))).code == 200
    assert (await http("GET", f"{MAPS}/a", **acting_as("bob"))).code == 200
    answer = await http("GET", f"{MAPS}/b", **acting_as("bob"))
    assert (answer.code, answer.message) == (
        403,
        'configmaps "b" is forbidden: User "bob" cannot get resource "configmaps" in API group "" in the namespace "default"',
    )
    for method, path, body in (
        ("GET", "/api/v1/configmaps", None),
        ("GET", "/api/v1/namespaces/kube-system/configmaps", None),
        ("POST", MAPS, config_map("c")),
        ("DELETE", f"{MAPS}/a", None),
        ("DELETE", MAPS, None),
    ):
        assert (await http(method, path, body, **acting_as("bob"))).code == 403, (method, path)
    assert (await http("GET", MAPS, **acting_as("eve"))).code == 403
    await http.ok("DELETE", f"{IN_DEFAULT}/rolebindings/reader")
    assert (await http("GET", MAPS, **acting_as("bob"))).code == 403


async def test_a_right_withdrawn_from_a_role_is_gone_at_once(http: Http):
    await grant(http, "reader", rule("list", "configmaps"))
    assert (await http("GET", MAPS, **acting_as("bob"))).code == 200
    await http.ok("PUT", f"{IN_DEFAULT}/roles/reader", role("reader", rule("list", "secrets")))
    assert (await http("GET", MAPS, **acting_as("bob"))).code == 403


async def test_a_binding_to_a_role_that_does_not_exist_says_so(http: Http):
    await http.ok("POST", f"{IN_DEFAULT}/rolebindings", binding("lost", "ClusterRole/nope", user("bob")))
    answer = await http("GET", MAPS, **acting_as("bob"))
    assert answer.message.endswith('"default": RBAC: clusterrole.rbac.authorization.k8s.io "nope" not found')


async def test_a_cluster_role_bound_in_a_namespace_holds_there_alone(http: Http):
    await http.ok("POST", f"{IN_DEFAULT}/rolebindings", binding("viewers", "ClusterRole/view", user("bob")))
    assert (await http("GET", "/api/v1/namespaces/default/pods", **acting_as("bob"))).code == 200
    assert (await http("GET", "/api/v1/namespaces/default", **acting_as("bob"))).code == 200
    assert (await http("GET", "/api/v1/namespaces/kube-system", **acting_as("bob"))).code == 403
    assert (await http("GET", "/api/v1/pods", **acting_as("bob"))).code == 403
    assert (await http("GET", "/api/v1/namespaces/default/secrets", **acting_as("bob"))).code == 403


async def test_accounts_are_subjects_by_their_own_name(http: Http):
    account = {"kind": "ServiceAccount", "name": "default"}
    await http.ok("POST", f"{IN_DEFAULT}/rolebindings", binding("viewers", "ClusterRole/view", account))
    assert (await http("GET", MAPS, **acting_as("system:serviceaccount:default:default"))).code == 200
    assert (await http("GET", MAPS, **acting_as("system:serviceaccount:kube-system:default"))).code == 403


USUAL = {
    "viewers see": ("view", "GET", "pods", 200),
    "viewers see no secrets": ("view", "GET", "secrets", 403),
    "viewers change nothing": ("view", "POST", "configmaps", 403),
    "editors change": ("edit", "POST", "configmaps", 201),
    "editors see secrets": ("edit", "GET", "secrets", 200),
    "editors give no rights": ("edit", "GET", f"{IN_DEFAULT}/roles", 403),
    "admins give rights": ("admin", "GET", f"{IN_DEFAULT}/roles", 200),
    "admins have no quotas to give": ("admin", "POST", "resourcequotas", 403),
}


@pytest.mark.parametrize("case", USUAL)
async def test_roles_for_people(case: str, http: Http):
    name, method, what, code = USUAL[case]
    await http.ok("POST", f"{IN_DEFAULT}/rolebindings", binding("b", f"ClusterRole/{name}", user("bob")))
    path = what if what.startswith("/") else f"/api/v1/namespaces/default/{what}"
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "x"}, "spec": {}}
    body = None if method == "GET" else quota if what == "resourcequotas" else config_map("x")
    assert (await http(method, path, body, **acting_as("bob"))).code == code


async def test_aggregated_roles_follow_the_roles_that_they_are_made_of(http: Http):
    labels = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    more = role("widgets", rule("list", "widgets", "example.org"), kind="ClusterRole")
    more["metadata"]["labels"] = labels
    await http.ok("POST", f"{RBAC}/clusterroles", more)

    async def has(name: str, wanted: bool) -> None:
        async with asyncio.timeout(5):
            while True:
                rules = (await http.ok("GET", f"{RBAC}/clusterroles/{name}"))["rules"]
                if any(one["apiGroups"] == ["example.org"] for one in rules if "apiGroups" in one) == wanted:
                    return

    # What view gains, edit and admin gain through it.
    for name in ("view", "edit", "admin"):
        await has(name, True)
    await http.ok("DELETE", f"{RBAC}/clusterroles/widgets")
    for name in ("view", "edit", "admin"):
        await has(name, False)


async def test_a_server_that_died_in_between_aggregates_when_it_starts(tmp_path: Path, certificates: Path):
    running = Settings(state=tmp_path / "state", pki=certificates, listen=[Address("127.0.0.1", 0)])
    async with Server(running) as server:
        assert server.api is not None
        store = server.api.store
        view = store.latest(CLUSTER_ROLES, "", "view")
        assert view is not None
        wanted = view.obj["rules"]
        server.api.store.table(CLUSTER_ROLES).followers.clear()
        await store.write(Op(CLUSTER_ROLES, view.key, view.copy() | {"rules": []}, view))
    async with Server(running) as server:
        http = Http(certificates, server.ports[0])
        async with asyncio.timeout(5):
            while (await http.ok("GET", f"{RBAC}/clusterroles/view"))["rules"] != wanted:
                pass
        await http.close()


async def test_nobody_grants_what_he_does_not_hold(http: Http):
    for name in ("admin", "view"):
        await http.ok("POST", f"{IN_DEFAULT}/rolebindings", binding(name, f"ClusterRole/{name}", user("bob")))
    wanted = role("nodes", rule("get list", "nodes"), rule("get", "pods"))
    answer = await http("POST", f"{IN_DEFAULT}/roles", wanted, **acting_as("bob", "dev"))
    assert (answer.code, answer.message) == (
        403,
        'roles.rbac.authorization.k8s.io "nodes" is forbidden: user "bob" (groups=["dev" "system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}',
    )
    own = role("pods", rule("get list", "pods"))
    assert (await http("POST", f"{IN_DEFAULT}/roles", own, **acting_as("bob", "dev"))).code == 201
    grown = role("pods", rule("get list", "pods"), rule("*", "*", "*"))
    assert (await http("PUT", f"{IN_DEFAULT}/roles/pods", grown, **acting_as("bob", "dev"))).code == 403
    masters = binding("all", "ClusterRole/cluster-admin", user("bob"))
    answer = await http("POST", f"{IN_DEFAULT}/rolebindings", masters, **acting_as("bob", "dev"))
    assert answer.code == 403 and '{NonResourceURLs:["*"], Verbs:["*"]}' in answer.message


async def test_the_verbs_bind_and_escalate_lift_the_restriction(http: Http):
    await grant(
        http,
        "binder",
        rule("bind", "clusterroles", "rbac.authorization.k8s.io", "view"),
        rule("create", "rolebindings roles", "rbac.authorization.k8s.io"),
    )
    for to, code in (("view", 201), ("edit", 403)):
        wanted = binding(to, f"ClusterRole/{to}", user("eve"))
        assert (await http("POST", f"{IN_DEFAULT}/rolebindings", wanted, **acting_as("bob"))).code == code
    wanted = role("x", rule("get", "secrets"))
    assert (await http("POST", f"{IN_DEFAULT}/roles", wanted, **acting_as("bob"))).code == 403
    await grant(http, "escalator", rule("escalate", "roles", "rbac.authorization.k8s.io"))
    assert (await http("POST", f"{IN_DEFAULT}/roles", wanted, **acting_as("bob"))).code == 201


async def test_only_who_may_do_everything_aggregates(http: Http):
    may = role("may", rule("create get", "clusterroles", "rbac.authorization.k8s.io"), kind="ClusterRole")
    await http.ok("POST", f"{RBAC}/clusterroles", may)
    bound = binding("may", "ClusterRole/may", user("bob"), kind="ClusterRoleBinding")
    await http.ok("POST", f"{RBAC}/clusterrolebindings", bound)
    selectors = [{"matchLabels": {"x": "y"}}]
    wanted = role("all", kind="ClusterRole", aggregationRule={"clusterRoleSelectors": selectors})
    answer = await http("POST", f"{RBAC}/clusterroles", wanted, **acting_as("bob"))
    assert answer.message == (
        'clusterroles.rbac.authorization.k8s.io "all" is forbidden: must have cluster-admin privileges to use the aggregationRule'
    )


async def test_creation_by_apply_needs_the_right_to_create(http: Http):
    await grant(http, "patcher", rule("patch get", "configmaps"))
    apply = {"type": "application/apply-patch+yaml", "params": {"fieldManager": "t"}}
    answer = await http("PATCH", f"{MAPS}/new", config_map("new"), **apply, **acting_as("bob"))
    assert (answer.code, answer.message) == (
        403,
        'configmaps "new" is forbidden: User "bob" cannot create resource "configmaps" in API group "" in the namespace "default"',
    )


async def test_impersonation_is_a_right_like_others(http: Http, server: Server, certificates: Path):
    controller = Http(certificates, server.ports[0], user="controller")
    try:
        answer = await controller("GET", MAPS, **acting_as("alice"))
        assert (answer.code, answer.message) == (
            403,
            'users "alice" is forbidden: User "system:kube-controller-manager" cannot impersonate resource "users" '
            'in API group "" at the cluster scope',
        )
        allowed = role("act", rule("impersonate", "users", names="alice"), kind="ClusterRole")
        await http.ok("POST", f"{RBAC}/clusterroles", allowed)
        who = user("system:kube-controller-manager")
        await http.ok(
            "POST", f"{RBAC}/clusterrolebindings", binding("act", "ClusterRole/act", who, kind="ClusterRoleBinding")
        )
        assert 'User "alice" cannot list' in (await controller("GET", MAPS, **acting_as("alice"))).message
        answer = await controller("GET", MAPS, **acting_as("alice", "system:masters"))
        assert answer.message.startswith('groups "system:masters" is forbidden: User "system:kube-controller-manager"')
        assert (await http("GET", MAPS, headers={"Impersonate-Group": "x"})).code == 500
    finally:
        await controller.close()


async def test_default_roles_are_completed_and_nothing_else_is_touched(http: Http, server: Server):
    from fairlead.apiserver.authz import bootstrap

    assert server.api is not None
    path = f"{RBAC}/clusterroles/system:basic-user"
    basic = await http.ok("GET", path)
    await http.ok("PUT", path, basic | {"rules": [rule("get", "mine", "example.org")]})
    kept = f"{RBAC}/clusterroles/system:discovery"
    discovery = await http.ok("GET", kept)
    discovery["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "false"
    await http.ok("PUT", kept, discovery | {"rules": []})
    await http.ok("DELETE", f"{RBAC}/clusterrolebindings/system:basic-user")
    await bootstrap.ensure(server.api.store)
    rules = (await http.ok("GET", path))["rules"]
    assert rules[0]["resources"] == ["mine"]
    assert {tuple(one["resources"]) for one in rules[1:]} >= {("selfsubjectreviews",)}
    assert not (await http.ok("GET", kept)).get("rules")
    assert (await http("GET", f"{RBAC}/clusterrolebindings/system:basic-user")).code == 200
    revision = server.api.store.revision
    await bootstrap.ensure(server.api.store)
    assert server.api.store.revision == revision


def test_every_default_binding_names_a_role_that_exists():
    roles = {one["metadata"]["name"] for one in cluster_roles()}
    assert {one["roleRef"]["name"] for one in cluster_role_bindings()} <= roles
    assert {"cluster-admin", "admin", "edit", "view", "system:node", "system:kube-scheduler"} <= roles


def test_agents_may_read_whatever_they_follow():
    (agent,) = (one for one in cluster_roles() if one["metadata"]["name"] == "fairlead:agent")
    rights = Rights(rules_of(agent))
    for resource in (*WATCHED.values(), *OPTIONAL.values()):
        for verb in ("get", "list", "watch"):
            assert rights.allow(verb, resource.group, resource.plural, "", None), resource


async def test_pods_of_others_are_not_reached_through_subresources(http: Http):
    await http.ok("POST", "/api/v1/namespaces/default/pods", pod("p"))
    await grant(http, "reader", rule("get list", "pods"))
    for path, verb in (("log", "get"), ("exec?command=sh", "get"), ("proxy/", "get"), ("status", "get")):
        answer = await http("GET", f"/api/v1/namespaces/default/pods/p/{path}", **acting_as("bob"))
        subresource = path.partition("?")[0].rstrip("/")
        assert answer.message == (
            f'pods "p" is forbidden: User "bob" cannot {verb} resource "pods/{subresource}" in API group "" '
            'in the namespace "default"'
        )

"""What the rows look like: their number, their sharing, and what is closed or complained about."""

from __future__ import annotations

import msgspec
import pytest
from tests.model.policy.interpreter import groups, snapshot_of, tables_of
from tests.verify.policy_cases import (
    ALL,
    NODE_OBJECTS,
    PODS,
    Case,
    anp,
    block,
    cluster,
    cnp,
    egress,
    expression,
    ingress,
    np,
    pod,
    rule,
)

from fairlead.api.decode import decode
from fairlead.model.compile import compile
from fairlead.model.policy.read import Choices
from fairlead.model.policy.rules import block as block_term
from fairlead.model.policy.rules import prefixes
from fairlead.model.policy.stage import PolicyStage
from fairlead.plan.policy import PolicyPod
from fairlead.plan.render import from_data, render, to_data
from fairlead.verify.oracle.cluster import Cluster
from fairlead.world.attachment import Attachment
from fairlead.world.events import AttachmentChanged, KindReplaced, ObjectChanged
from fairlead.world.fold import fold
from fairlead.world.settings import Settings
from fairlead.world.snapshot import Snapshot

FROM_ALL = ingress({"from": [{"namespaceSelector": {}}]}, podSelector={})


def test_rows_do_not_grow_with_pods_and_namespaces() -> None:
    def sizes(count: int) -> tuple[int, int, int]:
        more = [pod(f"nx/m{n}", {"app": "m", "unique": f"{n}"}, 60 + n, "node-1") for n in range(count)]
        tables = tables_of(cluster(Case(policies=[FROM_ALL], pods=more)))["node-1"]
        chains = tables["policy_chains"].values()
        return len(chains), sum(len(each.rules) for each in chains), len(groups(tables))  # type: ignore[union-attr]

    assert sizes(0) == sizes(50) == (1, 2, 1)


def test_a_pod_elsewhere_changes_the_groups_that_it_is_in_and_nothing_else() -> None:
    policies = [FROM_ALL, ingress({"from": [{"podSelector": expression("app", "In", "b")}]}, name="q")]
    world = cluster(Case(policies=policies))
    stage = PolicyStage()
    snapshot = snapshot_of(world, "node-1")
    before = stage.update(snapshot)
    new = decode("Pod", pod("nz/new", {"app": "z"}, 99, "node-2"))
    after = stage.update(fold(snapshot, [ObjectChanged("Pod", ("nz", "new"), new)]))
    for table in ("policy_pods", "policy_chains"):
        assert after.tables[table] is before.tables[table]
    changed = [each for each in groups(after.tables) if before.tables["policy_groups"][(each.name,)] is not each]
    (group,) = changed
    old = before.tables["policy_groups"][(group.name,)]
    assert set(group.members) - set(old.members) == {"10.244.2.99", "fd10:244:0:2::63"}  # type: ignore[union-attr]


def test_pods_that_no_policy_governs_have_a_row_without_chains() -> None:
    tables = tables_of(cluster(Case(policies=[])))["node-1"]
    assert {(row.egress, row.node_egress, row.ingress) for row in tables["policy_pods"].values()} == {("", "", "")}  # type: ignore[union-attr]
    assert len(tables["policy_pods"]) == 6 and not tables["policy_chains"] and not tables["policy_groups"]


@pytest.mark.parametrize(
    ("namespace", "uid", "closed"), [("nx", "", True), ("nx", "other", True), ("nz", "", False), ("", "", False)]
)
def test_a_pod_that_is_not_known_yet_is_closed_where_it_may_be_governed(namespace: str, uid: str, closed: bool) -> None:
    name = "a" if uid else "unheard"
    attachment = Attachment(
        container_id="c",
        ifname="eth0",
        netns="",
        host_ifname="flnew",
        mac="",
        addresses=("10.244.1.99",),
        pod_namespace=namespace,
        pod_name=name if namespace else "",
        pod_uid=uid,
    )
    snapshot = snapshot_of(cluster(Case(policies=[np(policyTypes=["Ingress"])])), "node-1")
    known = {
        key: msgspec.structs.replace(each, metadata=msgspec.structs.replace(each.metadata, uid="one"))
        for key, each in snapshot.pods.items()
    }
    world = fold(snapshot, [KindReplaced("Pod", known), AttachmentChanged(attachment.key, attachment)])
    tables = PolicyStage().update(world).tables
    row = tables["policy_pods"][("flnew",)]
    assert isinstance(row, PolicyPod) and bool(row.ingress) == closed and not row.egress
    if closed:
        (found,) = tables["policy_chains"][(row.ingress,)].rules  # type: ignore[union-attr]
        assert (found.verdict, found.peers, found.protocol) == ("deny", "", "")


def test_choices() -> None:
    case = cluster(Case(policies=[egress({"to": [block("10.0.0.0/8")]})]))
    strict = PolicyStage(Choices(blocks_spare=("10.244.0.0/16",), own_node_is_exempt=False))
    tables = strict.update(snapshot_of(case, "node-1")).tables
    (group,) = groups(tables)
    assert "10.0.0.0/9" in group.members and not any(each.startswith("10.244.") for each in group.members)
    rows = [row for row in tables["policy_pods"].values() if isinstance(row, PolicyPod) and row.egress]
    assert rows and all(row.node_egress == row.egress for row in rows)


def test_complaints_name_object_and_field() -> None:
    policies = [
        ingress({"from": [block("10.0.0.0/99")], "ports": [{"port": 80, "protocol": "ICMP"}]}),
        anp(5, egress=[rule("Deny", to=[{"planets": ["mars"]}])]),
        anp(
            5, name="other", egress=[rule("Allow", to=[{"domainNames": ["example.com", "a.*.com", "bücher.example"]}])]
        ),
        anp(6, egress=[rule("Deny", to=[{"domainNames": ["example.com"]}])]),
    ]
    found = [str(each) for each in compile(snapshot_of(cluster(Case(policies=policies)), "node-1")).diagnostics]
    assert [each for each in found if "Policy" in each] == [
        "AdminNetworkPolicy//anp-5 spec.egress[0]: a peer is of no known kind: denies everything; correct to, ports or action",
        "AdminNetworkPolicy//anp-6 spec.egress[0]: domainNames are for action Accept alone: denies everything; correct to, ports"
        " or action",
        "AdminNetworkPolicy//other spec.egress[0].to[0].domainNames[1]: 'a.*.com' is neither a domain name nor *. and one:"
        " matches nothing",
        "AdminNetworkPolicy//other spec.egress[0].to[0].domainNames[2]: 'bücher.example' is not in ASCII: write its labels as"
        " xn--… (RFC 5890): matches nothing",
        "AdminNetworkPolicy//other spec.priority: has the same priority as AdminNetworkPolicy//anp-5: which one decides is"
        " undefined; give each its own priority",
        "NetworkPolicy/nx/p spec.ingress[0].from[0]: '10.0.0.0/99' does not appear to be an IPv4 or IPv6 network: matches nothing",
        "NetworkPolicy/nx/p spec.ingress[0].ports[0]: protocol 'ICMP' is none of TCP, UDP, SCTP: matches nothing",
    ]


def test_names_are_a_group_of_patterns_that_spares_the_cluster_itself() -> None:
    names = {"domainNames": ["*.Example.com.", "example.com"]}
    policies = [
        cnp("Admin", 1, egress=[rule("Accept", to=[names])]),
        cnp("Admin", 2, subject={"namespaces": {}}, egress=[rule("Accept", to=[names]), rule("Deny", to=[ALL])]),
    ]
    world = cluster(Case(policies=policies))
    start = Snapshot(settings=Settings(node="node-1", service_cidrs=("10.96.0.0/16",)))
    stage = PolicyStage()
    snapshot = snapshot_of(world, "node-1", start)
    tables = stage.update(snapshot).tables
    (found,) = [each for each in groups(tables) if each.kind == "names"]
    assert found.members == ("*.example.com", "example.com")
    rules = [each for row in tables["policy_chains"].values() for each in row.rules if each.peers == found.name]  # type: ignore[union-attr]
    (spared,) = {each.spared for each in rules}
    (own,) = [each for each in groups(tables) if each.name == spared]
    assert {"10.96.0.0/16", "10.244.1.0/24", "10.10.0.11/32", "fd10:10::b/128", "169.254.0.0/16"} <= set(own.members)
    changed = msgspec.structs.replace(snapshot.nodes["node-2"], spec=snapshot.nodes["node-1"].spec)
    after = stage.update(fold(snapshot, [ObjectChanged("Node", ("", "node-2"), changed)])).tables
    assert after["policy_chains"] is tables["policy_chains"]
    assert "10.244.2.0/24" not in after["policy_groups"][(spared,)].members  # type: ignore[union-attr]


def test_rows_are_rendered_and_read_back() -> None:
    plan = compile(
        snapshot_of(cluster(Case(policies=[FROM_ALL, egress({"ports": [{"port": "http"}]}, name="q")])), "node-1")
    ).plan
    assert from_data(to_data(plan)).tables == plan.tables
    assert "NetworkPolicy/nx/p/ingress/0" in render(plan, ["policy_chains"])


def test_equal_worlds_give_equal_text_whatever_the_order() -> None:
    policies = [
        FROM_ALL,
        egress({"ports": [{"port": "http"}, {"port": 1}]}, name="q"),
        anp(1, ingress=[rule("Deny", {"namespaces": {}})]),
    ]
    forward = cluster(Case(policies=policies))
    backward = Cluster(
        pods=PODS[::-1], namespaces=forward.namespaces[::-1], nodes=NODE_OBJECTS, policies=policies[::-1]
    )
    texts = {render(compile(snapshot_of(each, "node-1")).plan, origins=True) for each in (forward, backward)}
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("cidr", "excepted", "expected"),
    [
        ("10.0.0.1/8", (), ("10.0.0.0/8",)),
        ("010.0.0.0/8", (), ("10.0.0.0/8",)),
        ("10.0.0.0/8", ("10.0.0.0/9",), ("10.128.0.0/9",)),
        ("10.0.0.0/8", ("10.0.0.0/8",), ()),
        ("10.0.0.0/8", ("fd00::/8",), ("10.0.0.0/8",)),
        ("::/0", ("8000::/1",), ("::/1",)),
    ],
)
def test_blocks(cidr: str, excepted: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert prefixes((block_term(cidr, excepted),)) == expected


@pytest.mark.parametrize(
    "rule",
    [
        {"from": [{}]},
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]},
        {"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Like", "values": ["b"]}]}}]},
        {"ports": [{"port": "http", "endPort": 90}]},
        {"ports": [{"endPort": 90}]},
        {"ports": [{"port": 90, "endPort": 80}]},
        {"ports": [{"port": 0}]},
    ],
    ids=["B20", "B21", "unknown operator", "B22 named", "B22 missing", "B22 order", "B22 zero"],
)
def test_what_the_api_would_have_refused_permits_nothing(rule: dict[str, object]) -> None:
    rows = PolicyStage().update(snapshot_of(cluster(Case(policies=[ingress(rule)])), "node-1"))
    (chain,) = rows.tables["policy_chains"].values()
    assert [each.verdict for each in chain.rules] == ["deny"]  # type: ignore[union-attr]
    assert [each.object for each in rows.diagnostics] == ["NetworkPolicy/nx/p"]


def test_what_is_selected_and_what_resolves_to_nothing_is_found() -> None:
    policies = [
        ingress({"ports": [{"port": "web"}]}, name="in", podSelector={"matchLabels": {"app": "a"}}),
        egress({"to": [{"podSelector": {}}], "ports": [{"port": "nowhere"}]}, name="out"),
        ingress({"ports": [{"port": "web"}]}, name="idle", podSelector={"matchLabels": {"app": "nobody"}}),
    ]
    stage = PolicyStage()
    stage.update(snapshot_of(cluster(Case(policies=policies)), "node-1"))
    found = stage.findings()
    named = {each.split("/")[2] for each in found.selecting}
    assert "idle" not in named and {"in", "out"} >= named and named
    for policy, text in found.unresolved:
        assert policy in found.selecting
        assert text.startswith("spec.") and "is declared by none of the" in text
    assert any("nowhere is declared by none of the peers" in text for _, text in found.unresolved)

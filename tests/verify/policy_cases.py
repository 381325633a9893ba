"""The cases that tools get wrong, by the numbers of docs/design/policy.md: policies, probes and what must come of them.

Topology: namespaces nx{team=a}, ny{team=b,e=""}, nz{}; pods a{app=a}, b{app=b,uid=""}, c{app=c,extra="1"} in each; the port `http` is 80,
81 and 82 on a and b of nx, ny and nz, and 8080 on c. nx is on node-1, ny on node-2, nz on node-1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fairlead.verify.oracle.cluster import Cluster

Wire = dict[str, Any]
EXTERNAL = ("198.51.100.10", "fd10:198::10")
NODES = {"node-1": ("10.10.0.11", "fd10:10::b"), "node-2": ("10.10.0.12", "fd10:10::c")}
HTTP = {"nx": 80, "ny": 81, "nz": 82}
HOME = {"nx": "node-1", "ny": "node-2", "nz": "node-1"}
LABELS = {"a": {"app": "a"}, "b": {"app": "b", "uid": ""}, "c": {"app": "c", "extra": "1"}}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    policies: Sequence[Wire]
    yes: Sequence[str] = ()
    """Probes that must pass, `SOURCE TARGET [PROTOCOL/]PORT`; `nx/a` is a pod, `node-1` a node, `out` an address outside."""
    no: Sequence[str] = ()
    pods: Sequence[Wire] = ()
    resolved: Mapping[str, Sequence[str]] = {}


def pod(name: str, labels: Mapping[str, str], address: int, node: str, *ports: Wire, **more: Any) -> Wire:
    namespace, _, short = name.partition("/")
    index = node[-1]
    ips = [{"ip": f"10.244.{index}.{address}"}, {"ip": f"fd10:244:0:{index}::{address:x}"}]
    return {
        "metadata": {"namespace": namespace, "name": short, "labels": dict(labels)},
        "spec": {"nodeName": node, "containers": [{"ports": list(ports)}], **more.get("spec", {})},
        "status": {"phase": more.get("phase", "Running"), "podIPs": ips},
    }


def port(name: str, number: int, protocol: str = "TCP") -> Wire:
    return {"name": name, "containerPort": number, "protocol": protocol}


def _pods() -> list[Wire]:
    found = []
    for at, (namespace, number) in enumerate(HTTP.items()):
        for offset, (name, labels) in enumerate(LABELS.items()):
            http = port("http", 8080 if name == "c" else number)
            found.append(pod(f"{namespace}/{name}", labels, 10 + 10 * at + offset, HOME[namespace], http))
    return found


PODS = _pods()
NAMESPACES = [
    {"metadata": {"name": name, "labels": labels}}
    for name, labels in {"nx": {"team": "a"}, "ny": {"team": "b", "e": ""}, "nz": {}}.items()
]
NODE_OBJECTS = [
    {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"podCIDRs": [f"10.244.{name[-1]}.0/24", f"fd10:244:0:{name[-1]}::/64"]},
        "status": {"addresses": [{"type": "InternalIP", "address": each} for each in addresses]},
    }
    for name, addresses in NODES.items()
]


def cluster(case: Case) -> Cluster:
    return Cluster(
        pods=[*PODS, *case.pods],
        namespaces=NAMESPACES,
        nodes=NODE_OBJECTS,
        policies=case.policies,
        resolved=case.resolved,
    )


def probes(case: Case) -> list[tuple[str, str, str, int, bool]]:
    """(source, target, protocol, port, expected); `out` is still to be replaced by the address of a family."""
    found = []
    for texts, expected in ((case.yes, True), (case.no, False)):
        for text in texts:
            source, target, ending = text.split()
            protocol, _, number = ending.rpartition("/")
            found.append((_place(source), _place(target), protocol or "TCP", int(number), expected))
    return found


def _place(text: str) -> str:
    return f"pod/{text}" if "/" in text else f"node/{text}" if text.startswith("node-") else text


def np(name: str = "p", namespace: str = "nx", **spec: Any) -> Wire:
    if "podSelector" not in spec:
        spec["podSelector"] = {"matchLabels": {"app": "a"}}
    spec = {key: value for key, value in spec.items() if value is not ...}
    return {"kind": "NetworkPolicy", "metadata": {"namespace": namespace, "name": name}, "spec": spec}


def ingress(*rules: Wire, name: str = "p", **spec: Any) -> Wire:
    return np(name, ingress=list(rules), **spec)


def egress(*rules: Wire, name: str = "p", types: Sequence[str] = ("Egress",), **spec: Any) -> Wire:
    return np(name, egress=list(rules), policyTypes=list(types), **spec)


def labels(**wanted: str) -> Wire:
    return {"matchLabels": wanted}


def expression(key: str, operator: str, *values: str) -> Wire:
    found: Wire = {"key": key, "operator": operator}
    return {"matchExpressions": [found | {"values": list(values)} if values else found]}


def block(cidr: str, *excepted: str) -> Wire:
    return {"ipBlock": {"cidr": cidr, "except": list(excepted)} if excepted else {"cidr": cidr}}


def anp(
    priority: int, *, name: str = "", ingress: Sequence[Wire] = (), egress: Sequence[Wire] = (), subject: Any = None
) -> Wire:
    subject = subject or {"namespaces": labels(team="a")}
    spec = {"priority": priority, "subject": subject, "ingress": list(ingress), "egress": list(egress)}
    return {"kind": "AdminNetworkPolicy", "metadata": {"name": name or f"anp-{priority}"}, "spec": spec}


def banp(**spec: Any) -> Wire:
    found = {"subject": {"namespaces": labels(team="a")}, **spec}
    return {"kind": "BaselineAdminNetworkPolicy", "metadata": {"name": "default"}, "spec": found}


def cnp(tier: str, priority: int, **spec: Any) -> Wire:
    found = {"tier": tier, "priority": priority, "subject": {"namespaces": labels(team="a")}, **spec}
    return {
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": f"{tier.lower()}-{priority}"},
        "spec": found,
    }


def rule(action: str, *peers: Wire, to: Sequence[Wire] | None = None, **more: Any) -> Wire:
    return {"action": action, **({"to": list(to)} if to is not None else {"from": list(peers)}), **more}


ALL = {"namespaces": {}}
NY: Wire = {"namespaces": labels(team="b")}
_A_OF_NY = {"namespaceSelector": labels(team="b"), "podSelector": labels(app="a")}
_TCP = {"protocol": "TCP"}
_TCP_80 = [{"tcp": {"destinationPort": {"number": 80}}}]
_DENY_ALL = ingress(podSelector={})

CASES: dict[str, Case] = {
    "T01": Case(
        policies=[ingress({"from": [_A_OF_NY]})], yes=["ny/a nx/a 80"], no=["ny/b nx/a 80", "nx/a nx/b 80"][:1]
    ),
    "T02": Case(
        policies=[ingress({"from": [{"namespaceSelector": labels(team="b")}, {"podSelector": labels(app="b")}]})],
        yes=["ny/a nx/a 80", "ny/c nx/a 80", "nx/b nx/a 80"],
        no=["nz/b nx/a 80", "nx/c nx/a 80"],
    ),
    "T03": Case(
        policies=[ingress({"from": [{"podSelector": labels(app="b")}]})], yes=["nx/b nx/a 80"], no=["ny/b nx/a 80"]
    ),
    "T04": Case(
        policies=[ingress({"from": [{"podSelector": {}}]})],
        yes=["nx/b nx/a 80", "nx/c nx/a UDP/9"],
        no=["ny/b nx/a 80", "out nx/a 80", "node-2 nx/a 80"],
    ),
    "T05": Case(
        policies=[ingress({"from": [{"namespaceSelector": {}}]})],
        yes=["nx/b nx/a 80", "nz/b nx/a 80"],
        no=["out nx/a 80", "node-2 nx/a 80"],
    ),
    "T06": Case(policies=[ingress({"ports": [{"port": 80}]})], yes=["out nx/a 80", "ny/a nx/a 80"], no=["out nx/a 81"]),
    "T06-empty": Case(
        policies=[ingress({"from": [], "ports": [{"port": 80}]})], yes=["out nx/a 80"], no=["ny/a nx/a 81"]
    ),
    "T07": Case(policies=[ingress()], yes=["nx/a nx/b 80", "nx/b nx/c 80"], no=["nx/b nx/a 80", "out nx/a 80"]),
    "T07-missing": Case(policies=[np(policyTypes=["Ingress"])], yes=["nx/a nx/b 80"], no=["nx/b nx/a 80"]),
    "T07-all": Case(policies=[ingress({})], yes=["nx/b nx/a 80", "out nx/a UDP/1", "ny/b nx/a SCTP/5"]),
    "T08": Case(
        policies=[ingress({"from": [{"podSelector": {}}]})], yes=["nx/a ny/a 81", "nx/a out 443"], no=["out nx/a 80"]
    ),
    "T09": Case(
        policies=[np(egress=[{"to": [{"podSelector": {}}]}])],
        yes=["nx/a nx/b 80"],
        no=["nx/a ny/b 80", "nx/b nx/a 80"],
    ),
    "T10": Case(policies=[np(egress=[])], yes=["nx/a ny/b 80", "nx/a out 80"], no=["nx/b nx/a 80"]),
    "T11": Case(
        policies=[egress(ingress=[{"from": [{"podSelector": labels(app="zzz")}]}])],
        yes=["nx/b nx/a 80", "out nx/a 80"],
        no=["nx/a nx/b 80"],
    ),
    "T12": Case(
        policies=[ingress({"ports": [{"port": "http"}]}, podSelector={})],
        yes=["ny/a nx/a 80", "ny/a nx/c 8080"],
        no=["ny/a nx/a 8080", "ny/a nx/c 80", "ny/a nx/a 81"],
    ),
    "T13": Case(
        policies=[egress({"to": [{"namespaceSelector": {}}], "ports": [{"port": "http"}]})],
        yes=["nx/a ny/b 81", "nx/a nz/b 82", "nx/a ny/c 8080", "nx/a nx/b 80"],
        no=["nx/a ny/b 80", "nx/a nz/b 80", "nx/a ny/c 81"],
    ),
    "T14": Case(
        policies=[ingress({"ports": [{"port": "http", "protocol": "UDP"}]})], no=["nx/b nx/a 80", "nx/b nx/a UDP/80"]
    ),
    "T15": Case(
        policies=[ingress({"ports": [{"port": "nope"}, {"port": 7000}]})], yes=["nx/b nx/a 7000"], no=["nx/b nx/a 80"]
    ),
    "T16": Case(
        policies=[ingress({"ports": [{"port": 7000, "endPort": 7002}]})],
        yes=["nx/b nx/a 7000", "nx/b nx/a 7001", "nx/b nx/a 7002"],
        no=["nx/b nx/a 6999", "nx/b nx/a 7003", "nx/b nx/a UDP/7001"],
    ),
    "T17": Case(policies=[ingress({"ports": [{"port": 53}]})], yes=["nx/b nx/a 53"], no=["nx/b nx/a UDP/53"]),
    "T18": Case(
        policies=[ingress({"ports": [{"protocol": "UDP"}]})],
        yes=["nx/b nx/a UDP/1", "out nx/a UDP/65535"],
        no=["nx/b nx/a 1"],
    ),
    "T19": Case(
        policies=[ingress({"ports": [], "from": [{"podSelector": {}}]})],
        yes=["nx/b nx/a 1", "nx/b nx/a UDP/2", "nx/b nx/a SCTP/3"],
        no=["ny/b nx/a 1"],
    ),
    "T20": Case(
        policies=[ingress({"ports": [{"protocol": "SCTP", "port": 7}]})],
        yes=["nx/b nx/a SCTP/7"],
        no=["nx/b nx/a 7", "nx/b nx/a UDP/7"],
    ),
    "T21": Case(
        policies=[
            egress(
                {"to": [block("198.51.100.0/24", "198.51.100.8/29")]},
                {"to": [block("fd10:198::/64", "fd10:198::10/124")]},
            )
        ],
        no=["nx/a out 80", "nx/a ny/a 81"],
    ),
    "T22": Case(
        policies=[
            egress(
                {
                    "to": [
                        block("198.51.100.0/24", "198.51.100.8/29"),
                        block("198.51.100.10/32"),
                        block("fd10:198::10/128"),
                    ]
                }
            ),
            egress({"to": [block("fd10:198::/64", "fd10:198::10/124")]}, name="q"),
        ],
        yes=["nx/a out 80"],
    ),
    "T23": Case(
        policies=[ingress({"from": [{"podSelector": expression("uid", "NotIn", "")}]})],
        yes=["nx/c nx/a 80"],
        no=["nx/b nx/a 80"],
    ),
    "T24": Case(
        policies=[
            ingress({"from": [{"namespaceSelector": labels(team="b"), "podSelector": expression("extra", "Exists")}]})
        ],
        yes=["ny/c nx/a 80"],
        no=["ny/a nx/a 80", "nx/c nx/a 80"],
    ),
    "T24-absent": Case(
        policies=[
            ingress(
                {"from": [{"namespaceSelector": labels(team="b"), "podSelector": expression("extra", "DoesNotExist")}]}
            )
        ],
        yes=["ny/a nx/a 80", "ny/b nx/a 80"],
        no=["ny/c nx/a 80", "nx/b nx/a 80"],
    ),
    "T25": Case(
        policies=[ingress({"from": [{"namespaceSelector": labels(e="")}]})],
        yes=["ny/a nx/a 80"],
        no=["nz/a nx/a 80", "nx/b nx/a 80"],
    ),
    "T26": Case(
        policies=[ingress({"from": [{"podSelector": labels(uid="")}]})], yes=["nx/b nx/a 80"], no=["nx/c nx/a 80"]
    ),
    "T27": Case(
        policies=[
            ingress({"from": [{"podSelector": labels(app="b")}]}),
            ingress({"ports": [{"port": 9}]}, name="q", podSelector={}),
        ],
        yes=["nx/b nx/a 80", "ny/c nx/a 9"],
        no=["ny/c nx/a 80", "nx/a nx/b 80"],
    ),
    "T28": Case(
        policies=[ingress({"from": [{"podSelector": {}}]}), egress(name="q", podSelector=labels(app="b"))],
        yes=["nx/c nx/a 80"],
        no=["nx/b nx/a 80"],
    ),
    "T29": Case(
        policies=[ingress({"from": [{"podSelector": labels(extra="1")}]})], yes=["nx/c nx/a 80"], no=["nx/b nx/a 80"]
    ),
    "T30": Case(
        policies=[ingress({"from": [{"namespaceSelector": labels(**{"kubernetes.io/metadata.name": "nz"})}]})],
        yes=["nz/a nx/a 80"],
        no=["ny/a nx/a 80"],
    ),
    "T31": Case(
        policies=[
            egress(
                {
                    "to": [block("198.51.100.0/24"), {"namespaceSelector": {}}],
                    "ports": [{"port": "http"}, {"port": 443}],
                }
            )
        ],
        yes=["nx/a ny/b 81", "nx/a ny/b 443"],
        no=["nx/a out 81", "nx/a out 80", "nx/a ny/b 80"],
    ),
    "T32": Case(policies=[egress({"to": [block("::/0")]})], yes=["nx/a out6 80"], no=["nx/a out4 80"]),
    "T33": Case(
        policies=[ingress(podSelector={})],
        pods=[pod("nx/host", {"app": "a"}, 1, "node-2", spec={"hostNetwork": True})],
        yes=["ny/a node-2 80", "nx/a node-1 80"],
        no=["nx/b nx/a 80"],
    ),
    "T34": Case(
        policies=[ingress({"from": [{"podSelector": {}}]})],
        pods=[pod("nx/host", {"app": "b"}, 1, "node-2", spec={"hostNetwork": True})],
        no=["node-2 nx/a 80"],
        yes=["nx/b nx/a 80"],
    ),
    "T35": Case(
        policies=[ingress({"from": [{"podSelector": {}}]})],
        # Its address is another's by now.
        pods=[pod("nx/done", {"app": "b"}, 20, "node-2", phase="Succeeded")],
        no=["ny/a nx/a 80"],
        yes=["nx/b nx/a 80"],
    ),
    "T36": Case(policies=[egress(types=["Egress", "Ingress"])], no=["nx/a nx/b 80", "nx/b nx/a 80"]),
    "T37": Case(
        policies=[ingress({"ports": [{"port": "dns", "protocol": "UDP"}]}, podSelector=labels(app="dns"))],
        pods=[pod("nx/dns", {"app": "dns"}, 60, "node-1", port("dns", 53), port("dns", 5353, "UDP"))],
        yes=["nx/b nx/dns UDP/5353"],
        no=["nx/b nx/dns 53", "nx/b nx/dns UDP/53"],
    ),
    "T38": Case(
        policies=[ingress(podSelector=...)], no=["nx/b nx/a 80", "nx/a nx/b 80", "ny/a nx/c 80"], yes=["nx/a ny/a 80"]
    ),
    "T39": Case(
        policies=[ingress({"ports": [{"port": "http"}, {"port": 79, "endPort": 81}]})],
        yes=["nx/b nx/a 79", "nx/b nx/a 80", "nx/b nx/a 81"],
        no=["nx/b nx/a 82"],
    ),
    "T40": Case(
        policies=[ingress({"from": [{"namespaceSelector": labels(team="b")}]}, podSelector={})],
        pods=[
            pod(f"nx/db-{n}", {"app": "db", "statefulset.kubernetes.io/pod-name": f"db-{n}"}, 60 + n, "node-1")
            for n in range(3)
        ],
        yes=["ny/a nx/db-0 80", "ny/a nx/db-2 80"],
        no=["nx/a nx/db-1 80", "nx/db-1 nx/db-0 80"],
    ),
    "B01": Case(
        policies=[egress({"to": [block("10.244.0.0/16"), block("fd10:244::/48")]})],
        yes=["nx/a ny/a 81"],
        no=["nx/a out 80"],
    ),
    "B02": Case(policies=[np(policyTypes=["Ingress", "Egress"])], yes=["nx/a nx/a 80"], no=["nx/a nx/b 80"]),
    "B04": Case(policies=[_DENY_ALL], yes=["node-1 nx/a 80", "node-1 nx/b UDP/5"], no=["nx/b nx/a 80"]),
    "B05": Case(policies=[_DENY_ALL], no=["node-2 nx/a 80"]),
    "B05-block": Case(
        policies=[ingress({"from": [block("10.10.0.12/32"), block("fd10:10::c/128")]})],
        yes=["node-2 nx/a 80"],
        no=["out nx/a 80"],
    ),
    "B06": Case(policies=[egress()], yes=["nx/a node-1 80"], no=["nx/a node-2 80"]),
    "B07": Case(
        policies=[ingress({"from": [{"podSelector": labels(app="b")}]}, podSelector={})],
        yes=["nx/b nx/a 80"],
        no=["nx/a nx/b 80"],
    ),
    "B11": Case(
        policies=[_DENY_ALL, ingress({"from": [{"podSelector": labels(app="bye")}]}, name="q")],
        pods=[pod("nx/bye", {"app": "bye"}, 60, "node-1")],
        yes=["nx/bye nx/a 80"],
        no=["nx/a nx/bye 80"],
    ),
    "B13": Case(
        policies=[_DENY_ALL],
        pods=[{**pod("nx/wait", {"app": "b"}, 60, "node-2"), "status": {"phase": "Pending"}}],
        no=["nx/b nx/a 80"],
    ),
    "B14": Case(policies=[ingress({"from": [{"podSelector": {}}]})], yes=["nx/b nx/a ICMP/0"], no=["ny/b nx/a ICMP/0"]),
    "B14-ports": Case(policies=[ingress({"ports": [{"port": 80}]})], yes=["nx/b nx/a 80"], no=["nx/b nx/a ICMP/0"]),
    "B15": Case(
        policies=[
            ingress(
                {"from": [block("0.0.0.0/0")], "ports": [{"port": 80}]},
                {"from": [block("::/0")], "ports": [{"port": 81}]},
            )
        ],
        yes=["out4 nx/a 80", "out6 nx/a 81"],
        no=["out6 nx/a 80", "out4 nx/a 81"],
    ),
    "B17": Case(policies=[np(namespace="gone", podSelector={})], yes=["nx/b nx/a 80", "out nx/a 80"]),
    "B18": Case(
        policies=[egress({"to": [block("198.51.100.77/24"), block("fd10:198::77/64")]})],
        yes=["nx/a out 80"],
        no=["nx/a ny/a 81"],
    ),
    "B24": Case(policies=[ingress({"ports": [{"port": 9999}]})], yes=["nx/b nx/a 9999"], no=["nx/b nx/a 9998"]),
    "B25": Case(
        policies=[ingress({"ports": [{"port": "web"}]}, podSelector=labels(app="two"))],
        pods=[pod("nx/two", {"app": "two"}, 60, "node-1", port("web", 1000), port("web", 2000))],
        yes=["nx/a nx/two 1000"],
        no=["nx/a nx/two 2000"],
    ),
    "A01": Case(policies=[anp(1, ingress=[rule("Deny", ALL)]), ingress({})], no=["ny/a nx/a 80"]),
    "A02": Case(policies=[anp(1, ingress=[rule("Allow", NY)]), _DENY_ALL], yes=["ny/a nx/a 80"], no=["nz/a nx/a 80"]),
    "A03": Case(
        policies=[anp(1, ingress=[rule("Pass", NY)]), anp(2, ingress=[rule("Deny", ALL)])],
        yes=["ny/a nx/a 80"],
        no=["nz/a nx/a 80"],
    ),
    "A03-np": Case(
        policies=[anp(1, ingress=[rule("Pass", NY)]), anp(2, ingress=[rule("Allow", ALL)]), ingress()],
        no=["ny/a nx/a 80"],
        yes=["nz/a nx/a 80"],
    ),
    "A03-banp": Case(
        policies=[
            anp(1, ingress=[rule("Pass", NY)]),
            anp(2, ingress=[rule("Allow", ALL)]),
            banp(ingress=[rule("Deny", NY)]),
        ],
        no=["ny/a nx/a 80"],
        yes=["nz/a nx/a 80"],
    ),
    "A04": Case(
        policies=[
            anp(9, ingress=[rule("Deny", ALL)]),
            anp(3, ingress=[rule("Allow", ALL, ports=[{"portNumber": {"protocol": "TCP", "port": 80}}])]),
        ],
        yes=["ny/a nx/a 80"],
        no=["ny/a nx/a 81"],
    ),
    "A05": Case(
        policies=[banp(ingress=[rule("Deny", ALL)]), ingress({"from": [{"namespaceSelector": {}}]})],
        yes=["ny/a nx/a 80"],
        no=["ny/a nx/b 80"],
    ),
    "A06": Case(policies=[anp(1)], yes=["ny/a nx/a 80", "nx/a out 80"]),
    "A07": Case(policies=[anp(1, ingress=[rule("Deny", ALL)])], yes=["out nx/a 80"], no=["ny/a nx/a 80"]),
    "A08": Case(
        policies=[anp(1, egress=[rule("Allow", to=[NY])]), ingress(namespace="ny", podSelector={})],
        no=["nx/a ny/a 81"],
        yes=["nx/a nz/a 82"],
    ),
    "A09": Case(
        policies=[anp(1, egress=[rule("Deny", to=[{"networks": ["198.51.100.0/24", "fd10:198::/64"]}])])],
        no=["nx/a out 80"],
        yes=["nx/a ny/a 81"],
    ),
    "A15": Case(
        policies=[anp(1, egress=[rule("Deny", to=[{"networks": ["0.0.0.0/0", "::/0"]}])])],
        no=["nx/a out 80", "nx/a ny/a 81", "nx/a nx/b 80"],
        yes=["ny/a nx/a 80"],
    ),
    "A10": Case(
        policies=[
            anp(1, ingress=[rule("Deny", ALL, ports=[{"portRange": {"protocol": "TCP", "start": 10, "end": 12}}])])
        ],
        no=["ny/a nx/a 10", "ny/a nx/a 12"],
        yes=["ny/a nx/a 9", "ny/a nx/a 13", "ny/a nx/a UDP/11"],
    ),
    "A10-named": Case(
        policies=[anp(1, egress=[rule("Deny", to=[ALL], ports=[{"namedPort": "http"}])])],
        no=["nx/a ny/a 81", "nx/a nx/c 8080"],
        yes=["nx/a ny/a 80"],
    ),
    "A12": Case(
        policies=[anp(1, ingress=[rule("Allow", NY), rule("Deny", ALL)])], yes=["ny/a nx/a 80"], no=["nz/a nx/a 80"]
    ),
    "A13": Case(
        policies=[
            anp(1, ingress=[rule("Deny", ALL)]),
            anp(
                2,
                subject={"namespaces": {}},
                egress=[rule("Deny", to=[{"nodes": expression("kubernetes.io/hostname", "In", "node-2")}])],
            ),
        ],
        pods=[pod("nx/host", {"app": "b"}, 1, "node-2", spec={"hostNetwork": True})],
        yes=["node-2 nx/a 80", "nz/a node-1 80"],
        no=["nz/a node-2 80"],
    ),
    "A14": Case(
        policies=[anp(1, egress=[rule("Allow", to=[{"planets": ["mars"]}])]), egress()],
        no=["nx/a out 80"],
        yes=["nx/b out 80"],
    ),
    "A14-deny": Case(
        policies=[anp(1, egress=[rule("Deny", to=[{}])])], no=["nx/a out 80", "nx/a ny/a 81"], yes=["ny/a nx/a 80"]
    ),
    "A14-pass": Case(policies=[anp(1, ingress=[rule("Pass", {"planets": []})])], no=["ny/a nx/a 80", "out nx/a 80"]),
    "C01": Case(
        policies=[cnp("Admin", 1, ingress=[rule("Accept", NY)]), _DENY_ALL], yes=["ny/a nx/a 80"], no=["nz/a nx/a 80"]
    ),
    "C02": Case(
        policies=[
            cnp("Admin", 5, ingress=[rule("Deny", ALL, protocols=[{"tcp": {"destinationPort": {"number": 1}}}])]),
            ingress({"ports": [{"port": 1}, {"port": 2}]}),
            cnp("Baseline", 5, ingress=[rule("Deny", ALL)]),
        ],
        yes=["ny/a nx/a 2"],
        no=["ny/a nx/a 1", "ny/a nx/a 3", "ny/a nx/b 2"],
    ),
    "C03": Case(
        policies=[cnp("Baseline", 1, ingress=[rule("Pass", NY)]), cnp("Baseline", 2, ingress=[rule("Deny", ALL)])],
        yes=["ny/a nx/a 80"],
        no=["nz/a nx/a 80"],
    ),
    "C04": Case(
        policies=[
            cnp("Baseline", 7, ingress=[rule("Deny", ALL)]),
            cnp("Baseline", 3, ingress=[rule("Accept", NY)]),
            banp(ingress=[rule("Allow", ALL)]),
        ],
        yes=["ny/a nx/a 80"],
        no=["nz/a nx/a 80"],
    ),
    "C06": Case(
        policies=[
            cnp("Admin", 1, egress=[rule("Pass", to=[NY]), rule("Deny", to=[{"networks": ["0.0.0.0/0", "::/0"]}])]),
        ],
        yes=["nx/a ny/a 81"],
        no=["nx/a out 80", "nx/a nz/a 82"],
    ),
    "C07": Case(
        policies=[
            cnp(
                "Admin",
                1,
                ingress=[
                    rule(
                        "Deny",
                        ALL,
                        protocols=[
                            {"udp": {"destinationPort": {"range": {"start": 5, "end": 7}}}},
                            {"destinationNamedPort": "http"},
                            {"sctp": {}},
                        ],
                    )
                ],
            )
        ],
        no=["ny/a nx/a UDP/5", "ny/a nx/a UDP/7", "ny/a nx/a 80", "ny/a nx/c 8080", "ny/a nx/a SCTP/9"],
        yes=["ny/a nx/a UDP/8", "ny/a nx/a 81", "ny/a nx/a ICMP/0"],
    ),
    "C07-absent": Case(
        policies=[cnp("Admin", 1, ingress=[rule("Deny", ALL)])], no=["ny/a nx/a ICMP/0", "ny/a nx/a UDP/8"]
    ),
    "C09": Case(
        policies=[
            cnp(
                "Admin",
                1,
                egress=[
                    rule("Accept", to=[{"domainNames": ["*.example.com"]}], protocols=_TCP_80),
                    rule("Accept", to=[{"domainNames": ["Exact.example.org."]}, NY]),
                ],
            ),
            egress(),
        ],
        resolved={"a.b.example.com": EXTERNAL},
        yes=["nx/a out 80", "nx/a ny/a 81"],
        no=["nx/a out 81", "nx/a out UDP/80", "nx/a nx/b 80"],
    ),
    "C09-exact": Case(
        policies=[
            cnp("Admin", 1, egress=[rule("Accept", to=[{"domainNames": ["Exact.example.org.", "*.example.com"]}])]),
            egress(),
        ],
        resolved={"exact.example.org": EXTERNAL},
        yes=["nx/a out 80", "nx/a out UDP/9"],
    ),
    "C09-apex": Case(
        policies=[cnp("Admin", 1, egress=[rule("Accept", to=[{"domainNames": ["*.example.com"]}])]), egress()],
        resolved={"example.com": EXTERNAL, "notexample.com": EXTERNAL, "a.example.com.test": EXTERNAL},
        no=["nx/a out 80"],
    ),
    "C09-unasked": Case(
        policies=[cnp("Admin", 1, egress=[rule("Accept", to=[{"domainNames": ["example.com"]}])]), egress()],
        no=["nx/a out 80"],
    ),
    "C09-inside": Case(
        policies=[
            cnp("Admin", 1, egress=[rule("Accept", to=[{"domainNames": ["example.com"]}])]),
            cnp("Admin", 2, egress=[rule("Deny", to=[ALL, {"nodes": {}}])]),
        ],
        resolved={"example.com": ("10.244.2.20", "fd10:244:0:2::14", *NODES["node-1"], *NODES["node-2"])},
        no=["nx/a ny/a 81", "nx/a node-1 80", "nx/a node-2 80"],
    ),
}
"""By case number of the table; a suffix tells variants apart."""

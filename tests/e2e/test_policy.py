"""Network policies as users apply them, with kubectl, in a whole lab."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import Lab, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PODS = """
apiVersion: v1
kind: Namespace
metadata: {name: policy, labels: {team: shop}}
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: policy, labels: {app: server}}
spec:
  nodeName: node-1
  containers:
  - name: main
    image: responder
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: friend, namespace: policy, labels: {app: friend}}
spec:
  nodeName: node-2
  containers: [{name: main, image: responder}]
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, namespace: policy, labels: {app: stranger}}
spec:
  nodeName: node-1
  containers: [{name: main, image: responder}]
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: policy}
spec:
  selector: {app: server}
  ipFamilyPolicy: PreferDualStack
  ports: [{port: 80, targetPort: http}]
"""

DENY_ALL = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny-all, namespace: policy}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
"""

UNRESOLVED = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: unresolved, namespace: policy}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {app: nobody}}}], ports: [{port: https}]}]
"""

ALLOW = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: friend-to-server, namespace: policy}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}], ports: [{port: http}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: friend-out, namespace: policy}
spec:
  podSelector: {matchLabels: {app: friend}}
  egress: [{to: [{podSelector: {matchLabels: {app: server}}}], ports: [{port: 8080}]}]
  policyTypes: [Egress]
"""

CLUSTER_DENY = """
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: no-friends}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {matchLabels: {team: shop}}}
  ingress:
  - action: Deny
    from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: friend}}}}]
"""


@pytest.fixture(scope="module")
def shop(lab: Lab) -> Iterator[Lab]:
    lab.apply(PODS)
    lab.kubectl("wait", "--for=condition=Ready", "pod", "--all", "-n", "policy", "--timeout=60s")
    yield lab
    lab.kubectl("delete", "namespace", "policy", "--wait=false")


def reaches(lab: Lab, client: str) -> bool:
    """Tell whether a pod gets an answer from the Service by its name, IPv4."""
    command = (
        "curl",
        "-4",
        "-s",
        "-o",
        "/dev/null",
        "--connect-timeout",
        "0.5",
        "http://server.policy.svc.cluster.local/",
    )
    return lab.fairlead("exec", f"pod/policy/{client}", "--", *command, ok=False).returncode == 0


def test_recipes_take_effect_and_end(shop: Lab) -> None:
    clients = ("friend", "stranger")

    def is_now(**expected: bool) -> None:
        wait_for(lambda: {each: reaches(shop, each) for each in clients} == expected, f"{expected}", 15)

    is_now(friend=True, stranger=True)
    shop.apply(DENY_ALL)
    is_now(friend=False, stranger=False)
    shop.apply(ALLOW)
    is_now(friend=True, stranger=False)
    # The node reaches its own pods whatever the policies say.
    assert shop.get("pod", "server", "-n", "policy")["status"]["conditions"]
    shop.kubectl("label", "pod", "stranger", "-n", "policy", "app=friend", "--overwrite")
    is_now(friend=True, stranger=True)
    shop.apply(CLUSTER_DENY)
    is_now(friend=False, stranger=False)
    shop.kubectl("delete", "clusternetworkpolicy", "no-friends")
    shop.kubectl("delete", "networkpolicy", "--all", "-n", "policy")
    is_now(friend=True, stranger=True)
    ready = {c["type"]: c["status"] for c in shop.get("pod", "server", "-n", "policy")["status"]["conditions"]}
    assert ready["Ready"] == "True"


def test_status_says_what_became_of_a_policy(shop: Lab) -> None:
    prefix = "fairlead.dev/"

    def conditions(*named: str) -> dict[str, str]:
        found = json.loads(shop.kubectl("get", *named, "-o", "json", "--ignore-not-found") or "{}")
        listed = (found.get("status") or {}).get("conditions") or ()
        return {each["type"].removeprefix(prefix): each["status"] for each in listed}

    def is_now(named: tuple[str, ...], expected: dict[str, str]) -> None:
        wait_for(lambda: conditions(*named) == expected, f"{named}: {expected}, last {conditions(*named)}", 60)

    companion = ("networkpolicystatus", "unresolved", "-n", "policy")
    good = {"Accepted": "True", "Enforced": "True", "SelectsPods": "True", "Resolved": "True"}
    shop.apply(UNRESOLVED)
    is_now(companion, {**good, "Resolved": "False"})
    warnings = shop.kubectl("events", "-n", "policy", "--for", "networkpolicy/unresolved")
    assert "NotResolved" in warnings and "port https is declared by none of the selected pods" in warnings
    shop.apply(UNRESOLVED.replace("https", "http"))
    is_now(companion, good)
    shop.apply(UNRESOLVED.replace("https", "http").replace("app: server", "app: nothing"))
    is_now(companion, {**good, "SelectsPods": "False", "Resolved": "Unknown"})
    shop.apply(CLUSTER_DENY)
    is_now(("clusternetworkpolicy", "no-friends"), good)
    listing = shop.kubectl("get", "cnp").splitlines()
    assert listing[0].split() == ["NAME", "TIER", "PRIORITY", "ENFORCED", "AGE"] and listing[1].split()[3] == "True"
    shop.kubectl("delete", "cnp", "no-friends")
    shop.kubectl("delete", "networkpolicy", "unresolved", "-n", "policy")
    wait_for(lambda: not conditions(*companion), "the companion goes with its policy", 30)


def test_observe_names_the_policy_that_denied(shop: Lab) -> None:
    shop.apply(DENY_ALL)

    rule = "NetworkPolicy/policy/deny-all/egress"

    def denied() -> list[dict[str, Any]]:
        reaches(shop, "stranger")
        arguments = ("--from", "pod/policy/stranger", "--verdict", "denied", "--protocol", "tcp", "-o", "json")
        listed = [json.loads(line) for line in shop.fairlead("observe", *arguments).stdout.splitlines()]
        return [each for each in listed if each["rules"] == [rule]]

    found = wait_for(denied, "a denied flow of the stranger", 20)
    assert {(each["node"], each["destination"]["pod"], each["destination"]["port"]) for each in found} == {
        ("node-1", "server", 8080)
    }
    text = shop.fairlead("observe", "--policy", "deny-all").stdout
    assert "policy/stranger" in text and rule in text
    metrics = shop.fairlead("exec", "node/node-1", "--", "curl", "-s", "http://127.0.0.1:10249/metrics").stdout
    sample = 'policy="deny-all",direction="egress",rule="",verdict="denied"'
    assert any(sample in line and not line.endswith(" 0") for line in metrics.splitlines())
    with subprocess.Popen(
        [sys.executable, "-m", "fairlead", "observe", "--name", shop.name, "-f", "--last", "1", "--policy", "deny-all"],
        env=shop.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background ignores the signal, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as following:
        assert following.stdout is not None and following.stderr is not None
        for _ in range(3):
            reaches(shop, "stranger")
            assert "denied" in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        assert following.wait(timeout=30) == 130
        assert following.stderr.read().strip() == ""
    shop.kubectl("delete", "networkpolicy", "--all", "-n", "policy")
    assert "--to svc/a: not a place" in shop.fairlead("observe", "--to", "svc/a", ok=False).stderr


def test_the_recipes_are_accepted(lab: Lab) -> None:
    folder = Path(__file__).parents[2] / "examples/policies"
    world = str(folder / "00-world.yaml")
    try:
        lab.kubectl("apply", "-f", world)
        said = lab.kubectl("apply", "--dry-run=server", "-f", str(folder))
        assert said.count("(server dry run)") == sum(
            text.count("apiVersion:") for text in map(Path.read_text, folder.glob("*.yaml"))
        )
    finally:
        lab.kubectl("delete", "-f", world, "--ignore-not-found", "--wait=false", ok=False)


NEWCOMER = """
apiVersion: v1
kind: Pod
metadata: {name: newcomer, namespace: policy, labels: {app: stranger}}
spec:
  nodeName: node-1
  restartPolicy: Never
  containers:
  - name: main
    image: tools
    command:
    - sh
    - -c
    - for n in 1 2 3 4 5 6 7 8; do curl -s -o /dev/null --connect-timeout 0.2 http://SERVER:8080/ && echo reached; done; echo tried
"""


def test_policies_hold_while_the_agent_is_killed_and_for_pods_that_start_meanwhile(shop: Lab) -> None:
    shop.kubectl("label", "pod", "stranger", "-n", "policy", "app=stranger", "--overwrite")
    shop.apply(DENY_ALL)
    shop.apply(ALLOW)
    wait_for(lambda: reaches(shop, "friend") and not reaches(shop, "stranger"), "the policies are in force", 20)
    server = shop.get("pod", "server", "-n", "policy")["status"]["podIP"]
    killed: list[int] = []
    for _ in range(3):
        agent = shop.record("agent-node-1")["pid"]
        killed.append(agent)
        os.kill(agent, signal.SIGKILL)
        if len(killed) == 1:
            shop.apply(NEWCOMER.replace("SERVER", server))
        assert not reaches(shop, "stranger")
        assert reaches(shop, "friend")
        wait_for(lambda: shop.record("agent-node-1")["pid"] not in killed, "another agent", 30)
    shop.kubectl(
        "wait",
        "--for=jsonpath={.status.phase}=Succeeded",
        "pod/newcomer",
        "-n",
        "policy",
        "--timeout=60s",
        timeout_s=70,
    )
    # From its first packet on it was judged by its labels.
    assert shop.kubectl("logs", "newcomer", "-n", "policy").split() == ["tried"]
    shop.kubectl("label", "pod", "stranger", "-n", "policy", "app=friend", "--overwrite")
    wait_for(lambda: reaches(shop, "stranger"), "the agent that came goes on", 20)
    shop.kubectl("delete", "pod", "newcomer", "-n", "policy", "--now")
    shop.kubectl("delete", "networkpolicy", "--all", "-n", "policy")

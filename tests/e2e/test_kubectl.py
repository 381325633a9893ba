"""kubectl unchanged: what people type, in every version that is installed, against a running lab."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e import kubectls
from tests.e2e.conftest import Lab, wait_for
from tests.e2e.kubectls import Kubectl, check_golden, fetch, first, normal

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

FULL = ("1.20", "1.27", "1.28", "1.29", "1.30", "1.31", "1.32", "1.33")

WORKLOADS = """
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http, name: http}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "example.com/web:1", ports: [{containerPort: 80, name: http}]}
      - {name: side, image: "busybox:1", command: [sh, -c, "echo side started; exec sleep 1000"]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 1
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: "example.com/db:1", ports: [{containerPort: 5432}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: one}, annotations: {note: kept}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: scratch, emptyDir: {}}]
  containers:
  - name: one
    image: "example.com/one:1"
    ports: [{containerPort: 80}]
    env: [{name: COLOR, value: green}]
    resources: {requests: {cpu: "1", memory: 16Mi}}
    volumeMounts: [{name: scratch, mountPath: /scratch}]
  - {name: talker, image: "busybox:1", command: [sh, -c, "echo first; while echo tick; do sleep 0.2; done"]}
"""
IGNORING = "trap '' TERM; while true; do sleep 0.1; done"
CREATED = ["service/web created", "deployment.apps/web created", "statefulset.apps/db created", "pod/one created"]


@pytest.fixture(scope="module", params=FULL)
def kubectl(request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """One version in a namespace in which the workloads above are ready."""
    found = kubectls.of(lab, request.param, tmp_path_factory.mktemp("kubectl"))
    found("create", "namespace", found.namespace)
    assert found.apply(WORKLOADS) == CREATED
    found("rollout", "status", "deployment/web", "--timeout=30s")
    found("rollout", "status", "statefulset/db", "--timeout=30s")
    found("wait", "pod/one", "--for=condition=Ready", "--timeout=30s")
    yield found
    found("delete", "namespace", found.namespace, "--wait=false")


# Reading.


def test_tables(kubectl: Kubectl, request: pytest.FixtureRequest) -> None:
    """The server's Tables are the same whatever asks for them."""
    texts = [
        kubectl("get", *what.split())
        for what in (
            "all",
            "all -o wide",
            "endpoints,configmaps,serviceaccounts",
            "endpointslices -o wide",
            "pods one --show-labels",
            "pods one -L app --no-headers",
            "pods,svc -l app=web -o name",
            "nodes -o wide",
        )
    ]
    wide = normal("\n".join(texts), NAMESPACE=kubectl.namespace)
    release = Path("/proc/sys/kernel/osrelease").read_text().strip()
    pretty = kubectl.path("node node-1", "{.status.nodeInfo.osImage}")
    check_golden(request, "tables", wide.replace(release, "KERNEL").replace(pretty, "OS"))


def test_forms_of_output(kubectl: Kubectl) -> None:
    pod = kubectl.json("pod", "one")
    assert (pod["kind"], pod["apiVersion"]) == ("Pod", "v1")
    assert "phase: Running" in kubectl("get", "pod", "one", "-o", "yaml")
    assert kubectl("get", "deployment", "web", "-o", "name") == "deployment.apps/web\n"
    assert kubectl("get", "pods", "-l", "app=one", "-o", "jsonpath={.items[*].metadata.name}") == "one"
    assert kubectl("get", "pods", "-l", "app=one", "-o", "go-template={{range .items}}{{.status.phase}}{{end}}") == (
        "Running"
    )
    columns = kubectl("get", "pod", "one", "-o", "custom-columns=NAME:.metadata.name,PHASE:.status.phase")
    assert columns.split() == ["NAME", "PHASE", "one", "Running"]
    (kubectl.folder / "columns").write_text("NAME\n.metadata.name\n")
    assert kubectl("get", "pod", "one", "-o", "custom-columns-file=columns").split() == ["NAME", "one"]
    assert kubectl("get", "--raw", "/healthz") == "ok"
    assert json.loads(kubectl("get", "--raw", f"/api/v1/namespaces/{kubectl.namespace}/pods/one"))["kind"] == "Pod"


def test_selecting_and_sorting(kubectl: Kubectl) -> None:
    node = kubectl.path("pod one", "{.spec.nodeName}")
    assert kubectl("get", "pods", "-l", "app in (one),app!=web", "-o", "name") == "pod/one\n"
    chosen = f"spec.nodeName={node},status.phase=Running,metadata.name=one"
    assert kubectl("get", "pods", "--field-selector", chosen, "-o", "name") == "pod/one\n"
    assert kubectl("get", "pods", "--field-selector", "status.phase!=Running", "-o", "name") == ""
    rows = kubectl("get", "pods", "-A", "--no-headers").splitlines()
    assert any(row.split()[:2] == [kubectl.namespace, "one"] for row in rows)
    names = kubectl("get", "pods", "--sort-by=.metadata.name", "-o", "name").split()
    # kubectl compares runs of digits by their value.
    natural = [[int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)] for name in names]
    assert natural == sorted(natural) and len(names) == 4
    assert kubectl("get", "pods", "one", "nobody", "--ignore-not-found", "-o", "name") == "pod/one\n"
    assert 'pods "nobody" not found' in kubectl.refused("get", "pod", "nobody")
    assert "doesn't have a resource type" in kubectl.refused("get", "nonsense")
    assert kubectl.run("get", "jobs").stderr == f"No resources found in {kubectl.namespace} namespace.\n"


def test_watching(kubectl: Kubectl) -> None:
    with kubectl.started("get", "configmaps", "-l", "watched=yes", "--watch", "-o", "name") as process:
        kubectl("create", "configmap", "watched")
        kubectl("label", "configmap", "watched", "watched=yes")
        assert first(process, "configmap/watched")
    with kubectl.started("get", "configmap", "watched", "--watch", "--output-watch-events") as process:
        assert "ADDED" in first(process, "watched")
        kubectl("annotate", "configmap", "watched", "x=y")
        assert "MODIFIED" in first(process, "watched")
        kubectl("delete", "configmap", "watched")
        assert "DELETED" in first(process, "watched")


def test_describing(kubectl: Kubectl, request: pytest.FixtureRequest) -> None:
    texts = [kubectl("describe", *what.split()) for what in ("pod one", "deployment web", "service web", "sts db")]
    described = normal("\n".join(texts), NAMESPACE=kubectl.namespace)
    # Its endpoints come in the order of their addresses, its events as fast as the machine is.
    check_golden(request, f"describe-{request.node.callspec.params['kubectl']}", described)
    node = kubectl("describe", "node", "node-1")
    for part in ("Allocated resources:", "PodCIDRs:", "KubeletReady", "topology.kubernetes.io/zone=zone-a"):
        assert part in node
    assert "Name:         " in kubectl("describe", "namespace", kubectl.namespace)


def test_events(kubectl: Kubectl) -> None:
    told = kubectl("get", "events", "--field-selector", "involvedObject.name=one", "--no-headers").splitlines()
    reasons = [line.split()[2] for line in told]
    assert reasons == ["Scheduled", "Pulled", "Created", "Started", "Pulled", "Created", "Started"]
    assert "Successfully assigned" in kubectl("get", "events", "--sort-by=.lastTimestamp")
    if kubectl.version >= (1, 26):
        assert "Started container talker" in kubectl("events", "--for", "pod/one")


def test_what_the_server_says_of_itself(kubectl: Kubectl) -> None:
    assert "Server Version" in kubectl("version")
    assert "is running at" in kubectl("cluster-info")
    assert "fairlead" in kubectl("config", "view")
    resources = kubectl("api-resources", "--no-headers")
    assert {"pods", "deployments", "ingresses", "networkpolicies"} <= {
        line.split()[0] for line in resources.splitlines()
    }
    assert {"v1", "apps/v1", "networking.k8s.io/v1"} <= set(kubectl("api-versions").split())
    assert "containerPort" in kubectl("explain", "pod.spec.containers.ports")
    assert "replicas" in kubectl("explain", "deployment", "--recursive")
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "*.*" in kubectl("auth", "can-i", "--list")
    if kubectl.version >= (1, 28):  # before, by a version that current servers have dropped
        assert "kubernetes-admin" in kubectl("auth", "whoami")
    assert "Metrics API not available" in kubectl.refused("top", "nodes")


# Applying.


def test_applying(kubectl: Kubectl) -> None:
    (kubectl.folder / "workloads.yaml").write_text(WORKLOADS)
    before = kubectl.path("deployment web", "{.metadata.resourceVersion}")
    pod = kubectl.path("pod one", "{.spec}")
    again = kubectl("apply", "-f", "workloads.yaml").splitlines()
    # kubectl sends the order of the pod's volumes, one of which it did not write itself; nothing changes by that.
    assert again == [
        line.replace("created", "configured" if line.startswith("pod/") else "unchanged") for line in CREATED
    ]
    assert kubectl.path("pod one", "{.spec}") == pod
    assert kubectl.run("diff", "-f", "workloads.yaml").stdout == ""
    changed = WORKLOADS.replace("replicas: 2", "replicas: 3")
    difference = kubectl("diff", "-f", "-", given=changed, code=1)
    assert "-  replicas: 2" in difference and "+  replicas: 3" in difference
    dry = kubectl.apply(changed, "--dry-run=server")
    assert dry[1] == "deployment.apps/web configured (server dry run)"
    assert kubectl.path("deployment web", "{.metadata.resourceVersion}") >= before
    assert kubectl.path("deployment web", "{.spec.replicas}") == "2"
    assert kubectl.apply(changed)[1] == "deployment.apps/web configured"
    assert kubectl.path("deployment web", "{.spec.replicas}") == "3"
    assert kubectl.apply(WORKLOADS)[1] == "deployment.apps/web configured"
    assert "view-last-applied" in kubectl("apply", "-h")
    assert "replicas: 2" in kubectl("apply", "view-last-applied", "deployment/web")


def test_applying_by_the_server(kubectl: Kubectl) -> None:
    one = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: owned}\ndata: {a: %s}\n"
    assert kubectl.apply(one % "one", "--server-side") == ["configmap/owned serverside-applied"]
    assert kubectl.apply(one % "one", "--server-side") == ["configmap/owned serverside-applied"]
    refused = kubectl.refused("apply", "-f", "-", "--server-side", "--field-manager=another", given=one % "two")
    assert "conflict" in refused and ".data.a" in refused
    kubectl.apply(one % "two", "--server-side", "--field-manager=another", "--force-conflicts")
    assert kubectl.path("configmap owned", "{.data.a}") == "two"


def test_creating(kubectl: Kubectl, tmp_path: Path) -> None:
    certificate(tmp_path)
    for line, said in (
        ("configmap settings --from-literal=a=b --from-literal=c=d", "configmap/settings"),
        ("secret generic password --from-literal=password=x", "secret/password"),
        (f"secret tls pair --cert={tmp_path}/crt --key={tmp_path}/key", "secret/pair"),
        ("deployment made --image=example.com/made:1 --replicas=2", "deployment.apps/made"),
        ("service clusterip inner --tcp=80:8080", "service/inner"),
        ("service nodeport outer --tcp=80:8080", "service/outer"),
        ("service externalname far --external-name=example.com", "service/far"),
        ("serviceaccount worker", "serviceaccount/worker"),
        ("quota most --hard=pods=100", "resourcequota/most"),
        ("role reader --verb=get --resource=pods", "role.rbac.authorization.k8s.io/reader"),
        (
            f"rolebinding reading --role=reader --serviceaccount={kubectl.namespace}:worker",
            "rolebinding.rbac.authorization.k8s.io/reading",
        ),
        ("ingress door --rule=example.com/=web:80", "ingress.networking.k8s.io/door"),
        ("job greet --image=busybox -- echo hello", "job.batch/greet"),
    ):
        assert kubectl("create", *line.split()) == f"{said} created\n"
    assert 'configmaps "settings" already exists' in kubectl.refused("create", "configmap", "settings")
    if kubectl.version >= (1, 21):
        # Before, kubectl made these in versions that current servers have dropped.
        kubectl("create", "cronjob", "often", "--image=busybox", "--schedule=*/5 * * * *", "--", "true")
        kubectl("create", "job", "now", "--from=cronjob/often")
        kubectl("create", "poddisruptionbudget", "guard", "--selector=app=web", "--min-available=1")
    kubectl("wait", "job/greet", "--for=condition=complete", "--timeout=20s")
    assert kubectl("logs", "job/greet") == "hello\n"
    assert "1 Succeeded" in kubectl("describe", "job", "greet")
    kubectl("rollout", "status", "deployment/made", "--timeout=20s")
    assert "example.com" in kubectl("get", "ingress", "door")
    assert "password:  1 byte" in kubectl("describe", "secret", "password")
    kubectl("delete", "deployment/made", "service/inner", "service/far", "job/greet", "secret/pair", "quota/most")
    kubectl("create", "-f", "-", given="apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: some-}\n")
    assert "configmap/some-" in kubectl("get", "configmaps", "-o", "name")


def certificate(folder: Path) -> None:
    """Write a self-signed certificate as `crt` and `key`."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-subj", "/CN=example.com", "-keyout", str(folder / "key"), "-out", str(folder / "crt")],
        check=True,
        capture_output=True,
    )


# Changing.


def test_labels_and_annotations(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "marked")
    kubectl("label", "configmap", "marked", "color=red")
    assert "--overwrite is false" in kubectl.refused("label", "configmap", "marked", "color=blue")
    kubectl("label", "configmap", "marked", "color=blue", "--overwrite")
    assert kubectl("get", "configmaps", "-l", "color=blue", "-o", "name") == "configmap/marked\n"
    kubectl("label", "configmap", "marked", "color-")
    assert kubectl("get", "configmaps", "-l", "color", "-o", "name") == ""
    kubectl("annotate", "configmap", "marked", "note=read me")
    assert kubectl.path("configmap marked", "{.metadata.annotations.note}") == "read me"
    kubectl("annotate", "configmap", "marked", "note-")
    assert "not_a label" in kubectl.refused("label", "configmap", "marked", "x=not_a label")


def test_patching_editing_replacing(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "words", "--from-literal=a=0", "--from-literal=b=0")
    kubectl("patch", "configmap", "words", "-p", '{"data": {"a": "strategic"}}')
    kubectl("patch", "configmap", "words", "--type=merge", "-p", '{"data": {"b": null, "c": "merge"}}')
    kubectl("patch", "configmap", "words", "--type=json", "-p", '[{"op": "add", "path": "/data/d", "value": "json"}]')
    assert kubectl.json("configmap", "words")["data"] == {"a": "strategic", "c": "merge", "d": "json"}
    assert kubectl("edit", "configmap", "words", EDITOR="sed -i s/strategic/edited/") == "configmap/words edited\n"
    assert kubectl.path("configmap words", "{.data.a}") == "edited"
    unedited = kubectl.run("edit", "configmap", "words", EDITOR="true")
    assert "no changes made" in unedited.stdout + unedited.stderr
    (kubectl.folder / "words.yaml").write_text(kubectl("get", "configmap", "words", "-o", "yaml"))
    assert kubectl("replace", "-f", "words.yaml") == "configmap/words replaced\n"
    assert kubectl("replace", "--force", "-f", "words.yaml").splitlines()[-1] == "configmap/words replaced"
    stale = kubectl("get", "configmap", "words", "-o", "yaml")
    kubectl("patch", "configmap", "words", "-p", '{"data": {"a": "newer"}}')
    assert "the object has been modified" in kubectl.refused("replace", "-f", "-", given=stale)


def test_scaling_and_rolling(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "app", "--image=example.com/app:1")
    kubectl("scale", "deployment/app", "--replicas=2")
    assert "Expected replicas to be 9" in kubectl.refused(
        "scale", "deployment/app", "--replicas=1", "--current-replicas=9"
    )
    kubectl("rollout", "status", "deployment/app", "--timeout=20s")
    kubectl("set", "image", "deployment/app", "app=example.com/app:2")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/app", "--timeout=20s")
    history = kubectl("rollout", "history", "deployment/app").split()
    assert history[-4:] == ["1", "<none>", "2", "<none>"]
    assert "example.com/app:2" in kubectl("rollout", "history", "deployment/app", "--revision=2")
    kubectl("rollout", "undo", "deployment/app")
    kubectl("rollout", "status", "deployment/app", "--timeout=20s")
    assert kubectl.path("deployment app", "{.spec.template.spec.containers[0].image}") == "example.com/app:1"
    kubectl("rollout", "pause", "deployment/app")
    kubectl("set", "env", "deployment/app", "COLOR=blue")
    kubectl("set", "resources", "deployment/app", "--requests=cpu=1m")
    assert "paused" in kubectl.refused("rollout", "restart", "deployment/app")
    kubectl("rollout", "resume", "deployment/app")
    kubectl("rollout", "restart", "deployment/app")
    kubectl("rollout", "status", "deployment/app", "--timeout=20s")
    assert "COLOR=blue" in kubectl("set", "env", "deployment/app", "--list")
    # kubectl may choose a pod that is about to end.
    wait_for(
        lambda: len(kubectl("get", "pods", "-l", "app=app", "-o", "name").split()) == 2, "the end of the former pods"
    )
    assert kubectl("exec", "deployment/app", "--", "printenv", "COLOR") == "blue\n"
    kubectl("autoscale", "deployment", "app", "--min=1", "--max=3", "--cpu-percent=70")
    assert "/70%" in kubectl("get", "hpa", "app")
    assert "Max replicas:" in kubectl("describe", "hpa", "app")
    kubectl("scale", "statefulset/db", "--replicas=2")
    kubectl("rollout", "status", "statefulset/db", "--timeout=20s")
    kubectl("scale", "statefulset/db", "--replicas=1")
    kubectl("delete", "deployment/app", "hpa/app")


def test_exposing_and_running(kubectl: Kubectl) -> None:
    kubectl("expose", "deployment", "web", "--name=seen", "--port=8080", "--target-port=http", "--type=NodePort")
    service = kubectl.json("service", "seen")["spec"]
    assert (service["type"], service["selector"]) == ("NodePort", {"app": "web"})
    kubectl("set", "selector", "service/seen", "app=one")
    kubectl("run", "runner", "--image=example.com/x:1", "--port=80", "--labels=app=runner")
    kubectl("wait", "pod/runner", "--for=condition=Ready", "--timeout=20s")
    kubectl("expose", "pod", "runner", "--port=80")
    wait_for(lambda: kubectl.path("endpoints runner", "{.subsets[0].addresses[0].ip}"), "endpoints of the pod")
    failed = ("run", "failed", "--image=busybox", "--restart=Never", "--", "sh", "-c", "echo out; exit 3")
    assert kubectl(*failed) == "pod/failed created\n"
    wait_for(lambda: kubectl.path("pod failed", "{.status.phase}") == "Failed", "the end of the pod")
    assert kubectl.path("pod failed", "{.status.containerStatuses[0].state.terminated.exitCode}") == "3"
    assert kubectl("logs", "failed") == "out\n"
    interactive = ("run", "echoing", "--image=busybox", "--restart=Never", "--rm", "-i", "--quiet", "--", "cat")
    assert kubectl(*interactive, given="hello\n").startswith("hello\n")
    kubectl("delete", "pod/runner", "pod/failed", "service/seen", "service/runner", "--wait=false")


def test_waiting(kubectl: Kubectl) -> None:
    assert "condition met" in kubectl("wait", "deployment/web", "--for=condition=Available", "--timeout=10s")
    timed_out = kubectl.refused("wait", "pod/one", "--for=condition=Nonsense", "--timeout=1s")
    assert "timed out waiting" in timed_out
    if kubectl.version >= (1, 23):
        kubectl("wait", "pod/one", "--for=jsonpath={.status.phase}=Running", "--timeout=10s")
    kubectl("run", "slow", "--image=busybox", "--", "sh", "-c", IGNORING)
    kubectl("wait", "pod/slow", "--for=condition=Ready", "--timeout=20s")
    kubectl("delete", "pod", "slow", "--grace-period=3", "--wait=false")
    kubectl("wait", "pod/slow", "--for=delete", "--timeout=20s")


def test_deleting(kubectl: Kubectl) -> None:
    both = "apiVersion: v1\nkind: List\nitems:\n" + "".join(
        f"- {{apiVersion: v1, kind: ConfigMap, metadata: {{name: gone-{name}, labels: {{gone: 'yes'}}}}}}\n"
        for name in "ab"
    )
    kubectl.apply(both)
    assert kubectl("delete", "-f", "-", given=both).splitlines() == [
        'configmap "gone-a" deleted',
        'configmap "gone-b" deleted',
    ]
    assert "not found" in kubectl.refused("delete", "-f", "-", given=both)
    assert kubectl("delete", "-f", "-", "--ignore-not-found", given=both) == ""
    kubectl.apply(both)
    kubectl("delete", "configmaps", "-l", "gone=yes")
    assert kubectl("get", "configmaps", "-l", "gone=yes", "-o", "name") == ""
    kubectl("create", "deployment", "parent", "--image=example.com/x:1")
    wait_for(lambda: kubectl("get", "rs", "-l", "app=parent", "-o", "name"), "the ReplicaSet")
    kubectl("delete", "deployment", "parent", "--cascade=orphan")
    assert kubectl("get", "rs", "-l", "app=parent", "-o", "name").startswith("replicaset.apps/parent-")
    kubectl("delete", "rs", "-l", "app=parent", "--cascade=foreground")
    assert kubectl("get", "pods", "-l", "app=parent", "-o", "name") == ""
    kubectl("run", "stubborn", "--image=busybox", "--", "sh", "-c", IGNORING)
    kubectl("wait", "pod/stubborn", "--for=condition=Ready", "--timeout=20s")
    began = time.monotonic()
    forced = kubectl.run("delete", "pod", "stubborn", "--grace-period=0", "--force")
    assert "force deleted" in forced.stdout and time.monotonic() - began < 10


# Inside of pods.


def test_executing(kubectl: Kubectl) -> None:
    assert kubectl("exec", "one", "-c", "one", "--", "hostname") == "one\n"
    assert kubectl("exec", "-i", "one", "-c", "one", "--", "cat", given="through stdin\n") == "through stdin\n"
    failed = kubectl.run("exec", "one", "-c", "one", "--", "sh", "-c", "echo err >&2; exit 7", code=7)
    assert failed.stderr.startswith("err\n")
    assert kubectl("exec", "deployment/web", "-c", "side", "--", "echo", "hi") == "hi\n"
    assert "Default" in kubectl.run("exec", "one", "--", "true").stderr
    assert "executable file not found" in kubectl.refused("exec", "one", "-c", "one", "--", "no-such-program")
    assert "container nobody is not valid for pod one" in kubectl.refused("exec", "one", "-c", "nobody", "--", "true")
    assert 'pods "nobody" not found' in kubectl.refused("exec", "nobody", "--", "true")
    code, said = kubectl.on_terminal("exec", "-it", "one", "-c", "one", "--", "sh", "-c", "tty; exit 5")
    assert code == 5 and "/dev/pts/" in said
    big = "0123456789abcde\n" * 65536
    assert kubectl("exec", "-i", "one", "-c", "one", "--", "cat", given=big) == big


def test_logs(kubectl: Kubectl) -> None:
    assert kubectl("logs", "deployment/web", "-c", "side") == "side started\n"
    assert kubectl("logs", "one", "-c", "talker", "--tail=2") == "tick\ntick\n"
    assert kubectl("logs", "one", "-c", "talker", "--limit-bytes=5") == "first"
    assert "first" in kubectl("logs", "one", "--all-containers", "--prefix")
    stamped = kubectl("logs", "one", "-c", "talker", "--timestamps", "--tail=1")
    assert normal(stamped) == "TIME tick\n"
    assert 0 < len(kubectl("logs", "one", "-c", "talker", "--since=2s").splitlines()) <= 12
    assert kubectl("logs", "-l", "app=web", "-c", "side", "--prefix").count("side started") == 2
    with kubectl.started("logs", "-f", "one", "-c", "talker", "--tail=0") as process:
        assert [first(process, "tick") for _ in range(3)]
    assert "is not valid for pod" in kubectl.refused("logs", "one", "-c", "nobody")
    kubectl("run", "again", "--image=busybox", "--", "sh", "-c", "echo attempt; exit 1")
    wait_for(
        lambda: kubectl.path("pod again", "{.status.containerStatuses[0].restartCount}") not in ("", "0"), "restart"
    )
    assert kubectl("logs", "again", "-p") == "attempt\n"
    kubectl("delete", "pod", "again", "--wait=false")


def test_forwarding(kubectl: Kubectl) -> None:
    for target, port in (("pod/one", 80), ("deployment/web", 80), ("service/web", 80)):
        with kubectl.forwarded(target, port) as url:
            for _ in range(2):
                assert json.loads(fetch(url))["namespace"] == kubectl.namespace
    with kubectl.started("port-forward", "pod/one", ":81") as process:
        url = f"http://127.0.0.1:{first(process, '127.0.0.1').split(':')[1].split()[0]}"
        with pytest.raises((urllib.error.URLError, OSError)):
            fetch(url)
        assert "connection refused" in first(process, "error occurred forwarding")


def test_attaching_and_copying(kubectl: Kubectl) -> None:
    with kubectl.started("attach", "one", "-c", "talker") as process:
        assert [first(process, "tick") for _ in range(3)]
    (kubectl.folder / "up").mkdir()
    (kubectl.folder / "up" / "file").write_text("content\n" * 10000)
    kubectl("cp", "up", f"{kubectl.namespace}/one:/scratch/there", "-c", "one")
    assert kubectl("exec", "one", "-c", "one", "--", "wc", "-l", "/scratch/there/file").split()[0] == "10000"
    kubectl("cp", "one:/scratch/there/file", "down", "-c", "one")
    assert (kubectl.folder / "down").read_text() == "content\n" * 10000


def test_debugging(kubectl: Kubectl) -> None:
    if kubectl.version < (1, 23):
        pytest.skip("kubectl before 1.23 sends a kind that current servers have dropped")
    kubectl("debug", "one", "--image=busybox", "-c", "look", "--", "sh", "-c", "echo looking; exec sleep 100")
    state = "{.status.ephemeralContainerStatuses[0].state.running.startedAt}"
    wait_for(lambda: kubectl.path("pod one", state), "the ephemeral container")
    assert kubectl("logs", "one", "-c", "look") == "looking\n"


def test_the_proxy(kubectl: Kubectl) -> None:
    with kubectl.started("proxy", "--port=0") as process:
        url = "http://" + first(process, "Starting to serve on").split()[-1]
        assert json.loads(fetch(f"{url}/version"))["major"] == "1"
        space = f"{url}/api/v1/namespaces/{kubectl.namespace}"
        assert json.loads(fetch(f"{space}/pods/one:80/proxy/path"))["path"] == "/path"
        assert json.loads(fetch(f"{space}/services/web:http/proxy/"))["namespace"] == kubectl.namespace


# Nodes.


def test_taints_and_drains(kubectl: Kubectl) -> None:
    node = "node-4"
    kubectl("create", "deployment", "moved", "--image=example.com/x:1")
    pin = '{"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "node-4"}}}}}'
    kubectl("patch", "deployment", "moved", "-p", pin)
    kubectl("rollout", "status", "deployment/moved", "--timeout=20s")
    try:
        assert kubectl("taint", "node", node, "key=value:NoSchedule") == f"node/{node} tainted\n"
        assert "key=value:NoSchedule" in kubectl("describe", "node", node)
        kubectl("taint", "node", node, "key-")
        kubectl("cordon", node)
        assert "Ready,SchedulingDisabled" in kubectl("get", "node", node)
        drained = kubectl(
            "drain", node, "--ignore-daemonsets", "--force", "--delete-emptydir-data",
            "--pod-selector=app=moved", "--timeout=30s",
        )  # fmt: skip
        assert "evicted" in drained
        wait_for(lambda: "Pending" in kubectl("get", "pods", "-l", "app=moved"), "a pod without a node")
        assert "unschedulable" in kubectl("get", "events")
    finally:
        kubectl("uncordon", node)
    kubectl("rollout", "status", "deployment/moved", "--timeout=20s")
    kubectl("delete", "deployment", "moved", "--wait=false")


# What a shell would run, whatever it is.


def test_what_a_shell_would_run(lab: Lab, tmp_path: Path) -> None:
    kubectl = kubectls.of(lab, "PATH", tmp_path)
    kubectl("create", "namespace", kubectl.namespace)
    try:
        assert kubectl.apply(WORKLOADS) == CREATED
        kubectl("wait", "pod/one", "--for=condition=Ready", "--timeout=30s")
        kubectl("rollout", "status", "deployment/web", "--timeout=30s")
        assert kubectl.apply(WORKLOADS)[1] == "deployment.apps/web unchanged"
        assert "2/2" in kubectl("get", "all", "-o", "wide")
        assert "Started container" in kubectl("describe", "pod", "one")
        kubectl("create", "configmap", "settings", "--from-literal=a=b")
        assert kubectl("exec", "-i", "one", "-c", "one", "--", "cat", given="hi") == "hi"
        assert "first" in kubectl("logs", "one", "-c", "talker")
        with kubectl.forwarded("service/web", 80) as url:
            assert json.loads(fetch(url))["namespace"] == kubectl.namespace
        kubectl("scale", "deployment/web", "--replicas=1")
        kubectl("delete", "pod", "one", "--wait=false")
    finally:
        kubectl("delete", "namespace", kubectl.namespace, "--wait=false")

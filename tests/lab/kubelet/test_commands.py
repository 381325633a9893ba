from __future__ import annotations

import pytest

from fairlead.lab.kubelet.commands import choose, is_agnhost, responder_ports
from fairlead.lab.kubelet.pod import decode

JOB = {"ownerReferences": [{"kind": "Job", "name": "j"}]}


def pod(container, *, init=False, metadata=None, **more):
    main = {"name": "main", "image": "i"}
    spec = {"containers": [main, *more.pop("others", ())] if init else [container, *more.pop("others", ())]}
    if init:
        spec["initContainers"] = [container]
    return decode({"metadata": {"name": "p", **(metadata or {})}, "spec": {**spec, **more}})


def chosen(container, *, strict=False, missing=False, **more):
    subject = pod({"name": "app", "image": "nginx", **container}, **more)
    own = subject.container("app")
    found = choose(
        subject, own, {"PORT": "80"}, strict=strict, exists=lambda argv: argv[0] in ("sh", "/bin/cat"), missing=missing
    )
    return found.argv, found.image_id.removeprefix("fairlead://"), bool(found.warning)


CASES = {
    "no command": (chosen({}), (None, "responder", False)),
    "args alone are the image's": (chosen({"args": ["--x"]}), (None, "responder", False)),
    "args alone, an unknown word": (chosen({"args": ["serve"]}), (None, "responder", False)),
    "args alone, a program of the host": (chosen({"args": ["sh", "-c", "x"]}), (("sh", "-c", "x"), "host", False)),
    "Job with args alone": (chosen({"args": ["sh"]}, metadata=JOB), (("sh",), "host", False)),
    "interactive without command": (chosen({"stdin": True, "tty": True}), (("sh",), "host", False)),
    "command on the host": (
        chosen({"command": ["sh", "-c"], "args": ["echo $(PORT)"]}),
        (("sh", "-c", "echo 80"), "host", False),
    ),
    "command not on the host": (chosen({"command": ["/app/run"]}), (None, "responder", True)),
    "the same, strict": (chosen({"command": ["/app/run"]}, strict=True), (("/app/run",), "host", False)),
    "a shell that did not find it": (
        chosen({"command": ["sh", "-c", "exec /app/run"]}, missing=True),
        (None, "responder", True),
    ),
    "init without command": (chosen({}, init=True), (("true",), "nothing", True)),
    "init with absent command": (chosen({"command": ["/app/run"]}, init=True), (("true",), "nothing", True)),
    "sidecar without command": (chosen({"restartPolicy": "Always"}, init=True), (None, "responder", False)),
    "Job without command": (chosen({}, metadata=JOB), (("true",), "nothing", True)),
    "agnhost": (
        chosen({"image": "registry.k8s.io/e2e/agnhost:2.45@sha256:00", "args": ["netexec"]}),
        (("/agnhost", "netexec"), "agnhost", False),
    ),
    "agnhost without args": (chosen({"image": "agnhost"}), (("/agnhost", "pause"), "agnhost", False)),
    "agnhost by command": (
        chosen({"command": ["/agnhost", "netexec"]}, strict=True),
        (("/agnhost", "netexec"), "agnhost", False),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_choice(case):
    found, expected = CASES[case]
    assert found == expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [("agnhost", True), ("localhost:5000/agnhost:1", True), ("x/agnhost-extra", False), ("agnhost/x", False)],
)
def test_agnhost_by_its_name(image, expected):
    assert is_agnhost(image) is expected


def test_the_responder_answers_where_probes_ask():
    container = {
        "name": "app",
        "ports": [{"name": "web", "containerPort": 80}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}],
        "readinessProbe": {"httpGet": {"port": "web"}},
        "livenessProbe": {"tcpSocket": {"port": 9999}},
        "startupProbe": {"grpc": {"port": 7000}},
    }
    other = {"name": "other", "ports": [{"containerPort": 7000}]}
    subject = pod(container, others=[other])
    assert responder_ports(subject, subject.spec.containers[0]) == (
        ("web", 80, "TCP"),
        ("dns", 53, "UDP"),
        ("", 9999, "TCP"),
    )

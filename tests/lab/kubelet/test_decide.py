"""Every case: a pod, what is seen of it, and the actions in words."""

from __future__ import annotations

import pytest

from fairlead.lab.kubelet.decide import Doom, Ending, Seen, decide, should_restart
from fairlead.lab.kubelet.pod import decode

NOW = 1000.0
RUNNING = Seen(attempt=0, phase="running", started=True)
STARTING = Seen(attempt=0, phase="running")
HOOKED = Seen(attempt=0, phase="running", hook_pending=True)
STOPPING = Seen(attempt=0, phase="running", started=True, stopping=True)


def done(code=0, attempt=0, retry_at=0.0):
    return Seen(attempt=attempt, phase="exited", exit_code=code, retry_at=retry_at)


def pod(*main, init=(), policy="Always", **spec):
    def container(name):
        found = {"name": name.rstrip("*+"), "image": "i"}
        if name.endswith("*"):
            found["restartPolicy"] = "Always"
        if name.endswith("+"):
            found["lifecycle"] = {"postStart": {"sleep": {"seconds": 1}}}
        return found

    return decode(
        {
            "metadata": {"name": "p", "uid": "u"},
            "spec": {
                "containers": [container(name) for name in main],
                "initContainers": [container(name) for name in init],
                "restartPolicy": policy,
                **spec,
            },
        }
    )


def words(decision):
    found = []
    for action in decision.actions:
        kind = type(action).__name__
        match kind:
            case "Start":
                found.append(f"start {action.container}/{action.attempt}")
            case "Stop":
                found.append(f"stop {action.container} {action.grace_s:g}s")
            case "Finish":
                found.append(f"finish {action.phase}" + (f" {action.reason}" if action.reason else ""))
            case _:
                found.append(kind)
    if decision.wake_at is not None:
        found.append(f"wake +{decision.wake_at - NOW:g}s")
    return ", ".join(found)


SIDE = {"init": ("setup", "proxy*", "late"), "policy": "Never"}

RUN = {
    "nothing yet": (pod("a"), False, {}, "CreateSandbox"),
    "attached": (pod("a", "b"), True, {}, "start a/0, start b/0"),
    "running": (pod("a"), True, {"a": RUNNING}, ""),
    "created counts as alive": (pod("a"), True, {"a": Seen(attempt=0, phase="created")}, ""),
    "postStart holds the next back": (pod("a+", "b"), True, {}, "start a/0"),
    "postStart pending": (pod("a+", "b"), True, {"a": HOOKED}, ""),
    "postStart done": (pod("a+", "b"), True, {"a": RUNNING}, "start b/0"),
    "ended well, Always": (pod("a"), True, {"a": done()}, "start a/1"),
    "ended badly, OnFailure": (pod("a", policy="OnFailure"), True, {"a": done(1, 4)}, "start a/5"),
    "ended well, OnFailure": (pod("a", policy="OnFailure"), True, {"a": done()}, "finish Succeeded"),
    "ended badly, Never": (pod("a", policy="Never"), True, {"a": done(2)}, "finish Failed"),
    "one of two ended, Never": (pod("a", "b", policy="Never"), True, {"a": done(2), "b": RUNNING}, ""),
    "backing off": (pod("a"), True, {"a": done(1, retry_at=NOW + 7)}, "wake +7s"),
    "doomed": (
        pod("a"),
        True,
        {"a": Seen(attempt=0, phase="running", doomed=Doom(message="m"))},
        "stop a 30s",
    ),
    "doomed with its own grace": (
        pod("a"),
        True,
        {"a": Seen(attempt=0, phase="running", doomed=Doom(message="m", grace_s=3))},
        "stop a 3s",
    ),
    "doomed and being stopped": (
        pod("a"),
        True,
        {"a": Seen(attempt=0, phase="running", doomed=Doom(message="m"), stopping=True)},
        "",
    ),
    "first init": (pod("a", **SIDE), True, {}, "start setup/0"),
    "init runs": (pod("a", **SIDE), True, {"setup": RUNNING}, ""),
    "sidecar follows init": (pod("a", **SIDE), True, {"setup": done()}, "start proxy/0"),
    "sidecar is starting": (pod("a", **SIDE), True, {"setup": done(), "proxy": STARTING}, ""),
    "init follows a started sidecar": (pod("a", **SIDE), True, {"setup": done(), "proxy": RUNNING}, "start late/0"),
    "main follows the last init": (
        pod("a", **SIDE),
        True,
        {"setup": done(), "proxy": RUNNING, "late": done()},
        "start a/0",
    ),
    "sidecar crashed early": (pod("a", **SIDE), True, {"setup": done(), "proxy": done(1)}, "start proxy/1"),
    "sidecar crashed late": (
        pod("a", **SIDE),
        True,
        {"setup": done(), "proxy": done(1, 2), "late": done(), "a": RUNNING},
        "start proxy/3",
    ),
    "init failed, Never": (pod("a", **SIDE), True, {"setup": done(1)}, "finish Failed"),
    "init failed, Always": (pod("a", init=("setup",)), True, {"setup": done(1)}, "start setup/1"),
    "sandbox lost, main ended": (pod("a"), False, {"a": done(137)}, "CreateSandbox"),
    "sandbox lost, nothing to restart": (pod("a", policy="Never"), False, {"a": done(137)}, "finish Failed"),
    "deadline ahead": (pod("a", activeDeadlineSeconds=60), True, {"a": RUNNING}, "wake +50s"),
    "deadline passed": (
        pod("a", activeDeadlineSeconds=5),
        True,
        {"a": RUNNING},
        "finish Failed DeadlineExceeded",
    ),
    "ephemeral": (
        pod("a", ephemeralContainers=[{"name": "debug"}]),
        True,
        {"a": RUNNING},
        "start debug/0",
    ),
    "ephemeral never again": (
        pod("a", ephemeralContainers=[{"name": "debug"}]),
        True,
        {"a": RUNNING, "debug": done(1)},
        "",
    ),
}


@pytest.mark.parametrize("case", RUN)
def test_running(case):
    spec, sandbox, seen, expected = RUN[case]
    decision = decide(spec, sandbox=sandbox, seen=seen, ending=None, started_at=NOW - 10, now=NOW)
    assert words(decision) == expected


ALL = {"setup": done(), "proxy": RUNNING, "late": done(), "a": RUNNING}
END = {
    "never attached": (pod("a"), False, {}, "Farewell"),
    "attached, nothing runs": (pod("a"), True, {"a": done()}, "RemoveSandbox, Farewell"),
    "all mains at once": (pod("a", "b"), True, {"a": RUNNING, "b": RUNNING}, "stop a 20s, stop b 20s"),
    "one is being stopped": (pod("a", "b"), True, {"a": STOPPING, "b": RUNNING}, "stop b 20s"),
    "sidecars wait": (pod("a", **SIDE), True, ALL, "stop a 20s"),
    "then sidecars": (pod("a", **SIDE), True, {**ALL, "a": done()}, "stop proxy 20s"),
    "sidecars in reverse": (
        pod("a", init=("one*", "two*")),
        True,
        {"one": RUNNING, "two": RUNNING, "a": done()},
        "stop two 20s",
    ),
    "the next when the last is gone": (
        pod("a", init=("one*", "two*")),
        True,
        {"one": RUNNING, "two": done(), "a": done()},
        "stop one 20s",
    ),
    "a running init stops with the mains": (pod("a", init=("setup",)), True, {"setup": RUNNING}, "stop setup 20s"),
}


@pytest.mark.parametrize("case", END)
def test_ending(case):
    spec, sandbox, seen, expected = END[case]
    decision = decide(spec, sandbox=sandbox, seen=seen, ending=Ending(kill_at=NOW + 20), started_at=NOW - 10, now=NOW)
    assert words(decision) == expected


RULES = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]


@pytest.mark.parametrize(
    ("container", "policy", "code", "expected"),
    [
        ({}, "Never", 42, False),
        ({"restartPolicyRules": RULES}, "Never", 42, True),
        ({"restartPolicyRules": RULES}, "Never", 1, False),
        ({"restartPolicy": "Never"}, "Always", 1, False),
        ({"restartPolicy": "OnFailure"}, "Never", 1, True),
    ],
)
def test_restart_rules(container, policy, code, expected):
    spec = {"containers": [{"name": "a", **container}], "restartPolicy": policy}
    subject = decode({"metadata": {"name": "p"}, "spec": spec})
    assert should_restart(subject, subject.spec.containers[0], code) is expected

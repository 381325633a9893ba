from __future__ import annotations

import copy

import pytest

from fairlead.lab.kubelet.decide import Finish
from fairlead.lab.kubelet.pod import decode
from fairlead.lab.kubelet.status import Report, Situation, container_id, patch_between, pod_status, timestamp

NOW = 1767225600.0
START = timestamp(NOW)
UP = Report(attempt=0, phase="running", started_at=NOW, started=True, ready=True, image_id="fairlead://responder")


def ended(code=0, attempt=0, **more):
    return Report(attempt=attempt, phase="exited", exit_code=code, started_at=NOW, finished_at=NOW + 1, **more)


def pod(*main, init=(), **spec):
    def container(name):
        return {"name": name.rstrip("*"), "image": "i", **({"restartPolicy": "Always"} if name.endswith("*") else {})}

    return decode(
        {
            "metadata": {"name": "web", "uid": "u", "generation": 3, "deletionTimestamp": spec.pop("deleted", None)},
            "spec": {
                "containers": [container(name) for name in main],
                "initContainers": [container(name) for name in init],
                **spec,
            },
        }
    )


def status(subject, reports, former=None, now=NOW, **situation):
    given = {"attached": True, "pod_ips": ("10.0.0.1", "fd00::1"), "host_ips": ("10.10.0.11",), "initialized": True}
    return pod_status(subject, former or {}, Situation(reports=reports, **(given | situation)), now)


def brief(found):
    """The status as `kubectl get` would show it."""
    states = []
    for entry in found.get("initContainerStatuses", []) + found["containerStatuses"]:
        kind, state = next(iter(entry["state"].items()))
        states.append(f"{entry['name']}:{kind}" + (f"={state['reason']}" if "reason" in state else ""))
    true = [entry["type"] for entry in found["conditions"] if entry["status"] == "True"]
    return f"{found['phase']} [{' '.join(states)}] {' '.join(true)}"


DELETED = {"deleted": "2026-01-01T00:00:30Z"}
CASES = {
    "before the sandbox": (
        status(pod("a"), {}, attached=False, pod_ips=()),
        "Pending [a:waiting=ContainerCreating] Initialized PodScheduled",
    ),
    "initializing": (
        status(pod("a", init=("s",)), {"s": UP}, initialized=False),
        "Pending [s:running a:waiting=PodInitializing] PodReadyToStartContainers PodScheduled",
    ),
    "ready": (
        status(pod("a"), {"a": UP}),
        "Running [a:running] PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled",
    ),
    "sidecar not ready": (
        status(pod("a", init=("s*",)), {"a": UP, "s": Report(attempt=0, phase="running", started=True)}),
        "Running [s:running a:running] PodReadyToStartContainers Initialized PodScheduled",
    ),
    "crash loop": (
        status(pod("a"), {"a": ended(1, waiting=("CrashLoopBackOff", "m"))}),
        "Running [a:waiting=CrashLoopBackOff] PodReadyToStartContainers Initialized PodScheduled",
    ),
    "configuration missing": (
        status(pod("a"), {"a": Report(waiting=("CreateContainerConfigError", "m"))}),
        "Pending [a:waiting=CreateContainerConfigError] PodReadyToStartContainers Initialized PodScheduled",
    ),
    "succeeded": (
        status(pod("a"), {"a": ended()}, finish=Finish(phase="Succeeded"), ending=True, attached=False),
        "Succeeded [a:terminated=Completed] Initialized PodScheduled",
    ),
    "finished, sidecar still runs": (
        status(pod("a", init=("s*",)), {"a": ended(), "s": UP}, finish=Finish(phase="Succeeded"), ending=True),
        "Running [s:running a:terminated=Completed] PodReadyToStartContainers Initialized PodScheduled",
    ),
    "terminating stays ready": (
        status(pod("a", **DELETED), {"a": UP}, ending=True),
        "Running [a:running] PodReadyToStartContainers Initialized Ready ContainersReady PodScheduled",
    ),
    "deleted and ended by a signal": (
        status(pod("a", **DELETED), {"a": ended(143)}, ending=True),
        "Failed [a:terminated=Error] PodReadyToStartContainers Initialized PodScheduled",
    ),
    "deleted before it began": (
        status(pod("a", **DELETED), {}, ending=True, attached=False),
        "Failed [a:waiting=ContainerCreating] Initialized PodScheduled",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_in_brief(case):
    found, expected = CASES[case]
    assert brief(found) == expected


def test_in_full():
    last = {"exitCode": 1, "reason": "Error"}
    report = Report(attempt=2, phase="running", started_at=NOW, started=True, ready=True, last=last, image_id="x")
    assert status(pod("a"), {"a": report}) == {
        "phase": "Running",
        "observedGeneration": 3,
        "startTime": START,
        "hostIP": "10.10.0.11",
        "hostIPs": [{"ip": "10.10.0.11"}],
        "podIP": "10.0.0.1",
        "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
        "containerStatuses": [
            {
                "name": "a",
                "image": "i",
                "imageID": "x",
                "containerID": container_id("u", "a", 2),
                "state": {"running": {"startedAt": START}},
                "lastState": {"terminated": last},
                "ready": True,
                "started": True,
                "restartCount": 2,
            }
        ],
        "conditions": [
            {"type": kind, "status": "True", "observedGeneration": 3, "lastTransitionTime": START}
            for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
        ],
    }


def test_transition_times_move_only_with_the_status():
    former = status(pod("a"), {"a": UP})
    later = status(pod("a"), {"a": Report(attempt=0, phase="running", started=True)}, former, NOW + 60)
    times = {entry["type"]: entry["lastTransitionTime"] for entry in later["conditions"]}
    assert times["Ready"] == timestamp(NOW + 60)
    assert times["Initialized"] == START


def test_conditions_of_others_stay():
    other = {"type": "example.com/lb", "status": "True"}
    found = status(pod("a"), {"a": UP}, {"conditions": [other]})
    assert found["conditions"][-1] == other


def test_a_steady_pod_needs_no_patch():
    former = status(pod("a"), {"a": UP})
    assert patch_between(former, status(pod("a"), {"a": UP}, former, NOW + 60)) is None


def test_a_patch_holds_what_changed_and_takes_back_what_is_no_longer_said():
    former = status(pod("a"), {"a": Report(attempt=0, phase="running", started_at=NOW, started=True, image_id="x")})
    found = patch_between(former, status(pod("a"), {"a": UP}, former, NOW + 1))
    assert set(found) == {"containerStatuses", "conditions", "$setElementOrder/conditions"}
    order = [entry["type"] for entry in found["$setElementOrder/conditions"]]
    assert order == ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
    assert [entry["type"] for entry in found["conditions"]] == ["Ready", "ContainersReady"]
    assert found["conditions"][0]["message"] is None


def test_changed_addresses_replace_the_list():
    former = status(pod("a"), {"a": UP})
    found = patch_between(former, status(pod("a"), {"a": UP}, former, pod_ips=("10.0.0.2",)))
    assert found == {"podIP": "10.0.0.2", "podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.2"}]}


def test_inputs_are_left_alone():
    former = status(pod("a"), {"a": UP})
    before = copy.deepcopy(former)
    status(pod("a"), {"a": ended(1)}, former, NOW + 5)
    assert former == before

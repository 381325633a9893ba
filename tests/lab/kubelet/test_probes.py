"""Probes under a clock that tests turn: what is asked when, and what follows from the answers."""

from __future__ import annotations

import asyncio
import time

import pytest

from fairlead.lab.kubelet.acting import Outcome, Target
from fairlead.lab.kubelet.asking import Answer
from fairlead.lab.kubelet.pod import decode
from fairlead.lab.kubelet.probes import Prober


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when nothing else is left to do."""

    def __init__(self):
        super().__init__()
        self._offset = 0.0

    def time(self):
        return self._offset

    def _run_once(self):
        if not self._ready and self._scheduled:
            self._offset = max(self._offset, self._scheduled[0].when())
        super()._run_once()


class Story:
    """Answers by a script and writes down what happens, with the second of the clock."""

    def __init__(self, answers):
        self.answers, self.told, self.asked = answers, [], []
        self.loop = asyncio.get_running_loop()
        self.prober = Prober(self.ask, verdict=self.verdict, complaint=self.complain)

    async def ask(self, target, probe):
        kind = next(
            name for name in ("startup", "readiness", "liveness") if getattr(target.container, f"{name}_probe") is probe
        )
        self.asked.append((round(self.loop.time(), 1), kind))
        answer = self.answers(kind, self.loop.time())
        if answer == "absent":
            return Outcome(answer=Answer(ok=True), absent="prog")
        return Outcome(answer=Answer(ok=answer, message="" if answer else "no"))

    def verdict(self, target, attempt, kind, passed, message):
        self.told.append(f"{self.loop.time():g} {kind} {'passed' if passed else 'failed'}")

    def complain(self, target, kind, outcome):
        self.told.append(f"{self.loop.time():g} {kind} {outcome.absent or outcome.answer.message}")


def run(seconds, answers, *, started=False, ready=False, **probes):
    """Tell the story of a container with these probes."""

    async def main():
        container = {"name": "app", **{f"{kind}Probe": {"exec": {}, **probe} for kind, probe in probes.items()}}
        pod = decode({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": [container]}})
        story = Story(answers)
        target = Target(pod=pod, container=pod.spec.containers[0], ip="10.0.0.1")
        story.prober.begin(target, 0, started_at=time.time(), started=started, ready=ready)
        await asyncio.sleep(seconds)
        story.prober.close()
        return story

    loop = Clock()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def test_a_pod_that_becomes_ready_soon_is_asked_soon():
    story = run(30, lambda kind, at: at > 0.5, readiness={"periodSeconds": 10})
    assert story.told == ["0.7 Readiness passed"]
    assert [at for at, _ in story.asked] == [0, 0.1, 0.3, 0.7, 10, 20, 30][: len(story.asked)]


def test_readiness_turns_after_its_thresholds():
    story = run(
        61,
        lambda kind, at: not 15 < at < 45,
        readiness={"periodSeconds": 10, "failureThreshold": 2, "successThreshold": 2},
    )
    assert story.told == [
        "0.1 Readiness passed",
        "20 Readiness no",
        "30 Readiness no",
        "30 Readiness failed",
        "40 Readiness no",
        "60 Readiness passed",
    ]


def test_startup_holds_back_the_others():
    story = run(
        25,
        lambda kind, at: at >= 20,
        startup={"periodSeconds": 10},
        readiness={"periodSeconds": 5},
        liveness={"periodSeconds": 5},
    )
    kinds = [kind for at, kind in story.asked if at < 20]
    assert set(kinds) == {"startup"}
    assert story.told == ["10 Startup no", "20 Startup passed", "20 Readiness passed"]


def test_a_startup_probe_that_never_passes_dooms_the_container():
    story = run(60, lambda kind, at: False, startup={"periodSeconds": 10, "failureThreshold": 3}, liveness={})
    assert story.told[-1] == "30 Startup failed"
    assert story.asked[-1] == (30, "startup")


def test_liveness_fails_once_and_is_asked_no_more():
    story = run(
        100, lambda kind, at: False, liveness={"initialDelaySeconds": 5, "periodSeconds": 10, "failureThreshold": 3}
    )
    asked = [round(at) for at, _ in story.asked]
    assert asked == [5, 15, 25]
    assert [line.split(" ", 1)[1] for line in story.told] == ["Liveness no"] * 3 + ["Liveness failed"]


def test_an_absent_program_is_told_once():
    story = run(25, lambda kind, at: "absent", readiness={"periodSeconds": 10}, liveness={"periodSeconds": 10})
    assert sorted(story.told) == ["0 Readiness passed", "0 Readiness prog"]


@pytest.mark.parametrize("ready", [True, False])
def test_an_adopted_container_goes_on_as_it_was(ready):
    story = run(5, lambda kind, at: ready, started=True, ready=ready, startup={}, readiness={"periodSeconds": 10})
    assert "startup" not in [kind for _, kind in story.asked]
    assert story.told == []

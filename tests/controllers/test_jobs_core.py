"""Jobs by simulation: every end of a pod is counted once, whatever order things are seen in. Schedules against brute force."""

from __future__ import annotations

import datetime
import itertools
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.controllers.world import World

from fairlead.api.resources import CRONJOBS, JOBS, PODS
from fairlead.controllers import podstate
from fairlead.controllers.actions import Again, Create, Delete, Event
from fairlead.controllers.conditions import condition, is_true
from fairlead.controllers.cronjob import core as crons
from fairlead.controllers.cronjob.schedule import ScheduleError, parse
from fairlead.controllers.job import core, indexes

Json = dict[str, Any]


class Run:
    """One Job; the pods that the controller sees may be older than the Job it sees, and the other way round."""

    def __init__(self, **spec: Any) -> None:
        self.world = World()
        self.world.add(
            JOBS,
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": "sum"},
                "spec": {
                    "selector": {"matchLabels": {"job": "sum"}},
                    "template": {
                        "metadata": {"labels": {"job": "sum"}},
                        "spec": {"containers": [{"name": "main", "image": "a"}], "restartPolicy": "Never"},
                    },
                    "parallelism": 1,
                    "backoffLimit": 100,
                    **spec,
                },
            },
        )
        self.ended = {"Succeeded": 0, "Failed": 0}

    @property
    def job(self) -> Json:
        return self.world.get(JOBS, "sum")

    def reconcile(self, stop_after: int = 99) -> None:
        """Reconcile, dying after some of the writes."""
        actions = core.reconcile(self.job, self.world.all(PODS), [], now=self.world.now)
        self.world.apply(itertools.islice(actions, stop_after))

    def end(self, index: int, phase: str) -> None:
        active = [pod for pod in self.world.all(PODS) if podstate.is_active(pod)]
        if active:
            self.world.pod_becomes(active[index % len(active)]["metadata"]["name"], phase, ready=False)
            self.ended[phase] += 1

    def let_go(self) -> None:
        for pod in self.world.all(PODS):
            if podstate.is_terminating(pod):
                self.world.pod_is_gone(pod["metadata"]["name"])

    def settle(self) -> None:
        for _ in range(300):
            before = self.world.writes
            self.reconcile()
            self.let_go()
            self.world.now += 700
            if self.world.writes == before:
                return
        raise AssertionError("never settles")


turn = st.tuples(st.sampled_from(["reconcile", "reconcile", "die", "Succeeded", "Failed"]), st.integers(0, 5))


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.lists(turn, max_size=50))
def test_every_end_counts_once(completions: int, parallelism: int, turns: list[tuple[str, int]]) -> None:
    it = Run(completions=completions, parallelism=parallelism)
    for action, index in turns:
        it.world.now += 700
        if action in ("reconcile", "die"):
            it.reconcile(index if action == "die" else 99)
        elif not it.job.get("status", {}).get("conditions"):
            it.end(index, action)
        active = sum(podstate.is_active(pod) for pod in it.world.all(PODS))
        assert active <= parallelism
    it.settle()
    while not it.job["status"].get("conditions"):
        it.end(0, "Succeeded")
        it.settle()
    assert is_true(it.job, "Complete")
    status = it.job["status"]
    assert (status.get("succeeded", 0), status.get("failed", 0)) == (it.ended["Succeeded"], it.ended["Failed"])
    assert status["succeeded"] >= completions
    assert not any(pod["metadata"].get("finalizers") for pod in it.world.all(PODS))


def test_indexed_job_repeats_only_the_failed_index() -> None:
    it = Run(completions=3, parallelism=3, completionMode="Indexed")
    it.settle()
    pods = {
        pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]: pod for pod in it.world.all(PODS)
    }
    assert sorted(pods) == ["0", "1", "2"]
    assert pods["1"]["spec"]["hostname"] == "sum-1"
    for index, phase in (("0", "Succeeded"), ("1", "Failed"), ("2", "Succeeded")):
        it.world.pod_becomes(pods[index]["metadata"]["name"], phase, ready=False)
    it.settle()
    assert it.job["status"]["completedIndexes"] == "0,2"
    (active,) = [pod for pod in it.world.all(PODS) if podstate.is_active(pod)]
    assert active["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "1"
    it.end(0, "Succeeded")
    it.settle()
    assert is_true(it.job, "Complete")
    assert (it.job["status"]["completedIndexes"], it.job["status"]["failed"]) == ("0-2", 1)


def test_failures_are_repeated_ever_more_slowly() -> None:
    it = Run(completions=1)
    it.reconcile()
    it.end(0, "Failed")
    name = it.world.all(PODS)[0]["metadata"]["name"]
    pod = it.world.get(PODS, name)
    ended = {"state": {"terminated": {"exitCode": 1, "finishedAt": "2027-01-15T08:00:00Z"}}}
    pod["status"]["containerStatuses"] = [ended]
    it.world.now = datetime.datetime(2027, 1, 15, 8, tzinfo=datetime.UTC).timestamp() + 1
    actions = core.reconcile(it.job, it.world.all(PODS), [], now=it.world.now)
    assert [each.after_s for each in actions if isinstance(each, Again)] == [pytest.approx(9)]
    assert not any(isinstance(each, Create) for each in actions)


def test_pod_failure_policy() -> None:
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
    ]
    it = Run(completions=1, podFailurePolicy={"rules": rules})
    it.reconcile()
    pod = it.world.all(PODS)[0]
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    it.world.set(PODS, {**pod, "status": {"phase": "Failed", "conditions": [disrupted]}})
    it.settle()
    assert not it.job["status"].get("failed"), "does not count"
    pod = next(each for each in it.world.all(PODS) if podstate.is_active(each))
    ended = {"name": "main", "state": {"terminated": {"exitCode": 42}}}
    it.world.set(PODS, {**pod, "status": {"phase": "Failed", "containerStatuses": [ended]}})
    it.settle()
    found = condition(it.job, "Failed")
    assert found is not None
    assert found["reason"] == "PodFailurePolicy"
    assert "exit code 42" in found["message"]


@pytest.mark.parametrize(
    ("text", "found"), [("", []), ("1", [1]), ("1,2", [1, 2]), ("0-2,5,7-9", [0, 1, 2, 5, 7, 8, 9])]
)
def test_indexes_as_text(text: str, found: list[int]) -> None:
    assert sorted(indexes.parse(text, 100)) == found
    assert indexes.render(found) == text


field = {
    "minute": st.sampled_from(["*", "0", "*/15", "5,35", "10-12"]),
    "hour": st.sampled_from(["*", "0", "*/6", "1-3", "23"]),
    "day": st.sampled_from(["*", "1", "13", "*/10", "30,31"]),
    "month": st.sampled_from(["*", "2", "jan-mar", "*/5"]),
    "weekday": st.sampled_from(["*", "5", "mon-fri", "0", "7"]),
}
CRONTAB_DAYS = dict(zip("sun mon tue wed thu fri sat".split(), range(7), strict=True))


def brute(texts: tuple[str, ...], at: datetime.datetime) -> bool:
    """What crontab(5) says of one minute."""
    words = CRONTAB_DAYS | {"jan": 1, "mar": 3}

    def matches(text: str, value: int, least: int, most: int, name: str = "") -> bool:
        for part in text.split(","):
            span, _, by = part.partition("/")
            low, _, high = span.partition("-")
            first = least if low == "*" else int(words.get(low, low))
            last = most if low == "*" else int(words.get(high, high) or first)
            for candidate in range(first, last + 1, int(by or 1)):
                if candidate == value or (name == "weekday" and candidate % 7 == value):
                    return True
        return False

    minute, hour, day, month, weekday = texts
    by_day, by_week = matches(day, at.day, 1, 31), matches(weekday, at.isoweekday() % 7, 0, 7, "weekday")
    either = by_day and by_week if day[0] == "*" or weekday[0] == "*" else by_day or by_week
    return (
        matches(minute, at.minute, 0, 59)
        and matches(hour, at.hour, 0, 23)
        and matches(month, at.month, 1, 12)
        and either
    )


@settings(max_examples=60, deadline=None)
@given(st.tuples(*field.values()), st.integers(0, 500_000))
def test_schedule_is_what_crontab_says(texts: tuple[str, ...], offset: int) -> None:
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(minutes=offset)
    minutes = [start + datetime.timedelta(minutes=n) for n in range(1, 3000)]
    expected = [at.timestamp() for at in minutes if brute(texts, at)]
    end = minutes[-1].timestamp()
    found = list(itertools.takewhile(lambda at: at <= end, parse(" ".join(texts)).after(start.timestamp())))
    assert found == expected


def test_schedule_in_a_zone_skips_the_hour_that_is_not() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    before = datetime.datetime(2026, 3, 28, 12, tzinfo=berlin).timestamp()
    times = itertools.islice(parse("30 2 * * *", "Europe/Berlin").after(before), 2)
    days = [datetime.datetime.fromtimestamp(at, berlin).isoformat() for at in times]
    assert days == ["2026-03-30T02:30:00+02:00", "2026-03-31T02:30:00+02:00"]


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "* * 0 * *", "*/0 * * * *", "a * * * *", "5-1 * * * *"])
def test_schedules_that_make_no_sense(text: str) -> None:
    with pytest.raises(ScheduleError):
        parse(text)
    with pytest.raises(ScheduleError):
        parse("* * * * *", "Nowhere/Land")


def cron(**spec: Any) -> Json:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "tick", "namespace": "default", "uid": "c", "creationTimestamp": "2026-01-01T00:00:30Z"},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {}}, **spec},
    }


def job(name: str, state: str | None = None) -> Json:
    conditions = [{"type": state, "status": "True"}] if state else []
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"},
        "status": {"conditions": conditions},
    }


@pytest.mark.parametrize(
    ("title", "obj", "jobs", "after_s", "created", "deleted", "reason"),
    [
        ("not yet", cron(), [], 10, [], [], None),
        ("due", cron(), [], 35, ["tick-29453761"], [], "SuccessfulCreate"),
        ("only the latest of several", cron(), [], 300, ["tick-29453765"], [], "SuccessfulCreate"),
        ("suspended", cron(suspend=True), [], 300, [], [], None),
        ("too late", cron(startingDeadlineSeconds=10), [], 75, [], [], None),
        ("one before runs", cron(concurrencyPolicy="Forbid"), [job("old")], 35, [], [], "JobAlreadyActive"),
        (
            "one before goes",
            cron(concurrencyPolicy="Replace"),
            [job("old")],
            35,
            ["tick-29453761"],
            ["old"],
            "SuccessfulCreate",
        ),
        ("already there", cron(), [job("tick-29453761")], 35, [], [], None),
        ("bad schedule", cron(schedule="x"), [], 35, [], [], "UnparseableSchedule"),
        ("history", cron(failedJobsHistoryLimit=0), [job("bad", "Failed")], 10, [], ["bad"], None),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_what_a_cron_job_does(
    title: str, obj: Json, jobs: list[Json], after_s: int, created: list[str], deleted: list[str], reason: str | None
) -> None:
    now = datetime.datetime(2026, 1, 1, 0, 0, 30, tzinfo=datetime.UTC).timestamp() + after_s
    actions = crons.reconcile(obj, jobs, now=now)
    assert [each.obj["metadata"]["name"] for each in actions if isinstance(each, Create)] == created, title
    assert [each.obj["metadata"]["name"] for each in actions if isinstance(each, Delete)] == deleted
    assert [each.reason for each in actions if isinstance(each, Event)] == ([reason] if reason else [])
    assert CRONJOBS.kind == "CronJob"

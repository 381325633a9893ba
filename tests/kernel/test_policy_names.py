"""Rules by domain name: addresses that the resolver learned, by real packets; expiry, restarts and bounds. IPv4 and IPv6."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.kernel.policylab import EXTERNAL, PolicyLab, Probe
from tests.verify.policy_cases import Case, cluster, cnp, egress, rule

from fairlead.base import domainnames
from fairlead.drivers.nft.policy import kernel as kernels
from fairlead.drivers.nft.policy import names as books
from fairlead.drivers.nft.wire import Refusal
from fairlead.plan.plan import Plan

pytestmark = pytest.mark.kernel

NODE = "node-1"
CLOSED = egress()


@pytest.fixture
def lab() -> Iterator[PolicyLab]:
    """Of the test's own: what was learned stays for the next policy."""
    with PolicyLab() as made:
        yield made


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> int:
    version: int = request.param
    return version


class Clock:
    """What the driver takes for the time since the machine started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(kernels, "boot_time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def outside(family: int) -> str:
    return EXTERNAL[0 if family == 4 else 2]


def accepting(*patterns: str):  # type: ignore[no-untyped-def]
    return cluster(
        Case(policies=[cnp("Admin", 1, egress=[rule("Accept", to=[{"domainNames": list(patterns)}])]), CLOSED])
    )


def reaches(lab: PolicyLab, world, family: int, port: int = 80) -> bool:  # type: ignore[no-untyped-def]
    return lab.ask(world, [Probe("pod/nx/a", outside(family), "TCP", port, family, True)]) == []


def refused(lab: PolicyLab, world, family: int) -> bool:  # type: ignore[no-untyped-def]
    return lab.ask(world, [Probe("pod/nx/a", outside(family), "TCP", 80, family, False)]) == []


def expire(lab: PolicyLab) -> None:
    while asyncio.run(lab.drivers[NODE].expire()):
        pass


def test_an_address_is_permitted_when_it_was_told_and_not_before(lab: PolicyLab, family: int) -> None:
    world = accepting("*.example.com")
    lab.enforce(world)
    assert refused(lab, world, family)
    lab.permit(NODE, "example.com", outside(family))
    assert refused(lab, world, family), "the wildcard is not the apex"
    lab.permit(NODE, "a.b.example.com", outside(family))
    assert reaches(lab, world, family)


def test_a_policy_that_comes_later_finds_what_pods_were_told_before(lab: PolicyLab, family: int) -> None:
    lab.enforce(accepting("other.example"))
    lab.permit(NODE, "www.example.com", outside(family))
    world = accepting("www.example.com")
    lab.enforce(world)
    assert reaches(lab, world, family)
    lab.enforce(accepting("other.example"))
    assert refused(lab, world, family)


def test_an_address_goes_when_its_time_is_over_but_not_while_a_connection_uses_it(
    lab: PolicyLab, family: int, clock: Clock
) -> None:
    world = accepting("www.example.com")
    lab.enforce(world)
    lab.permit(NODE, "www.example.com", outside(family), ttl=5)
    probe = Probe("pod/nx/a", outside(family), "UDP", 6400, family, True)
    client = lab.connect(world, probe)
    clock.now += books.FLOOR_S + 1
    expire(lab)
    assert reaches(lab, world, family), "somebody uses it"
    client.close()
    for each in ("-4", "-6"):
        lab.run(NODE, "sh", "-c", f"conntrack -F -f {'ipv6' if each == '-6' else 'ipv4'} >/dev/null 2>&1 || true")
    clock.now += kernels.USED_S + books.FLOOR_S
    expire(lab)
    assert refused(lab, world, family)
    assert lab.drivers[NODE].statistics()["pairs"] == 0


def test_what_is_told_again_lives_on(lab: PolicyLab, clock: Clock) -> None:
    world = accepting("www.example.com")
    lab.enforce(world)
    for _ in range(4):
        lab.permit(NODE, "www.example.com", outside(4), ttl=60)
        clock.now += 60
    expire(lab)
    assert reaches(lab, world, 4)


def test_a_successor_knows_what_was_learned(lab: PolicyLab, family: int) -> None:
    world = accepting("www.example.com")
    rows = lab.enforce(world)[NODE]
    lab.permit(NODE, "www.example.com", outside(family), ttl=3600)
    lab.start(NODE)
    outcome = lab.apply(NODE, rows)
    assert (outcome.applied, outcome.failed) == (0, ())
    assert reaches(lab, world, family)
    assert lab.drivers[NODE].statistics()["pairs"] == 1
    assert "www.example.com" in lab.run(NODE, "nft", "list", "table", "inet", "fairlead-policy")


def test_addresses_of_the_cluster_are_never_permitted_by_a_name(lab: PolicyLab) -> None:
    world = accepting("evil.example")
    lab.enforce(world)
    target = next(each for each in world.pods if each["metadata"]["name"] == "b")["status"]["podIPs"][0]["ip"]
    lab.permit(NODE, "evil.example", target, "127.0.0.1", "169.254.169.254")
    assert lab.ask(world, [Probe("pod/nx/a", "pod/nx/b", "TCP", 80, 4, False)]) == []


def test_a_flood_of_addresses_is_bounded_and_harms_no_other_name(
    lab: PolicyLab, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    world = accepting("*.flood.example", "www.example.com")
    lab.enforce(world)
    lab.permit(NODE, "www.example.com", outside(4))
    many = [f"192.0.{number // 250}.{number % 250 + 1}" for number in range(books.MOST_PER_NAME + 1)]
    with pytest.raises(OSError, match="more than"):
        lab.permit(NODE, "a.flood.example", *many)
    assert lab.drivers[NODE].statistics()["pairs"] == 1, "all of them or none"
    lab.permit(NODE, "a.flood.example", *many[:-1])
    assert reaches(lab, world, 4)


def test_what_others_removed_is_made_again(lab: PolicyLab) -> None:
    world = accepting("www.example.com")
    rows = lab.enforce(world)[NODE]
    lab.permit(NODE, "www.example.com", outside(4), ttl=3600)
    lab.run(NODE, "nft", "delete table inet fairlead-policy")
    driver = lab.drivers[NODE]
    plan = Plan(node=NODE, revision="1", tables=rows)
    assert asyncio.run(driver.resync(plan)).applied
    assert asyncio.run(driver.resync(plan)).applied == 0
    assert reaches(lab, world, 4)


def test_before_the_first_plan_an_answer_waits(lab: PolicyLab) -> None:
    world = accepting("www.example.com")
    rows = lab.enforce(world)[NODE]
    driver = lab.start(NODE)

    async def early() -> None:
        waiting = asyncio.create_task(
            driver.permit([domainnames.name("www.example.com")], {bytes((198, 51, 100, 10)): 60})
        )
        await asyncio.sleep(0)
        assert not waiting.done()
        await driver.apply(Plan(node=NODE, revision="1", tables=rows))
        await waiting

    asyncio.run(early())
    assert reaches(lab, world, 4)


def test_after_a_refusal_nothing_counts_as_permitted_until_it_is(
    lab: PolicyLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = accepting("www.example.com")
    rows = lab.enforce(world)[NODE]
    lab.permit(NODE, "www.example.com", outside(4))
    driver = lab.drivers[NODE]
    name, told = [domainnames.name("www.example.com")], {bytes((198, 51, 100, 10)): 5}
    assert driver.permits(name, told)
    monkeypatch.setattr(kernels.PolicyKernel, "_commit", lambda *_: [Refusal(1, 16, "busy")])
    with pytest.raises(OSError, match="busy"):
        lab.permit(NODE, "www.example.com", outside(6))
    assert not driver.permits(name, told), "what is in force is not known"
    with pytest.raises(OSError, match="not in force"):
        lab.permit(NODE, "www.example.com", outside(4))
    monkeypatch.undo()
    lab.apply(NODE, rows)
    assert driver.permits(name, told)
    assert reaches(lab, world, 4)
    assert refused(lab, world, 6)

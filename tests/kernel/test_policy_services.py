"""Policies of pods that are reached through Services: both drivers in one namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.kernel.nftlab import PODS, VIP, NftLab, plan_of, pod_ip, service

from fairlead.drivers.nft.policy.driver import PolicyDriver
from fairlead.plan.plan import Plan, index
from fairlead.plan.policy import PolicyChain, PolicyGroup, PolicyPod, PolicyRule

pytestmark = pytest.mark.kernel


class Policed:
    """A node with Services and a policy driver."""

    def __init__(self, lab: NftLab, driver: PolicyDriver) -> None:
        self.lab = lab
        self._driver = driver

    def enforce(self, pod: str, direction: str, *rules: PolicyRule, groups: tuple[PolicyGroup, ...] = ()) -> None:
        """Let one direction of one pod be judged by `rules`, and all else be free."""
        chain = PolicyChain(name="x-000000000000", direction=direction, rules=(*rules, PolicyRule(verdict="deny")))
        pods = [
            PolicyPod(host_ifname=ifname, **({direction: chain.name} if name == pod else {}))
            for name, (ifname, _) in PODS.items()
        ]
        tables = {"policy_pods": index(pods), "policy_chains": index([chain]), "policy_groups": index(groups)}
        assert asyncio.run(self._driver.apply(Plan(node="n", revision="1", tables=tables))).failed == ()

    def reaches(self, client: str, port: int, v: int) -> bool:
        try:
            return bool(self.lab.ask(client, VIP[v], port))
        except TimeoutError:
            return False


@pytest.fixture(scope="module")
def policed() -> Iterator[Policed]:
    with NftLab() as lab:
        services = [service(v, 80, "pod-b") for v in (4, 6)] + [service(v, 81, "pod-a") for v in (4, 6)]
        assert lab.apply(plan_of(*services)).failed == ()
        driver = PolicyDriver(lab.path("node"))
        asyncio.run(driver.start())
        try:
            with lab.serve(*((pod, pod_ip(pod, v), 8080, "tcp") for pod in PODS for v in (4, 6))):
                yield Policed(lab, driver)
        finally:
            asyncio.run(driver.close())


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def v(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("tests.kernel.nftlab.TIMEOUT_S", 0.7)
    version: int = request.param
    return version


def port(number: int, peers: str = "") -> PolicyRule:
    return PolicyRule(peers=peers, protocol="tcp", first=number, last=number, verdict="allow")


def test_the_port_is_that_of_the_pod(policed: Policed, v: int) -> None:
    """B08."""
    for direction, subject in (("ingress", "pod-b"), ("egress", "pod-a")):
        policed.enforce(subject, direction, port(8080))
        assert policed.reaches("pod-a", 80, v)
        policed.enforce(subject, direction, port(80))
        assert not policed.reaches("pod-a", 80, v)


def test_the_address_is_that_of_the_pod(policed: Policed, v: int) -> None:
    """B09."""
    services = PolicyGroup(name="pr-00000000000a", kind="prefixes", members=("10.96.0.0/16", "fd10:96::/108"))
    policed.enforce("pod-a", "egress", PolicyRule(peers=services.name, verdict="allow"), groups=(services,))
    assert not policed.reaches("pod-a", 80, v)
    pods = PolicyGroup(name="ad-00000000000b", kind="addresses", members=(pod_ip("pod-b", 4), pod_ip("pod-b", 6)))
    policed.enforce("pod-a", "egress", PolicyRule(peers=pods.name, verdict="allow"), groups=(pods,))
    assert policed.reaches("pod-a", 80, v)


def test_the_client_is_who_it_is(policed: Policed, v: int) -> None:
    client = PolicyGroup(name="pr-00000000000c", kind="prefixes", members=("10.10.0.1/32", "fd10:10::1/128"))
    policed.enforce("pod-b", "ingress", port(8080, client.name), groups=(client,))
    assert policed.reaches("outside", 80, v)
    assert not policed.reaches("pod-a", 80, v)
    # The node reaches its own pods, also through a Service (B04).
    assert policed.reaches("node", 80, v)


def test_a_pod_reaches_itself_through_its_service(policed: Policed, v: int) -> None:
    """B03."""
    for direction in ("ingress", "egress"):
        policed.enforce("pod-a", direction)
        assert policed.reaches("pod-a", 81, v)

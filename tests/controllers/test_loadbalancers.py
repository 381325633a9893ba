"""Which addresses Services of type LoadBalancer get."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.base.errors import UserError
from fairlead.controllers.loadbalancers.core import ADDRESSES, CLASS, Pool, decide, is_ours, lacking, status

POOLS = [Pool("203.0.113.0/24"), Pool("fd10:203::/112")]


def service(*has: str, families: tuple[str, ...] = ("IPv4",), **spec: Any) -> dict[str, Any]:
    ingress = [{"ip": each} for each in has]
    given = {"type": "LoadBalancer", "clusterIP": "10.96.0.9", "ipFamilies": list(families), **spec}
    return {"metadata": {"name": "s"}, "spec": given, "status": {"loadBalancer": {"ingress": ingress}}}


BOTH = ("IPv4", "IPv6")
CASES: dict[str, tuple[dict[str, Any], dict[str, str], tuple[str, ...], str]] = {
    "the first free": (service(), {}, ("203.0.113.10",), ""),
    "those of others are not free": (service(), {"203.0.113.10": "d/a"}, ("203.0.113.11",), ""),
    "one of each family": (service(families=BOTH), {}, ("203.0.113.10", "fd10:203::a"), ""),
    "it keeps what it has": (service("203.0.113.99"), {}, ("203.0.113.99",), ""),
    "a family more": (service("203.0.113.99", families=BOTH), {}, ("203.0.113.99", "fd10:203::a"), ""),
    "a family less": (service("203.0.113.99", "fd10:203::b"), {}, ("203.0.113.99",), ""),
    "what another has too is given up": (service("203.0.113.99"), {"203.0.113.99": "d/a"}, ("203.0.113.10",), ""),
    "what is in no range is given up": (service("198.51.100.1"), {}, ("203.0.113.10",), ""),
    "requested": (service(loadBalancerIP="203.0.113.50"), {}, ("203.0.113.50",), ""),
    "requested later": (service("203.0.113.10", loadBalancerIP="203.0.113.50"), {}, ("203.0.113.50",), ""),
    "requested of one family": (
        service(families=BOTH, loadBalancerIP="fd10:203:0::00cc"), {}, ("203.0.113.10", "fd10:203::cc"), "",
    ),
    "requested and taken": (
        service(loadBalancerIP="203.0.113.50"), {"203.0.113.50": "d/a"}, (), "belongs to Service d/a already",
    ),
    "requested from elsewhere": (service(loadBalancerIP="192.0.2.1"), {}, (), "in none of this cluster's ranges"),
    "none left": (service(), {f"203.0.113.{n}": "d/a" for n in range(256)}, (), "all IPv4 addresses"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_addresses(case: str) -> None:
    subject, others, expected, problem = CASES[case]
    decision = decide(subject, POOLS, others)
    assert decision.addresses == expected
    assert bool(decision.problems) == bool(problem) and problem in "".join(decision.problems)


def test_status_says_that_packets_come_as_they_were() -> None:
    assert status(service(), ["203.0.113.10"])["loadBalancer"] == {"ingress": [{"ip": "203.0.113.10", "ipMode": "VIP"}]}
    assert status(service("203.0.113.10"), [])["loadBalancer"] == {}


def test_only_our_class_is_ours() -> None:
    assert is_ours(service()) and is_ours(service(loadBalancerClass=CLASS))
    assert not is_ours(service(loadBalancerClass="example.com/other"))
    assert not is_ours(service(type="NodePort"))


def test_a_text_that_is_no_range_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="--load-balancer-cidr"):
        Pool("203.0.113.0/99")


def test_an_annotation_asks_for_these_addresses_and_no_others() -> None:
    subject = service("203.0.113.10", families=("IPv4",), loadBalancerIP="203.0.113.9")
    subject["metadata"]["annotations"] = {
        ADDRESSES: "203.0.113.20, 203.0.113.21,203.0.113.22,192.0.2.1,FD10:203::c,none"
    }
    decision = decide(subject, POOLS, {"203.0.113.22": "d/a"})
    assert decision.addresses == ("203.0.113.20", "203.0.113.21")
    assert decision.problems == (
        "address 203.0.113.22 belongs to Service d/a already",
        "address 192.0.2.1 is in none of this cluster's ranges",
        "address fd10:203::c is of a family that the Service does not have: it has IPv4",
        "address none is in none of this cluster's ranges",
    )


def test_what_is_lacking_is_a_condition_until_it_is_not() -> None:
    foreign = {"type": "example.com/Other", "status": "True"}
    subject = service() | {"status": {"conditions": [foreign]}}
    subject["status"] = status(subject, [], ["no"], "early")
    assert lacking(subject) == "no"
    subject["status"] = status(subject, [], ["neither"], "late")
    assert [each.get("lastTransitionTime") for each in subject["status"]["conditions"]] == [None, "early"]
    subject["status"] = status(subject, ["203.0.113.10"])
    assert (lacking(subject), subject["status"]["conditions"]) == ("", [foreign])

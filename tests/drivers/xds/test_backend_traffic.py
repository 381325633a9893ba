"""BackendTrafficPolicies by real requests: how they are shared among real endpoints, limited, and kept from those that fail."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.drivers.xds.gatewaylab import Backend, GatewayLab

pytestmark = pytest.mark.asyncio(loop_scope="module")


def route(name: str) -> str:
    return f"""
kind: HTTPRoute
metadata: {{name: {name}}}
spec: {{parentRefs: [{{name: web}}], hostnames: [{name}.example.com], rules: [{{backendRefs: [{{name: {name}, port: 80}}]}}]}}
"""


def policy(name: str, spec: str) -> str:
    return f"""
kind: BackendTrafficPolicy
metadata: {{name: {name}}}
spec: {{targetRefs: [{{group: '', kind: Service, name: {name}}}], {spec}}}
"""


async def several(lab: GatewayLab, name: str, count: int, spec: str) -> list[Backend]:
    """Make a Service of `count` endpoints with a route and a policy."""
    found = [Backend(f"{name}-{at}") for at in range(count)]
    for each in found:
        lab.backends[each.name] = each
        await each.start()
    await lab.serve(name, *(each.port for each in found))
    await lab.apply(f"{route(name)}---{policy(name, spec)}")
    return found


async def asked(lab: GatewayLab, name: str, count: int, query: str = "", **headers: str) -> Counter[str]:
    url = f"http://{name}.example.com/{query}"
    return Counter([(await lab.ask(url, headers=headers)).backend for _ in range(count)])


SHARES = {
    # Each of the proxy's threads has a round of its own.
    "round robin": ("RoundRobin", (97, 103)),
    "least request": ("LeastRequest", (60, 140)),
    # Five standard deviations of a binomial distribution around the mean.
    "random": ("Random", (67, 133)),
}


@pytest.mark.parametrize("case", SHARES, ids=str)
async def test_how_requests_are_shared_out(lab: GatewayLab, case: str) -> None:
    kind, (least, most) = SHARES[case]
    name = "share-" + kind.lower()
    await several(lab, name, 3, f"loadBalancing: {{type: {kind}}}")
    count = await asked(lab, name, 300)
    assert sum(count.values()) == 300
    assert all(least <= count[f"{name}-{at}"] <= most for at in range(3)), count


KEYS = {
    "header": ("key: Header, header: X-User", lambda n: ("", {"x-user": f"u{n}"})),
    "cookie": ("key: Cookie, cookie: {name: user}", lambda n: ("", {"cookie": f"user=u{n}"})),
    "query": ("key: QueryParameter, queryParameter: user", lambda n: (f"?user=u{n}", {})),
}


@pytest.mark.parametrize("algorithm", ["Maglev", "RingHash"])
@pytest.mark.parametrize("case", KEYS, ids=str)
async def test_alike_requests_go_to_one_endpoint(lab: GatewayLab, case: str, algorithm: str) -> None:
    key, request = KEYS[case]
    name = f"hash-{case}-{algorithm.lower()}"
    hashing = f"loadBalancing: {{type: ConsistentHash, consistentHash: {{algorithm: {algorithm}, {key}}}}}"
    ends = await several(lab, name, 3, hashing)
    users = {n: await asked(lab, name, 3, request(n)[0], **request(n)[1]) for n in range(30)}
    assert all(len(count) == 1 for count in users.values()), users
    homes = {n: next(iter(count)) for n, count in users.items()}
    # With 30 keys an endpoint stays without any once in 60,000.
    assert set(homes.values()) == {each.name for each in ends}
    await lab.serve(name, *(each.port for each in ends[:2]))
    await lab.delete("EndpointSlice", f"{name}-2")
    moved = {n: next(iter(await asked(lab, name, 1, request(n)[0], **request(n)[1]))) for n in range(30)}
    stayed = [n for n, home in homes.items() if home != f"{name}-2"]
    assert sum(moved[n] == homes[n] for n in stayed) >= len(stayed) * 0.7

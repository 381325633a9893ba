"""One proxy follows another under load with 5,000 hosts in place, which it has to hear of first. Real Envoy, real requests."""

from __future__ import annotations

import contextlib

import pytest
from tests.drivers.xds.gatewaylab import GatewayLab
from tests.drivers.xds.load import Load, until
from tests.drivers.xds.test_many_hosts import route, started
from tests.drivers.xds.test_proxy_succession import alive, renewed, resync

from fairlead.drivers.xds.tables import MANY

_HOSTS = 5000
_TIMES = 3
_DRAINED_S = 60


async def succession(lab: GatewayLab, *, handed_over: bool) -> None:
    (before,) = alive(lab)
    if not handed_over:
        for each in (lab.folder / "envoy/run").glob("hot_*"):
            each.unlink()
    await resync(lab)
    await until(lambda: len(alive(lab)) == 1, _DRAINED_S)
    (after,) = alive(lab)
    assert after.pid != before.pid and (after.base == before.base) == handed_over


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_successors_serve_five_thousand_hosts_and_no_request_is_lost(
    network: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = await started(tmp_path_factory.mktemp("gateway"), MANY)
    try:
        lab.add("".join(route(f"r{at}", f"h{at}.example.com") for at in range(_HOSTS)))
        assert not (await lab.settle()).failed
        async with contextlib.AsyncExitStack() as stack:
            loads = [Load(lab.ports["web", 80], f"h{at}.example.com") for at in (0, _HOSTS // 2, _HOSTS - 1)]
            for each in loads:
                await stack.enter_async_context(each)
            for at in range(2 * _TIMES):
                await loads[0].more(100)
                renewed(monkeypatch, stats_flush_interval=f"{at + 7}s")
                await succession(lab, handed_over=at < _TIMES)
                print(f"{at + 1} of {2 * _TIMES}: {sum(each.good for each in loads)} requests", flush=True)
            await loads[0].more(100)
        print(f"the slowest {max(each.slowest_s for each in loads):.2f} s")
        assert not any(each.failed for each in loads), [each.failed for each in loads]
    finally:
        await lab.stop()

"""What is left of a lab that was removed: nothing, also of what stands outside of its folder."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from fairlead.drivers.xds import generations
from fairlead.lab.home import LabHome
from fairlead.lab.teardown import remove


def test_the_memory_that_proxies_shared_is_removed_with_the_lab(tmp_path: Path) -> None:
    home = LabHome(name=f"t{os.getpid() % 100000}", folder=tmp_path / "home")
    memory = []
    for folder in ("agent/envoy", "agent/envoy/gateways/shop.web"):
        base = generations.first_base()
        memory.append(Path(f"/dev/shm/envoy_shared_memory_{base * 10}"))
        memory[-1].touch()
        record = home.node("node-1") / folder / "process.json"
        record.parent.mkdir(parents=True)
        record.write_bytes(msgspec.json.encode([generations.Generation(0, "", "", 0, base)]))
    remove(home)
    assert not any(each.exists() for each in memory) and not home.folder.exists()
    remove(home)

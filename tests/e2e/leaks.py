"""What a lab could leave behind: on this machine when it goes, and inside of itself when its pods go."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Lab


def output(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def processes(lab: Lab) -> Iterator[tuple[int, list[str]]]:
    """Yield pid and command line of each process of the lab."""
    mark = f"FAIRLEAD_LAB={lab.folder}".encode()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    yield int(process.name), (process / "cmdline").read_text().split("\0")
            except OSError:
                continue


def machine(lab: Lab) -> dict[str, object]:
    """What a lab could leave behind on this machine."""
    return {
        "namespaces": namespaces(lab),
        "links": output("ip", "-o", "link", "show"),
        "addresses": output("ip", "-o", "address", "show"),
        "routes": output("ip", "route", "show", "table", "all") + output("ip", "-6", "route", "show", "table", "all"),
        "rules": output("nft", "list", "ruleset"),
        "mounts": sorted(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if lab.name in line),
        "processes": [" ".join(argv) for _, argv in processes(lab)],
        "files": lab.home.exists(),
    }


def namespaces(lab: Lab) -> list[str]:
    return sorted(line.split()[0] for line in output("ip", "netns", "list") if f"-{lab.name}-" in line)


def node_names(lab: Lab) -> list[str]:
    return sorted(folder.name for folder in (lab.folder / "nodes").iterdir())


def inside(lab: Lab) -> dict[str, Any]:
    """What pods could leave behind in a lab that goes on: counts by place."""
    found: dict[str, Any] = {
        "namespaces": len(namespaces(lab)),
        "mounts": sum(lab.name in line for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "processes": sum(1 for _ in processes(lab)),
    }
    for name in node_names(lab):
        folder = lab.folder / "nodes" / name
        namespace = f"fl-{lab.name}-{name}"
        found |= {
            f"{name} links": len(output("ip", "-n", namespace, "-o", "link")),
            f"{name} routes": len(output("ip", "-n", namespace, "route", "show", "table", "all")),
            f"{name} routes6": len(output("ip", "-6", "-n", namespace, "route", "show", "table", "all")),
            f"{name} neighbors": len(output("ip", "-n", namespace, "neigh", "show", "nud", "permanent")),
            f"{name} elements": elements(namespace),
            f"{name} attachments": len(attachments(lab, name)),
            f"{name} results": sum(1 for _ in (folder / "cni/cache").glob("*")),
            f"{name} pods": sum(entry.name.count("-") == 4 for entry in (folder / "pods").glob("*")),
        }
    return found


def settled(lab: Lab, quiet_s: float = 3, timeout_s: float = 30) -> dict[str, Any]:
    """Return what is inside a lab without pods, once it has not changed for `quiet_s`: helpers of components start late."""
    deadline = time.monotonic() + timeout_s
    found, since = inside(lab), time.monotonic()
    while time.monotonic() < since + quiet_s:
        assert time.monotonic() < deadline, f"still changes after {timeout_s:g} s"
        time.sleep(0.1)
        if (now := inside(lab)) != found:
            found, since = now, time.monotonic()
    return found


def wait_unchanged(lab: Lab, empty: dict[str, Any], timeout_s: float = 20) -> None:
    """Wait until nothing more is inside the lab than when `empty` was taken; name what is."""
    deadline = time.monotonic() + timeout_s
    while now := {key: (empty[key], value) for key, value in inside(lab).items() if value != empty[key]}:
        assert time.monotonic() < deadline, f"was and is {timeout_s:g} s after the pods are gone: {now}"
        time.sleep(0.1)


def elements(namespace: str) -> int:
    """Return how many elements all nftables sets and maps of a namespace hold.

    Without the map `picks`: it has an element for each number of endpoints that a service ever had, for the next such service.
    """
    listed = json.loads("".join(output("ip", "netns", "exec", namespace, "nft", "-j", "list", "ruleset")))
    held = [each[kind] for each in listed["nftables"] for kind in ("set", "map") if kind in each]
    return sum(len(each.get("elem", ())) for each in held if each["name"] != "picks")


def attachments(lab: Lab, node: str) -> list[dict[str, Any]]:
    """Return the node's attachments as its agent recorded them."""
    folder = lab.folder / "nodes" / node / "agent/attachments"
    return [json.loads(path.read_text())["attachment"] for path in folder.glob("*.json")]


def descriptors(lab: Lab) -> dict[str, Counter[str]]:
    """Return component → kind of open file → how many; pods left out."""
    found: dict[str, Counter[str]] = {}
    for record in (lab.folder / "run").iterdir():
        pid = json.loads(record.read_text())["pid"]
        assert Path(f"/proc/{pid}").exists(), f"{record.stem} does not run"
        kinds: Counter[str] = Counter()
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                kinds[os.readlink(entry).partition(":")[0].partition("/")[0] or "file"] += 1  # noqa: PTH115
            except FileNotFoundError:
                continue
        kinds["threads"] = len(list(Path(f"/proc/{pid}/task").iterdir()))
        found[record.stem] = kinds
    return found

"""Running a command at a place of the lab's network: its network namespace and its resolv.conf."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fairlead.base.errors import UserError
from fairlead.lab.home import LabHome
from fairlead.lab.topology import CLUSTER_DNS, Topology

_BIND_AND_RUN = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'


class _Sandbox(msgspec.Struct, frozen=True):
    namespace: str
    name: str
    netns: str | None
    resolv_conf: str


def enter(home: LabHome, topology: Topology, where: str, command: Sequence[str]) -> list[str]:
    """Return the argument vector that runs `command` at `where`; raises UserError for a place that is not there."""
    if shutil.which(command[0]) is None:
        raise UserError(
            f"{command[0]!r} is not a program of this machine", fix="name a program of the host, or its path"
        )
    kind, _, rest = where.partition("/")
    if kind == "internet" and not rest:
        return _argv(home.namespace("internet"), None, command)
    if kind == "node":
        if rest not in {node.name for node in topology.nodes}:
            known = ", ".join(node.name for node in topology.nodes)
            raise UserError(f"there is no node {rest!r} in lab {home.name!r}", fix=f"one of: {known}")
        return _argv(home.namespace(rest), _node_resolv_conf(home, rest), command)
    if kind == "pod" and rest.count("/") == 1:
        namespace, name = rest.split("/")
        return _pod(home, namespace, name, command)
    raise UserError(f"{where!r} is not a place", fix="use internet, node/NAME or pod/NAMESPACE/NAME")


def _pod(home: LabHome, namespace: str, name: str, command: Sequence[str]) -> list[str]:
    for file in (home.folder / "nodes").glob("*/pods/*/sandbox.json"):
        try:
            sandbox = msgspec.json.decode(file.read_bytes(), type=_Sandbox)
        except (OSError, msgspec.DecodeError):
            continue
        if (sandbox.namespace, sandbox.name) == (namespace, name):
            resolv_conf = file.parent / "resolv.conf"
            resolv_conf.write_text(sandbox.resolv_conf)
            node = file.parts[-4]
            return _argv(Path(sandbox.netns).name if sandbox.netns else home.namespace(node), resolv_conf, command)
    raise UserError(f"no pod {namespace}/{name} runs in lab {home.name!r}", fix="see `kubectl get pods -A`")


def _node_resolv_conf(home: LabHome, node: str) -> Path:
    file = home.node(node) / "resolv.conf"
    file.write_text(f"nameserver {CLUSTER_DNS[0]}\n")
    return file


def _argv(namespace: str, resolv_conf: Path | None, command: Sequence[str]) -> list[str]:
    argv = ["nsenter", f"--net=/run/netns/{namespace}", "--"]
    if resolv_conf is not None:
        argv += ["unshare", "--mount", "--propagation", "private", "sh", "-c", _BIND_AND_RUN, "sh", str(resolv_conf)]
    return [*argv, *command]

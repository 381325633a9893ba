"""Puts the plugin executable and the network configuration where a container runtime looks for them, and takes them away again.

The configuration appears last and disappears first, because runtimes take it for the sign that the network works.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from fairlead.agent.cni.protocol import VERSIONS

PLUGIN = "fairlead"
CONFLIST = "10-fairlead.conflist"
DEBIAN_PACKAGES = ("containernetworking-plugins", "iptables")
"""What the chained plugins come from: their executables, and what `portmap` runs."""

_CHAINED: dict[str, dict[str, Any]] = {
    "portmap": {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
    "bandwidth": {"type": "bandwidth", "capabilities": {"bandwidth": True}},
}
_NEWEST = VERSIONS[-1]
_PROBE_TIMEOUT_S = 5
# The kernel reads no more of the first line of a script (BINPRM_BUF_SIZE), and splits it at white space.
_SHEBANG_BYTES = 250


class Installation(msgspec.Struct, frozen=True):
    """What was written."""

    plugin: Path
    conflist: Path
    version: str
    """CNI version of the configuration: the newest one that every plugin of the chain speaks."""
    missing: tuple[str, ...]
    """Chained plugins that were found nowhere and were left out of the chain."""


def install(
    socket_path: Path, bin_dir: Path, conf_dir: Path, plugin_path: Sequence[Path], *, network: str = "fairlead"
) -> Installation:
    """Write executable and configuration, each in one step; raises OSError. Running it again changes nothing.

    `plugin_path` lists the folders that hold the reference plugins.
    """
    plugin = bin_dir / PLUGIN
    _replace(plugin, executable(socket_path).encode(), 0o755)
    chain = {name: _versions(path) for name in _CHAINED if (path := _find(name, plugin_path))}
    found = {name: versions for name, versions in chain.items() if not set(VERSIONS).isdisjoint(versions)}
    common = [each for each in VERSIONS if all(each in versions for versions in found.values())]
    version = common[-1] if common else _NEWEST
    plugins = [{"type": PLUGIN, "capabilities": {"ips": True}}, *(_CHAINED[name] for name in found)]
    document: dict[str, Any] = {"cniVersion": version, "name": network}
    # A portmap that does not speak 1.1.0 looks for the rules of each address in the tables of both families: its CHECK of a
    # dual-stack pod with a host port always fails, and disableCheck is what the specification has for that.
    if _NEWEST not in found.get("portmap", [_NEWEST]):
        document["disableCheck"] = True
    document["plugins"] = plugins
    conflist = conf_dir / CONFLIST
    _replace(conflist, msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n", 0o644)
    return Installation(plugin, conflist, version, tuple(name for name in _CHAINED if name not in found))


def uninstall(bin_dir: Path, conf_dir: Path) -> None:
    """Remove what `install` wrote; nothing there is fine."""
    (conf_dir / CONFLIST).unlink(missing_ok=True)
    (bin_dir / PLUGIN).unlink(missing_ok=True)


def executable(socket_path: Path) -> str:
    """Return the text of the plugin for the agent at `socket_path`."""
    source = resources.files("fairlead.agent.cni").joinpath("plugin.py").read_text(encoding="utf-8")
    default = 'SOCKET = "/run/fairlead/agent.sock"'
    if default not in source:
        raise ValueError("plugin.py has no SOCKET to replace")
    return _shebang() + source.replace(default, f"SOCKET = {str(socket_path.absolute())!r}", 1)


def _shebang() -> str:
    # The interpreter itself and not the environment's link to it: it need not look for pyvenv.cfg, and it stays when that goes.
    interpreter = os.path.realpath(sys.executable)
    if len(interpreter) <= _SHEBANG_BYTES and not any(character.isspace() for character in interpreter):
        return f"#!{interpreter} -ISE\n"
    quoted = "'" + interpreter.replace("'", "'\\''") + "'"
    return f"#!/bin/sh\n''''exec {quoted} -ISE \"$0\" # '''\n"


def _find(name: str, folders: Sequence[Path]) -> Path | None:
    return next((folder / name for folder in folders if os.access(folder / name, os.X_OK)), None)


def _versions(path: Path) -> list[str]:
    """Return the spec versions that a plugin says it speaks, none when it cannot be asked."""
    try:
        done = subprocess.run(
            [path],
            input=b'{"cniVersion":"1.0.0"}',
            env={"CNI_COMMAND": "VERSION", "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin")},
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=True,
        )
        return list(msgspec.json.decode(done.stdout)["supportedVersions"])
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError, KeyError, TypeError):
        return []


def _replace(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_bytes() == content and path.stat().st_mode & 0o777 == mode:
        return
    # A name that starts with a dot and ends otherwise is no configuration to any runtime.
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.chmod(mode)
    temporary.replace(path)

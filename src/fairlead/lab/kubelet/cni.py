"""The container runtime's side of CNI: finds the network configuration list, executes its plugins in a chain, keeps results for DEL.

Sources: CNI specification 1.1 (sections 1, 2, 4) and, for files and names, what libcni and containerd do. It must never know which plugin
it executes, and never call ADD without leaving behind what a later DEL needs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from fairlead.lab.kubelet.atomic import write_atomically
from fairlead.lab.kubelet.execution import execute

Json: TypeAlias = dict[str, Any]

log = logging.getLogger(__name__)

SUPPORTED = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
INTERFACE = "eth0"
_TIMEOUT_S = 60.0
_PARALLEL = 4
_UNKNOWN_COMMAND = 4
_NO_CONFIGURATION = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:Network plugin returns error: "
)
NOT_INITIALIZED = _NO_CONFIGURATION + "cni plugin not initialized"


class CniError(Exception):
    """A plugin failed. The message names plugin and operation as libcni does; `code` is CNI's, 0 where the plugin gave none."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkList:
    """A network configuration list as found on disk."""

    name: str
    version: str
    plugins: tuple[Json, ...]
    disable_check: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """The pod to attach: what becomes CNI_CONTAINERID, CNI_NETNS, CNI_ARGS and runtimeConfig."""

    container_id: str
    netns: str
    args: tuple[tuple[str, str], ...] = ()
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    """Name of a capability → what a plugin that declares it gets as runtimeConfig."""


def parse_list(text: str | bytes) -> NetworkList:
    """Return the list in a .conflist or .conf file; raises ValueError that says what is wrong."""
    config = json.loads(text)
    if not isinstance(config, dict):
        raise ValueError("not a JSON object")
    plugins = config.get("plugins") if "plugins" in config else [config]
    if not isinstance(plugins, list) or not plugins:
        raise ValueError("no plugins in list")
    if not all(isinstance(plugin, dict) and plugin.get("type") for plugin in plugins):
        raise ValueError("a plugin has no type")
    if not config.get("name"):
        raise ValueError("the list has no name")
    offered = [config.get("cniVersion") or "0.2.0", *(config.get("cniVersions") or ())]
    versions = [version for version in SUPPORTED if version in offered]
    if not versions:
        raise ValueError(f"cniVersion {', '.join(offered)} is not supported")
    disabled = str(config.get("disableCheck", False)).lower() == "true"
    return NetworkList(name=config["name"], version=versions[-1], plugins=tuple(plugins), disable_check=disabled)


def request(
    network: NetworkList, plugin: Json, capabilities: Mapping[str, Any], previous: Json | None
) -> dict[str, Any]:
    """Return what a plugin reads on its standard input (specification, section 4: deriving execution configuration)."""
    config = {key: value for key, value in plugin.items() if key not in ("capabilities", "runtimeConfig", "prevResult")}
    config |= {"name": network.name, "cniVersion": network.version}
    declared = plugin.get("capabilities") or {}
    runtime = {name: value for name, value in capabilities.items() if declared.get(name) and value}
    if runtime:
        config["runtimeConfig"] = runtime
    if previous is not None:
        config["prevResult"] = previous
    return config


def addresses(result: Json) -> tuple[str, ...]:
    """Return the pod's addresses in a result, without prefix lengths, IPv4 first."""
    interfaces = result.get("interfaces") or []
    found = []
    for entry in result.get("ips") or ():
        index = entry.get("interface")
        if index is not None and index < len(interfaces) and not interfaces[index].get("sandbox"):
            continue
        found.append(str(entry["address"]).partition("/")[0])
    return tuple(sorted(found, key=lambda address: ":" in address))


class Cni:
    """The network of one node's pods, as far as a container runtime sees it."""

    def __init__(self, *, conf_dir: Path, bin_dirs: Sequence[Path], cache_dir: Path) -> None:
        self._conf_dir = conf_dir
        self._bin_dirs = tuple(bin_dirs)
        self._cache_dir = cache_dir
        self._loaded: tuple[tuple[str, int, int], NetworkList] | None = None
        self._slots = asyncio.Semaphore(_PARALLEL)

    def network(self) -> NetworkList | None:
        """Return the first valid configuration list by file name, None while there is none. Reads the file only when it changed."""
        try:
            files = sorted(
                (entry for entry in os.scandir(self._conf_dir) if entry.name.endswith((".conflist", ".conf", ".json"))),
                key=lambda entry: entry.name,
            )
        except OSError:
            return None
        for entry in files:
            try:
                stat = entry.stat()
                mark = (entry.path, stat.st_mtime_ns, stat.st_size)
                if self._loaded is None or self._loaded[0] != mark:
                    self._loaded = mark, parse_list(Path(entry.path).read_bytes())
                return self._loaded[1]
            except (OSError, ValueError) as error:
                log.info("network configuration skipped", extra={"file": entry.path, "error": str(error)})
        return None

    async def not_ready(self) -> str | None:
        """Return None when pods can be attached, else the node condition's message. Executes STATUS where the list is of CNI 1.1."""
        network = self.network()
        if network is None:
            return NOT_INITIALIZED
        if network.version < "1.1.0":
            return None
        for plugin in network.plugins:
            try:
                await self._execute("STATUS", plugin, request(network, plugin, {}, None), {})
            except CniError as error:
                if error.code != _UNKNOWN_COMMAND:
                    return _NO_CONFIGURATION + str(error)
        return None

    async def add(self, attachment: Attachment) -> Json:
        """Attach the pod and return the last plugin's result; raises CniError, after which `delete` must follow."""
        network = self.network()
        if network is None:
            raise CniError("cni plugin not initialized")
        entry = {
            "kind": "cniCacheV1",
            "containerId": attachment.container_id,
            "ifName": INTERFACE,
            "networkName": network.name,
            "netns": attachment.netns,
            "cniArgs": [list(pair) for pair in attachment.args],
            "capabilityArgs": dict(attachment.capabilities),
            "config": {"name": network.name, "cniVersion": network.version, "plugins": list(network.plugins)},
            "result": None,
        }
        # Before the first plugin runs: whoever is killed in between must still find what to undo.
        self._write(entry)
        variables = self._variables(attachment.container_id, attachment.netns, attachment.args)
        result: Json | None = None
        for plugin in network.plugins:
            config = request(network, plugin, attachment.capabilities, result)
            result = await self._execute("ADD", plugin, config, variables)
        if result is None:
            raise CniError(f"network {network.name} returned no result")
        entry["result"] = result
        self._write(entry)
        return result

    async def delete(self, container_id: str) -> None:
        """Detach the pod, plugins in reverse order; fine when it is not attached. Raises CniError: try again later."""
        entry = self._read(container_id)
        if entry is None:
            return
        network = parse_list(json.dumps(entry["config"]))
        args = tuple((str(key), str(value)) for key, value in entry["cniArgs"])
        variables = self._variables(container_id, entry["netns"], args)
        for plugin in reversed(network.plugins):
            config = request(network, plugin, entry["capabilityArgs"], entry["result"])
            await self._execute("DEL", plugin, config, variables)
        self._file(container_id).unlink(missing_ok=True)

    def result(self, container_id: str) -> Json | None:
        """Return the result of the ADD that completed for this pod, None if there is none."""
        entry = self._read(container_id)
        return entry["result"] if entry else None

    def cached(self) -> list[str]:
        """Return the container IDs of all attachments that were begun and not deleted."""
        suffix = f"-{INTERFACE}.json"
        try:
            return [file.name.removesuffix(suffix) for file in self._cache_dir.iterdir() if file.name.endswith(suffix)]
        except OSError:
            return []

    def begun(self, container_id: str) -> bool:
        """Tell whether an attachment was begun and not deleted."""
        return self._file(container_id).exists()

    def netns(self, container_id: str) -> str | None:
        """Return the network namespace's path of an attachment that was begun."""
        entry = self._read(container_id)
        return str(entry["netns"]) if entry else None

    def _file(self, container_id: str) -> Path:
        return self._cache_dir / f"{container_id}-{INTERFACE}.json"

    def _write(self, entry: Json) -> None:
        write_atomically(self._file(entry["containerId"]), json.dumps(entry).encode())

    def _read(self, container_id: str) -> Json | None:
        try:
            return dict(json.loads(self._file(container_id).read_bytes()))
        except (OSError, ValueError):
            return None

    def _variables(self, container_id: str, netns: str, args: Sequence[tuple[str, str]]) -> dict[str, str]:
        return {
            "CNI_CONTAINERID": container_id,
            "CNI_NETNS": netns,
            "CNI_IFNAME": INTERFACE,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in args),
        }

    async def _execute(self, command: str, plugin: Json, config: Json, variables: Mapping[str, str]) -> Json | None:
        name = str(plugin["type"])
        program = next((path for folder in self._bin_dirs if (path := folder / name).is_file()), None)
        if program is None:
            folders = [str(folder) for folder in self._bin_dirs]
            raise CniError(f'failed to find plugin "{name}" in path {folders}')
        environment = os.environ | variables | {"CNI_COMMAND": command, "CNI_PATH": ":".join(map(str, self._bin_dirs))}
        async with self._slots:
            try:
                ended = await execute(
                    program, environment=environment, stdin=json.dumps(config).encode(), timeout_s=_TIMEOUT_S
                )
            except TimeoutError:
                raise CniError(f'plugin type="{name}" ({command}) gave no answer in {_TIMEOUT_S:g} s') from None
            except OSError as error:
                raise CniError(f'plugin type="{name}" ({command}) cannot be started: {error.strerror}') from error
        return _answer(command, name, ended.code, ended.output, ended.errors)


def _answer(command: str, name: str, code: int | None, output: bytes, errors: bytes) -> Json | None:
    prefix = f'plugin type="{name}" failed ({command.lower()}): '
    try:
        answer = json.loads(output) if output.strip() else None
    except ValueError as error:
        answer = None
        if code == 0:
            raise CniError(f"{prefix}netplugin answered no JSON: {error}") from error
    if code:
        if isinstance(answer, dict) and answer.get("msg"):
            details = f": {answer['details']}" if answer.get("details") else ""
            raise CniError(f"{prefix}{answer['msg']}{details}", int(answer.get("code") or 0))
        text = errors.decode(errors="replace").strip() or f"exit status {code}"
        raise CniError(prefix + text)
    return answer if isinstance(answer, dict) else None

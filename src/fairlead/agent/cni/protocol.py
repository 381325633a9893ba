"""The CNI protocol as values: what a runtime's request means and how an answer reads, for every spec version that is spoken.

Source: CNI SPEC 1.1.0 (and 0.3.0 to 1.0.0), CONVENTIONS.md. Nothing here may touch a socket, a file or the kernel.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import msgspec

from fairlead.world.attachment import Attachment

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Every spec version that requests may use, oldest first."""
COMMANDS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
MOST_BYTES = 1 << 20
"""Largest network configuration that is read, in bytes; well-known ones stay below 10 KiB."""
GATEWAYS = {4: "169.254.1.1", 6: "fe80::1"}
"""Next hop of a pod's default route, by IP version; the node answers for both on every pod's link."""
HOST_MAC = "ee:ee:ee:ee:ee:ee"

_CONTAINER_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_NETWORK_NAME = _CONTAINER_ID
_INTERFACE = re.compile(r"[^\s/:\x00]{1,15}")
_MOST_ID_BYTES = 1024
# Since when a command exists; a runtime that speaks an older version must not be answered as if it did not.
_SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
# Keys that would change what a user gets if they were silently ignored.
_UNSUPPORTED = ("ipam", "ipMasq")


class Code(IntEnum):
    """The error codes of SPEC section 5; 100 and above are ours."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODE_FAILURE = 6
    INVALID_CONFIG = 7
    TRY_AGAIN = 11
    NOT_AVAILABLE = 50
    LIMITED_CONNECTIVITY = 51
    INTERFACE_EXISTS = 100
    CHECK_FAILED = 101


class CniError(Exception):
    """A request that is answered by an error: `code` says what the runtime may do about it."""

    def __init__(self, code: Code, message: str, details: str = "") -> None:
        super().__init__(f"{message}: {details}" if details else message)
        self.code = code
        self.message = message
        self.details = details


class ValidAttachment(msgspec.Struct, frozen=True):
    """An attachment that the runtime still knows (GC)."""

    containerID: str
    ifname: str


class _RuntimeConfig(msgspec.Struct, frozen=True):
    ips: tuple[str, ...] = ()


class _CniArgs(msgspec.Struct, frozen=True):
    ips: tuple[str, ...] = ()


class _Args(msgspec.Struct, frozen=True):
    cni: _CniArgs | None = None


class Config(msgspec.Struct, frozen=True):
    """The part of a plugin's configuration object that matters to us; other keys are passed over, as SPEC section 1 demands."""

    cniVersion: str = "0.1.0"
    name: str = ""
    type: str = ""
    prevResult: dict[str, Any] | None = None
    runtimeConfig: _RuntimeConfig | None = None
    args: _Args | None = None
    dns: dict[str, Any] | None = None
    valid_attachments: tuple[ValidAttachment, ...] | msgspec.UnsetType | None = msgspec.field(
        name="cni.dev/valid-attachments", default=msgspec.UNSET
    )


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One valid request. Fields that a command does not take are empty."""

    command: str
    version: str
    network: str = ""
    container_id: str = ""
    netns: str = ""
    ifname: str = ""
    pod_namespace: str = ""
    pod_name: str = ""
    pod_uid: str = ""
    requested: tuple[str, ...] = ()
    """Addresses that the runtime asks for, canonical text without a prefix length."""
    previous: Mapping[str, Any] | None = None
    """`prevResult`."""
    dns: Mapping[str, Any] | None = None
    valid: frozenset[tuple[str, str]] = frozenset()
    """GC: (container id, interface) of every attachment that is to stay."""


def parse(environment: Mapping[str, str], stdin: bytes) -> Request:
    """Return the request that `environment` (CNI_* variables) and `stdin` (network configuration) make; raises CniError."""
    command = environment.get("CNI_COMMAND", "")
    if command not in COMMANDS:
        raise _bad_variable("CNI_COMMAND", f"{command!r} is none of {', '.join(COMMANDS)}")
    if len(stdin) > MOST_BYTES:
        raise CniError(Code.IO_FAILURE, "network configuration too large", f"more than {MOST_BYTES} bytes")
    config = _config(stdin)
    if command == "VERSION":
        return Request(command=command, version=config.cniVersion)
    _check_version(command, config.cniVersion)
    _check_config(config, stdin)
    request = Request(command=command, version=config.cniVersion, network=config.name, dns=config.dns)
    if command == "STATUS":
        return request
    if command == "GC":
        return msgspec.structs.replace(request, valid=_valid(config))
    return _attachment_request(request, environment, config)


def version_result(version: str) -> bytes:
    """Return the answer to VERSION."""
    return msgspec.json.encode({"cniVersion": version, "supportedVersions": VERSIONS})


def error_result(error: CniError, version: str) -> bytes:
    """Return `error` as SPEC section 5 has it; a version that is not spoken is answered in the newest one."""
    answer: dict[str, Any] = {"cniVersion": version if version in VERSIONS else VERSIONS[-1], "code": int(error.code)}
    answer["msg"] = error.message
    if error.details:
        answer["details"] = error.details
    return msgspec.json.encode(answer)


def add_result(request: Request, attachment: Attachment) -> bytes:
    """Return the result of ADD in the version of `request`: what was there before (`prevResult`) and then ours."""
    version = VERSIONS.index(request.version)
    previous = dict(request.previous or {})
    interfaces = list(previous.get("interfaces") or [])
    ips = list(previous.get("ips") or [])
    routes = list(previous.get("routes") or [])
    host: dict[str, Any] = {"name": attachment.host_ifname, "mac": HOST_MAC}
    pod: dict[str, Any] = {"name": attachment.ifname, "mac": attachment.mac, "sandbox": attachment.netns}
    if version >= VERSIONS.index("1.1.0"):
        host["mtu"] = pod["mtu"] = attachment.mtu
    for address in attachment.addresses:
        family, bits = (6, 128) if ":" in address else (4, 32)
        ip: dict[str, Any] = {
            "address": f"{address}/{bits}",
            "gateway": GATEWAYS[family],
            "interface": len(interfaces) + 1,
        }
        if version < VERSIONS.index("1.0.0"):
            ip["version"] = str(family)
        ips.append(ip)
        routes.append({"dst": "::/0" if family == 6 else "0.0.0.0/0", "gw": GATEWAYS[family]})
    result = previous | {
        "cniVersion": request.version,
        "interfaces": [*interfaces, host, pod],
        "ips": ips,
        "routes": routes,
    }
    result["dns"] = request.dns or previous.get("dns") or {}
    return msgspec.json.encode(result)


def result_mismatch(request: Request, attachment: Attachment) -> str | None:
    """Return how `prevResult` of CHECK contradicts what this node holds, or None.

    A later plugin of the chain may have added to the result or changed a hardware address; what we made must still be named.
    """
    result = request.previous or {}
    try:
        interfaces = [(entry.get("name"), entry.get("sandbox", "")) for entry in result.get("interfaces") or []]
        listed = {str(ipaddress.ip_interface(entry["address"]).ip) for entry in result.get("ips") or []}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CniError(Code.DECODE_FAILURE, "prevResult cannot be read", str(error)) from error
    if (attachment.ifname, attachment.netns) not in interfaces:
        return f"prevResult names no interface {attachment.ifname} in {attachment.netns}"
    if missing := [address for address in attachment.addresses if address not in listed]:
        return f"the node holds {', '.join(missing)} for this attachment, which prevResult does not list"
    return None


def version_of(stdin: bytes) -> str:
    """Return the `cniVersion` of a configuration that may be broken: the newest one if it cannot be told."""
    try:
        return _config(stdin).cniVersion
    except CniError:
        return VERSIONS[-1]


def _config(stdin: bytes) -> Config:
    try:
        return msgspec.json.decode(stdin, type=Config)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError) as error:
        raise CniError(Code.DECODE_FAILURE, "network configuration cannot be read", str(error)) from error


def _check_version(command: str, version: str) -> None:
    if version not in VERSIONS:
        spoken = ", ".join(VERSIONS)
        raise CniError(
            Code.INCOMPATIBLE_VERSION, "incompatible CNI version", f"cniVersion {version!r} is none of {spoken}"
        )
    since = _SINCE.get(command)
    if since and VERSIONS.index(version) < VERSIONS.index(since):
        raise CniError(
            Code.INCOMPATIBLE_VERSION, "incompatible CNI version", f"{command} exists since {since}, not in {version}"
        )


def _check_config(config: Config, stdin: bytes) -> None:
    if not config.name or not _NETWORK_NAME.fullmatch(config.name):
        raise CniError(Code.INVALID_CONFIG, "invalid network name", f"name is {config.name!r}")
    document = msgspec.json.decode(stdin)
    for key in _UNSUPPORTED:
        if document.get(key):
            value = msgspec.json.encode(document[key]).decode()
            raise CniError(
                Code.UNSUPPORTED_FIELD, "unsupported field", f"{key}: {value}; addresses come from the node's podCIDRs"
            )


def _valid(config: Config) -> frozenset[tuple[str, str]]:
    listed = config.valid_attachments
    if isinstance(listed, msgspec.UnsetType):
        # Absent is not empty: taking it for empty would detach every pod of the node.
        raise CniError(Code.INVALID_CONFIG, "missing field", "GC needs cni.dev/valid-attachments")
    return frozenset((entry.containerID, entry.ifname) for entry in listed or ())


def _attachment_request(request: Request, environment: Mapping[str, str], config: Config) -> Request:
    container_id = environment.get("CNI_CONTAINERID", "")
    if not _CONTAINER_ID.fullmatch(container_id) or len(container_id) > _MOST_ID_BYTES:
        raise _bad_variable(
            "CNI_CONTAINERID", f"{container_id[:80]!r} is not an alphanumeric followed by any of [a-zA-Z0-9_.-]"
        )
    ifname = environment.get("CNI_IFNAME", "")
    if not _INTERFACE.fullmatch(ifname) or len(ifname.encode()) > 15 or ifname in (".", ".."):
        raise _bad_variable("CNI_IFNAME", f"{ifname[:80]!r} is not an interface name of 1 to 15 bytes")
    netns = environment.get("CNI_NETNS", "")
    if request.command != "DEL" and not netns.startswith("/"):
        raise _bad_variable("CNI_NETNS", f"{netns!r} is not the path of a network namespace")
    if request.command == "CHECK" and config.prevResult is None:
        raise CniError(Code.INVALID_CONFIG, "missing field", "CHECK needs prevResult")
    # DEL must clean up whatever else is wrong, so it does not look at arguments that it does not need.
    arguments = {} if request.command == "DEL" else _arguments(environment.get("CNI_ARGS", ""))
    return msgspec.structs.replace(
        request,
        container_id=container_id,
        ifname=ifname,
        netns=netns,
        previous=config.prevResult,
        pod_namespace=arguments.get("K8S_POD_NAMESPACE", ""),
        pod_name=arguments.get("K8S_POD_NAME", ""),
        pod_uid=arguments.get("K8S_POD_UID", ""),
        requested=_requested(config, arguments) if request.command == "ADD" else (),
    )


def _arguments(text: str) -> dict[str, str]:
    pairs = [pair.split("=") for pair in text.split(";")] if text else []
    if bad := [pair for pair in pairs if len(pair) != 2]:
        raise _bad_variable("CNI_ARGS", f"invalid pair {'='.join(bad[0])!r}")
    return {pair[0]: pair[1] for pair in pairs}


def _requested(config: Config, arguments: Mapping[str, str]) -> tuple[str, ...]:
    """Return the addresses asked for: a capability before `args.cni.ips` before CNI_ARGS (CONVENTIONS.md)."""
    texts: tuple[str, ...] = ()
    if config.runtimeConfig and config.runtimeConfig.ips:
        texts = config.runtimeConfig.ips
    elif config.args and config.args.cni and config.args.cni.ips:
        texts = config.args.cni.ips
    elif arguments.get("IP"):
        texts = tuple(arguments["IP"].split(","))
    try:
        return tuple(str(ipaddress.ip_interface(text).ip) for text in texts)
    except ValueError as error:
        raise CniError(Code.INVALID_CONFIG, "invalid requested address", str(error)) from error


def _bad_variable(name: str, why: str) -> CniError:
    return CniError(Code.INVALID_ENVIRONMENT, "invalid environment variable", f"{name}: {why}")

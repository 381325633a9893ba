"""Whether this machine can carry a lab: each need is probed, never assumed, and named when it is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from fairlead.base.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    what: str
    probe: str
    """Shell commands that succeed if and only if the need is met; run in fresh namespaces."""
    fix: str


_PROGRAMS = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux", "sysctl": "procps", "mount": "mount"}
_NEEDS = (
    _Need(
        what="virtual Ethernet links (CONFIG_VETH)",
        probe="ip link add fl0 type veth peer name fl1",
        fix="load the kernel module veth",
    ),
    _Need(what="bridges (CONFIG_BRIDGE)", probe="ip link add fl2 type bridge", fix="load the kernel module bridge"),
    _Need(
        what="VXLAN (CONFIG_VXLAN)",
        probe="ip link add fl3 type vxlan id 1 dstport 4789 local 127.0.0.1",
        fix="load the kernel module vxlan",
    ),
    _Need(
        what="nftables with address translation (CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, CONFIG_NFT_NUMGEN)",
        probe="nft 'table inet t { chain c { type nat hook prerouting priority dstnat; "
        "dnat ip to numgen random mod 2 map { 0 : 192.0.2.1, 1 : 192.0.2.2 }; }; }'",
        fix="load the kernel modules nf_tables, nft_nat and nft_numgen",
    ),
    _Need(
        what="overlay file systems (CONFIG_OVERLAY_FS)",
        probe="mount -t tmpfs fl /mnt && mkdir /mnt/u /mnt/w /mnt/m && "
        "mount -t overlay fl -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/m",
        fix="load the kernel module overlay",
    ),
    _Need(what="IPv6", probe="sysctl -q -w net.ipv6.conf.lo.disable_ipv6=0", fix="boot without ipv6.disable=1"),
)


def check() -> None:
    """Raise UserError naming the first thing that a lab needs and this machine lacks; takes about 50 ms."""
    if os.geteuid() != 0:
        raise UserError(
            "a lab needs root: it makes network namespaces, links and rules", fix="run it with sudo or as root"
        )
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            raise UserError(f"the program {program!r} is missing", fix=f"apt-get install {package}")
    script = " && ".join(f"{{ {need.probe}; }} >/dev/null 2>&1 || exit {number}" for number, need in _numbered())
    command = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return
    missing = dict(_numbered()).get(result.returncode)
    if missing is None:
        raise UserError(
            f"namespaces cannot be made: {result.stderr.strip()}", fix="run on the machine itself or privileged"
        )
    raise UserError(f"this machine lacks {missing.what}", fix=missing.fix)


def _numbered() -> list[tuple[int, _Need]]:
    return list(enumerate(_NEEDS, start=100))

"""A client, a node and a pod in namespaces of their own, and connections from one end to the other.

The kernel carries a whole handshake within the client's call, so that the time of that call is the time of the path.
"""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import time

from fairlead.base.errors import UserError
from fairlead.lab.bench.policy_world import addresses, interface
from fairlead.lab.bench.sync import namespace
from fairlead.lab.netns import make_socket
from fairlead.plan.plan import Plan
from fairlead.plan.policy import PolicyChain, PolicyGroup, PolicyPod

_PORT = 8080
_NODE_MAC, _END_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
_GATEWAY = "169.254.1.1"
_SERVER = 0
"""Number of the pod that is connected to."""


def a_permitted_client(plan: Plan) -> str:
    """Return an IPv4 address that the last rule of the pod's longest way permits: the dearest connection; raises UserError for none."""
    pod = plan.table("policy_pods").get((interface(_SERVER),))
    chain = plan.table("policy_chains").get((pod.ingress,)) if isinstance(pod, PolicyPod) else None
    for rule in reversed(chain.rules if isinstance(chain, PolicyChain) else ()):
        group = plan.table("policy_groups").get((rule.peers,))
        members = group.members if isinstance(group, PolicyGroup) and rule.verdict == "allow" else ()
        for member in members:
            if ":" not in member and member != addresses(_SERVER)[0]:
                return member
    raise UserError("no policy of this world permits anything", fix="measure with more pods and policies")


class Path:
    """A context manager that makes the namespaces and removes them."""

    def __init__(self, purpose: str, client: str) -> None:
        self._purpose, self._client = purpose, client
        self._stack = contextlib.ExitStack()
        self._server: socket.socket | None = None

    def __enter__(self) -> Path:
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def connect(self) -> float:
        """Open and end one connection; return the seconds until it was open."""
        assert self._server is not None
        with make_socket(self._client_path, socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            begun = time.perf_counter()
            client.connect((addresses(_SERVER)[0], _PORT))
            taken = time.perf_counter() - begun
            self._server.accept()[0].close()
        return taken

    def _build(self) -> None:
        self.node = self._stack.enter_context(namespace(f"{self._purpose}-node"))
        self._client_path = self._stack.enter_context(namespace(f"{self._purpose}-client"))
        pod = self._stack.enter_context(namespace(f"{self._purpose}-pod"))
        _end(self.node, self._client_path, "uplink", self._client)
        _end(self.node, pod, interface(_SERVER), addresses(_SERVER)[0])
        _run("nsenter", f"--net={self.node}", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        self._server = self._stack.enter_context(make_socket(pod, socket.AF_INET, socket.SOCK_STREAM))
        self._server.bind((addresses(_SERVER)[0], _PORT))
        self._server.listen(16)


def _end(node: pathlib.Path, end: pathlib.Path, device: str, address: str) -> None:
    """Connect a namespace to the node by a link, as a pod is: one address, no neighbor discovery, a route to everywhere."""
    link = f"link add {device} address {_NODE_MAC} type veth peer name eth0 address {_END_MAC} netns {end.name}"
    for line in (
        link,
        f"link set {device} up",
        f"neighbor add {address} lladdr {_END_MAC} dev {device} nud permanent",
        f"route add {address} dev {device}",
    ):
        _run("ip", "-n", node.name, *line.split())
    for line in (
        "link set lo up",
        "link set eth0 up",
        f"address add {address}/32 dev eth0",
        f"neighbor add {_GATEWAY} lladdr {_NODE_MAC} dev eth0 nud permanent",
        f"route add default via {_GATEWAY} dev eth0 onlink",
    ):
        _run("ip", "-n", end.name, *line.split())


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{' '.join(argv)}: {done.stderr.strip()}; run as root")
    return done.stdout

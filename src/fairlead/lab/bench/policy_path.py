"""A client, a node and a pod in namespaces of their own, and connections from one end to the other.

The kernel carries a whole handshake within the client's call, so that the time of that call is the time of the path.
"""

from __future__ import annotations

import contextlib
import socket
import time

from fairlead.base.errors import UserError
from fairlead.lab.bench.places import attach, forward, namespace
from fairlead.lab.bench.policy_world import addresses, interface
from fairlead.lab.netns import make_socket
from fairlead.plan.plan import Plan
from fairlead.plan.policy import PolicyChain, PolicyGroup, PolicyPod

_PORT = 8080
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
        attach(self.node, self._client_path, "uplink", self._client)
        attach(self.node, pod, interface(_SERVER), addresses(_SERVER)[0])
        forward(self.node)
        self._server = self._stack.enter_context(make_socket(pod, socket.AF_INET, socket.SOCK_STREAM))
        self._server.bind((addresses(_SERVER)[0], _PORT))
        self._server.listen(16)

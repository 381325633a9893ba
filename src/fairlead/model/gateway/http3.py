"""Which listeners serve HTTP/3 beside what they serve over TCP, and why others that should do not. Pure.

Source: RFC 9114, RFC 9000. What a listener promises over TCP it keeps over QUIC or is not there: nothing is open at its UDP port that is closed
at its TCP port.
"""

from __future__ import annotations

from collections.abc import Collection

from fairlead.model.gateway.listeners import BoundListener, Verdict
from fairlead.plan.gateway.client import Socket


def verdict(listener: BoundListener, socket: Socket, datagrams: Collection[int]) -> Verdict | None:
    """Return what becomes of the wish that a usable listener serve HTTP/3; None where that is no question.

    `datagrams` are the ports of its Gateway's listeners of UDP.
    """
    if listener.protocol != "HTTPS" or not listener.terminates:
        return None
    if listener.clients is not None:
        return Verdict("ClientCertificates", "the Gateway's tls.frontend wants certificates of clients: over TCP alone")
    if socket.proxy_protocol:
        return Verdict("ProxyProtocol", "the PROXY protocol says who the client is: over TCP alone")
    if listener.port in datagrams:
        return Verdict("PortInUse", f"a listener of protocol UDP has port {listener.port}")
    return Verdict()

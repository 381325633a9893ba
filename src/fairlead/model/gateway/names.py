"""Names and numbers on which the controller, the model and the agent agree. It must never depend on any of them."""

from __future__ import annotations

import hashlib

from fairlead.api.listenerset import ListenerSet
from fairlead.api.meta import ObjectMeta
from fairlead.world.events import ObjectKey

CONTROLLER = "fairlead.dev/gateway-controller"
"""`spec.controllerName` of GatewayClasses that are ours."""
GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
"""Label of what a Gateway causes (GEP-1762)."""
FIRST_PORT, LAST_PORT = 20000, 24999
"""Ports of nodes on which proxies listen; outside of the kernel's ephemeral ports and of the node ports."""
PART = "~"
"""Parts a route's name from what tells apart the several that one Ingress means; never part of an object's name."""
PASSED = "Ingress/tls"
"""As what an Ingress attaches to a listener whose connections it hands on; no kind of object has this name."""
_LONGEST = 63
_LONGEST_FOLDER = 200
_PREFIX = "fairlead-gateway-"


def kind_name(group: str, kind: str) -> str:
    """Return a kind as users know it."""
    return f"{group}/{kind}" if group else kind


def service_name(gateway: str) -> str:
    """Return the name of the Service through which a Gateway is reached: readable, and unique in its namespace."""
    name = _PREFIX + gateway
    if len(name) <= _LONGEST and "." not in name:
        return name
    digest = hashlib.sha256(gateway.encode()).hexdigest()[:8]
    return f"{_PREFIX}{gateway.replace('.', '-')[: _LONGEST - len(_PREFIX) - 9].rstrip('-')}-{digest}"


def is_door(service: ObjectMeta) -> bool:
    """Tell whether a Service is the one through which a Gateway is reached; other implementations use the label too (GEP-1762)."""
    gateway = service.label(GATEWAY_LABEL)
    return gateway is not None and service.name == service_name(gateway)


def proxy_name(gateway: ObjectKey) -> str:
    """Return the name of a Gateway's own proxy, which is a folder's too. A namespace has no dots, so that no two have one name."""
    name = f"{gateway[0]}.{gateway[1]}"
    if len(name) <= _LONGEST_FOLDER:
        return name
    return f"{name[: _LONGEST_FOLDER - 17]}_{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def set_name(listener_set: ListenerSet) -> str:
    """Return a short name for a ListenerSet, other than that of any earlier one of its name."""
    metadata = listener_set.metadata
    return hashlib.sha256(f"{metadata.namespace}/{metadata.name}/{metadata.uid}".encode()).hexdigest()[:16]


def quic_name(gateway: ObjectKey, port: int) -> str:
    """Return how the proxy calls what a Gateway has on a port for HTTP/3."""
    return f"{listener_name(gateway, port)}/quic"


def listener_name(gateway: ObjectKey, port: int, transport: str = "TCP") -> str:
    """Return how the proxy calls what a Gateway has on a port."""
    name = f"{gateway[0]}/{gateway[1]}/{port}"
    return name if transport == "TCP" else f"{name}/{transport.lower()}"

"""Which node is an egress gateway, as far as the API server knows: for people. Pure.

Nodes decide by themselves, from who answers them (model/egress.py); what they decide follows from the same order, so that this agrees
with them as soon as the API server has heard which nodes are ready.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import msgspec

from fairlead.api.egressgateway import EgressGateway, candidates
from fairlead.api.node import Node
from fairlead.base.selectors import SelectorError
from fairlead.controllers.conditions import is_true, with_condition

Json = dict[str, Any]

READY = "Ready"


def status(gateway: Json, nodes: Sequence[Json], now_s: float) -> Json:
    """Return the status of a gateway; equal to the one it has where nothing changed."""
    found, addresses, reason, message = _decide(gateway, nodes)
    former = gateway.get("status") or {}
    new: Json = {key: value for key, value in former.items() if key not in ("gateway", "addresses", "conditions")}
    if found:
        new |= {"gateway": found, "addresses": addresses}
    conditions = with_condition(
        former.get("conditions"), READY, "True" if found else "False", reason=reason, message=message, now=now_s
    )
    generation = gateway["metadata"].get("generation", 0)
    new["conditions"] = [
        {**each, "observedGeneration": generation} if each["type"] == READY else each for each in conditions
    ]
    return new


def _decide(gateway: Json, nodes: Sequence[Json]) -> tuple[str, list[str], str, str]:
    """Return (node, its source addresses, reason, message); no node when there is none."""
    try:
        typed = msgspec.convert(gateway, EgressGateway)
        chosen = [str(ipaddress.ip_address(each)) for each in typed.spec.addresses]
        order = candidates(typed, [msgspec.convert(node, Node) for node in nodes])
    except (msgspec.ValidationError, SelectorError, ValueError) as error:
        return "", [], "Invalid", f"{error}: its pods do not leave the cluster"
    if not order:
        return "", [], "NoNode", "no node has the labels of spec.nodeSelector: its pods do not leave the cluster"
    ready = {node["metadata"]["name"] for node in nodes if is_true(node, READY)}
    for node in order:
        if node.metadata.name in ready:
            return (
                node.metadata.name,
                chosen or list(node.internal_ips),
                "Active",
                f"pods leave through {node.metadata.name}",
            )
    names = ", ".join(sorted(node.metadata.name for node in order))
    return "", [], "NoReadyNode", f"none of {names} is ready: its pods do not leave the cluster"

"""Connections to pods, nodes and Services: what they ask for, as admission sees it, before they are made."""

from __future__ import annotations

from typing import Any

from multidict import MultiMapping

from fairlead.apiserver.admission.chain import Attributes, run
from fairlead.apiserver.api import Api, Call, Json
from fairlead.apiserver.http.info import flag

_KINDS = {
    ("pods", "exec"): "PodExecOptions",
    ("pods", "attach"): "PodAttachOptions",
    ("pods", "portforward"): "PodPortForwardOptions",
    ("pods", "proxy"): "PodProxyOptions",
    ("services", "proxy"): "ServiceProxyOptions",
    ("nodes", "proxy"): "NodeProxyOptions",
}


async def admit(api: Api, call: Call, query: MultiMapping[str]) -> None:
    """Ask admission about a connection; raises the refusal. What is no connection (logs) is not asked about."""
    kind = _KINDS.get((call.served.table, call.info.subresource))
    if kind is None:
        return
    attributes = Attributes(
        operation="CONNECT",
        served=call.served,
        namespace=call.namespace,
        name=call.info.name,
        subresource=call.info.subresource,
        obj={"kind": kind, "apiVersion": "v1", **_options(call, query)},
        old=None,
        identity=call.identity,
        dry_run=False,
        warnings=call.warnings,
    )
    await run(api.admission.connecting, attributes)


def _options(call: Call, query: MultiMapping[str]) -> Json:
    match call.info.subresource:
        case "exec" | "attach":
            found: dict[str, Any] = {key: True for key in ("stdin", "stdout", "stderr", "tty") if flag(query, key)}
            if query.get("container"):
                found["container"] = query["container"]
            if call.info.subresource == "exec":
                found["command"] = query.getall("command", [])
            return found
        case "portforward":
            numbers = [one for text in query.getall("ports", []) for one in text.split(",")]
            return {"ports": [int(one) for one in numbers if one.isdigit()]} if numbers else {}
        case _:
            return {"path": f"/{call.info.rest}"} if call.info.rest else {}

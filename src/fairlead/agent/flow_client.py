"""Flows of several nodes: asks each agent over its socket, and brings what they say into one order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from fairlead.agent.cni import framing
from fairlead.agent.cni.server import call
from fairlead.base.errors import UserError
from fairlead.observe.flows import Flow, FlowPage

_WAIT_S = 1.0
_RETRY_S = 0.5


async def latest(sockets: Mapping[str, Path], last: int) -> tuple[list[Flow], dict[str, int]]:
    """Return the last flows of all nodes in their order, and each node's place to go on from; raises UserError.

    `sockets` maps the names of nodes to those of their agents.
    """
    pages = await asyncio.gather(*(_ask(node, path, {"after": f"-{last}"}) for node, path in sockets.items()))
    for page in pages:
        if page.error:
            raise UserError(f"{page.node} tells no flows: {page.error}", fix="see `fairlead status`")
    flows = sorted((flow for page in pages for flow in page.flows), key=lambda each: each.time)
    return flows[-last:], {page.node: page.place for page in pages}


async def follow(sockets: Mapping[str, Path], places: Mapping[str, int]) -> AsyncIterator[Flow]:
    """Yield flows as they come, forever; an agent that is away is asked again."""
    flows: asyncio.Queue[Flow] = asyncio.Queue()

    async def one(node: str, place: int) -> None:
        while True:
            try:
                page = await _ask(node, sockets[node], {"after": str(place), "wait_s": str(_WAIT_S)})
            except UserError:
                await asyncio.sleep(_RETRY_S)
                continue
            place = page.place
            for flow in page.flows:
                flows.put_nowait(flow)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(node, place)) for node, place in places.items()]
        try:
            while True:
                yield await flows.get()
        finally:
            for task in tasks:
                task.cancel()


async def _ask(node: str, path: Path, arguments: dict[str, str]) -> FlowPage:
    try:
        code, answer = await call(path, "flows", arguments)
        if code:
            raise UserError(f"the agent of {node} refuses: {answer.decode(errors='replace')}")
        return msgspec.json.decode(answer, type=FlowPage)
    except (OSError, framing.FrameError, msgspec.DecodeError) as error:
        raise UserError(f"the agent of {node} does not answer: {error}", fix="see `fairlead status`") from error

"""kr8s: objects by their names, labels, patches, watches."""

from __future__ import annotations

import asyncio
import sys

import kr8s.asyncio
from kr8s.asyncio.objects import ConfigMap, Pod, new_class


async def main() -> None:
    api = await kr8s.asyncio.api(kubeconfig=sys.argv[1])
    assert int((await api.version())["minor"]) >= 30
    made = await ConfigMap({"metadata": {"name": "k", "labels": {"by": "kr8s"}}, "data": {"x": "1"}}, api=api)
    await made.create()
    assert await made.exists()
    await made.label({"color": "red"})
    await made.patch({"data": {"x": "2"}})
    found = [one async for one in api.get("configmaps", label_selector={"color": "red"})]
    assert [one.name for one in found] == ["k"] and found[0].data["x"] == "2"
    pod = await Pod({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "web:1"}]}}, api=api)
    await pod.create()
    await pod.refresh()
    assert pod.status.phase == "Pending"
    Boat = new_class(kind="Boat", version="sea.io/v1", namespaced=True)
    boat = await Boat({"metadata": {"name": "k"}, "spec": {"sails": 1}}, api=api)
    await boat.create()
    assert [one.name async for one in api.get("boats.sea.io")] == ["k"]

    async def first_change() -> str:
        async for event, obj in api.watch(
            "configmaps", label_selector={"by": "kr8s"}, since=made.raw.metadata.resourceVersion
        ):
            if event == "DELETED":
                return obj.name
        return ""

    watching = asyncio.create_task(first_change())
    await made.delete()
    assert await asyncio.wait_for(watching, 20) == "k"
    assert not await made.exists()
    await pod.delete()
    print("done")


asyncio.run(main())

"""The asynchronous official client: lists, watches that resume, patches."""

from __future__ import annotations

import asyncio
import sys

from kubernetes_asyncio import client, config, watch


async def main() -> None:
    await config.load_kube_config(sys.argv[1])
    async with client.ApiClient() as api:
        core = client.CoreV1Api(api)
        before = (await core.list_namespaced_config_map("default")).metadata.resource_version
        await asyncio.gather(
            *(
                core.create_namespaced_config_map(
                    "default",
                    client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"m{number}"), data={"n": str(number)}),
                )
                for number in range(20)
            )
        )
        names = []
        async with watch.Watch().stream(core.list_namespaced_config_map, "default", resource_version=before) as events:
            async for event in events:
                names.append(event["object"].metadata.name)
                if len(names) == 20:
                    break
        assert sorted(names) == sorted(f"m{number}" for number in range(20)), names
        await core.patch_namespaced_config_map("m1", "default", {"data": {"n": "patched"}})
        assert (await core.read_namespaced_config_map("m1", "default")).data == {"n": "patched"}
        try:
            await core.read_namespaced_pod("nobody", "default")
            raise AssertionError("a pod that is not there")
        except client.ApiException as error:
            assert error.status == 404, error
        page = await core.list_namespaced_config_map("default", limit=7)
        found = list(page.items)
        while page.metadata._continue:
            page = await core.list_namespaced_config_map("default", limit=7, _continue=page.metadata._continue)
            found += page.items
        assert len(found) == 21, len(found)
        await core.delete_collection_namespaced_config_map("default", field_selector="metadata.name!=kube-root-ca.crt")
    print("done")


asyncio.run(main())

"""The scale subresource: autoscaling/v1 Scale as a view of an object's replicas."""

from __future__ import annotations

from dataclasses import replace as changed
from typing import Any

from fairlead.apiserver.admission.chain import Attributes, run
from fairlead.apiserver.api import Api, Call, Json
from fairlead.apiserver.errors import bad_request, conflict, invalid
from fairlead.apiserver.http import body as bodies
from fairlead.apiserver.patch import document
from fairlead.apiserver.store.records import Entry, decode, encode
from fairlead.apiserver.verbs import patching, read
from fairlead.apiserver.verbs.update import update
from fairlead.base import selectors

_BUILTIN_PATHS: Json = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": "",
}


def scale_of(call: Call, entry: Entry) -> Json:
    """Return the Scale of a stored object."""
    obj = entry.obj
    meta = obj["metadata"]
    paths = call.served.scale_paths or _BUILTIN_PATHS
    kept = {
        key: meta[key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp") if key in meta
    }
    status: Json = {"replicas": _at(obj, paths["statusReplicasPath"]) or 0}
    selector = _selector(call, obj)
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": kept,
        "spec": {"replicas": _at(obj, paths["specReplicasPath"]) or 0},
        "status": status,
    }


async def replace(api: Api, call: Call, scale: Json) -> Json:
    """Set the replicas that `scale` asks for and return the new Scale."""
    if scale.get("kind") not in (None, "Scale"):
        raise bad_request(f"the object provided is unrecognized (must be of type Scale): found {scale['kind']}")
    replicas = await _admitted(api, call, _replicas(call, scale))
    version = (scale.get("metadata") or {}).get("resourceVersion")
    path = (call.served.scale_paths or _BUILTIN_PATHS)["specReplicasPath"]

    def transform(current: Json) -> Json:
        if version and version != current["metadata"]["resourceVersion"]:
            raise conflict(call.served.resource, call.info.name)
        *above, last = path.strip(".").split(".")
        holder = current
        for part in above:
            holder = holder.setdefault(part, {})
        holder[last] = replicas
        return current

    plain = changed(call, info=changed(call.info, subresource=""))
    return scale_of(call, await update(api, plain, transform, tracked_as="scale", admitted=True))


async def _admitted(api: Api, call: Call, replicas: int) -> int:
    """Ask admission about the Scale and return the replicas that it leaves; raises the refusal."""
    old = scale_of(call, read.get(api, call))
    attributes = Attributes(
        operation="UPDATE",
        served=call.served,
        namespace=call.namespace,
        name=call.info.name,
        subresource="scale",
        obj={**old, "metadata": dict(old["metadata"]), "spec": {"replicas": replicas}},
        old=old,
        identity=call.identity,
        dry_run=call.dry_run,
        warnings=call.warnings,
    )
    await run(api.admission.mutating, attributes)
    replicas = _replicas(call, attributes.obj)
    await run(api.admission.validating, attributes)
    return replicas


def _replicas(call: Call, scale: Json) -> int:
    """Return the replicas that a Scale asks for; raises 400 and 422."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise bad_request('Scale in version "v1" cannot be handled as a Scale: spec.replicas must be an integer')
    if replicas < 0:
        causes = [
            ("spec.replicas", "FieldValueInvalid", f"Invalid value: {replicas}: must be greater than or equal to 0")
        ]
        raise invalid("Scale", "autoscaling", call.info.name, causes)
    return replicas


async def patch(api: Api, call: Call, media: str, content: bytes) -> Json:
    """Patch the Scale and return the new one."""
    current = scale_of(call, read.get(api, call))
    applies = media == patching.APPLY_YAML
    changes: Any = bodies.decode_yaml(content) if applies else bodies.decode_json(content, "Scale")
    if media == patching.JSON_PATCH:
        wanted = document.json_patch(decode(encode(current)), changes)
    else:
        wanted = document.merge_patch(decode(encode(current)), changes)
    if not isinstance(changes, dict) or "resourceVersion" not in (changes.get("metadata") or {}):
        # A patch that names no version is meant for whatever is current.
        wanted["metadata"].pop("resourceVersion", None)
    return await replace(api, call, wanted)


def _selector(call: Call, obj: Json) -> str:
    if call.served.scale_paths is not None:
        return str(_at(obj, call.served.scale_paths.get("labelSelectorPath") or "") or "")
    selector = (obj.get("spec") or {}).get("selector") or {}
    if call.served.table == "replicationcontrollers":
        return str(selectors.from_labels(selector))
    return str(selectors.from_object(selector))


def _at(obj: Any, path: str) -> Any:
    for part in path.strip(".").split("."):
        if not part or not isinstance(obj, dict):
            return None
        obj = obj.get(part)
    return obj

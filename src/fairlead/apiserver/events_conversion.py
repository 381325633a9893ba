"""Events are stored once and served twice: as v1 and as events.k8s.io/v1, whose fields have other names.

Source: the conversion of k8s.io/api/events/v1 (KEP-383).
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_RENAMED = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_BACK = {core: new for new, core in _RENAMED.items()}


def from_core(event: Json) -> Json:
    """Return a stored (v1) event as events.k8s.io/v1; shares nested values with it."""
    found = {_BACK.get(key, key): value for key, value in event.items()}
    found["apiVersion"] = "events.k8s.io/v1"
    return found


def to_core(event: Json) -> Json:
    """Return an events.k8s.io/v1 event in the stored form (v1)."""
    found = {_RENAMED.get(key, key): value for key, value in event.items()}
    found["apiVersion"] = "v1"
    found.setdefault("involvedObject", {})
    return found

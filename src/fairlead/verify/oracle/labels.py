"""metav1.LabelSelector, word for word. Raises `Unselectable` for a selector without a meaning. It must not use the model's code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class UnselectableError(ValueError):
    """An operator that does not exist."""


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Tell whether `selector` (wire form; empty selects everything) selects an object with `labels`."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for each in selector.get("matchExpressions") or ():
        key, values = each["key"], each.get("values") or ()
        match each["operator"]:
            case "In":
                holds = key in labels and labels[key] in values
            case "NotIn":
                # apimachinery labels.Requirement: an absent key is not in any set.
                holds = key not in labels or labels[key] not in values
            case "Exists":
                holds = key in labels
            case "DoesNotExist":
                holds = key not in labels
            case other:
                raise UnselectableError(f"operator {other!r}")
        if not holds:
            return False
    return True

"""What the status of a namespace says while its content goes. Pure. Source: core/v1 NamespaceStatus, KEP-5080 (order of deletion)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead.controllers import conditions

Json = dict[str, Any]

FINALIZER = "kubernetes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What one round of deletion found. `remaining` and `finalizers` are counts by `plural.group` and by finalizer."""

    discovery_failure: str | None = None
    deletion_failures: tuple[str, ...] = ()
    remaining: Mapping[str, int] = field(default_factory=dict)
    finalizers: Mapping[str, int] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Tell whether nothing is left."""
        return not (self.discovery_failure or self.deletion_failures or self.remaining)


def status(namespace: Json, progress: Progress, now: float) -> Json:
    """Return the status with its five conditions."""
    found: list[Json] = list((namespace.get("status") or {}).get("conditions") or ())
    remaining = ", ".join(
        f"{name} has {count} resource instances" for name, count in sorted(progress.remaining.items())
    )
    finalizers = ", ".join(
        f"{name} in {count} resource instances" for name, count in sorted(progress.finalizers.items())
    )
    for kind, problem, bad, good, fine in (
        (
            "NamespaceDeletionDiscoveryFailure",
            progress.discovery_failure and f"Discovery failed for some groups: {progress.discovery_failure}",
            "DiscoveryFailed",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            "GroupVersionParsingFailed",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            progress.deletion_failures
            and f"Failed to delete all resource types, {len(progress.deletion_failures)} remaining: "
            + ", ".join(sorted(progress.deletion_failures)),
            "ContentDeletionFailed",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            remaining and f"Some resources are remaining: {remaining}",
            "SomeResourcesRemain",
            "ContentRemoved",
            "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            finalizers and f"Some content in the namespace has finalizers remaining: {finalizers}",
            "SomeFinalizersRemain",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ):
        found = conditions.with_condition(
            found,
            kind,
            "True" if problem else "False",
            reason=bad if problem else good,
            message=problem or fine,
            now=now,
        )
    return {**(namespace.get("status") or {}), "phase": "Terminating", "conditions": found}


def finalized(namespace: Json) -> Json:
    """Return the namespace without the finalizer that waits for its content."""
    spec = namespace.get("spec") or {}
    left = [name for name in spec.get("finalizers") or () if name != FINALIZER]
    return {**namespace, "spec": {**spec, "finalizers": left}}


def waits_for_us(namespace: Json) -> bool:
    """Tell whether the namespace was deleted and its content is to go."""
    return "deletionTimestamp" in namespace["metadata"] and FINALIZER in (
        (namespace.get("spec") or {}).get("finalizers") or ()
    )

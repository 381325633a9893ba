"""What one node makes of each policy: the part of a receipt that is about policies. docs/design/policy.md, section Status."""

from __future__ import annotations

import msgspec

from fairlead.plan.tables import Origin


class PolicyFact(msgspec.Struct, frozen=True):
    """One policy as one node sees it."""

    generation: int = 0
    """`metadata.generation` of the object; 0 when it could not be understood at all."""
    selects: bool = False
    """It governs a pod of this node."""
    problems: tuple[str, ...] = ()
    """What makes no sense in it; the same on every node."""
    unresolved: tuple[str, ...] = ()
    """Names of ports that no governed pod of this node, or no peer, declares."""
    names: tuple[tuple[str, str], ...] = ()
    """(field, domain name) of its rules here, wildcards left out: whether there is such a name only the resolver knows."""


class Findings(msgspec.Struct, frozen=True):
    """What compilation found out about the policies beside their rows."""

    selecting: frozenset[Origin] = frozenset()
    """Policies that govern pods of this node."""
    unresolved: tuple[tuple[Origin, str], ...] = ()
    """(policy, field and name) of what resolves to nothing; sorted."""
    names: tuple[tuple[Origin, str, str], ...] = ()
    """(policy, field, domain name) of rules by name, wildcards left out; sorted."""

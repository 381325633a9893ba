"""What is wrong with something that a user wrote or that the cluster holds: a value, collected and shown, never raised."""

from __future__ import annotations

import msgspec


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One mistake, where it is and how to mend it."""

    object: str
    """`Kind/namespace/name`; the namespace is empty for cluster-scoped objects."""
    field: str = ""
    """Path below the object, `spec.ports[0].port`; empty for the object as a whole."""
    message: str
    fix: str = ""
    source: str = ""
    """`file:line` where the object came from a file."""

    def __str__(self) -> str:
        """Return one line for people."""
        where = f"{self.source}: " if self.source else ""
        what = f"{self.object} {self.field}".strip()
        return f"{where}{what}: {self.message}" + (f"; {self.fix}" if self.fix else "")

"""meta/v1 LabelSelector as it is written: `parsed` gives its meaning."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fairlead.base import selectors


class SelectorExpression(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of `matchExpressions`."""

    key: str
    operator: str
    values: tuple[str, ...] | None = None


class Selector(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A selector of labels; empty selects everything, a missing one is the field's own business."""

    match_labels: Mapping[str, str] | None = None
    match_expressions: tuple[SelectorExpression, ...] | None = None

    def parsed(self) -> selectors.LabelSelector:
        """Return the meaning; raises `fairlead.base.selectors.SelectorError` for an operator that does not fit its values."""
        equal = selectors.from_labels(self.match_labels).requirements
        others = (
            selectors.requirement(each.key, each.operator, each.values or ()) for each in self.match_expressions or ()
        )
        return selectors.LabelSelector(tuple(sorted({*equal, *others})))

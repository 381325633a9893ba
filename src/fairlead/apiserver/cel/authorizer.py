"""`authorizer` of admission's expressions: whether the one who asks may do something else, too.

A question is put together step by step and asked by `check`. The answer comes from a function that is given; nothing is known here about
rights. Source: Kubernetes' CEL authorizer library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fairlead.apiserver.cel.values import Budget, no_overload

_CHECK_COST = 350_000
"""Upstream's: two or three checks are a call's budget."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to a check."""

    allowed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """What is asked so far; `step` says which methods it has. `account` is the ServiceAccount that is asked about, None: who asks."""

    ask: Callable[[Check, str], Decision]
    step: str = "authorizer"
    account: tuple[str, str] | None = None
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    about_request: Check | None = None


def select(value: Check, field: str) -> Check:
    """Return `authorizer.requestResource`; raises CelError."""
    if field == "requestResource" and value.about_request is not None:
        return value.about_request
    raise no_overload()


def _narrowed(step: str, field: str, to: str) -> Callable[..., Check]:
    def narrow(budget: Budget, value: Any, text: Any) -> Check:
        if type(value) is not Check or value.step != step or not isinstance(text, str):
            raise no_overload()
        changed: dict[str, Any] = {"step": to, field: text}
        return replace(value, **changed)

    return narrow


def _account(budget: Budget, value: Any, namespace: Any, name: Any) -> Check:
    if (
        type(value) is not Check
        or value.step != "authorizer"
        or not (isinstance(namespace, str) and isinstance(name, str))
    ):
        raise no_overload()
    return replace(value, account=(namespace, name))


def _check(budget: Budget, value: Any, verb: Any) -> Decision:
    if type(value) is not Check or value.step not in ("resource", "path") or not isinstance(verb, str):
        raise no_overload()
    budget.spend(_CHECK_COST)
    return value.ask(value, verb)


def _decision(value: Any) -> Decision:
    if type(value) is not Decision:
        raise no_overload()
    return value


METHODS: dict[str, Callable[..., Any]] = {
    "path": _narrowed("authorizer", "path", "path"),
    "group": _narrowed("authorizer", "group", "group"),
    "serviceAccount": _account,
    "resource": _narrowed("group", "resource", "resource"),
    "subresource": _narrowed("resource", "subresource", "resource"),
    "namespace": _narrowed("resource", "namespace", "resource"),
    "name": _narrowed("resource", "name", "resource"),
    "check": _check,
    "allowed": lambda budget, value: _decision(value).allowed,
    "reason": lambda budget, value: _decision(value).reason,
}
"""Functions called on a value."""

"""x-kubernetes-validations: the rules of one schema, compiled, and what a rule that fails says.

Source: KEP-2876 (rules), KEP-4008 (optionalOldSelf); k8s.io/apiextensions-apiserver, pkg/apiserver/schema/cel.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fairlead.apiserver.cel.parser import ParseError
from fairlead.apiserver.cel.program import CompileError, Program
from fairlead.apiserver.cel.values import NONE, Budget, CelError, Optional, OutOfBudget
from fairlead.apiserver.kinds.field_error import OMITTED, FieldError

Json = dict[str, Any]

CALL_BUDGET = 1_000_000
"""Cost units of one evaluation."""
OBJECT_BUDGET = 10_000_000
"""Cost units of all evaluations for one object."""
_LONGEST_MESSAGE = 5 * 1024
VARIABLES = ("self", "oldSelf")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `problem` is why it could not be compiled: a rule that is stored may be older than what checks rules."""

    text: str
    program: Program | None
    problem: str = ""
    message: str = ""
    message_program: Program | None = None
    reason: str = "FieldValueInvalid"
    field_path: str = ""
    optional_old: bool = False

    @property
    def uses_old(self) -> bool:
        """Whether this is a transition rule."""
        return self.program is not None and "oldSelf" in self.program.names

    @property
    def name(self) -> str:
        """How errors name the rule."""
        return self.message or self.text


def compile_rules(schema: Json) -> tuple[Rule, ...]:
    """Return the rules of a schema, without those below."""
    return tuple(_compile(one) for one in schema.get("x-kubernetes-validations") or ())


def _compile(rule: Json) -> Rule:
    text = str(rule.get("rule") or "").strip()
    program, problem, message_program = None, "", None
    try:
        program = Program(text, VARIABLES)
        if rule.get("messageExpression"):
            message_program = Program(str(rule["messageExpression"]), VARIABLES)
    except (ParseError, CompileError) as error:
        problem = f"compilation failed: {error}"
    return Rule(
        text=text,
        program=program,
        problem=problem,
        message=str(rule.get("message") or "").strip(),
        message_program=message_program,
        reason=rule.get("reason") or "FieldValueInvalid",
        field_path=normalized_path(str(rule.get("fieldPath") or "")),
        optional_old=bool(rule.get("optionalOldSelf")),
    )


def normalized_path(path: str) -> str:
    """Return a `fieldPath` (`.a['b'].c`) as it is appended to the path of the field that the rule is on."""
    return path.strip().removeprefix(".").replace("['", "[").replace("']", "]")


class Judge:
    """The evaluation of one object's rules: what may still be spent, and what was found."""

    def __init__(self) -> None:
        self.left = OBJECT_BUDGET
        self.errors: list[FieldError] = []
        self.exhausted = False

    def check(
        self, rules: tuple[Rule, ...], path: str, value: Any, shown: Any, old: Any, unchanged: Callable[[], bool]
    ) -> None:
        """Evaluate `rules` on `value`; `old` is the earlier value or None; `shown` is what errors print.

        Rules about the new state alone do not hold against a value that is `unchanged`.
        """
        for rule in rules:
            if self.exhausted:
                return
            if rule.program is None:
                self._add(path, OMITTED, f"rule compile error: {rule.problem}")
                continue
            if rule.uses_old and old is None and not rule.optional_old:
                continue
            variables = {"self": value, "oldSelf": old}
            if rule.optional_old:
                variables["oldSelf"] = NONE if old is None else Optional(old, True)
            self._judge(rule, path, variables, shown, unchanged)

    def _add(self, path: str, value: Any, detail: str) -> None:
        self.errors.append(FieldError(path or "<nil>", "Invalid", value, detail))

    def _judge(self, rule: Rule, path: str, variables: Json, shown: Any, unchanged: Callable[[], bool]) -> None:
        assert rule.program is not None, "checked by the caller"
        try:
            result = self._evaluate(rule.program, variables)
        except CelError as error:
            if str(error) == "no such overload":
                kind = "call arguments did not match a supported operator, function or macro signature for rule"
                self._add(path, OMITTED, f"'{error}': {kind}: {rule.name}")
            else:
                self._add(path, OMITTED, f"{error} evaluating rule: {rule.name}")
            return
        except OutOfBudget:
            self._exhaust(path, rule)
            return
        if result is True:
            return
        if rule.uses_old or not unchanged():
            where = _below(path, rule.field_path)
            self.errors.append(_refusal(rule, where, shown, self._message(rule, variables)))

    def _evaluate(self, program: Program, variables: Json) -> Any:
        budget = Budget(min(CALL_BUDGET, self.left))
        try:
            return program.evaluate(variables, budget)
        finally:
            self.left -= min(CALL_BUDGET, self.left) - max(budget.left, 0)

    def _exhaust(self, path: str, rule: Rule) -> None:
        self.exhausted = True
        if self.left > 0:
            text = "operation cancelled: actual cost limit exceeded"
            what = f"'{text}': no further validation rules will be run due to call cost exceeds limit for rule: {rule.name}"
        else:
            what = "validation failed due to running out of cost budget, no further validation rules will be run"
        self._add(path, OMITTED, what)

    def _message(self, rule: Rule, variables: Json) -> str:
        if rule.message_program is not None:
            try:
                found = self._evaluate(rule.message_program, variables)
            except CelError as error:
                log.debug("messageExpression failed", extra={"rule": rule.text, "error": error})
            except OutOfBudget:
                self.exhausted = True
                return f'no further validation rules will be run due to call cost exceeds limit for messageExpression: "{rule.message_program.text}"'
            else:
                text = found.strip() if isinstance(found, str) else ""
                if text and "\n" not in text and len(text.encode()) <= _LONGEST_MESSAGE:
                    return text
        return rule.message or f"failed rule: {rule.text}"


def _below(path: str, field_path: str) -> str:
    if not field_path:
        return path
    return f"{path}.{field_path}" if path and not field_path.startswith("[") else f"{path}{field_path}"


def _refusal(rule: Rule, path: str, shown: Any, detail: str) -> FieldError:
    path = path or "<nil>"
    match rule.reason:
        case "FieldValueForbidden":
            return FieldError(path, "Forbidden", OMITTED, detail)
        case "FieldValueRequired":
            return FieldError(path, "Required", OMITTED, detail)
        case "FieldValueDuplicate":
            return FieldError(path, "Duplicate", shown)
        case _:
            return FieldError(path, "Invalid", shown, detail)

"""ValidatingAdmissionPolicies: expressions that judge requests, bound to where they hold and to the objects that configure them.

Each binding of a policy is judged by itself: matched, its parameters found, its conditions asked, its validations evaluated. What follows is
the binding's to say: Deny, Warn, Audit. Source: KEP-3488, admissionregistration.k8s.io/v1. There is no audit log: annotations are evaluated
and written to the server's log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fairlead.apiserver.admission.chain import Attributes
from fairlead.apiserver.api import Api
from fairlead.apiserver.cel.values import Budget
from fairlead.apiserver.dynamic import expressions
from fairlead.apiserver.dynamic.entry import GROUP
from fairlead.apiserver.dynamic.expressions import Condition, Expression, Failed, expression
from fairlead.apiserver.dynamic.matching import Constraints, constraints, namespace_object, ordered
from fairlead.apiserver.errors import StatusError, forbidden
from fairlead.apiserver.served import Served
from fairlead.base import selectors

Json = dict[str, Any]

log = logging.getLogger(__name__)

_POLICIES, _BINDINGS = f"{GROUP}/validatingadmissionpolicies", f"{GROUP}/validatingadmissionpolicybindings"
_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413}
_NAMES = (*expressions.OF_REQUESTS, "params", "namespaceObject")
_WITH_VARIABLES = (*_NAMES, "variables")
_LONGEST_MESSAGE = 5 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Validation:
    expression: Expression
    message: str
    message_expression: Expression | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Policy:
    name: str
    constraints: Constraints
    conditions: tuple[Condition, ...]
    variables: tuple[tuple[str, Expression], ...]
    validations: tuple[_Validation, ...]
    annotations: tuple[tuple[str, Expression], ...]
    ignores_failure: bool
    param_kind: tuple[str, str] | None

    @classmethod
    def of(cls, obj: Json) -> _Policy:
        spec = obj["spec"]
        kind = spec.get("paramKind")
        return cls(
            name=obj["metadata"]["name"],
            constraints=constraints({"resourceRules": [], **(spec.get("matchConstraints") or {})}),
            conditions=expressions.conditions(spec.get("matchConditions"), _NAMES),
            variables=tuple(
                (one["name"], expression(one["expression"], _WITH_VARIABLES)) for one in spec.get("variables") or ()
            ),
            validations=tuple(_validation(one) for one in spec.get("validations") or ()),
            annotations=tuple(
                (one["key"], expression(one["valueExpression"], _WITH_VARIABLES))
                for one in spec.get("auditAnnotations") or ()
            ),
            ignores_failure=spec.get("failurePolicy") == "Ignore",
            param_kind=(kind["apiVersion"], kind["kind"]) if kind else None,
        )


def _validation(obj: Json) -> _Validation:
    text = obj.get("messageExpression")
    return _Validation(
        expression=expression(obj["expression"], _WITH_VARIABLES),
        message=obj.get("message") or "",
        message_expression=expression(text, _WITH_VARIABLES) if text else None,
        reason=obj.get("reason") or "Invalid",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Binding:
    name: str
    policy: str
    actions: frozenset[str]
    constraints: Constraints | None
    param_ref: Json | None

    @classmethod
    def of(cls, obj: Json) -> _Binding:
        spec = obj["spec"]
        narrower = spec.get("matchResources")
        return cls(
            name=obj["metadata"]["name"],
            policy=spec.get("policyName") or "",
            actions=frozenset(spec.get("validationActions") or ()),
            constraints=constraints(narrower) if narrower else None,
            param_ref=spec.get("paramRef"),
        )


@dataclass(frozen=True, slots=True)
class _Finding:
    """Why a policy objects."""

    message: str
    reason: str = "Invalid"


class Policies:
    """The policies and their bindings, as the store holds them."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: list[tuple[_Policy, list[_Binding]]] | None = None
        for table in (_POLICIES, _BINDINGS):
            api.store.follow(table, lambda _: self._forget())

    def _forget(self) -> None:
        self._known = None

    def _all(self) -> list[tuple[_Policy, list[_Binding]]]:
        """Return each policy that is bound, with its bindings, by name."""
        if self._known is None:
            bindings: dict[str, list[_Binding]] = {}
            for entry in ordered(self._api.store.entries(_BINDINGS)):
                one = _Binding.of(entry.obj)
                bindings.setdefault(one.policy, []).append(one)
            self._known = [
                (_Policy.of(entry.obj), bindings[entry.key[1]])
                for entry in ordered(self._api.store.entries(_POLICIES))
                if entry.key[1] in bindings
            ]
        return self._known

    def judge(self, attributes: Attributes) -> None:
        """Judge a request; raises the refusal."""
        for policy, bindings in self._all():
            served = policy.constraints.match(self._api, attributes)
            if served is not None:
                for binding in bindings:
                    self._judge(policy, binding, attributes, served)

    def _judge(self, policy: _Policy, binding: _Binding, attributes: Attributes, served: Served) -> None:
        if binding.constraints is not None and binding.constraints.match(self._api, attributes) is None:
            return
        budget = expressions.budget()
        variables = expressions.variables_of(
            self._api.authorizer, attributes, expressions.request_of(attributes, served)
        )
        namespace = attributes.namespace
        variables["namespaceObject"] = namespace_object(self._api, namespace) if namespace else None
        try:
            every = list(self._parameters(policy, binding, attributes))
        except Failed as error:
            findings = [] if policy.ignores_failure else [_Finding(f"failed to configure binding: {error}")]
            self._follow(policy, binding, attributes, findings)
            return
        for params in every:
            findings = _findings(policy, {**variables, "params": params}, budget)
            self._follow(policy, binding, attributes, findings)

    def _parameters(self, policy: _Policy, binding: _Binding, attributes: Attributes) -> Iterator[Json | None]:
        """Yield the objects by which the policy is configured; one None where there are none to have. Raises Failed."""
        ref = binding.param_ref
        if policy.param_kind is None or ref is None:
            yield None
            return
        served = self._api.catalog.by_kind(*policy.param_kind)
        if served is None:
            raise Failed(f"failed to find resource referenced by paramKind: '{', Kind='.join(policy.param_kind)}'")
        namespace = ""
        if served.resource.namespaced:
            namespace = ref.get("namespace") or attributes.namespace
            if not namespace:
                raise Failed("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
        found = False
        for params in self._selected(served, namespace, ref):
            found = True
            yield params
        if found:
            return
        if ref.get("parameterNotFoundAction") == "Allow":
            return
        raise Failed("no params found for policy binding with `Deny` parameterNotFoundAction")

    def _selected(self, served: Served, namespace: str, ref: Json) -> Iterator[Json]:
        if ref.get("name"):
            entry = self._api.store.get(served.table, namespace, ref["name"])
            if entry is not None:
                yield served.from_storage(entry.copy()) if served.from_storage else entry.obj
            return
        selector = selectors.from_object(ref.get("selector") or {})
        for entry in self._api.store.entries(served.table, namespace if served.resource.namespaced else None):
            if selector.matches(entry.obj["metadata"].get("labels")):
                yield served.from_storage(entry.copy()) if served.from_storage else entry.obj

    def _follow(self, policy: _Policy, binding: _Binding, attributes: Attributes, findings: list[_Finding]) -> None:
        """Do what the binding says of a policy's findings; raises the refusal."""
        for finding in findings:
            about = f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}'"
            if "Warn" in binding.actions:
                attributes.warnings.append(f"Validation failed for {about}: {finding.message}")
            if "Audit" in binding.actions:
                log.info(
                    "policy objects",
                    extra={"policy": policy.name, "binding": binding.name, "message_": finding.message},
                )
        if findings and "Deny" in binding.actions:
            raise _denied(
                attributes, f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}'", findings[0]
            )


def _findings(policy: _Policy, variables: Json, budget: Budget) -> list[_Finding]:
    """Return why the policy objects to what `variables` show."""
    try:
        if not expressions.hold(policy.conditions, variables, budget):
            return []
    except Failed as error:
        return [] if policy.ignores_failure else [_Finding(str(error))]
    known: Json = {}
    broken: dict[str, str] = {}
    variables = {**variables, "variables": known}
    for name, definition in policy.variables:
        try:
            known[name] = definition.value(variables, budget)
        except Failed as error:
            # Only who uses it fails with it.
            broken[name] = str(error)
    findings: list[_Finding] = []
    for validation in policy.validations:
        try:
            if validation.expression.value(variables, budget) is not True:
                findings.append(_Finding(_message(validation, variables, budget), validation.reason))
        except Failed as error:
            if not policy.ignores_failure:
                findings.append(_Finding(_told(str(error), broken)))
    for key, definition in policy.annotations:
        try:
            value = definition.value(variables, budget)
        except Failed as error:
            if not policy.ignores_failure:
                findings.append(_Finding(_told(str(error), broken)))
        else:
            if value is not None:
                log.info("audit annotation", extra={"key": f"{policy.name}/{key}", "value": str(value)})
    return findings


def _told(error: str, broken: dict[str, str]) -> str:
    """Return an error, that of the variable behind it where a variable is missing because of one."""
    missing = error.rpartition("no such key: ")[2] if "no such key: " in error else ""
    return broken.get(missing, error)


def _message(validation: _Validation, variables: Json, budget: Budget) -> str:
    if validation.message_expression is not None:
        try:
            found = validation.message_expression.value(variables, budget)
        except Failed as error:
            log.info("messageExpression failed", extra={"error": str(error)})
        else:
            text = found.strip() if isinstance(found, str) else ""
            if text and "\n" not in text and len(text.encode()) <= _LONGEST_MESSAGE:
                return text
    return validation.message.strip() or f"failed expression: {validation.expression.text.strip()}"


def _denied(attributes: Attributes, about: str, finding: _Finding) -> StatusError:
    refusal = forbidden(
        attributes.served.resource,
        attributes.name,
        f"{about} denied request: {finding.message}",
        [{"message": finding.message}],
    )
    code = _CODES.get(finding.reason, 422)
    refusal.status |= {"reason": finding.reason, "code": code}
    return refusal

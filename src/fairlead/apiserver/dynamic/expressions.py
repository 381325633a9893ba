"""CEL over requests: what expressions of webhooks and policies see, and the conditions by which a request is left alone.

Source: KEP-3716 (matchConditions), KEP-3488 (policies).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.apiserver.admission.chain import Attributes
from fairlead.apiserver.authz.authorizer import Authorizer
from fairlead.apiserver.authz.question import Question
from fairlead.apiserver.cel.authorizer import Check, Decision
from fairlead.apiserver.cel.parser import ParseError
from fairlead.apiserver.cel.program import CompileError, Program
from fairlead.apiserver.cel.values import Budget, CelError, OutOfBudget
from fairlead.apiserver.dynamic.matching import converted
from fairlead.apiserver.identity import Identity, account_groups, account_user, user_info
from fairlead.apiserver.served import Served

Json = dict[str, Any]

OF_REQUESTS = ("object", "oldObject", "request", "authorizer")
_BUDGET = 10_000_000
_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


class Failed(Exception):
    """An expression has no value; the message is the real server's."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression; `problem` is why it cannot be evaluated."""

    text: str
    program: Program | None
    problem: str = ""

    def value(self, variables: Json, budget: Budget) -> Any:
        """Return the value; raises Failed."""
        if self.program is None:
            raise Failed(f"compilation error: {self.problem}")
        try:
            return self.program.evaluate(variables, budget)
        except CelError as error:
            raise Failed(f"expression '{self.text}' resulted in error: {error}") from None
        except OutOfBudget:
            raise Failed(
                "validation failed due to running out of cost budget, no further validation rules will be run"
            ) from None


def expression(text: str, names: Sequence[str] = OF_REQUESTS) -> Expression:
    """Return a compiled expression over the variables `names`; a faulty one tells its problem when it is evaluated."""
    try:
        return Expression(text, Program(text.strip(), names))
    except (ParseError, CompileError) as error:
        return Expression(text, None, str(error))


@dataclass(frozen=True, slots=True)
class Condition:
    """One matchCondition."""

    name: str
    expression: Expression


def conditions(listed: Sequence[Json] | None, names: Sequence[str] = OF_REQUESTS) -> tuple[Condition, ...]:
    """Return the matchConditions of a webhook or policy."""
    return tuple(Condition(one.get("name", ""), expression(one.get("expression", ""), names)) for one in listed or ())


def hold(listed: Sequence[Condition], variables: Json, budget: Budget) -> bool:
    """Tell whether all conditions hold: one that is false decides even where others fail. Raises Failed."""
    failed: list[str] = []
    for one in listed:
        try:
            value = one.expression.value(variables, budget)
        except Failed as error:
            failed.append(str(error))
        else:
            if value is False:
                return False
            if value is not True:
                failed.append(f"expression '{one.expression.text}' resulted in error: result is not a boolean")
    if failed:
        raise Failed(failed[0] if len(failed) == 1 else f"[{', '.join(failed)}]")
    return True


def budget() -> Budget:
    """Return what all expressions of one webhook or policy may cost together."""
    return Budget(_BUDGET)


def request_of(attributes: Attributes, served: Served) -> Json:
    """Return the AdmissionRequest (admission.k8s.io/v1) of a request that is matched as one to `served`."""
    asked, resource = attributes.served.resource, served.resource
    shown, shown_asked = _kind(attributes, served), _kind(attributes, attributes.served)
    options = _OPTIONS.get(attributes.operation)
    found: Json = {
        "uid": str(uuid.uuid4()),
        "kind": shown,
        "resource": {"group": resource.group, "version": resource.version, "resource": resource.plural},
        "requestKind": shown_asked,
        "requestResource": {"group": asked.group, "version": asked.version, "resource": asked.plural},
        "operation": attributes.operation,
        "userInfo": user_info(attributes.identity),
        "object": converted(attributes.obj, attributes.served, served) if attributes.obj else None,
        "oldObject": converted(attributes.old, attributes.served, served) if attributes.old else None,
        "dryRun": attributes.dry_run,
        "options": {"kind": options, "apiVersion": "meta.k8s.io/v1"} if options else None,
    }
    if attributes.subresource:
        found |= {"subResource": attributes.subresource, "requestSubResource": attributes.subresource}
    if attributes.name:
        found["name"] = attributes.name
    if attributes.namespace:
        found["namespace"] = attributes.namespace
    return found


def _kind(attributes: Attributes, served: Served) -> Json:
    """Return the kind of what a request is about: of the object, or what a subresource takes (Scale, PodExecOptions)."""
    obj, resource = attributes.obj or attributes.old or {}, served.resource
    kind, api_version = obj.get("kind"), obj.get("apiVersion")
    if not kind or not api_version or kind == attributes.served.resource.kind:
        kind, api_version = resource.kind, resource.api_version
    group, _, version = str(api_version).rpartition("/")
    return {"group": group, "version": version, "kind": kind}


def variables_of(authorizer: Authorizer, attributes: Attributes, request: Json) -> Json:
    """Return what expressions see of an AdmissionRequest."""
    about = {key: value for key, value in request.items() if key not in ("object", "oldObject", "uid")}
    checks = _checks(authorizer, attributes)
    return {"object": request["object"], "oldObject": request["oldObject"], "request": about, "authorizer": checks}


def _checks(authorizer: Authorizer, attributes: Attributes) -> Check:
    """Return `authorizer`, which asks about the rights of whoever makes the request."""

    def ask(check: Check, verb: str) -> Decision:
        identity = attributes.identity
        if check.account is not None:
            namespace, name = check.account
            identity = Identity(account_user(namespace, name), account_groups(namespace))
        if check.path:
            question = Question(verb, path=check.path)
        else:
            question = Question(verb, check.group, check.resource, check.subresource, check.namespace, check.name)
        refusal = authorizer.refusal(identity, question)
        return Decision(refusal is None, refusal if refusal is not None else authorizer.reason(identity, question))

    resource = attributes.served.resource
    own = Check(
        ask,
        "resource",
        group=resource.group,
        resource=resource.plural,
        subresource=attributes.subresource,
        namespace=attributes.namespace,
        name=attributes.name,
    )
    return Check(ask, about_request=own)

"""What is asked of an authorizer, and the real server's words for no.

Source: k8s.io/apiserver's RequestInfo, authorizer.Attributes and responsewriters.Forbidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from fairlead.apiserver.errors import StatusError, failure
from fairlead.apiserver.http.info import RequestInfo


class Question(NamedTuple):
    """May somebody do this? `path` is set for requests that name no resource, and `resource` then empty."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    fields: str = ""
    """The field selector of a list or watch."""
    labels: str = ""
    """Its label selector."""


def of_resource(info: RequestInfo, query: Mapping[str, str]) -> Question:
    """Return the question that a request to a resource asks."""
    namespace, name, fields = info.namespace or "", info.name, ""
    if info.plural == "namespaces" and not info.group and name:
        # As upstream: who may read namespaces inside of one may read that one.
        namespace = name
    if not name and "fieldSelector" in query:
        fields = query["fieldSelector"]
        name = required(fields, "metadata.name") or ""
    labels = query.get("labelSelector", "") if not name else ""
    return Question(info.verb, info.group, info.plural, info.subresource, namespace, name, "", fields, labels)


def of_path(method: str, path: str) -> Question:
    """Return the question that a request outside of resources asks."""
    verb = method.lower()
    return Question("get" if verb == "head" else verb, path=path)


def required(fields: str, key: str) -> str | None:
    """Return the value that a field selector requires of `key`, None when it requires none."""
    for part in fields.split(","):
        name, equals, value = part.partition("=")
        if equals and name == key:
            return value.removeprefix("=")
    return None


def describe(user: str, question: Question) -> str:
    """Return what `user` cannot do."""
    verb, group, resource, subresource, namespace, _, path, *_ = question
    if not resource:
        return f'User "{user}" cannot {verb} path "{path}"'
    if subresource:
        resource = f"{resource}/{subresource}"
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    return f'User "{user}" cannot {verb} resource "{resource}" in API group "{group}" {where}'


def refused(user: str, question: Question, reason: str) -> StatusError:
    """Return the 403."""
    why = describe(user, question)
    if reason:
        why = f"{why}: {reason}"
    if not question.resource:
        return failure(403, "Forbidden", f"forbidden: {why}", {})
    details = {"name": question.name} if question.name else {}
    if question.group:
        details["group"] = question.group
    details["kind"] = question.resource
    qualified = f"{question.resource}.{question.group}" if question.group else question.resource
    named = f' "{question.name}"' if question.name else ""
    return failure(403, "Forbidden", f"{qualified}{named} is forbidden: {why}", details)

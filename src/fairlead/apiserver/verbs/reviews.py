"""Reviews: questions about identities and rights, which are answered and never stored.

Source: authentication.k8s.io/v1, authorization.k8s.io/v1 and their storages in k8s.io/kubernetes.
"""

from __future__ import annotations

from typing import NamedTuple

from fairlead.apiserver.api import Api, Json
from fairlead.apiserver.authn.tokens import ISSUER, InvalidToken
from fairlead.apiserver.authz.question import Question, required
from fairlead.apiserver.authz.rbac import unique
from fairlead.apiserver.authz.rules import Rule, to_json
from fairlead.apiserver.errors import bad_request, invalid, no_such_path
from fairlead.apiserver.http.info import RequestInfo
from fairlead.apiserver.identity import MASTERS, Identity, user_info


class Review(NamedTuple):
    """One kind of question."""

    kind: str
    version: str
    namespaced: bool = False


_AUTHORIZATION, _AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"
REVIEWS: dict[tuple[str, str], Review] = {
    (_AUTHORIZATION, "selfsubjectaccessreviews"): Review("SelfSubjectAccessReview", "v1"),
    (_AUTHORIZATION, "subjectaccessreviews"): Review("SubjectAccessReview", "v1"),
    (_AUTHORIZATION, "localsubjectaccessreviews"): Review("LocalSubjectAccessReview", "v1", namespaced=True),
    (_AUTHORIZATION, "selfsubjectrulesreviews"): Review("SelfSubjectRulesReview", "v1"),
    (_AUTHENTICATION, "selfsubjectreviews"): Review("SelfSubjectReview", "v1"),
    (_AUTHENTICATION, "tokenreviews"): Review("TokenReview", "v1"),
}
"""By group and plural name."""


def answer(api: Api, info: RequestInfo, identity: Identity, obj: Json) -> Json:
    """Return the review with its status filled in; raises 404 for a version that is not served, 400 and 422 for bad questions."""
    review = REVIEWS[info.group, info.plural]
    if info.version != review.version:
        raise no_such_path()
    spec = obj.get("spec")
    spec = {} if spec is None else spec
    if not isinstance(spec, dict):
        raise bad_request(f'{review.kind} in version "v1" cannot be handled as a {review.kind}: spec must be an object')
    status = _status(api, review, info, identity, spec)
    found: Json = {
        "kind": review.kind,
        "apiVersion": f"{info.group}/{info.version}",
        "metadata": {"creationTimestamp": None} | ({"namespace": info.namespace} if review.namespaced else {}),
        "spec": spec,
        "status": status,
    }
    if review.kind == "SelfSubjectReview":
        del found["spec"]
    return found


def _status(api: Api, review: Review, info: RequestInfo, identity: Identity, spec: Json) -> Json:
    match review.kind:
        case "SelfSubjectReview":
            return {"userInfo": user_info(identity)}
        case "TokenReview":
            return _token(api, spec)
        case "SelfSubjectRulesReview":
            return _rules(api, identity, spec)
        case "SelfSubjectAccessReview":
            asker = identity
        case _:
            asker = _subject(review, spec)
    question = _question(review, spec)
    if review.namespaced and question.namespace != info.namespace:
        message = f"spec.resourceAttributes.namespace must match namespace: {info.namespace}"
        raise bad_request(message)
    return access(api, asker, question)


def access(api: Api, asker: Identity, question: Question) -> Json:
    """Return the status of an access review."""
    refusal = api.authorizer.refusal(asker, question)
    if refusal is None:
        reason = api.authorizer.reason(asker, question)
        return {"allowed": True} | ({"reason": reason} if reason else {})
    return {"allowed": False} | ({"reason": refusal} if refusal else {})


def _token(api: Api, spec: Json) -> Json:
    token, audiences = spec.get("token"), spec.get("audiences") or [ISSUER]
    if not token or not isinstance(token, str):
        raise bad_request("token is required for TokenReview in authentication")
    if not isinstance(audiences, list) or not all(isinstance(one, str) for one in audiences):
        raise bad_request("spec.audiences must be a list of strings")
    try:
        believed = api.tokens.verify(token, audiences)
    except InvalidToken as error:
        return {"user": {}, "error": f"[invalid bearer token, {error}]"}
    status: Json = {"authenticated": True, "user": user_info(believed.identity)}
    return status | {"audiences": list(believed.audiences)}


def _rules(api: Api, identity: Identity, spec: Json) -> Json:
    namespace = spec.get("namespace")
    if not namespace or not isinstance(namespace, str):
        raise bad_request("no namespace on request")
    everything = [Rule(("*",), ("*",), ("*",)), Rule(("*",), urls=("*",))] if MASTERS in identity.groups else []
    found = unique([*everything, *api.authorizer.rbac.rules(identity, namespace)])
    status: Json = {
        "resourceRules": [to_json(rule) for rule in found if rule.resources],
        "nonResourceRules": [to_json(rule) for rule in found if rule.urls],
        "incomplete": identity.node is not None,
    }
    if identity.node is not None:
        status["evaluationError"] = "node authorizer does not support user rule resolution"
    return status


def _subject(review: Review, spec: Json) -> Identity:
    user, groups, extra = spec.get("user") or "", spec.get("groups") or [], spec.get("extra") or {}
    if not (user or groups):
        message = "Invalid value: {}: at least one of user or group must be specified"
        raise _invalid(review, "spec.user", message.format('""'))
    if not (
        isinstance(user, str)
        and isinstance(groups, list)
        and all(isinstance(one, str) for one in groups)
        and isinstance(extra, dict)
        and all(isinstance(values, list) and all(isinstance(one, str) for one in values) for values in extra.values())
    ):
        raise bad_request(f"{review.kind}: spec names no user and groups")
    return Identity(
        user, tuple(groups), str(spec.get("uid") or ""), tuple((key, tuple(extra[key])) for key in sorted(extra))
    )


def _question(review: Review, spec: Json) -> Question:
    wanted, outside = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (wanted is None) == (outside is None):
        problem = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise _invalid(review, "spec.resourceAttributes", f"Invalid value: null: {problem}")
    given = wanted if wanted is not None else outside
    if not isinstance(given, dict) or not all(isinstance(given.get(key) or "", str) for key in _TEXTS):
        raise bad_request(f"{review.kind}: spec holds no attributes of a request")

    def text(key: str) -> str:
        return given.get(key) or ""

    if wanted is None:
        return Question(text("verb"), path=text("path"))
    selector = wanted.get("fieldSelector") or {}
    fields = ""
    if isinstance(selector, dict):
        fields = selector.get("rawSelector") or ",".join(
            f"{one['key']}={one['values'][0]}"
            for one in selector.get("requirements") or ()
            if isinstance(one, dict) and one.get("operator") == "In" and len(one.get("values") or ()) == 1
        )
    name = text("name") or required(fields, "metadata.name") or ""
    return Question(
        text("verb"), text("group"), text("resource"), text("subresource"), text("namespace"), name, "", fields
    )


_TEXTS = ("verb", "group", "resource", "subresource", "namespace", "name", "path")


def _invalid(review: Review, field: str, message: str) -> Exception:
    return invalid(review.kind, _AUTHORIZATION, "", [(field, "FieldValueInvalid", message)])

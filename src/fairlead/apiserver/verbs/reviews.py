"""Reviews: questions about identities and rights, which are answered and never stored."""

from __future__ import annotations

from typing import NamedTuple

from fairlead.apiserver.api import Json
from fairlead.apiserver.errors import no_such_path
from fairlead.apiserver.http.info import RequestInfo
from fairlead.apiserver.identity import Identity, authorize, user_info


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
}
"""By group and plural name."""


def answer(info: RequestInfo, identity: Identity, obj: Json) -> Json:
    """Return the review with its status filled in; raises 404 for a version that is not served."""
    review = REVIEWS[info.group, info.plural]
    if info.version != review.version:
        raise no_such_path()
    spec = obj.get("spec") or {}
    return {
        "kind": review.kind,
        "apiVersion": f"{info.group}/{info.version}",
        "metadata": {"creationTimestamp": None},
        "spec": spec,
        "status": _status(review, identity, spec),
    }


def _status(review: Review, identity: Identity, spec: Json) -> Json:
    match review.kind:
        case "SelfSubjectReview":
            return {"userInfo": user_info(identity)}
        case "SelfSubjectRulesReview":
            return {
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                "incomplete": False,
            }
        case "SelfSubjectAccessReview":
            asker = identity
        case _:
            asker = Identity(spec.get("user") or "", tuple(spec.get("groups") or ()))
    refusal = authorize(asker, _asked(spec), (spec.get("nonResourceAttributes") or {}).get("path") or "")
    return {"allowed": True} if refusal is None else {"allowed": False, "reason": refusal}


def _asked(spec: Json) -> RequestInfo | None:
    wanted = spec.get("resourceAttributes")
    if not wanted:
        return None
    return RequestInfo(
        verb=wanted.get("verb") or "",
        group=wanted.get("group") or "",
        version=wanted.get("version") or "",
        plural=wanted.get("resource") or "",
        namespace=wanted.get("namespace") or None,
        name=wanted.get("name") or "",
        subresource=wanted.get("subresource") or "",
    )

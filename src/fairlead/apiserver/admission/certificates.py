"""CertificateSigningRequests: whose request it is, who may approve it, and who may answer it.

Source: the strategy of certificatesigningrequests and the admission plugins CertificateApproval, CertificateSigning and
CertificateSubjectRestriction.
"""

from __future__ import annotations

from typing import Any

from fairlead.apiserver.admission.chain import Attributes, Plugin
from fairlead.apiserver.api import timestamp
from fairlead.apiserver.authz.authorizer import Authorizer
from fairlead.apiserver.authz.question import Question
from fairlead.apiserver.errors import forbidden
from fairlead.apiserver.identity import MASTERS
from fairlead.apiserver.kinds.certificate_rules import parsed

Json = dict[str, Any]

TABLE = "certificates.k8s.io/certificatesigningrequests"
_CLIENT = "kubernetes.io/kube-apiserver-client"
_DECISIONS = ("Approved", "Denied")


def admit(authorizer: Authorizer) -> Plugin:
    """Return the admission function."""

    def complete(attributes: Attributes) -> None:
        if attributes.served.table != TABLE or attributes.operation == "DELETE":
            return
        if attributes.operation == "CREATE":
            _begin(attributes)
        else:
            _change(authorizer, attributes)

    return complete


def _begin(attributes: Attributes) -> None:
    identity = attributes.identity
    spec = attributes.obj.setdefault("spec", {})
    for key, value in (
        ("username", identity.user),
        ("uid", identity.uid),
        ("groups", list(identity.groups)),
        ("extra", {key: list(values) for key, values in identity.extra}),
    ):
        spec.pop(key, None)
        if value:
            spec[key] = value
    attributes.obj["status"] = {}
    if spec.get("signerName") == _CLIENT and MASTERS in _groups(spec):
        why = f"use of {_CLIENT} signer with {MASTERS} group is not allowed"
        raise forbidden(attributes.served.resource, attributes.name, why)


def _groups(spec: Json) -> list[str]:
    from cryptography.x509.oid import NameOID

    try:
        names = parsed(spec.get("request")).subject
    except ValueError:
        # Validation says what is wrong with it.
        return []
    return [str(one.value) for one in names.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def _change(authorizer: Authorizer, attributes: Attributes) -> None:
    new, old = attributes.obj, attributes.old or {}
    before, wanted = old.get("status") or {}, new.get("status") or {}
    new["spec"] = old["spec"]
    match attributes.subresource:
        case "approval":
            kept = [one for one in before.get("conditions") or () if one["type"] not in _DECISIONS]
            decided = [one for one in wanted.get("conditions") or () if one.get("type") in _DECISIONS]
            new["status"] = before | {"conditions": kept + decided}
            if decided != [one for one in before.get("conditions") or () if one["type"] in _DECISIONS]:
                _require(authorizer, attributes, "approve")
        case "status":
            decided = [one for one in before.get("conditions") or () if one["type"] in _DECISIONS]
            others = [one for one in wanted.get("conditions") or () if one.get("type") not in _DECISIONS]
            new["status"] = wanted | {"conditions": decided + others}
            if wanted.get("certificate") != before.get("certificate") or others != [
                one for one in before.get("conditions") or () if one["type"] not in _DECISIONS
            ]:
                _require(authorizer, attributes, "sign")
        case _:
            new["status"] = before
    if not new["status"].get("conditions"):
        new["status"] = {key: value for key, value in new["status"].items() if key != "conditions"}
    _set_times(new["status"], before)


def _set_times(status: Json, before: Json) -> None:
    known = {one["type"]: one for one in before.get("conditions") or ()}
    for one in status.get("conditions") or ():
        former = known.get(one.get("type"))
        if one == former:
            continue
        one["lastUpdateTime"] = one.get("lastUpdateTime") or timestamp()
        if not one.get("lastTransitionTime"):
            same = former is not None and former.get("status") == one.get("status")
            one["lastTransitionTime"] = former["lastTransitionTime"] if former is not None and same else timestamp()


def _require(authorizer: Authorizer, attributes: Attributes, verb: str) -> None:
    signer = (attributes.old or {})["spec"]["signerName"]
    domain = signer.partition("/")[0]
    for name in (signer, f"{domain}/*"):
        if authorizer.allows(attributes.identity, Question(verb, "certificates.k8s.io", "signers", name=name)):
            return
    why = f'user not permitted to {verb} requests with signerName "{signer}"'
    raise forbidden(attributes.served.resource, attributes.name, why)

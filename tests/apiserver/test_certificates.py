"""CertificateSigningRequests: whose they are, who approves them, who answers them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from apiserver_client import Http, acting_as
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Json = dict[str, Any]
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
CLIENT = "kubernetes.io/kube-apiserver-client"
KEY = ec.generate_private_key(ec.SECP256R1())


def csr(user: str = "alice", *groups: str) -> str:
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(KEY, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


def request(name: str = "r", **spec: Any) -> Json:
    wanted = {"request": csr(), "signerName": CLIENT, "usages": ["client auth"], **spec}
    kind = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
    return {
        **kind,
        "metadata": {"name": name},
        "spec": {key: value for key, value in wanted.items() if value is not None},
    }


def conditions(*types: str) -> Json:
    return {"status": {"conditions": [{"type": one, "status": "True", "reason": "R", "message": "m"} for one in types]}}


async def granted(http: Http, user: str, *rules: Json) -> None:
    """Let `user` work with requests, and `rules` besides."""
    usual = {
        "apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests"],
        "verbs": ["create", "get"],
    }
    writes = {
        "apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests/approval", "certificatesigningrequests/status"],
        "verbs": ["update", "patch"],
    }
    await http.ok("POST", f"{RBAC}/clusterroles", {"metadata": {"name": user}, "rules": [usual, writes, *rules]})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}
    body = {"metadata": {"name": user}, "roleRef": reference, "subjects": [subject]}
    await http.ok("POST", f"{RBAC}/clusterrolebindings", body)


def signer(verb: str, name: str) -> Json:
    return {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": [name], "verbs": [verb]}


async def test_a_request_names_who_made_it(http: Http):
    await granted(http, "alice")
    made = await http.ok(
        "POST", REQUESTS, request(username="admin", groups=["system:masters"]), **acting_as("alice", "dev")
    )
    assert (made["spec"]["username"], made["spec"]["groups"]) == ("alice", ["dev", "system:authenticated"])
    changed = await http.ok("PUT", f"{REQUESTS}/r", made | {"spec": made["spec"] | {"username": "root"}})
    assert changed["spec"]["username"] == "alice"


REFUSED = {
    "no request": ({"request": None}, "spec.request: Required value"),
    "no PEM": ({"request": base64.b64encode(b"x").decode()}, "PEM block type must be CERTIFICATE REQUEST"),
    "no usages": ({"usages": []}, "spec.usages: Required value: usages must be provided"),
    "no signer": ({"signerName": None}, "spec.signerName: Required value"),
    "a short life": (
        {"expirationSeconds": 60},
        "spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 600 seconds (10 minutes)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_requests_that_are_refused(case: str, http: Http):
    spec, message = REFUSED[case]
    answer = await http("POST", REQUESTS, request(**spec))
    assert answer.code == 422 and answer.message.endswith(message), answer.body


async def test_nobody_asks_to_be_a_master(http: Http):
    answer = await http("POST", REQUESTS, request(request=csr("eve", "system:masters")))
    assert (answer.code, answer.message) == (
        403,
        'certificatesigningrequests.certificates.k8s.io "r" is forbidden: use of kubernetes.io/kube-apiserver-client '
        "signer with system:masters group is not allowed",
    )


async def test_approval_needs_a_right_on_the_signer(http: Http):
    await granted(http, "alice")
    await granted(http, "bob", signer("approve", "kubernetes.io/*"))
    made = await http.ok("POST", REQUESTS, request())
    answer = await http("PUT", f"{REQUESTS}/r/approval", made | conditions("Approved"), **acting_as("alice"))
    assert (answer.code, answer.message) == (
        403,
        'certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to approve requests with '
        'signerName "kubernetes.io/kube-apiserver-client"',
    )
    smuggled = conditions("Approved")
    smuggled["status"]["certificate"] = "eA=="
    approved = await http.ok("PUT", f"{REQUESTS}/r/approval", made | smuggled, **acting_as("bob"))
    assert "certificate" not in approved["status"]
    (one,) = approved["status"]["conditions"]
    assert one["lastUpdateTime"] and one["lastTransitionTime"]
    both = await http("PUT", f"{REQUESTS}/r/approval", approved | conditions("Approved", "Denied"))
    assert both.code == 422 and "mutually exclusive" in both.message
    taken = await http("PUT", f"{REQUESTS}/r/approval", approved | {"status": {}})
    assert taken.code == 422 and 'may not remove a condition of type "Approved"' in taken.message


async def test_a_certificate_comes_from_who_may_sign(http: Http):
    await granted(http, "alice")
    await granted(http, "signer", signer("sign", CLIENT))
    made = await http.ok("POST", REQUESTS, request())
    body = made | {"status": {"certificate": "eA==", **conditions("Approved")["status"]}}
    answer = await http("PUT", f"{REQUESTS}/r/status", body, **acting_as("alice"))
    assert answer.code == 403 and "user not permitted to sign requests" in answer.message
    signed = await http.ok("PUT", f"{REQUESTS}/r/status", body, **acting_as("signer"))
    assert signed["status"] == {"certificate": "eA=="}, "nobody approves through the status"

"""Secrets of type `kubernetes.io/service-account-token`: the token in them is put there when they are made.

Upstream's token controller does it a moment later. The token is bound to the Secret, so that it ends with it, and has no end of its own
that anybody will live to see.
"""

from __future__ import annotations

import base64

from fairlead.apiserver.admission.chain import Attributes, Plugin
from fairlead.apiserver.api import Api
from fairlead.apiserver.authn.tokens import ISSUER, MOST_LIFETIME_S, Bound

_TYPE = "kubernetes.io/service-account-token"
_NAME, _UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"


def fill(api: Api) -> Plugin:
    """Return the allocating function, which sees the Secret's uid; a Secret of no account stays empty."""

    def allocate(attributes: Attributes) -> None:
        secret = attributes.obj
        if attributes.operation != "CREATE" or attributes.served.table != "secrets" or secret.get("type") != _TYPE:
            return
        metadata = secret["metadata"]
        annotations = metadata.get("annotations") or {}
        account = api.store.latest("serviceaccounts", attributes.namespace, annotations.get(_NAME, ""))
        if account is None or attributes.dry_run:
            return
        uid = account.obj["metadata"]["uid"]
        if annotations.setdefault(_UID, uid) != uid:
            return
        bound = Bound("secret", metadata["name"], metadata["uid"])
        token, _ = api.tokens.issue(account.obj, audiences=[ISSUER], lifetime_s=MOST_LIFETIME_S, bound=[bound])
        texts = {"ca.crt": api.ca_certificate, "namespace": attributes.namespace, "token": token}
        filled = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
        secret["data"] = {**(secret.get("data") or {}), **filled}

    return allocate

"""The one place that decides about rights: masters, then nodes, then roles.

It is asked on every request: a question costs microseconds and never waits.
"""

from __future__ import annotations

from fairlead.api.certificate import TYPE
from fairlead.api.credentials import LABEL
from fairlead.apiserver.authz import node
from fairlead.apiserver.authz.node_graph import NodeGraph
from fairlead.apiserver.authz.question import Question, refused, required
from fairlead.apiserver.authz.rbac import Rbac
from fairlead.apiserver.identity import MASTERS, Identity
from fairlead.apiserver.store.engine import Store


class Authorizer:
    """Decides from what the store holds."""

    def __init__(self, store: Store) -> None:
        self.rbac = Rbac(store)
        self.nodes = NodeGraph(store)

    def refusal(self, identity: Identity, question: Question) -> str | None:
        """Return why the identity may not do what is asked, possibly empty; None when it may."""
        if MASTERS in identity.groups:
            return None
        why = ""
        if (name := identity.node) is not None:
            refusal = node.refusal(self.nodes, name, question)
            if refusal is None:
                return None
            why = refusal
        if self.rbac.allow(identity, question) or _is_of_gateways(identity, question):
            return None
        return "\n".join(filter(None, (why, self.rbac.why_not(identity))))

    def allows(self, identity: Identity, question: Question) -> bool:
        """Tell whether the identity may do what is asked."""
        return self.refusal(identity, question) is None

    def require(self, identity: Identity, question: Question) -> None:
        """Raise the 403 of what the identity may not do."""
        why = self.refusal(identity, question)
        if why is not None:
            raise refused(identity.user, question, why)

    def reason(self, identity: Identity, question: Question) -> str:
        """Return by what something is allowed; empty where no binding says so."""
        if MASTERS in identity.groups:
            return ""
        if (name := identity.node) is not None and node.refusal(self.nodes, name, question) is None:
            return ""
        return self.rbac.why(identity, question)


def _is_of_gateways(identity: Identity, question: Question) -> bool:
    """Tell whether a network agent asks for what its gateway serves or trusts.

    These are Secrets of the type of certificates or with the label of credentials, and a ConfigMap by its name. No rule of RBAC can say that;
    with another API server, agents have to be allowed to read all Secrets and ConfigMaps.
    """
    if identity.agent_of is None or question.verb not in ("list", "watch"):
        return False
    match question.group, question.resource, question.subresource:
        case "", "secrets", "":
            return required(question.fields, "type") == TYPE or question.labels == LABEL
        case "", "configmaps", "":
            return bool(question.namespace) and required(question.fields, "metadata.name") is not None
    return False

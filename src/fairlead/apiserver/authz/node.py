"""What a node may do: its own Node and Lease, its own pods and their status, and only those objects that its pods refer to.

Source: KEP-279 (node authorizer) and KEP-4601 (selectors). What a request writes is looked at by `admission.node_restriction`.
"""

from __future__ import annotations

from fairlead.apiserver.authz.node_graph import NodeGraph
from fairlead.apiserver.authz.question import Question, required
from fairlead.apiserver.authz.rules import Rights, Rule

LEASES = "kube-node-lease"
_READ = ("get", "list", "watch")
_WRITE = ("update", "patch")
RULES = (
    Rule(("create",), ("authentication.k8s.io",), ("tokenreviews",)),
    Rule(("create",), ("authorization.k8s.io",), ("subjectaccessreviews", "localsubjectaccessreviews")),
    Rule(_READ, ("",), ("services",)),
    Rule(("create", "get", "list", "watch", *_WRITE), ("",), ("nodes",)),
    Rule(_WRITE, ("",), ("nodes/status", "pods/status")),
    Rule(("create", *_WRITE), ("", "events.k8s.io"), ("events",)),
    Rule(("create", "delete", *_READ), ("",), ("pods",)),
    Rule(("create",), ("",), ("pods/eviction", "serviceaccounts/token")),
    Rule(_READ, ("",), ("configmaps", "secrets")),
    Rule(("get",), ("",), ("persistentvolumeclaims", "persistentvolumes", "endpoints")),
    Rule(("get", *_WRITE), ("",), ("persistentvolumeclaims/status",)),
    Rule(("create", *_READ), ("certificates.k8s.io",), ("certificatesigningrequests",)),
    Rule(("get", "create", "delete", *_WRITE), ("coordination.k8s.io",), ("leases",)),
    Rule(("get",), ("storage.k8s.io",), ("volumeattachments",)),
    Rule(_READ, ("storage.k8s.io",), ("csidrivers",)),
    Rule(("get", "create", "delete", *_WRITE), ("storage.k8s.io",), ("csinodes",)),
    Rule(_READ, ("node.k8s.io",), ("runtimeclasses",)),
)
"""The rules of ClusterRole system:node; which objects they hold for is said below."""
_RIGHTS = Rights(RULES)


def refusal(graph: NodeGraph, node: str, question: Question) -> str | None:
    """Return why the node may not do what is asked, possibly empty; None when it may."""
    match question.group, question.resource:
        case "", "secrets" | "configmaps":
            return _read(graph, node, question)
        case "", "persistentvolumeclaims" if question.subresource == "status":
            if question.verb not in _WRITE:
                return "can only get/update/patch this type"
            return _related(graph, node, question)
        case ("", "persistentvolumeclaims" | "persistentvolumes") | ("storage.k8s.io", "volumeattachments"):
            if question.verb != "get":
                return "can only get individual resources of this type"
            return "cannot get subresource" if question.subresource else _related(graph, node, question)
        case "", "serviceaccounts":
            if question.verb != "create" or not question.name:
                return "can only create tokens for individual service accounts"
            if question.subresource != "token":
                return "can only create token subresource of serviceaccount"
            return _related(graph, node, question)
        case "coordination.k8s.io", "leases":
            return _lease(node, question)
        case "storage.k8s.io", "csinodes":
            return _own(node, question, "CSINode")
        case "", "nodes":
            return _node(node, question)
        case "", "pods":
            return _pod(graph, node, question)
        case _:
            verb, group, resource, subresource, _, name, *_ = question
            return None if resource and _RIGHTS.allow(verb, group, resource, subresource, name) else ""


def _read(graph: NodeGraph, node: str, question: Question) -> str | None:
    if question.verb not in _READ:
        return "can only read resources of this type"
    if question.subresource:
        return "cannot read subresource"
    if not question.namespace:
        return "can only read namespaced object of this type"
    return _related(graph, node, question)


def _related(graph: NodeGraph, node: str, question: Question) -> str | None:
    if not question.name:
        return "No Object name found"
    if graph.refers(node, question.resource, question.namespace, question.name):
        return None
    return f"no relationship found between node '{node}' and this object"


def _lease(node: str, question: Question) -> str | None:
    if question.verb not in ("get", "create", "delete", *_WRITE):
        return "can only get, create, update, patch, or delete a node lease"
    if question.namespace != LEASES:
        return f'can only access leases in the "{LEASES}" system namespace'
    if question.verb != "create" and question.name != node:
        return "can only access node lease with the same name as the requesting node"
    return None


def _own(node: str, question: Question, kind: str) -> str | None:
    if question.verb not in ("get", "create", "delete", *_WRITE):
        return f"can only get, create, update, patch, or delete a {kind}"
    if question.subresource:
        return f"cannot authorize {kind} subresources"
    if question.verb != "create" and question.name != node:
        return f"can only access {kind} with the same name as the requesting node"
    return None


def _node(node: str, question: Question) -> str | None:
    match question.subresource, question.verb:
        case "", "create" | "update" | "patch":
            return None
        case "", "get" | "list" | "watch":
            if question.name == node:
                return None
            if not question.name:
                return f"node '{node}' cannot read all nodes, only its own Node object"
            return f"node '{node}' cannot read '{question.name}', only its own Node object"
        case "status", "update" | "patch":
            return None
        case _:
            return ""


def _pod(graph: NodeGraph, node: str, question: Question) -> str | None:
    match question.subresource, question.verb:
        case "", "get" | "list" | "watch":
            if question.verb != "get" and required(question.fields, "spec.nodeName") == node:
                return None
            if not question.name and question.verb != "get":
                return "can only list/watch pods with spec.nodeName field selector"
            if question.name and graph.runs(node, question.namespace, question.name):
                return None
            return f"no relationship found between node '{node}' and this object"
        case "", "create" | "delete":
            return None
        case "status", "update" | "patch":
            return None
        case "eviction", "create":
            return None
        case _:
            return ""

"""The ClusterRoles that every cluster has from its beginning, and to whom they are granted.

Facts of upstream's bootstrap policy, in a shorthand of our own: `VERBS: RESOURCE[/SUBRESOURCE][.GROUP]… [= NAMES]`, or `VERBS: /PATH…`.
Left out is what is about the group `extensions`, which nobody serves any more, and controllers that no lab has. What our own components
need besides is named `fairlead:…`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fairlead.apiserver.authz import node
from fairlead.apiserver.authz.rules import Rule, to_json

Json = dict[str, Any]

_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_EVENTS = "create patch update: events events.events.k8s.io"
_RBAC = "rbac.authorization.k8s.io"
_SIGNERS = "signers.certificates.k8s.io"
_REQUESTS = "certificatesigningrequests.certificates.k8s.io"
_GATEWAY = (
    "gatewayclasses.gateway.networking.k8s.io gateways.gateway.networking.k8s.io listenersets.gateway.networking.k8s.io "
    "httproutes.gateway.networking.k8s.io grpcroutes.gateway.networking.k8s.io "
    "tlsroutes.gateway.networking.k8s.io tcproutes.gateway.networking.k8s.io udproutes.gateway.networking.k8s.io "
    "clienttrafficpolicies.fairlead.dev gatewayparameters.fairlead.dev "
    "referencegrants.gateway.networking.k8s.io backendtrafficpolicies.fairlead.dev securitypolicies.fairlead.dev "
    "trafficpolicies.fairlead.dev routeextensions.fairlead.dev middlewares.traefik.io "
    "backendtlspolicies.gateway.networking.k8s.io"
)

_PEOPLE: Mapping[str, tuple[str, ...]] = {
    "cluster-admin": ("*: *.*", "*: *"),
    "system:aggregate-to-admin": (
        "create: localsubjectaccessreviews.authorization.k8s.io",
        f"{_READ} {_WRITE}: roles.{_RBAC} rolebindings.{_RBAC}",
    ),
    "system:aggregate-to-edit": (
        f"{_READ}: pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy",
        "impersonate: serviceaccounts",
        f"{_WRITE}: pods pods/attach pods/exec pods/portforward pods/proxy",
        "create: pods/eviction",
        f"{_WRITE}: configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
        "serviceaccounts services services/proxy",
        "create: serviceaccounts/token",
        f"{_WRITE}: daemonsets.apps deployments.apps deployments/rollback.apps deployments/scale.apps replicasets.apps "
        "replicasets/scale.apps statefulsets.apps statefulsets/scale.apps",
        f"{_WRITE}: horizontalpodautoscalers.autoscaling",
        f"{_WRITE}: cronjobs.batch jobs.batch",
        f"{_WRITE}: poddisruptionbudgets.policy",
        f"{_WRITE}: ingresses.networking.k8s.io networkpolicies.networking.k8s.io",
        f"{_READ} {_WRITE}: leases.coordination.k8s.io",
    ),
    "system:aggregate-to-view": (
        f"{_READ}: configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
        "replicationcontrollers/scale serviceaccounts services services/status",
        f"{_READ}: bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
        "resourcequotas resourcequotas/status",
        f"{_READ}: namespaces",
        f"{_READ}: endpointslices.discovery.k8s.io",
        f"{_READ}: controllerrevisions.apps daemonsets.apps daemonsets/status.apps deployments.apps deployments/scale.apps "
        "deployments/status.apps replicasets.apps replicasets/scale.apps replicasets/status.apps statefulsets.apps "
        "statefulsets/scale.apps statefulsets/status.apps",
        f"{_READ}: horizontalpodautoscalers.autoscaling horizontalpodautoscalers/status.autoscaling",
        f"{_READ}: cronjobs.batch cronjobs/status.batch jobs.batch jobs/status.batch",
        f"{_READ}: poddisruptionbudgets.policy poddisruptionbudgets/status.policy",
        f"{_READ}: ingresses.networking.k8s.io ingresses/status.networking.k8s.io networkpolicies.networking.k8s.io",
    ),
    "system:auth-delegator": (
        "create: tokenreviews.authentication.k8s.io",
        "create: subjectaccessreviews.authorization.k8s.io",
    ),
    "system:basic-user": (
        "create: selfsubjectaccessreviews.authorization.k8s.io selfsubjectrulesreviews.authorization.k8s.io",
        "create: selfsubjectreviews.authentication.k8s.io",
    ),
    "system:discovery": (
        "get: /api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
    ),
    "system:monitoring": ("get: /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*",),
    "system:public-info-viewer": ("get: /healthz /livez /readyz /version /version/",),
    "system:service-account-issuer-discovery": ("get: /.well-known/openid-configuration /openid/v1/jwks",),
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        "create: certificatesigningrequests/nodeclient.certificates.k8s.io",
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        "create: certificatesigningrequests/selfnodeclient.certificates.k8s.io",
    ),
    **{
        f"system:certificates.k8s.io:{signer}-approver": (f"approve: {_SIGNERS} = kubernetes.io/{signer}",)
        for signer in (
            "kube-apiserver-client",
            "kube-apiserver-client-kubelet",
            "kubelet-serving",
            "legacy-unknown",
        )
    },
}

_COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "system:kube-aggregator": (f"{_READ}: endpoints services",),
    "system:kube-controller-manager": (
        _EVENTS,
        "create: leases.coordination.k8s.io",
        "get update: leases.coordination.k8s.io = kube-controller-manager",
        "create: secrets serviceaccounts",
        "delete: secrets",
        "get: configmaps namespaces secrets serviceaccounts",
        "update: secrets serviceaccounts",
        "create: tokenreviews.authentication.k8s.io",
        "create: subjectaccessreviews.authorization.k8s.io",
        "list watch: *.*",
        "create: serviceaccounts/token",
    ),
    "system:kube-dns": ("list watch: endpoints services",),
    "system:kube-scheduler": (
        _EVENTS,
        "create: leases.coordination.k8s.io",
        "get update: leases.coordination.k8s.io = kube-scheduler",
        f"{_READ}: nodes namespaces persistentvolumeclaims persistentvolumes replicationcontrollers services",
        f"delete {_READ}: pods",
        "create: bindings pods/binding",
        "patch update: pods/status",
        f"{_READ}: replicasets.apps statefulsets.apps",
        f"{_READ}: poddisruptionbudgets.policy",
        "create: tokenreviews.authentication.k8s.io",
        "create: subjectaccessreviews.authorization.k8s.io",
        f"{_READ}: csinodes.storage.k8s.io csidrivers.storage.k8s.io csistoragecapacities.storage.k8s.io",
    ),
    "system:kubelet-api-admin": (
        f"{_READ}: nodes",
        "proxy: nodes",
        "*: nodes/log nodes/metrics nodes/proxy nodes/stats",
    ),
    "system:node-bootstrapper": (f"create {_READ}: {_REQUESTS}",),
    "system:node-problem-detector": ("get: nodes", "patch: nodes/status", _EVENTS),
    "system:node-proxier": (
        "list watch: endpoints services",
        f"{_READ}: nodes",
        _EVENTS,
        "list watch: endpointslices.discovery.k8s.io",
    ),
    "system:persistent-volume-provisioner": (
        f"create delete {_READ}: persistentvolumes",
        f"{_READ} update: persistentvolumeclaims",
        f"{_READ}: storageclasses.storage.k8s.io",
        "watch: events",
        _EVENTS,
    ),
    "system:volume-scheduler": (
        f"{_READ} patch update: persistentvolumes persistentvolumeclaims",
        f"{_READ}: storageclasses.storage.k8s.io",
    ),
    "fairlead:agent": (
        f"{_READ}: nodes namespaces pods services",
        f"{_READ} create patch delete: endpointslices.discovery.k8s.io",
        f"{_READ}: networkpolicies.networking.k8s.io ingresses.networking.k8s.io ingressclasses.networking.k8s.io",
        f"{_READ}: {_GATEWAY}",
        f"{_READ}: adminnetworkpolicies.policy.networking.k8s.io baselineadminnetworkpolicies.policy.networking.k8s.io "
        "clusternetworkpolicies.policy.networking.k8s.io",
        f"{_READ}: egressgateways.fairlead.dev",
        "create get patch update: nodepolicyreports.fairlead.dev",
        _EVENTS,
    ),
    "fairlead:cloud": (f"{_READ}: nodes services", f"{_READ}: egressgateways.fairlead.dev", _EVENTS),
    "fairlead:controller": (
        "create update: networkpolicystatuses.fairlead.dev",
        "patch update: egressgateways/status.fairlead.dev",
        f"{_READ} create patch: services",
        # Of nodes whose agents are silent.
        "patch delete: endpointslices.discovery.k8s.io",
        # Certificates for listeners that ask for one.
        "create update: secrets",
        f"{_READ}: nodes namespaces secrets configmaps endpointslices.discovery.k8s.io {_GATEWAY} "
        "ingresses.networking.k8s.io ingressclasses.networking.k8s.io",
        "patch update: ingresses/status.networking.k8s.io",
        "patch update: gatewayclasses/status.gateway.networking.k8s.io gateways/status.gateway.networking.k8s.io "
        "listenersets/status.gateway.networking.k8s.io "
        "httproutes/status.gateway.networking.k8s.io grpcroutes/status.gateway.networking.k8s.io "
        "tlsroutes/status.gateway.networking.k8s.io tcproutes/status.gateway.networking.k8s.io "
        "udproutes/status.gateway.networking.k8s.io",
        "patch update: backendtrafficpolicies/status.fairlead.dev securitypolicies/status.fairlead.dev "
        "trafficpolicies/status.fairlead.dev clienttrafficpolicies/status.fairlead.dev "
        "backendtlspolicies/status.gateway.networking.k8s.io",
        "update: gateways/finalizers.gateway.networking.k8s.io",
        "patch update: adminnetworkpolicies/status.policy.networking.k8s.io "
        "baselineadminnetworkpolicies/status.policy.networking.k8s.io clusternetworkpolicies/status.policy.networking.k8s.io",
    ),
}

_CONTROLLERS: Mapping[str, tuple[str, ...]] = {
    "certificate-controller": (
        f"{_READ} delete: {_REQUESTS}",
        "update: certificatesigningrequests/status.certificates.k8s.io certificatesigningrequests/approval.certificates.k8s.io",
        f"approve: {_SIGNERS} = kubernetes.io/kube-apiserver-client-kubelet",
        f"sign: {_SIGNERS} = kubernetes.io/legacy-unknown kubernetes.io/kube-apiserver-client "
        "kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving",
        "create: subjectaccessreviews.authorization.k8s.io",
    ),
    "clusterrole-aggregation-controller": (f"escalate {_READ} update patch: clusterroles.{_RBAC}",),
    "cronjob-controller": (
        f"{_READ} update: cronjobs.batch",
        f"{_READ} create update delete patch: jobs.batch",
        "update: cronjobs/status.batch cronjobs/finalizers.batch",
        "list watch delete: pods",
    ),
    "daemon-set-controller": (
        f"{_READ}: daemonsets.apps",
        "update: daemonsets/status.apps daemonsets/finalizers.apps",
        "list watch: nodes",
        "list watch create delete patch: pods",
        "create: pods/binding",
        f"{_READ} create delete update patch: controllerrevisions.apps",
    ),
    "deployment-controller": (
        f"{_READ} update: deployments.apps",
        "update: deployments/status.apps deployments/finalizers.apps",
        f"{_READ} create update patch delete: replicasets.apps",
        f"{_READ} update: pods",
    ),
    "disruption-controller": (
        f"{_READ}: deployments.apps replicasets.apps statefulsets.apps",
        f"{_READ}: replicationcontrollers",
        f"{_READ}: poddisruptionbudgets.policy",
        "update: poddisruptionbudgets/status.policy",
        "patch update: pods/status",
        "get: */scale.*",
    ),
    "endpoint-controller": (
        f"{_READ}: services pods",
        f"{_READ} create update delete: endpoints",
        "create: endpoints/restricted",
    ),
    "endpointslice-controller": (
        f"{_READ}: services pods nodes",
        "update: services/finalizers",
        f"{_READ} create update delete: endpointslices.discovery.k8s.io",
    ),
    "endpointslicemirroring-controller": (
        f"{_READ}: services endpoints",
        "update: services/finalizers endpoints/finalizers",
        f"{_READ} create update delete: endpointslices.discovery.k8s.io",
    ),
    "ephemeral-volume-controller": (
        f"{_READ}: pods",
        "update: pods/finalizers",
        f"{_READ} create: persistentvolumeclaims",
    ),
    "generic-garbage-collector": (f"{_READ} patch update delete: *.*",),
    "horizontal-pod-autoscaler": (
        f"{_READ}: horizontalpodautoscalers.autoscaling",
        "update: horizontalpodautoscalers/status.autoscaling",
        "get update: */scale.*",
        "list watch: pods pods.metrics.k8s.io",
        f"{_READ}: *.custom.metrics.k8s.io *.external.metrics.k8s.io",
    ),
    "job-controller": (
        f"{_READ} update patch: jobs.batch",
        "update: jobs/status.batch jobs/finalizers.batch",
        "list watch create delete patch: pods",
    ),
    "namespace-controller": (
        f"{_READ} delete: namespaces",
        "update: namespaces/finalize namespaces/status",
        f"{_READ} delete deletecollection: *.*",
    ),
    "node-controller": (
        f"{_READ} update delete patch: nodes",
        "patch update: nodes/status pods/status",
        f"{_READ} delete: pods",
    ),
    "persistent-volume-binder": (
        f"{_READ} update create delete: persistentvolumes",
        "update: persistentvolumes/status persistentvolumeclaims/status",
        f"{_READ} update: persistentvolumeclaims",
        f"{_READ} create delete: pods",
        f"{_READ}: storageclasses.storage.k8s.io",
        "list watch: nodes",
        "watch: events",
        "get: services",
    ),
    "pod-garbage-collector": ("list watch delete: pods", f"{_READ}: nodes", "patch: pods/status"),
    "pv-protection-controller": (f"{_READ} update: persistentvolumes",),
    "pvc-protection-controller": (f"{_READ} update: persistentvolumeclaims", f"{_READ}: pods"),
    "replicaset-controller": (
        f"{_READ} update: replicasets.apps",
        "update: replicasets/status.apps replicasets/finalizers.apps",
        "list watch patch create delete: pods",
    ),
    "replication-controller": (
        f"{_READ} update: replicationcontrollers",
        "update: replicationcontrollers/status replicationcontrollers/finalizers",
        "list watch patch create delete: pods",
    ),
    "resourcequota-controller": ("list watch: *.*", "update: resourcequotas/status"),
    "root-ca-cert-publisher": ("create update: configmaps",),
    "service-account-controller": ("create: serviceaccounts",),
    "service-controller": (f"{_READ}: services", "patch update: services/status", "list watch: nodes"),
    "statefulset-controller": (
        f"{_READ} create delete update patch: pods",
        f"{_READ}: statefulsets.apps",
        "update: statefulsets/status.apps statefulsets/finalizers.apps pods/finalizers",
        f"{_READ} create delete update patch: controllerrevisions.apps",
        f"{_READ} create update delete: persistentvolumeclaims",
    ),
    "ttl-after-finished-controller": (f"{_READ} delete: jobs.batch",),
    "ttl-controller": ("update patch list watch: nodes",),
    "validatingadmissionpolicy-status-controller": (
        f"{_READ}: validatingadmissionpolicies.admissionregistration.k8s.io",
        "get patch update: validatingadmissionpolicies/status.admissionregistration.k8s.io",
    ),
}
_SILENT = frozenset({"namespace-controller", "pod-garbage-collector", "clusterrole-aggregation-controller"})
"""Controllers that record no events."""

_AGGREGATED: Mapping[str, tuple[str, ...]] = {
    "admin": ("system:aggregate-to-admin", "edit"),
    "edit": ("system:aggregate-to-edit", "view"),
    "view": ("system:aggregate-to-view",),
}
"""ClusterRole → those that it is made of."""
_LABEL = f"{_RBAC}/aggregate-to-"
_BOOTSTRAPPING = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_EVERYONE = ("Group:system:authenticated", "Group:system:unauthenticated")

_BINDINGS: Mapping[str, tuple[str, ...]] = {
    "cluster-admin": ("Group:system:masters",),
    "system:basic-user": ("Group:system:authenticated",),
    "system:discovery": ("Group:system:authenticated",),
    "system:public-info-viewer": _EVERYONE,
    "system:service-account-issuer-discovery": ("Group:system:serviceaccounts",),
    "system:monitoring": ("Group:system:monitoring",),
    "system:kube-controller-manager": ("User:system:kube-controller-manager",),
    "system:kube-dns": ("ServiceAccount:kube-dns",),
    "system:kube-scheduler": ("User:system:kube-scheduler", "User:system:kube-controller-manager"),
    "system:volume-scheduler": ("User:system:kube-scheduler", "User:system:kube-controller-manager"),
    "system:node": (),
    "system:node-proxier": ("User:system:kube-proxy",),
    "fairlead:agent": ("Group:fairlead:agents",),
    "fairlead:controller": ("User:system:kube-controller-manager",),
    "fairlead:cloud": ("User:system:cloud-controller-manager",),
}
"""ClusterRole → to whom it is granted by the binding of its name. Nodes get theirs from the node authorizer alone."""
_RUN_HERE = frozenset(_CONTROLLERS) - {"clusterrole-aggregation-controller", "horizontal-pod-autoscaler"}
"""Controllers whose work our manager does: one process, one user, which therefore holds the rights of each."""
_KUBE_SYSTEM: Mapping[str, tuple[tuple[str, ...], str]] = {
    "extension-apiserver-authentication-reader": (
        (f"{_READ}: configmaps = extension-apiserver-authentication",),
        "User:system:kube-controller-manager",
    ),
    "fairlead:agent": ((f"{_READ}: configmaps = fairlead-dns",), "Group:fairlead:agents"),
}
"""Role of the namespace kube-system → its rules, and to whom it is granted."""


def rules(texts: Iterable[str]) -> list[Rule]:
    """Return the rules in shorthand; resources of one group share a rule."""
    found: list[Rule] = []
    for text in texts:
        before, _, names = text.partition(" = ")
        verbs_text, _, rest = before.partition(": ")
        verbs = tuple(verbs_text.split())
        if rest.startswith("/") or rest == "*":
            found.append(Rule(verbs, urls=tuple(rest.split())))
            continue
        by_group: dict[str, list[str]] = {}
        for one in rest.split():
            resource, _, group = one.partition(".")
            by_group.setdefault(group, []).append(resource)
        found += [Rule(verbs, (group,), tuple(each), tuple(names.split())) for group, each in by_group.items()]
    return found


def cluster_roles() -> list[Json]:
    """Return the ClusterRoles, aggregated ones with what they are made of."""
    made_of: dict[str, list[Rule]] = {name: rules(texts) for name, texts in (*_PEOPLE.items(), *_COMPONENTS.items())}
    made_of["system:node"] = list(node.RULES)
    for name, texts in _CONTROLLERS.items():
        made_of[f"system:controller:{name}"] = rules(texts if name in _SILENT else (*texts, _EVENTS))
    for name in ("view", "edit", "admin"):
        made_of[name] = [rule for part in sorted(_AGGREGATED[name]) for rule in made_of[part]]
    found = []
    for name, own in sorted(made_of.items()):
        labels = {f"{_LABEL}{whole}": "true" for whole, parts in _AGGREGATED.items() if name in parts}
        role: Json = {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": _metadata(name, labels),
            "rules": [to_json(rule) for rule in own],
        }
        if name in _AGGREGATED:
            selector = {"matchLabels": {f"{_LABEL}{name}": "true"}}
            role["aggregationRule"] = {"clusterRoleSelectors": [selector]}
        found.append(role)
    return found


def cluster_role_bindings() -> list[Json]:
    """Return the ClusterRoleBindings, each of the name of its role."""
    granted = {name: [_subject(text) for text in texts] for name, texts in _BINDINGS.items()}
    for name in _CONTROLLERS:
        users = ("User:system:kube-controller-manager",) if name in _RUN_HERE else ()
        granted[f"system:controller:{name}"] = [_subject(text) for text in (f"ServiceAccount:{name}", *users)]
    return [_binding("Cluster", name, subjects) for name, subjects in sorted(granted.items())]


def roles_of_kube_system() -> list[Json]:
    """Return the Roles of the namespace kube-system."""
    return [
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "Role",
            "metadata": _metadata(name, {}),
            "rules": [to_json(rule) for rule in rules(texts)],
        }
        for name, (texts, _) in _KUBE_SYSTEM.items()
    ]


def role_bindings_of_kube_system() -> list[Json]:
    """Return the RoleBindings of the namespace kube-system."""
    return [_binding("", name, [_subject(subject)]) for name, (_, subject) in _KUBE_SYSTEM.items()]


def _binding(scope: str, name: str, subjects: list[Json]) -> Json:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": f"{scope}RoleBinding",
        "metadata": _metadata(name, {}),
        "roleRef": {"apiGroup": _RBAC, "kind": f"{scope}Role", "name": name},
        **({"subjects": subjects} if subjects else {}),
    }


def _metadata(name: str, labels: Json) -> Json:
    annotations = {"rbac.authorization.kubernetes.io/autoupdate": "true"}
    return {"name": name, "labels": _BOOTSTRAPPING | labels, "annotations": annotations}


def _subject(text: str) -> Json:
    kind, _, name = text.partition(":")
    if kind == "ServiceAccount":
        return {"kind": kind, "name": name, "namespace": "kube-system"}
    return {"apiGroup": _RBAC, "kind": kind, "name": name}

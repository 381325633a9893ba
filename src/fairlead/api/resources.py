"""The resources of the Kubernetes API that Fairlead reads or writes: group, version, plural, kind and scope, and their paths."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Resource(msgspec.Struct, frozen=True):
    """One served resource. `group` is empty for the core group."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """Return `group/version`, or the version alone in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        """Return the path of the group and version, without a final slash."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the request path of the collection (no name), the object, or its subresource.

        Without a namespace a namespaced resource's path covers all namespaces.
        """
        parts = [self.prefix]
        if self.namespaced and namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part]
        return "/".join(parts)


def _core(plural: str, kind: str, namespaced: bool = True) -> Resource:
    return Resource("", "v1", plural, kind, namespaced)


PODS = _core("pods", "Pod")
SERVICES = _core("services", "Service")
NODES = _core("nodes", "Node", namespaced=False)
NAMESPACES = _core("namespaces", "Namespace", namespaced=False)
ENDPOINTS = _core("endpoints", "Endpoints")
CONFIGMAPS = _core("configmaps", "ConfigMap")
SECRETS = _core("secrets", "Secret")
SERVICEACCOUNTS = _core("serviceaccounts", "ServiceAccount")
EVENTS = _core("events", "Event")
PERSISTENTVOLUMECLAIMS = _core("persistentvolumeclaims", "PersistentVolumeClaim")
PERSISTENTVOLUMES = _core("persistentvolumes", "PersistentVolume", namespaced=False)
REPLICATIONCONTROLLERS = _core("replicationcontrollers", "ReplicationController")
LIMITRANGES = _core("limitranges", "LimitRange")
RESOURCEQUOTAS = _core("resourcequotas", "ResourceQuota")
PODTEMPLATES = _core("podtemplates", "PodTemplate")

DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
REPLICASETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
STATEFULSETS = Resource("apps", "v1", "statefulsets", "StatefulSet")
DAEMONSETS = Resource("apps", "v1", "daemonsets", "DaemonSet")
CONTROLLERREVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision")

JOBS = Resource("batch", "v1", "jobs", "Job")
CRONJOBS = Resource("batch", "v1", "cronjobs", "CronJob")

ENDPOINTSLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
NETWORKPOLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
INGRESSCLASSES = Resource("networking.k8s.io", "v1", "ingressclasses", "IngressClass", namespaced=False)

LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENTS_V1 = Resource("events.k8s.io", "v1", "events", "Event")
PODDISRUPTIONBUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
STORAGECLASSES = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
PRIORITYCLASSES = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False)
HPAS = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
HPAS_V1 = Resource("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)

_GATEWAY = "gateway.networking.k8s.io"
GATEWAYCLASSES = Resource(_GATEWAY, "v1", "gatewayclasses", "GatewayClass", namespaced=False)
GATEWAYS = Resource(_GATEWAY, "v1", "gateways", "Gateway")
LISTENERSETS = Resource(_GATEWAY, "v1", "listenersets", "ListenerSet")
HTTPROUTES = Resource(_GATEWAY, "v1", "httproutes", "HTTPRoute")
GRPCROUTES = Resource(_GATEWAY, "v1", "grpcroutes", "GRPCRoute")
TLSROUTES = Resource(_GATEWAY, "v1", "tlsroutes", "TLSRoute")
TCPROUTES = Resource(_GATEWAY, "v1", "tcproutes", "TCPRoute")
UDPROUTES = Resource(_GATEWAY, "v1", "udproutes", "UDPRoute")
BACKENDTLSPOLICIES = Resource(_GATEWAY, "v1", "backendtlspolicies", "BackendTLSPolicy")
REFERENCEGRANTS = Resource(_GATEWAY, "v1", "referencegrants", "ReferenceGrant")

_POLICY = "policy.networking.k8s.io"
CLUSTERNETWORKPOLICIES = Resource(
    _POLICY, "v1alpha2", "clusternetworkpolicies", "ClusterNetworkPolicy", namespaced=False
)
ADMINNETWORKPOLICIES = Resource(_POLICY, "v1alpha1", "adminnetworkpolicies", "AdminNetworkPolicy", namespaced=False)
BASELINEADMINNETWORKPOLICIES = Resource(
    _POLICY, "v1alpha1", "baselineadminnetworkpolicies", "BaselineAdminNetworkPolicy", namespaced=False
)

_OWN = "fairlead.dev"
CLIENTTRAFFICPOLICIES = Resource(_OWN, "v1alpha1", "clienttrafficpolicies", "ClientTrafficPolicy")
NODEPOLICYREPORTS = Resource(_OWN, "v1alpha1", "nodepolicyreports", "NodePolicyReport", namespaced=False)
EGRESSGATEWAYS = Resource(_OWN, "v1alpha1", "egressgateways", "EgressGateway", namespaced=False)
GATEWAYPARAMETERS = Resource(_OWN, "v1alpha1", "gatewayparameters", "GatewayParameters")
MIDDLEWARES = Resource("traefik.io", "v1alpha1", "middlewares", "Middleware")
"""Of Traefik, where its users have installed it."""
ROUTEEXTENSIONS = Resource(_OWN, "v1alpha1", "routeextensions", "RouteExtension")
BACKENDTRAFFICPOLICIES = Resource(_OWN, "v1alpha1", "backendtrafficpolicies", "BackendTrafficPolicy")
SECURITYPOLICIES = Resource(_OWN, "v1alpha1", "securitypolicies", "SecurityPolicy")
TRAFFICPOLICIES = Resource(_OWN, "v1alpha1", "trafficpolicies", "TrafficPolicy")
NETWORKPOLICYSTATUSES = Resource(_OWN, "v1alpha1", "networkpolicystatuses", "NetworkPolicyStatus")

CERTIFICATESIGNINGREQUESTS = Resource(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", namespaced=False
)

_RBAC = "rbac.authorization.k8s.io"
ROLES = Resource(_RBAC, "v1", "roles", "Role")
ROLEBINDINGS = Resource(_RBAC, "v1", "rolebindings", "RoleBinding")
CLUSTERROLES = Resource(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTERROLEBINDINGS = Resource(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)

GATEWAY_KINDS: Mapping[str, Resource] = {
    "GatewayClass": GATEWAYCLASSES,
    "Gateway": GATEWAYS,
    "ListenerSet": LISTENERSETS,
    "GatewayParameters": GATEWAYPARAMETERS,
    "ClientTrafficPolicy": CLIENTTRAFFICPOLICIES,
    "HTTPRoute": HTTPROUTES,
    "GRPCRoute": GRPCROUTES,
    "TLSRoute": TLSROUTES,
    "TCPRoute": TCPROUTES,
    "UDPRoute": UDPROUTES,
    "ReferenceGrant": REFERENCEGRANTS,
    "BackendTLSPolicy": BACKENDTLSPOLICIES,
    "BackendTrafficPolicy": BACKENDTRAFFICPOLICIES,
    "SecurityPolicy": SECURITYPOLICIES,
    "TrafficPolicy": TRAFFICPOLICIES,
    "RouteExtension": ROUTEEXTENSIONS,
}
"""Kind → resource of what Gateways are made of, but for Ingresses: what nodes compile and what the controller tells statuses of."""

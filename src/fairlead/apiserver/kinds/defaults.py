"""Which function fills in the defaults of which kind, by group and kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fairlead.apiserver.kinds import cluster_defaults as cluster
from fairlead.apiserver.kinds import network_defaults as network
from fairlead.apiserver.kinds import workload_defaults as workload
from fairlead.apiserver.kinds.pod_defaults import default_pod, default_pod_template


def _pod_template(obj: dict[str, Any]) -> None:
    default_pod_template(obj["template"])


DEFAULTS: Mapping[tuple[str, str], Callable[[dict[str, Any]], None]] = {
    ("", "Pod"): default_pod,
    ("", "PodTemplate"): _pod_template,
    ("", "ReplicationController"): workload.default_replication_controller,
    ("apps", "Deployment"): workload.default_deployment,
    ("apps", "ReplicaSet"): workload.default_replica_set,
    ("apps", "StatefulSet"): workload.default_stateful_set,
    ("apps", "DaemonSet"): workload.default_daemon_set,
    ("batch", "Job"): workload.default_job,
    ("batch", "CronJob"): workload.default_cron_job,
    ("autoscaling", "HorizontalPodAutoscaler"): workload.default_hpa,
    ("", "PersistentVolumeClaim"): workload.default_volume_claim,
    ("", "Service"): network.default_service,
    ("", "Endpoints"): network.default_endpoints,
    ("discovery.k8s.io", "EndpointSlice"): network.default_endpoint_slice,
    ("networking.k8s.io", "NetworkPolicy"): network.default_network_policy,
    ("networking.k8s.io", "IngressClass"): network.default_ingress_class,
    ("", "Namespace"): cluster.default_namespace,
    ("", "Secret"): cluster.default_secret,
    ("", "PersistentVolume"): cluster.default_volume,
    ("", "LimitRange"): cluster.default_limit_range,
    ("", "Node"): cluster.default_node,
    ("storage.k8s.io", "StorageClass"): cluster.default_storage_class,
    ("storage.k8s.io", "CSIDriver"): cluster.default_csi_driver,
    ("scheduling.k8s.io", "PriorityClass"): cluster.default_priority_class,
    ("rbac.authorization.k8s.io", "RoleBinding"): cluster.default_binding,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): cluster.default_binding,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): cluster.default_webhooks,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): cluster.default_webhooks,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): cluster.default_admission_policy,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): cluster.default_admission_policy_binding,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): cluster.default_crd,
}

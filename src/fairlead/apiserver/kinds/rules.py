"""Which function checks the objects of which kind, by group and kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fairlead.apiserver.kinds import admission_rules, certificate_rules
from fairlead.apiserver.kinds import cluster_rules as cluster
from fairlead.apiserver.kinds import network_rules as network
from fairlead.apiserver.kinds import pod_rules as pods
from fairlead.apiserver.kinds import workload_rules as workload
from fairlead.apiserver.kinds.field_error import FieldError
from fairlead.apiserver.kinds.service_rules import check_service, check_service_update

Object = dict[str, Any]

_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"


def _pod_template(obj: Object) -> list[FieldError]:
    return pods.check_pod_template(obj.get("template", {}), "template")


def _check_definition(obj: Object) -> list[FieldError]:
    from fairlead.apiserver.schema import definition

    return definition.check(obj)


def _check_definition_update(new: Object, old: Object) -> list[FieldError]:
    from fairlead.apiserver.schema import definition

    return definition.check_update(new, old)


ON_CREATE: Mapping[tuple[str, str], Callable[[Object], list[FieldError]]] = {
    ("", "Pod"): pods.check_pod,
    ("", "PodTemplate"): _pod_template,
    ("", "Service"): check_service,
    ("", "Endpoints"): network.check_endpoints,
    ("", "ConfigMap"): cluster.check_config_map,
    ("", "Secret"): cluster.check_secret,
    ("", "Node"): cluster.check_node,
    ("", "PersistentVolumeClaim"): cluster.check_volume_claim,
    ("", "PersistentVolume"): cluster.check_volume,
    ("", "ReplicationController"): workload.check_replication_controller,
    ("apps", "Deployment"): workload.check_deployment,
    ("apps", "ReplicaSet"): workload.check_replica_set,
    ("apps", "DaemonSet"): workload.check_daemon_set,
    ("apps", "StatefulSet"): workload.check_stateful_set,
    ("batch", "Job"): workload.check_job,
    ("batch", "CronJob"): workload.check_cron_job,
    ("autoscaling", "HorizontalPodAutoscaler"): workload.check_hpa,
    ("policy", "PodDisruptionBudget"): workload.check_pod_disruption_budget,
    ("networking.k8s.io", "NetworkPolicy"): network.check_network_policy,
    ("networking.k8s.io", "Ingress"): network.check_ingress,
    ("networking.k8s.io", "IngressClass"): network.check_ingress_class,
    ("discovery.k8s.io", "EndpointSlice"): network.check_endpoint_slice,
    ("coordination.k8s.io", "Lease"): cluster.check_lease,
    ("storage.k8s.io", "StorageClass"): cluster.check_storage_class,
    ("scheduling.k8s.io", "PriorityClass"): cluster.check_priority_class,
    (_RBAC, "Role"): cluster.check_role,
    (_RBAC, "ClusterRole"): cluster.check_cluster_role,
    (_RBAC, "RoleBinding"): cluster.check_role_binding,
    (_RBAC, "ClusterRoleBinding"): cluster.check_cluster_role_binding,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _check_definition,
    ("certificates.k8s.io", "CertificateSigningRequest"): certificate_rules.check,
    (_ADMISSION, "ValidatingWebhookConfiguration"): admission_rules.check_webhooks,
    (_ADMISSION, "MutatingWebhookConfiguration"): admission_rules.check_webhooks,
    (_ADMISSION, "ValidatingAdmissionPolicy"): admission_rules.check_policy,
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): admission_rules.check_policy_binding,
}
"""Checks of a whole object, metadata excepted."""

ON_UPDATE: Mapping[tuple[str, str], Callable[[Object, Object], list[FieldError]]] = {
    ("", "Pod"): pods.check_pod_update,
    ("", "Service"): check_service_update,
    ("", "ConfigMap"): cluster.check_config_map_update,
    ("", "Secret"): cluster.check_secret_update,
    ("", "Node"): cluster.check_node_update,
    ("", "PersistentVolumeClaim"): cluster.check_volume_claim_update,
    ("apps", "Deployment"): workload.check_deployment_update,
    ("apps", "ReplicaSet"): workload.check_replica_set_update,
    ("apps", "DaemonSet"): workload.check_daemon_set_update,
    ("apps", "StatefulSet"): workload.check_stateful_set_update,
    ("batch", "Job"): workload.check_job_update,
    ("networking.k8s.io", "IngressClass"): network.check_ingress_class_update,
    ("discovery.k8s.io", "EndpointSlice"): network.check_endpoint_slice_update,
    ("storage.k8s.io", "StorageClass"): cluster.check_storage_class_update,
    ("scheduling.k8s.io", "PriorityClass"): cluster.check_priority_class_update,
    (_RBAC, "RoleBinding"): cluster.check_role_binding_update,
    (_RBAC, "ClusterRoleBinding"): cluster.check_cluster_role_binding_update,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _check_definition_update,
}
"""Checks of a changed object; a kind without an entry is checked as on creation."""

ON_STATUS: Mapping[tuple[str, str], Callable[[Object, Object], list[FieldError]]] = {
    ("certificates.k8s.io", "CertificateSigningRequest"): certificate_rules.check_status,
}
"""Checks of a changed status."""

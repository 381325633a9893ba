"""The columns of each kind in `kubectl get`, and the cells of an object under them.

Columns are those that the real server answers (measured; newer kinds as Kubernetes 1.33). A column spec is `Title[:type][+]`
joined by `|`; the type is string unless named, `+` marks a column of `-o wide`. The first column is the name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fairlead.apiserver.kinds import cluster_cells as cluster
from fairlead.apiserver.kinds import network_cells as network
from fairlead.apiserver.kinds import workload_cells as workload
from fairlead.apiserver.kinds.pod_cells import pod_cells
from fairlead.apiserver.kinds.registry import Kind

Object = dict[str, Any]
CellsOf = Callable[[Object, datetime], list[Any]]


@dataclass(frozen=True, slots=True)
class _Table:
    columns: str
    cells: CellsOf


_CONTAINERS = "Containers+|Images+"
_REPLICAS = f"Name|Desired:integer|Current:integer|Ready:integer|Age|{_CONTAINERS}|Selector+"
_EVENT = "Last Seen|Type|Reason|Object|Subobject+|Source+|Message|First Seen+|Count+|Name+"
_CREATED = _Table("Name|Created At:date", cluster.name_and_creation_cells)
_BINDING = _Table("Name|Role|Age|Users+|Groups+|ServiceAccounts+", cluster.binding_cells)
_WEBHOOKS = _Table("Name|Webhooks:integer|Age", cluster.webhook_cells)
_NAME_AGE = _Table("Name|Age", cluster.name_and_age_cells)

_TABLES: Mapping[str, _Table] = {
    "pods": _Table(
        "Name|Ready|Status|Restarts:integer|Age|IP+|Node+|Nominated Node+|Readiness Gates+",
        pod_cells,
    ),
    "services": _Table("Name|Type|Cluster-IP|External-IP|Port(s)|Age|Selector+", network.service_cells),
    "nodes": _Table(
        "Name|Status|Roles|Age|Version|Internal-IP+|External-IP+|OS-Image+|Kernel-Version+|Container-Runtime+",
        cluster.node_cells,
    ),
    "namespaces": _Table("Name|Status|Age", cluster.namespace_cells),
    "endpoints": _Table("Name|Endpoints|Age", network.endpoints_cells),
    "events": _Table(_EVENT, cluster.event_cells),
    "configmaps": _Table("Name|Data|Age", cluster.config_map_cells),
    "secrets": _Table("Name|Type|Data|Age", cluster.secret_cells),
    "serviceaccounts": _Table("Name|Secrets|Age", cluster.service_account_cells),
    "persistentvolumeclaims": _Table(
        "Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|VolumeMode+",
        cluster.volume_claim_cells,
    ),
    "persistentvolumes": _Table(
        "Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age|VolumeMode+",
        cluster.volume_cells,
    ),
    "replicationcontrollers": _Table(_REPLICAS, workload.replication_controller_cells),
    "resourcequotas": _Table("Name|Request|Limit|Age", cluster.resource_quota_cells),
    "limitranges": _CREATED,
    "podtemplates": _Table("Name|Containers|Images|Pod Labels", workload.pod_template_cells),
    "deployments": _Table(f"Name|Ready|Up-to-date|Available|Age|{_CONTAINERS}|Selector+", workload.deployment_cells),
    "replicasets": _Table(_REPLICAS, workload.replica_set_cells),
    "daemonsets": _Table(
        "Name|Desired:integer|Current:integer|Ready:integer|Up-to-date:integer|Available:integer|Node Selector|Age|"
        f"{_CONTAINERS}|Selector+",
        workload.daemon_set_cells,
    ),
    "statefulsets": _Table(f"Name|Ready|Age|{_CONTAINERS}", workload.stateful_set_cells),
    "controllerrevisions": _Table("Name|Controller|Revision|Age", workload.controller_revision_cells),
    "jobs": _Table(f"Name|Completions|Duration|Age|{_CONTAINERS}|Selector+", workload.job_cells),
    "cronjobs": _Table(
        f"Name|Schedule|Timezone|Suspend|Active:integer|Last Schedule|Age|{_CONTAINERS}|Selector+",
        workload.cron_job_cells,
    ),
    "endpointslices": _Table("Name|AddressType|Ports|Endpoints|Age", network.endpoint_slice_cells),
    "networkpolicies": _Table("Name|Pod-Selector|Age", network.network_policy_cells),
    "ingresses": _Table("Name|Class|Hosts|Address|Ports|Age", network.ingress_cells),
    "ingressclasses": _Table("Name|Controller|Parameters|Age", network.ingress_class_cells),
    "ipaddresses": _Table("Name|ParentRef|Age", network.ip_address_cells),
    "servicecidrs": _Table("Name|CIDRs|Age", network.service_cidr_cells),
    "leases": _Table("Name|Holder|Age", cluster.lease_cells),
    "poddisruptionbudgets": _Table(
        "Name|Min Available|Max Unavailable|Allowed Disruptions:integer|Age", workload.pod_disruption_budget_cells
    ),
    "roles": _CREATED,
    "clusterroles": _CREATED,
    "rolebindings": _BINDING,
    "clusterrolebindings": _BINDING,
    "storageclasses": _Table(
        "Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age", cluster.storage_class_cells
    ),
    "csidrivers": _Table(
        "Name|AttachRequired:boolean|PodInfoOnMount:boolean|StorageCapacity:boolean|TokenRequests|RequiresRepublish:boolean|Modes|Age",
        cluster.csi_driver_cells,
    ),
    "csinodes": _Table("Name|Drivers:integer|Age", cluster.csi_node_cells),
    "volumeattachments": _Table("Name|Attacher|PV|Node|Attached:boolean|Age", cluster.volume_attachment_cells),
    "priorityclasses": _Table(
        "Name|Value:integer|Global-Default:boolean|Age|PreemptionPolicy", cluster.priority_class_cells
    ),
    "runtimeclasses": _Table("Name|Handler|Age", cluster.runtime_class_cells),
    "horizontalpodautoscalers": _Table("Name|Reference|Targets|MinPods|MaxPods|Replicas|Age", workload.hpa_cells),
    "certificatesigningrequests": _Table(
        "Name|Age|SignerName|Requestor|RequestedDuration|Condition", cluster.signing_request_cells
    ),
    "customresourcedefinitions": _CREATED,
    "validatingwebhookconfigurations": _WEBHOOKS,
    "mutatingwebhookconfigurations": _WEBHOOKS,
    "validatingadmissionpolicies": _Table("Name|Validations:integer|ParamKind|Age", cluster.admission_policy_cells),
    "validatingadmissionpolicybindings": _Table("Name|PolicyName|ParamRef|Age", cluster.admission_policy_binding_cells),
}


def columns(kind: Kind) -> list[dict[str, Any]]:
    """Return the columnDefinitions of the Table of `kind`."""
    return [_column(spec) for spec in _TABLES.get(kind.resource.plural, _NAME_AGE).columns.split("|")]


def _column(spec: str) -> dict[str, Any]:
    title, _, type_name = spec.removesuffix("+").partition(":")
    return {
        "name": title,
        "type": type_name or "string",
        "format": "name" if title == "Name" else "",
        "description": "",
        "priority": 1 if spec.endswith("+") else 0,
    }


def row_cells(kind: Kind, obj: Object, now: datetime | float) -> list[Any]:
    """Return the cells of `obj`, as many as `columns` has; ages count from `now` (with time zone, or seconds since 1970)."""
    if not isinstance(now, datetime):
        now = datetime.fromtimestamp(now, UTC)
    return _TABLES.get(kind.resource.plural, _NAME_AGE).cells(obj, now)

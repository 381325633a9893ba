"""What the server makes of an object before it is checked: defaults, pruning, first status, generations."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.apiserver.kinds import registry, strategy
from fairlead.apiserver.kinds.field_error import FieldError
from fairlead.base import quantity

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "c", "image": "nginx"}]},
}
SELECTOR: dict[str, Any] = {"matchLabels": {"a": "b"}}
METADATA: dict[str, Any] = {"name": "x", "namespace": "default", "uid": "11111111-0000-0000-0000-000000000000"}


def kind_of(api_version: str, kind: str) -> registry.Kind:
    found = registry.by_kind(api_version, kind)
    assert found is not None
    return found


def made(api_version: str, kind: str, **parts: Any) -> dict[str, Any]:
    """Return the object as it would be stored."""
    obj = {"apiVersion": api_version, "kind": kind, "metadata": dict(METADATA), **copy.deepcopy(parts)}
    which = kind_of(api_version, kind)
    assert strategy.type_errors(which, obj) is None
    strategy.default(which, obj)
    strategy.prepare_for_create(which, obj)
    return obj


def test_pod() -> None:
    pod = made("v1", "Pod", spec={"containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}]})
    assert pod["spec"] == {
        "containers": [
            {
                "name": "c",
                "image": "nginx",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "Always",
            }
        ],
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "terminationGracePeriodSeconds": 30,
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "enableServiceLinks": True,
    }
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("registry:5000/nginx", "Always"),
        ("registry:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert (
        made("v1", "Pod", spec={"containers": [{"name": "c", "image": image}]})["spec"]["containers"][0][
            "imagePullPolicy"
        ]
        == policy
    )


def test_probe_volume_and_environment() -> None:
    pod = made(
        "v1",
        "Pod",
        spec={
            "containers": [
                {
                    "name": "c",
                    "image": "i",
                    "readinessProbe": {"httpGet": {"port": 80}},
                    "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                }
            ],
            "volumes": [{"name": "a"}, {"name": "b", "configMap": {"name": "m"}}],
        },
    )
    container = pod["spec"]["containers"][0]
    assert container["readinessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert pod["spec"]["volumes"] == [
        {"name": "a", "emptyDir": {}},
        {"name": "b", "configMap": {"name": "m", "defaultMode": 420}},
    ]


def test_host_network_and_requests_of_a_pod_but_not_of_a_template() -> None:
    container = {
        "name": "c",
        "image": "i",
        "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": 1, "memory": "1024Mi"}},
    }
    spec = {"hostNetwork": True, "containers": [container]}
    pod = made("v1", "Pod", spec=spec)
    assert pod["spec"]["containers"][0]["ports"][0]["hostPort"] == 80
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}
    assert pod["status"]["qosClass"] == "Guaranteed"
    template = made("apps/v1", "ReplicaSet", spec={"selector": SELECTOR, "template": {**TEMPLATE, "spec": spec}})[
        "spec"
    ]["template"]
    assert "hostPort" not in template["spec"]["containers"][0]["ports"][0]
    assert "requests" not in template["spec"]["containers"][0]["resources"]


SERVICES = {
    "cluster": (
        {"ports": [{"port": 80}]},
        {
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            "sessionAffinity": "None",
            "type": "ClusterIP",
            "internalTrafficPolicy": "Cluster",
        },
    ),
    "balancer": (
        {"type": "LoadBalancer", "ports": [{"port": 80, "targetPort": "http"}]},
        {
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}],
            "sessionAffinity": "None",
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Cluster",
            "internalTrafficPolicy": "Cluster",
            "allocateLoadBalancerNodePorts": True,
        },
    ),
    "sticky": (
        {"sessionAffinity": "ClientIP", "clusterIP": "None"},
        {
            "clusterIP": "None",
            "clusterIPs": ["None"],
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
            "type": "ClusterIP",
            "internalTrafficPolicy": "Cluster",
        },
    ),
    "name": (
        {"type": "ExternalName", "externalName": "a.b"},
        {"type": "ExternalName", "externalName": "a.b", "sessionAffinity": "None"},
    ),
}


@pytest.mark.parametrize("case", SERVICES)
def test_service(case: str) -> None:
    given_spec, expected = SERVICES[case]
    service = made("v1", "Service", spec=given_spec)
    assert service["spec"] == expected
    assert service["status"] == {"loadBalancer": {}}


@pytest.mark.parametrize("strategy_given", [None, {}, {"type": "RollingUpdate"}], ids=["absent", "empty", "typed"])
def test_deployment(strategy_given: dict[str, Any] | None) -> None:
    spec = {"selector": SELECTOR, "template": TEMPLATE} | (
        {} if strategy_given is None else {"strategy": strategy_given}
    )
    deployment = made("apps/v1", "Deployment", spec=spec)
    found = {key: value for key, value in deployment["spec"].items() if key not in ("selector", "template")}
    assert found == {
        "replicas": 1,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    }
    assert deployment["metadata"]["generation"] == 1
    assert deployment["status"] == {}


def test_job_selects_its_pods_by_its_uid() -> None:
    job = made("batch/v1", "Job", spec={"template": TEMPLATE})
    uid = METADATA["uid"]
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert job["spec"]["template"]["metadata"]["labels"] == {
        "a": "b",
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": "x",
        "controller-uid": uid,
        "job-name": "x",
    }
    found = {key: value for key, value in job["spec"].items() if key not in ("selector", "template")}
    assert found == {
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "manualSelector": False,
        "podReplacementPolicy": "TerminatingOrFailed",
    }


SMALL = {
    "daemon set": (
        ("apps/v1", "DaemonSet"),
        {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
        "spec.updateStrategy",
        {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
    ),
    "stateful set": (
        ("apps/v1", "StatefulSet"),
        {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
        "spec.persistentVolumeClaimRetentionPolicy",
        {"whenDeleted": "Retain", "whenScaled": "Retain"},
    ),
    "policy of ingress": (
        ("networking.k8s.io/v1", "NetworkPolicy"),
        {"spec": {}},
        "spec",
        {"podSelector": {}, "policyTypes": ["Ingress"]},
    ),
    "policy of both": (
        ("networking.k8s.io/v1", "NetworkPolicy"),
        {"spec": {"podSelector": {}, "egress": [{"ports": [{"port": 53}]}]}},
        "spec",
        {
            "podSelector": {},
            "egress": [{"ports": [{"port": 53, "protocol": "TCP"}]}],
            "policyTypes": ["Ingress", "Egress"],
        },
    ),
    "slice": (
        ("discovery.k8s.io/v1", "EndpointSlice"),
        {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]},
        "",
        {
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {}}],
            "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
        },
    ),
    "secret": (("v1", "Secret"), {"stringData": {"a": "b"}}, "", {"type": "Opaque", "data": {"a": "Yg=="}}),
    "binding": (
        ("rbac.authorization.k8s.io/v1", "RoleBinding"),
        {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]},
        "",
        {
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}],
        },
    ),
    "definition": (
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        {"spec": {"group": "g.io", "names": {"kind": "Foo", "plural": "foos"}, "scope": "Namespaced", "versions": []}},
        "spec.names",
        {"kind": "Foo", "plural": "foos", "singular": "foo", "listKind": "FooList"},
    ),
}


@pytest.mark.parametrize("case", SMALL)
def test_other_kinds(case: str) -> None:
    name, parts, path, expected = SMALL[case]
    found: Any = made(*name, **parts)
    for part in filter(None, path.split(".")):
        found = found[part]
    if not path:
        found = {key: value for key, value in found.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    assert found == expected


def test_namespace_knows_its_name() -> None:
    namespace = made("v1", "Namespace")
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}
    assert (namespace["spec"], namespace["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})


@pytest.mark.parametrize("kind", registry.KINDS, ids=lambda kind: kind.resource.kind)
def test_defaults_are_idempotent_and_survive_an_empty_object(kind: registry.Kind) -> None:
    once: dict[str, Any] = {
        "apiVersion": kind.resource.api_version,
        "kind": kind.resource.kind,
        "metadata": {"name": "x"},
    }
    strategy.default(kind, once)
    again = copy.deepcopy(once)
    strategy.default(kind, again)
    assert again == once
    strategy.prepare_for_create(kind, again)
    strategy.validate_create(kind, again)


def test_unknown_and_null_fields_go_and_are_told() -> None:
    obj = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x", "foo": 1},
        "spec": {"containers": [{"name": "c", "bar": 2, "env": None}]},
    }
    kind = kind_of("v1", "Pod")
    assert strategy.check_fields(kind, obj) == [
        'unknown field "metadata.foo"',
        'unknown field "spec.containers[0].bar"',
    ]
    strategy.default(kind, obj)
    assert "foo" not in obj["metadata"]
    assert "env" not in obj["spec"]["containers"][0]


def test_duplicate_fields_are_told_with_their_path() -> None:
    body = b'{"metadata":{"name":"a","name":"b"},"spec":{"containers":[{"name":"c","image":"i","image":"j"}]}}'
    obj = {"metadata": {"name": "b"}, "spec": {"containers": [{"name": "c", "image": "j"}]}}
    assert strategy.check_fields(kind_of("v1", "Pod"), obj, body) == [
        'duplicate field "metadata.name"',
        'duplicate field "spec.containers[0].image"',
    ]


def updated(old: dict[str, Any], **changes: Any) -> tuple[dict[str, Any], list[FieldError]]:
    kind = kind_of(old["apiVersion"], old["kind"])
    new = copy.deepcopy(old)
    for path, value in changes.items():
        *parents, last = path.split("__")
        target: Any = new
        for part in parents:
            target = target[int(part)] if part.isdecimal() else target.setdefault(part, {})
        target[last] = value
    strategy.default(kind, new)
    strategy.prepare_for_update(kind, new, old)
    return new, strategy.validate_update(kind, new, old)


def test_generation_counts_changes_of_the_spec_only() -> None:
    old = made("apps/v1", "Deployment", spec={"selector": SELECTOR, "template": TEMPLATE})
    labeled, errors = updated(old, metadata__labels={"c": "d"}, status__replicas=9)
    assert (labeled["metadata"]["generation"], labeled["status"], errors) == (1, {}, [])
    scaled, errors = updated(old, spec__replicas=3)
    assert (scaled["metadata"]["generation"], errors) == (2, [])


UPDATES: dict[str, tuple[tuple[str, str], dict[str, Any], dict[str, Any], str]] = {
    "selector of a deployment": (
        ("apps/v1", "Deployment"),
        {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
        {
            "spec__selector": {"matchLabels": {"a": "b", "c": "d"}},
            "spec__template__metadata__labels": {"a": "b", "c": "d"},
        },
        'spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{"a":"b", "c":"d"}, '
        "MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: field is immutable",
    ),
    "pod's command": (
        ("v1", "Pod"),
        {"spec": {"containers": [{"name": "c", "image": "i"}]}},
        {"spec__containers__0__command": ["x"]},
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`",
    ),
    "claim name of a stateful set": (
        ("apps/v1", "StatefulSet"),
        {"spec": {"selector": SELECTOR, "template": TEMPLATE, "serviceName": "a"}},
        {"spec__serviceName": "b"},
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template'",
    ),
    "frozen config": (
        ("v1", "ConfigMap"),
        {"data": {"a": "b"}, "immutable": True},
        {"data__a": "c"},
        "data: Forbidden: field is immutable when `immutable` is set",
    ),
    "cluster address": (
        ("v1", "Service"),
        {"spec": {"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}},
        {"spec__clusterIP": "10.96.0.6", "spec__clusterIPs": ["10.96.0.6"]},
        'spec.clusterIPs[0]: Invalid value: []string{"10.96.0.6"}: may not change once set',
    ),
    "role of a binding": (
        ("rbac.authorization.k8s.io/v1", "RoleBinding"),
        {"roleRef": {"kind": "Role", "name": "r"}},
        {"roleRef__name": "s"},
        'roleRef: Invalid value: rbac.RoleRef{APIGroup:"rbac.authorization.k8s.io", Kind:"Role", Name:"s"}: cannot change roleRef',
    ),
    "uid": (
        ("v1", "ConfigMap"),
        {},
        {"metadata__uid": "other"},
        'metadata.uid: Invalid value: "other": field is immutable',
    ),
}


@pytest.mark.parametrize("case", UPDATES)
def test_what_may_not_change(case: str) -> None:
    name, parts, changes, message = UPDATES[case]
    _, errors = updated(made(*name, **parts), **changes)
    assert any(str(error).startswith(message) for error in errors), [str(error) for error in errors]


def test_what_may_change_of_a_pod() -> None:
    old = made(
        "v1",
        "Pod",
        spec={"containers": [{"name": "c", "image": "i:1"}], "tolerations": [{"key": "a", "operator": "Exists"}]},
    )
    changes = {
        "spec__containers__0__image": "i:2",
        "spec__tolerations": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}],
    }
    assert updated(old, **changes)[1] == []


def test_an_update_without_addresses_keeps_the_allocated_ones() -> None:
    old = made(
        "v1", "Service", spec={"type": "NodePort", "clusterIP": "10.96.0.5", "ports": [{"port": 80, "nodePort": 30080}]}
    )
    kind = kind_of("v1", "Service")
    new = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": dict(METADATA),
        "spec": {"type": "NodePort", "ports": [{"port": 80}]},
    }
    strategy.default(kind, new)
    strategy.prepare_for_update(kind, new, old)
    assert (new["spec"]["clusterIP"], new["spec"]["ports"][0]["nodePort"]) == ("10.96.0.5", 30080)
    assert strategy.validate_update(kind, new, old) == []


def test_status_update_keeps_everything_else() -> None:
    old = made("apps/v1", "Deployment", spec={"selector": SELECTOR, "template": TEMPLATE})
    new = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x"},
        "spec": {"replicas": 9},
        "status": {"replicas": 1},
    }
    strategy.prepare_for_status_update(kind_of("apps/v1", "Deployment"), new, old)
    assert (new["spec"], new["status"]) == (old["spec"], {"replicas": 1})


INVALID = {
    "deployment without selector": (
        ("apps/v1", "Deployment"),
        {"spec": {"template": TEMPLATE}},
        [
            "spec.selector: Required value",
            'spec.template.metadata.labels: Invalid value: map[string]string{"a":"b"}: `selector` does not match template `labels`',
        ],
    ),
    "job that restarts": (
        ("batch/v1", "Job"),
        {"spec": {"template": TEMPLATE}},
        ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
    ),
    "mount of nothing": (
        ("v1", "Pod"),
        {"spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}},
        ['spec.containers[0].volumeMounts[0].name: Not found: "v"'],
    ),
    "probe of nothing": (
        ("v1", "Pod"),
        {"spec": {"containers": [{"name": "c", "image": "i", "livenessProbe": {}}]}},
        ["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
    ),
    "bad schedule": (
        ("batch/v1", "CronJob"),
        {
            "spec": {
                "schedule": "x",
                "jobTemplate": {
                    "spec": {"template": {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}}
                },
            }
        },
        ['spec.schedule: Invalid value: "x": expected exactly 5 fields, found 1: [x]'],
    ),
    "rule without verbs": (
        ("rbac.authorization.k8s.io/v1", "Role"),
        {"rules": [{"apiGroups": [""], "resources": ["pods"]}]},
        ["rules[0].verbs: Required value: verbs must contain at least one value"],
    ),
    "both budgets": (
        ("policy/v1", "PodDisruptionBudget"),
        {"spec": {"minAvailable": 1, "maxUnavailable": 1}},
        ["spec: Invalid value: "],
    ),
    "no access mode": (
        ("v1", "PersistentVolumeClaim"),
        {"spec": {"resources": {"requests": {"storage": "1Gi"}}}},
        ["spec.accessModes: Required value: at least 1 access mode is required"],
    ),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_objects_of_other_kinds(case: str) -> None:
    name, parts, messages = INVALID[case]
    found = [str(error) for error in strategy.validate_create(kind_of(*name), made(*name, **parts))]
    assert len(found) == len(messages) and all(a.startswith(b) for a, b in zip(found, messages, strict=True)), found


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (0.5, "500m"),
        ("0.5", "500m"),
        (1, "1"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1500Mi", "1500Mi"),
        ("1.5Gi", "1536Mi"),
        ("1e3", "1e3"),
        ("1000k", "1M"),
        ("0", "0"),
        ("-1", "-1"),
        ("100M", "100M"),
        ("1Ki", "1Ki"),
        (".5", "500m"),
    ],
)
def test_quantities(text: str | float, canonical: str) -> None:
    assert quantity.canonical(text) == canonical


@given(st.fractions(min_value=0, max_value=10**15, max_denominator=1000), st.sampled_from(["", "m", "k", "Mi", "Gi"]))
def test_canonical_keeps_the_amount(number: Any, suffix: str) -> None:
    text = f"{float(number):.3f}{suffix}"
    assert quantity.parse(quantity.canonical(text)) == quantity.parse(text)
    assert quantity.canonical(quantity.canonical(text)) == quantity.canonical(text)


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    try:
        quantity.canonical(text)
    except quantity.QuantityError:
        pass


def test_claim_templates_keep_their_kind_and_may_be_mounted() -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"]},
    }
    container = {"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    spec = {"selector": SELECTOR, "template": template, "volumeClaimTemplates": [claim]}
    kind = kind_of("apps/v1", "StatefulSet")
    assert strategy.check_fields(kind, {"spec": spec}) == []
    stored = made("apps/v1", "StatefulSet", spec=spec)
    assert strategy.validate_create(kind, stored) == []
    assert stored["spec"]["volumeClaimTemplates"][0]["kind"] == "PersistentVolumeClaim"


@pytest.mark.parametrize(
    ("text", "position"), [("YQ==", None), ("YWI=\n", None), ("a", 0), ("YWJj!", 4), ("YQ=", 2), ("", None)]
)
def test_secret_data_is_base64(text: str, position: int | None) -> None:
    problem = strategy.type_errors(kind_of("v1", "Secret"), {"data": {"a": text}})
    assert (problem is None) == (position is None)
    if position is not None:
        assert f"v1.Secret.Data: base64Codec: illegal base64 data at input byte {position}" in (problem or "")


def test_daemon_set_counts_its_templates() -> None:
    old = made("apps/v1", "DaemonSet", spec={"selector": SELECTOR, "template": TEMPLATE})
    name = "deprecated.daemonset.template.generation"
    assert old["metadata"]["annotations"] == {name: "1"}
    new, errors = updated(old, spec__template__spec__containers__0__image="other")
    assert (new["metadata"]["annotations"][name], new["metadata"]["generation"], errors) == ("2", 2, [])


def test_node_status_comes_with_creation_and_stays_on_update() -> None:
    node = made("v1", "Node", status={"capacity": {"cpu": "2"}})
    assert node["status"]["allocatable"] == {"cpu": "2"}
    new, _ = updated(node, status__capacity={"cpu": "9"})
    assert new["status"]["capacity"] == {"cpu": "2"}

from __future__ import annotations

import base64

import pytest

from fairlead.lab.kubelet.env import ConfigError, Surroundings, container_env, expand
from fairlead.lab.kubelet.pod import decode


def service(name, ip, *ports, namespace="default"):
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": list(ports)}}


KUBERNETES = service("kubernetes", "10.96.0.1", {"name": "https", "port": 443})
AROUND = Surroundings(
    node="node-1",
    services=[KUBERNETES, service("my-db", "fd10:96::5", {"port": 5432}), service("headless", "None", {"port": 1})],
    config_maps={"conf": {"kind": "ConfigMap", "data": {"COLOR": "blue", "a.b": "dot", "bad=key": "x"}}},
    secrets={"key": {"kind": "Secret", "data": {"TOKEN": base64.b64encode(b"s3cret").decode()}}},
    pod_ips=("10.244.1.5", "fd10:244::5"),
    host_ips=("10.10.0.11", "fd10:10::b"),
    allocatable={"cpu": "16", "memory": "1Gi"},
)


def env(container=None, around=AROUND, **spec):
    spec = {"containers": [{"name": "app", "resources": {"limits": {"cpu": "1500m"}}, **(container or {})}], **spec}
    metadata = {"name": "web", "uid": "u", "labels": {"app": "web"}, "annotations": {"n": 'a"b'}}
    pod = decode({"metadata": metadata, "spec": spec})
    return container_env(pod, pod.spec.containers[0], around)


def value(entry):
    return env({"env": [entry]}).get("X")


def source(**kind):
    return {"name": "X", "valueFrom": kind}


FIELDS = {
    "metadata.name": "web",
    "metadata.namespace": "default",
    "metadata.uid": "u",
    "metadata.labels['app']": "web",
    "metadata.labels['none']": "",
    "metadata.annotations": 'n="a\\"b"',
    "spec.nodeName": "node-1",
    "spec.serviceAccountName": "default",
    "status.podIP": "10.244.1.5",
    "status.podIPs": "10.244.1.5,fd10:244::5",
    "status.hostIP": "10.10.0.11",
    "status.hostIPs": "10.10.0.11,fd10:10::b",
}


@pytest.mark.parametrize("path", FIELDS)
def test_fields(path):
    assert value(source(fieldRef={"fieldPath": path})) == FIELDS[path]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ({"resource": "limits.cpu"}, "2"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "1500"),
        ({"resource": "limits.cpu", "divisor": "0"}, "2"),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "1024"),
        ({"resource": "requests.cpu"}, "0"),
        ({"resource": "limits.cpu", "containerName": "app"}, "2"),
    ],
)
def test_resources(reference, expected):
    assert value(source(resourceFieldRef=reference)) == expected


def test_keys_of_objects():
    assert value(source(configMapKeyRef={"name": "conf", "key": "COLOR"})) == "blue"
    assert value(source(secretKeyRef={"name": "key", "key": "TOKEN"})) == "s3cret"
    assert value(source(secretKeyRef={"name": "key", "key": "none", "optional": True})) is None
    assert value(source(configMapKeyRef={"name": "none", "key": "x", "optional": True})) is None


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"env": [source(configMapKeyRef={"name": "no", "key": "k"})]}, 'configmap "no" not found'),
        ({"env": [source(secretKeyRef={"name": "no", "key": "k"})]}, 'secret "no" not found'),
        (
            {"env": [source(configMapKeyRef={"name": "conf", "key": "k"})]},
            "couldn't find key k in ConfigMap default/conf",
        ),
        ({"env": [source(secretKeyRef={"name": "key", "key": "k"})]}, "couldn't find key k in Secret default/key"),
        ({"envFrom": [{"configMapRef": {"name": "no"}}]}, 'configmap "no" not found'),
    ],
)
def test_what_is_missing_is_named(container, message):
    with pytest.raises(ConfigError) as error:
        env(container)
    assert str(error.value) == message


def test_env_wins_over_env_from_and_both_over_services():
    found = env(
        {
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "conf"}}, {"configMapRef": {"name": "conf"}}],
            "env": [{"name": "COLOR", "value": "red"}, {"name": "KUBERNETES_SERVICE_HOST", "value": "mine"}],
        }
    )
    assert (found["COLOR"], found["P_COLOR"], found["a.b"]) == ("red", "blue", "dot")
    assert found["KUBERNETES_SERVICE_HOST"] == "mine"
    assert not any("=" in name for name in found)


def test_references_see_what_stands_before_them():
    entries = [
        {"name": "A", "value": "$(B)-$(KUBERNETES_SERVICE_PORT)"},
        {"name": "B", "value": "$(A)"},
        {"name": "C", "value": "$$(B) $(B)"},
    ]
    found = env({"env": entries})
    assert found["A"] == "$(B)-443"
    assert found["B"] == "$(B)-443"
    assert found["C"] == "$(B) $(B)-443"


def test_variables_of_services():
    found = env()
    assert found["MY_DB_SERVICE_HOST"] == "fd10:96::5"
    assert found["MY_DB_PORT"] == "tcp://[fd10:96::5]:5432"
    assert found["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert found["KUBERNETES_PORT_443_TCP_ADDR"] == "10.96.0.1"
    assert not any(name.startswith("HEADLESS") for name in found)
    without = env(enableServiceLinks=False)
    assert "KUBERNETES_SERVICE_HOST" in without
    assert "MY_DB_SERVICE_HOST" not in without


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)", "1"), ("$$(A)", "$(A)"), ("$(NO)", "$(NO)"), ("$A $", "$A $"), ("$(A", "$(A"), ("$$$(A)", "$1")],
)
def test_expansion(text, expected):
    assert expand(text, {"A": "1"}) == expected

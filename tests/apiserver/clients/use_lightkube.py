"""lightkube: typed and generic resources, server-side apply, watches, manifests."""

from __future__ import annotations

import sys

from lightkube import ApiError, Client, KubeConfig, codecs
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import PatchType

client = Client(config=KubeConfig.from_file(sys.argv[1]), field_manager="lightkube")
client.create(
    ConfigMap(metadata=ObjectMeta(name="l", namespace="default", labels={"by": "lightkube"}), data={"x": "1"})
)
client.patch(ConfigMap, "l", {"data": {"x": "2"}}, patch_type=PatchType.MERGE)
assert [one.data for one in client.list(ConfigMap, labels={"by": "lightkube"})] == [{"x": "2"}]
applied = client.apply(ConfigMap(metadata=ObjectMeta(name="l", namespace="default"), data={"y": "3"}))
assert applied.data == {"x": "2", "y": "3"}
assert any(one.operation == "Apply" and one.manager == "lightkube" for one in applied.metadata.managedFields)
try:
    client.apply(
        ConfigMap(metadata=ObjectMeta(name="l", namespace="default"), data={"x": "other"}), field_manager="else"
    )
    raise AssertionError("a conflict was not told")
except ApiError as error:
    assert error.status.code == 409, error
    assert "conflict" in error.status.message

manifest = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: light, namespace: default}
spec:
  selector: {matchLabels: {app: light}}
  template: {metadata: {labels: {app: light}}, spec: {containers: [{name: a, image: "web:1"}]}}
---
apiVersion: v1
kind: Service
metadata: {name: light, namespace: default}
spec: {selector: {app: light}, ports: [{port: 80}]}
"""
for obj in codecs.load_all_yaml(manifest):
    client.apply(obj)
scale = client.get(Deployment.Scale, "light")
scale.spec.replicas = 4
client.replace(scale, "light")
assert client.get(Deployment, "light").spec.replicas == 4
assert client.get(Deployment.Status, "light").metadata.name == "light"

Boat = create_namespaced_resource("sea.io", "v1", "Boat", "boats")
client.create(Boat(metadata=ObjectMeta(name="l", namespace="default"), spec={"sails": 2}))
assert client.get(Boat, "l").spec["sails"] == 2

for kind, obj in client.watch(ConfigMap, labels={"by": "lightkube"}):
    assert obj.metadata.name == "l"
    if kind == "ADDED":
        client.delete(ConfigMap, "l")
    if kind == "DELETED":
        break
assert list(client.list(Pod)) == []
print("done")

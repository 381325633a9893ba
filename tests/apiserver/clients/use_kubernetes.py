"""The official Python client: typed, dynamic and custom objects, watches, patches, conflicts."""

from __future__ import annotations

import sys

from kubernetes import client, config, dynamic, utils, watch

config.load_kube_config(sys.argv[1])
core, apps, custom = client.CoreV1Api(), client.AppsV1Api(), client.CustomObjectsApi()

version = client.VersionApi().get_code()
assert int(version.minor) >= 30, version
names = {one.name for one in core.get_api_resources().resources}
assert {"pods", "pods/exec", "services"} <= names

made = core.create_namespaced_config_map(
    "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a", labels={"by": "official"}), data={"x": "1"})
)
listed = core.list_namespaced_config_map("default", label_selector="by=official")
assert [one.metadata.name for one in listed.items] == ["a"]

core.patch_namespaced_config_map("a", "default", {"data": {"x": "2"}})
made.data = {"x": "stale"}
try:
    core.replace_namespaced_config_map("a", "default", made)
    raise AssertionError("a stale object was accepted")
except client.ApiException as error:
    assert (error.status, error.reason) == (409, "Conflict"), error

seen = []
watching = watch.Watch()
for event in watching.stream(
    core.list_namespaced_config_map,
    "default",
    label_selector="by=official",
    resource_version=made.metadata.resource_version,
):
    seen.append((event["type"], event["object"].data["x"]))
    if len(seen) == 1:
        core.delete_namespaced_config_map("a", "default")
    if event["type"] == "DELETED":
        watching.stop()
assert seen == [("MODIFIED", "2"), ("DELETED", "2")], seen

labels = {"app": "web"}
apps.create_namespaced_deployment(
    "default",
    client.V1Deployment(
        metadata=client.V1ObjectMeta(name="web"),
        spec=client.V1DeploymentSpec(
            replicas=2,
            selector=client.V1LabelSelector(match_labels=labels),
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(labels=labels),
                spec=client.V1PodSpec(containers=[client.V1Container(name="web", image="web:1")]),
            ),
        ),
    ),
)
assert apps.read_namespaced_deployment_scale("web", "default").spec.replicas == 2
apps.patch_namespaced_deployment_scale("web", "default", {"spec": {"replicas": 3}})
assert apps.read_namespaced_deployment("web", "default").spec.replicas == 3
page = core.list_namespaced_service_account("default", limit=1)
assert len(page.items) == 1

boat = {"apiVersion": "sea.io/v1", "kind": "Boat", "metadata": {"name": "b"}, "spec": {"sails": 2}}
custom.create_namespaced_custom_object("sea.io", "v1", "default", "boats", boat)
custom.patch_namespaced_custom_object("sea.io", "v1", "default", "boats", "b", {"spec": {"sails": 3}})
assert custom.get_namespaced_custom_object("sea.io", "v1", "default", "boats", "b")["spec"]["sails"] == 3

utils.create_from_dict(
    client.ApiClient(), {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}}
)
everything = dynamic.DynamicClient(client.ApiClient())
boats = everything.resources.get(api_version="sea.io/v1", kind="Boat")
assert [one.metadata.name for one in boats.get(namespace="default").items] == ["b"]
applied = boats.server_side_apply(
    namespace="default", name="b", body={**boat, "spec": {"sails": 4}}, field_manager="dynamic", force_conflicts=True
)
assert applied.spec.sails == 4

review = client.AuthorizationV1Api().create_self_subject_access_review(
    client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(
            resource_attributes=client.V1ResourceAttributes(verb="get", resource="pods", namespace="default")
        )
    )
)
assert review.status.allowed
core.delete_collection_namespaced_secret("default")
assert core.list_namespaced_secret("default").items == []
print("done")

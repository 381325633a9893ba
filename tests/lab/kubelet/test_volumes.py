from __future__ import annotations

import base64
import os

import pytest

from fairlead.lab.kubelet import volumes
from fairlead.lab.kubelet.content import references, volume_files
from fairlead.lab.kubelet.env import ConfigError, Surroundings
from fairlead.lab.kubelet.pod import decode
from fairlead.lab.runtime.spec import Mount

AROUND = Surroundings(
    node="node-1",
    config_maps={"conf": {"kind": "ConfigMap", "data": {"a": "1", "b": "2"}, "binaryData": {"c": "/w=="}}},
    tokens={("", 3600): "t"},
    secrets={"key": {"kind": "Secret", "data": {"token": base64.b64encode(b"s").decode()}}},
)


def pod(*sources, mounts=(), **spec):
    listed = [{"name": f"v{index}", **source} for index, source in enumerate(sources)]
    container = {"name": "app", "volumeMounts": list(mounts), "resources": {"limits": {"memory": "64Mi"}}}
    metadata = {"name": "web", "uid": "u", "labels": {"app": "web", "tier": "x"}}
    return decode({"metadata": metadata, "spec": {"containers": [container], "volumes": listed, **spec}})


def shown(source):
    subject = pod(source)
    files = volume_files(subject, subject.spec.volumes[0], AROUND)
    return files and {path: (file.content, f"{file.mode:o}") for path, file in files.items()}


FILES = {
    "emptyDir": ({"emptyDir": {}}, None),
    "configMap": (
        {"configMap": {"name": "conf"}},
        {"a": (b"1", "644"), "b": (b"2", "644"), "c": (b"\xff", "644")},
    ),
    "items and modes": (
        {"configMap": {"name": "conf", "defaultMode": 0o400, "items": [{"key": "a", "path": "x/y", "mode": 0o755}]}},
        {"x/y": (b"1", "755")},
    ),
    "default mode": ({"secret": {"secretName": "key", "defaultMode": 0o400}}, {"token": (b"s", "400")}),
    "optional": ({"secret": {"secretName": "none", "optional": True}}, {}),
    "downwardAPI": (
        {
            "downwardAPI": {
                "items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {
                        "path": "memory",
                        "resourceFieldRef": {"containerName": "app", "resource": "limits.memory", "divisor": "1Mi"},
                    },
                ]
            }
        },
        {"labels": (b'app="web"\ntier="x"', "644"), "memory": (b"64", "644")},
    ),
    "projected": (
        {
            "projected": {
                "defaultMode": 0o440,
                "sources": [
                    {"serviceAccountToken": {"path": "token"}},
                    {"configMap": {"name": "conf", "items": [{"key": "a", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
                ],
            }
        },
        {"token": (b"t", "440"), "ca.crt": (b"1", "440"), "ns": (b"default", "440")},
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_files(case):
    source, expected = FILES[case]
    assert shown(source) == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        (
            {"configMap": {"name": "conf", "items": [{"key": "z", "path": "z"}]}},
            "references non-existent config key: z",
        ),
        ({"secret": {"secretName": "key", "items": [{"key": "token", "path": "../up"}]}}, "leaves its volume"),
    ],
)
def test_what_is_wrong_is_named(source, message):
    with pytest.raises(ConfigError, match=message):
        shown(source)


def test_references():
    spec = pod(
        {"configMap": {"name": "a"}},
        {"projected": {"sources": [{"secret": {"name": "b", "optional": True}}]}},
        {"secret": {"secretName": "c"}},
    )
    assert set(references(spec)) == {("configmap", "a", False), ("secret", "b", True), ("secret", "c", False)}


def test_a_volume_changes_all_at_once_and_only_when_it_must(tmp_path):
    def publish(**data):
        around = Surroundings(node="n", config_maps={"conf": {"kind": "ConfigMap", "data": data}})
        return volumes.set_up(pod({"configMap": {"name": "conf"}}), tmp_path, tmp_path, around)["v0"]

    folder = publish(a="1", b="2")
    assert sorted(os.listdir(folder))[-2:] == ["a", "b"]
    first = os.readlink(folder / "..data")
    publish(a="1", b="2")
    assert os.readlink(folder / "..data") == first
    publish(a="3")
    assert os.readlink(folder / "..data") != first
    assert (folder / "a").read_text() == "3"
    assert [name for name in os.listdir(folder) if not name.startswith("..")] == ["a"]
    assert len(os.listdir(folder)) == 3


def test_a_volume_that_cannot_be_set_up_names_itself(tmp_path):
    with pytest.raises(volumes.MountError) as error:
        volumes.set_up(pod({"configMap": {"name": "none"}}), tmp_path, tmp_path, AROUND)
    assert str(error.value) == 'MountVolume.SetUp failed for volume "v0" : configmap "none" not found'


def test_empty_folders_are_writable_by_all_and_belong_to_the_fs_group(tmp_path):
    subject = pod({"emptyDir": {"medium": "Memory"}}, securityContext={"fsGroup": 2000})
    folder = volumes.set_up(subject, tmp_path / "v", tmp_path, AROUND)["v0"]
    status = folder.stat()
    assert f"{status.st_mode & 0o7777:o}" == "2777"
    if os.geteuid() == 0:
        assert status.st_gid == 2000


def test_a_claim_outlives_its_pod(tmp_path):
    subject = pod({"persistentVolumeClaim": {"claimName": "data"}})
    folder = volumes.set_up(subject, tmp_path / "v", tmp_path / "claims", AROUND)["v0"]
    (folder / "kept").touch()
    volumes.remove(tmp_path / "v")
    assert folder == tmp_path / "claims" / "default" / "data"
    assert (folder / "kept").exists()


def test_the_host_is_never_written(tmp_path):
    subject = pod({"hostPath": {"path": "/etc"}}, {"hostPath": {"path": str(tmp_path / "missing")}})
    found = volumes.set_up(subject, tmp_path / "v", tmp_path, AROUND)
    assert str(found["v0"]) == "/etc"
    assert found["v1"] == tmp_path / "v" / "v1"
    assert not (tmp_path / "missing").exists()
    assert volumes.writable(subject) == {"v0": False, "v1": True}


def test_mounts(tmp_path):
    (tmp_path / "file").touch()
    listed = [
        {"name": "v0", "mountPath": "/a/b", "subPathExpr": "$(POD)"},
        {"name": "v0", "mountPath": "/a/", "readOnly": True},
        {"name": "v0", "mountPath": "/f", "subPath": "file"},
    ]
    subject = pod({"emptyDir": {}}, mounts=listed)
    found = volumes.mounts(subject.spec.containers[0], {"v0": tmp_path}, {"v0": True}, {"POD": "web"})
    assert found == (
        Mount(source=tmp_path, destination="/a", read_only=True),
        Mount(source=tmp_path / "file", destination="/f"),
        Mount(source=tmp_path / "web", destination="/a/b"),
    )


def test_a_sub_path_stays_in_its_volume(tmp_path):
    volume = tmp_path / "v"
    volume.mkdir()
    (volume / "link").symlink_to("/etc")
    for sub_path in ("../x", "/etc", "link"):
        subject = pod({"emptyDir": {}}, mounts=[{"name": "v0", "mountPath": "/a", "subPath": sub_path}])
        with pytest.raises(ConfigError, match="leaves its volume"):
            volumes.mounts(subject.spec.containers[0], {"v0": volume}, {}, {})


@pytest.mark.parametrize(
    ("pod_context", "container_context", "expected"),
    [
        ({}, {}, (65534, 65534, ())),
        ({"runAsUser": 0}, {}, (65534, 65534, ())),
        ({"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000}, {}, (1000, 3000, (2000,))),
        ({"runAsUser": 1000, "supplementalGroups": [5, 5, 0]}, {"runAsUser": 1001}, (1001, 65534, (5,))),
    ],
)
def test_identity(pod_context, container_context, expected):
    spec = {"containers": [{"name": "a", "securityContext": container_context}], "securityContext": pod_context}
    subject = decode({"metadata": {"name": "p"}, "spec": spec})
    assert volumes.identity(subject, subject.spec.containers[0]) == expected

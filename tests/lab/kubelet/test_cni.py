from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fairlead.lab.kubelet.cni import NOT_INITIALIZED, Attachment, Cni, CniError, addresses, parse_list, request
from fairlead.lab.kubelet.pod import decode
from fairlead.lab.kubelet.sandbox import attachment

POD = Attachment(
    container_id="abc", netns="/run/netns/x", args=(("K8S_POD_NAME", "web"),), capabilities={"portMappings": [1]}
)


def runtime(node):
    settings = node.settings
    return Cni(conf_dir=settings.cni_conf_dir, bin_dirs=settings.cni_bin_dirs, cache_dir=settings.cni_cache)


def requests(node):
    return [json.loads(line) for line in node.cni_log.read_text().splitlines()]


async def test_a_chain_passes_results_on_and_back(lab):
    node = lab()
    cni = runtime(node)
    result = await cni.add(POD)
    assert addresses(result) == ("10.244.1.5", "fd10:244:0:1::5")
    first, second = requests(node)
    assert first[:3] == ["first", "ADD", "abc"]
    assert first[3] == {"type": "first", "name": "lab", "cniVersion": "1.0.0"}
    assert second[3]["prevResult"] == result
    assert second[3]["runtimeConfig"] == {"portMappings": [1]}
    assert cni.cached() == ["abc"]
    # The configuration may be gone by then: DEL uses what ADD used.
    (node.settings.cni_conf_dir / "10-lab.conflist").unlink()
    await cni.delete("abc")
    third, fourth = requests(node)[2:]
    assert [third[0], fourth[0]] == ["second", "first"]
    assert third[3]["prevResult"] == fourth[3]["prevResult"] == result
    assert cni.cached() == []
    await cni.delete("abc")
    assert len(requests(node)) == 4


async def test_a_failure_is_worded_as_by_libcni_and_can_be_undone(lab):
    node = lab()
    node.fail_cni("second", "ADD", "no address is free")
    cni = runtime(node)
    with pytest.raises(CniError) as error:
        await cni.add(POD)
    assert (str(error.value), error.value.code) == ('plugin type="second" failed (add): no address is free', 11)
    assert cni.result("abc") is None
    assert cni.begun("abc")
    await cni.delete("abc")
    assert not cni.begun("abc")


async def test_a_failed_delete_is_remembered(lab):
    node = lab()
    cni = runtime(node)
    await cni.add(POD)
    broken = node.fail_cni("first", "DEL", "agent is down")
    with pytest.raises(CniError, match="agent is down"):
        await cni.delete("abc")
    broken.unlink()
    await cni.delete("abc")
    assert not cni.begun("abc")


async def test_a_missing_plugin_is_named(lab):
    node = lab()
    (node.folder / "bin" / "second").unlink()
    with pytest.raises(CniError, match=re.escape(f"""failed to find plugin "second" in path ['{node.folder}/bin']""")):
        await runtime(node).add(POD)


async def test_readiness_asks_status_from_version_1_1_on(lab):
    node = lab()
    cni = runtime(node)
    assert await cni.not_ready() is None
    path = node.settings.cni_conf_dir / "10-lab.conflist"
    path.write_text(path.read_text().replace("1.0.0", "1.1.0"))
    broken = node.fail_cni("first", "STATUS", "no pod range yet")
    assert (await cni.not_ready() or "").endswith('plugin type="first" failed (status): no pod range yet')
    broken.unlink()
    assert await cni.not_ready() is None
    path.unlink()
    assert await cni.not_ready() == NOT_INITIALIZED


def test_the_first_valid_file_counts(tmp_path):
    cni = Cni(conf_dir=tmp_path, bin_dirs=(), cache_dir=tmp_path / "cache")
    assert cni.network() is None
    (tmp_path / "05-broken.conflist").write_text("{")
    (tmp_path / "20-b.conf").write_text('{"name": "b", "type": "b", "cniVersion": "1.0.0"}')
    (tmp_path / "10-a.conflist").write_text('{"name": "a", "cniVersion": "0.4.0", "plugins": [{"type": "a"}]}')
    (tmp_path / "00-notes.txt").write_text("")
    network = cni.network()
    assert (network.name, network.version) == ("a", "0.4.0")
    assert cni.network() is network


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "not a JSON object"),
        ({"name": "x", "cniVersion": "1.0.0", "plugins": []}, "no plugins"),
        ({"cniVersion": "1.0.0", "plugins": [{"type": "a"}]}, "no name"),
        ({"name": "x", "cniVersion": "1.0.0", "plugins": [{}]}, "no type"),
        ({"name": "x", "cniVersion": "9.0.0", "plugins": [{"type": "a"}]}, "9.0.0 is not supported"),
    ],
)
def test_a_bad_list_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        parse_list(json.dumps(config))


def test_the_highest_common_version_is_used():
    config = {
        "name": "x",
        "cniVersion": "0.4.0",
        "cniVersions": ["0.4.0", "1.1.0", "2.0.0"],
        "plugins": [{"type": "a"}],
    }
    assert parse_list(json.dumps(config)).version == "1.1.0"


def test_only_declared_capabilities_are_passed():
    plugin = {"type": "a", "capabilities": {"bandwidth": True, "portMappings": False}}
    network = parse_list(json.dumps({"name": "x", "cniVersion": "1.0.0", "plugins": [plugin]}))
    config = request(network, plugin, {"bandwidth": {"ingressRate": 1}, "portMappings": [1], "ips": [2]}, None)
    assert config == {
        "type": "a",
        "name": "x",
        "cniVersion": "1.0.0",
        "runtimeConfig": {"bandwidth": {"ingressRate": 1}},
    }


def test_addresses_of_host_interfaces_are_left_out():
    result = {
        "interfaces": [{"name": "fl1"}, {"name": "eth0", "sandbox": "/run/netns/x"}],
        "ips": [
            {"address": "fd00::1/64", "interface": 1},
            {"address": "10.0.0.1/24", "interface": 0},
            {"address": "10.0.0.2/24"},
        ],
    }
    assert addresses(result) == ("10.0.0.2", "fd00::1")


def test_what_kubernetes_tells_a_plugin():
    pod = decode(
        {
            "metadata": {
                "name": "web",
                "namespace": "shop",
                "uid": "u-1",
                "annotations": {"kubernetes.io/ingress-bandwidth": "1M"},
            },
            "spec": {
                "containers": [
                    {
                        "name": "a",
                        "ports": [{"containerPort": 53, "hostPort": 5353, "protocol": "UDP", "hostIP": "::1"}],
                    }
                ]
            },
        }
    )
    found = attachment(pod, Path("/run/netns/x"))
    assert dict(found.args) == {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": "shop",
        "K8S_POD_NAME": "web",
        "K8S_POD_INFRA_CONTAINER_ID": "u-1",
        "K8S_POD_UID": "u-1",
    }
    assert found.capabilities == {
        "portMappings": [{"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "::1"}],
        "bandwidth": {"ingressRate": 1000000, "ingressBurst": 2147483647},
    }

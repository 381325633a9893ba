from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.agent.cni import protocol
from fairlead.agent.cni.protocol import CniError, Code
from fairlead.world.attachment import Attachment

ATTACHMENT = Attachment(
    container_id="c1",
    ifname="eth0",
    netns="/run/netns/pod",
    host_ifname="fl0123456789ab",
    mac="02:00:00:00:00:01",
    addresses=("10.244.1.5", "fd10:244:0:1::5"),
    mtu=1450,
)


def environment(command: str = "ADD", **changes: str) -> dict[str, str]:
    base = {"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/run/netns/pod"}
    return base | changes


def config(**changes: object) -> bytes:
    return json.dumps({"cniVersion": "1.1.0", "name": "fairlead", "type": "fairlead"} | changes).encode()


@pytest.mark.parametrize(
    ("variables", "stdin", "code", "mentions"),
    [
        ({}, config(), Code.INVALID_ENVIRONMENT, "CNI_COMMAND"),
        (environment("FLY"), config(), Code.INVALID_ENVIRONMENT, "CNI_COMMAND"),
        (environment(CNI_CONTAINERID=""), config(), Code.INVALID_ENVIRONMENT, "CNI_CONTAINERID"),
        (environment(CNI_CONTAINERID="../x"), config(), Code.INVALID_ENVIRONMENT, "CNI_CONTAINERID"),
        (environment(CNI_CONTAINERID="x" * 2000), config(), Code.INVALID_ENVIRONMENT, "CNI_CONTAINERID"),
        (environment(CNI_IFNAME="a/b"), config(), Code.INVALID_ENVIRONMENT, "CNI_IFNAME"),
        (environment(CNI_IFNAME="e" * 16), config(), Code.INVALID_ENVIRONMENT, "CNI_IFNAME"),
        (environment(CNI_IFNAME=".."), config(), Code.INVALID_ENVIRONMENT, "CNI_IFNAME"),
        (environment(CNI_NETNS=""), config(), Code.INVALID_ENVIRONMENT, "CNI_NETNS"),
        (environment("CHECK", CNI_NETNS=""), config(prevResult={}), Code.INVALID_ENVIRONMENT, "CNI_NETNS"),
        (environment(CNI_ARGS="a=b;c"), config(), Code.INVALID_ENVIRONMENT, "'c'"),
        (environment(), b"", Code.DECODE_FAILURE, ""),
        (environment(), b"[]", Code.DECODE_FAILURE, "object"),
        (environment(), b'{"name": 3}', Code.DECODE_FAILURE, "name"),
        (environment(), b'{"name": "\xff"}', Code.DECODE_FAILURE, ""),
        (environment(), b"[" * 100_000, Code.DECODE_FAILURE, ""),
        (environment(), b" " * (protocol.MOST_BYTES + 1), Code.IO_FAILURE, "bytes"),
        (environment(), config(cniVersion="2.0.0"), Code.INCOMPATIBLE_VERSION, "2.0.0"),
        (environment(), config(cniVersion="0.2.0"), Code.INCOMPATIBLE_VERSION, "0.2.0"),
        (environment(), b'{"name": "n"}', Code.INCOMPATIBLE_VERSION, "0.1.0"),
        (environment("CHECK"), config(cniVersion="0.3.1"), Code.INCOMPATIBLE_VERSION, "CHECK"),
        (environment("GC"), config(cniVersion="1.0.0"), Code.INCOMPATIBLE_VERSION, "GC"),
        (environment("STATUS"), config(cniVersion="1.0.0"), Code.INCOMPATIBLE_VERSION, "STATUS"),
        (environment(), config(name=""), Code.INVALID_CONFIG, "name"),
        (environment(), config(name="../etc"), Code.INVALID_CONFIG, "name"),
        (environment(), config(ipam={"type": "host-local"}), Code.UNSUPPORTED_FIELD, '"host-local"'),
        (environment(), config(ipMasq=True), Code.UNSUPPORTED_FIELD, "true"),
        (environment("CHECK"), config(), Code.INVALID_CONFIG, "prevResult"),
        (environment("GC"), config(), Code.INVALID_CONFIG, "valid-attachments"),
        (environment(CNI_ARGS="IP=nonsense"), config(), Code.INVALID_CONFIG, "nonsense"),
    ],
)
def test_refuses(variables: dict[str, str], stdin: bytes, code: Code, mentions: str) -> None:
    with pytest.raises(CniError) as caught:
        protocol.parse(variables, stdin)
    assert caught.value.code == code
    assert mentions in str(caught.value)


def test_reads_what_kubernetes_passes() -> None:
    args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u-1"
    request = protocol.parse(environment(CNI_ARGS=args), config(unknown={"kept": [1]}))
    assert (request.pod_namespace, request.pod_name, request.pod_uid) == ("default", "web-0", "u-1")


@pytest.mark.parametrize(
    ("changes", "args", "expected"),
    [
        ({}, "IP=10.244.1.9", ("10.244.1.9",)),
        ({}, "IP=10.244.1.9/24,fd10:244:0:1:0::9", ("10.244.1.9", "fd10:244:0:1::9")),
        ({"args": {"cni": {"ips": ["10.244.1.7"]}}}, "IP=10.244.1.9", ("10.244.1.7",)),
        ({"runtimeConfig": {"ips": ["10.244.1.3/24"]}, "args": {"cni": {"ips": ["10.244.1.7"]}}}, "", ("10.244.1.3",)),
    ],
)
def test_requested_addresses_follow_the_conventions(changes: dict, args: str, expected: tuple[str, ...]) -> None:
    assert protocol.parse(environment(CNI_ARGS=args), config(**changes)).requested == expected


def test_del_needs_neither_namespace_nor_sane_arguments() -> None:
    request = protocol.parse(environment("DEL", CNI_NETNS="", CNI_ARGS="nonsense"), config(cniVersion="0.4.0"))
    assert request.container_id == "c1"


@pytest.mark.parametrize(
    ("listed", "expected"),
    [(None, frozenset()), ([], frozenset()), ([{"containerID": "a", "ifname": "eth0"}], frozenset({("a", "eth0")}))],
)
def test_gc_takes_the_list_as_it_is(listed: object, expected: frozenset) -> None:
    assert protocol.parse({"CNI_COMMAND": "GC"}, config(**{"cni.dev/valid-attachments": listed})).valid == expected


@pytest.mark.parametrize("version", protocol.VERSIONS)
def test_result_has_the_shape_of_its_version(version: str) -> None:
    request = protocol.parse(environment(), config(cniVersion=version, dns={"nameservers": ["10.96.0.10"]}))
    result = json.loads(protocol.add_result(request, ATTACHMENT))
    assert result["cniVersion"] == version
    assert [each["name"] for each in result["interfaces"]] == ["fl0123456789ab", "eth0"]
    assert "sandbox" not in result["interfaces"][0]
    assert result["interfaces"][1]["sandbox"] == "/run/netns/pod"
    assert all(("mtu" in each) == (version == "1.1.0") for each in result["interfaces"])
    assert [each.get("version") for each in result["ips"]] == (["4", "6"] if version < "1.0.0" else [None, None])
    assert [each["address"] for each in result["ips"]] == ["10.244.1.5/32", "fd10:244:0:1::5/128"]
    assert [each["interface"] for each in result["ips"]] == [1, 1]
    assert result["routes"] == [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0", "gw": "fe80::1"}]
    assert result["dns"] == {"nameservers": ["10.96.0.10"]}


def test_result_keeps_what_an_earlier_plugin_made() -> None:
    previous = {"interfaces": [{"name": "x0"}], "ips": [{"address": "192.0.2.1/32", "interface": 0}], "routes": []}
    result = json.loads(protocol.add_result(protocol.parse(environment(), config(prevResult=previous)), ATTACHMENT))
    assert result["interfaces"][0] == {"name": "x0"}
    assert result["ips"][0] == {"address": "192.0.2.1/32", "interface": 0}
    assert [each["interface"] for each in result["ips"][1:]] == [2, 2]


@pytest.mark.parametrize(
    ("change", "mentions"),
    [
        ({}, None),
        ({"interfaces": []}, "eth0"),
        ({"ips": [{"address": "10.244.1.5/32"}]}, "fd10:244:0:1::5"),
    ],
)
def test_check_compares_previous_result(change: dict, mentions: str | None) -> None:
    add = protocol.parse(environment(), config())
    result = json.loads(protocol.add_result(add, ATTACHMENT)) | change
    request = protocol.parse(environment("CHECK"), config(prevResult=result))
    problem = protocol.result_mismatch(request, ATTACHMENT)
    assert (problem is None) if mentions is None else (problem is not None and mentions in problem)


def test_check_of_an_unreadable_previous_result_is_a_decode_failure() -> None:
    request = protocol.parse(environment("CHECK"), config(prevResult={"interfaces": [3], "ips": "x"}))
    with pytest.raises(CniError) as caught:
        protocol.result_mismatch(request, ATTACHMENT)
    assert caught.value.code == Code.DECODE_FAILURE


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
_keys = st.sampled_from(
    ["cniVersion", "name", "prevResult", "runtimeConfig", "args", "dns", "ipam", "cni.dev/valid-attachments"]
)


@given(
    command=st.sampled_from(protocol.COMMANDS),
    variables=st.dictionaries(
        st.sampled_from(["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS"]), st.text(max_size=20)
    ),
    document=st.dictionaries(_keys, _json),
    raw=st.none() | st.binary(max_size=40),
)
def test_whatever_comes_is_a_request_or_a_cni_error(
    command: str, variables: dict, document: dict, raw: bytes | None
) -> None:
    stdin = raw if raw is not None else json.dumps({"cniVersion": "1.1.0", "name": "n"} | document).encode()
    try:
        protocol.parse(environment(command) | variables, stdin)
    except CniError as error:
        answer = json.loads(protocol.error_result(error, protocol.version_of(stdin)))
        assert set(answer) <= {"cniVersion", "code", "msg", "details"}
        assert answer["cniVersion"] in protocol.VERSIONS

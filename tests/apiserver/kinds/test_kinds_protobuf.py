"""The protobuf decoder: the same object as JSON from real clients, its own error for everything else."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.apiserver.kinds import kubectl_stub
from tests.kubectl_programs import installed

from fairlead.apiserver.kinds import protobuf, registry, strategy, wire


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    return protobuf.MAGIC + field(1, field(1, api_version.encode()) + field(2, kind.encode())) + field(2, raw)


def test_zero_values_vanish_where_json_omits_them() -> None:
    port = (
        field(1, b"")
        + field(2, b"TCP")
        + integer(3, 80)
        + field(4, integer(1, 0) + integer(2, 8080) + field(3, b""))
        + integer(5, 0)
    )
    spec = field(1, port) + field(3, b"") + field(4, b"ClusterIP")
    raw = field(1, field(1, b"s") + field(2, b"") + field(8, b"")) + field(2, spec) + field(3, field(1, b""))
    assert protobuf.decode(envelope("v1", "Service", raw)) == {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "s"},
        "spec": {"ports": [{"protocol": "TCP", "port": 80, "targetPort": 8080}], "type": "ClusterIP"},
        "status": {"loadBalancer": {}},
    }


def test_pointers_keep_their_zero() -> None:
    raw = field(2, integer(1, 0) + integer(9, 0))
    assert protobuf.decode(envelope("apps/v1", "Deployment", raw))["spec"] == {
        "replicas": 0,
        "progressDeadlineSeconds": 0,
    }


@pytest.mark.parametrize(
    ("number", "expected"),
    [(-1, -1), (2**31 - 1, 2**31 - 1), (-(2**31), -(2**31))],
    ids=["minus one", "highest", "lowest"],
)
def test_signed_integers(number: int, expected: int) -> None:
    decoded = protobuf.decode(envelope("apps/v1", "Deployment", field(2, integer(1, number))))
    assert decoded["spec"]["replicas"] == expected


def test_times_quantities_maps_and_bytes() -> None:
    lease = field(2, field(3, integer(1, 1772366400) + integer(2, 123456000)))
    assert protobuf.decode(envelope("coordination.k8s.io/v1", "Lease", lease))["spec"] == {
        "acquireTime": "2026-03-01T12:00:00.123456Z"
    }
    quota = field(2, field(1, field(1, b"cpu") + field(2, field(1, b"500m"))))
    assert protobuf.decode(envelope("v1", "ResourceQuota", quota))["spec"] == {"hard": {"cpu": "500m"}}
    secret = field(2, field(1, b"k") + field(2, b"\x00\xff"))
    assert protobuf.decode(envelope("v1", "Secret", secret))["data"] == {"k": "AP8="}


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0s"),
        (1_500_000, "1.5ms"),
        (90_000_000_000, "1m30s"),
        (3_600_000_000_000, "1h0m0s"),
        (-1_000_000_000, "-1s"),
    ],
)
def test_durations_as_go_writes_them(nanos: int, text: str) -> None:
    assert protobuf._duration(integer(1, nanos), 0, protobuf._Budget()) == text


def test_json_inside_of_the_envelope() -> None:
    body = protobuf.MAGIC + field(2, b'{"kind":"X"}') + field(4, b"application/json")
    assert protobuf.decode(body) == {"kind": "X"}


BAD = {
    "no magic": b"{}",
    "unknown kind": envelope("v1", "Nonsense", b""),
    "cut off": envelope("v1", "Pod", field(1, field(1, b"name")))[:-3],
    "endless number": protobuf.MAGIC + b"\x08" + b"\xff" * 11,
    "group wire type": protobuf.MAGIC + b"\x0b",
    "field zero": protobuf.MAGIC + b"\x00\x00",
    "no text": envelope("v1", "Pod", field(1, field(1, b"\xff\xfe"))),
    "number where text belongs": envelope("v1", "Pod", field(1, integer(1, 5))),
    "too many values": envelope("v1", "Pod", field(2, field(2, b"") * 600_000)),
    "compressed": protobuf.MAGIC + field(3, b"gzip"),
    "infinite number": envelope(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        field(2, field(7, field(4, field(1, varint(9 << 3 | 1) + struct.pack("<d", float("inf")))))),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_bodies_have_their_own_error(case: str) -> None:
    with pytest.raises(protobuf.ProtobufError):
        protobuf.decode(BAD[case])


def test_nesting_is_bounded() -> None:
    schema = b""
    for _ in range(200):
        schema = field(29, field(1, b"p") + field(2, schema))
    raw = field(2, field(7, field(4, field(1, schema))))
    with pytest.raises(protobuf.ProtobufError, match="deeper"):
        protobuf.decode(envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", raw))


NAMES = sorted((kind.resource.api_version, kind.resource.kind) for kind in registry.KINDS)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(NAMES), st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(name: tuple[str, str], raw: bytes) -> None:
    for body in (raw, protobuf.MAGIC + raw, envelope(*name, raw)):
        try:
            decoded = protobuf.decode(body)
        except protobuf.ProtobufError:
            continue
        json.dumps(decoded)


def encoded(kind: wire.Message, draw: st.DrawFn, depth: int) -> bytes:
    parts = []
    for item in draw(st.lists(st.sampled_from(kind.fields), max_size=4)) if kind.fields else ():
        inner = wire.message(item.type)
        if item.type in ("bool", "int32", "int64"):
            payload = integer(item.number, draw(st.integers(-(2**63), 2**63 - 1)))
        elif inner is not None and depth < 4:
            payload = field(item.number, encoded(inner, draw, depth + 1))
        else:
            payload = field(item.number, draw(st.binary(max_size=8)))
        parts.append(payload)
    return b"".join(parts)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_shaped_messages_decode_or_are_refused_and_survive_the_rules(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(registry.KINDS))
    raw = data.draw(st.composite(lambda draw: encoded(wire.message_of(kind), draw, 0))())
    try:
        obj = protobuf.decode(envelope(kind.resource.api_version, kind.resource.kind, raw))
    except protobuf.ProtobufError:
        return
    if strategy.type_errors(kind, obj) is None:
        strategy.default(kind, obj)
        obj.setdefault("metadata", {})
        strategy.prepare_for_create(kind, obj)
        for error in strategy.validate_create(kind, obj):
            assert error.message


COMMANDS = (
    "create configmap c --from-literal=a=b",
    "create deployment d --image=nginx --port=80 --replicas=2",
    "create service clusterip s --tcp=80:8080",
    "create service nodeport s --tcp=80:http",
    "create namespace n",
    "create secret generic s --from-literal=a=b",
    "create job j --image=busybox -- sleep 1",
    "create cronjob cj --image=busybox --schedule=@daily -- date",
    "create ingress i --rule=foo.com/bar=svc1:8080,tls=my-cert",
    "create rolebinding r --clusterrole=view --user=u",
    "create role r --verb=get --resource=pods",
    "create clusterrole r --verb=get --resource=nodes",
    "create quota q --hard=cpu=1,pods=2",
    "create pdb p --selector=a=b --min-available=1",
    "create serviceaccount sa",
    "create priorityclass p --value=10",
    "auth can-i get pods",
    "create token default",
)
BY_VERSION = installed()
needs_both = pytest.mark.skipif(
    not {"1.31", "1.33"} <= BY_VERSION.keys(), reason="kubectl 1.31 (JSON) and 1.33 (protobuf) are not installed here"
)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


@needs_both
@pytest.mark.parametrize("command", COMMANDS)
def test_new_kubectl_sends_what_old_kubectl_sent(command: str, tmp_path: Path) -> None:
    sent = {}
    with kubectl_stub.serving() as stub:
        for version in ("1.31", "1.33"):
            argv = [
                str(BY_VERSION[version]),
                "--server",
                stub.url,
                "--cache-dir",
                str(tmp_path / version),
                *command.split(),
            ]
            subprocess.run(
                argv, capture_output=True, env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]}, timeout=60
            )
            sent[version] = (stub.bodies[-1][0], without_nulls(stub.objects()[-1]))
    assert "protobuf" in sent["1.33"][0]
    assert sent["1.33"][1] == sent["1.31"][1]

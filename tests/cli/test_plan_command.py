from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fairlead.base.errors import UserError
from fairlead.cli.plan import plan

MANIFEST = """\
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80, protocol: ICMP}, {name: alt, port: 81}], ipFamilyPolicy: PreferDualStack}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "web.yaml"
    path.write_text(MANIFEST)
    return str(path)


def test_manifests_alone_give_a_plan_for_each_node_of_a_new_lab(manifest: str) -> None:
    result = CliRunner().invoke(plan, ["-f", manifest], catch_exceptions=False)
    assert result.exit_code == 0
    assert [line for line in result.output.splitlines() if line.startswith("node ")] == [
        "node node-1",
        "node node-2",
        "node node-3",
    ]
    assert "  10.96.1.0     tcp       81" in result.output
    assert f"warning: {manifest}:1: Service/default/web spec.ports[0].protocol: unknown protocol" in result.output


@pytest.mark.parametrize("text", ["a: [b", "[" * 100_000, "just text", "kind: Service"])
def test_what_cannot_be_read_makes_it_fail_and_the_rest_is_planned(manifest: str, tmp_path: Path, text: str) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(text)
    result = CliRunner().invoke(plan, ["-f", manifest, "-f", str(bad)], catch_exceptions=False)
    assert result.exit_code == 1
    assert f"warning: {bad}:" in result.stderr
    assert "  10.96.1.0     tcp       81" in result.stdout


def test_json_is_stable(manifest: str) -> None:
    result = CliRunner().invoke(plan, ["-f", manifest, "--node", "node-2", "-o", "json"], catch_exceptions=False)
    data = json.loads(result.stdout)
    assert [each["node"] for each in data["plans"]] == ["node-2"]
    assert {"address": "10.96.1.0", "origins": ["Service/default/web"]} in data["plans"][0]["tables"][
        "cluster_addresses"
    ]
    assert data["diagnostics"][0]["field"] == "spec.ports[0].protocol"


def test_an_unknown_node_is_the_users_mistake(manifest: str) -> None:
    with pytest.raises(UserError, match="--node node-9: no such Node"):
        CliRunner().invoke(plan, ["-f", manifest, "--node", "node-9"], catch_exceptions=False)


def test_policies_of_requests_and_their_secrets_are_read_and_no_secret_is_told(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "examples/gateway"
    text = "\n---\n".join((folder / name).read_text() for name in ("gateway.yaml", "policies.yaml"))
    path = tmp_path / "all.yaml"
    path.write_text(text)
    result = CliRunner().invoke(plan, ["-f", str(path), "--node", "node-1", "-o", "json"], catch_exceptions=False)
    assert result.exit_code == 0
    (found,) = json.loads(result.stdout)["plans"]
    (host,) = [each for each in found["tables"]["gateway_hosts"] if each["domain"] == "shop.example.com"]
    policy = host["routes"][0]["policy"]
    assert policy["users"]["credentials"]["name"] == "shop/users"
    assert policy["addresses"]["deny"] == ["198.51.100.66/32"]
    assert [each["by_client"] for each in policy["rates"]] == [True]
    assert {"SecurityPolicy/shop/web", "SecurityPolicy/shop/shop", "TrafficPolicy/shop/web"} <= set(host["origins"])
    assert "{SHA}" not in result.output

"""`fairlead convert ingress`: examples and what is printed of them, exit codes, wrong input; the definitions of the kinds take all of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from fairlead.base.errors import UserError
from fairlead.cli.convert import convert

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples/ingress").glob("*.yaml"))
GOLDENS = ROOT / "tests/goldens/ingress"


def run(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(
        convert, ["ingress", *arguments], input=text, catch_exceptions=False, standalone_mode=False
    )


def ingress(**more: object) -> str:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    spec = {"rules": [{"host": "a.test", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]}
    return yaml.safe_dump({"kind": "Ingress", "metadata": {"name": "web", **more}, "spec": spec})


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_examples(example: Path, pytestconfig: pytest.Config) -> None:
    result = run("-f", str(example))
    golden = GOLDENS / f"{example.stem}.txt"
    said = f"exit code {result.return_value}\n{result.stderr.replace(str(ROOT) + '/', '')}---\n{result.stdout}"
    if pytestconfig.getoption("--update-goldens"):
        golden.write_text(said)
    assert said == golden.read_text()
    assert "is not valid" not in said


def test_json_is_a_list_that_kubectl_takes(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ingress())
    result = run("-f", str(tmp_path), "-o", "json", "--gateway", "infra/public", "--gateway-class", "mine")
    data = json.loads(result.stdout)
    assert (data["kind"], data["apiVersion"]) == ("List", "v1")
    found = {each["kind"]: each for each in data["items"]}
    assert found["GatewayClass"]["metadata"]["name"] == found["Gateway"]["spec"]["gatewayClassName"] == "mine"
    assert found["Gateway"]["metadata"] == {"name": "public", "namespace": "infra"}
    assert found["HTTPRoute"]["spec"]["parentRefs"] == [{"name": "public", "namespace": "infra"}]
    assert result.return_value == 0


def test_annotations_of_services_are_read_for_the_ingresses_that_lead_there(tmp_path: Path) -> None:
    prefix = "traefik.ingress.kubernetes.io/service."
    annotations = {prefix + "sticky.cookie": "true", prefix + "serverstransport": "x@file", "example.com/other": "x"}
    service = {
        "kind": "Service",
        "metadata": {"name": "web", "annotations": annotations},
        "spec": {"ports": [{"port": 80}]},
    }
    (tmp_path / "a.yaml").write_text(f"{ingress()}---\n{yaml.safe_dump({'apiVersion': 'v1', **service})}")
    result = run("-f", str(tmp_path))
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert f"Service/default/web metadata.annotations[{prefix}serverstransport]" in warnings[0]
    assert result.return_value == 1
    del annotations[prefix + "serverstransport"]
    (tmp_path / "a.yaml").write_text(f"{ingress()}---\n{yaml.safe_dump({'apiVersion': 'v1', **service})}")
    result = run("-f", str(tmp_path))
    (route,) = [each for each in yaml.safe_load_all(result.stdout) if each["kind"] == "HTTPRoute"]
    assert route["spec"]["rules"][0]["sessionPersistence"]["type"] == "Cookie"
    assert result.return_value == 0


def test_standard_input() -> None:
    result = run("-f", "-", text=ingress())
    assert [each["kind"] for each in yaml.safe_load_all(result.stdout)] == ["GatewayClass", "Gateway", "HTTPRoute"]
    assert "stdin:1: Ingress/default/web spec.ingressClassName: names no class" in result.stderr


def test_every_kind_that_is_printed_is_checked() -> None:
    annotations = {"nginx.ingress.kubernetes.io/ssl-passthrough": "true"}
    metadata = {"name": "in", "annotations": {"fairlead.dev/http3": "true"}}
    of = {"kind": "IngressClass", "metadata": metadata, "spec": {"controller": "k8s.io/ingress-nginx"}}
    passed = ingress(annotations=annotations).replace("spec:\n", "spec:\n  ingressClassName: in\n")
    result = run("-f", "-", text=f"{yaml.safe_dump(of)}---\n{passed}")
    kinds = {each["kind"] for each in yaml.safe_load_all(result.stdout)}
    assert kinds == {"GatewayClass", "Gateway", "ClientTrafficPolicy", "HTTPRoute", "TLSRoute"}
    assert (result.stderr, result.return_value) == ("", 0)


PROBLEMS = {
    "a port without its Service": (
        ingress().replace("number: 80", "name: http"),
        "port http: Service default/web is not in the input: the rule answers 500; add the Service to the input",
    ),
    "a guard": (
        ingress(annotations={"nginx.ingress.kubernetes.io/server-snippet": "x"}),
        "server-snippet]: is not supported; the Ingress answers 500",
    ),
    "a protocol": (
        ingress(annotations={"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}),
        "port 80 of Service default/web needs appProtocol: kubernetes.io/h2c",
    ),
    "certificates of clients": (
        ingress(annotations={"nginx.ingress.kubernetes.io/auth-tls-secret": "default/ca"}),
        "a Gateway wants them for a whole port, so what it became answers 500",
    ),
    "a path that the API does not take": (ingress().replace("path: /", "path: /a//b"), "is not valid: spec.rules[0]"),
    "an object that cannot be read": (
        ingress() + "---\nkind: Ingress\nmetadata: {name: b}\nspec: []\n",
        "Ingress/default/b",
    ),
}


@pytest.mark.parametrize("case", PROBLEMS, ids=str)
def test_what_has_no_equivalent_is_said_and_is_exit_code_1(case: str) -> None:
    text, words = PROBLEMS[case]
    result = run("-f", "-", text=text)
    assert words in result.stderr
    assert result.return_value == 1
    assert "HTTPRoute" in result.stdout


def test_wrong_input_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no Ingress in the input"):
        run("-f", "-", text="kind: Service\nmetadata: {name: a}\n")
    several = ingress(annotations={"kubernetes.io/ingress.class": "a"}) + "---\n"
    several += ingress(annotations={"kubernetes.io/ingress.class": "b"}).replace("name: web\n", "name: other\n", 1)
    with pytest.raises(UserError, match="several classes"):
        run("-f", "-", "--gateway", "a/b", text=several)
    with pytest.raises(Exception, match="NAMESPACE/NAME"):
        run("-f", "-", "--gateway", "b", text=ingress())

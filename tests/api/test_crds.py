"""The definitions of the Gateway API that Fairlead works with are complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from fairlead.api.crds import FOLDER

KINDS = """BackendTLSPolicy Gateway GatewayClass GRPCRoute HTTPRoute ListenerSet ReferenceGrant TCPRoute TLSRoute UDPRoute"""


CHANNEL = "gateway.networking.k8s.io/channel"


def _rule(definition: Any) -> set[str]:
    """Fields of one of `spec.rules`."""
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    return set(spec["rules"]["items"]["properties"]) if "rules" in spec and "items" in spec["rules"] else set()


def rules(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from (one["rule"] for one in schema.get("x-kubernetes-validations", ()))
        for value in schema.values():
            yield from rules(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from rules(item)


def test_the_standard_channel_of_the_gateway_api_is_complete() -> None:
    definitions = [yaml.load(path.read_text(), yaml.CSafeLoader) for path in FOLDER.glob("*.yaml")]
    gateway = [one for one in definitions if one["spec"]["group"] == "gateway.networking.k8s.io"]
    assert {one["spec"]["names"]["kind"] for one in gateway} == set(KINDS.split())
    channels = {one["spec"]["names"]["kind"]: one["metadata"]["annotations"][CHANNEL] for one in gateway}
    # Retries and sessions are the experimental channel's; without their fields the API server would drop them silently.
    assert {kind for kind, channel in channels.items() if channel != "standard"} == {"GRPCRoute", "HTTPRoute"}
    rules_of = {one["spec"]["names"]["kind"]: _rule(one) for one in gateway}
    assert {"retry", "sessionPersistence", "timeouts", "name"} <= rules_of["HTTPRoute"]
    assert {"sessionPersistence", "name"} <= rules_of["GRPCRoute"]
    assert sum(len(list(rules(one))) for one in gateway) > 200


def test_kubectl_explain_has_words_for_every_field_of_a_specification() -> None:
    for path in FOLDER.glob("*.yaml"):
        definition = yaml.load(path.read_text(), yaml.CSafeLoader)
        if definition["spec"]["group"] == "gateway.networking.k8s.io":
            for version in definition["spec"]["versions"]:
                schema = version["schema"]["openAPIV3Schema"]
                spec = schema["properties"]["spec"]
                silent = [name for name, field in spec["properties"].items() if not field.get("description")]
                assert schema["description"] and spec["description"] and not silent, (path.name, silent)

"""What a node's agent may read of Secrets: certificates, and what carries the label of credentials, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from apiserver_client import Http, acting_as

AGENT: dict[str, Any] = acting_as("fairlead:agent:node-1", "fairlead:agents")
LABEL = "fairlead.dev/credentials"
QUESTIONS = {
    "certificates": ("?fieldSelector=type%3Dkubernetes.io/tls", 200),
    "credentials": (f"?labelSelector={LABEL}", 200),
    "watched": (f"?labelSelector={LABEL}&watch=true&timeoutSeconds=1", 200),
    "all": ("", 403),
    "another label": ("?labelSelector=a", 403),
    "one label or none": (f"?labelSelector=!{LABEL}", 403),
    "another type": ("?fieldSelector=type%3DOpaque", 403),
    "one by name": ("/open", 403),
    "one by name with the label": (f"/open?labelSelector={LABEL}", 403),
}


@pytest.mark.parametrize("case", QUESTIONS, ids=str)
async def test_secrets_that_an_agent_may_read(http: Http, case: str) -> None:
    question, wanted = QUESTIONS[case]
    for name, labels in (("open", {LABEL: ""}), ("shut", {})):
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}}
        await http.ok("POST", "/api/v1/namespaces/default/secrets", body)
    scopes = ["/api/v1/namespaces/default/secrets"] + (["/api/v1/secrets"] if "/open" not in question else [])
    for scope in scopes:
        answer = await http("GET", f"{scope}{question}", **AGENT)
        assert answer.code == wanted
        if case == "credentials":
            assert answer.names == ["open"]

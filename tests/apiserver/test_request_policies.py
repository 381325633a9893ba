"""SecurityPolicies and TrafficPolicies before the API server: good ones are taken, bad ones are refused with the field at fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from apiserver_client import Http

from conftest import settings
from fairlead.api import crds
from fairlead.api.resources import SECURITYPOLICIES, TRAFFICPOLICIES
from fairlead.apiserver.server import Server

EXAMPLE = Path(__file__).parents[2] / "examples/gateway/policies.yaml"
ROUTE = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}"
JWKS = "localJWKS: {inline: '{}'}"
REMOTE = "remoteJWKS: {backendRef: {name: keys, port: 80}}"
GOOD = {
    "addresses": ("SecurityPolicy", "clientCIDRs: {allow: ['10.0.0.0/8', '2001:db8::/32']}"),
    "tokens": ("SecurityPolicy", f"jwt: {{providers: [{{name: a, issuer: i, {REMOTE}}}]}}"),
    "where clients sign in": (
        "SecurityPolicy",
        "extAuth: {headersToExtAuth: ['*'], http: {backendRef: {name: a, port: 80}, method: GET, headers: [{name: a, value: b c}], "
        "requestRedirect: 'https://$host$request_uri', signIn: {url: 'https://$host/start?x=y', redirectParam: rd}}}",
    ),
    "rates": ("TrafficPolicy", "rateLimit: {rules: [{requests: 1, by: Header, header: x-tenant}]}"),
}
BAD = {
    "no prefix": ("SecurityPolicy", "clientCIDRs: {allow: [10.0.0.0]}", "spec.clientCIDRs.allow"),
    "neither allow nor deny": ("SecurityPolicy", "clientCIDRs: {}", "spec.clientCIDRs"),
    "no keys": ("SecurityPolicy", "jwt: {providers: [{name: a, issuer: i}]}", "spec.jwt.providers[0]"),
    "two sets of keys": (
        "SecurityPolicy", f"jwt: {{providers: [{{name: a, issuer: i, {JWKS}, {REMOTE}}}]}}", "spec.jwt.providers[0]",
    ),
    "nobody decides": ("SecurityPolicy", "extAuth: {}", "spec.extAuth"),
    "another method": (
        "SecurityPolicy", "extAuth: {http: {backendRef: {name: a, port: 80}, method: PUT}}", "spec.extAuth.http.method",
    ),
    "no address": (
        "SecurityPolicy", "extAuth: {http: {backendRef: {name: a, port: 80}, signIn: {url: 'a b'}}}", "spec.extAuth.http.signIn.url",
    ),
    "unknown action": ("SecurityPolicy", "authorization: {rules: [{action: Maybe}]}", "spec.authorization.rules[0].action"),
    "unknown check": ("SecurityPolicy", "exempt: [everything]", "spec.exempt[0]"),
    "header without by": (
        "TrafficPolicy", "rateLimit: {rules: [{requests: 1, header: x}]}", "spec.rateLimit.rules[0]",
    ),
    "nothing at all": ("TrafficPolicy", "maxRequestBytes: 0", "spec.maxRequestBytes"),
    "an algorithm twice": ("TrafficPolicy", "compression: {algorithms: [Gzip, Gzip]}", "spec.compression.algorithms[1]"),
}  # fmt: skip
_STRICT = {"dryRun": "All", "fieldValidation": "Strict"}
_PATHS = {each.kind: each.path("default") for each in (SECURITYPOLICIES, TRAFFICPOLICIES)}


def _policy(kind: str, spec: str) -> dict[str, Any]:
    text = f"{{metadata: {{name: p}}, spec: {{targetRefs: [{ROUTE}], {spec}}}}}"
    return {"apiVersion": "fairlead.dev/v1alpha1", "kind": kind, **yaml.safe_load(text)}


async def test_good_policies_are_taken_and_bad_ones_refused_by_field(tmp_path: Path, certificates: Path) -> None:
    async with Server(settings(tmp_path / "lab", certificates, definitions=crds.FOLDER)) as server:
        http = Http(certificates, server.ports[0])
        try:
            for case, (kind, spec) in GOOD.items():
                answer = await http("POST", _PATHS[kind], _policy(kind, spec), params=_STRICT)
                assert answer.code == 201, (case, answer.body)
            for obj in yaml.safe_load_all(EXAMPLE.read_text()):
                if obj["kind"] in _PATHS:
                    del obj["metadata"]["namespace"]
                    answer = await http("POST", _PATHS[obj["kind"]], obj, params=_STRICT)
                    assert answer.code == 201, answer.body
            for case, (kind, spec, field) in BAD.items():
                answer = await http("POST", _PATHS[kind], _policy(kind, spec), params={"dryRun": "All"})
                assert answer.code == 422, (case, answer.body)
                assert field in [cause["field"] for cause in answer.body["details"]["causes"]], (case, answer.message)
            service = _policy("SecurityPolicy", "clientCIDRs: {allow: []}")
            service["spec"]["targetRefs"] = [{"group": "", "kind": "Service", "name": "s"}]
            answer = await http("POST", _PATHS["SecurityPolicy"], service, params={"dryRun": "All"})
            assert (
                "only Gateways, HTTPRoutes, GRPCRoutes, TLSRoutes, TCPRoutes and UDPRoutes are targets"
                in answer.message
            )
        finally:
            await http.close()

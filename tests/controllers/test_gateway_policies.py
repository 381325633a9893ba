"""Statuses of policies against the real API server, whose definitions take what they should and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.controllers.lab import lab
from tests.controllers.test_gateways import POOLS, RUN, conditions, made
from tests.pki import Authority

from fairlead.api import crds
from fairlead.api.resources import (
    BACKENDTLSPOLICIES,
    BACKENDTRAFFICPOLICIES,
    CLIENTTRAFFICPOLICIES,
    CONFIGMAPS,
    GATEWAYCLASSES,
    GATEWAYS,
    HTTPROUTES,
    SECRETS,
    SERVICES,
)
from fairlead.model.gateway.names import CONTROLLER
from fairlead.sources.errors import ApiError

REF = {"group": "", "kind": "Service", "name": "app"}
HASH = {"type": "ConsistentHash", "consistentHash": {"key": "Header", "header": "x-user"}}


async def test_policies_are_told_what_became_of_them(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        it.follow(BACKENDTRAFFICPOLICIES)

        def told(name: str) -> dict[str, tuple[str, str]]:
            ancestors = ((it.get(BACKENDTRAFFICPOLICIES, name) or {}).get("status") or {}).get("ancestors") or [{}]
            return {
                ancestors[0].get("ancestorRef", {}).get("kind", ""): conditions({"status": ancestors[0]}).get(
                    "Accepted", ("", "")
                )
            }

        for name in ("first", "second"):
            created = made(BACKENDTRAFFICPOLICIES, name, targetRefs=[REF], loadBalancing=HASH)
            await it.client.create(BACKENDTRAFFICPOLICIES, created)
        await it.until(lambda: told("first") == {"Service": ("False", "TargetNotFound")}, "there is no Service")
        await it.client.create(GATEWAYCLASSES, made(GATEWAYCLASSES, "fairlead", controllerName=CONTROLLER))
        listener = {"name": "http", "port": 80, "protocol": "HTTP"}
        await it.client.create(GATEWAYS, made(GATEWAYS, "web", gatewayClassName="fairlead", listeners=[listener]))
        await it.client.create(SERVICES, made(SERVICES, "app", ports=[{"port": 80}]))
        rule = {"backendRefs": [{"name": "app", "port": 80}]}
        await it.client.create(HTTPROUTES, made(HTTPROUTES, "r", parentRefs=[{"name": "web"}], rules=[rule]))
        await it.until(lambda: told("first") == {"Gateway": ("True", "Accepted")}, "applies")
        await it.until(lambda: told("second") == {"Gateway": ("False", "Conflicted")}, "loses")
        await it.client.delete(BACKENDTRAFFICPOLICIES, "first", namespace="default")
        await it.until(lambda: told("second") == {"Gateway": ("True", "Accepted")}, "applies now")
        wrong = {
            "only Services": {"targetRefs": [{**REF, "kind": "Pod"}]},
            "its own sectionName": {"targetRefs": [REF, REF]},
            "needs it": {"targetRefs": [REF], "loadBalancing": {"type": "ConsistentHash"}},
            "connectTimeout": {"targetRefs": [REF], "connectTimeout": "soon"},
        }
        for words, spec in wrong.items():
            with pytest.raises(ApiError, match=words):
                await it.client.create(BACKENDTRAFFICPOLICIES, made(BACKENDTRAFFICPOLICIES, "wrong", **spec))


async def test_tls_to_backends_is_told_what_is_missing(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        it.follow(BACKENDTLSPOLICIES)
        await it.client.create(GATEWAYCLASSES, made(GATEWAYCLASSES, "fairlead", controllerName=CONTROLLER))
        listener = {"name": "http", "port": 80, "protocol": "HTTP"}
        await it.client.create(GATEWAYS, made(GATEWAYS, "web", gatewayClassName="fairlead", listeners=[listener]))
        await it.client.create(SERVICES, made(SERVICES, "app", ports=[{"port": 80}]))
        rule = {"backendRefs": [{"name": "app", "port": 80}]}
        await it.client.create(HTTPROUTES, made(HTTPROUTES, "r", parentRefs=[{"name": "web"}], rules=[rule]))
        refs = [{"group": "", "kind": "ConfigMap", "name": "ca"}]
        validation = {"hostname": "app.example", "caCertificateRefs": refs}
        await it.client.create(
            BACKENDTLSPOLICIES, made(BACKENDTLSPOLICIES, "p", targetRefs=[REF], validation=validation)
        )

        def told() -> dict[str, tuple[str, str]]:
            ancestors = ((it.get(BACKENDTLSPOLICIES, "p") or {}).get("status") or {}).get("ancestors") or [{}]
            return conditions({"status": ancestors[0]})

        missing = {"Accepted": ("False", "NoValidCACertificate"), "ResolvedRefs": ("False", "InvalidCACertificateRef")}
        await it.until(lambda: told() == missing, "there is no ConfigMap")
        bundle = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca", "namespace": "default"}}
        await it.client.create(CONFIGMAPS, {**bundle, "data": {"ca.crt": Authority().pem}})
        good = {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}
        await it.until(lambda: told() == good, "the ConfigMap is there")


async def test_http3_is_a_port_of_the_service_and_a_condition(tmp_path: Path, certificates: Path) -> None:
    async with lab(tmp_path, certificates, RUN, nodes=1, settings=POOLS, definitions=crds.FOLDER) as it:
        it.follow(SERVICES)
        it.follow(GATEWAYS)
        await it.client.create(GATEWAYCLASSES, made(GATEWAYCLASSES, "fairlead", controllerName=CONTROLLER))
        pair = yaml.safe_load(Authority().issue("a.example").secret("pair"))
        await it.client.create(SECRETS, {"apiVersion": "v1", **pair})
        https = {"name": "https", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "pair"}]}}
        await it.client.create(GATEWAYS, made(GATEWAYS, "web", gatewayClassName="fairlead", listeners=[https]))

        def ports() -> list[tuple[int, str, int]]:
            spec = (it.get(SERVICES, "fairlead-gateway-web") or {"spec": {}})["spec"]
            return [(each["port"], each["protocol"], each["targetPort"]) for each in spec.get("ports", ())]

        def told() -> tuple[str, str] | None:
            listeners = ((it.get(GATEWAYS, "web") or {}).get("status") or {}).get("listeners") or [{}]
            return conditions({"status": listeners[0]}).get("fairlead.dev/HTTP3")

        tcp, udp = (443, "TCP", 20000), (443, "UDP", 20001)
        await it.until(lambda: ports() == [tcp] and told() is None, "TCP alone")
        ref = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web"}
        await it.client.create(CLIENTTRAFFICPOLICIES, made(CLIENTTRAFFICPOLICIES, "p", targetRefs=[ref], http3={}))
        await it.until(lambda: ports() == [tcp, udp] and told() == ("False", "Pending"), "UDP of the same number")
        for proxy, wanted, verdict in (
            ({"mode": "Required"}, [tcp], ("False", "ProxyProtocol")),
            (None, [tcp, udp], ("False", "Pending")),
        ):
            change = {"spec": {"proxyProtocol": proxy}}
            await it.client.patch(CLIENTTRAFFICPOLICIES, "p", change, namespace="default")
            await it.until(lambda w=wanted, v=verdict: ports() == w and told() == v, verdict[1])
        await it.client.delete(CLIENTTRAFFICPOLICIES, "p", namespace="default")
        await it.until(lambda: ports() == [tcp] and told() is None, "TCP alone again")

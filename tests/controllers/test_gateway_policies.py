"""Statuses of policies against the real API server, whose definitions take what they should and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.controllers.lab import lab
from tests.controllers.test_gateways import POOLS, RUN, conditions, made
from tests.pki import Authority

from fairlead.api import crds
from fairlead.api.resources import (
    BACKENDTLSPOLICIES,
    BACKENDTRAFFICPOLICIES,
    CONFIGMAPS,
    GATEWAYCLASSES,
    GATEWAYS,
    HTTPROUTES,
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

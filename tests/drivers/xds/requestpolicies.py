"""Routes with policies for tests by real requests."""

from __future__ import annotations

import asyncio
import http.client

from tests.drivers.xds.gatewaylab import GatewayLab

GROUP = "gateway.networking.k8s.io"


def route(name: str, rules: str = "[{backendRefs: [{name: one, port: 80}]}]", gateway: str = "web") -> str:
    return f"""
---
kind: HTTPRoute
metadata: {{name: {name}}}
spec: {{parentRefs: [{{name: {gateway}}}], hostnames: [{name}.example.com], rules: {rules}}}
"""


def policy(name: str, spec: str, *, kind: str = "SecurityPolicy", target: str = "", of: str = "HTTPRoute") -> str:
    ref = f"{{group: {GROUP}, kind: {of}, name: {target or name}}}"
    return f"""
---
kind: {kind}
metadata: {{name: {name}}}
spec:
  targetRefs: [{ref}]
  {spec}
"""


def secret(name: str, **entries: str) -> str:
    lines = "".join(f"  {key.replace('__', '.')}: |\n    {value}\n" for key, value in entries.items())
    return f"""
---
kind: Secret
metadata: {{name: {name}, labels: {{fairlead.dev/credentials: ''}}}}
stringData:
{lines}"""


async def status_from(
    lab: GatewayLab, source: str, host: str, *, path: str = "/", gateway: str = "web", **headers: str
) -> int:
    """Ask from an address of loopback, of either family."""

    def ask() -> int:
        target = "::1" if ":" in source else "127.0.0.1"
        port = lab.ports[gateway, 80]
        connection = http.client.HTTPConnection(target, port, timeout=10, source_address=(source, 0))
        try:
            connection.request("GET", path, headers={"Host": host, **headers})
            return connection.getresponse().status
        finally:
            connection.close()

    return await asyncio.to_thread(ask)

"""fairlead.dev/v1alpha1 GatewayParameters: what Gateways have no field for, named by a GatewayClass or a Gateway as its `parametersRef`."""

from __future__ import annotations

import msgspec

from fairlead.api.meta import ObjectMeta


class GatewayParametersSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """`spec` of GatewayParameters. What a Gateway's leave open is what its class's say."""

    proxy: str | None = None
    """`Dedicated`: each node has a proxy for the Gateway alone; `Shared`, as without it: one that serves all such Gateways."""


class GatewayParameters(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Settings of Gateways."""

    metadata: ObjectMeta
    spec: GatewayParametersSpec = GatewayParametersSpec()

"""What a connection is marked with, so that routes know which of a port's listeners took it. Pure. Source: envoy's filter state."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2

from fairlead.drivers.xds.pack import packed

CHAIN = "fairlead.chain"
"""Key of the mark, which is the chain's name."""


def marked(chain: str) -> Any:
    """Return a network filter that marks the connections of a chain."""
    text = base_pb2.DataSource(inline_string=chain.replace("%", "%%"))
    value = value_pb2.FilterStateValue(
        object_key=CHAIN,
        factory_key="envoy.string",
        format_string=substitution_format_string_pb2.SubstitutionFormatString(text_format_source=text),
        read_only=True,
    )
    return listener_components_pb2.Filter(
        name="envoy.filters.network.set_filter_state",
        typed_config=packed(set_filter_state_pb2.Config(on_new_connection=[value])),
    )

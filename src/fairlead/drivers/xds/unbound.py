"""Messages and fields of Envoy 1.40 that `xds-protos` does not know yet, or not as they are now.

Source: envoy.extensions.filters.http: filter_chain.v3, body_size_limit.v3, ext_authz.v3, composite.v3,
set_filter_state.v3; CircuitBreakers.Thresholds.RetryBudget, RateLimit.Action.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from envoy.config.core.v3 import extension_pb2
from envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2
from envoy.type.matcher.v3 import address_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2, message_factory, wrappers_pb2
from xds.core.v3 import cidr_pb2
from xds.type.matcher.v3 import matcher_pb2

_FIELD = descriptor_pb2.FieldDescriptorProto
_FILTERS = "envoy.extensions.filters.http"
_POOL = descriptor_pool.Default()


def _messages(package: str, *dependencies: str, **fields: tuple[str, str, bool, int]) -> dict[str, Any]:
    """Register messages of one field each: name → field, its type, whether it repeats, its number."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"fairlead/{package}.proto", package=f"{_FILTERS}.{package}", syntax="proto3", dependency=dependencies
    )
    for name, (field, kind, repeated, number) in fields.items():
        file.message_type.add(name=name).field.add(
            name=field,
            number=number,
            type=_FIELD.TYPE_MESSAGE,
            type_name=f".{kind}",
            label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL,
        )
    _POOL.Add(file)
    return {
        name: message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{file.package}.{name}")) for name in fields
    }


_EXTENSION = extension_pb2.TypedExtensionConfig.DESCRIPTOR
_CHAIN = f"{_FILTERS}.filter_chain.v3.FilterChain"
_chain = _messages(
    "filter_chain.v3",
    _EXTENSION.file.name,
    FilterChain=("filters", _EXTENSION.full_name, True, 1),
    FilterChainConfig=("default_filter_chain", _CHAIN, False, 1),
    FilterChainConfigPerRoute=("filter_chain", _CHAIN, False, 1),
)
_limit = _messages(
    "body_size_limit.v3",
    wrappers_pb2.DESCRIPTOR.name,
    BodySizeLimit=("max_request_bytes", wrappers_pb2.UInt32Value.DESCRIPTOR.full_name, False, 1),
)
_MATCHER = matcher_pb2.Matcher.DESCRIPTOR
_composite = _messages(
    "composite.v3",
    _EXTENSION.file.name,
    _MATCHER.file.name,
    Composite=("matcher", _MATCHER.full_name, False, 2),
    CompositePerRoute=("matcher", _MATCHER.full_name, False, 1),
    FilterChainConfiguration=("typed_config", _EXTENSION.full_name, True, 1),
    ExecuteFilterAction=("filter_chain", f"{_FILTERS}.composite.v3.FilterChainConfiguration", False, 4),
)
FilterChain, FilterChainConfig, FilterChainConfigPerRoute = _chain.values()
Composite, CompositePerRoute, FilterChainConfiguration, ExecuteFilterAction = _composite.values()
BodySizeLimit = _limit["BodySizeLimit"]
_INVERTED = bytes((2 << 3, 1))
"""`invert_match` of an AddressMatcher."""
_PATH_OVERRIDE, _BUDGET_INTERVAL, _REMOTE_ADDRESS_MATCH, _CLEAR_ROUTE = 10, 3, 13, 2


def clears_route() -> Any:
    """Return a filter that does nothing but have the route looked up again (`clear_route_cache` of set_filter_state)."""
    return set_filter_state_pb2.Config.FromString(bytes((_CLEAR_ROUTE << 3, 1)))


def override_path(service: Any, path: str) -> None:
    """Set `path_override` of an envoy.extensions.filters.http.ext_authz.v3.HttpService: the path that it is asked, whatever the request's."""
    _set(service, _PATH_OVERRIDE, path.encode())


def budget_interval(budget: Any, interval: Any) -> None:
    """Set `budget_interval` of a RetryBudget: of which while the requests are of which it is a part."""
    _set(budget, _BUDGET_INTERVAL, interval.SerializeToString())


def unless_from(action: Any, key: str, prefixes: Iterable[str]) -> Any:
    """Return a RateLimit.Action that was empty with its `remote_address_match`: an entry of this key, yes, for clients of other prefixes alone."""
    networks = [ipaddress.ip_network(each) for each in prefixes]
    ranges = [
        cidr_pb2.CidrRange(
            address_prefix=str(each.network_address), prefix_len=wrappers_pb2.UInt32Value(value=each.prefixlen)
        )
        for each in networks
    ]
    message = empty_pb2.Empty()
    matcher = address_pb2.AddressMatcher(ranges=ranges).SerializeToString() + _INVERTED
    for number, value in ((1, b"yes"), (2, key.encode()), (4, matcher)):
        _set(message, number, value)
    _set(action, _REMOTE_ADDRESS_MATCH, message.SerializeToString())
    return action


def _set(message: Any, number: int, value: bytes) -> None:
    """Set a field by its number: text, or a message as bytes."""
    wrapped = wrappers_pb2.BytesValue(value=value).SerializeToString()
    # The wrapper's only field has the number 1: what follows its tag is the value as any such field has it.
    message.MergeFromString(bytes((number << 3 | 2,)) + wrapped[1:])

"""Filters of listeners that find a host's scope, and those that are chosen when a request gets to them. Pure.

A request for a wildcard host, or for one written in capitals or with a port, has no scope at first, and so no route. The proxy decides which
filters it passes then, before it has one: all places are switched on in the listener, and a table switches those off that its routes do not
want. The first filter gives the request its scope, and each place asks the route of that moment what stands there. So a request that finds its
route late passes what one that finds it at once passes, and a table that says nothing lets nobody past. Source: envoy.extensions.filters.http.composite.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, extension_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from xds.core.v3 import extension_pb2 as xds_pb2
from xds.type.matcher.v3 import matcher_pb2, regex_pb2, string_pb2

from fairlead.drivers.xds import scopes
from fairlead.drivers.xds.pack import packed
from fairlead.drivers.xds.unbound import (
    Composite,
    CompositePerRoute,
    ExecuteFilterAction,
    FilterChain,
    FilterChainConfig,
    FilterChainConfiguration,
    clears_route,
)

FINDER = "fairlead.scope"
_PLAIN, ANY = "fairlead.scope.plain", "fairlead.scope.any"
_SCRIPT = """
function envoy_on_request(handle)
  local headers = handle:headers()
  local host = headers:get(":authority"):lower():gsub(":[^:%%]]*$", "")
  headers:replace("%s", "%s" .. host)
  handle:clearRouteCache()
end
"""


def place(name: str) -> Any:
    """Return an empty place; what stands there is what `chosen` says of the route."""
    return hcm_pb2.HttpFilter(name=name, typed_config=packed(Composite()))


def chosen(messages: Iterable[Any]) -> Any:
    """Return what stands at a place for a route: none of these filters but the last one may wait for something."""
    return packed(CompositePerRoute(matcher=_always(named(messages))))


def named(messages: Iterable[Any]) -> list[Any]:
    """Return filters that stand one after the other."""
    return [_named(f"{at}.{each.DESCRIPTOR.name}", each) for at, each in enumerate(messages)]


def nothing() -> Any:
    """Return that nothing stands at a place for a route, whatever its table says."""
    return packed(CompositePerRoute(matcher=matcher_pb2.Matcher()))


def finder(table: str) -> Any:
    """Return the filter that gives requests without a scope theirs: first that of the host in plain form, then that of wildcards.

    The second part is for requests that have no route by then: tables say so of theirs (`nothing`).
    """
    # A name is a value of the script, never a part of it.
    port = "".join(f"\\{byte:03d}" for byte in scopes.key(table, "").encode())
    script = _SCRIPT % (scopes.HEADER, port)
    plain = lua_pb2.Lua(default_source_code=base_pb2.DataSource(inline_string=script))
    odd = matcher_pb2.Matcher.MatcherList.FieldMatcher(
        predicate=matcher_pb2.Matcher.MatcherList.Predicate(
            single_predicate=matcher_pb2.Matcher.MatcherList.Predicate.SinglePredicate(
                input=xds_pb2.TypedExtensionConfig(
                    name="host",
                    typed_config=packed(http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=":authority")),
                ),
                value_match=string_pb2.StringMatcher(
                    safe_regex=regex_pb2.RegexMatcher(google_re2=regex_pb2.RegexMatcher.GoogleRE2(), regex=".*[A-Z:].*")
                ),
            )
        ),
        on_match=_action([_named("plain", plain)]),
    )
    wildcards = [_overwriting(scopes.HEADER, scopes.key(table, scopes.ANY)), clears_route()]
    parts = [
        _named(
            _PLAIN, Composite(matcher=matcher_pb2.Matcher(matcher_list=matcher_pb2.Matcher.MatcherList(matchers=[odd])))
        ),
        _named(ANY, Composite(matcher=_always(named(wildcards)))),
    ]
    config = FilterChainConfig(default_filter_chain=FilterChain(filters=parts))
    return hcm_pb2.HttpFilter(name=FINDER, typed_config=packed(config))


def _overwriting(name: str, value: str) -> Any:
    change = mutation_rules_pb2.HeaderMutation(
        append=base_pb2.HeaderValueOption(
            header=base_pb2.HeaderValue(key=name, value=value),
            append_action=base_pb2.HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
        )
    )
    return header_mutation_pb2.HeaderMutation(mutations=header_mutation_pb2.Mutations(request_mutations=[change]))


def _always(filters: Iterable[Any]) -> Any:
    return matcher_pb2.Matcher(on_no_match=_action(filters))


def _action(filters: Iterable[Any]) -> Any:
    action = ExecuteFilterAction(filter_chain=FilterChainConfiguration(typed_config=filters))
    return matcher_pb2.Matcher.OnMatch(action=xds_pb2.TypedExtensionConfig(name="filters", typed_config=packed(action)))


def _named(name: str, message: Any) -> Any:
    return extension_pb2.TypedExtensionConfig(name=name, typed_config=packed(message))

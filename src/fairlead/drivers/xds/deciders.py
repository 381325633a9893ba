"""Services that decide about requests, as Envoy asks them. Pure. Source: envoy.extensions.filters.http.ext_authz.v3, lua.v3.

Envoy takes 200 alone for consent. Services that are asked by HTTP have a cluster of their own therefore, whose filter reads what they answer:
any 2xx is 200, and where clients sign in somewhere, 401 is the redirect that leads there. The filter's script is always the same. What it has to
know stands in a header of the question, as a list of parts, which the script takes out; none of it comes from clients. An error in it leaves the
answer as it was: a refusal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2, grpc_service_pb2, http_uri_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from envoy.type.v3 import http_status_pb2

from fairlead.drivers.xds.pack import milliseconds, packed
from fairlead.drivers.xds.unbound import override_path
from fairlead.plan.gateway.composed import Composed, Text
from fairlead.plan.gateway.policy import ExternalAuth

_UNAVAILABLE = 503
_OVERWRITE = base_pb2.HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
_REDIRECT = "x-auth-request-redirect"
_TOLD: Mapping[str, str] = {
    "x-original-method": "%REQ(:METHOD)%",
    "x-original-url": "%REQ(X-FORWARDED-PROTO)%://%REQ(:AUTHORITY)%%REQ(:PATH)%",
    _REDIRECT: "%REQ(:PATH)%",
    "x-forwarded-method": "%REQ(:METHOD)%",
    "x-forwarded-host": "%REQ(:AUTHORITY)%",
    "x-forwarded-uri": "%REQ(:PATH)%",
}
"""What a service hears of the request where its path does not say it, in the words of ingress-nginx and of Traefik."""
_ALWAYS_TOLD = ("www-authenticate",)
"""What clients get of a refusal in any case; an empty list would let them get everything."""
_KIND = "content-type"
"""By which calls of gRPC are known, whose refusals are never redirects."""
_ASKS = "x-fairlead-asks"
_ALL = "*"
_NEVER_TOLD = (
    "accept-encoding", "connection", "content-length", "expect", "http2-settings", "if-match", "if-modified-since", "if-none-match", "if-range",
    "if-unmodified-since", "keep-alive", "proxy-connection", "range", "te", "trailer", "transfer-encoding", "upgrade",
)  # fmt: skip
"""Of all headers those of a connection, those that frame a message, and those that would change what answer there is."""
_NEVER_TOLD_FAMILIES = ("x-fairlead-", "x-envoy-")
"""How the names begin of what the proxy tells itself."""
_SCRIPT = """
local function escaped(text)
  return (text:gsub("[^%w._~-]", function(byte) return ("%%%02X"):format(byte:byte()) end))
end

local function visible(text)
  return (text:gsub("[^\\33-\\126]", function(byte) return ("%%%02X"):format(byte:byte()) end))
end

local function known(headers)
  local scheme, authority, uri = (headers:get("x-original-url") or ""):match("^(https?)://([^/]+)(/.*)$")
  if not scheme then return nil end
  local host, port = authority:lower():match("^([%w._-]+)(:?%d*)$")
  if not host then host, port = authority:lower():match("^(%[[%x:.]+%])(:?%d*)$") end
  if not host then return nil end
  return {
    scheme = scheme, host = host, http_host = host .. port,
    request_method = (headers:get("x-original-method") or ""):match("^%u+$"),
    request_uri = visible(uri), uri = visible(uri:match("^[^?]*")), escaped_request_uri = escaped(uri),
    escaped_url = escaped(scheme .. "://" .. host .. port .. uri),
  }
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local asks = headers:get("x-fairlead-asks") or ""
  headers:remove("x-fairlead-asks")
  local of_request, texts, name = nil, {}, nil
  for kind, rest in asks:gmatch("(%S)(%S*)") do
    if kind == "!" then
      headers:replace(":method", rest)
    elseif kind == "#" then
      of_request = of_request or known(headers)
      if not of_request then break end
      name = rest
      texts[name] = ""
    elseif kind == "=" then
      texts[name] = texts[name] .. rest
    elseif kind == "$" then
      texts[name] = texts[name] .. of_request[rest]
    end
  end
  if texts["redirect"] then headers:replace("x-auth-request-redirect", texts["redirect"]) end
  local grpc = (headers:get("content-type") or ""):lower():find("application/grpc", 1, true) == 1
  if texts["sign-in"] and not grpc and of_request.request_method ~= "OPTIONS" then
    handle:streamInfo():dynamicMetadata():set("fairlead.asks", "location", texts["sign-in"])
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get(":status")
  if status:match("^2%d%d$") then
    headers:replace(":status", "200")
  elseif status == "401" then
    local found = handle:streamInfo():dynamicMetadata():get("fairlead.asks")
    if found then
      headers:replace(":status", "302")
      headers:replace("location", found["location"])
      headers:remove("www-authenticate")
    end
  end
end
"""


def upstream_filters() -> list[Any]:
    """Return the filters of a cluster that is asked about requests."""
    lua = lua_pb2.Lua(default_source_code=base_pb2.DataSource(inline_string=_SCRIPT))
    return [
        hcm_pb2.HttpFilter(name="fairlead.asks", typed_config=packed(lua)),
        hcm_pb2.HttpFilter(
            name="envoy.filters.http.upstream_codec", typed_config=packed(upstream_codec_pb2.UpstreamCodec())
        ),
    ]


def told(auth: ExternalAuth) -> tuple[list[Any], list[Any]]:
    """Return what tells who decides of the request where its path does not, and what takes that back."""
    return ([_mutated(_TOLD)], [without(_TOLD)]) if _is_told(auth) else ([], [])


def decider(auth: ExternalAuth) -> Any:
    """Return the filter that asks."""
    message = ext_authz_pb2.ExtAuthz(
        transport_api_version=config_source_pb2.ApiVersion.V3,
        failure_mode_allow=auth.fail_open,
        status_on_error=http_status_pb2.HttpStatus(code=_UNAVAILABLE),
        stat_prefix="gateway",
    )
    if _ALL in auth.headers:
        message.allowed_headers.CopyFrom(
            _matching(string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=".*")))
        )
        families = (string_pb2.StringMatcher(prefix=each) for each in _NEVER_TOLD_FAMILIES)
        message.disallowed_headers.CopyFrom(_matching(*families, *_names(_NEVER_TOLD).patterns))
    elif auth.headers:
        more = (*(_TOLD if _is_told(auth) else ()), *([_KIND] if auth.sign_in else []))
        message.allowed_headers.CopyFrom(_names((*auth.headers, *more)))
    if auth.body_bytes:
        message.with_request_body.max_request_bytes = auth.body_bytes
    if auth.grpc:
        target = grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=auth.cluster, authority=auth.host)
        message.grpc_service.CopyFrom(
            grpc_service_pb2.GrpcService(envoy_grpc=target, timeout=milliseconds(auth.timeout_ms))
        )
        return message
    answer = ext_authz_pb2.AuthorizationResponse(allowed_client_headers=_names((*_ALWAYS_TOLD, *auth.to_client)))
    if auth.to_backend:
        answer.allowed_upstream_headers.CopyFrom(_names(auth.to_backend))
    if auth.to_client_passed:
        answer.allowed_client_headers_on_success.CopyFrom(_names(auth.to_client_passed))
    message.http_service.CopyFrom(
        ext_authz_pb2.HttpService(
            server_uri=http_uri_pb2.HttpUri(
                uri=f"http://{auth.host}", cluster=auth.cluster, timeout=milliseconds(auth.timeout_ms)
            ),
            path_prefix=auth.path,
            authorization_request=ext_authz_pb2.AuthorizationRequest(headers_to_add=_own(auth)),
            authorization_response=answer,
        )
    )
    if auth.full_path:
        override_path(message.http_service, auth.full_path)
    return message


def without(names: Iterable[str]) -> Any:
    """Return the filter that takes headers out of requests."""
    return _changing(mutation_rules_pb2.HeaderMutation(remove=each) for each in names)


def _is_told(auth: ExternalAuth) -> bool:
    return bool(auth.full_path or auth.sign_in or auth.redirect)


def _own(auth: ExternalAuth) -> Iterator[Any]:
    """Yield the headers of the question that are not the request's. They take the place of the request's own."""
    for name, value in auth.own_headers:
        # A percent sign begins a command of the proxy: values are meant literally.
        yield base_pb2.HeaderValue(key=name, value=value.replace("%", "%%"))
    asks = " ".join(_asks(auth))
    yield base_pb2.HeaderValue(key=_ASKS, value=asks.replace("%", "%%") or "-")


def _asks(auth: ExternalAuth) -> Iterator[str]:
    """Yield what the script has to know, each without blanks: `!METHOD`; `#NAME` and the parts of its text, `=TEXT` or `$VARIABLE`."""
    if auth.method:
        yield f"!{auth.method}"
    named: tuple[tuple[str, Composed], ...] = (("redirect", auth.redirect), ("sign-in", auth.sign_in))
    for name, parts in named:
        if parts:
            yield f"#{name}"
            yield from (f"={each.text}" if isinstance(each, Text) else f"${each.variable}" for each in parts)


def _mutated(values: Mapping[str, str]) -> Any:
    return _changing(
        mutation_rules_pb2.HeaderMutation(
            append=base_pb2.HeaderValueOption(
                header=base_pb2.HeaderValue(key=name, value=value), append_action=_OVERWRITE
            )
        )
        for name, value in values.items()
    )


def _changing(changes: Iterable[Any]) -> Any:
    return header_mutation_pb2.HeaderMutation(mutations=header_mutation_pb2.Mutations(request_mutations=changes))


def _names(names: Iterable[str]) -> Any:
    return _matching(*(string_pb2.StringMatcher(exact=each.lower(), ignore_case=True) for each in names))


def _matching(*patterns: Any) -> Any:
    return string_pb2.ListStringMatcher(patterns=patterns)

"""Whom our Gateway is measured against, as the commands that start them: the same Envoy with what a person would write, nginx and haproxy.

The hand-written configurations have what Envoy's documentation advises at the edge, with our retries and our way of sharing requests out. One is
of a single host, one of as many as ours has; both count all that Envoy counts by default, and a third, of a single host, nothing. They have neither
what removes forged headers nor places for policies.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fairlead.drivers.xds.process import package

ONE_HOST, AS_MANY, SILENT = "hand-written", "hand-written, as many hosts", "hand-written, no counters"
_OTHERS = ("nginx", "haproxy")
"""Programs that are Debian packages of the same name."""
_TYPE = "type.googleapis.com/"
_NOWHERE = 1
"""Port of the backends that are never asked."""


def absent() -> list[str]:
    """Return what to say of peers that are not installed."""
    missing = [each for each in _OTHERS if shutil.which(each, path=_path()) is None]
    return [f"{each} is not there and not measured; apt-get install {each}" for each in missing]


def envoys(folder: Path, hosts: Sequence[str], backend_port: int) -> dict[str, Callable[[int], list[str]]]:
    """Return the hand-written configurations by name, each as the command for a port; requests for the first host reach the backend."""
    one, clusters = {hosts[0]: _to("backend")}, [_cluster("backend", backend_port)]
    many = {host: _to(f"backend-{at}") for at, host in enumerate(hosts)}
    theirs = [_cluster(f"backend-{at}", _NOWHERE if at else backend_port) for at in range(len(hosts))]
    return {
        ONE_HOST: lambda port: _envoy(folder, port, one, clusters),
        AS_MANY: lambda port: _envoy(folder, port, many, theirs),
        SILENT: lambda port: _envoy(folder, port, one, clusters, counts=False),
    }


def others(folder: Path, backend_port: int) -> dict[str, Callable[[int], list[str]]]:
    """Return the other servers that are installed, each as the command for a port."""
    found: dict[str, Callable[[int], list[str]]] = {}
    if program := shutil.which("nginx", path=_path()):
        found["nginx"] = lambda port: _nginx(program, folder, port, backend_port)
    if other := shutil.which("haproxy", path=_path()):
        found["haproxy"] = lambda port: _haproxy(other, folder, port, backend_port)
    return found


def backend(folder: Path, port: int) -> list[str]:
    """Return the command of what answers every request by itself."""
    answer = {"status": 200, "body": {"inline_string": "hello\n"}}
    return _envoy(folder, port, {"*": {"match": {"prefix": "/"}, "direct_response": answer}}, [])


def _to(cluster: str) -> dict[str, Any]:
    """Return the route of all requests of a host."""
    others = f"{_TYPE}envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    retries = {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": 5,
        "retry_host_predicate": [
            {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": others}}
        ],
        "host_selection_retry_max_attempts": 10,
    }
    return {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s", "retry_policy": retries}}


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _envoy(
    folder: Path,
    port: int,
    hosts: Mapping[str, dict[str, Any]],
    clusters: Sequence[dict[str, Any]],
    *,
    counts: bool = True,
) -> list[str]:
    """Return an Envoy of some hosts, each with its route, as its documentation advises for proxies at the edge."""
    router: dict[str, Any] = {"@type": f"{_TYPE}envoy.extensions.filters.http.router.v3.Router"}
    if not counts:
        router["dynamic_stats"] = False
    manager = {
        "@type": f"{_TYPE}envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "common_http_protocol_options": {"idle_timeout": "300s", "headers_with_underscores_action": "REJECT_REQUEST"},
        "stream_idle_timeout": "300s",
        "request_headers_timeout": "10s",
        "route_config": {
            "virtual_hosts": [{"name": each, "domains": [each], "routes": [route]} for each, route in hosts.items()]
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {"name": "edge", "address": _address(port), "filter_chains": [{"filters": filters}]}
    config: dict[str, Any] = {"static_resources": {"listeners": [listener], "clusters": clusters}}
    if not counts:
        config["stats_config"] = {"stats_matcher": {"reject_all": True}}
    path = folder / f"envoy-{port}.json"
    path.write_bytes(msgspec.json.encode(config))
    return [
        str(package()[0]),
        "-c",
        str(path),
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "--log-level",
        "error",
    ]


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]
    assignment = {"cluster_name": name, "endpoints": endpoints}
    return {
        "name": name,
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "5s",
        "load_assignment": assignment,
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _nginx(program: str, folder: Path, port: int, backend_port: int) -> list[str]:
    places = "".join(
        f"{each}_temp_path {folder}/nginx-{each};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = folder / "nginx.conf"
    path.write_text(
        f"""daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; {places}
  upstream backend {{ server 127.0.0.1:{backend_port}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
    }}
  }}
}}
"""
    )
    return [program, "-e", f"{folder}/nginx.log", "-c", str(path)]


def _haproxy(program: str, folder: Path, port: int, backend_port: int) -> list[str]:
    path = folder / "haproxy.cfg"
    path.write_text(
        f"""global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
listen edge
  bind 127.0.0.1:{port}
  server backend 127.0.0.1:{backend_port}
"""
    )
    return [program, "-db", "-q", "-f", str(path)]

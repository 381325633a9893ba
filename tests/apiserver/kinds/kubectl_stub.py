"""An HTTP server that holds nothing: discovery and documents from `kinds`, and every written body kept for the test to see."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fairlead.apiserver.kinds import openapi, protobuf
from fairlead.apiserver.kinds.registry import KINDS

V2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


class Stub:
    """What clients wrote (`bodies`: content type and bytes) and asked for (`asked`: paths)."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        self.asked: list[str] = []
        self.url = ""

    def objects(self) -> list[dict[str, Any]]:
        return [protobuf.decode(body) if "protobuf" in kind else json.loads(body) for kind, body in self.bodies]

    def answer(self, path: str, accept: str) -> tuple[str, bytes] | None:
        parts = path.strip("/").split("/")
        groups: dict[str, list[str]] = {}
        for kind in KINDS:
            if kind.resource.group:
                versions = groups.setdefault(kind.resource.group, [])
                if kind.resource.version not in versions:
                    versions.append(kind.resource.version)
        match parts:
            case ["version"]:
                return _json({"major": "1", "minor": "33", "gitVersion": "v1.33.0"})
            case ["api"]:
                return _json({"kind": "APIVersions", "versions": ["v1"]})
            case ["apis"]:
                listed = []
                for name, versions in groups.items():
                    entries = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
                    listed.append({"name": name, "versions": entries, "preferredVersion": entries[0]})
                return _json({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed})
            case ["api", _] | ["apis", _, _]:
                return _json(_resources("/".join(parts)))
            case ["openapi", "v2"]:
                return (V2, openapi.v2_protobuf()) if "protobuf" in accept else ("application/json", openapi.v2_json())
            case ["openapi", "v3"]:
                return _json(openapi.v3_index())
            case ["openapi", "v3", *rest]:
                return "application/json", openapi.v3_document("/".join(rest))
        return None


def _json(value: Any) -> tuple[str, bytes]:
    return "application/json", json.dumps(value).encode()


def _resources(group_version: str) -> dict[str, Any]:
    listed = [
        {
            "name": kind.resource.plural,
            "singularName": kind.singular,
            "namespaced": kind.resource.namespaced,
            "kind": kind.resource.kind,
            "verbs": list(kind.verbs),
            "shortNames": list(kind.short_names),
        }
        for kind in KINDS
        if kind.resource.prefix.strip("/") == group_version
    ]
    return {"kind": "APIResourceList", "groupVersion": group_version.split("/", 1)[1], "resources": listed}


@contextmanager
def serving() -> Iterator[Stub]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            stub.asked.append(path)
            found = stub.answer(path, self.headers.get("Accept", ""))
            if found is None:
                self._send(
                    404,
                    *_json(
                        {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
                    ),
                )
            else:
                self._send(200, *found)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content_type = self.headers.get("Content-Type", "")
            stub.bodies.append((content_type, body))
            obj = protobuf.decode(body) if "protobuf" in content_type else json.loads(body)
            self._send(201, *_json(obj))

        do_PUT = do_PATCH = do_DELETE = do_POST

        def _send(self, code: int, content_type: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

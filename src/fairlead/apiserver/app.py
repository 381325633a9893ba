"""Every request, from its connection to its answer: who asks, about what, may they; and no defect ever shows its insides."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from aiohttp import web

from fairlead.apiserver import errors
from fairlead.apiserver.api import Api, Json
from fairlead.apiserver.authn.authenticator import Authenticator
from fairlead.apiserver.authz import question
from fairlead.apiserver.discovery import Discovery
from fairlead.apiserver.http import answers, info
from fairlead.apiserver.http.connection import Connection
from fairlead.apiserver.kubelet import KubeletRequests
from fairlead.apiserver.openapi import OpenApi
from fairlead.apiserver.resources import Resources
from fairlead.apiserver.store.records import Unavailable

log = logging.getLogger(__name__)

VERSION: Json = {
    "major": "1",
    "minor": "33",
    "emulationMajor": "1",
    "emulationMinor": "33",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "32",
    "gitVersion": "v1.33.0+fairlead",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2025-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "python",
    "platform": "linux/amd64",
}
_ROOT_PATHS = (
    "/.well-known/openid-configuration",
    "/api",
    "/apis",
    "/healthz",
    "/livez",
    "/openapi/v2",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/version",
)


class App:
    """Answers requests."""

    def __init__(self, api: Api, kubelets: KubeletRequests, address: str) -> None:
        self._api = api
        self._resources = Resources(api, kubelets)
        self._discovery = Discovery(api.catalog, address)
        self._openapi = OpenApi(api.catalog)
        self._authenticator = Authenticator(api.tokens, api.authorizer)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the answer; never raises but for cancellation."""
        try:
            return await self._handle(request)
        except errors.StatusError as error:
            return answers.of_error(error)
        except Unavailable as error:
            return answers.of_error(errors.internal(f"the store refused the write: {error}"))
        except (ConnectionError, asyncio.CancelledError):
            raise
        except RecursionError:
            return answers.of_error(errors.bad_request("the object is nested too deeply"))
        except Exception as error:
            log.exception("request failed", extra={"method": request.method, "path": request.path})
            return answers.of_error(errors.internal(f"{type(error).__name__} while handling the request"))

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        identity = self._authenticator.identity(request, cast(Connection, request.protocol).identity)
        path = request.rel_url.raw_path
        about = info.parse(request.method, path, request.query)
        if about is not None:
            self._api.authorizer.require(identity, question.of_resource(about, request.query))
            return await self._resources.handle(request, about, identity)
        self._api.authorizer.require(identity, question.of_path(request.method, path))
        return self._other(request, path)

    def _other(self, request: web.BaseRequest, path: str) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            raise errors.method_not_allowed()
        parts = [part for part in path.split("/") if part]
        match parts:
            case ["api" | "apis", *_]:
                return self._discovery.handle(request, parts)
            case ["healthz" | "livez" | "readyz", *_]:
                return web.Response(text="ok")
            case ["version"]:
                return answers.of_object(VERSION)
            case [".well-known", "openid-configuration"]:
                return answers.of_object(self._api.tokens.discovery())
            case ["openid", "v1", "jwks"]:
                response = answers.of_object(self._api.tokens.keys())
                response.headers["Content-Type"] = "application/jwk-set+json"
                return response
            case ["openapi", *rest]:
                return self._openapi.handle(request, rest)
            case []:
                return answers.of_object({"paths": sorted({*_ROOT_PATHS, *self._group_paths()})})
            case _:
                raise errors.no_such_path()

    def _group_paths(self) -> set[str]:
        return {served.resource.prefix for served in self._api.catalog}

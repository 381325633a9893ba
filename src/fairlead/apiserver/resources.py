"""Requests to resources: from what a request is about to the verb that does it, and the answer in the form asked for."""

from __future__ import annotations

import sys

from aiohttp import web

from fairlead.apiserver import errors
from fairlead.apiserver.api import Api, Call, Json, dry_run_of
from fairlead.apiserver.fairness import Fairness, seats_of
from fairlead.apiserver.http import answers, body
from fairlead.apiserver.http.forms import Encoding
from fairlead.apiserver.http.info import RequestInfo, number
from fairlead.apiserver.http.negotiation import negotiate
from fairlead.apiserver.identity import Identity
from fairlead.apiserver.kubelet import KubeletRequests
from fairlead.apiserver.metadata import settle_identity
from fairlead.apiserver.verbs import (
    bind,
    collection,
    connect,
    delete,
    patching,
    read,
    reviews,
    scale,
    token,
    update,
    watching,
)
from fairlead.apiserver.verbs.create import create
from fairlead.apiserver.verbs.decoding import decode_for

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_MERGED_SUBRESOURCES = frozenset({"status", "ephemeralcontainers", "resize", "approval"})


class Resources:
    """Answers every request below /api and /apis that names a resource."""

    def __init__(self, api: Api, kubelets: KubeletRequests) -> None:
        self._api = api
        self._kubelets = kubelets
        self._fairness = Fairness()

    async def handle(self, request: web.BaseRequest, info: RequestInfo, identity: Identity) -> web.StreamResponse:
        """Return the answer; raises StatusError."""
        review = reviews.REVIEWS.get((info.group, info.plural))
        if review is not None:
            return await self._review(request, info, identity)
        if (info.group, info.version, info.plural) == ("", "v1", "bindings") and info.verb == "create":
            return await self._bind(request, info, identity)
        served = self._api.catalog.find(info.group, info.version, info.plural)
        if served is None or (info.namespace is not None and not served.resource.namespaced):
            raise errors.no_such_path()
        call = Call(
            served=served,
            info=info,
            identity=identity,
            query=request.query,
            user_agent=request.headers.get("User-Agent", ""),
            dry_run=info.verb in _WRITES and dry_run_of(request.query.getall("dryRun", [])),
            warnings=[served.deprecation] if served.deprecation else [],
        )
        if info.subresource and info.subresource not in served.kind.subresources:
            raise errors.no_such_path()
        seats = seats_of(info.verb, info.subresource, self._objects(call))
        flow = self._fairness.flow(identity.user)
        await flow.enter(seats)
        try:
            return await (self._subresource if info.subresource else self._verb)(request, call)
        finally:
            flow.leave(seats)

    def _objects(self, call: Call) -> int:
        """Return how many objects a list is made of."""
        limit = number(call.query, "limit") or sys.maxsize
        return min(limit, len(self._api.store.table(call.served.table).entries))

    # Objects and collections.

    async def _verb(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        api, info = self._api, call.info
        if info.verb not in call.served.kind.verbs:
            raise errors.method_not_allowed()
        encoding = self._encoding(request, call)
        match info.verb:
            case "get":
                return answers.of_result(read.get(api, call), encoding, warnings=call.warnings)
            case "list":
                page = read.list_page(api, call)
                return answers.of_list(
                    encoding.page(page.entries, page.metadata), encoding.form, warnings=call.warnings
                )
            case "watch":
                return await watching.watch(api, call, request, encoding)
            case "create":
                self._needs_namespace(call)
                if info.name:
                    raise errors.method_not_allowed()
                obj = decode_for(call, body.media_type(request), await body.read(request))
                entry = await create(api, call, obj)
                return answers.of_result(entry, encoding, code=201, warnings=call.warnings)
            case "update":
                self._needs_name(call)
                return await self._put(request, call, encoding)
            case "patch":
                self._needs_name(call)
                return await self._patch(request, call, encoding)
            case "delete":
                self._needs_name(call)
                wanted = await self._delete_options(request, call)
                code, result = await delete.delete(api, call, wanted)
                return answers.of_result(result, encoding, code=code, warnings=call.warnings)
            case "deletecollection":
                wanted = await self._delete_options(request, call)
                page = await collection.delete_collection(api, call, wanted)
                return answers.of_list(encoding.page(page.entries, page.metadata), encoding.form)
            case _:
                raise errors.method_not_allowed()

    async def _put(self, request: web.BaseRequest, call: Call, encoding: Encoding) -> web.StreamResponse:
        obj = decode_for(call, body.media_type(request), await body.read(request))
        settle_identity(call.served, obj, call.namespace, call.info.name)
        entry = await update.update(self._api, call, update.replacement(obj), unconditional=False)
        return answers.of_result(entry, encoding, warnings=call.warnings)

    async def _patch(self, request: web.BaseRequest, call: Call, encoding: Encoding) -> web.StreamResponse:
        content = await body.read(request)
        code, entry = await patching.patch(self._api, call, body.media_type(request), content)
        return answers.of_result(entry, encoding, code=code, warnings=call.warnings)

    async def _delete_options(self, request: web.BaseRequest, call: Call) -> delete.Options:
        content = await body.read(request)
        given: Json = {}
        if content.strip():
            given = body.decode_object(content, body.media_type(request), "DeleteOptions")
        wanted = delete.options(given, request.query)
        call.dry_run = call.dry_run or dry_run_of(list(wanted.dry_run))
        return wanted

    # Subresources.

    async def _subresource(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        info = call.info
        if info.subresource in _MERGED_SUBRESOURCES:
            return await self._merged(request, call)
        match (call.served.table, info.subresource):
            case (_, "scale"):
                return await self._scale(request, call)
            case ("pods", "binding"):
                return await self._bind(request, info, call.identity)
            case ("pods", "eviction"):
                self._needs_verb(call, "create")
                obj = body.decode_object(await body.read(request), body.media_type(request), "Eviction")
                call.dry_run = call.dry_run or dry_run_of((obj.get("deleteOptions") or {}).get("dryRun") or [])
                return answers.of_object(await bind.evict(self._api, call, obj), code=201)
            case ("serviceaccounts", "token"):
                self._needs_verb(call, "create")
                obj = body.decode_object(await body.read(request), body.media_type(request), "TokenRequest")
                return answers.of_object(await token.request(self._api, call, obj), code=201)
            case ("namespaces", "finalize"):
                self._needs_verb(call, "update")
                return await self._put(request, call, self._encoding(request, call))
            case ("pods", "log" | "exec" | "attach" | "portforward" | "proxy") | ("nodes" | "services", "proxy"):
                await connect.admit(self._api, call, request.query)
                return await self._kubelets.handle(request, call)
            case ("serviceaccounts", "token"):
                raise errors.not_implemented("tokens of service accounts are not issued yet")
            case _:
                raise errors.no_such_path()

    async def _merged(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        encoding = self._encoding(request, call)
        match call.info.verb:
            case "get":
                return answers.of_result(read.get(self._api, call), encoding)
            case "update":
                return await self._put(request, call, encoding)
            case "patch":
                return await self._patch(request, call, encoding)
            case _:
                raise errors.method_not_allowed()

    async def _scale(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        api = self._api
        match call.info.verb:
            case "get":
                found = scale.scale_of(call, read.get(api, call))
            case "update":
                obj = body.decode_object(await body.read(request), body.media_type(request), "Scale")
                found = await scale.replace(api, call, obj)
            case "patch":
                found = await scale.patch(api, call, body.media_type(request), await body.read(request))
            case _:
                raise errors.method_not_allowed()
        return answers.of_object(found, warnings=call.warnings)

    async def _bind(self, request: web.BaseRequest, info: RequestInfo, identity: Identity) -> web.StreamResponse:
        if info.verb != "create":
            raise errors.method_not_allowed()
        served = self._api.catalog.find("", "v1", "pods")
        assert served is not None, "pods are always served"
        binding = body.decode_object(await body.read(request), body.media_type(request), "Binding")
        name = info.name or (binding.get("metadata") or {}).get("name") or ""
        about = RequestInfo(
            verb="create",
            group="",
            version="v1",
            plural="pods",
            namespace=info.namespace,
            name=name,
            subresource="binding",
        )
        dry_run = dry_run_of(request.query.getall("dryRun", []))
        call = Call(served=served, info=about, identity=identity, query=request.query, dry_run=dry_run)
        return answers.of_object(await bind.bind(self._api, call, binding), code=201)

    async def _review(self, request: web.BaseRequest, info: RequestInfo, identity: Identity) -> web.StreamResponse:
        if info.verb != "create":
            raise errors.method_not_allowed()
        obj = body.decode_object(await body.read(request), body.media_type(request), "review")
        return answers.of_object(reviews.answer(self._api, info, identity, obj), code=201)

    # Checks.

    def _encoding(self, request: web.BaseRequest, call: Call) -> Encoding:
        form = negotiate(request.headers.get("Accept", ""), call.query.get("includeObject", ""))
        return Encoding(call.served, form)

    def _needs_name(self, call: Call) -> None:
        if not call.info.name:
            raise errors.method_not_allowed()
        self._needs_namespace(call)

    def _needs_namespace(self, call: Call) -> None:
        if call.served.resource.namespaced and not call.info.namespace:
            raise errors.method_not_allowed()

    def _needs_verb(self, call: Call, verb: str) -> None:
        if call.info.verb != verb:
            raise errors.method_not_allowed()

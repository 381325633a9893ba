"""Watch: a stream of changes to one client, from where it says it left off.

Source: KEP-3157 (sendInitialEvents), KEP-956 (bookmarks). A client that does not read is cut off; one that asks for too old a revision
is told 410 as an ERROR event, as the real server's watch cache does.
"""

from __future__ import annotations

import asyncio
import random

from aiohttp import web

from fairlead.apiserver.api import Api, Call
from fairlead.apiserver.errors import bad_request, expired, invalid
from fairlead.apiserver.http.forms import Encoding
from fairlead.apiserver.http.info import flag, number
from fairlead.apiserver.store.records import Compacted, Entry, encode, watch_line
from fairlead.apiserver.store.selection import FieldRequirement, Selection
from fairlead.apiserver.store.watch import Watcher
from fairlead.apiserver.verbs.read import parse_revision, selection

BOOKMARK_S = 60.0
_TIMEOUT_S = (1800.0, 3600.0)
_CHUNK_BYTES = 256 << 10


async def watch(api: Api, call: Call, request: web.BaseRequest, encoding: Encoding) -> web.StreamResponse:
    """Answer with a stream of events until the client leaves, `timeoutSeconds` pass or the client is too slow."""
    wanted = selection(call)
    if call.info.name:
        wanted = Selection(
            wanted.namespace, wanted.labels, (*wanted.fields, FieldRequirement("metadata.name", call.info.name, True))
        )
    initial, since, bookmarked = _start(api, call)
    bookmarks = flag(call.query, "allowWatchBookmarks")
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-cache, private"})
    response.enable_chunked_encoding()
    try:
        if since is not None and since > api.store.revision:
            # Revisions of the future are those of a store that is no more; 410 makes clients list again.
            raise Compacted(since, api.store.revision)
        watcher = api.store.watch(call.served.table, wanted, since=since)
    except Compacted as error:
        await response.prepare(request)
        await response.write(watch_line("ERROR", encode(expired(str(error)).status)))
        await response.write_eof()
        return response
    entries = api.store.entries(call.served.table, call.info.namespace) if initial else []
    revision = api.store.revision
    watcher.on_overflow = lambda: request.transport.abort() if request.transport is not None else None
    try:
        await response.prepare(request)
        await _send_initial(response, [entry for entry in entries if wanted.matches(entry)], encoding)
        if bookmarked and bookmarks:
            await response.write(watch_line("BOOKMARK", encoding.bookmark(revision, initial_end=True)))
        await _send_changes(api, call, response, watcher, encoding, bookmarks=bookmarks)
        await response.write_eof()
    except (ConnectionResetError, ConnectionError):
        pass
    finally:
        watcher.close()
    return response


def _start(api: Api, call: Call) -> tuple[bool, int | None, bool]:
    """Return whether to send the state first, after which revision to go on, and whether a bookmark ends the state."""
    query = call.query
    given = query.get("resourceVersion") or ""
    match = query.get("resourceVersionMatch") or ""
    if "sendInitialEvents" in query:
        wants = flag(query, "sendInitialEvents")
        if match != "NotOlderThan":
            message = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise invalid("ListOptions", "meta.k8s.io", "", [("resourceVersionMatch", "FieldValueForbidden", message)])
        if wants:
            return True, None, True
        return False, parse_revision(given) if given not in ("", "0") else None, False
    if match:
        message = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        raise invalid("ListOptions", "meta.k8s.io", "", [("resourceVersionMatch", "FieldValueForbidden", message)])
    if call.query.get("continue"):
        raise bad_request("continue is not allowed for watch")
    if given in ("", "0"):
        return True, None, False
    return False, parse_revision(given), False


async def _send_initial(response: web.StreamResponse, entries: list[Entry], encoding: Encoding) -> None:
    pending: list[bytes] = []
    size = 0
    for entry in entries:
        line = watch_line("ADDED", encoding.entry(entry))
        pending.append(line)
        size += len(line)
        if size > _CHUNK_BYTES:
            await response.write(b"".join(pending))
            pending, size = [], 0
    if pending:
        await response.write(b"".join(pending))


async def _send_changes(
    api: Api, call: Call, response: web.StreamResponse, watcher: Watcher, encoding: Encoding, *, bookmarks: bool
) -> None:
    loop = asyncio.get_running_loop()
    timeout = number(call.query, "timeoutSeconds")
    end = loop.time() + (timeout if timeout else random.uniform(*_TIMEOUT_S))
    bookmark_at = loop.time() + BOOKMARK_S * random.uniform(0.8, 1.0)
    form, encoder = encoding.key, encoding.encoder
    while True:
        now = loop.time()
        changes = await watcher.wait(max(0.0, min(end, bookmark_at) - now))
        if changes:
            await response.write(b"".join([change.line(type, form, encoder) for type, change in changes]))
        elif watcher.stopped:
            return
        now = loop.time()
        ending = now >= end
        if bookmarks and (now >= bookmark_at or ending):
            # Everything up to the store's revision has been offered, and what was offered has been sent.
            if watcher.idle:
                await response.write(watch_line("BOOKMARK", encoding.bookmark(api.store.revision, initial_end=False)))
            bookmark_at = now + BOOKMARK_S
        elif now >= bookmark_at:
            bookmark_at = now + BOOKMARK_S
        if ending:
            return

"""Delete a collection: every object that the selectors match, one by one, as single deletions would."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from fairlead.apiserver.api import Api, Call
from fairlead.apiserver.errors import StatusError
from fairlead.apiserver.store.records import Entry
from fairlead.apiserver.verbs import delete, read

_AT_ONCE = 128


async def delete_collection(api: Api, call: Call, wanted: delete.Options) -> read.Page:
    """Delete what the request selects and return it; what vanishes meanwhile is no error."""
    page = read.list_page(api, call)
    for start in range(0, len(page.entries), _AT_ONCE):
        batch = page.entries[start : start + _AT_ONCE]
        # Deletions that wait together become durable together.
        results = await asyncio.gather(
            *(delete.delete(api, _single(call, entry), wanted) for entry in batch), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException) and not (isinstance(result, StatusError) and result.code == 404):
                raise result
    return read.Page(page.entries, {"resourceVersion": str(api.store.revision)})


def _single(call: Call, entry: Entry) -> Call:
    info = replace(call.info, namespace=entry.key[0] or None, name=entry.key[1], verb="delete")
    return replace(call, info=info)

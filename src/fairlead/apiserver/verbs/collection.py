"""Delete a collection: every object that the selectors match, one by one, as single deletions would."""

from __future__ import annotations

from dataclasses import replace

from fairlead.apiserver.api import Api, Call
from fairlead.apiserver.errors import StatusError
from fairlead.apiserver.store.records import Entry
from fairlead.apiserver.verbs import delete, read


async def delete_collection(api: Api, call: Call, wanted: delete.Options) -> read.Page:
    """Delete what the request selects and return it; what vanishes meanwhile is no error."""
    page = read.list_page(api, call)
    deleted: list[Entry] = []
    for entry in page.entries:
        single = _single(call, entry)
        try:
            await delete.delete(api, single, wanted)
        except StatusError as error:
            if error.code != 404:
                raise
        deleted.append(entry)
    return read.Page(deleted, {"resourceVersion": str(api.store.revision)})


def _single(call: Call, entry: Entry) -> Call:
    info = replace(call.info, namespace=entry.key[0] or None, name=entry.key[1], verb="delete")
    return replace(call, info=info)

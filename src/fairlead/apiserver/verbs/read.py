"""Get and list: the visible state, whole or in pages, now or as it was."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead.apiserver.api import Api, Call, Json
from fairlead.apiserver.errors import bad_request, expired, invalid, not_found, too_large_revision
from fairlead.apiserver.http.info import number
from fairlead.apiserver.store.records import Compacted, Entry, Key, decode, encode
from fairlead.apiserver.store.selection import FieldSelectorError, Selection, parse_fields
from fairlead.base import selectors

_CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
    "continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing "
    "with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the "
    "time the first chunk was returned and now may show up in the list."
)
_VERSION_EXPIRED = "The resourceVersion for the provided list is too old."


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list and its ListMeta."""

    entries: list[Entry]
    metadata: Json


def get(api: Api, call: Call) -> Entry:
    """Return one object; raises 404."""
    entry = api.store.get(call.served.table, call.namespace, call.info.name)
    if entry is None:
        raise not_found(call.served.resource, call.info.name)
    return entry


def selection(call: Call) -> Selection:
    """Return what the request's namespace and selectors ask for; raises 400."""
    query, served = call.query, call.served
    labels = None
    if text := query.get("labelSelector"):
        try:
            labels = selectors.parse(text)
        except selectors.SelectorError as error:
            raise bad_request(f"unable to parse requirement: {error}") from None
    fields: tuple[Any, ...] = ()
    if text := query.get("fieldSelector"):
        try:
            fields = parse_fields(text, served.table, served.selectable_fields)
        except FieldSelectorError as error:
            raise bad_request(str(error)) from None
    return Selection(call.info.namespace, labels, fields)


def list_page(api: Api, call: Call) -> Page:
    """Return the page that `limit`, `continue`, `resourceVersion` and `resourceVersionMatch` ask for; raises 400, 410, 504."""
    query, table = call.query, call.served.table
    wanted = selection(call)
    limit = number(query, "limit") or 0
    start: Key | None = None
    revision = api.store.revision
    if token := query.get("continue"):
        _refuse_version_with_continue(call)
        start, revision = _decode_continue(token, revision)
        try:
            entries = api.store.entries_at(table, call.info.namespace, revision)
        except Compacted:
            raise expired(_CONTINUE_EXPIRED, continue_=_encode_continue(-1, start)) from None
        entries = _after(entries, start)
    else:
        exact = _exact_revision(api, call)
        if exact is None:
            entries = api.store.entries(table, call.info.namespace)
        else:
            revision = exact
            try:
                entries = api.store.entries_at(table, call.info.namespace, revision)
            except Compacted:
                raise expired(_VERSION_EXPIRED) from None
    metadata: Json = {"resourceVersion": str(revision)}
    if wanted.filters:
        matching: list[Entry] = []
        for entry in entries:
            if wanted.matches(entry):
                if limit and len(matching) == limit:
                    metadata["continue"] = _encode_continue(revision, matching[-1].key)
                    break
                matching.append(entry)
        return Page(matching, metadata)
    if limit and len(entries) > limit:
        metadata["continue"] = _encode_continue(revision, entries[limit - 1].key)
        metadata["remainingItemCount"] = len(entries) - limit
        entries = entries[:limit]
    return Page(entries, metadata)


def parse_revision(text: str) -> int:
    """Return a resourceVersion parameter as a number; raises 400."""
    if not text.isdigit():
        message = f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise bad_request(f"resourceVersion: {message}")
    return int(text)


def _exact_revision(api: Api, call: Call) -> int | None:
    """Return the past revision that is asked for; None for the present."""
    given = call.query.get("resourceVersion") or ""
    match = call.query.get("resourceVersionMatch") or ""
    if match and not given:
        _refuse("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match not in ("", "Exact", "NotOlderThan"):
        message = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
        raise invalid("ListOptions", "meta.k8s.io", "", [("resourceVersionMatch", "FieldValueNotSupported", message)])
    if match == "Exact" and given == "0":
        _refuse("resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if not given or given == "0":
        return None
    asked = parse_revision(given)
    if asked > api.store.revision:
        raise too_large_revision(asked, api.store.revision)
    limited = bool(number(call.query, "limit"))
    return asked if match == "Exact" or (limited and not match) else None


def _refuse_version_with_continue(call: Call) -> None:
    if call.query.get("resourceVersionMatch"):
        _refuse("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
    if call.query.get("resourceVersion") not in (None, "", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")


def _refuse(field: str, message: str) -> None:
    raise invalid("ListOptions", "meta.k8s.io", "", [(field, "FieldValueForbidden", f"Forbidden: {message}")])


def _after(entries: list[Entry], start: Key) -> list[Entry]:
    low, high = 0, len(entries)
    while low < high:
        middle = (low + high) // 2
        if entries[middle].key <= start:
            low = middle + 1
        else:
            high = middle
    return entries[low:]


def _encode_continue(revision: int, last: Key) -> str:
    token = encode({"v": "meta.k8s.io/v1", "rv": revision, "start": "/".join(last)})
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def _decode_continue(token: str, current: int) -> tuple[Key, int]:
    try:
        found = decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, _, name = found["start"].partition("/")
        revision = int(found["rv"])
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError, ValueError):
        raise bad_request("continue key is not valid: encoding is not valid") from None
    if revision > current:
        raise expired(_CONTINUE_EXPIRED, continue_=_encode_continue(-1, (namespace, name)))
    return (namespace, name), current if revision < 0 else revision

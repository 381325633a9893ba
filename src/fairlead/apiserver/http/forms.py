"""Objects, lists and watch lines in the form that was negotiated.

Plain answers are the stored bytes; every other encoding is made once per version of an object and shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from fairlead.apiserver.http.negotiation import Form
from fairlead.apiserver.served import Served
from fairlead.apiserver.store.records import Entry, encode

Json = dict[str, Any]


class Encoding:
    """How objects of one resource are encoded in one form."""

    def __init__(self, served: Served, form: Form) -> None:
        self.served = served
        self.form = form
        resource = served.resource
        self._direct = form.kind == "plain" and served.from_storage is None
        self.key = f"{resource.group}/{resource.version}/{form.key}"

    @property
    def encoder(self) -> Callable[[Json], bytes] | None:
        """The encoder of one object; None when stored bytes are sent as they are."""
        return None if self._direct else self._encode

    def entry(self, entry: Entry) -> bytes:
        """Return one stored object."""
        if self._direct:
            return entry.data
        if self.form.kind == "table":
            # Ages pass: a table row must not be remembered.
            return self._encode(entry.obj)
        return entry.encoded(self.key, self._encode)

    def wire(self, obj: Json) -> Json:
        """Return a stored object in the version asked for."""
        return self.served.from_storage(obj) if self.served.from_storage else obj

    def page(self, entries: Sequence[Entry], metadata: Json) -> bytes:
        """Return a list of `entries`."""
        resource = self.served.resource
        if self.form.kind == "table":
            now = datetime.now(UTC)
            return encode(self.table([self._row(self.wire(entry.obj), now) for entry in entries], metadata))
        if self.form.kind == "partial":
            kind, api_version = "PartialObjectMetadataList", f"meta.k8s.io/{self.form.version}"
        else:
            kind, api_version = f"{resource.kind}List", resource.api_version
        head = encode({"kind": kind, "apiVersion": api_version, "metadata": metadata})
        items = [entry.data for entry in entries] if self._direct else [self.entry(entry) for entry in entries]
        return head[:-1] + b',"items":[' + b",".join(items) + b"]}"

    def bookmark(self, revision: int, *, initial_end: bool) -> bytes:
        """Return the object of a BOOKMARK event."""
        resource = self.served.resource
        metadata: Json = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        if self.form.kind == "plain":
            return encode({"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata})
        partial = {
            "kind": "PartialObjectMetadata",
            "apiVersion": f"meta.k8s.io/{self.form.version}",
            "metadata": metadata,
        }
        if self.form.kind == "partial":
            return encode(partial)
        blank: list[Any] = [""] * len(self.served.strategy.columns())
        return encode(self.table([{"cells": blank, "object": partial}], {"resourceVersion": str(revision)}))

    def table(self, rows: list[Json], metadata: Json) -> Json:
        """Return the Table of `rows`."""
        return {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{self.form.version}",
            "metadata": metadata,
            "columnDefinitions": self.served.strategy.columns(),
            "rows": rows,
        }

    def _encode(self, obj: Json) -> bytes:
        obj = self.wire(obj)
        match self.form.kind:
            case "plain":
                return encode(obj)
            case "partial":
                return encode(self._partial(obj))
            case "table":
                version = obj["metadata"].get("resourceVersion", "")
                return encode(self.table([self._row(obj, datetime.now(UTC))], {"resourceVersion": version}))

    def _partial(self, obj: Json) -> Json:
        return {
            "kind": "PartialObjectMetadata",
            "apiVersion": f"meta.k8s.io/{self.form.version}",
            "metadata": obj["metadata"],
        }

    def _row(self, obj: Json, now: datetime) -> Json:
        row: Json = {"cells": self.served.strategy.cells(obj, now)}
        if self.form.include == "Object":
            row["object"] = obj
        elif self.form.include == "Metadata":
            row["object"] = self._partial(obj)
        return row

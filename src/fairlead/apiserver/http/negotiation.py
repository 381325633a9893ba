"""Which form of an answer a client accepts: plain JSON, a Table, or metadata only.

Source: "Alternate representations of resources" of the Kubernetes API concepts; RFC 9110 section 12.5.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from fairlead.apiserver.errors import bad_request, not_acceptable

OFFERED = "application/json, application/yaml, application/json;stream=watch"


@dataclass(frozen=True, slots=True)
class Form:
    """The form of an answer. `include` says which object a Table's rows carry; `version` is that of meta.k8s.io."""

    kind: Literal["plain", "table", "partial"] = "plain"
    version: str = "v1"
    include: Literal["Metadata", "None", "Object"] = "Metadata"
    yaml: bool = False

    @property
    def key(self) -> str:
        """A name of this form for caches."""
        return f"{self.kind}/{self.version}/{self.include}" if self.kind == "table" else f"{self.kind}/{self.version}"


PLAIN = Form()


@lru_cache(maxsize=512)
def media_ranges(accept: str) -> tuple[tuple[str, Mapping[str, str]], ...]:
    """Return the media ranges of an Accept header with their parameters, best first."""
    ranges: list[tuple[float, int, str, dict[str, str]]] = []
    for position, part in enumerate(accept.split(",")):
        media, *rest = (piece.strip() for piece in part.split(";"))
        if not media:
            continue
        parameters: dict[str, str] = {}
        quality = 1.0
        for piece in rest:
            key, _, value = piece.partition("=")
            if key == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
            else:
                parameters[key] = value.strip('"')
        if quality > 0:
            ranges.append((-quality, position, media.lower(), parameters))
    return tuple((media, parameters) for _, _, media, parameters in sorted(ranges, key=lambda found: found[:2]))


@lru_cache(maxsize=512)
def negotiate(accept: str, include: str = "", *, alternatives: bool = True) -> Form:
    """Return the best form for an Accept header; raises 406. Without `alternatives` only plain answers are offered.

    `include` is the parameter includeObject.
    """
    if not accept:
        return PLAIN
    for media, parameters in media_ranges(accept):
        if media in ("*/*", "application/*"):
            return PLAIN
        if media not in ("application/json", "application/yaml"):
            continue
        yaml = media == "application/yaml"
        wanted = parameters.get("as")
        if wanted is None:
            return Form(yaml=yaml)
        if not alternatives or parameters.get("g") != "meta.k8s.io" or parameters.get("v") not in ("v1", "v1beta1"):
            continue
        if wanted == "Table":
            if include not in ("", "Metadata", "None", "Object"):
                raise bad_request('unrecognized includeObject value: "' + include + '"')
            return Form("table", parameters["v"], include or "Metadata", yaml)  # type: ignore[arg-type]
        if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList"):
            return Form("partial", parameters["v"], "Metadata", yaml)
    raise not_acceptable(OFFERED)

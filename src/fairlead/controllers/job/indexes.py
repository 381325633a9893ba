"""Sets of completion indexes as the API writes them: `1,3-5,7`. Pure. Source: batch/v1 JobStatus.completedIndexes."""

from __future__ import annotations

from collections.abc import Iterable


def parse(text: str | None, limit: int) -> set[int]:
    """Return the indexes below `limit` that `text` names."""
    found: set[int] = set()
    for part in filter(None, (text or "").split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), min(int(last or first) + 1, limit)))
    return {index for index in found if index < limit}


def render(indexes: Iterable[int]) -> str:
    """Return the text for `indexes`: ascending, neighbors joined (two of them by a comma, as upstream)."""
    ordered = sorted(set(indexes))
    parts: list[str] = []
    start = 0
    while start < len(ordered):
        end = start
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        if end == start:
            parts.append(str(ordered[start]))
        elif end == start + 1:
            parts += [str(ordered[start]), str(ordered[end])]
        else:
            parts.append(f"{ordered[start]}-{ordered[end]}")
        start = end + 1
    return ",".join(parts)

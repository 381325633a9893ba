"""Bounds for YAML that anybody may have written: how deep it may be nested, and how large its aliases may make it.

Loaders have neither: PyYAML's CParser composes nodes by recursion in C, which ends the process where the stack ends, and a few lines of aliases
of aliases mean more nodes than there is memory for, once something writes them out.
"""

from __future__ import annotations

import yaml

MOST_LEVELS = 500
"""Objects of Kubernetes have some dozens."""
MOST_NODES = 1 << 20


def require_bounded(text: str) -> None:
    """Raise yaml.YAMLError for a text that is nested deeper than `MOST_LEVELS`, means more than `MOST_NODES` by aliases, or is no YAML.

    Costs a look at each character; a text that has no aliases, and neither so many brackets nor a line so long, is not parsed.
    """
    # A level of a block begins farther to the right than the one around it, or is a list as far to the right as its key.
    levels = text.count("[") + text.count("{") + 2 * max(map(len, text.split("\n")))
    if levels <= MOST_LEVELS and not ("&" in text and "*" in text):
        return
    sizes: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = []
    nodes = 0
    """How many there are so far, with what aliases mean."""
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor is not None:
                sizes[anchor] = nodes - before
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, nodes))
            if len(open_) > MOST_LEVELS:
                raise _error(f"nested deeper than {MOST_LEVELS} levels", event)
        nodes += sizes.get(event.anchor or "", 1) if isinstance(event, yaml.AliasEvent) else 1
        if sizes and nodes > MOST_NODES:
            raise _error(f"aliases mean more than {MOST_NODES} values", event)


def _error(problem: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)  # type: ignore[arg-type]  # libyaml's marks are as good

"""What Middlewares do to paths, as patterns that do the same: `stripPrefix`, `addPrefix`, `replacePath` and those with patterns. Pure.

Patterns see the path without its query, as it is written in the request. Each raises ValueError in words for its owner.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fairlead.api.httproute import PathModifier
from fairlead.api.middleware import AddPrefix, ReplacePath, ReplacePathRegex, StripPrefix, StripPrefixRegex
from fairlead.model.gateway.annotations import values
from fairlead.model.gateway.extended import PatternModifier
from fairlead.model.gateway.patterns import compiled, last_named

_MOST_GROUPS = 9
_MOST_PREFIXES = 16


def added(wanted: AddPrefix) -> PathModifier:
    """Return what puts a prefix before every path."""
    prefix = values.path(wanted.prefix if wanted.prefix.startswith("/") else f"/{wanted.prefix}")
    return _pattern(r"^(/.*)", rf"{prefix}\1")


def stripped(wanted: StripPrefix) -> PathModifier:
    """Return what takes away the first of some prefixes that a path has; what is left begins with a slash."""
    return _pattern(f"^(?:{'|'.join(re.escape(each) for each in prefixes(wanted))})/?(.*)", r"/\1")


def prefixes(wanted: StripPrefix) -> tuple[str, ...]:
    """Return the prefixes that may be taken away."""
    found = tuple(values.path(each.strip()) for each in wanted.prefixes)
    if not 1 <= len(found) <= _MOST_PREFIXES:
        raise ValueError(f"prefixes: from 1 to {_MOST_PREFIXES} are possible")
    return found


def stripped_and_added(strip: StripPrefix, add: AddPrefix, paths: Iterable[str]) -> PathModifier:
    """Return what does both, for an Ingress of some paths."""
    (prefix, *others) = prefixes(strip)
    if others or prefix.endswith("/") or not all(f"{each.rstrip('/')}/".startswith(f"{prefix}/") for each in paths):
        raise ValueError(
            "before addPrefix it needs one prefix that all paths of the Ingress have, without a slash at its end"
        )
    new = values.path(add.prefix if add.prefix.startswith("/") else f"/{add.prefix}")
    return _pattern(f"^{re.escape(prefix)}(.*)", rf"{new}\1")


def stripped_by_pattern(wanted: StripPrefixRegex) -> PathModifier:
    """Return what takes away what the first of some patterns matches at the start of a path."""
    patterns = [values.pattern(each.strip()) for each in wanted.regex]
    if not 1 <= len(patterns) <= _MOST_PREFIXES:
        raise ValueError(f"regex: from 1 to {_MOST_PREFIXES} patterns are possible")
    if len(patterns) > 1 and any(compiled(f"^(?:{each})").match("") for each in patterns):
        raise ValueError("regex: of several patterns none may match nothing")
    whole = "|".join(f"(?:{each})" for each in patterns)
    rest = values.groups(whole) + 1
    if rest > _MOST_GROUPS:
        raise ValueError(f"regex: at most {_MOST_GROUPS - 1} groups are possible")
    return _pattern(f"^(?:{whole})/?(.*)", rf"/\{rest}")


def replaced(wanted: ReplacePath) -> PathModifier:
    """Return another path."""
    return PathModifier(type="ReplaceFullPath", replace_full_path=values.path(wanted.path))


def replaced_by_pattern(wanted: ReplacePathRegex) -> PathModifier:
    """Return another text for all that a pattern matches in a path."""
    pattern = values.pattern(wanted.regex.strip())
    new = re.sub(
        r"\$\{([1-9])\}|\$([1-9])(?![0-9A-Za-z_])",
        lambda found: rf"\{found[1] or found[2]}",
        wanted.replacement.strip(),
    )
    if "$" in new or not re.fullmatch(r"(?:[^\s\\?#%]|\\[1-9])*", new):
        raise ValueError("replacement: may hold ${1} to ${9}, and no other variable")
    if last_named(new) > values.groups(pattern):
        raise ValueError(f"replacement: names a group that {pattern!r} does not have")
    return _pattern(pattern, new)


def _pattern(pattern: str, substitution: str) -> PathModifier:
    return PatternModifier(type="ReplacePattern", pattern=pattern, substitution=substitution)

"""Patterns of RE2's, which never backtrack. Pure."""

from __future__ import annotations

import re
from typing import Any

import re2

_QUIET = re2.Options()
_QUIET.log_errors = False


def compiled(text: str) -> Any:
    """Return a pattern with its `groups` and `programsize`; raises ValueError for what is none."""
    try:
        return re2.compile(text, _QUIET)
    except re2.error as error:
        said = error.args[0] if error.args else error
        words = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        raise ValueError(f"no pattern of RE2: {words}") from error


def last_named(substitution: str) -> int:
    """Return the highest of the groups `\\1` to `\\9` that what takes a pattern's place names, 0 where it names none."""
    return max((int(each) for each in re.findall(r"\\([1-9])", substitution)), default=0)

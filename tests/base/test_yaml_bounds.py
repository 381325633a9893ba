from __future__ import annotations

import pytest
import yaml

from fairlead.base.yaml_bounds import MOST_LEVELS, require_bounded

DEEP = MOST_LEVELS + 1
BAD = {
    "brackets": "[" * DEEP,
    "braces": "{a: " * DEEP,
    "lists in one line": "- " * DEEP + "a",
    "keys that are lists": "? " * DEEP + "a",
    "blocks": "\n".join(f"{' ' * at}a:" for at in range(DEEP)),
    "lists as far to the right as their keys": "\n".join(
        f"{' ' * 2 * at}a:\n{' ' * 2 * at}-" for at in range(DEEP // 2 + 1)
    ),
    "aliases of aliases": "\n".join(f"a{at}: &a{at} [{(f'*a{at - 1},' if at else '1,') * 10}]" for at in range(7)),
}
GOOD = {
    "nothing": "",
    "deep": "[" * MOST_LEVELS + "]" * MOST_LEVELS,
    "wide": "[" + "[]," * 10_000 + "]",
    "a long line": "a: " + "x" * 10_000,
    "stars and ampersands": "host: '*.example.com'\nquery: a=1&b=2",
    "aliases": "a: &a [1, 2]\nb: [*a, *a]",
    "two documents": "a: &a [1]\n---\nb: &a [2]\nc: *a",
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(case: str) -> None:
    with pytest.raises(yaml.MarkedYAMLError, match=r"nested deeper|aliases mean more"):
        require_bounded(BAD[case])


@pytest.mark.parametrize("case", GOOD)
def test_what_is_not(case: str) -> None:
    require_bounded(GOOD[case])

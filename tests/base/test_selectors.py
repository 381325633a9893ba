"""What label selectors match, against the table of the API's documentation and an independent evaluation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.base import selectors
from fairlead.base.selectors import LabelSelector, SelectorError

MATCHES = {
    "empty selects all": ("", {"a": "b"}, True),
    "empty selects the unlabeled": ("", {}, True),
    "equal": ("app=web", {"app": "web"}, True),
    "double equal": ("app==web", {"app": "web"}, True),
    "equal to another value": ("app=web", {"app": "db"}, False),
    "equal without the key": ("app=web", {}, False),
    "equal to nothing": ("app=", {"app": ""}, True),
    "equal to nothing without the key": ("app=", {}, False),
    "unequal": ("app!=web", {"app": "db"}, True),
    "unequal without the key": ("app!=web", {}, True),
    "in": ("app in (web, db)", {"app": "db"}, True),
    "in without the key": ("app in (web,db)", {}, False),
    "notin": ("app notin (web,db)", {"app": "cache"}, True),
    "notin without the key": ("app notin (web)", {}, True),
    "in nothing is in the empty value": ("app in ()", {"app": ""}, True),
    "exists": ("app", {"app": ""}, True),
    "does not exist": ("!app", {"tier": "x"}, True),
    "does not exist but does": ("!app", {"app": "x"}, False),
    "joined by and": ("app=web,tier!=back,zone in (a,b),!old", {"app": "web", "zone": "a"}, True),
    "one of several fails": ("app=web,zone in (a,b)", {"app": "web", "zone": "c"}, False),
    "prefixed key": ("example.com/app=web", {"example.com/app": "web"}, True),
    "greater": ("size>3", {"size": "10"}, True),
    "less": ("size<3", {"size": "10"}, False),
    "greater than a word": ("size>3", {"size": "many"}, False),
}


@pytest.mark.parametrize(("text", "labels", "expected"), MATCHES.values(), ids=MATCHES.keys())
def test_parsed_selector_matches(text: str, labels: dict[str, str], expected: bool) -> None:
    assert selectors.parse(text).matches(labels) is expected


@pytest.mark.parametrize("text", ["a in b", "=b", "a=b c", "a in (b", "!", "a=b,,c", "a>x", "-a=b"])
def test_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(SelectorError):
        selectors.parse(text)


def test_object_form() -> None:
    selector = selectors.from_object(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["back"]}],
        }
    )
    assert selector == selectors.parse("app=web,tier!=back")
    assert selectors.from_object({}) == selectors.EVERYTHING


@pytest.mark.parametrize(
    "expression",
    [
        {"key": "a", "operator": "In"},
        {"key": "a", "operator": "Exists", "values": ["b"]},
        {"key": "a", "operator": "Is", "values": ["b"]},
    ],
)
def test_malformed_object_is_refused(expression: dict[str, object]) -> None:
    with pytest.raises(SelectorError, match="a|Is"):
        selectors.from_object({"matchExpressions": [expression]})


NAMES = st.sampled_from(["a", "b", "example.com/c"])
VALUES = st.sampled_from(["", "x", "y", "10"])
REQUIREMENTS = st.one_of(
    st.builds(selectors.requirement, NAMES, st.sampled_from(["In", "NotIn"]), st.lists(VALUES, min_size=1)),
    st.builds(selectors.requirement, NAMES, st.sampled_from(["Exists", "DoesNotExist"]), st.just([])),
)
SELECTORS = st.lists(REQUIREMENTS, max_size=4).map(lambda found: LabelSelector(tuple(sorted(found))))


@given(SELECTORS)
def test_text_form_reads_back(selector: LabelSelector) -> None:
    assert selectors.parse(str(selector)) == selector


@given(SELECTORS, st.dictionaries(NAMES, VALUES))
def test_negation_is_the_complement(selector: LabelSelector, labels: dict[str, str]) -> None:
    opposite = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}
    negated = [
        LabelSelector((selectors.requirement(part.key, opposite[part.operator], part.values),))
        for part in selector.requirements
    ]
    assert selector.matches(labels) is not any(one.matches(labels) for one in negated)

"""What the resolver learned, as a book: counted right whatever happened before, and as before after an undo."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.base import domainnames
from fairlead.drivers.nft.policy import names as books
from fairlead.drivers.nft.policy.names import FullError, Names, key_of

NAMES = [
    domainnames.name(each) for each in ("a.example", "b.example", "x.b.example", "c.test", "long." + "l" * 60 + ".test")
]
ADDRESSES = [bytes((192, 0, 2, number)) for number in range(3)] + [bytes((32, 1, 13, 184)) + bytes(12)]
PATTERNS: list[Mapping[str, tuple[str, ...]]] = [
    {},
    {"g": ("a.example",)},
    {"g": ("*.example",), "h": ("b.example", "*.b.example")},
    {"h": ("c.test",), "i": ("a.example", "c.test")},
]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("direct"), st.sampled_from(PATTERNS)),
        st.tuples(st.just("learn"), st.tuples(st.sets(st.sampled_from(NAMES), min_size=1), st.sets(st.sampled_from(ADDRESSES), min_size=1), st.integers(0, 900))),
        st.tuples(st.just("undo"), st.tuples(st.sets(st.sampled_from(NAMES), min_size=1), st.sets(st.sampled_from(ADDRESSES), min_size=1), st.integers(0, 900))),
        st.tuples(st.just("expire"), st.integers(1, 600)),
    ),
    max_size=12,
)  # fmt: skip


def view(book: Names, groups: Mapping[str, tuple[str, ...]]) -> tuple[object, ...]:
    return {group: book.members(group) for group in groups}, dict(book.memory), book.statistics()


@given(steps)
def test_the_book_counts_what_it_holds(script: list[tuple[str, object]]) -> None:
    book, now, patterns = Names(), 1000.0, PATTERNS[0]
    for what, value in script:
        if what == "direct":
            patterns = value  # type: ignore[assignment]
            book.direct(patterns)
        elif what == "expire":
            now += value  # type: ignore[operator]
            for pairs in list(book.expired(now).values()):
                book.forget(pairs)
        else:
            names, addresses, ttl = value  # type: ignore[misc]
            before = view(book, patterns)
            learned = book.learn(names, dict.fromkeys(addresses, ttl), now)
            assert book.permits(names, dict.fromkeys(addresses, ttl), now)
            if what == "undo":
                book.undo(learned)
                assert view(book, patterns) == before
    fresh = Names()
    fresh.adopt(book.memory, now)
    fresh.direct(patterns)
    for group in patterns:
        assert fresh.members(group) == book.members(group)
    assert fresh.statistics() == book.statistics()
    assert set(book.memory) == {key_of(name, address) for name, each in book._until.items() for address in each}


def test_selection_is_by_whole_labels() -> None:
    book = Names()
    book.direct({"g": ("*.example.com", "exact.test")})
    for name, expected in (
        ("example.com", False),
        ("a.example.com", True),
        ("a.b.example.com", True),
        ("notexample.com", False),
        ("exact.test", True),
        ("a.exact.test", False),
    ):
        assert book.selects([domainnames.name(name)]) == expected, name


def test_a_flood_of_one_name_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "MOST_PER_NAME", 2)
    book = Names()
    book.direct({"g": ("a.example",)})
    book.learn([NAMES[0]], dict.fromkeys(ADDRESSES[:1], 60), 0.0)
    before = view(book, {"g": ()})
    with pytest.raises(FullError, match=r"a\.example\. has more than 2"):
        book.learn([NAMES[0]], dict.fromkeys(ADDRESSES[:3], 60), 0.0)
    assert view(book, {"g": ()}) == before

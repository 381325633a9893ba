from __future__ import annotations

import asyncio

import pytest

from fairlead.lab.kubelet.logs import parse_options, read_log

LINES = """2026-01-01T00:00:01.000000000Z stdout F one
2026-01-01T00:00:02.000000000Z stderr F two
2026-01-01T00:00:03.000000000Z stdout P thr
2026-01-01T00:00:03.000000000Z stdout F ee
2026-01-01T00:00:04.000000000Z stdout F four
"""
NOW = 1767225605.0  # 2026-01-01T00:00:05Z


async def text(path, query, alive=lambda: False):
    return b"".join([chunk async for chunk in read_log(path, parse_options(query, NOW), alive)]).decode()


CASES = {
    "all": ({}, "one\ntwo\nthree\nfour\n"),
    "tail": ({"tailLines": "2"}, "ee\nfour\n"),
    "tail of nothing": ({"tailLines": "0"}, ""),
    "since seconds": ({"sinceSeconds": "2"}, "three\nfour\n"),
    "since time": ({"sinceTime": "2026-01-01T00:00:04Z"}, "four\n"),
    "limit": ({"limitBytes": "5"}, "one\nt"),
    "one stream": ({"stream": "Stderr"}, "two\n"),
    "timestamps": ({"timestamps": "true", "tailLines": "1"}, "2026-01-01T00:00:04.000000000Z four\n"),
}


@pytest.mark.parametrize("case", CASES)
async def test_options(case, tmp_path):
    path = tmp_path / "0.log"
    path.write_text(LINES)
    query, expected = CASES[case]
    assert await text(path, query) == expected


async def test_a_log_that_does_not_exist_is_empty(tmp_path):
    assert await text(tmp_path / "0.log", {}) == ""


async def test_what_was_rotated_away_comes_first(tmp_path):
    (tmp_path / "0.log.1").write_text("2026-01-01T00:00:00Z stdout F zero\n")
    (tmp_path / "0.log").write_text(LINES)
    assert (await text(tmp_path / "0.log", {})).startswith("zero\none\n")
    assert await text(tmp_path / "0.log", {"tailLines": "5"}) == "one\ntwo\nthree\nfour\n"


async def test_following_ends_with_the_container_and_misses_nothing(tmp_path):
    path = tmp_path / "0.log"
    running = True
    chunks = read_log(path, parse_options({"follow": "true"}, NOW), lambda: running)

    async def following():
        return await asyncio.wait_for(anext(chunks), 5)

    path.write_text("2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stdout F unfin")
    assert await following() == b"one\n"
    with path.open("a") as file:
        file.write("ished\n")
    assert await following() == b"unfinished\n"
    path.rename(tmp_path / "0.log.1")
    path.write_text("2026-01-01T00:00:03Z stdout F rotated\n")
    assert await following() == b"rotated\n"
    running = False
    with path.open("a") as file:
        file.write("2026-01-01T00:00:04Z stdout F last\n")
    assert await following() == b"last\n"
    with pytest.raises(StopAsyncIteration):
        await following()


@pytest.mark.parametrize("query", [{"tailLines": "x"}, {"sinceTime": "yesterday"}])
def test_bad_options_are_named(query):
    with pytest.raises(ValueError, match=next(iter(query))):
        parse_options(query, NOW)

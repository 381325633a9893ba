"""Command lines and durations as Go reads them."""

from __future__ import annotations

import pytest

from fairlead.lab.agnhost.flags import UsageError, duration_s, parse


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3s", 3.0), ("500ms", 0.5), ("1m30s", 90.0), ("1.5h", 5400.0), ("0", 0.0), ("0s", 0.0), ("10us", 1e-5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "3", "s", "3 s", "-1s", "1d"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(UsageError, match="invalid duration"):
        duration_s(text)


@pytest.mark.parametrize(
    ("args", "flags", "rest"),
    [
        (["--port=1", "x"], {"port": "1", "on": "false"}, ["x"]),
        (["x", "--port", "1", "--on", "y"], {"port": "1", "on": "true"}, ["x", "y"]),
        (["-port", "1", "--on=true", "--", "--port"], {"port": "1", "on": "true"}, ["--port"]),
    ],
)
def test_flags(args: list[str], flags: dict[str, str], rest: list[str]) -> None:
    assert parse(args, {"port": "0", "on": "false"}) == (flags, rest)


@pytest.mark.parametrize(("args", "message"), [(["--nope"], "unknown flag: --nope"), (["--port"], "needs an argument")])
def test_bad_flags(args: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(args, {"port": "0"})

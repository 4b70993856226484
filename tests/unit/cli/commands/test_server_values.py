from __future__ import annotations

from typing import Any

import click
import pytest

from p2pal.cli.commands.server_values import Bounded, Bytes, Count, RateValue
from p2pal.errors import UsageError
from p2pal.rate_limit import Rate

PARAM = click.Option(["--flag"])


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("60/1m", Rate(60, 60.0)),
        ("10/s", Rate(10, 1.0)),
        (" 5/H ", Rate(5, 3600.0)),
        ("1/1h30m", Rate(1, 5400.0)),
        ("3/500ms", Rate(3, 0.5)),
        ("1000000/24h", Rate(1_000_000, 86_400.0)),
        ("0", None),
        ("none", None),
        ("None", None),
    ],
)
def test_so_many_in_a_time(text: str, rate: Rate | None) -> None:
    assert RateValue().convert(text, PARAM, None) == rate


@pytest.mark.parametrize(
    "text", ["", "60", "60/", "/1m", "0/1m", "-1/1m", "1.5/s", "60/1x", "1/0", "1/2d", "1000001/s"]
)
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(UsageError, match="--flag takes COUNT/DURATION"):
        RateValue().convert(text, PARAM, None)


def test_counts() -> None:
    counts = [Count().convert(text, PARAM, None) for text in ("0", "none", "7", "1000000")]
    assert counts == [0, 0, 7, 1_000_000]
    for text in ("", "-1", "1000001", "1e3", "many", "9" * 5000):
        with pytest.raises(UsageError, match="--flag takes a whole number up to 1000000") as caught:
            Count().convert(text, PARAM, None)
        assert len(str(caught.value)) < 300


def test_durations_and_sizes_in_a_range() -> None:
    assert [Bounded(1.0, 60.0).convert(text, PARAM, None) for text in ("1s", "1m")] == [1.0, 60.0]
    for text in ("0", "999ms", "61s", "1d"):
        with pytest.raises(UsageError, match=f"--flag takes a duration from 1s to 1m, not '{text}'"):
            Bounded(1.0, 60.0).convert(text, PARAM, None)
    assert [Bytes(1024, 4096).convert(text, PARAM, None) for text in ("1KiB", "4096", "2kB")] == [1024, 4096, 2000]
    for text in ("1023", "5KiB", "much"):
        with pytest.raises(UsageError, match=f"--flag takes a size from 1KiB to 4KiB, not '{text}'"):
            Bytes(1024, 4096).convert(text, PARAM, None)


@pytest.mark.parametrize("kind", [RateValue(), Count(), Bytes(0, 9), Bounded(0.0, 9.0)])
def test_what_is_converted_stays(kind: click.ParamType[Any]) -> None:
    for text in ("1/s", "5", "5", "5s"):
        try:
            value = kind.convert(text, PARAM, None)
        except UsageError:
            continue
        assert kind.convert(value, PARAM, None) == value

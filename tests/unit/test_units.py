from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal import units


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (2_300_000, "2.3 MB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (2_300_000_000, "2.3 GB"),
        (2**63 - 1, "9.2 EB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [(0, "file", "0 files"), (1, "file", "1 file"), (1204, "file", "1,204 files"), (2, "more try", "2 more tries")],
)
def test_plural(count: int, noun: str, text: str) -> None:
    assert units.plural(count, noun) == text


@pytest.mark.parametrize(("speed", "text"), [(0.0, "0 B/s"), (-1.0, "0 B/s"), (1.0, "1 B/s"), (182.4e6, "182.4 MB/s")])
def test_rate(speed: float, text: str) -> None:
    assert units.rate(speed) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [("1500", 1500), ("2.3MB", 2_300_000), ("64 KiB", 65_536), ("1g", 10**9), ("1GiB", 2**30), ("7b", 7), ("0", 0)],
)
def test_parse_size(text: str, count: int) -> None:
    assert units.parse_size(text) == count


@pytest.mark.parametrize("text", ["", "MB", "-1", "1 XB", "1.2.3", "1e9", "½MB", "1" * 40])
def test_parse_size_refuses_the_rest(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("1h", 3600),
        ("1h30m", 5400),
        ("1H30M", 5400),
        ("500ms", 0.5),
        ("1.5s", 1.5),
        ("2d", 172_800),
        ("0", 0),
        ("0s", 0),
        (" 5m ", 300),
    ],
)
def test_parse_duration(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5x", "30m1h", "1h1h", "1h 30m", "inf", "nan", "5mm", "٣m"])
def test_parse_duration_refuses_the_rest(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        units.parse_duration(text)


def test_infinite_where_it_is_allowed() -> None:
    assert units.parse_duration("inf", infinite=True) == math.inf
    assert units.duration(math.inf) == "inf"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(300, "5m"), (90, "1m30s"), (5400, "1h30m"), (1, "1s"), (0.5, "0.5s"), (86_400, "1d"), (59.5, "59.5s")],
)
def test_duration(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@given(st.integers(1, 10**8))
@settings(max_examples=200, deadline=None)
def test_a_duration_written_is_the_duration_read(seconds: int) -> None:
    assert units.parse_duration(units.duration(float(seconds))) == seconds


@given(st.text(max_size=12))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_duration_or_an_error(text: str) -> None:
    try:
        seconds = units.parse_duration(text)
    except ValueError:
        return
    assert seconds >= 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (0.84, "0.8 s"), (42.4, "42 s"), (59.9, "1 min 0 s"), (185, "3 min 5 s"), (7450, "2 h 4 min")],
)
def test_elapsed(seconds: float, text: str) -> None:
    assert units.elapsed(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-:--"),
        (-1, "-:--"),
        (math.nan, "-:--"),
        (math.inf, "-:--"),
        (0, "0:00"),
        (42, "0:42"),
        (3723, "1:02:03"),
    ],
)
def test_clock(seconds: float | None, text: str) -> None:
    assert units.clock(seconds) == text


@pytest.mark.parametrize(
    ("done", "total", "percent"), [(0, 0, 100), (0, 5, 0), (999, 1000, 99), (1000, 1000, 100), (7, 5, 100)]
)
def test_percent_says_100_only_for_all(done: int, total: int, percent: int) -> None:
    assert units.percent(done, total) == percent


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (7300, "2 h"),
        (86_399, "23 h"),
        (5.5 * 86_400, "5 d"),
        (math.inf, "99999 d"),
    ],
)
def test_age(seconds: float, text: str) -> None:
    assert units.age(seconds) == text


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (4_200_000_000, 10_000_000_000, "4.2 of 10.0 GB"),
        (999_000, 10_000_000_000, "999.0 kB of 10.0 GB"),
        (0, 10_000_000_000, "0 of 10.0 GB"),
        (1, 1, "1 of 1 byte"),
        (0, 0, "0 of 0 bytes"),
    ],
)
def test_part(done: int, total: int, text: str) -> None:
    assert units.part(done, total) == text

from __future__ import annotations

import pytest

from p2pal import amounts


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
    assert amounts.size(count) == text


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [(0, "file", "0 files"), (1, "file", "1 file"), (1204, "file", "1,204 files"), (2, "more try", "2 more tries")],
)
def test_plural(count: int, noun: str, text: str) -> None:
    assert amounts.plural(count, noun) == text

from __future__ import annotations

import sys

from p2pal.checkpoint.placed import Placed, PlacedFiles


def test_the_last_file_of_each_entry_is_known() -> None:
    files = PlacedFiles()
    assert files.get(0) is None
    files.put(5000, Placed(1, -2, b"d" * 32))
    files.put(5000, Placed(2**63, -(2**63), b"e" * 32))
    files.put(3, Placed(0, 0, bytes(32)))
    assert files.get(5000) == (2**63, -(2**63), b"e" * 32)
    assert files.get(3) == (0, 0, bytes(32))
    assert [files.get(index) for index in (0, 2, 4, 4999, 5001, 10**7)] == [None] * 6
    assert sorted(files) == [3, 5000]


def test_memory_grows_with_what_is_put_in() -> None:
    files = PlacedFiles()
    files.put(10**7, Placed(1, 1, b"d" * 32))
    assert sum(map(sys.getsizeof, files._pages.values())) < 100_000
    for index in range(10_000):
        files.put(index, Placed(1, 1, b"d" * 32))
    assert sum(map(sys.getsizeof, files._pages.values())) < 10_000 * 60 + 100_000

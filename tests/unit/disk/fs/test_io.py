from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pal.disk.fs.io import read_after_seek, read_some, write_after_seek, write_some

_Read = Callable[[int, int, int], bytes]
_Write = Callable[[int, bytes | memoryview, int], int]


@pytest.mark.parametrize(
    ("read_some", "write_some"), [(read_some, write_some), (read_after_seek, write_after_seek)], ids=["here", "windows"]
)
def test_the_position_of_the_file_does_not_matter(tmp_path: Path, read_some: _Read, write_some: _Write) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    assert write_some(fd, b"789", 7) == 3
    assert write_some(fd, memoryview(b"0123"), 0) == 4
    assert read_some(fd, 3, 7) == b"789"
    assert read_some(fd, 100, 2) == b"23\0\0\0" + b"789"
    assert read_some(fd, 1, 10) == b""
    os.close(fd)

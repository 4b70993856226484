from __future__ import annotations

import os
from pathlib import Path

from p2pal.files.positioned import read_some, write_some


def test_the_position_of_the_file_does_not_matter(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    assert write_some(fd, b"789", 7) == 3
    assert write_some(fd, memoryview(b"0123"), 0) == 4
    assert read_some(fd, 3, 7) == b"789"
    assert read_some(fd, 100, 2) == b"23\0\0\0" + b"789"
    assert read_some(fd, 1, 10) == b""
    os.close(fd)

"""Reading and writing at a position: one call of the system, which may do less than was asked."""

from __future__ import annotations

import os
import sys


def read_after_seek(fd: int, count: int, offset: int) -> bytes:
    """Do what :func:`read_some` does where the system has no pread(2): whoever shares the descriptor takes turns."""
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, count)


def write_after_seek(fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
    """Do what :func:`write_some` does where the system has no pwrite(2): whoever shares the descriptor takes turns."""
    os.lseek(fd, offset, os.SEEK_SET)
    return os.write(fd, data)


if sys.platform == "win32":
    read_some, write_some = read_after_seek, write_after_seek
else:

    def read_some(fd: int, count: int, offset: int) -> bytes:
        """Read up to ``count`` bytes; none at the end of the file. Raises OSError."""
        return os.pread(fd, count, offset)

    def write_some(fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
        """Write some of the bytes, from the first on; return how many. Raises OSError."""
        return os.pwrite(fd, data, offset)

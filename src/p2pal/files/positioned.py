"""Reading and writing at a position: one call of the system, which may do less than was asked."""

from __future__ import annotations

import os

if hasattr(os, "pread"):

    def read_some(fd: int, count: int, offset: int) -> bytes:
        """Read up to ``count`` bytes; none at the end of the file. Raises OSError."""
        return os.pread(fd, count, offset)

    def write_some(fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
        """Write some of the bytes, from the first on; return how many. Raises OSError."""
        return os.pwrite(fd, data, offset)
else:  # Windows: whoever shares a descriptor between threads takes turns

    def read_some(fd: int, count: int, offset: int) -> bytes:
        """Read up to ``count`` bytes; none at the end of the file. Raises OSError."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, count)

    def write_some(fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
        """Write some of the bytes, from the first on; return how many. Raises OSError."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, data)

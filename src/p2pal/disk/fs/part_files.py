"""Part files on the disk: finding them, and telling our own from what others put under their names."""

from __future__ import annotations

import errno
import os
import stat

from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.names import part_names
from p2pal.disk.fs.os_errors import REPLACED
from p2pal.disk.fs.rename import Identity, identity_from


def find_part(directory: Directory, tag: str, index: int, identity: Identity) -> tuple[bytes, os.stat_result] | None:
    """Return the name under which an entry's part file stands, and its status; None if it does not.

    Raises:
        OSError: If the directory cannot be looked into.
    """
    for part in part_names(tag, index):
        found = directory.status(part)
        if found is not None and identity_from(found) == identity:
            return part, found
    return None


def open_left(directory: Directory, part: bytes, identity: Identity) -> int:
    """Open a part file of an earlier session, for reading and writing.

    Raises:
        OSError: If it is another file, has other names, or may not be opened.
    """
    try:
        fd = directory.open_part(part)
    except PermissionError:  # it had got its final mode, and was stopped on the way to its name
        reader = directory.open_read(part)
        try:
            _check_own(reader, identity)
            directory.set_file_attributes(reader, part, 0o600, os.fstat(reader).st_mtime_ns)
        finally:
            os.close(reader)
        fd = directory.open_part(part)
    try:
        _check_own(fd, identity)
    except OSError:
        os.close(fd)
        raise
    return fd


def _check_own(fd: int, identity: Identity) -> None:
    if not is_own(os.fstat(fd), identity):
        raise FileNotFoundError(errno.ENOENT, REPLACED)


def is_own(found: os.stat_result, identity: Identity) -> bool:
    """Say whether this is that very file, under one name only."""
    return stat.S_ISREG(found.st_mode) and identity_from(found) == identity and found.st_nlink == 1


def remove_own(directory: Directory, part: bytes, identity: Identity) -> None:
    """Remove a part file unless another file has its name now."""
    if directory.has(part, identity):
        directory.remove(part)

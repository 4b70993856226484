"""What may be replaced when an entry gets its name, and the rename that replaces nothing else."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from p2pal.checkpoint.placed import Placed
from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.rename import Identity, identity_from

Replaceable = Callable[[os.stat_result], bool]
"""Says whether what stands at a target may be replaced."""


def known_file(identity: Identity, ctime_ns: int) -> Replaceable:
    """Allow one file, unchanged: the one that a person agreed to lose.

    The inode alone could be that of a younger file: numbers are used again at once when a file is deleted.
    """
    return lambda found: (
        stat.S_ISREG(found.st_mode) and identity_from(found) == identity and found.st_ctime_ns == ctime_ns
    )


def untouched_file(placed: Placed) -> Replaceable:
    """Allow a regular file that has the size and the time which this transfer gave it: the older state of the source.

    Some file systems round a time down: to 100 nanoseconds (Windows), to a second, to two.
    """
    times = {placed.mtime_ns // unit * unit for unit in (1, 100, 10**9, 2 * 10**9)}
    return lambda found: stat.S_ISREG(found.st_mode) and found.st_size == placed.size and found.st_mtime_ns in times


def file_before(ctime_ns: int) -> Replaceable:
    """Allow regular files that nobody changed since: among them none that this transfer made itself."""
    return lambda found: stat.S_ISREG(found.st_mode) and found.st_ctime_ns <= ctime_ns


def link_before(ctime_ns: int) -> Replaceable:
    """Allow symbolic links that nobody changed since."""
    return lambda found: stat.S_ISLNK(found.st_mode) and found.st_ctime_ns <= ctime_ns


def settle_name(directory: Directory, part: bytes, name: bytes, replaceable: Replaceable | None) -> None:
    """Rename a part file to its final name.

    Raises:
        FileExistsError: If something stands there that may not be replaced.
        OSError: Any other failure.
    """
    found = None if replaceable is None else directory.status(name)
    if found is None or replaceable is None:
        directory.rename_new(part, name)
    elif replaceable(found):
        directory.rename_over(part, name, identity_from(found))
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

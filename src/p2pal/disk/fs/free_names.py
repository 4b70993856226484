"""Names for entries whose own is taken: something else came to stand there, and nobody agreed to lose it.

The entry stands beside it, by the numbers that a placement gives (:func:`p2pal.disk.fs.names.free_name`). The
checkpoint hears of the name, durably, before anything gets it, so that the next session looks in the right place. Where
that cannot be made durable the entry gets its name all the same: at worst it is sent, and stands there, once more.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from p2pal.checkpoint.records import Named
from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.names import free_name

MOST_NUMBERS: Final = 100
"""Names that are looked at for one entry: a sender that offers one name a million times does not cost a million looks
for each."""

Announce = Callable[[Named], object]
"""Tells the checkpoint, durably."""


def own_name(path: bytes) -> bytes:
    """Return the name that an entry was offered under."""
    return path.rpartition(b"/")[2]


def place_beside(
    directory: Directory,
    path: bytes,
    name: bytes,
    put: Callable[[bytes], object],
    announce: Announce,
    *,
    is_directory: bool = False,
) -> bytes:
    """Give an entry the first free name beside the one that is taken; return it.

    Args:
        directory: Where it goes.
        path: The entry's, as offered.
        name: What it should have been called on disk.
        put: Gives it a name, and raises FileExistsError if something has that.
        announce: Hears of each name before it is tried.
        is_directory: What it is: dots in a directory's name are no suffix.

    Raises:
        FileExistsError: If no free name is left.
        OSError: If it cannot be given one.
    """
    looks = 0

    def taken(candidate: bytes) -> bool:
        nonlocal looks
        looks += 1
        if looks > MOST_NUMBERS:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        return directory.status(candidate) is not None

    wanted = _unnumbered(own_name(path), name, is_directory=is_directory)
    while True:
        free = free_name(taken, wanted, directory=is_directory)
        announce(Named(path, free))
        try:
            put(free)
        except FileExistsError:
            continue
        return free


def _unnumbered(own: bytes, name: bytes, *, is_directory: bool) -> bytes:
    """Return the offered name if ``name`` is that with a number, so that numbers do not pile up; else ``name``."""
    try:
        free_name(lambda candidate: candidate != name, own, directory=is_directory)
    except FileExistsError:
        return name
    return own

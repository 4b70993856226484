"""What Windows wants differently of those who use its files by paths. Pure but for the last two, to be tested anywhere.

Elsewhere each of these changes nothing, unless it is told to.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from typing import Final

from p2pal.disk.fs.names import ON_WINDOWS

_LONG: Final = 240
"""Bytes. Windows refuses the path of a directory from 248 characters on, that of a file from 260 on, unless set up
otherwise."""

_VERBATIM: Final = b"\\\\?\\"
_VERBATIM_SHARE: Final = b"\\\\?\\UNC\\"

_NAME_SURROGATE: Final = 0x2000_0000
"""Of a reparse point's tag: it stands for another place, as symbolic links, junctions and WSL's links do.

A directory of OneDrive is a reparse point, too, and is where it seems to be.
"""

_BUSY: Final = frozenset({5, 32, 33})
"""ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION."""

_PAUSES: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Seconds between tries."""


def is_elsewhere(found: os.stat_result) -> bool:
    """Say whether what was found, not followed, is a junction or another thing that stands for another place."""
    return bool(getattr(found, "st_reparse_tag", 0) & _NAME_SURROGATE)


def long_path(path: bytes, *, windows: bool = ON_WINDOWS) -> bytes:
    """Return an absolute, normal path as Windows takes it at any length."""
    if not windows or len(path) < _LONG or path.startswith(_VERBATIM):
        return path
    return _VERBATIM_SHARE + path[2:] if path.startswith(b"\\\\") else _VERBATIM + path


def link_to_system(target: bytes, *, windows: bool = ON_WINDOWS) -> bytes:
    """Return a link's target, as it travels, as the system wants it: Windows follows no link with slashes in it."""
    return target.replace(b"/", b"\\") if windows else target


def link_from_system(target: bytes, *, windows: bool = ON_WINDOWS) -> bytes:
    """Return a link's target, as the system gives it, as it travels: its parts divided by ``/``."""
    if not windows:
        return target
    if target.startswith(_VERBATIM_SHARE):
        target = b"\\\\" + target.removeprefix(_VERBATIM_SHARE)
    return target.removeprefix(_VERBATIM).replace(b"\\", b"/")


def make_writable(path: bytes, *, windows: bool = ON_WINDOWS) -> None:
    """Take the read-only attribute from a file that is to be removed or replaced: Windows would refuse.

    Elsewhere, and here for who may delete it, that says nothing about the name. Raises OSError.
    """
    if windows:
        found = os.lstat(path)
        if stat.S_ISREG(found.st_mode) and not found.st_mode & stat.S_IWRITE:
            os.chmod(path, stat.S_IREAD | stat.S_IWRITE)


def patiently(action: Callable[[], None], pause: Callable[[float], None] = time.sleep) -> None:
    """Rename or remove; try again for half a second while another program holds the file.

    Virus scanners and indexers open what was just closed, and let go of it soon. Raises OSError.
    """
    for seconds in _PAUSES:
        try:
            return action()
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _BUSY:
                raise
        pause(seconds)
    return action()

"""Atomic renames that never replace what they must not: the kernel's own where it has them, else the next best.

Linux has renameat2(2), macOS renameatx_np(2); Python exposes neither, so they are called through ctypes. File systems
may refuse the flags (EINVAL on NFS and some FUSE): then link(2) and unlink(2) do for a new name, which is as safe, and
for the rest a check followed by a plain rename, which leaves a gap of microseconds.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable
from typing import Final

Identity = tuple[int, int]
"""Device and inode."""

_MASK: Final = 2**64 - 1
_SPREAD: Final = 0x9E37_79B9_7F4A_7C15
"""2^64 divided by the golden ratio: the two halves of a long number, both small, do not cancel each other out."""

_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_NO_LINKS: Final = _UNSUPPORTED | {errno.EPERM, errno.EMLINK}

FlaggedRename = Callable[[int, bytes, int, bytes, int], int]
"""Two directories' descriptors, each with a name in it, and flags: 0, or -1 and an errno."""

CALLS: Final = {"linux": ("renameat2", 1, 2), "darwin": ("renameatx_np", 4, 2)}
"""By platform: the C library's function, its flag for 'do not replace' and its flag for 'exchange'.

The numbers are those of <linux/fs.h> and of macOS' <sys/stdio.h>, on every processor: it is the library that makes the
system call, whose number differs.
"""


def identity_from(found: os.stat_result) -> Identity:
    """Return which file was found, in the 64 bits that a checkpoint has: ReFS' numbers have 128, and are folded."""
    number = found.st_ino
    if number > _MASK:
        number += (number >> 64) * _SPREAD
    return found.st_dev & _MASK, number & _MASK


class Renames:
    """Renames within one directory, by the system's own call or by what does where it has none.

    Args:
        call: The system's rename with flags, if it has one.
        no_replace: Its flag for 'do not replace'.
        exchange: Its flag for 'exchange'.
    """

    def __init__(self, call: FlaggedRename | None = None, no_replace: int = 0, exchange: int = 0) -> None:
        self.call = call
        self.no_replace = no_replace
        self.exchange = exchange

    def new(self, directory: int, source: bytes, target: bytes) -> None:
        """Rename within the directory behind a descriptor; never replace.

        Raises:
            FileExistsError: If something stands at ``target``.
            OSError: Any other failure.
        """
        if self._flagged(directory, source, target, self.no_replace):
            return
        try:
            os.link(source, target, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            os.unlink(source, dir_fd=directory)
            return
        try:
            os.stat(target, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(source, target, src_dir_fd=directory, dst_dir_fd=directory)
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def over(self, directory: int, source: bytes, target: bytes, allowed: Identity) -> None:
        """Rename within a directory and replace what stands at ``target``, if that is still ``allowed``.

        Where the system can exchange two names, what was replaced is looked at after the exchange and put back if it is
        another file than the one allowed: nobody can slip one in between check and rename.

        Raises:
            FileExistsError: If something else stands at ``target``.
            OSError: Any other failure.
        """
        _require(directory, target, allowed)
        if not self._flagged(directory, source, target, self.exchange):
            os.replace(source, target, src_dir_fd=directory, dst_dir_fd=directory)
            return
        try:
            _require(directory, source, allowed)
        except OSError:
            self._flagged(directory, source, target, self.exchange)
            raise
        os.unlink(source, dir_fd=directory)

    def _flagged(self, directory: int, source: bytes, target: bytes, flags: int) -> bool:
        """Rename with flags within one directory; False if the system or the file system has no such thing."""
        if self.call is None:
            return False
        if self.call(directory, source, directory, target, flags) == 0:
            return True
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            return False
        raise OSError(number, os.strerror(number))


def load(platform: str = sys.platform) -> Renames:
    """Return the renames of a system, with its own call if the C library has it."""
    if platform not in CALLS:
        return Renames()
    name, no_replace, exchange = CALLS[platform]
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is None:
        return Renames()
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    function.restype = ctypes.c_int
    return Renames(function, no_replace, exchange)


RENAMES: Final = load()
"""Those of this system."""


def _require(directory: int, name: bytes, allowed: Identity) -> None:
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if identity_from(found) != allowed or stat.S_ISDIR(found.st_mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

"""Opening a file that only one process may use at a time, and that must be ours.

The lock is the system's own on the open file (flock(2); on Windows one byte far behind the end): it ends with the
process, however that ends. It is taken on the checkpoint itself, by its descriptor. A library such as ``filelock``
opens its lock file by path and needs a second file beside each checkpoint, to be cleaned up in turn; and who locks one
file to guard another must trust that nobody replaces either.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from typing import Final

from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.rename import Identity, identity_from
from p2pal.errors import CheckpointError

_TRIES: Final = 6
_PAUSE: Final = 0.05
"""Seconds between tries: who lists checkpoints looks with a lock of its own, for microseconds."""
_FAR: Final = 0x7FFF_0000
"""Where Windows' lock is: it would keep others from reading what it covers."""

IN_USE: Final = "another p2pal process is using this transfer"
IN_USE_HINT: Final = "wait until it ends, or stop it"

if sys.platform == "win32":
    import msvcrt

    def try_lock(fd: int, *, shared: bool = False) -> bool:  # noqa: ARG001 - Windows has no shared one
        """Lock an open file until it is closed; False if another process has it."""
        os.lseek(fd, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _unlock(fd: int) -> None:
        os.lseek(fd, _FAR, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

    def _owner_problem(found: os.stat_result) -> str | None:  # noqa: ARG001 - the home directory's rights decide there
        return None
else:
    import fcntl

    def try_lock(fd: int, *, shared: bool = False) -> bool:
        """Lock an open file until it is closed; False if another process has it.

        Args:
            fd: The file.
            shared: Keep out only those who want it for themselves.

        Raises:
            OSError: If the file system has no locks.
        """
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)

    def _owner_problem(found: os.stat_result) -> str | None:
        """Say why a file or directory is not ours alone; None if it is."""
        if found.st_uid != os.geteuid():
            return "it belongs to another user"
        if found.st_mode & 0o022:
            return "others may write to it"
        return None


class NotOurs(CheckpointError):
    """What stands under a checkpoint's name cannot be trusted: a link, another user's, open to others."""

    default_hint = "look where it comes from; 'p2pal checkpoint delete' removes it"


def identity_of(fd: int) -> Identity:
    """Return an open file's device and inode."""
    found = os.fstat(fd)
    return identity_from(found)


def check_directory(found: os.stat_result) -> None:
    """Refuse a directory in which others can put files.

    Raises:
        NotOurs: If it is one.
    """
    problem = _owner_problem(found)
    if problem is not None:
        raise NotOurs(
            f"the directory of the checkpoints cannot be trusted: {problem}",
            hint="make it yours alone (chown, chmod 700), or set P2PAL_HOME to another directory",
        )


def open_private(directory: Directory, name: bytes) -> int:
    """Open a file of ours for reading and writing.

    Raises:
        FileNotFoundError: If there is none.
        NotOurs: If it is a link, no regular file, another user's, or open to others.
        OSError: If it cannot be opened.
    """
    status = directory.status(name)
    if status is None:
        raise FileNotFoundError
    if not stat.S_ISREG(status.st_mode):
        raise NotOurs("it is no regular file")
    fd = directory.open_part(name)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise NotOurs("it is no regular file")
        problem = _owner_problem(found)
        if problem is None and sys.platform != "win32" and found.st_mode & 0o077:
            problem = "others may read it"
        if problem is not None:
            raise NotOurs(problem)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_locked(directory: Directory, name: bytes) -> int:
    """Open a file of ours as :func:`open_private` does, for this process alone until it is closed.

    Between opening and locking another process may have removed or replaced the file: then its name no longer leads to
    what was locked, and it is opened again.

    Raises:
        FileNotFoundError: If there is none.
        CheckpointError: If another process has it, or it is not ours.
        OSError: If it cannot be opened or locked.
    """
    for last in (*[False] * (_TRIES - 1), True):
        fd = open_private(directory, name)
        try:
            locked = try_lock(fd)
            if locked and directory.has(name, identity_of(fd)):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        if not locked and not last:
            time.sleep(_PAUSE)
    raise CheckpointError(IN_USE, hint=IN_USE_HINT)


def in_use(fd: int) -> bool:
    """Say whether another process, or another open descriptor, has locked the file."""
    try:
        if not try_lock(fd, shared=True):
            return True
        _unlock(fd)
    except OSError:  # no locks there: then nobody could open it for use either
        return False
    return False


def remove_locked(directory: Directory, name: bytes, fd: int) -> None:
    """Remove a file that :func:`open_locked` opened, and close it: nobody can open it in between.

    Windows removes no open file: there it is closed first.

    Raises:
        OSError: If it cannot be removed; it is closed all the same.
    """
    if directory.closes_first:
        os.close(fd)
        directory.remove(name)
        return
    try:
        directory.remove(name)
    finally:
        os.close(fd)

"""Whether something can be received under a name, told before anybody joins: a code is good for one transfer."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from p2pal.errors import DiskError, UsageError

NO_CURRENT_DIRECTORY = "the current directory does not exist any more"


def check_current_directory() -> None:
    """Look whether the current directory is still there.

    Raises:
        DiskError: If it is not.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise DiskError(NO_CURRENT_DIRECTORY, hint="change to one that exists ('cd'), and try again") from error


def check_destination(out: Path | None, *, overwrite: bool) -> None:
    """Look whether ``out`` can be a directory to write into, or the path of what is received. Changes nothing.

    :func:`p2pal.disk.sink.placement.plan` decides later, when the offer is known; what it finds may be another thing.

    Args:
        out: What ``-out`` names; None for the current directory.
        overwrite: Whether existing files may be replaced.

    Raises:
        UsageError: If it is ``-``, names something that is neither a file nor a directory, or names a file that may
            not be replaced.
        DiskError: If the current directory is gone, or the directory that it is in does not exist.
    """
    if out is None or not out.is_absolute():
        check_current_directory()
    if out is None:
        return
    if str(out) == "-":
        raise UsageError(
            "-out takes a path, and p2pal does not write files to standard output",
            hint="name a file or a directory; a file of that name is './-'",
        )
    try:
        found = os.stat(out)
    except OSError:
        if os.path.lexists(out):
            message = f"{out} is a link that leads nowhere"
            raise UsageError(message, hint="name another file or directory with -out") from None
        check_parent(out)
        return
    if stat.S_ISDIR(found.st_mode):
        return
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(not_usable(out), hint="name another file or directory with -out")
    if not overwrite:
        raise UsageError(
            f"{out} exists already", hint="replace it with -overwrite, or name another file or a directory with -out"
        )


def check_parent(out: Path) -> None:
    """Look whether there is a directory to make ``out`` in.

    Raises:
        DiskError: If there is none.
    """
    if not out.parent.is_dir():
        message = f"the directory {out.parent} does not exist"
        raise DiskError(message, hint="make it first, or choose another with -out")


def not_usable(out: Path) -> str:
    """Return what to say of a device, a pipe or a socket."""
    return f"{out} is neither a file nor a directory"

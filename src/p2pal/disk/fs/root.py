"""Opening a root directory: by handles where the system has them, else by checked paths."""

from __future__ import annotations

import os
import sys
from typing import Final

from p2pal.disk.fs.directory import ONLY_DIRECTORY, Directory

HAVE_HANDLES: Final = (
    hasattr(os, "O_NOFOLLOW")
    and hasattr(os, "O_DIRECTORY")
    and {os.open, os.stat, os.mkdir, os.unlink, os.rename, os.link, os.symlink, os.readlink} <= os.supports_dir_fd
)


def open_root(path: str | bytes, *, handles: bool = HAVE_HANDLES) -> Directory:
    """Open a directory that a person named on this machine; links in its path are followed.

    Raises:
        OSError: If it is missing, no directory, or not permitted.
    """
    if sys.platform != "win32" and handles:
        from p2pal.disk.fs.handle_directory import HandleDirectory

        return HandleDirectory.adopt(os.open(path, os.O_RDONLY | ONLY_DIRECTORY))
    from p2pal.disk.fs.path_directory import PathDirectory

    return PathDirectory.root(os.fsencode(path))

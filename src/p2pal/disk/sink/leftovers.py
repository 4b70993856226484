"""Part files that stand on the disk and are not open: of earlier sessions, and those that were left for a later one."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable

from p2pal.checkpoint.records import Begun
from p2pal.checkpoint.replay import ReceiveState
from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.names import check_path, part_names
from p2pal.disk.fs.os_errors import REPLACED
from p2pal.disk.fs.part_files import find_part, is_own
from p2pal.disk.fs.rename import Identity
from p2pal.disk.sink.part_file import Arriving
from p2pal.errors import ProtocolError
from p2pal.transfer.ops import Begin

Locate = Callable[[bytes], tuple[Directory, bytes]]


def open_part(op: Begin, directory: Directory, tag: str, name: bytes, *, resumed: bool) -> Arriving:
    """Open a file's part file: that of the claim, or a new one under the first of its names that is free.

    What stands under one of them and is not known to be ours is left alone; only an empty file is not, where the
    transfer goes on: a power cut can leave one that the checkpoint never heard of.

    Raises:
        OSError: If it cannot be, or the part file of the claim is not there.
    """
    if op.claim is not None:
        found = find_part(directory, tag, op.index, op.claim.part)
        if found is None or not is_own(found[1], op.claim.part):
            raise FileNotFoundError(errno.ENOENT, REPLACED)
        return Arriving(op, directory, found[0], name)
    for part in part_names(tag, op.index):
        try:
            return Arriving(op, directory, part, name)
        except FileExistsError:
            if resumed and _remove_empty(directory, part):
                with contextlib.suppress(FileExistsError):
                    return Arriving(op, directory, part, name)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _remove_empty(directory: Directory, part: bytes) -> bool:
    found = directory.status(part)
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_size or found.st_nlink != 1:
        return False
    directory.remove(part)
    return True


class Leftovers:
    """What the checkpoint names as begun, and is not open now.

    Args:
        locate: Finds an entry's directory by its path.
        tag: Eight characters (0-9, a-z) that name this transfer's unfinished files.
        resume: What earlier sessions left, if there were any.

    Attributes:
        resumed: Whether there were.
    """

    def __init__(self, locate: Locate, tag: str, resume: ReceiveState | None) -> None:
        self.resumed = resume is not None
        self._locate = locate
        self._tag = tag
        self._begun: dict[int, Begun] = {} if resume is None else resume.begun

    def add(self, index: int, path: bytes, identity: Identity) -> None:
        """Remember a part file that is left."""
        self._begun[index] = Begun(index, identity, 0, 0, path)

    def take(self, index: int, directory: Directory, *, keep: bool) -> Begun | None:
        """An entry begins: return what the checkpoint says if its part file is gone on with, else remove that.

        Raises:
            OSError: If it cannot be removed.
        """
        begun = self._begun.get(index)
        if begun is not None and not keep:
            found = find_part(directory, self._tag, index, begun.part)
            if found is not None:
                directory.remove(found[0])
        self._begun.pop(index, None)
        return begun if keep else None

    def remove(self, index: int) -> bool:
        """Remove an entry's part file, if there is one; say whether the checkpoint knew of one that is gone now."""
        begun = self._begun.get(index)
        if begun is None or check_path(begun.path) is not None:  # nobody but a forged checkpoint says the latter
            return False
        try:
            directory, _ = self._locate(begun.path)
            try:
                found = find_part(directory, self._tag, index, begun.part)
                if found is not None:
                    directory.remove(found[0])
            finally:
                directory.release()
        except FileNotFoundError:  # its directory is gone, too
            pass
        except (OSError, ProtocolError):
            return False
        del self._begun[index]
        return True

    def remove_all(self) -> list[int]:
        """Remove all of them; return their entries."""
        return [index for index in list(self._begun) if self.remove(index)]

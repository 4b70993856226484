"""Looking again at what earlier sessions left, in the background: which files, what was found, when one is through."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from p2pal.disk.fs.os_errors import REPLACED
from p2pal.disk.fs.rename import identity_from
from p2pal.disk.sink.part_file import Arriving
from p2pal.disk.sink.rehash import Rehasher


class Verifying:
    """Files with claimed pieces that are being hashed again. For the writer's thread.

    Args:
        listener: Called, in another thread, when :meth:`look` has something to return.
    """

    def __init__(self, listener: Callable[[], None]) -> None:
        self._rehasher = Rehasher(listener)
        self._files: dict[int, Arriving] = {}

    def begin(self, file: Arriving) -> None:
        """Have the claimed pieces of a file hashed.

        Raises:
            OSError: If it cannot be read, or another file has its name.
        """
        fd = file.directory.open_read(file.part)
        found = os.fstat(fd)
        if identity_from(found) != file.identity:
            os.close(fd)
            raise FileNotFoundError(errno.ENOENT, REPLACED)
        file.rehash = self._rehasher.begin(fd, file.leaves_of(file.unverified), file.range_of)
        self._files[file.index] = file

    def forget(self, index: int) -> None:
        """Expect nothing of this file any more."""
        self._files.pop(index, None)

    def look(self) -> list[tuple[Arriving, list[int], bool]]:
        """Return of each file what was found since: pieces that are not what was claimed, and whether that was all."""
        found = []
        for file in list(self._files.values()):
            rehash = file.rehash
            if rehash is None:
                continue
            over = rehash.future.done()
            bad = [piece for piece, right in rehash.answers() if file.looked_at(piece) and not right]
            if over:
                rehash.future.result()  # a fault of ours is not swallowed
                file.unverified.clear()  # what was reset meanwhile
                file.rehash = None
                del self._files[file.index]
            if bad or over:
                found.append((file, bad, over))
        return found

    def wait(self, *, ended: bool = True) -> None:
        """Wait until files are looked through: those that only wait for that, or (not ``ended``) all."""
        for file in self._files.values():
            if file.rehash is not None and (file.digest is not None or not ended):
                file.rehash.future.result()

    def close(self) -> None:
        """End the thread; the caller has ended what was under way."""
        self._rehasher.close()

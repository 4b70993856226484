"""From an entry's path, as it was offered, to its directory and its name on this disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping

from p2pal.disk.fs.directory import Directory, Tree
from p2pal.disk.fs.names import check_path


class Locator:
    """The entries of one transfer below its root directory, reached by handles that follow no link. For one thread.

    Args:
        root: The directory that everything goes into; released by :meth:`close`.
        name_of: Returns the name on disk of a top-level entry, or raises for one that has none.
        names: The names on disk of entries below those, by their paths, where theirs were taken; may grow.
        limit: Directories kept open.
    """

    def __init__(
        self, root: Directory, name_of: Callable[[bytes], bytes], names: Mapping[bytes, bytes], *, limit: int = 64
    ) -> None:
        self.root = root
        self._name_of = name_of
        self._names = names
        self._tree = Tree(lambda top: root.open_directory(name_of(top)), limit=limit, name_of=self._name_below)

    def locate(self, path: bytes) -> tuple[Directory, bytes]:
        """Return an entry's directory, for the caller to release, and its name in it.

        Raises:
            OSError: If its directory is missing, a link, or no directory.
        """
        parent, slash, name = path.rpartition(b"/")
        if not slash:
            name = self._name_of(name)
            return self.root.retain(), name
        return self._tree.directory(parent), self._name_below(path)

    def _name_below(self, path: bytes) -> bytes:
        """Return the name of an entry below a top-level one; one that a checkpoint gives is judged like a peer's."""
        name = self._names.get(path)
        if name is None:
            return path[path.rindex(b"/") + 1 :]
        if b"/" in name or check_path(name) is not None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return name

    def directory(self, path: bytes) -> Directory:
        """Return the directory that an entry is, for the caller to release. Raises OSError as :meth:`locate` does."""
        return self._tree.directory(path)

    def close(self) -> None:
        """Close all directories."""
        self._tree.close()
        self.root.release()

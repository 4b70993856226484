"""From an entry's path, as it was offered, to its directory and its name on this disk."""

from __future__ import annotations

from collections.abc import Callable

from p2pal.files.rooted import Directory, Tree


class Locator:
    """The entries of one transfer below its root directory, reached by handles that follow no link. For one thread.

    Args:
        root: The directory that everything goes into; released by :meth:`close`.
        name_of: Returns the name on disk of a top-level entry, or raises for one that has none.
        limit: Directories kept open.
    """

    def __init__(self, root: Directory, name_of: Callable[[bytes], bytes], *, limit: int = 64) -> None:
        self.root = root
        self._name_of = name_of
        self._tree = Tree(lambda top: root.open_directory(name_of(top)), limit=limit)

    def locate(self, path: bytes) -> tuple[Directory, bytes]:
        """Return an entry's directory, for the caller to release, and its name in it.

        Raises:
            OSError: If its directory is missing, a link, or no directory.
        """
        parent, slash, name = path.rpartition(b"/")
        if not slash:
            name = self._name_of(name)
            return self.root.retain(), name
        return self._tree.directory(parent), name

    def directory(self, path: bytes) -> Directory:
        """Return the directory that an entry is, for the caller to release. Raises OSError as :meth:`locate` does."""
        return self._tree.directory(path)

    def close(self) -> None:
        """Close all directories."""
        self._tree.close()
        self.root.release()

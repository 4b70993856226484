"""Which names of a tree are sent, where a list names them one by one (``--files-from``)."""

from __future__ import annotations

import os
import stat

from p2pal.disk.fs.os_errors import error_text
from p2pal.errors import UsageError


class Selection:
    """What was chosen, and the directories on the way there. Of a tree that is not restricted all is sent.

    Paths begin with the name of the argument; their parts are joined by slashes.
    """

    def __init__(self) -> None:
        self._restricted: set[bytes] = set()
        self._chosen: set[bytes] = set()
        self._on_the_way: set[bytes] = set()

    def restrict(self, top: bytes) -> None:
        """Send nothing of an argument but what is chosen."""
        self._restricted.add(top)

    def take_all(self, top: bytes) -> None:
        """Send all of an argument after all."""
        self._restricted.discard(top)

    def add(self, path: bytes) -> None:
        """Choose a name below an argument, and all below it if it is a directory."""
        self._chosen.add(path)
        parent = path.rpartition(b"/")[0]
        while b"/" in parent and parent not in self._on_the_way:
            self._on_the_way.add(parent)
            parent = parent.rpartition(b"/")[0]

    def takes(self, path: bytes) -> bool:
        """Say whether something below an argument is sent, or on the way to something that is."""
        if path.partition(b"/")[0] not in self._restricted or path in self._on_the_way:
            return True
        while b"/" in path:
            if path in self._chosen:
                return True
            path = path.rpartition(b"/")[0]
        return False


class ListedNames:
    """Looks at the names of a list, which are relative to the current directory, before anything is sent.

    Attributes:
        tops: The arguments that the names have made so far, by their first part.
    """

    def __init__(self) -> None:
        self.tops: dict[str, bytes] = {}
        self._plain: set[str] = set()  # directories that are no links

    def check(self, path: str, *, recursive: bool) -> None:
        """Refuse what the walk would not meet, or not meet as it was named.

        Args:
            path: The name, normalized.
            recursive: Whether it may be a directory.

        Raises:
            UsageError: If nothing is there, it is a directory and may not be, or a link is on the way to it.
        """
        try:
            mode = os.lstat(path).st_mode
        except (OSError, ValueError) as error:
            text = error_text(error) if isinstance(error, OSError) else "no such name"
            raise UsageError(f"{path}: {text}", hint="check the list, or use -skip-errors") from None
        if stat.S_ISDIR(mode) and not recursive:
            raise UsageError(f"{path} is a directory", hint="use -r to send directories")
        parent = os.path.dirname(path)
        fresh = []
        while os.path.dirname(parent) and parent not in self._plain:
            if os.path.islink(parent):
                raise UsageError(f"{path}: {parent} is a link to a directory", hint="name what it leads to")
            fresh.append(parent)
            parent = os.path.dirname(parent)
        self._plain.update(fresh)

"""The files that are arriving: which are in work, and how one ends that does not get its name."""

from __future__ import annotations

from typing import Final

from p2pal.checkpoint.records import CheckpointRecord, Declined, Dropped
from p2pal.disk.sink.claims import Claiming
from p2pal.disk.sink.leftovers import Leftovers
from p2pal.disk.sink.part_file import Arriving
from p2pal.disk.sink.verification import Verifying
from p2pal.errors import ProtocolError

MAX_OPEN: Final = 32
"""Incomplete files that stay open: the one that arrives, and some that are being repaired."""

_ENDED: Final = b"\x01"


class Working:
    """Files between their beginning and their end, by entry. For the writer's thread.

    Args:
        left: Part files that are not open.
        claiming: What the checkpoint says of those that are.
        verifying: Which of them are being hashed again.
    """

    def __init__(self, left: Leftovers, claiming: Claiming, verifying: Verifying) -> None:
        self._left = left
        self._claiming = claiming
        self._verifying = verifying
        self._files: dict[int, Arriving] = {}
        self._ended = bytearray()  # by index; a set would cost a hundred bytes for each of a million files that fail

    def __contains__(self, index: int) -> bool:
        return index in self._files

    def find(self, index: int) -> Arriving | None:
        """Return a file; None if it failed already.

        Raises:
            ProtocolError: If it never began, or is complete.
        """
        file = self._files.get(index)
        if file is None and self._ended[index : index + 1] != _ENDED:
            raise ProtocolError("the other side sent data of a file that is not open")
        return file

    def indices(self) -> list[int]:
        """Return the entries of all of them."""
        return list(self._files)

    def add(self, file: Arriving) -> None:
        """A file begins."""
        self._files[file.index] = file

    def make_room(self) -> list[tuple[Arriving, OSError]]:
        """Close the files that wait for repair, when there are many; return those that cannot be gone on with."""
        failed: list[tuple[Arriving, OSError]] = []
        if len(self._files) < MAX_OPEN:
            return failed
        opened = [file for file in self._files.values() if file.fd >= 0]
        for file in opened if len(opened) >= MAX_OPEN else ():
            try:
                file.park()
            except OSError as error:
                failed.append((file, error))
        return failed

    # How a file ends

    def complete(self, file: Arriving) -> None:
        """A file is whole and right; its part file is somebody else's now."""
        self._claiming.forget(file.index)
        del self._files[file.index]

    def fail(self, index: int) -> None:
        """An entry fails. Its part file stays for a later session, if that can use it; else it goes."""
        file = self._end(index)
        if file is not None and self._claiming.keeps(file):
            self._leave(file)
        elif file is not None:
            self._discard(file)

    def drop(self, index: int, *, given_up: bool = False) -> None:
        """Remove an entry's part file, also one that an earlier session left; ``given_up`` by a person for good."""
        if given_up:
            self._claiming.record(Declined([(index, index + 1)]))
        file = self._end(index)
        if file is not None:
            self._discard(file)
        elif self._left.remove(index):
            self._claiming.record(Dropped(index))

    def suspend(self, index: int) -> list[CheckpointRecord]:
        """Close a file; return what the checkpoint may say of it: all is on the medium."""
        file = self._end(index)
        if file is None:
            return []
        records = self._claiming.stop(file)
        if self._claiming.keeps(file):
            self._leave(file)
            return records
        self._discard(file)
        return []

    def _end(self, index: int) -> Arriving | None:
        """Take a file out of everything; nothing of it is expected any more."""
        self._ended.extend(bytes(max(0, index + 1 - len(self._ended))))
        self._ended[index : index + 1] = _ENDED
        self._claiming.forget(index)
        self._verifying.forget(index)
        return self._files.pop(index, None)

    def _discard(self, file: Arriving) -> None:
        if file.discard():
            self._claiming.record(Dropped(file.index))
        else:
            self._left.add(file.index, file.entry.path, file.identity)

    def _leave(self, file: Arriving) -> None:
        self._left.add(file.index, file.entry.path, file.identity)
        file.leave()

"""What was put under the final names of files, and as what it was offered: 49 bytes of memory for each file. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_PAGE: Final = 1024
_slot: Final = struct.Struct("<?Qq32s")


class Placed(NamedTuple):
    """One file as it was offered when it got its name.

    Attributes:
        size: Bytes.
        mtime_ns: When it was changed last at its source.
        digest: The file's; zeros where nobody said.
    """

    size: int
    mtime_ns: int
    digest: bytes


class PlacedFiles:
    """The last such file of each entry, by index, in pages: memory grows with what is put in, not with the indices."""

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def put(self, index: int, placed: Placed) -> None:
        """Remember an entry's; an earlier one is forgotten."""
        number, slot = divmod(index, _PAGE)
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = bytearray()
        start = slot * _slot.size
        page.extend(bytes(max(0, start + _slot.size - len(page))))
        _slot.pack_into(page, start, True, *placed)

    def get(self, index: int) -> Placed | None:
        """Return an entry's; None if it never had one."""
        number, slot = divmod(index, _PAGE)
        page = self._pages.get(number, b"")
        start = slot * _slot.size
        if start >= len(page):
            return None
        known, *fields = _slot.unpack_from(page, start)
        return Placed(*fields) if known else None

    def __iter__(self) -> Iterator[int]:
        """Yield the entries that have one."""
        for number, page in self._pages.items():
            for slot in range(len(page) // _slot.size):
                if page[slot * _slot.size]:
                    yield number * _PAGE + slot

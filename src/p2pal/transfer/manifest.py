"""The manifest: the entries of an offer, stored compactly, digested and counted as they come.

Entries are kept encoded in a byte store (a ``BytesIO`` or a spooled temporary file that the caller passes), with
eight bytes of memory for each: a tree of a million files costs no million objects.
"""

from __future__ import annotations

import hashlib
import io
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec

from p2pal.wire.transfer import (
    MAX_DIRECTORIES,
    MAX_ENTRIES,
    MAX_FILE_SIZE,
    MAX_OFFER_BYTES,
    MAX_TOPS,
    Entry,
    EntryKind,
)

DIGEST_PREFIX: Final = b"\x02"
SHAPE_PREFIX: Final = b"\x03"

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


RECENT: Final = 1024
"""Decoded entries that are kept: a file is looked up when it begins, and again when it ends a batch later."""
AHEAD: Final = 16
"""Entries that are decoded together while one after another is looked up."""
READ_TOGETHER: Final = 512
READ_BYTES: Final = 64 << 10


class Manifest:
    """An append-only list of entries.

    Args:
        store: Where the encoded entries live; seekable, opened for reading and writing, empty.

    Attributes:
        files: How many of the entries are files.
        total: Their bytes together.
    """

    def __init__(self, store: BinaryIO | None = None) -> None:
        self._store = io.BytesIO() if store is None else store
        self._offsets = array("Q", [0])
        self._hash = hashlib.sha256(DIGEST_PREFIX)
        self._at_end = True
        self._directories = 0
        self._tops = 0
        self._recent: dict[int, Entry] = {}
        self._next = 0  # behind what was looked up last
        self.files = 0
        self.total = 0

    def append(self, entry: Entry) -> int:
        """Add an entry and return its index.

        Raises:
            ValueError: If there are more entries or bytes than the protocol allows; says which, as 'at most ...'.
        """
        index = len(self._offsets) - 1
        data = _encoder.encode(entry)
        self._check(index, entry, len(data))
        if not self._at_end:
            self._store.seek(0, io.SEEK_END)
            self._at_end = True
        self._store.write(data)
        self._hash.update(len(data).to_bytes(4, "big"))
        self._hash.update(data)
        self._offsets.append(self._offsets[-1] + len(data))
        self._directories += entry.kind is EntryKind.DIRECTORY
        self._tops += b"/" not in entry.path
        if entry.kind is EntryKind.FILE:
            self.files += 1
            self.total += entry.size
        return index

    def _check(self, index: int, entry: Entry, size: int) -> None:
        if index >= MAX_ENTRIES:
            raise ValueError(f"at most {MAX_ENTRIES:,} entries")
        if entry.kind is EntryKind.DIRECTORY and self._directories >= MAX_DIRECTORIES:
            raise ValueError(f"at most {MAX_DIRECTORIES:,} directories")
        if self._tops >= MAX_TOPS and b"/" not in entry.path:
            raise ValueError(f"at most {MAX_TOPS:,} files and directories side by side at its top")
        if self._offsets[-1] + size > MAX_OFFER_BYTES:
            raise ValueError(f"at most {MAX_OFFER_BYTES >> 20} MiB of names")
        if self.total + entry.size > MAX_FILE_SIZE:
            raise ValueError(f"at most {MAX_FILE_SIZE:,} bytes")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> Entry:
        recent = self._recent
        found = recent.get(index)
        if found is not None:
            return found
        if not 0 <= index < len(self):
            raise IndexError(index)
        entries = self._read(index, AHEAD if index == self._next else 1)
        self._next = index + len(entries)
        for number, entry in enumerate(entries, index):
            if number not in recent and len(recent) >= RECENT:
                del recent[next(iter(recent))]  # the oldest: dictionaries keep their order
            recent[number] = entry
        return entries[0]

    def __iter__(self) -> Iterator[Entry]:
        first = 0
        while first < len(self):
            entries = self._read(first, READ_TOGETHER)
            yield from entries
            first += len(entries)

    def _read(self, first: int, most: int) -> list[Entry]:
        """Return entries from ``first`` on, at least one, at most so many, in one read of about 64 KiB at most."""
        offsets = self._offsets
        count, data = self.encoded(first, most, READ_BYTES)
        view, start = memoryview(data), offsets[first]
        return [
            _decoder.decode(view[offsets[index] - start : offsets[index + 1] - start])
            for index in range(first, first + count)
        ]

    def encoded(self, first: int, max_count: int, max_bytes: int) -> tuple[int, bytes]:
        """Return how many entries from ``first`` on fit the two limits, and their encoded bytes, one after another.

        At least one entry is returned, however long it is.
        """
        start = self._offsets[first]
        stop = bisect_right(self._offsets, start + max_bytes, lo=first + 1) - 1
        stop = min(max(stop, first + 1), first + max_count)
        self._store.seek(start)
        self._at_end = False
        return stop - first, self._store.read(self._offsets[stop] - start)

    def shape(self) -> bytes:
        """SHA-256 as :meth:`digest` over the entries with size, mode and time of each file set to 0, 32 bytes.

        Two manifests of one shape differ in nothing but what a file's owner may change in place. Reads them all.
        """
        found = hashlib.sha256(SHAPE_PREFIX)
        for entry in self:
            same = Entry(entry.path, EntryKind.FILE, 0, 0, 0) if entry.kind is EntryKind.FILE else entry
            data = _encoder.encode(same)
            found.update(len(data).to_bytes(4, "big"))
            found.update(data)
        return found.digest()

    def digest(self) -> bytes:
        """SHA-256(0x02 || for each entry: u32 length || MessagePack), 32 bytes; consent binds it."""
        return self._hash.copy().digest()

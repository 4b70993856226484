"""Which file each entry was when it was listed: 24 bytes of memory for each."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from typing import Final

from p2pal.checkpoint.records import Listing
from p2pal.disk.fs.rename import identity_from
from p2pal.transfer.manifest import Manifest
from p2pal.wire.transfer import MAX_MTIME_NS

Identity3 = tuple[int, int, int]
"""Device, inode, and the time of the last change of content or attributes (nanoseconds)."""

PERMISSIONS: Final = 0o777
"""What of a mode travels."""

_TIME_LIMIT: Final = MAX_MTIME_NS
LISTING_ENTRIES: Final = 4096
"""Entries that one record of a checkpoint holds at most."""
_LISTING_BYTES: Final = 1 << 20


def in_range(nanoseconds: int) -> int:
    """Return the time as an entry can carry it: file systems know years that the protocol does not."""
    return max(-_TIME_LIMIT, min(_TIME_LIMIT, nanoseconds))


def version_of(found: os.stat_result) -> Identity3:
    """Return what tells this file from others, in the ranges that a checkpoint can hold."""
    return *identity_from(found), in_range(found.st_ctime_ns)


class Identities:
    """The identities of entries, by index."""

    def __init__(self) -> None:
        self._devices = array("Q")
        self._inodes = array("Q")
        self._ctimes = array("q")

    def append(self, identity: Identity3) -> int:
        """Add the next entry's; return its index."""
        device, inode, ctime_ns = identity
        self._devices.append(device)
        self._inodes.append(inode)
        self._ctimes.append(ctime_ns)
        return len(self._ctimes) - 1

    def __getitem__(self, index: int) -> Identity3:
        return self._devices[index], self._inodes[index], self._ctimes[index]

    def __len__(self) -> int:
        return len(self._ctimes)

    def listings(self, manifest: Manifest, most: int = LISTING_ENTRIES) -> Iterator[Listing]:
        """Yield a checkpoint's records of all entries, ``most`` or fewer in each."""
        first = 0
        while first < len(manifest):
            count, entries = manifest.encoded(first, most, _LISTING_BYTES)
            yield Listing(first, entries, [self[index] for index in range(first, first + count)])
            first += count

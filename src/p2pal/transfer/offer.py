"""The receiver's reading of an offer: every entry is checked before anyone is asked for consent.

What must hold on every platform is checked here: paths are relative and have no empty, ``.`` or ``..`` part, every
parent is listed before its children and is a directory, no path comes twice, kinds and sizes fit, the totals are the
true ones. What a name may be on *this* machine, and where a link may lead, is the sink's business.

The costs are bounded by what a manifest takes (:data:`~p2pal.wire.transfer.MAX_ENTRIES` and its neighbours): eight
bytes for each path, so that duplicates are found; some ninety for each directory.
"""

from __future__ import annotations

import re
from array import array
from typing import Final

from p2pal.errors import ProtocolError
from p2pal.transfer.events import OfferComplete, TopEntry
from p2pal.transfer.manifest import Manifest
from p2pal.wire.transfer import Entry, EntryKind, OfferEnd, OfferPart

MAX_TOPS: Final = 1000
"""Top-level entries that are described to the user one by one, and as many hidden ones; the rest is counted."""

_BUCKETS: Final = 256
_bad_path: Final = re.compile(rb"\A/|/\Z|//|\x00|(?:\A|/)\.\.?(?:/|\Z)")


class OfferReader:
    """Checks the entries of an offer as they come, and adds them to a manifest.

    Args:
        manifest: Empty; gets every entry that was found in order.
        kinds: Empty; gets the kind of each entry, one byte each.
    """

    def __init__(self, manifest: Manifest, kinds: bytearray) -> None:
        self._manifest = manifest
        self._kinds = kinds
        # A hash of each path, by its low byte. Python's keyed SipHash: the sender cannot aim at collisions, and
        # even with the most entries a false alarm has odds of 1 in 300,000. No duplicate is missed.
        self._paths = [array("q") for _ in range(_BUCKETS)]
        self._directories: set[int] = set()
        self._parent = b""
        self._tops: dict[bytes, list[int]] = {}
        self._top_count = 0

    def add(self, part: OfferPart) -> None:
        """Take the next entries.

        Raises:
            ProtocolError: If they are not the next ones, or one of them is not in order; those before it were added.
        """
        if part.first != len(self._manifest):
            raise ProtocolError("the other side's offer has a gap")
        for entry in part.entries:
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        path, kind = entry.path, entry.kind
        if _bad_path.search(path):
            raise ProtocolError("the other side offered a path that leaves its place")
        if kind is EntryKind.LINK:
            if entry.size or not entry.target or b"\0" in entry.target:
                raise ProtocolError("the other side offered a link without a proper target")
        elif entry.target or (entry.size and kind is not EntryKind.FILE):
            raise ProtocolError("the other side offered an entry that contradicts itself")
        parent, slash, _ = path.rpartition(b"/")
        if slash and parent != self._parent:  # most entries have the parent of the one before
            if hash(parent) not in self._directories:
                raise ProtocolError("the other side offered an entry without its directory")
            self._parent = parent
        try:
            self._manifest.append(entry)
        except ValueError as error:
            raise ProtocolError("the other side's offer is larger than the protocol allows") from error
        key = hash(path)
        self._paths[key % _BUCKETS].append(key)
        if kind is EntryKind.DIRECTORY:
            self._directories.add(key)
        self._kinds.append(kind)
        self._count(path, slash == b"", entry)

    def _count(self, path: bytes, is_top: bool, entry: Entry) -> None:
        if is_top:
            self._top_count += 1
            # Hidden names are told of even where the others are only counted: they are what a person should see.
            if len(self._tops) < (2 * MAX_TOPS if path.startswith(b".") else MAX_TOPS):
                self._tops.setdefault(path, [entry.kind, 0, 0])
        if entry.kind is EntryKind.FILE and (top := self._tops.get(path.partition(b"/")[0])):
            top[1] += 1
            top[2] += entry.size

    def end(self, end: OfferEnd) -> OfferComplete:
        """Take the end of the offer and return the summary of all.

        Raises:
            ProtocolError: If the totals or the digest are not those of the entries, or a path came twice.
        """
        manifest = self._manifest
        if (end.entries, end.files, end.total) != (len(manifest), manifest.files, manifest.total):
            raise ProtocolError("the other side's totals are not those of its offer")
        if end.digest != manifest.digest():
            raise ProtocolError("the other side's offer does not have the digest it states")
        for bucket in self._paths:
            if len(set(bucket)) != len(bucket):
                raise ProtocolError("the other side offered one path twice")
        tops = [TopEntry(path, EntryKind(kind), files, size) for path, (kind, files, size) in self._tops.items()]
        return OfferComplete(
            len(manifest), manifest.files, manifest.total, tops, self._top_count - len(tops), end.left_out
        )

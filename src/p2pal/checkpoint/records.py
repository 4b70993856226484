"""What is remembered of a transfer so that it can go on later: records, and what follows from them. Pure.

The first record is the :class:`CheckpointHeader`; then comes what belongs to it (the receiver's :class:`Places`, the
sender's :class:`Listing`), then what happens. A checkpoint may know less than the disk holds, never more: a record is
written after what it claims is durable. How records stand in the file says :mod:`p2pal.checkpoint.codec`, what follows
from them :mod:`p2pal.checkpoint.replay`.

The receiver's side keeps no manifest. The sender repeats the offer when a transfer goes on; that it is the same one
its digest says, and that nothing but sizes, times and modes of files changed since says its *shape*
(:func:`p2pal.transfer.manifest.Manifest.shape`).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from p2pal.ranges import RangeSet
from p2pal.role import Role
from p2pal.wire.transfer import MAX_ENTRIES, MAX_FILE_SIZE, MAX_PATH

VERSION: Final = 1
"""Of the checkpoint's format; a file with a higher one was made by a newer p2pal."""


_U64 = Annotated[int, msgspec.Meta(ge=0)]  # MessagePack has none above 2^64 - 1
_Time = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_FILE_SIZE)]
_Index = Annotated[int, msgspec.Meta(ge=0, le=MAX_ENTRIES)]
_Piece = Annotated[int, msgspec.Meta(ge=0, le=MAX_FILE_SIZE)]
_Id = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
_Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_Path = Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_PATH)]

StoredIdentity = tuple[_U64, _U64]
"""Device and inode."""


class Target(msgspec.Struct, frozen=True, array_like=True):
    """Receiver: where it writes.

    Attributes:
        root: The directory, absolute.
        identity: Which directory that was.
        consent_ns: The file system's time at consent: with a merge, older files may be replaced. 0 without a merge.
    """

    root: _Path
    identity: StoredIdentity
    consent_ns: _Time = 0


class CheckpointHeader(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """First in every checkpoint. Times are seconds since the epoch.

    Attributes:
        id: The checkpoint's name, :func:`p2pal.crypto.keys.checkpoint_id`.
        transfer_id: 16 bytes.
        resume_key: 32 bytes, secret.
        created: When the transfer was accepted.
        ttl: Seconds, from the last use on, after which ``clean`` may remove it.
        digest: The manifest's.
        shape: The manifest's without what may change: sizes, times and modes of files.
        names: Top-level names, the first few, for the list.
        more: How many further ones there are.
        skip_errors: One bad file does not stop the others.
        target: The receiver's.
        chunk_kib: The sender's.
    """

    version: int
    role: Role
    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z2-7]{26}\Z")]
    transfer_id: _Id
    resume_key: _Digest
    created: float
    ttl: float
    digest: _Digest
    shape: _Digest
    entries: _Index
    files: _Index
    total: _Size
    names: Annotated[list[_Path], msgspec.Meta(max_length=16)]
    more: _Index
    skip_errors: bool = False
    target: Target | None = None
    chunk_kib: int = 63

    def __repr__(self) -> str:
        return f"<CheckpointHeader of {self.id[:8]}>"


class PlaceRecord(msgspec.Struct, frozen=True, array_like=True):
    """Receiver: where one top-level entry goes; as :class:`p2pal.disk.sink.placement.Place`, ``policy`` by its name."""

    top: _Path
    name: _Path
    policy: Literal["NEW", "REPLACE", "MERGE"]
    replaces: StoredIdentity | None = None
    ctime_ns: _Time = 0


class Places(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Receiver: some of the places; together they name every top-level entry."""

    places: list[PlaceRecord]


class TopRecord(msgspec.Struct, frozen=True, array_like=True):
    """Sender: one argument of the command line; ``path`` is absolute."""

    name: _Path
    path: _Path
    directory: bool


class Tops(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Sender: some of the arguments."""

    tops: list[TopRecord]


class Listing(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Sender: entries from index ``first`` on, as they were offered, one after another as MessagePack.

    ``identities`` are (device, inode, ctime_ns) of each, as the walk saw it.
    """

    first: _Index
    entries: bytes
    identities: list[tuple[_U64, _U64, _Time]]


class SessionBegins(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Either side goes on from here: earlier :class:`Stopped` say nothing now."""


class Rooted(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Receiver: the directory that is written into was made anew, under the same path; this is it from here on."""

    identity: StoredIdentity


class Begun(msgspec.Struct, frozen=True, array_like=True, tag=10, gc=False):
    """Receiver: this file has a part file. ``size`` and ``mtime_ns`` are the entry's, ``path`` as offered."""

    index: _Index
    part: StoredIdentity
    size: _Size
    mtime_ns: _Time
    path: _Path


class Claimed(msgspec.Struct, frozen=True, array_like=True, tag=11, gc=False):
    """Receiver: pieces from ``first`` on are durable in the part file and have these leaves (32 bytes each).

    Of piece ``piece`` the first ``head`` bytes are durable too; 0 for none. Later claims replace earlier ones.
    """

    index: _Index
    first: _Piece
    leaves: bytes
    piece: _Piece = 0
    head: _Size = 0


class Finishing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One file that is verified, durable, and about to get its name.

    Attributes:
        index: Its entry.
        part: The part file.
        digest: The file's.
        replaces: The file that stands under its name and may be replaced; it may be left under the part's name.
    """

    index: _Index
    part: StoredIdentity
    digest: _Digest
    replaces: StoredIdentity | None = None


class Finishings(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Receiver: a batch. Written, and durable, before the first of these files is renamed."""

    files: list[Finishing]


class Done(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """Receiver: these entries (half-open ranges) stand, durable, under their names."""

    ranges: list[tuple[_Index, _Index]]


class Dropped(msgspec.Struct, frozen=True, array_like=True, tag=14, gc=False):
    """Receiver: the part file of this entry is gone; nothing of it is claimed."""

    index: _Index


class Declined(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """Either side: a person does not want these entries (half-open ranges) any more."""

    ranges: list[tuple[_Index, _Index]]


class Made(msgspec.Struct, frozen=True, array_like=True, tag=16, gc=False):
    """Receiver: this top-level directory is ours: we made it."""

    top: _Path
    identity: StoredIdentity


class Named(msgspec.Struct, frozen=True, array_like=True, tag=19, gc=False):
    """Receiver: this entry (``path`` as offered) stands, or is about to, under ``name``: its own is taken.

    Durable before anything gets that name. The last one of an entry counts.
    """

    path: _Path
    name: _Path


class Stopped(msgspec.Struct, frozen=True, array_like=True, tag=17, gc=False):
    """Receiver: a clean stop; nobody has touched the part file as long as all of this is still true of it."""

    index: _Index
    part: StoredIdentity
    size: _Size
    mtime_ns: _Time
    ctime_ns: _Time


class Unclaimed(msgspec.Struct, frozen=True, array_like=True, tag=18, gc=False):
    """Receiver: pieces from ``first`` up to, not including, ``stop`` are not claimed any more: they are written again.

    What is claimed of a piece in part stays: it is hashed before it is gone on with.
    """

    index: _Index
    first: _Piece
    stop: _Piece


class Leaves(msgspec.Struct, frozen=True, array_like=True, tag=20, gc=False):
    """Sender: the leaves of pieces from ``first`` on, of the file as it was offered, hashed until ``at`` (seconds)."""

    index: _Index
    first: _Piece
    leaves: bytes
    at: float


class Arrived(msgspec.Struct, frozen=True, array_like=True, tag=21, gc=False):
    """Sender: so many bytes and files are known to be at the receiver; for the list only."""

    done: _Size
    files: _Index


CheckpointRecord = (
    CheckpointHeader | Places | Tops | Listing | SessionBegins | Rooted | Begun | Claimed | Finishings | Done | Dropped
    | Declined | Made | Stopped | Unclaimed | Named | Leaves | Arrived
)  # fmt: skip


class Claim(msgspec.Struct, frozen=True):
    """What of one unfinished file of two pieces or more the receiver's disk has.

    Attributes:
        part: The part file.
        leaves: The leaves of the pieces that are there, by number.
        piece: The piece of which a part is there,
        head: and how many bytes, from its start on; 0 for none.
        trusted: Nobody has touched the part file since a clean stop; otherwise the pieces are hashed again, in the
            background, before the file gets its name.
    """

    part: tuple[int, int]
    leaves: dict[int, bytes]
    piece: int = 0
    head: int = 0
    trusted: bool = False


class Resume(msgspec.Struct, frozen=True):
    """Where the receiver's machine goes on.

    Attributes:
        done: Entries that stand under their names; they are not sent again.
        declined: Entries that the person did not want.
        claims: What is there of others; a file of one piece starts over and is not named.
    """

    done: RangeSet
    declined: RangeSet
    claims: dict[int, Claim]

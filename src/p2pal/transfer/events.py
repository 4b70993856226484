"""What the transfer's machines tell their shell. Entries are named by index; the manifest knows names.

Texts and names may come from the peer: whoever shows them makes them safe first.
"""

from __future__ import annotations

import msgspec

from p2pal.wire.transfer import EntryKind, Reason


class TopEntry(msgspec.Struct, frozen=True):
    """One top-level entry of an offer: its path, what it is, and the files and bytes in it."""

    path: bytes
    kind: EntryKind
    files: int
    size: int


class OfferComplete(msgspec.Struct, frozen=True):
    """Receiver: the whole offer is here and in order; someone must accept or refuse.

    Attributes:
        entries: How many entries it has.
        files: How many of them are files.
        total: Their bytes together.
        tops: The first top-level entries.
        more: How many further top-level entries there are.
        left_out: What the sender could not list and left out.
    """

    entries: int
    files: int
    total: int
    tops: list[TopEntry]
    more: int
    left_out: int


class Started(msgspec.Struct, frozen=True):
    """The receiver has accepted and said what it lacks; files flow from now on.

    What is there already has no event of its own, but :class:`Finished` counts it.

    Attributes:
        resumed: Both sides proved that they go on with an earlier transfer.
        files: Files that stand at the receiver already, under their names.
        done: The bytes of those, and of pieces of other files that it has and did not ask for.
    """

    resumed: bool = False
    files: int = 0
    done: int = 0


class ProofWanted(msgspec.Struct, frozen=True):
    """Receiver: the sender says that it goes on with an earlier transfer; someone must answer with a proof, or none."""


class Proven(msgspec.Struct, frozen=True):
    """Sender: the receiver proved that it had the earlier transfer, too. Whether it goes on, its consent says."""


class ProofMissing(msgspec.Struct, frozen=True):
    """Sender: who joined is not the one from before. It hears no name until someone admits or refuses it."""


class Held(msgspec.Struct, frozen=True):
    """Sender: the receiver can write nothing for now, because of ``reason``; with ``held`` false it can again."""

    held: bool
    reason: Reason


class Durable(msgspec.Struct, frozen=True, gc=False):
    """So many bytes of the transfer are durable at the receiver (:mod:`p2pal.checkpoint.durable`).

    That is what it goes on from. The receiver's word, bounded by the offer's total.
    """

    bytes: int


class EntryStarted(msgspec.Struct, frozen=True, gc=False):
    """The first bytes of this file are on their way. Empty files have it too; directories and links have not.

    ``done`` bytes of it are at the receiver from an earlier session.
    """

    index: int
    done: int = 0


class EntryCompared(msgspec.Struct, frozen=True, gc=False):
    """Sender: this file may have changed while it was read; it is read again, and what differs travels again."""

    index: int


class BytesMoved(msgspec.Struct, frozen=True, gc=False):
    """``count`` bytes of this file were handed to the session, or came from it. Repairs do not count."""

    index: int
    count: int


class EntryFinished(msgspec.Struct, frozen=True, gc=False):
    """This entry stands at the receiver, durable, under its final name.

    ``digest`` is a file's digest (:mod:`p2pal.wire.pieces`), empty for directories and links, and for a file that
    was not sent.
    """

    index: int
    digest: bytes


class EntryNamed(msgspec.Struct, frozen=True, gc=False):
    """Receiver: this entry stands under ``name`` in its directory, because something else has its own name."""

    index: int
    name: bytes


class EntryFailed(msgspec.Struct, frozen=True, gc=False):
    """This entry did not go through, or was declined. What was never listed has no ``index`` but a ``name``."""

    index: int | None
    reason: Reason
    text: str
    name: str = ""


class Aborted(msgspec.Struct, frozen=True):
    """The transfer stops; :class:`Finished` follows once what is in work has ended."""

    reason: Reason
    text: str
    by_peer: bool


class Finished(msgspec.Struct, frozen=True):
    """The last event, always and once.

    Attributes:
        ok: Entries that stand at the receiver.
        failed: Entries that do not; after an abort, those are further ones that neither number counts.
        files_ok: The files among the former.
        files_failed: The files among the latter.
        left_out: What the sender could not list.
        seconds: Time since files began to flow; 0 if they never did.
        given_up: The failed entries that a person, on either side, does not want any more.
    """

    ok: int
    failed: int
    files_ok: int
    files_failed: int
    left_out: int
    seconds: float
    given_up: int = 0


TransferEvent = (
    ProofWanted | OfferComplete | Proven | ProofMissing | Started | EntryStarted | EntryCompared | BytesMoved
    | EntryFinished | EntryNamed | EntryFailed | Held | Durable | Aborted | Finished
)  # fmt: skip

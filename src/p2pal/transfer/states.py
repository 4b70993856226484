"""The two machines' states, and what each may be given in each: as data.

A transfer is a short conversation with one long middle. The sender speaks first: it lists what it has, while it is
still walking its tree, and closes the list with totals and a digest. Then it waits for a person. The receiver reads the
list, checks it, and waits for its own person; consent names the digest, so that it is consent to exactly that list. Who
goes on with an earlier transfer begins the list with a proof, and the receiver answers with its own, while the list
comes in or, if the sender asks it to prove itself first, before. Then the receiver says what it lacks, which is
everything or, in a transfer that is resumed, less. From then on file bytes run one way and verdicts the other, and both
sides count: the sender is through when it has closed every wanted file (``SENT``), the receiver when it has judged
every entry. The receiver says the last word, Complete, after its disk has said *its* last word, Sealed.

::

    sender     WAITING -> OFFERING -> OFFERED -> AGREED -> SENDING -> SENT ---------------> ENDED
    receiver   WAITING -> OFFERING -> OFFERED ---------> RECEIVING -> CLOSING -> SEALING ---> ENDED

Anyone may stop at any time. Before consent that ends the machine at once. Afterwards it is ``STOPPED`` for a while:
the files that were complete when it happened are still made durable and reported, so that both sides know, for every
entry, how it ended.

Two kinds of input are listed here. Records come from the peer; one that its state does not list is the peer's
fault and raises :class:`~p2pal.errors.ProtocolError`. Calls come from the shell; one that its state does not list is a
bug and raises :class:`RuntimeError`. Results from the disk, ``hold``, ``cancel`` and the timer are always allowed and
ignored where they mean nothing any more: threads answer late. ``STOPPED`` lists what may still be under way from a peer
that does not know yet; ``ENDED`` ignores the peer altogether.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from p2pal.errors import ProtocolError
from p2pal.wire import transfer as wire

Input = type[wire.Record] | str


class SenderState(Enum):
    """Where the sender is."""

    WAITING = "no peer yet; entries are collected"
    OFFERING = "the offer streams out, or waits for a proof of who joined"
    OFFERED = "the whole offer is out; consent is awaited"
    AGREED = "the receiver consented and is still saying what it lacks"
    SENDING = "what it lacks is known; files flow"
    SENT = "every wanted file is closed; repairs and verdicts"
    STOPPED = "aborted while files flowed; the last verdicts are awaited"
    ENDED = "over"


class ReceiverState(Enum):
    """Where the receiver is."""

    WAITING = "no offer yet"
    OFFERING = "the offer streams in"
    OFFERED = "the whole offer is in; a person is asked"
    RECEIVING = "files flow"
    CLOSING = "every wanted file was closed by the sender; repairs, and the disk's answers"
    SEALING = "every file is judged; links, directories' attributes, and all of it made durable"
    STOPPED = "aborted while files flowed; the disk's answers are awaited"
    ENDED = "over"


_VERDICTS: Final[set[Input]] = {wire.Verdicts, wire.PieceAgain, wire.Hold}
_FILES: Final[set[Input]] = {wire.Chunk, wire.PieceDone, wire.FileDone, wire.FileFailed, wire.AllSent}
_REPAIRS: Final[set[Input]] = {wire.Chunk, wire.PieceDone, wire.FileFailed}

SENDER: Final[dict[SenderState, frozenset[Input]]] = {
    SenderState.WAITING: frozenset({"start", "add", "finish"}),
    SenderState.OFFERING: frozenset({"add", "finish", "admit", wire.Proof, wire.Abort}),
    SenderState.OFFERED: frozenset({wire.Proof, wire.Accept, wire.Abort}),
    SenderState.AGREED: frozenset({wire.Want, wire.Verdicts, wire.Hold, wire.Abort}),
    SenderState.SENDING: frozenset({*_VERDICTS, wire.Abort}),
    SenderState.SENT: frozenset({*_VERDICTS, wire.Complete, wire.Abort}),
    SenderState.STOPPED: frozenset({"add", "finish", wire.Proof, wire.Want, *_VERDICTS, wire.Complete, wire.Abort}),
    SenderState.ENDED: frozenset({"add", "finish", "admit"}),
}

RECEIVER: Final[dict[ReceiverState, frozenset[Input]]] = {
    ReceiverState.WAITING: frozenset({"refuse", wire.OfferBegin, wire.Abort}),
    ReceiverState.OFFERING: frozenset({"prove", "refuse", wire.OfferPart, wire.OfferEnd, wire.Abort}),
    ReceiverState.OFFERED: frozenset({"prove", "accept", "refuse", wire.Abort}),
    ReceiverState.RECEIVING: frozenset({*_FILES, wire.Abort}),
    ReceiverState.CLOSING: frozenset({*_REPAIRS, wire.Abort}),
    ReceiverState.SEALING: frozenset({*_REPAIRS, wire.Abort}),
    ReceiverState.STOPPED: frozenset({*_FILES, wire.Abort}),
    ReceiverState.ENDED: frozenset({"prove", "accept", "refuse"}),
}


def check_record(allowed: frozenset[Input], kind: type[wire.Record]) -> None:
    """Raise :class:`ProtocolError` unless a record of this kind is allowed."""
    if kind not in allowed:
        message = f"the other side sent {kind.__name__} when that is not allowed"
        raise ProtocolError(message)


def check_call(allowed: frozenset[Input], call: str) -> None:
    """Raise :class:`RuntimeError` unless this call is allowed."""
    if call not in allowed:
        message = f"{call} is not allowed now"
        raise RuntimeError(message)

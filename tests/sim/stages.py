"""Each machine of the transfer brought into each of its states, for tests of what is allowed there."""

from __future__ import annotations

from tests.sim.transfers import LIMIT, RECEIVER_PROOF, SENDER_PROOF, TRANSFER_ID

from p2pal.checkpoint.records import Claim, Resume
from p2pal.ranges import RangeSet
from p2pal.transfer import ops
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.receiver import Receiver
from p2pal.transfer.sender import Sender
from p2pal.transfer.states import ReceiverState, SenderState
from p2pal.wire import transfer as wire
from p2pal.wire.pieces import file_digest, leaf
from p2pal.wire.transfer import Entry, EntryKind, Reason, Record

MIB = 1 << 20
DATA = b"data"
ENTRIES = [
    Entry(b"d", EntryKind.DIRECTORY),
    Entry(b"d/a", EntryKind.FILE, len(DATA)),
    Entry(b"l", EntryKind.LINK, target=b"d"),
]
DIGEST = file_digest(len(DATA), MIB, [leaf(DATA)])


def payload(*records: Record) -> bytes:
    """Return one payload."""
    return b"".join(b"".join(wire.encode_record(record)) for record in records)


def manifest_of(entries: list[Entry]) -> Manifest:
    manifest = Manifest()
    for entry in entries:
        manifest.append(entry)
    return manifest


def offer_end(entries: list[Entry]) -> wire.OfferEnd:
    """Return the true end of an offer of these entries."""
    manifest = manifest_of(entries)
    return wire.OfferEnd(len(manifest), manifest.files, manifest.total, manifest.digest())


def records_of(machine: Sender | Receiver) -> list[Record]:
    """Drain what a machine says."""
    return [record for each in machine.outputs() for record in wire.decode_payload(b"".join(each))]


def new_sender(*, skip_errors: bool = False, resuming: bool = False, pinned: bool = False) -> Sender:
    proof, expected = (SENDER_PROOF, RECEIVER_PROOF) if resuming or pinned else (b"", b"")
    return Sender(
        TRANSFER_ID, payload_limit=LIMIT, skip_errors=skip_errors, manifest=Manifest(), now=0.0, proof=proof,
        expected=expected, pinned=pinned,
    )  # fmt: skip


def new_receiver() -> Receiver:
    return Receiver(payload_limit=LIMIT, manifest=Manifest(), now=0.0)


def offering_sender(entries: list[Entry], *, pinned: bool = False) -> Sender:
    """Return a sender that would go on with a transfer of these entries, its list complete, and nothing drained."""
    sender = new_sender(skip_errors=True, resuming=True, pinned=pinned)
    sender.add_entries(entries, 0.0)
    sender.finish_offer(0.0)
    sender.start(0.0)
    return sender


def resuming_sender(entries: list[Entry], *wants: Record) -> Sender:
    """Return a sender that goes on with a transfer of these entries, drained, and what it was said then."""
    sender = offering_sender(entries)
    list(sender.outputs())
    sender.handle_payload(payload(wire.Proof(RECEIVER_PROOF)), 1.0)
    list(sender.outputs())
    list(sender.events())
    sender.handle_payload(payload(wire.Accept(sender.manifest.digest(), RECEIVER_PROOF), *wants), 1.0)
    return sender


def resuming_receiver(
    entries: list[Entry], claims: dict[int, Claim], done: list[tuple[int, int]] | None = None,
    declined: list[tuple[int, int]] | None = None,
) -> Receiver:  # fmt: skip
    """Return a receiver that goes on with a transfer of these entries; nothing is drained since it accepted."""
    receiver = new_receiver()
    receiver.handle_payload(payload(wire.OfferBegin(TRANSFER_ID, True, SENDER_PROOF)), 0.0)
    receiver.prove(RECEIVER_PROOF, 0.0)
    receiver.handle_payload(payload(wire.OfferPart(0, entries), offer_end(entries)), 0.0)
    list(receiver.events())
    list(receiver.outputs())
    resume = Resume(RangeSet(done or []), RangeSet(declined or []), claims)
    receiver.accept(1.0, resume=resume, proof=RECEIVER_PROOF)
    return receiver


def claim(*pieces: int, piece: int = 0, head: int = 0) -> Claim:
    """Return a claim of these pieces, whose leaves say their number."""
    return Claim((1, 1), {number: bytes((number,)) * 32 for number in pieces}, piece, head)


def sender_in(
    state: SenderState, entries: list[Entry] = ENTRIES, *, skip_errors: bool = False, resuming: bool = False
) -> Sender:
    """Return a sender of these entries (one file, ``DATA``, at index 1) in this state, drained.

    If it is ``resuming``, the proof comes with the consent; nothing stands at the receiver.
    """
    sender = new_sender(skip_errors=skip_errors, resuming=resuming)
    sender.add_entries(entries, 0.0)
    if state is SenderState.WAITING:
        return sender
    sender.start(0.0)
    list(sender.outputs())
    if state is SenderState.OFFERING:
        return sender
    sender.finish_offer(0.0)
    list(sender.outputs())
    if state is SenderState.OFFERED:
        return sender
    if resuming:
        sender.handle_payload(payload(wire.Proof(RECEIVER_PROOF)), 1.0)
    proof = RECEIVER_PROOF if resuming else b""
    sender.handle_payload(payload(wire.Accept(sender.manifest.digest(), proof)), 1.0)
    if state is SenderState.AGREED:
        return sender
    sender.handle_payload(payload(wire.Want([(0, len(entries))], [])), 1.0)
    list(sender.jobs())
    if state is SenderState.STOPPED:
        sender.cancel(Reason.CANCELLED, "", 1.0)
    elif state is not SenderState.SENDING:
        sender.handle_source([ops.BlockRead(1, 0, DATA), ops.PieceRead(1, 0, leaf(DATA)), ops.FileRead(1, DIGEST)], 1.0)
    list(sender.outputs())
    if state is SenderState.ENDED:
        verdicts = [wire.Verdict(index, True) for index in range(len(entries))]
        sender.handle_payload(payload(wire.Verdicts(verdicts), wire.Complete(len(entries), 0)), 2.0)
    assert sender.state is state
    return sender


def receiver_in(
    state: ReceiverState, entries: list[Entry] = ENTRIES, *, skip_errors: bool = False, resuming: bool = False
) -> Receiver:
    """Return a receiver of these entries (one file, ``DATA``, at index 1) in this state, drained.

    If the sender is ``resuming``, the proof is given before the consent; nothing stands here.
    """
    receiver = new_receiver()
    steps: dict[ReceiverState, list[Record]] = {
        ReceiverState.OFFERING: [wire.OfferBegin(TRANSFER_ID, skip_errors, SENDER_PROOF if resuming else b"")],
        ReceiverState.OFFERED: [wire.OfferPart(0, entries), offer_end(entries)],
    }
    for step, records in steps.items():
        if state is ReceiverState.WAITING:
            return receiver
        receiver.handle_payload(payload(*records), 0.0)
        assert receiver.state is step
        if step is state:
            return receiver
    if resuming:
        receiver.prove(RECEIVER_PROOF, 1.0)
    receiver.accept(1.0)
    if state is ReceiverState.STOPPED:
        receiver.handle_payload(payload(wire.Chunk(1, 0, DATA), wire.FileDone(1, DIGEST)), 1.0)
        receiver.cancel(Reason.CANCELLED, "", 1.0)
    elif state is not ReceiverState.RECEIVING:
        sent = (wire.Chunk(1, 0, DATA), wire.FileDone(1, DIGEST), wire.AllSent())
        receiver.handle_payload(payload(*sent), 1.0)
        if state is not ReceiverState.CLOSING:
            list(receiver.ops())
            receiver.handle_results([ops.EntryDone(0), ops.EntryDone(1)], 2.0)
        if state is ReceiverState.ENDED:
            list(receiver.ops())
            receiver.handle_results([ops.EntryDone(2), ops.Sealed()], 2.0)
    list(receiver.ops())
    list(receiver.outputs())
    list(receiver.events())
    assert receiver.state is state
    return receiver

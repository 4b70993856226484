"""Attacks on the transfer: a peer that lies about sizes, offsets, counts and order only ever ends its own session."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest
from tests.sim.stages import (
    DATA,
    DIGEST,
    ENTRIES,
    MIB,
    claim,
    new_receiver,
    offer_end,
    offering_sender,
    payload,
    receiver_in,
    records_of,
    resuming_receiver,
    resuming_sender,
    sender_in,
)
from tests.sim.transfers import RECEIVER_PROOF, SENDER_PROOF, TRANSFER_ID

from p2pal.errors import ProtocolError
from p2pal.transfer import ops
from p2pal.transfer.receiver import Receiver
from p2pal.transfer.states import ReceiverState, SenderState
from p2pal.wire import transfer as wire
from p2pal.wire.pieces import MAX_UNJUDGED, piece_size
from p2pal.wire.transfer import Entry, EntryKind, Reason, Record

LONG = [Entry(b"a", EntryKind.FILE, 2 * MIB), Entry(b"b", EntryKind.FILE, 4), Entry(b"c", EntryKind.FILE, 4)]


def refused(receiver: Receiver, *records: Record) -> list[ops.SinkOp]:
    """Check that the last of the records is refused; return what the disk was told."""
    receiver.handle_payload(payload(*records[:-1]), 2) if records[:-1] else None
    before = list(receiver.ops())
    with pytest.raises(ProtocolError):
        receiver.handle_payload(payload(records[-1]), 2)
    after = list(receiver.ops())
    assert all(isinstance(op, ops.Begin | ops.MakeDirectory) for op in after), "what is refused is not written"
    receiver.cancel(Reason.OTHER, "", 3)
    return before


# Names


@pytest.mark.parametrize(
    "path",
    [
        b"/", b"/etc/passwd", b"..", b".", b"../x", b"d/..", b"d/../x", b"d/.", b"./d", b"d//x", b"d/", b"d/x\0", b"\0",
        b"d/\0/x", b"//server/share", b"d/../../x",
    ],
)  # fmt: skip
def test_paths_that_escape_or_deceive(path: bytes) -> None:
    refused(receiver_in(ReceiverState.OFFERING), wire.OfferPart(0, [ENTRIES[0], Entry(path, EntryKind.FILE, 1)]))


@pytest.mark.parametrize(
    "entries",
    [
        [Entry(b"x/a", EntryKind.FILE)],
        [Entry(b"x", EntryKind.FILE), Entry(b"x/a", EntryKind.FILE)],
        [Entry(b"x", EntryKind.LINK, target=b"/etc"), Entry(b"x/passwd", EntryKind.FILE)],
        [Entry(b"x/a", EntryKind.FILE), Entry(b"x", EntryKind.DIRECTORY)],
    ],
)
def test_children_without_a_directory_of_their_own(entries: list[Entry]) -> None:
    refused(receiver_in(ReceiverState.OFFERING), wire.OfferPart(0, entries))


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b"x", EntryKind.DIRECTORY, 1), Entry(b"x", EntryKind.LINK, 1, target=b"y"), Entry(b"x", EntryKind.LINK),
        Entry(b"x", EntryKind.LINK, target=b"a\0b"), Entry(b"x", EntryKind.FILE, target=b"y"),
        Entry(b"x", EntryKind.DIRECTORY, target=b"y"),
    ],
)  # fmt: skip
def test_entries_that_contradict_themselves(entry: Entry) -> None:
    refused(receiver_in(ReceiverState.OFFERING), wire.OfferPart(0, [entry]))


@pytest.mark.parametrize("kind", EntryKind)
def test_one_path_twice(kind: EntryKind) -> None:
    again = Entry(b"d", kind, target=b"x" if kind is EntryKind.LINK else b"")
    entries = [ENTRIES[0], Entry(b"d/a", EntryKind.FILE, 4), again]
    refused(receiver_in(ReceiverState.OFFERING), wire.OfferPart(0, entries), offer_end(entries))


# The offer's totals, and consent


@pytest.mark.parametrize(("entries", "files", "total"), [(2, 1, 4), (4, 1, 4), (3, 2, 4), (3, 1, 5), (3, 1, 0)])
def test_totals_that_lie(entries: int, files: int, total: int) -> None:
    end = wire.OfferEnd(entries, files, total, offer_end(ENTRIES).digest)
    refused(receiver_in(ReceiverState.OFFERING), wire.OfferPart(0, ENTRIES), end)


def test_a_digest_of_another_offer() -> None:
    end = wire.OfferEnd(3, 1, 4, offer_end(LONG).digest)
    refused(receiver_in(ReceiverState.OFFERING), wire.OfferPart(0, ENTRIES), end)


@pytest.mark.parametrize("state", [ReceiverState.OFFERED, ReceiverState.RECEIVING, ReceiverState.CLOSING])
@pytest.mark.parametrize("record", [wire.OfferPart(3, LONG), offer_end(LONG), wire.OfferBegin(TRANSFER_ID)])
def test_an_offer_that_changes_after_it_was_shown(state: ReceiverState, record: Record) -> None:
    refused(receiver_in(state), record)


def test_sizes_that_overflow_when_added() -> None:
    sizes = [Entry(b"%d" % number, EntryKind.FILE, wire.MAX_FILE_SIZE // 2) for number in range(3)]
    refused(receiver_in(ReceiverState.OFFERING), wire.OfferPart(0, sizes))


BOUNDS = [
    ("MAX_ENTRIES", 3, [Entry(b"z", EntryKind.FILE)]),
    ("MAX_DIRECTORIES", 1, [Entry(b"d/z", EntryKind.DIRECTORY)]),
    ("MAX_TOPS", 3, [Entry(b"z", EntryKind.FILE), Entry(b"zz", EntryKind.FILE)]),
    ("MAX_OFFER_BYTES", 300, [Entry(b"d/%0200d" % each, EntryKind.FILE) for each in (1, 2)]),
]


@pytest.mark.parametrize(("bound", "limit", "more"), BOUNDS, ids=[bound for bound, *_ in BOUNDS])
def test_an_offer_without_end_is_bounded(
    monkeypatch: pytest.MonkeyPatch, bound: str, limit: int, more: list[Entry]
) -> None:
    within, last = more[:-1], len(ENTRIES) + len(more) - 1
    monkeypatch.setattr(f"p2pal.transfer.manifest.{bound}", limit)
    receiver = receiver_in(ReceiverState.OFFERING)
    receiver.handle_payload(payload(wire.OfferPart(0, [*ENTRIES, *within])), 1)
    with pytest.raises(ProtocolError):
        receiver.handle_payload(payload(wire.OfferPart(last, more[-1:])), 1)


def test_what_an_offer_may_cost_before_consent_is_a_few_hundred_mebibytes() -> None:
    assert wire.MAX_ENTRIES * 30 + wire.MAX_DIRECTORIES * 90 + wire.MAX_TOPS * 500 < 450 << 20
    assert wire.MAX_OFFER_BYTES <= 512 << 20


def test_many_directories_cost_what_is_said() -> None:
    receiver = receiver_in(ReceiverState.OFFERING)
    tracemalloc.start()
    try:
        for first in range(0, 100_000, 1000):
            part = [Entry(b"%05d" % (first + each), EntryKind.DIRECTORY) for each in range(1000)]
            receiver.handle_payload(payload(wire.OfferPart(first, part)), 1)
        assert tracemalloc.get_traced_memory()[0] < 100_000 * 180
    finally:
        tracemalloc.stop()


def test_many_entries_cost_little_memory() -> None:
    receiver = receiver_in(ReceiverState.OFFERING)
    tracemalloc.start()
    try:
        for first in range(0, 20_000, 1000):
            part = [Entry(b"quite-usual-name-%06d.txt" % (first + each), EntryKind.FILE, 9) for each in range(1000)]
            receiver.handle_payload(payload(wire.OfferPart(first, part)), 1)
        assert tracemalloc.get_traced_memory()[0] < 20_000 * 120
    finally:
        tracemalloc.stop()


def test_files_before_consent() -> None:
    for state in (ReceiverState.WAITING, ReceiverState.OFFERING, ReceiverState.OFFERED):
        assert refused(receiver_in(state), wire.Chunk(1, 0, DATA)) == []


# File bytes


@pytest.mark.parametrize(
    "chunk",
    [
        wire.Chunk(0, 1, DATA), wire.Chunk(0, MIB, DATA), wire.Chunk(0, 2 * MIB, DATA), wire.Chunk(0, 2**63 - 1, DATA),
        wire.Chunk(0, 0, bytes(MIB + 1)), wire.Chunk(1, 0, DATA), wire.Chunk(2, 0, DATA), wire.Chunk(3, 0, DATA),
        wire.Chunk(2**32 - 1, 0, DATA),
    ],
)  # fmt: skip
def test_a_first_chunk_that_is_not_the_first(chunk: wire.Chunk) -> None:
    refused(receiver_in(ReceiverState.RECEIVING, LONG), chunk)


@pytest.mark.parametrize(
    "chunk",
    [
        wire.Chunk(0, 0, DATA), wire.Chunk(0, 3, DATA), wire.Chunk(0, 5, DATA), wire.Chunk(0, 4, bytes(MIB - 3)),
        wire.Chunk(1, 0, DATA),
    ],
)  # fmt: skip
def test_chunks_twice_out_of_order_or_past_the_end(chunk: wire.Chunk) -> None:
    refused(receiver_in(ReceiverState.RECEIVING, LONG), wire.Chunk(0, 0, DATA), chunk)


@pytest.mark.parametrize(
    "record",
    [
        wire.Chunk(1, 4, b"x"), wire.Chunk(1, 0, DATA + b"x"), wire.FileDone(1, DIGEST), wire.PieceDone(1, 0, DIGEST),
        wire.PieceDone(2, 0, DIGEST), wire.PieceDone(2**20, 0, DIGEST), wire.FileDone(2, DIGEST), wire.AllSent(),
    ],
)  # fmt: skip
def test_sizes_and_piece_counts_that_lie(record: Record) -> None:
    refused(receiver_in(ReceiverState.RECEIVING), record)


@pytest.mark.parametrize("number", [1, 2, 2**40, 2**63 - 1])
def test_piece_numbers_that_lie(number: int) -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG)
    refused(receiver, wire.Chunk(0, 0, bytes(MIB)), wire.PieceDone(0, number, DIGEST))


@pytest.mark.parametrize("pieces", [(0, 0), (1, 0), (1, 1), (2,)])
def test_pieces_that_are_taken_back_twice_or_out_of_order(pieces: tuple[int, ...]) -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG)
    for piece in range(2):
        receiver.handle_payload(payload(wire.Chunk(0, piece * MIB, bytes(MIB)), wire.PieceDone(0, piece, DIGEST)), 2)
    refused(receiver, *(wire.PieceDone(0, piece, DIGEST) for piece in pieces))


def test_a_piece_is_not_taken_back_before_all_are_there_or_after_the_end() -> None:
    for sent in (1, 2):
        receiver = receiver_in(ReceiverState.RECEIVING, LONG)
        for piece in range(sent):
            receiver.handle_payload(
                payload(wire.Chunk(0, piece * MIB, bytes(MIB)), wire.PieceDone(0, piece, DIGEST)), 2
            )
        end = [wire.FileDone(0, DIGEST)] if sent == 2 else []
        refused(receiver, *end, wire.PieceDone(0, 0, DIGEST))


def test_an_empty_file_with_bytes() -> None:
    refused(receiver_in(ReceiverState.RECEIVING, [Entry(b"e", EntryKind.FILE)]), wire.Chunk(0, 0, b"x"))


def test_bytes_for_a_directory_or_a_link() -> None:
    entries = [Entry(b"d", EntryKind.DIRECTORY), Entry(b"l", EntryKind.LINK, target=b"d")]
    for index in (0, 1):
        for record in (wire.Chunk(index, 0, DATA), wire.FileDone(index, DIGEST), wire.FileFailed(index, Reason.READ)):
            refused(receiver_in(ReceiverState.RECEIVING, entries), record)


@pytest.mark.parametrize("record", [wire.Chunk(1, 0, DATA), wire.FileDone(1, DIGEST), wire.FileFailed(1, Reason.OTHER)])
def test_a_file_that_was_declined(record: Record) -> None:
    receiver = receiver_in(ReceiverState.OFFERED)
    receiver.accept(1, skip=[1])
    assert refused(receiver, record) == []


@pytest.mark.parametrize("record", [wire.Chunk(1, 0, DATA), wire.FileDone(1, DIGEST), wire.PieceDone(1, 0, DIGEST)])
def test_a_file_once_more(record: Record) -> None:
    receiver = receiver_in(ReceiverState.RECEIVING)
    refused(receiver, wire.Chunk(1, 0, DATA), wire.FileDone(1, DIGEST), record)


def test_a_file_that_fails_after_it_stood() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING)
    receiver.handle_payload(payload(wire.Chunk(1, 0, DATA), wire.FileDone(1, DIGEST)), 2)
    receiver.handle_results([ops.EntryDone(1)], 2)
    refused(receiver, wire.FileFailed(1, Reason.READ))


def test_a_repair_that_nobody_asked_for() -> None:
    receiver = receiver_in(ReceiverState.CLOSING)
    receiver.handle_results([ops.DigestBad(1)], 2)
    refused(receiver, wire.Chunk(1, 0, DATA), wire.Chunk(1, 0, DATA))
    refused(receiver_in(ReceiverState.CLOSING), wire.Chunk(1, 0, DATA))


def test_more_damage_than_may_be_repaired_is_failed_and_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pal.transfer.receiver.MAX_REPAIRS", 100)
    entries = [Entry(b"%d" % number, EntryKind.FILE, 4) for number in range(110)]
    receiver = receiver_in(ReceiverState.RECEIVING, entries, skip_errors=True)
    for index in range(len(entries)):
        receiver.handle_payload(payload(wire.Chunk(index, 0, DATA), wire.FileDone(index, DIGEST)), 2)
    receiver.handle_results([ops.DigestBad(index) for index in range(len(entries))], 2)
    asked = [record for record in records_of(receiver) if isinstance(record, wire.PieceAgain)]
    assert len(asked) == 100


def test_a_sender_that_does_not_wait_for_verdicts() -> None:
    entries = [Entry(b"%d" % number, EntryKind.FILE) for number in range(2 * MAX_UNJUDGED + 1)]
    receiver = new_receiver()
    receiver.handle_payload(payload(wire.OfferBegin(TRANSFER_ID)), 0)
    for first in range(0, len(entries), 4096):
        receiver.handle_payload(payload(wire.OfferPart(first, entries[first : first + 4096])), 0)
    receiver.handle_payload(payload(offer_end(entries)), 0)
    receiver.accept(1)
    for index in range(2 * MAX_UNJUDGED):
        receiver.handle_payload(payload(wire.FileDone(index, DIGEST)), 2)
    refused(receiver, wire.FileDone(2 * MAX_UNJUDGED, DIGEST))


# A receiver that lies


@pytest.mark.parametrize(
    "want",
    [
        wire.Want([(0, 4)], []), wire.Want([(0, wire.MAX_ENTRIES)], []), wire.Want([(2, 2)], []),
        wire.Want([(0, 2), (1, 3)], []), wire.Want([(2, 3), (0, 1)], []),
        wire.Want([], [wire.WantPieces(1, [(0, 1)])]), wire.Want([], [wire.WantPieces(1, [(0, 2**62)])]),
    ],
)  # fmt: skip
def test_wants_of_what_was_not_offered(want: wire.Want) -> None:
    sender = sender_in(SenderState.AGREED)
    with pytest.raises(ProtocolError):
        sender.handle_payload(payload(want), 2)
    assert list(sender.jobs()) == []


@pytest.mark.parametrize(("index", "piece"), [(0, 0), (1, 1), (2, 0), (3, 0), (wire.MAX_ENTRIES, 0), (1, 2**60)])
def test_repairs_of_what_was_not_sent(index: int, piece: int) -> None:
    sender = sender_in(SenderState.SENT)
    with pytest.raises(ProtocolError):
        sender.handle_payload(payload(wire.PieceAgain(index, piece)), 2)
    assert list(sender.jobs()) == []


def test_one_repair_again_and_again() -> None:
    sender = sender_in(SenderState.SENT)
    sender.handle_payload(payload(wire.PieceAgain(1, 0)), 2)
    with pytest.raises(ProtocolError):
        sender.handle_payload(payload(wire.PieceAgain(1, 0)), 2)


def test_success_that_is_claimed_for_what_was_not_sent() -> None:
    sender = sender_in(SenderState.SENDING)
    with pytest.raises(ProtocolError):
        sender.handle_payload(payload(wire.Verdicts([wire.Verdict(1, True)])), 2)


@pytest.mark.parametrize(("ok", "failed"), [(0, 0), (3, 0), (0, 3), (wire.MAX_ENTRIES, wire.MAX_ENTRIES)])
def test_an_end_without_verdicts(ok: int, failed: int) -> None:
    sender = sender_in(SenderState.SENT)
    with pytest.raises(ProtocolError):
        sender.handle_payload(payload(wire.Complete(ok, failed)), 2)


@pytest.mark.parametrize("record", [wire.FileDone(1, DIGEST), wire.Accept(offer_end(LONG).digest), wire.Complete(3, 0)])
def test_records_out_of_turn(record: Record) -> None:
    for state in (SenderState.OFFERING, SenderState.OFFERED, SenderState.SENDING):
        sender = sender_in(state)
        with pytest.raises(ProtocolError):
            sender.handle_payload(payload(record), 2)


# Resuming


FOUR = [Entry(b"a", EntryKind.FILE, 4 * MIB), Entry(b"b", EntryKind.FILE, 4 * MIB), Entry(b"c", EntryKind.FILE, 4)]
SOME = wire.WantPieces(0, [(1, 2)])


@pytest.mark.parametrize("proof", [b"", SENDER_PROOF, bytes(32)])
@pytest.mark.parametrize("record", [wire.Want([], [SOME]), wire.Verdicts([wire.Verdict(0, True)])])
def test_pieces_are_not_to_be_had_with_another_proof(record: Record, proof: bytes) -> None:
    """Wrong (the sender's own one, sent back, too) wherever it must be right: before the consent, and in it."""
    for first, second in ((proof, proof), (RECEIVER_PROOF, proof), (proof, RECEIVER_PROOF)):
        sender = offering_sender(FOUR)
        list(sender.outputs())
        sender.handle_payload(payload(wire.Proof(first), wire.Accept(offer_end(FOUR).digest, second)), 1)
        assert not sender.resumed
        with pytest.raises(ProtocolError):
            sender.handle_payload(payload(record), 2)
        assert list(sender.jobs()) == []


def test_consent_before_the_proof() -> None:
    sender = offering_sender(FOUR)
    list(sender.outputs())
    with pytest.raises(ProtocolError, match="before it answered"):
        sender.handle_payload(payload(wire.Accept(offer_end(FOUR).digest, RECEIVER_PROOF)), 1)
    sender.cancel(Reason.OTHER, "", 1)
    assert records_of(sender) == [wire.Abort(Reason.OTHER)]
    assert sender.done


@pytest.mark.parametrize("first", [b"", bytes(32), RECEIVER_PROOF])
@pytest.mark.parametrize("pinned", [False, True])
def test_a_second_guess_at_the_proof(first: bytes, pinned: bool) -> None:
    sender = offering_sender(FOUR, pinned=pinned)
    list(sender.outputs())
    sender.handle_payload(payload(wire.Proof(first)), 1)
    with pytest.raises(ProtocolError, match="twice"):
        sender.handle_payload(payload(wire.Proof(RECEIVER_PROOF)), 1)
    assert sender.proven is (first == RECEIVER_PROOF)


@pytest.mark.parametrize("proof", [b"", RECEIVER_PROOF])
@pytest.mark.parametrize("state", [SenderState.OFFERING, SenderState.OFFERED, SenderState.AGREED])
def test_a_proof_that_nobody_asked_for(state: SenderState, proof: bytes) -> None:
    with pytest.raises(ProtocolError):
        sender_in(state).handle_payload(payload(wire.Proof(proof)), 1)


@pytest.mark.parametrize("length", [1, 31])
@pytest.mark.parametrize("number", [1, 4, 6])
def test_proofs_of_other_lengths(number: int, length: int) -> None:
    before: dict[int, list[object]] = {1: [bytes(16), False], 4: [offer_end(FOUR).digest], 6: []}
    body = msgspec.msgpack.encode([*before[number], bytes(length)])
    data = bytes((number,)) + len(body).to_bytes(4, "big") + body
    machine = receiver_in(ReceiverState.WAITING) if number == 1 else sender_in(SenderState.OFFERED, FOUR)
    with pytest.raises(ProtocolError):
        machine.handle_payload(data, 1)


@pytest.mark.parametrize(
    "want",
    [
        wire.Want([], [wire.WantPieces(0, [(4, 5)])]), wire.Want([], [wire.WantPieces(0, [(0, 2**62)])]),
        wire.Want([], [wire.WantPieces(0, [(1, 2)], MIB)]), wire.Want([], [wire.WantPieces(0, [], 1)]),
        wire.Want([], [wire.WantPieces(0, [(1, 3), (2, 4)])]), wire.Want([], [SOME, SOME]),
        wire.Want([(0, 1)], [SOME]), wire.Want([(0, 3)], [SOME]), wire.Want([], [wire.WantPieces(2, [(0, 1)])]),
        wire.Want([], [wire.WantPieces(3, [(0, 1)])]), wire.Want([], [wire.WantPieces(1, []), SOME]),
    ],
)  # fmt: skip
def test_wants_of_pieces_that_do_not_exist_or_overlap(want: wire.Want) -> None:
    with pytest.raises(ProtocolError):
        resuming_sender(FOUR, want)


def test_more_ranges_than_may_be_remembered() -> None:
    each = piece_size(2**40)
    entries = [Entry(b"%d" % number, EntryKind.FILE, 2048 * each) for number in range(65)]
    ranges = [(piece, piece + 1) for piece in range(0, 2048, 2)]
    sender = resuming_sender(entries)
    for index in range(wire.MAX_WANTED_RANGES // 1024):
        sender.handle_payload(payload(wire.Want([], [wire.WantPieces(index, ranges)], last=False)), 1)
    with pytest.raises(ProtocolError):
        sender.handle_payload(payload(wire.Want([], [wire.WantPieces(64, [])])), 1)


def test_success_of_what_is_wanted_and_was_not_sent_is_not_believed_when_resuming_either() -> None:
    for want in (wire.Want([(0, 1)], []), wire.Want([], [SOME]), wire.Want([], [wire.WantPieces(0, [])])):
        sender = resuming_sender(FOUR, want)
        with pytest.raises(ProtocolError):
            sender.handle_payload(payload(wire.Verdicts([wire.Verdict(0, True)])), 2)


BEGIN = wire.OfferBegin(TRANSFER_ID, True, SENDER_PROOF)


@pytest.mark.parametrize("proof", [b"", SENDER_PROOF, bytes(32)])
def test_who_only_overheard_the_words_learns_no_name(proof: bytes) -> None:
    """Not even the offer's size, whatever it answers, the sender's own proof sent back included."""
    sender = offering_sender(FOUR, pinned=True)
    sender.handle_payload(payload(wire.Proof(proof)), 1)
    accept = wire.Accept(offer_end(FOUR).digest, RECEIVER_PROOF)
    for record in (wire.Proof(RECEIVER_PROOF), accept, wire.Want([(0, 3)], []), wire.PieceAgain(0, 0)):
        with pytest.raises(ProtocolError):
            sender.handle_payload(payload(record), 2)
    assert records_of(sender) == [BEGIN]
    assert list(sender.jobs()) == []
    sender.cancel(Reason.DECLINED, "", 3)
    assert records_of(sender) == [wire.Abort(Reason.DECLINED)]
    assert sender.done


def test_who_joins_and_never_answers_learns_no_name_and_can_be_put_out() -> None:
    sender = offering_sender(FOUR, pinned=True)
    assert records_of(sender) == [BEGIN]
    sender.handle_timeout(3600)
    assert records_of(sender) == []
    sender.cancel(Reason.DECLINED, "", 3600)
    assert records_of(sender) == [wire.Abort(Reason.DECLINED)]
    assert sender.done


@pytest.mark.parametrize(
    "records",
    [
        [wire.PieceDone(0, 2, DIGEST)], [wire.Chunk(0, 0, DATA)], [wire.Chunk(0, 2 * MIB, DATA)],
        [wire.Chunk(0, MIB, DATA)], [wire.Chunk(0, 4 * MIB, DATA)], [wire.FileDone(0, DIGEST)],
        [wire.Chunk(0, MIB + 5, bytes(MIB - 5)), *[wire.PieceDone(0, 1, DIGEST)] * 3],
    ],
)  # fmt: skip
def test_of_a_file_in_parts_nothing_but_what_was_asked_for(records: list[Record]) -> None:
    refused(resuming_receiver(FOUR, {0: claim(0, 2, 3, piece=1, head=5)}), *records)


@pytest.mark.parametrize(
    "pieces", [(0, 0, 0), (2, 0, 0), (2, 2, 0), (2, 2, 2), (1, 1), (1, 0), (1, 2, 1), (4,), (2**40,)]
)
def test_ends_of_pieces_that_are_there_thrice_or_out_of_order(pieces: tuple[int, ...]) -> None:
    """Each may be said once, and taken back once."""
    receiver = resuming_receiver(FOUR, {0: claim(0, 2, 3)})
    receiver.handle_payload(payload(wire.Chunk(0, MIB, bytes(MIB)), wire.PieceDone(0, 1, DIGEST)), 2)
    refused(receiver, *(wire.PieceDone(0, piece, DIGEST) for piece in pieces))


def test_a_file_that_stands_is_not_written_again() -> None:
    for record in (wire.Chunk(0, 0, DATA), wire.FileDone(0, DIGEST), wire.PieceDone(0, 0, DIGEST)):
        assert refused(resuming_receiver(FOUR, {}, done=[(0, 1)]), record) == []


def test_a_damaged_piece_again_and_again() -> None:
    sender = resuming_sender(FOUR, wire.Want([], [SOME]))
    sender.handle_payload(payload(wire.PieceAgain(0, 0)), 2)
    for piece in (0, 1, 4, 2**60):
        with pytest.raises(ProtocolError):
            sender.handle_payload(payload(wire.PieceAgain(0, piece)), 2)
    with pytest.raises(ProtocolError):
        sender.handle_payload(payload(wire.PieceAgain(1, 0)), 2)

"""The sender's machine, record by record."""

from __future__ import annotations

import pytest
from tests.sim.stages import (
    DATA,
    DIGEST,
    ENTRIES,
    MIB,
    new_sender,
    offer_end,
    offering_sender,
    payload,
    records_of,
    resuming_sender,
    sender_in,
)
from tests.sim.transfers import RECEIVER_PROOF, SENDER_PROOF, TRANSFER_ID

from p2pal.errors import ProtocolError, UsageError
from p2pal.transfer import events, ops
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.sender import SETTLE_TIME, Sender
from p2pal.transfer.states import SenderState
from p2pal.wire import transfer as wire
from p2pal.wire.pieces import file_digest, leaf, piece_size
from p2pal.wire.transfer import Entry, EntryKind, Reason

READ: list[ops.SourceResult] = [
    ops.BlockRead(1, 0, DATA),
    ops.PieceRead(1, 0, leaf(DATA)),
    ops.FileRead(1, DIGEST),
]


def test_the_offer_waits_for_the_peer_and_then_streams_while_the_walk_goes_on() -> None:
    sender = new_sender(skip_errors=True)
    sender.add_entries(ENTRIES[:1], 0)
    assert records_of(sender) == []
    sender.start(1)
    assert records_of(sender) == [wire.OfferBegin(TRANSFER_ID, True), wire.OfferPart(0, ENTRIES[:1])]
    assert records_of(sender) == []
    sender.add_entries(ENTRIES[1:], 2)
    assert records_of(sender) == [wire.OfferPart(1, ENTRIES[1:])]
    sender.finish_offer(3)
    assert records_of(sender) == [offer_end(ENTRIES)]
    assert sender.state is SenderState.OFFERED


def test_a_long_offer_is_drawn_a_payload_at_a_time() -> None:
    sender = new_sender()
    entries = [Entry(b"%08d" % number, EntryKind.FILE, 1) for number in range(20_000)]
    sender.add_entries(entries, 0)
    sender.finish_offer(0)
    sender.start(0)
    outputs = sender.outputs()
    next(outputs)
    assert sender.backlog < 100_000
    rest = [record for each in outputs for record in wire.decode_payload(b"".join(each))]
    assert rest[-1] == offer_end(entries)


def test_what_is_left_out_is_told() -> None:
    sender = new_sender(skip_errors=True)
    sender.start(0)
    sender.add_failure("x", Reason.READ, "no", 0)
    sender.finish_offer(0)
    assert list(sender.events()) == [events.EntryFailed(None, Reason.READ, "no", "x")]
    end = records_of(sender)[-1]
    assert isinstance(end, wire.OfferEnd)
    assert end.left_out == 1


@pytest.mark.parametrize("started", [False, True])
def test_without_skip_errors_what_cannot_be_listed_ends_it(started: bool) -> None:
    sender = new_sender()
    if started:
        sender.start(0)
    sender.add_failure("x", Reason.READ, "no", 0)
    assert records_of(sender) == ([wire.Abort(Reason.BATCH)] if started else [])
    assert sender.done
    sender.add_entries(ENTRIES, 1)
    sender.add_failure("y", Reason.READ, "no", 1)
    assert len(sender.manifest) == 0
    assert list(sender.events()) == [
        events.EntryFailed(None, Reason.READ, "no", "x"), events.Aborted(Reason.BATCH, "", False),
        events.Finished(0, 0, 0, 0, 1, 0.0),
    ]  # fmt: skip


def test_a_path_longer_than_a_payload_is_a_usage_error() -> None:
    sender = Sender(TRANSFER_ID, payload_limit=wire.MIN_PAYLOAD, skip_errors=True, manifest=Manifest(), now=0)
    sender.add_entries([Entry(b"x" * 4000, EntryKind.FILE)], 0)
    with pytest.raises(UsageError, match="chunk-size"):
        sender.add_entries([Entry(b"x" * 4096, EntryKind.FILE)], 0)
    sender.start(0)
    sender.finish_offer(0)
    assert len(records_of(sender)) == 3


def test_the_size_of_payloads_changes_chunks_and_nothing_else() -> None:
    data = bytes(range(256)) * 4096
    size, found = piece_size(3 * MIB), leaf(data)
    read: list[ops.SourceResult] = []
    for number in range(3):
        read += [ops.BlockRead(0, number * MIB, data), ops.PieceRead(0, number, found)]
    read.append(ops.FileRead(0, file_digest(3 * MIB, size, [found] * 3)))
    said = []
    for limit in (0, 255 * 1024):
        sender = sender_in(SenderState.SENDING, [Entry(b"large", EntryKind.FILE, 3 * MIB)])
        sender.fill_payloads(limit)
        sender.handle_source(read, 1)
        records = records_of(sender)
        chunks = [each for each in records if isinstance(each, wire.Chunk)]
        assert b"".join(each.data for each in chunks) == data * 3
        assert (max(len(each.data) for each in chunks) > 63 * 1024) is (limit > 0)
        said.append([each for each in records if not isinstance(each, wire.Chunk)])
    assert said[0] == said[1]


def test_too_many_entries_are_a_usage_error() -> None:
    sender = new_sender()
    big = Entry(b"x", EntryKind.FILE, wire.MAX_FILE_SIZE)
    with pytest.raises(UsageError, match="at most"):
        sender.add_entries([big, big], 0)


def test_consent_must_be_to_this_offer() -> None:
    sender = sender_in(SenderState.OFFERED)
    with pytest.raises(ProtocolError, match="another offer"):
        sender.handle_payload(payload(wire.Accept(bytes(32))), 1)
    assert sender.state is SenderState.OFFERED


def test_a_small_file_travels_with_its_end() -> None:
    sender = sender_in(SenderState.SENDING)
    sender.handle_source(READ, 2)
    assert records_of(sender) == [wire.Chunk(1, 0, DATA), wire.FileDone(1, DIGEST), wire.AllSent()]
    assert sender.state is SenderState.SENT
    assert list(sender.events()) == [events.Started(), events.EntryStarted(1), events.BytesMoved(1, 4)]


def test_a_long_file_travels_with_the_end_of_each_piece() -> None:
    sender = sender_in(SenderState.SENDING, [ENTRIES[0], Entry(b"d/a", EntryKind.FILE, MIB + 1)])
    sender.handle_source([ops.BlockRead(1, 0, bytes(MIB)), ops.PieceRead(1, 0, bytes(32))], 2)
    records = records_of(sender)
    assert records[-1] == wire.PieceDone(1, 0, bytes(32))
    assert sum(len(each.data) for each in records if isinstance(each, wire.Chunk)) == MIB
    sender.handle_source([ops.BlockRead(1, MIB, b"x"), ops.PieceRead(1, 1, DIGEST), ops.FileRead(1, DIGEST)], 2)
    assert records_of(sender) == [
        wire.Chunk(1, MIB, b"x"), wire.PieceDone(1, 1, DIGEST), wire.FileDone(1, DIGEST), wire.AllSent()
    ]  # fmt: skip


def test_files_flow_once_all_wants_are_in() -> None:
    sender = sender_in(SenderState.AGREED)
    sender.handle_payload(payload(wire.Want([(1, 2)], [], last=False)), 1)
    assert list(sender.jobs()) == []
    assert list(sender.events()) == []
    sender.handle_payload(payload(wire.Want([], [])), 1)
    assert [job.index for job in sender.jobs()] == [1]
    assert list(sender.events()) == [events.Started()]
    sender.handle_source(READ, 1)
    assert records_of(sender) == [wire.Chunk(1, 0, DATA), wire.FileDone(1, DIGEST), wire.AllSent()]


@pytest.mark.parametrize(
    "results",
    [
        [ops.BlockRead(0, 0, DATA)], [ops.BlockRead(1, 1, DATA)], [ops.BlockRead(1, 0, DATA * 2)],
        [ops.FileRead(1, DIGEST)], [*READ, ops.BlockRead(1, 0, DATA)],
    ],
)  # fmt: skip
def test_a_source_that_answers_something_else_is_a_bug(results: list[ops.SourceResult]) -> None:
    with pytest.raises(RuntimeError):
        sender_in(SenderState.SENDING).handle_source(results, 2)


@pytest.mark.parametrize("skip_errors", [False, True])
def test_a_read_error_fails_the_file_and_without_skip_errors_the_batch(skip_errors: bool) -> None:
    sender = sender_in(SenderState.SENDING, skip_errors=skip_errors)
    sender.handle_source([ops.ReadFailed(1, Reason.CHANGED, "changed")], 2)
    after = wire.AllSent(1) if skip_errors else wire.Abort(Reason.BATCH)
    assert records_of(sender) == [wire.FileFailed(1, Reason.CHANGED, "changed"), after]
    failed = [each for each in sender.events() if isinstance(each, events.EntryFailed)]
    assert failed == [events.EntryFailed(1, Reason.CHANGED, "changed")]
    sender.handle_payload(payload(wire.Verdicts([wire.Verdict(1, False, Reason.CHANGED)])), 3)
    assert [each for each in sender.events() if isinstance(each, events.EntryFailed)] == []


def test_a_request_for_a_piece_may_cross_the_news_that_its_file_failed() -> None:
    sender = sender_in(SenderState.SENDING, [ENTRIES[0], Entry(b"d/a", EntryKind.FILE, 2 * MIB)], skip_errors=True)
    sender.handle_source([ops.BlockRead(1, 0, bytes(MIB)), ops.PieceRead(1, 0, DIGEST)], 2)
    sender.handle_source([ops.ReadFailed(1, Reason.READ, "")], 2)
    sender.handle_payload(payload(wire.PieceAgain(1, 0)), 3)
    assert list(sender.jobs()) == []
    sender.handle_payload(payload(wire.Verdicts([wire.Verdict(1, False, Reason.READ)])), 3)
    assert sender.state is SenderState.SENT


def test_a_file_that_fails_there_is_not_sent_any_further() -> None:
    sender = sender_in(SenderState.SENDING, [ENTRIES[0], Entry(b"d/a", EntryKind.FILE, 2 * MIB)], skip_errors=True)
    sender.handle_source([ops.BlockRead(1, 0, bytes(MIB)), ops.PieceRead(1, 0, DIGEST)], 2)
    sender.handle_payload(payload(wire.Verdicts([wire.Verdict(1, False, Reason.EXISTS)])), 2)
    sender.handle_source([ops.BlockRead(1, MIB, bytes(MIB)), ops.PieceRead(1, 1, DIGEST), ops.FileRead(1, DIGEST)], 2)
    records = records_of(sender)
    assert records == [wire.PieceDone(1, 0, DIGEST), wire.FileFailed(1, Reason.OTHER), wire.AllSent(1)]


def test_success_needs_every_verdict_and_the_right_totals() -> None:
    sender = sender_in(SenderState.SENT)
    verdicts = [wire.Verdict(index, True) for index in range(3)]
    with pytest.raises(ProtocolError, match="totals"):
        sender.handle_payload(payload(wire.Verdicts(verdicts[:2]), wire.Complete(3, 0)), 2)
    with pytest.raises(ProtocolError, match="totals"):
        sender.handle_payload(payload(wire.Verdicts(verdicts[2:]), wire.Complete(2, 1)), 2)
    sender.handle_payload(payload(wire.Complete(3, 0)), 5)
    assert sender.done
    happened = list(sender.events())
    assert happened[-1] == events.Finished(3, 0, 1, 0, 0, 4.0)
    assert events.EntryFinished(1, DIGEST) in happened


@pytest.mark.parametrize(
    "verdicts",
    [
        [wire.Verdict(3, True)], [wire.Verdict(0, True), wire.Verdict(0, True)], [wire.Verdict(1, True)],
        [wire.Verdict(0, False), wire.Verdict(0, True)],
    ],
)  # fmt: skip
def test_verdicts_are_one_for_each_entry_and_of_what_was_sent(verdicts: list[wire.Verdict]) -> None:
    with pytest.raises(ProtocolError):
        sender_in(SenderState.SENDING).handle_payload(payload(wire.Verdicts(verdicts)), 2)


def test_a_repair_travels_with_its_leaf() -> None:
    sender = sender_in(SenderState.SENT)
    sender.handle_payload(payload(wire.PieceAgain(1, 0)), 2)
    assert [(job.index, job.first, job.stop, job.again) for job in sender.jobs()] == [(1, 0, 1, True)]
    sender.handle_source([*READ[:2], ops.FileRead(1, b"", again=True)], 2)
    assert records_of(sender) == [wire.Chunk(1, 0, DATA), wire.PieceDone(1, 0, leaf(DATA))]
    with pytest.raises(ProtocolError, match="cannot miss"):
        sender.handle_payload(payload(wire.PieceAgain(1, 0)), 2)


def test_after_an_abort_the_last_verdicts_still_count() -> None:
    sender = sender_in(SenderState.SENT)
    sender.cancel(Reason.CANCELLED, "stop", 2)
    sender.cancel(Reason.CANCELLED, "again", 2)
    assert records_of(sender) == [wire.Abort(Reason.CANCELLED, "stop")]
    assert sender.next_timeout() == 2 + SETTLE_TIME
    sender.handle_payload(payload(wire.PieceAgain(1, 0), wire.Verdicts([wire.Verdict(1, True)])), 3)
    assert sender.next_timeout() == 3 + SETTLE_TIME
    sender.handle_source(READ, 3)
    sender.handle_payload(payload(wire.Complete(1, 0)), 4)
    assert sender.done
    assert list(sender.events())[-1] == events.Finished(1, 0, 1, 0, 0, 3.0)


def test_the_wait_for_verdicts_begins_when_the_last_files_have_left() -> None:
    sender = sender_in(SenderState.SENDING)
    sender.handle_source([*READ[:1], ops.ReadFailed(1, Reason.READ, "")], 2)
    assert sender.backlog
    sender.handle_timeout(2 + SETTLE_TIME)
    assert sender.next_timeout() == 2 + 2 * SETTLE_TIME
    list(sender.outputs())
    sender.handle_timeout(2 + 2 * SETTLE_TIME)
    assert sender.done


def test_the_wait_for_verdicts_goes_on_while_the_last_files_arrive() -> None:
    sender = sender_in(SenderState.SENT)
    sender.cancel(Reason.CANCELLED, "stop", 0)
    list(sender.outputs())
    for count, on_way in enumerate((3000, 2000, 1000), start=1):
        sender.handle_timeout(count * SETTLE_TIME, on_way)
        assert sender.next_timeout() == (count + 1) * SETTLE_TIME
    sender.handle_timeout(4 * SETTLE_TIME, 1000)
    assert sender.done, "nothing of it arrives any more"


def test_a_refusal_ends_it_at_once() -> None:
    sender = sender_in(SenderState.OFFERED)
    sender.handle_payload(payload(wire.Abort(Reason.DECLINED, "no")), 2)
    assert sender.done
    assert next(sender.events()) == events.Aborted(Reason.DECLINED, "no", by_peer=True)


# Going on from an earlier session

FOUR = [ENTRIES[0], Entry(b"d/a", EntryKind.FILE, 4 * MIB), Entry(b"d/b", EntryKind.FILE, 7), ENTRIES[2]]
STANDS = wire.Verdicts([wire.Verdict(2, True), wire.Verdict(3, True)])


@pytest.mark.parametrize(
    ("proof", "repeated", "resumed"),
    [
        (RECEIVER_PROOF, RECEIVER_PROOF, True), (RECEIVER_PROOF, b"", False), (RECEIVER_PROOF, SENDER_PROOF, False),
        (b"", RECEIVER_PROOF, False), (SENDER_PROOF, RECEIVER_PROOF, False), (b"", b"", False),
    ],
)  # fmt: skip
def test_a_proof_is_offered_and_the_other_one_must_come_and_be_repeated(
    proof: bytes, repeated: bytes, resumed: bool
) -> None:
    sender = offering_sender(ENTRIES)
    part = wire.OfferPart(0, ENTRIES)
    assert records_of(sender) == [wire.OfferBegin(TRANSFER_ID, True, SENDER_PROOF), part, offer_end(ENTRIES)]
    sender.handle_payload(payload(wire.Proof(proof)), 1)
    assert sender.proven is (proof == RECEIVER_PROOF)
    assert list(sender.events()) == [events.Proven()] * sender.proven
    sender.handle_payload(payload(wire.Accept(sender.manifest.digest(), repeated)), 1)
    assert sender.resumed is resumed


def test_a_proof_may_come_while_the_walk_goes_on() -> None:
    sender = new_sender(resuming=True)
    sender.start(0)
    sender.add_entries(ENTRIES, 0)
    list(sender.outputs())
    sender.handle_payload(payload(wire.Proof(RECEIVER_PROOF)), 1)
    assert sender.proven
    assert not sender.resumed
    assert sender.state is SenderState.OFFERING


def test_who_expects_no_proof_resumes_nothing() -> None:
    sender = sender_in(SenderState.OFFERED)
    sender.handle_payload(payload(wire.Accept(offer_end(ENTRIES).digest, RECEIVER_PROOF)), 1)
    assert not sender.resumed


def test_nothing_is_no_proof_where_none_is_expected() -> None:
    sender = new_sender()
    sender.prove(SENDER_PROOF, b"")
    sender.start(0)
    sender.handle_payload(payload(wire.Proof()), 1)
    assert not sender.proven


def test_what_is_there_is_counted_before_anything_flows() -> None:
    want = wire.Want([(0, 1)], [wire.WantPieces(1, [(1, 2), (3, 4)], 5)])
    sender = resuming_sender(FOUR, STANDS, want)
    assert list(sender.events()) == [events.Started(True, 1, 7 + 2 * MIB + 5)]
    (job,) = sender.jobs()
    assert (job.index, job.first, job.stop, job.wanted, job.head) == (1, 0, 4, ((1, 2), (3, 4)), 5)
    leaves = [bytes((number,)) * 32 for number in range(4)]
    sender.handle_source(
        [
            ops.BlockRead(1, MIB + 5, bytes(MIB - 5)), ops.PieceRead(1, 1, leaves[1]),
            ops.BlockRead(1, 3 * MIB, bytes(MIB)), ops.PieceRead(1, 3, leaves[3]),
            ops.PieceRead(1, 0, leaves[0]), ops.PieceRead(1, 2, leaves[2]), ops.FileRead(1, DIGEST),
        ],
        2,
    )  # fmt: skip
    records = records_of(sender)
    assert [each for each in records if not isinstance(each, wire.Chunk)] == [
        *(wire.PieceDone(1, number, leaves[number]) for number in (1, 3, 0, 2)), wire.FileDone(1, DIGEST),
        wire.AllSent(),
    ]  # fmt: skip
    assert sum(len(each.data) for each in records if isinstance(each, wire.Chunk)) == 2 * MIB - 5
    sender.handle_payload(payload(wire.PieceAgain(1, 2)), 3)
    verdicts = wire.Verdicts([wire.Verdict(0, True), wire.Verdict(1, True)])
    sender.handle_payload(payload(verdicts, wire.Complete(4, 0)), 5)
    happened = list(sender.events())
    assert happened[-1] == events.Finished(4, 0, 2, 0, 0, 4.0)
    assert [each for each in happened if isinstance(each, events.EntryFinished)] == [
        events.EntryFinished(0, b""), events.EntryFinished(1, DIGEST)
    ]  # fmt: skip


def test_what_stands_may_be_told_later_but_not_of_what_is_wanted() -> None:
    sender = resuming_sender(FOUR, wire.Want([(0, 1)], [wire.WantPieces(1, [(1, 2)])]))
    assert list(sender.events()) == [events.Started(True, 0, 3 * MIB)]
    sender.handle_payload(payload(STANDS), 2)
    assert list(sender.events()) == [events.EntryFinished(2, b""), events.EntryFinished(3, b"")]
    with pytest.raises(ProtocolError, match="was not sent"):
        sender.handle_payload(payload(wire.Verdicts([wire.Verdict(1, True)])), 2)


def test_what_was_declined_is_not_there() -> None:
    sender = resuming_sender(FOUR, wire.Want([(0, 1)], []), wire.Verdicts([wire.Verdict(1, False, Reason.DECLINED)]))
    assert list(sender.events()) == [events.Started(True), events.EntryFailed(1, Reason.DECLINED, "")]


def test_a_source_that_ends_before_every_wanted_piece_is_a_bug() -> None:
    sender = resuming_sender(FOUR, wire.Want([], [wire.WantPieces(1, [(1, 2)])]))
    with pytest.raises(RuntimeError):
        sender.handle_source([ops.FileRead(1, DIGEST)], 2)


def test_a_piece_may_turn_out_damaged_while_its_file_is_in_work() -> None:
    sender = resuming_sender(FOUR, wire.Want([], [wire.WantPieces(1, [(1, 2)])]))
    list(sender.jobs())
    sender.handle_source([ops.BlockRead(1, MIB, DATA)], 2)
    sender.handle_payload(payload(wire.PieceAgain(1, 3)), 2)
    assert [(job.index, job.first, job.again) for job in sender.jobs()] == [(1, 3, True)]
    with pytest.raises(ProtocolError, match="cannot miss"):
        sender.handle_payload(payload(wire.PieceAgain(1, 1)), 2)


# Whoever joins again

BEGIN = wire.OfferBegin(TRANSFER_ID, True, SENDER_PROOF)
OFFER = [wire.OfferPart(0, ENTRIES), offer_end(ENTRIES)]


def test_who_proves_that_it_was_there_gets_the_offer_and_goes_on() -> None:
    sender = offering_sender(ENTRIES, pinned=True)
    assert records_of(sender) == [BEGIN]
    assert records_of(sender) == []
    assert sender.state is SenderState.OFFERING
    sender.handle_payload(payload(wire.Proof(RECEIVER_PROOF)), 1)
    assert list(sender.events()) == [events.Proven()]
    assert records_of(sender) == OFFER
    accept = wire.Accept(offer_end(ENTRIES).digest, RECEIVER_PROOF)
    sender.handle_payload(payload(accept, wire.Want([(0, 3)], [])), 2)
    assert list(sender.events()) == [events.Started(True)]
    assert [job.index for job in sender.jobs()] == [1]


@pytest.mark.parametrize("proof", [b"", SENDER_PROOF, bytes(32)])
def test_who_proves_nothing_waits_for_a_person_and_then_begins_anew(proof: bytes) -> None:
    sender = offering_sender(ENTRIES, pinned=True)
    list(sender.outputs())
    sender.handle_payload(payload(wire.Proof(proof)), 1)
    assert list(sender.events()) == [events.ProofMissing()]
    assert not sender.proven
    assert records_of(sender) == []
    sender.admit(2)
    sender.admit(2)
    assert records_of(sender) == OFFER
    accept = wire.Accept(offer_end(ENTRIES).digest, RECEIVER_PROOF)
    sender.handle_payload(payload(accept, wire.Want([(0, 3)], [])), 3)
    assert not sender.resumed
    assert list(sender.events()) == [events.Started()]
    assert [job.index for job in sender.jobs()] == [1]


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("drained", [False, True])
def test_who_joined_may_be_refused_while_it_waits(answered: bool, drained: bool) -> None:
    sender = offering_sender(ENTRIES, pinned=True)
    if drained:
        list(sender.outputs())
    if answered:
        sender.handle_payload(payload(wire.Proof()), 1)
        list(sender.events())
    sender.cancel(Reason.DECLINED, "", 2)
    sender.admit(2)
    sender.handle_payload(payload(wire.Proof(RECEIVER_PROOF)), 3)
    assert records_of(sender) == [wire.Abort(Reason.DECLINED)]
    assert sender.done
    aborted = events.Aborted(Reason.DECLINED, "", by_peer=False)
    assert list(sender.events()) == [aborted, events.Finished(0, 0, 0, 0, 0, 0.0)]


def test_who_joined_may_go_again_without_an_answer() -> None:
    sender = offering_sender(ENTRIES, pinned=True)
    list(sender.outputs())
    sender.handle_payload(payload(wire.Abort(Reason.CANCELLED)), 1)
    assert sender.done
    assert next(sender.events()) == events.Aborted(Reason.CANCELLED, "", by_peer=True)


def test_a_successor_makes_the_same_offer_to_who_proves_itself() -> None:
    first = sender_in(SenderState.SENT)
    successor = first.successor(1, pinned=True)
    with pytest.raises(RuntimeError, match="needs a proof"):
        successor.start(1)
    successor.prove(SENDER_PROOF, RECEIVER_PROOF)
    successor.start(1)
    assert records_of(successor) == [wire.OfferBegin(TRANSFER_ID, False, SENDER_PROOF)]
    successor.handle_payload(payload(wire.Proof(RECEIVER_PROOF)), 2)
    assert records_of(successor) == OFFER
    assert successor.state is SenderState.OFFERED


def test_an_offer_that_is_not_complete_has_no_successor() -> None:
    with pytest.raises(RuntimeError, match="not complete"):
        sender_in(SenderState.OFFERING).successor(1, pinned=True)


def test_as_long_as_nobody_agreed_anyone_gets_the_offer() -> None:
    first = sender_in(SenderState.OFFERED)
    assert first.listed
    successor = first.successor(1, pinned=False)
    successor.start(1)
    assert records_of(successor) == [wire.OfferBegin(TRANSFER_ID), *OFFER]


def test_a_disk_that_is_full_there_is_told_of_once() -> None:
    sender = sender_in(SenderState.SENDING)
    list(sender.events())
    sender.handle_payload(payload(wire.Hold(True), wire.Hold(True), wire.Hold(False, Reason.DISK)), 2)
    assert list(sender.events()) == [events.Held(True, Reason.DISK), events.Held(False, Reason.DISK)]

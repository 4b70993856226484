"""The receiver's machine, record by record and answer by answer."""

from __future__ import annotations

import pytest
from tests.sim.stages import (
    DATA,
    DIGEST,
    ENTRIES,
    MIB,
    claim,
    offer_end,
    payload,
    receiver_in,
    records_of,
    resuming_receiver,
)
from tests.sim.transfers import RECEIVER_PROOF, SENDER_PROOF

from p2pal.checkpoint.records import Resume
from p2pal.errors import ProtocolError
from p2pal.ranges import RangeSet
from p2pal.transfer import events, ops
from p2pal.transfer.receiver import Receiver
from p2pal.transfer.states import ReceiverState
from p2pal.wire import transfer as wire
from p2pal.wire.pieces import leaf
from p2pal.wire.transfer import Entry, EntryKind, Reason, Record, Verdict

LONG = [ENTRIES[0], Entry(b"d/a", EntryKind.FILE, 2 * MIB)]


def take(receiver: Receiver, *records: Record) -> list[ops.SinkOp]:
    receiver.handle_payload(payload(*records), 2)
    return list(receiver.ops())


def answer(receiver: Receiver, *results: ops.SinkResult) -> list[ops.SinkOp]:
    receiver.handle_results(results, 2)
    return list(receiver.ops())


def piece(number: int) -> list[Record]:
    return [wire.Chunk(1, number * MIB, bytes(MIB)), wire.PieceDone(1, number, DIGEST)]


def test_the_offer_is_told_and_consent_names_it() -> None:
    receiver = receiver_in(ReceiverState.OFFERED)
    (complete,) = receiver.events()
    assert isinstance(complete, events.OfferComplete)
    assert (complete.entries, complete.files, complete.total) == (3, 1, 4)
    receiver.accept(1, skip=[2])
    assert records_of(receiver) == [
        wire.Accept(offer_end(ENTRIES).digest), wire.Want([(0, 2)], []),
        wire.Verdicts([Verdict(2, False, Reason.DECLINED)]),
    ]  # fmt: skip
    assert list(receiver.events()) == [events.Started(), events.EntryFailed(2, Reason.DECLINED, "")]


@pytest.mark.parametrize("skip", [[3], [-1], [0, 99]])
def test_only_what_was_offered_can_be_skipped(skip: list[int]) -> None:
    receiver = receiver_in(ReceiverState.OFFERED)
    with pytest.raises(ValueError, match="skip"):
        receiver.accept(1, skip=skip)
    receiver.accept(1)


def test_a_small_file_becomes_operations_and_a_verdict() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING)
    done = take(receiver, wire.Chunk(1, 0, DATA), wire.FileDone(1, DIGEST))
    assert done == [
        ops.MakeDirectory(0, ENTRIES[0]), ops.Begin(1, ENTRIES[1], MIB), ops.Write(1, 0, DATA), ops.Finish(1, DIGEST)
    ]  # fmt: skip
    assert list(receiver.events()) == [events.EntryStarted(1), events.BytesMoved(1, 4)]
    assert answer(receiver, ops.EntryDone(0), ops.EntryDone(1)) == []
    assert records_of(receiver) == [wire.Verdicts([Verdict(0, True), Verdict(1, True)])]
    assert list(receiver.events()) == [events.EntryFinished(0, b""), events.EntryFinished(1, DIGEST)]


def test_links_and_the_seal_come_after_every_file_and_complete_after_the_seal() -> None:
    receiver = receiver_in(ReceiverState.CLOSING)
    assert answer(receiver, ops.EntryDone(0)) == []
    assert answer(receiver, ops.EntryDone(1)) == [ops.MakeLink(2, ENTRIES[2]), ops.Seal()]
    assert receiver.state is ReceiverState.SEALING
    assert answer(receiver, ops.EntryDone(2), ops.Sealed()) == []
    assert records_of(receiver)[-2:] == [wire.Verdicts([Verdict(2, True)]), wire.Complete(3, 0)]
    assert list(receiver.events())[-1] == events.Finished(3, 0, 1, 0, 0, 1.0)
    assert receiver.done


@pytest.mark.parametrize("state", [ReceiverState.RECEIVING, ReceiverState.SEALING])
def test_a_sink_that_seals_too_early_is_a_bug(state: ReceiverState) -> None:
    with pytest.raises(RuntimeError, match="sealed before"):
        receiver_in(state).handle_results([ops.Sealed()], 2)


def test_a_long_file_is_checked_piece_by_piece() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG)
    done = take(receiver, *piece(0), *piece(1), wire.FileDone(1, DIGEST))
    assert [type(op) for op in done] == [
        ops.MakeDirectory, ops.Begin, ops.Write, ops.CheckPiece, ops.Write, ops.CheckPiece, ops.Finish
    ]  # fmt: skip


def test_a_bad_piece_comes_again_and_the_file_is_finished_again() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG)
    take(receiver, *piece(0), *piece(1), wire.FileDone(1, DIGEST), wire.AllSent())
    assert answer(receiver, ops.PieceBad(1, 0), ops.DigestBad(1)) == [ops.ResetPiece(1, 0)]
    assert records_of(receiver)[-1] == wire.PieceAgain(1, 0)
    assert [type(op) for op in take(receiver, *piece(0))] == [ops.Write, ops.CheckPiece, ops.Finish]
    assert answer(receiver, ops.EntryDone(0), ops.EntryDone(1)) == [ops.Seal()]


def test_the_end_of_a_file_waits_for_repairs_known_before() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG)
    take(receiver, *piece(0))
    assert answer(receiver, ops.PieceBad(1, 0)) == [ops.ResetPiece(1, 0)]
    assert ops.Finish(1, DIGEST) not in take(receiver, *piece(1), wire.FileDone(1, DIGEST))
    assert take(receiver, *piece(0))[-1] == ops.Finish(1, DIGEST)


def test_a_repair_that_overtakes_the_bad_digest_leads_to_another_finish() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG)
    take(receiver, *piece(0), *piece(1), wire.FileDone(1, DIGEST))
    answer(receiver, ops.PieceBad(1, 0))
    assert [type(op) for op in take(receiver, *piece(0))] == [ops.Write, ops.CheckPiece]
    assert answer(receiver, ops.DigestBad(1)) == [ops.Finish(1, DIGEST)]


def test_a_piece_that_is_bad_twice_fails_its_file() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG, skip_errors=True)
    take(receiver, *piece(0), *piece(1), wire.FileDone(1, DIGEST))
    answer(receiver, ops.PieceBad(1, 0), ops.DigestBad(1))
    take(receiver, *piece(0))
    records_of(receiver)
    assert answer(receiver, ops.PieceBad(1, 0), ops.DigestBad(1)) == [ops.Suspend(1)]
    assert records_of(receiver) == [wire.Verdicts([Verdict(1, False, Reason.VERIFY)])]


def test_a_wrong_digest_over_right_pieces_cannot_be_repaired() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG, skip_errors=True)
    take(receiver, *piece(0), *piece(1), wire.FileDone(1, DIGEST))
    assert answer(receiver, ops.DigestBad(1)) == [ops.Discard(1)]


def test_a_file_of_one_piece_comes_again_once() -> None:
    receiver = receiver_in(ReceiverState.CLOSING, skip_errors=True)
    assert answer(receiver, ops.DigestBad(1)) == [ops.ResetPiece(1, 0)]
    assert records_of(receiver) == [wire.PieceAgain(1, 0)]
    done = take(receiver, wire.Chunk(1, 0, DATA), wire.PieceDone(1, 0, leaf(DATA)))
    assert done == [ops.Write(1, 0, DATA), ops.Finish(1, DIGEST)]
    assert answer(receiver, ops.DigestBad(1))[0] == ops.Suspend(1)
    assert records_of(receiver) == [wire.Verdicts([Verdict(1, False, Reason.VERIFY)])]


def test_what_still_comes_of_a_failed_file_is_dropped() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG, skip_errors=True)
    take(receiver, *piece(0))
    answer(receiver, ops.EntryDone(0), ops.WriteFailed(1, Reason.EXISTS, "there"))
    assert take(receiver, *piece(1), wire.FileDone(1, DIGEST)) == []
    assert take(receiver, wire.AllSent()) == [ops.Seal(settled=False)]
    with pytest.raises(ProtocolError):
        take(receiver, wire.Chunk(1, 0, DATA))


def test_a_file_that_both_sides_fail_at_once_is_judged_once() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG, skip_errors=True)
    take(receiver, *piece(0))
    answer(receiver, ops.WriteFailed(1, Reason.EXISTS, "there"))
    assert take(receiver, wire.FileFailed(1, Reason.READ), wire.FileFailed(1, Reason.READ), wire.AllSent(2)) == [
        ops.Seal(settled=False)
    ]
    verdicts = [record for record in records_of(receiver) if isinstance(record, wire.Verdicts)]
    assert verdicts == [wire.Verdicts([Verdict(1, False, Reason.EXISTS, "there")])]


@pytest.mark.parametrize("begun", [False, True])
def test_a_file_that_the_sender_fails_is_kept_and_judged(begun: bool) -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG, skip_errors=True)
    if begun:
        take(receiver, wire.Chunk(1, 0, DATA))
    done = take(receiver, wire.FileFailed(1, Reason.READ, "bad"), wire.AllSent(1))
    assert (ops.Suspend(1) in done) is begun
    assert not any(isinstance(op, ops.Discard) for op in done)
    assert records_of(receiver)[-1] == wire.Verdicts([Verdict(1, False, Reason.READ, "bad")])


@pytest.mark.parametrize("begun", [False, True])
def test_a_file_that_the_sender_gives_up_for_good_is_dropped_and_stops_nothing(begun: bool) -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG)
    if begun:
        take(receiver, wire.Chunk(1, 0, DATA))
    done = take(receiver, wire.FileFailed(1, Reason.DECLINED, "out"), wire.AllSent(1))
    assert ops.Discard(1, given_up=True) in done
    assert receiver.state is not ReceiverState.STOPPED
    assert records_of(receiver)[-1] == wire.Verdicts([Verdict(1, False, Reason.DECLINED, "out")])


def test_a_failure_stops_the_batch_without_skip_errors() -> None:
    entries = [ENTRIES[0], *(Entry(b"d/%d" % number, EntryKind.FILE, 4) for number in range(3))]
    receiver = receiver_in(ReceiverState.RECEIVING, entries)
    take(receiver, wire.Chunk(1, 0, DATA), wire.FileDone(1, DIGEST), wire.Chunk(2, 0, DATA), wire.FileDone(2, DIGEST))
    take(receiver, wire.Chunk(3, 0, DATA[:2]))
    assert answer(receiver, ops.EntryDone(0), ops.WriteFailed(1, Reason.PERMISSION, "")) == [ops.Suspend(3)]
    assert receiver.state is ReceiverState.STOPPED
    assert wire.Abort(Reason.BATCH) in records_of(receiver)
    assert take(receiver, wire.Chunk(3, 2, DATA[:2]), wire.FileDone(3, DIGEST), wire.AllSent()) == []
    assert answer(receiver, ops.EntryDone(2)) == [ops.Seal(final=False, settled=False)]
    answer(receiver, ops.Sealed())
    assert records_of(receiver) == [wire.Verdicts([Verdict(2, True)]), wire.Complete(2, 1)]
    assert list(receiver.events())[-1] == events.Finished(2, 1, 1, 1, 0, 1.0)


def test_damage_found_after_a_stop_is_not_repaired() -> None:
    receiver = receiver_in(ReceiverState.STOPPED)
    assert answer(receiver, ops.DigestBad(1)) == [ops.Suspend(1), ops.Seal(final=False)]
    assert records_of(receiver) == []
    receiver = receiver_in(ReceiverState.CLOSING, LONG[:1] + ENTRIES[1:2])
    answer(receiver, ops.DigestBad(1))
    receiver.cancel(Reason.CANCELLED, "", 3)
    assert list(receiver.ops()) == [ops.Suspend(1), ops.Seal(final=False)]


def test_a_damaged_piece_found_after_a_stop_leaves_the_others_for_another_session() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG)
    take(receiver, *piece(0), *piece(1), wire.FileDone(1, DIGEST))
    receiver.cancel(Reason.CANCELLED, "", 3)
    assert list(receiver.ops()) == []
    assert answer(receiver, ops.EntryDone(0), ops.PieceBad(1, 0), ops.DigestBad(1)) == [
        ops.Suspend(1),
        ops.Seal(final=False),
    ]


@pytest.mark.parametrize("reason", [Reason.CANCELLED, Reason.DISK])
def test_what_arrived_before_a_stop_is_still_written_if_there_is_room(reason: Reason) -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG)
    receiver.handle_payload(payload(*piece(0), wire.Chunk(1, MIB, DATA)), 2)
    receiver.cancel(reason, "", 3)
    written = [] if reason is Reason.DISK else [ops.Write, ops.CheckPiece, ops.Write]
    assert [type(op) for op in receiver.ops()] == [
        ops.MakeDirectory, ops.Begin, *written, ops.Suspend, ops.Seal
    ]  # fmt: skip


def test_an_abort_by_the_sender_is_settled_the_same_way() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG)
    take(receiver, *piece(0))
    assert take(receiver, wire.Abort(Reason.CANCELLED, "bye")) == [ops.Suspend(1), ops.Seal(final=False)]
    answer(receiver, ops.EntryDone(0), ops.EntryDone(1), ops.Sealed())
    assert records_of(receiver)[-1] == wire.Complete(1, 0)
    assert events.Aborted(Reason.CANCELLED, "bye", by_peer=True) in list(receiver.events())


def test_while_sealing_it_is_too_late_to_stop() -> None:
    receiver = receiver_in(ReceiverState.SEALING)
    receiver.cancel(Reason.CANCELLED, "", 3)
    receiver.handle_payload(payload(wire.Abort(Reason.CANCELLED)), 3)
    assert receiver.state is ReceiverState.SEALING
    answer(receiver, ops.WriteFailed(2, Reason.NAME, ""), ops.Sealed())
    assert records_of(receiver)[-1] == wire.Complete(2, 1)


@pytest.mark.parametrize("state", [ReceiverState.WAITING, ReceiverState.OFFERING, ReceiverState.OFFERED])
def test_a_refusal_is_said_also_before_the_offer_came(state: ReceiverState) -> None:
    receiver = receiver_in(state)
    receiver.refuse(Reason.DECLINED, "no", 1)
    assert records_of(receiver) == [wire.Abort(Reason.DECLINED, "no")]
    assert receiver.done


def test_the_backlog_is_what_the_sink_has_not_taken() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG)
    receiver.handle_payload(payload(wire.Chunk(1, 0, bytes(60_000))), 2)
    assert receiver.backlog > 60_000
    list(receiver.ops())
    assert receiver.backlog == 0


# Going on from an earlier session

FOUR = [ENTRIES[0], Entry(b"d/a", EntryKind.FILE, 4 * MIB), Entry(b"d/b", EntryKind.FILE, 7), ENTRIES[2]]


def test_what_stands_is_judged_and_of_the_rest_only_what_is_lacking_is_wanted() -> None:
    receiver = resuming_receiver(FOUR, {1: claim(0, 2, piece=1, head=5)}, done=[(0, 1), (2, 4)])
    assert receiver.offered_proof == SENDER_PROOF
    assert records_of(receiver) == [
        wire.Accept(offer_end(FOUR).digest, RECEIVER_PROOF), wire.Verdicts([Verdict(2, True), Verdict(3, True)]),
        wire.Want([(0, 1)], [wire.WantPieces(1, [(1, 2), (3, 4)], 5)]),
    ]  # fmt: skip
    assert list(receiver.events()) == [events.Started(True, 1, 7 + 2 * MIB + 5)]
    tail = wire.Chunk(1, MIB + 5, bytes(MIB - 5))
    done = take(receiver, tail, wire.PieceDone(1, 1, DIGEST), *piece(3), wire.PieceDone(1, 0, DIGEST))
    assert done == [
        ops.MakeDirectory(0, FOUR[0]), ops.Begin(1, FOUR[1], MIB, claim(0, 2, piece=1, head=5)),
        ops.Write(1, MIB + 5, tail.data), ops.CheckPiece(1, 1, DIGEST),
        ops.Write(1, 3 * MIB, bytes(MIB)), ops.CheckPiece(1, 3, DIGEST), ops.CheckPiece(1, 0, DIGEST),
    ]  # fmt: skip
    assert take(receiver, wire.FileDone(1, DIGEST), wire.AllSent()) == [ops.Finish(1, DIGEST)]
    assert answer(receiver, ops.EntryDone(0), ops.EntryDone(1)) == [ops.Seal()]
    answer(receiver, ops.Sealed())
    assert records_of(receiver)[-1] == wire.Complete(4, 0)
    happened = list(receiver.events())
    assert sum(each.count for each in happened if isinstance(each, events.BytesMoved)) == 2 * MIB - 5
    assert happened[-1] == events.Finished(4, 0, 2, 0, 0, 1.0)


def test_a_file_of_which_all_is_there_needs_its_digest_only() -> None:
    cases: list[list[wire.PieceDone]] = [[], [wire.PieceDone(1, 3, DIGEST)]]
    for ends in cases:
        receiver = resuming_receiver(FOUR[:2], {1: claim(0, 1, 2, 3)})
        assert records_of(receiver)[-1] == wire.Want([(0, 1)], [wire.WantPieces(1, [])])
        done = take(receiver, *ends, wire.FileDone(1, DIGEST), wire.AllSent())
        checks = [ops.CheckPiece(1, 3, DIGEST)] * len(ends)
        assert done[1:] == [ops.Begin(1, FOUR[1], MIB, claim(0, 1, 2, 3)), *checks, ops.Finish(1, DIGEST)]


def test_what_was_declined_stays_so() -> None:
    receiver = resuming_receiver(FOUR, {1: claim(0)}, declined=[(1, 2)])
    assert records_of(receiver)[1:] == [
        wire.Want([(0, 1), (2, 4)], []), wire.Verdicts([Verdict(1, False, Reason.DECLINED)])
    ]  # fmt: skip
    assert list(receiver.events()) == [events.Started(True), events.EntryFailed(1, Reason.DECLINED, "")]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("proof", [b"", RECEIVER_PROOF])
def test_a_proof_is_asked_for_and_comes_before_the_consent(proof: bytes, early: bool) -> None:
    receiver = receiver_in(ReceiverState.OFFERING if early else ReceiverState.OFFERED, resuming=True)
    assert next(receiver.events()) == events.ProofWanted()
    receiver.prove(proof, 1)
    assert records_of(receiver) == [wire.Proof(proof)]
    if early:
        take(receiver, wire.OfferPart(0, ENTRIES), offer_end(ENTRIES))
    receiver.accept(1)
    assert records_of(receiver)[0] == wire.Accept(offer_end(ENTRIES).digest)


def test_there_is_no_consent_before_the_proof_that_is_wanted() -> None:
    receiver = receiver_in(ReceiverState.OFFERED, resuming=True)
    with pytest.raises(RuntimeError, match="proof comes first"):
        receiver.accept(1)
    assert records_of(receiver) == []
    receiver.prove(b"", 1)
    receiver.accept(1)


def test_a_proof_is_given_once_and_only_if_it_is_wanted() -> None:
    asked = receiver_in(ReceiverState.OFFERED, resuming=True)
    asked.prove(RECEIVER_PROOF, 1)
    for receiver in (asked, receiver_in(ReceiverState.OFFERING), receiver_in(ReceiverState.OFFERED)):
        assert (events.ProofWanted() in list(receiver.events())) is (receiver is asked)
        records_of(receiver)
        with pytest.raises(RuntimeError, match="no proof is wanted"):
            receiver.prove(RECEIVER_PROOF, 2)
        assert records_of(receiver) == []


def test_a_proof_of_another_length_is_a_bug_and_still_wanted() -> None:
    receiver = receiver_in(ReceiverState.OFFERING, resuming=True)
    for length in (1, 31, 33):
        with pytest.raises(ValueError, match="32 bytes"):
            receiver.prove(bytes(length), 1)
    receiver.prove(RECEIVER_PROOF, 1)
    assert records_of(receiver) == [wire.Proof(RECEIVER_PROOF)]


def test_a_proof_that_comes_too_late_is_not_sent() -> None:
    receiver = receiver_in(ReceiverState.OFFERING, resuming=True)
    receiver.refuse(Reason.DECLINED, "", 1)
    receiver.prove(RECEIVER_PROOF, 2)
    assert records_of(receiver) == [wire.Abort(Reason.DECLINED)]


def test_nothing_goes_on_without_a_proof() -> None:
    resume = Resume(RangeSet(), RangeSet(), {})
    with pytest.raises(ValueError, match="proof"):
        receiver_in(ReceiverState.OFFERED).accept(1, resume=resume)
    for proven, repeated in ((b"", RECEIVER_PROOF), (RECEIVER_PROOF, b"")):
        receiver = receiver_in(ReceiverState.OFFERED, resuming=True)
        receiver.prove(proven, 1)
        with pytest.raises(ValueError, match="proof"):
            receiver.accept(1, resume=resume, proof=repeated)


def test_who_proved_itself_may_still_begin_anew() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, resuming=True)
    (begin, *_) = take(receiver, wire.Chunk(1, 0, DATA))[1:]
    assert begin == ops.Begin(1, ENTRIES[1], MIB)


def test_a_piece_that_turns_out_damaged_is_asked_for_once_whoever_finds_it_first() -> None:
    receiver = resuming_receiver(FOUR[:2], {1: claim(0, 1, 2)})
    records_of(receiver)
    take(receiver, wire.Chunk(1, 3 * MIB, DATA))
    assert answer(receiver, ops.PieceBad(1, 1)) == [ops.ResetPiece(1, 1)]
    assert answer(receiver, ops.PieceBad(1, 1)) == []
    assert records_of(receiver) == [wire.PieceAgain(1, 1)]
    rest: list[Record] = [
        wire.Chunk(1, 3 * MIB + 4, bytes(MIB - 4)),
        wire.PieceDone(1, 3, DIGEST),
        wire.PieceDone(1, 1, DIGEST),
    ]
    assert [type(op) for op in take(receiver, *rest)] == [ops.Write, ops.CheckPiece]
    assert take(receiver, wire.FileDone(1, DIGEST)) == []
    assert [type(op) for op in take(receiver, *piece(1))] == [ops.Write, ops.CheckPiece, ops.Finish]


def test_news_of_damage_that_comes_after_the_repair_fails_nothing_but_a_wrong_digest_does() -> None:
    receiver = resuming_receiver(FOUR[:2], {1: claim(0, 1, 2)})
    ends = [wire.PieceDone(1, number, DIGEST) for number in range(3)]
    take(receiver, *piece(3), *ends, wire.FileDone(1, DIGEST))
    answer(receiver, ops.PieceBad(1, 1), ops.DigestBad(1))
    assert take(receiver, *piece(1))[-1] == ops.Finish(1, DIGEST)
    assert answer(receiver, ops.PieceBad(1, 1)) == []
    assert answer(receiver, ops.DigestBad(1)) == [ops.Discard(1)]


def test_a_stop_does_not_wait_for_directories() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING, LONG)
    take(receiver, wire.Chunk(1, 0, DATA))
    receiver.cancel(Reason.CANCELLED, "", 3)
    assert list(receiver.ops()) == [ops.Suspend(1), ops.Seal(final=False)]
    assert answer(receiver, ops.Sealed()) == []
    assert records_of(receiver) == [wire.Abort(Reason.CANCELLED), wire.Complete(0, 0)]


def test_a_wrong_digest_sends_for_what_nobody_compared() -> None:
    receiver = resuming_receiver(FOUR[:2], {1: claim(0, 1, 2)})
    take(receiver, *piece(3), wire.PieceDone(1, 1, DIGEST), wire.FileDone(1, DIGEST))
    records_of(receiver)
    assert answer(receiver, ops.DigestBad(1)) == [ops.ResetPiece(1, 0), ops.ResetPiece(1, 2)]
    assert records_of(receiver) == [wire.PieceAgain(1, 0), wire.PieceAgain(1, 2)]
    assert take(receiver, *piece(0), *piece(2))[-1] == ops.Finish(1, DIGEST)
    assert answer(receiver, ops.DigestBad(1)) == [ops.Discard(1)]


def test_a_stop_leaves_alone_what_was_not_begun() -> None:
    receiver = resuming_receiver([*FOUR[:2], Entry(b"d/c", EntryKind.FILE, 2 * MIB)], {1: claim(0), 2: claim(1)})
    take(receiver, wire.Chunk(1, MIB, DATA))
    receiver.cancel(Reason.CANCELLED, "", 3)
    assert list(receiver.ops()) == [ops.Suspend(1), ops.Seal(final=False)]


def test_the_sender_hears_when_the_disk_is_full_and_when_it_is_not_any_more() -> None:
    receiver = receiver_in(ReceiverState.RECEIVING)
    for held in (False, True, True, False):
        receiver.hold(held, 2)
    assert records_of(receiver) == [wire.Hold(True), wire.Hold(False)]

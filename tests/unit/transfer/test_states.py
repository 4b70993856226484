"""Every state with every input: legal, or its documented error and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.sim.stages import DATA, DIGEST, ENTRIES, offer_end, payload, receiver_in, records_of, sender_in
from tests.sim.transfers import RECEIVER_PROOF, TRANSFER_ID

from p2pal.errors import ProtocolError
from p2pal.transfer.states import RECEIVER, SENDER, ReceiverState, SenderState
from p2pal.wire import transfer as wire
from p2pal.wire.transfer import Reason, Record

RECORDS: list[Record] = [
    wire.Chunk(1, 0, DATA), wire.OfferBegin(TRANSFER_ID), wire.OfferPart(0, ENTRIES), offer_end(ENTRIES),
    wire.Proof(), wire.Proof(RECEIVER_PROOF), wire.Accept(offer_end(ENTRIES).digest), wire.Want([(0, 3)], []),
    wire.PieceDone(1, 0, bytes(32)), wire.FileDone(1, DIGEST), wire.FileFailed(1, Reason.READ), wire.AllSent(),
    wire.PieceAgain(1, 0), wire.Verdicts([wire.Verdict(0, True)]), wire.Complete(0, 0), wire.Hold(True),
    wire.Abort(Reason.OTHER),
]  # fmt: skip
SENDER_CALLS = ["start", "add", "finish", "admit"]
RECEIVER_CALLS = ["prove", "accept", "refuse"]


def test_the_tables_name_every_state() -> None:
    assert set(SENDER) == set(SenderState)
    assert set(RECEIVER) == set(ReceiverState)


def try_record(handle: Callable[[bytes, float], None], record: Record, *, allowed: bool, ended: bool) -> None:
    error = None
    try:
        handle(payload(record), 3.0)
    except ProtocolError as problem:
        error = problem.message
    if ended:
        assert error is None, "whoever has ended ignores the peer"
    elif allowed:
        assert error is None or "not allowed" not in error, "an allowed record may only be wrong in what it says"
    else:
        assert error is not None
        assert "not allowed" in error


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
@pytest.mark.parametrize("resuming", [False, True])
@pytest.mark.parametrize("state", SenderState)
def test_a_record_at_the_sender(state: SenderState, resuming: bool, record: Record) -> None:
    sender = sender_in(state, resuming=resuming)
    ended = state is SenderState.ENDED
    try_record(sender.handle_payload, record, allowed=type(record) in SENDER[state], ended=ended)
    sender.cancel(Reason.CANCELLED, "", 4.0)
    assert sender.state in (SenderState.STOPPED, SenderState.ENDED)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
@pytest.mark.parametrize("resuming", [False, True])
@pytest.mark.parametrize("state", ReceiverState)
def test_a_record_at_the_receiver(state: ReceiverState, resuming: bool, record: Record) -> None:
    receiver = receiver_in(state, resuming=resuming)
    ended = state is ReceiverState.ENDED
    try_record(receiver.handle_payload, record, allowed=type(record) in RECEIVER[state], ended=ended)
    receiver.cancel(Reason.CANCELLED, "", 4.0)
    assert receiver.state in (ReceiverState.STOPPED, ReceiverState.SEALING, ReceiverState.ENDED)


@pytest.mark.parametrize("call", SENDER_CALLS)
@pytest.mark.parametrize("state", SenderState)
def test_a_call_at_the_sender(state: SenderState, call: str) -> None:
    sender = sender_in(state)
    calls: dict[str, Callable[[], None]] = {
        "start": lambda: sender.start(3.0),
        "add": lambda: sender.add_entries([], 3.0),
        "finish": lambda: sender.finish_offer(3.0),
        "admit": lambda: sender.admit(3.0),
    }
    if call in SENDER[state]:
        calls[call]()
    else:
        with pytest.raises(RuntimeError, match="not allowed now"):
            calls[call]()


@pytest.mark.parametrize("call", RECEIVER_CALLS)
@pytest.mark.parametrize("resuming", [False, True])
@pytest.mark.parametrize("state", ReceiverState)
def test_a_call_at_the_receiver(state: ReceiverState, resuming: bool, call: str) -> None:
    receiver = receiver_in(state, resuming=resuming)
    calls: dict[str, Callable[[], None]] = {
        "prove": lambda: receiver.prove(b"", 3.0),
        "accept": lambda: receiver.accept(3.0),
        "refuse": lambda: receiver.refuse(Reason.DECLINED, "", 3.0),
    }
    due = resuming and state in (ReceiverState.OFFERING, ReceiverState.OFFERED)
    if call not in RECEIVER[state]:
        with pytest.raises(RuntimeError, match="not allowed now"):
            calls[call]()
    elif state is not ReceiverState.ENDED and ((call == "prove" and not due) or (call == "accept" and due)):
        with pytest.raises(RuntimeError, match="proof"):
            calls[call]()
    else:
        calls[call]()


@pytest.mark.parametrize("state", SenderState)
def test_late_results_and_timers_are_harmless_at_the_sender(state: SenderState) -> None:
    sender = sender_in(state)
    sender.handle_source([], 9.0)
    sender.handle_timeout(1.5)
    assert sender.state is state
    assert (sender.next_timeout() is None) is (state is not SenderState.STOPPED)


@pytest.mark.parametrize("state", ReceiverState)
def test_the_disk_may_hold_at_any_time_and_is_heard_while_files_flow(state: ReceiverState) -> None:
    receiver = receiver_in(state)
    receiver.hold(True, 3.0)
    receiver.hold(True, 3.0)
    flowing = state in (ReceiverState.RECEIVING, ReceiverState.CLOSING, ReceiverState.SEALING)
    assert records_of(receiver) == [wire.Hold(True)] * flowing
    assert receiver.state is state

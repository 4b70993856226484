"""Attacks by the peer on the session: each ends in ProtocolError, or costs us nothing that grows."""

from __future__ import annotations

import sys
import tracemalloc

import pytest

from p2pal.errors import ProtocolError
from p2pal.session.core import CONTROL_SLACK, Session
from p2pal.session.events import Delivered, SessionClosed
from p2pal.session.lane import MAX_PONGS
from p2pal.wire.frames import Ack, Close, LaneAck, Ping, Pong, decode, encode, encode_data

FRAME = 64 * 1024
WINDOW = 1 << 20
EDGE = WINDOW // FRAME
PLENTY = 1 << 24


def victim() -> Session:
    session = Session(max_frame=FRAME, window=WINDOW, peer_max_frame=FRAME, peer_window=WINDOW, now=0.0)
    session.lane_up(1, 0.0)
    return session


def test_a_frame_larger_than_agreed() -> None:
    with pytest.raises(ProtocolError, match="larger than agreed"):
        victim().handle_frame(1, encode_data(0, bytes(FRAME)), 0.0)


@pytest.mark.parametrize("number", [EDGE, EDGE + 1, 2**62, 2**63 - 1])
def test_a_frame_past_the_window(number: int) -> None:
    with pytest.raises(ProtocolError, match="past the window"):
        victim().handle_frame(1, encode_data(number, b"x"), 0.0)


def test_never_filling_the_gap_holds_no_more_than_the_window() -> None:
    session = victim()
    for number in range(1, EDGE):
        session.handle_frame(1, encode_data(number, bytes(100)), 0.0)
    with pytest.raises(ProtocolError, match="past the window"):
        session.handle_frame(1, encode_data(EDGE, bytes(100)), 0.0)
    assert list(session.events()) == []


def test_duplicates_do_not_pile_up() -> None:
    session = victim()
    frames = [encode_data(number, bytes(FRAME - 9)) for number in (0, 2, 3)]
    for frame in frames:
        session.handle_frame(1, frame, 0.0)
    events = list(session.events())
    tracemalloc.start()
    for _ in range(3000):
        for frame in frames:
            session.handle_frame(1, bytes(frame), 0.0)
        list(session.outputs(1, PLENTY, 0.0))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(events) == 1
    assert list(session.events()) == []
    assert grown < 100_000


def test_acknowledging_what_was_never_sent() -> None:
    session = victim()
    session.send(b"x", 0.0)
    for ack in (Ack(1, 1 + EDGE), Ack(0, EDGE, [(1, 2)]), Ack(2**63 - 1, 2**63)):
        with pytest.raises(ProtocolError, match="never sent"):
            session.handle_frame(1, encode(ack), 0.0)
    assert not session.drained


def test_acknowledging_a_counter_or_lane_that_never_was() -> None:
    for entry in (LaneAck(1, 0, 0.0), LaneAck(1, 2**32 - 1, 0.0), LaneAck(2, 0, 0.0)):
        with pytest.raises(ProtocolError, match="never sent"):
            victim().handle_frame(1, encode(Ack(0, EDGE, (), [entry])), 0.0)


def test_an_endless_window_does_not_make_us_send_without_end() -> None:
    session = victim()
    with pytest.raises(ProtocolError, match="wider than agreed"):
        session.handle_frame(1, encode(Ack(0, 2**63)), 0.0)


def test_a_window_that_shrinks_is_ignored() -> None:
    session = victim()
    for _ in range(4):
        session.send(b"x", 0.0)
    session.handle_frame(1, encode(Ack(0, 0)), 0.0)
    assert len(list(session.outputs(1, PLENTY))) == 4


def test_a_delay_that_lies_cannot_open_the_window_past_its_cap() -> None:
    session = Session(max_frame=FRAME, window=WINDOW, peer_max_frame=FRAME, peer_window=1 << 28, now=0.0)
    session.lane_up(1, 0.0)
    now, first, counter, most = 0.0, 0, -1, 0
    for _ in range(60):
        while session.writable or session.unacked_bytes < 14 << 20:
            session.send(bytes(session.max_payload), now)
        flight = len(list(session.outputs(1, 1 << 28, now)))
        most = max(most, flight)
        first, counter, now = first + flight, counter + flight, now + 0.5
        ack = Ack(first, first + (1 << 28) // FRAME, (), [LaneAck(1, counter, 0.4999)])
        session.handle_frame(1, encode(ack), now)
    assert most * FRAME <= 12 << 20


def test_a_flood_of_pings_without_reading_the_answers() -> None:
    session = victim()
    for number in range(MAX_PONGS):
        session.handle_frame(1, encode(Ping(number)), 0.0)
    with pytest.raises(ProtocolError, match="floods"):
        session.handle_frame(1, encode(Ping(MAX_PONGS)), 0.0)


def test_a_peer_that_does_not_read_cannot_fill_our_lane() -> None:
    session = victim()
    session.handle_frame(1, encode(Ping(1)), 0.0)
    assert list(session.outputs(1, -CONTROL_SLACK)) == []
    assert [decode(frame) for frame in session.outputs(1, 0)] == [Pong(1)]


def test_an_answer_to_no_question() -> None:
    with pytest.raises(ProtocolError, match="never sent"):
        victim().handle_frame(1, encode(Pong(0)), 0.0)


def test_repeated_ranges_cost_no_work_for_what_is_known() -> None:
    """An ACK of 500 bytes must not make us look at every frame in flight again and again."""
    count = 20_000
    session = Session(max_frame=1024, window=WINDOW, peer_max_frame=1024, peer_window=64 << 20, now=0.0)
    session.lane_up(1, 0.0, controlled=False)
    for _ in range(count):
        session.send(b"x", 0.0)
    list(session.outputs(1, PLENTY))
    ack = encode(Ack(0, 65_536, [(1 + 600 * i, 600 * i + 600) for i in range(32)]))
    session.handle_frame(1, ack, 0.0)
    calls = 0

    def count_calls(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count_calls)
    try:
        session.handle_frame(1, ack, 0.0)
    finally:
        sys.setprofile(None)
    assert calls < 2000


def test_endless_closing_is_answered_one_by_one_and_reported_once() -> None:
    session = victim()
    events = []
    for _ in range(100):
        session.handle_frame(1, encode(Close(1, "bye")), 0.0)
        events += list(session.events())
        assert len(list(session.outputs(1, PLENTY))) <= 1
    assert events == [SessionClosed(1, "bye", by_peer=True)]


def test_data_after_the_end_is_not_delivered() -> None:
    session = victim()
    session.handle_frame(1, encode(Close(1, "bye")), 0.0)
    session.handle_frame(1, encode_data(0, b"x"), 0.0)
    assert not any(isinstance(event, Delivered) for event in session.events())


def test_errors_do_not_repeat_the_peers_words() -> None:
    for frame in (b"\x05\x00\x00\xff<script>", b"\x99secret", encode_data(2**40, b"secret")):
        with pytest.raises(ProtocolError) as caught:
            victim().handle_frame(1, frame, 0.0)
        assert "secret" not in str(caught.value)
        assert "script" not in str(caught.value)

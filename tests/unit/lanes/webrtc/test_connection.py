"""What only WebRTC lanes do; what every lane does is in tests/contract/test_lane.py."""

from __future__ import annotations

import asyncio

import pytest
from tests.contract.lane_pairs import Signaling, connect
from tests.contract.test_lane import Ear

from p2pal.errors import ProtocolError
from p2pal.lanes.base import CandidateFound, Connection, PathChanged
from p2pal.lanes.webrtc.connection import MAX_MESSAGE, WebRtcConnection, allow_loopback
from p2pal.wire.signal import Candidate


async def pair() -> tuple[Ear, Ear, WebRtcConnection, WebRtcConnection]:
    left, right = Ear(), Ear()
    a, b = await connect(left, right)
    await left.until(lambda: "opened" in left.heard)
    await right.until(lambda: "opened" in right.heard)
    return left, right, a, b


def alone() -> WebRtcConnection:
    """A connection that nobody answers."""
    allow_loopback()
    return WebRtcConnection(1, 1, Signaling(Ear()), only_loopback=True)


async def test_the_path_is_known_once_it_is_open() -> None:
    _, _, a, b = await pair()
    for end in (a, b):
        path = await end.path()
        assert path is not None
        assert path.words == "direct, host udp"
        assert end.on_one_machine
    a.close()
    b.close()
    assert await a.path() is None


async def test_text_is_no_message_of_ours() -> None:
    _, right, a, b = await pair()
    a._channel.send("text")
    await right.until(lambda: bool(right.messages))
    assert right.messages == [b""]  # which no frame decoder accepts
    a.close()
    b.close()


async def test_before_it_opens_nothing_is_taken() -> None:
    connection = alone()
    connection.send(b"dropped")
    assert connection.budget() == 0
    assert await connection.path() is None
    connection.close()


async def test_a_message_beyond_the_engines_limit_is_our_mistake() -> None:
    _, _, a, b = await pair()
    with pytest.raises(ValueError, match="larger than the lane carries"):
        a.send(bytes(MAX_MESSAGE + 1))
    a.close()
    b.close()


async def test_a_peer_that_allows_no_messages_of_our_size_loses_the_lane() -> None:
    allow_loopback()
    left, right = Ear(), Ear()
    ends = Signaling(left), Signaling(right)
    a, b = (WebRtcConnection(1, 1, end, only_loopback=True) for end in ends)
    answer = await b.answer(await a.offer())
    await a.accept(answer.replace("a=max-message-size:262144", "a=max-message-size:1000"))
    ends[0].deliver(b)
    ends[1].deliver(a)
    await left.until(lambda: "opened" in left.heard)
    a.send(bytes(1000))
    a.send(bytes(1001))
    await left.until(lambda: "closed" in left.heard)
    b.close()


@pytest.mark.parametrize("sdp", ["", "nonsense", "v=0\r\n", "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" * 2])
async def test_a_description_that_cannot_be_used_is_the_peers_fault(sdp: str) -> None:
    connection = alone()
    try:
        with pytest.raises(ProtocolError, match="session description"):
            await connection.accept(sdp)
    finally:
        connection.close()


async def test_a_second_answer_is_the_peers_fault() -> None:
    _, _, a, b = await pair()
    answer = b._pc.local_description
    assert answer is not None
    with pytest.raises(ProtocolError):
        await a.accept(answer.sdp or "")
    a.close()
    b.close()


@pytest.mark.parametrize(
    "candidate",
    [
        "",
        "nonsense",
        "candidate:1 1 udp 1 999.1.1.1 1 typ host",
        "candidate:1 1 udp 2122063615 192.0.2.1 59811 typ host",
        "candidate:1 1 udp 2122063615 example.local 59811 typ host",
        "candidate:1 1 udp 2122063615 127.0.0.1 99999999 typ host",
        "candidate:" + "9" * 500,
    ],
)
async def test_a_candidate_that_cannot_be_used_is_passed_over(candidate: str) -> None:
    left, _, a, b = await pair()
    await a.add_candidate(Candidate(1, candidate))
    await a.add_candidate(Candidate(1, candidate, "nonsense", 9))
    assert left.heard == ["opened"]
    a.close()
    b.close()
    await a.add_candidate(Candidate(1, "candidate:1 1 udp 1 127.0.0.1 9 typ host"))


async def test_only_loopback_candidates_leave_when_told_so() -> None:
    found: list[str] = []
    done = asyncio.Event()

    class Listener(Signaling):
        def connection_event(self, connection: Connection, event: CandidateFound | PathChanged) -> None:
            if isinstance(event, CandidateFound):
                found.append(event.candidate.candidate)
                if not event.candidate.candidate:
                    done.set()

    allow_loopback()
    connection = WebRtcConnection(1, 1, Listener(Ear()), only_loopback=True)
    sdp = await connection.offer()
    async with asyncio.timeout(20):
        await done.wait()
    connection.close()
    addresses = {candidate.split()[4] for candidate in found if candidate}
    assert addresses
    assert addresses <= {"127.0.0.1", "::1"}
    assert "a=candidate" not in sdp


async def test_closing_a_connection_that_never_opened_is_reported_once() -> None:
    allow_loopback()
    ear = Ear()
    connection = WebRtcConnection(1, 1, Signaling(ear))
    await connection.offer()
    connection.close()
    connection.close()
    assert ear.heard == ["closed"]


@pytest.mark.parametrize("call", ["offer", "answer", "accept", "add_candidate"])
async def test_a_connection_that_is_closed_under_a_call_cancels_nobody(call: str) -> None:
    allow_loopback()
    caller, called = alone(), alone()
    offer = await caller.offer()
    if call == "offer":
        closed = alone()
        waiting = asyncio.ensure_future(closed.offer())
    elif call == "answer":
        closed = alone()
        waiting = asyncio.ensure_future(closed.answer(offer))
    elif call == "accept":
        closed = caller
        waiting = asyncio.ensure_future(closed.accept(await called.answer(offer)))  # type: ignore[arg-type]
    else:
        closed = called
        await called.answer(offer)
        candidate = "candidate:1 1 udp 2130706431 127.0.0.1 9 typ host"
        waiting = asyncio.ensure_future(closed.add_candidate(Candidate(1, candidate)))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    closed.close()
    assert not await waiting  # and is not cancelled
    caller.close()
    called.close()


async def test_who_is_cancelled_while_a_connection_closes_stays_cancelled() -> None:
    allow_loopback()
    connection = alone()
    waiting = asyncio.ensure_future(connection.offer())
    await asyncio.sleep(0)
    connection.close()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_candidates_inside_a_description_are_not_taken() -> None:
    allow_loopback()
    left, right = Ear(), Ear()
    ends = Signaling(left), Signaling(right)
    a, b = (WebRtcConnection(1, 1, end, only_loopback=True) for end in ends)
    offer = await a.offer()
    hidden = "a=candidate:1 1 udp 1 127.0.0.1 9 typ relay raddr 0.0.0.0 rport 0\r\n"
    await b.answer(offer + hidden)
    assert "a=candidate" not in b._pc.remote_description.sdp  # type: ignore[union-attr]
    assert b.gathering.remote == {}
    a.close()
    b.close()

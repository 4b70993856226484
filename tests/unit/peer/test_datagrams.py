"""Two peers with datagram lanes, over a real server and real sockets: which lane carries, and what stands in for it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import contextmanager

import pytest
from tests.unit.peer.kit import MAX_PAYLOAD, SMALL_PAYLOAD, Owner, Pair, pair, payloads

from p2pal.crypto.keys import SessionSecret
from p2pal.errors import ConnectionImpossible, ProtocolError
from p2pal.lanes.address_zones import Nearness
from p2pal.lanes.ice_servers import RelayUse
from p2pal.lanes.udp.factory import UdpFactory
from p2pal.lanes.udp.shell import UdpLane
from p2pal.link import datagrams as schedule
from p2pal.peer.datagrams import DatagramDriver
from p2pal.wire.signal import DATAGRAM_LANES, SignalMessage, UdpCandidate, UdpCandidates

BOTH = ("udp", "webrtc")
FIRST = DATAGRAM_LANES + 1


def two(lanes: Sequence[str] = BOTH, theirs: Sequence[str] = BOTH) -> tuple[Owner, Owner]:
    return Owner(lanes=lanes), Owner(lanes=theirs)


def lane_of(owner: Owner) -> UdpLane:
    lane = owner.peer.link.datagrams.lane
    assert lane is not None
    return lane


def lose(lane: UdpLane) -> None:
    """From now on no datagram of this side leaves."""
    for port in lane._ports.values():
        port.send = lambda batch: None  # type: ignore[method-assign]


def hurry(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    for name, value in seconds.items():
        monkeypatch.setattr(schedule, name, value)


async def stand_by(left: Owner, right: Owner) -> None:
    """Let the engine stand by beside the datagram lane."""
    link = left.peer.link
    link.datagrams.schedule.on_data(0.0)
    left.peer.wake()
    await left.until_true(lambda: link.negotiator.in_use > 0)
    await right.until_true(lambda: right.peer.link.negotiator.in_use > 0)


async def move(left: Owner, right: Owner, seed: int = 1) -> None:
    """Send both ways, and compare."""
    there, back = payloads(100, seed), payloads(40, seed + 1)
    before = len(right.received), len(left.received)
    left.to_send.extend(there)
    right.to_send.extend(back)
    left.peer_turn(())
    right.peer_turn(())
    await right.until(lambda: len(right.received) == before[0] + len(there))
    await left.until(lambda: len(left.received) == before[1] + len(back))
    assert right.received[before[0] :] == there
    assert left.received[before[1] :] == back


async def test_datagrams_carry_the_session_and_the_engine_is_not_started() -> None:
    left, right = two()
    async with pair(left, right) as (running, _):
        await running.linked()
        await move(left, right)
        for owner in (left, right):
            assert owner.paths == ["direct, udp"]
            assert owner.peer.link.lane == "udp"
            assert not owner.peer.link.engine.connections


async def test_payloads_are_as_large_as_the_lane_in_use_likes() -> None:
    for lanes, expected in ((BOTH, MAX_PAYLOAD), (("webrtc",), SMALL_PAYLOAD)):
        left, right = two(lanes, lanes)
        async with pair(left, right) as (running, _):
            assert left.peer.payload_limit == SMALL_PAYLOAD, "no lane is known yet"
            await running.linked()
            assert left.peer.payload_limit == right.peer.payload_limit == expected


async def test_large_payloads_made_for_datagrams_move_to_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, STANDBY_AFTER=0.0)
    left, right = two()
    async with pair(left, right) as (running, _):
        await running.linked()
        await stand_by(left, right)
        lose(lane_of(left))
        there = [bytes([number]) * MAX_PAYLOAD for number in range(30)]
        left.to_send.extend(there)
        left.peer_turn(())
        await right.until(lambda: len(right.received) == len(there))
        assert right.received == there
        assert left.peer.link.lane == "webrtc"
        assert left.peer.payload_limit == SMALL_PAYLOAD
        assert not left.retries


@pytest.mark.parametrize("older", ["left", "right"])
async def test_a_side_without_datagrams_is_met_over_the_engine(older: str) -> None:
    left, right = two(*((("webrtc",), BOTH) if older == "left" else (BOTH, ("webrtc",))))
    async with pair(left, right) as (running, _):
        await running.linked()
        await move(left, right)
        assert left.paths == right.paths == ["direct, host udp"]
        assert left.peer.link.datagrams.lane is right.peer.link.datagrams.lane is None


async def test_sides_without_a_lane_in_common_say_so() -> None:
    left, right = two(("udp",), ("webrtc",))
    async with pair(left, right) as (running, _):
        for error in await running.end():
            assert isinstance(error, ConnectionImpossible)
            assert "lanes" in error.message
            assert "-lane" in error.hint


async def test_a_side_that_hides_its_addresses_uses_no_datagrams() -> None:
    left, right = Owner(lanes=BOTH, relay=RelayUse.ONLY), Owner(lanes=BOTH)
    async with pair(left, right):
        await right.until_true(lambda: right.peer._session is not None or right.peer._ended.done())
        assert left.peer.link.datagrams.lane is None
        assert not left.peer.link.datagrams.prepared
        assert right.peer.link.datagrams.lane is None


@pytest.mark.parametrize("which", ["left", "right"])
async def test_the_standby_steps_in_when_datagrams_stall_and_steps_back(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch, STANDBY_AFTER=0.0)
    left, right = two()
    async with pair(left, right) as (running, _):
        await running.linked()
        await stand_by(left, right)
        assert left.paths == ["direct, udp"], "a standby carries nothing"
        owner = left if which == "left" else right
        ports = list(lane_of(owner)._ports.values())
        lose(lane_of(owner))
        await move(left, right)
        await left.until_true(lambda: left.peer.link.lane == "webrtc")
        assert not left.retries
        assert not right.retries
        for port in ports:
            del port.send
        for each in (left, right):
            await each.until_true(lambda each=each: each.peer.link.lane == "udp")  # type: ignore[misc]
        await move(left, right, 7)
        assert left.paths[:2] == ["direct, udp", "direct, host udp"]


async def test_a_lane_that_stalls_alone_has_the_engine_step_in() -> None:
    left, right = two()
    async with pair(left, right) as (running, _):
        await running.linked()
        lose(lane_of(left))
        left.to_send.extend(payloads(100))
        left.peer_turn(())
        await right.until(lambda: len(right.received) == 100)
        assert right.received == payloads(100)
        assert left.peer.link.lane == "webrtc"
        assert left.peer.link.negotiator.generation == 1


async def test_a_lane_that_ends_leaves_all_to_the_standby(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, STANDBY_AFTER=0.0)
    left, right = two()
    async with pair(left, right) as (running, _):
        await running.linked()
        await stand_by(left, right)
        left.to_send.extend(payloads(300))
        left.peer_turn(())
        await right.until(lambda: len(right.received) > 20)
        lane_of(left).close()
        await right.until(lambda: len(right.received) == 300)
        assert right.received == payloads(300)
        assert not left.retries
        assert not right.retries


@pytest.mark.parametrize("which", ["left", "right"])
async def test_without_a_standby_the_link_is_tried_again(which: str) -> None:
    left, right = two()
    async with pair(left, right) as (running, _):
        await running.linked()
        left.to_send.extend(payloads(300))
        left.peer_turn(())
        await right.until(lambda: len(right.received) > 20)
        lane_of(left if which == "left" else right).close()
        await right.until(lambda: len(right.received) == 300)
        assert right.received == payloads(300)
        await left.until_true(lambda: left.back == len(left.retries[:1]))
        assert left.retries


async def test_a_silence_is_told_as_long_as_it_lasts() -> None:
    left, right = two(("udp",), ("udp",))
    async with pair(left, right) as (running, _):
        await running.linked()
        link, lane = left.peer.link, lane_of(left)
        for seconds in (3.0, 8.0, 13.0):
            link.lane_silent(lane.id, seconds)
            left.peer.wake()
            await left.until(lambda seconds=seconds: left.silences[-1:] == [seconds])  # type: ignore[misc]
        assert left.silences == [3.0, 8.0, 13.0]


async def test_datagrams_that_come_back_take_over_again(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, FIRST_PAUSE=0.05, DISTANCE=0.0)
    left, right = two()
    async with pair(left, right) as (running, _):
        await running.linked()
        lane_of(left).close()
        await left.until_true(lambda: left.peer.link.datagrams.schedule.lane > FIRST)
        await move(left, right)
        for owner in (left, right):
            await owner.until_true(lambda owner=owner: owner.peer.link.lane == "udp")  # type: ignore[misc]
        await move(left, right, 5)


async def test_datagrams_alone_come_back_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, FIRST_PAUSE=0.05, DISTANCE=0.0)
    left, right = two(("udp",), ("udp",))
    async with pair(left, right) as (running, _):
        await running.linked()
        lane_of(right).close()
        await move(left, right)
        assert not left.peer.link.engine.connections
        assert not right.peer.link.engine.connections


async def test_forged_frames_end_two_lanes_and_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch, FIRST_PAUSE=0.05, DISTANCE=0.0)
    left, right = two()
    async with pair(left, right) as (running, _):
        await running.linked()
        for number in range(schedule.MOST_BROKEN):
            await left.until_true(lambda: left.peer.link.lane == "udp" and left.peer.link.lanes.heard)
            await right.until_true(lambda: right.peer.link.lane == "udp")
            lane_of(left).send(b"forged" * 20)
            broken = FIRST + number
            await right.until_true(lambda broken=broken: not right.peer.link.datagrams.schedule.takes(broken))  # type: ignore[misc]
        await move(left, right)
        await left.until_true(lambda: left.peer.link.lane == "webrtc")
        assert not right.peer.link.datagrams.schedule.enabled


async def test_the_engine_starts_where_datagrams_do_not_get_through(monkeypatch: pytest.MonkeyPatch) -> None:
    adopt = UdpLane.adopt

    async def deaf(lane: UdpLane, opened: object) -> object:
        found = await adopt(lane, opened)  # type: ignore[arg-type]
        lose(lane)
        return found

    monkeypatch.setattr(UdpLane, "adopt", deaf)
    left, right = two()
    async with pair(left, right) as (running, _):
        await running.linked()
        assert left.paths == ["direct, host udp"]
        await move(left, right)


# What the other side says


class Side:
    """One side's datagram lanes, whose words are kept."""

    def __init__(self, *, sender: bool) -> None:
        self.said: list[SignalMessage] = []
        self.driver = DatagramDriver(
            SessionSecret(bytes(32)).master(),
            UdpFactory(near=Nearness(only_loopback=True)),
            sender=sender,
            listener=self,  # type: ignore[arg-type]
            mail=self.said.append,
        )

    def lane_closed(self, lane: object, reason: str) -> None:
        pass


@contextmanager
def side(*, sender: bool):  # type: ignore[no-untyped-def]
    made = Side(sender=sender)
    try:
        yield made.driver, made.said
    finally:
        made.driver.stop()


def words(lane: int = FIRST, nonce: bytes = b"n" * 16, *ports: int) -> UdpCandidates:
    return UdpCandidates(lane, nonce, tuple(UdpCandidate("host", "127.0.0.1", port) for port in ports))


async def test_the_first_lane_begins_with_the_hellos() -> None:
    with side(sender=True) as (driver, said):
        hello = await driver.prepare()
        assert hello is not None
        assert hello.lane == FIRST
        assert {candidate.ip for candidate in hello.candidates} <= {"127.0.0.1", "::1"}
        await driver.start(words(FIRST))
        assert driver.lane is not None
        assert not said


async def test_contradictions_are_errors() -> None:
    with side(sender=True) as (driver, _):
        await driver.prepare()
        with pytest.raises(ProtocolError, match="another datagram lane"):
            await driver.start(words(FIRST + 1))
    with side(sender=True) as (driver, _):
        await driver.prepare()
        await driver.start(words())
        with pytest.raises(ProtocolError, match="two things"):
            await driver.take(words(FIRST, b"m" * 16))
        with pytest.raises(ProtocolError, match="not its to begin"):
            await driver.take(words(FIRST + 1))


async def test_the_follower_answers_each_lane_and_passes_over_what_is_late() -> None:
    with side(sender=False) as (driver, said):
        await driver.prepare()
        await driver.start(words())
        first = driver.lane
        await driver.take(words(FIRST + 2, b"o" * 16))
        assert driver.lane is not None
        assert driver.lane is not first
        assert [message.lane for message in said if isinstance(message, UdpCandidates)] == [FIRST + 2]
        await driver.take(words(FIRST + 1, b"p" * 16))
        await driver.take(words(FIRST, b"q" * 16))
        assert driver.lane.id == FIRST + 2


async def test_more_candidates_than_a_lane_takes_are_passed_over() -> None:
    with side(sender=False) as (driver, _):
        await driver.prepare()
        await driver.start(words())
        for ports in itertools.batched(range(2000, 2400), 8) if hasattr(itertools, "batched") else [range(2000, 2008)]:
            await driver.take(words(FIRST, b"n" * 16, *ports))
        assert driver.lane is not None
        assert len(driver.lane._lane._connectivity._remotes) <= 8


async def test_nothing_is_said_for_a_side_that_uses_no_datagrams() -> None:
    driver = DatagramDriver(
        SessionSecret(bytes(32)).master(),
        None,
        sender=True,
        listener=Side(sender=True),  # type: ignore[arg-type]
        mail=lambda _: None,
    )
    assert await driver.prepare() is None
    await driver.take(words())
    await driver.begin()
    await driver.move()
    assert driver.lane is None


async def test_a_machine_that_moves_gets_sockets_there(monkeypatch: pytest.MonkeyPatch) -> None:
    here = ["127.0.0.1"]
    monkeypatch.setattr(UdpFactory, "_look", lambda _: (list(here), frozenset()))
    left, right = two()
    async with pair(left, right) as (running, _):
        await running.linked()
        assert lane_of(left).addresses == {"127.0.0.1"}
        here[:] = ["127.0.0.2"]
        await left.peer.link.datagrams.move()
        assert lane_of(left).addresses == {"127.0.0.2"}
        await move(left, right)
        for owner in (left, right):
            await owner.until_true(lambda owner=owner: owner.peer.link.lane == "udp")  # type: ignore[misc]
            assert not owner.retries


async def test_a_lane_that_stalls_looks_for_another_network_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    here = ["127.0.0.1"]
    monkeypatch.setattr(UdpFactory, "_look", lambda _: (list(here), frozenset()))
    left, right = two()
    async with pair(left, right) as (running, _):
        await running.linked()
        lose(lane_of(left))
        here[:] = ["127.0.0.2"]
        await move(left, right)
        assert lane_of(left).addresses == {"127.0.0.2"}
        assert (left.retries, right.retries) == ([], [])


async def test_both_ends_close_together() -> None:
    left, right = two()
    async with pair(left, right) as (running, _):
        await running.linked()
        await left.peer.close()
        assert await ended(running) == [None, None]
        assert right.closed == (0, "done")


async def ended(running: Pair) -> list[BaseException | None]:
    return await running.end()

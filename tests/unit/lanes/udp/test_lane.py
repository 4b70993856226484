"""Whole lanes over simulated networks: opened, carried, moved, ended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aioice import stun
from tests.sim.links import HEADERS, LaneFlow, LinkModel, Network, Side

from p2pal.lanes.base import BUFFER_LIMIT
from p2pal.lanes.udp import stall
from p2pal.lanes.udp.addresses import Address, CandidateKind, DatagramCandidate
from p2pal.lanes.udp.events import Closed, ReflexiveFound
from p2pal.lanes.udp.lane import CONNECT_TIMEOUT, LEAST_DATAGRAM, SILENCE, DatagramLane
from p2pal.lanes.udp.packet import Batch, Kind
from p2pal.lanes.udp.stall import STALL

FAST = LinkModel(rate=2.5e6, delay=0.01, queue=50_000)


def flow(model: LinkModel = FAST, *, endless: bool = False, seed: int = 1) -> LaneFlow:
    return LaneFlow(Network(seed, model), endless=endless)


def opened(model: LinkModel = FAST, **arguments: bool) -> LaneFlow:
    one = flow(model, **arguments)
    one.network.run(0.2)
    assert one.left.opened_at is not None
    assert one.right.opened_at is not None
    return one


def test_it_opens_within_two_round_trips() -> None:
    one = opened()
    assert one.left.opened_at == pytest.approx(0.02, abs=0.002)
    assert one.right.opened_at is not None
    assert one.right.opened_at <= 0.045
    assert one.left.lane.path is not None
    assert not one.left.lane.path.punched


def test_messages_go_both_ways_at_once() -> None:
    one = opened()
    heard: dict[str, list[bytes]] = {"left": [], "right": []}
    one.left.on_message = heard["left"].append
    one.right.on_message = heard["right"].append
    messages = [bytes([size % 251]) * size for size in (1, 2, 1000, 65_536, 100_000, 262_144)]
    for message in messages:
        one.left.lane.send(message)
        one.right.lane.send(message[:500])
    one.left.pump()
    one.right.pump()
    one.network.run(2)
    assert heard["right"] == messages
    assert heard["left"] == [message[:500] for message in messages]
    assert one.left.lane.sender.stream.kept == 0


@pytest.mark.parametrize(("mbit", "large"), [(1, False), (50, False), (200, True)])
def test_large_messages_are_liked_where_the_path_has_shown_to_be_fast(mbit: int, large: bool) -> None:
    one = opened(LinkModel(rate=mbit * 125_000, delay=0.01, queue=mbit * 125_000 // 25), endless=True)
    before = flow()
    assert not before.left.lane.likes_large, "nothing is known of the path"
    one.network.run(2)
    assert one.left.lane.likes_large is large


def test_the_budget_falls_and_comes_back() -> None:
    one = opened()
    lane = one.left.lane
    assert lane.budget() == BUFFER_LIMIT
    while lane.budget() > 0:
        lane.send(bytes(60_000))
    one.left.pump()
    one.network.run(1)
    assert lane.budget() == BUFFER_LIMIT


def test_writable_is_told_once_it_has_drained() -> None:
    one = opened()
    lane = one.left.lane
    for _ in range(3):
        assert one.left.writable == 0
        lane.send(bytes(200_000))
        one.left.pump()
    one.network.run(0.5)
    assert lane.sender.stream.kept == 0
    assert one.left.writable == 1


def test_closing_one_end_closes_the_other_even_if_a_datagram_is_lost() -> None:
    one = opened()
    one.left.lane.close()
    one.network.there.cut = True
    closes = one.left.lane.datagrams(one.clock.time())
    next(closes)
    one.network.there.cut = False
    one.left.pump()
    one.network.run(1)
    assert one.left.closed == Closed("closed here")
    assert one.right.closed == Closed("the other side closed the lane")
    assert one.left.lane.over
    assert one.right.lane.over
    assert one.left.lane.next_timeout() is None
    one.left.lane.send(b"dropped")
    assert one.left.lane.budget() == 0


def test_closing_twice_is_told_once() -> None:
    one = opened()
    for _ in range(2):
        one.left.lane.close()
    assert len([event for event in one.left.lane.events() if isinstance(event, Closed)]) == 1


def test_where_there_is_no_path_it_ends() -> None:
    one = flow()
    one.network.there.cut = one.network.back.cut = True
    one.network.run(CONNECT_TIMEOUT + 1)
    assert one.left.closed == one.right.closed == Closed("no path was found")
    assert one.network.there.sent <= 12


def test_silence_ends_it() -> None:
    one = opened()
    one.network.there.cut = one.network.back.cut = True
    one.network.run(SILENCE + 1)
    assert one.left.closed is not None
    assert not one.left.closed.broken


def test_it_survives_an_outage() -> None:
    one = opened(endless=True)
    one.network.run(1)
    one.network.there.cut = one.network.back.cut = True
    one.network.run(6)
    before = one.goodput
    one.network.there.cut = one.network.back.cut = False
    one.network.run(3)
    assert one.left.closed is None
    assert one.goodput - before > 0.5 * 3 * FAST.rate


def test_a_nat_that_rebinds_is_followed_without_a_break() -> None:
    for end in ("left", "right"):
        one = opened(endless=True)
        one.network.run(1)
        side: Side = getattr(one, end)
        side.port = 2000
        one.network.run(1)
        before = one.goodput
        one.network.run(2)
        assert one.goodput - before > 0.7 * 2 * FAST.rate, end
        assert side.other.lane.path is not None
        assert side.other.lane.path.port == 2000
        assert side.other.paths >= 1


def test_servers_are_asked_again_where_nothing_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A NAT may have given our socket another port, which a peer behind one of its own has to be told."""
    one = opened(endless=True)
    lane, server = one.left.lane, ("192.0.2.1", 3478)
    asked: list[bytes] = []

    def watched(self: DatagramLane, now: float) -> Iterator[Batch]:
        for batch in outputs(self, now):
            if batch.ip == server[0]:
                asked.extend(b"".join(each) for each in batch.datagrams())
            else:
                yield batch

    outputs = DatagramLane.datagrams
    monkeypatch.setattr(DatagramLane, "datagrams", watched)
    lane.ask([server], one.clock.time())
    one.left.pump()
    answer(lane, asked.pop(), server, 4000, one.clock.time())
    one.network.run(3)
    assert asked == []
    one.network.there.cut = one.network.back.cut = True
    one.network.run(1.5)
    answer(lane, asked.pop(), server, 5000, one.clock.time())
    assert ReflexiveFound(DatagramCandidate(CandidateKind.SERVER_REFLEXIVE, "198.51.100.1", 5000)) in list(
        lane.events()
    )


def answer(lane: DatagramLane, request: bytes, server: tuple[str, int], port: int, now: float) -> None:
    """A STUN server sees the lane's socket at this port."""
    transaction = stun.parse_message(request).transaction_id
    seen = {"XOR-MAPPED-ADDRESS": ("198.51.100.1", port)}
    told = bytes(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, transaction, seen))
    lane.receive_datagram(told, Address(*server, 0), now)


def test_a_path_that_carries_less_than_it_did_is_noticed() -> None:
    one = opened(endless=True)
    one.network.run(2)
    assert one.left.lane.sender.mtu.size == 1472
    one.network.there.model.mtu = 1280
    one.network.run(4)
    before = one.goodput
    one.network.run(3)
    assert 1200 <= one.left.lane.sender.mtu.size <= 1280 - HEADERS
    assert one.goodput - before > 0.7 * 3 * FAST.rate


def test_jumbo_frames_are_used() -> None:
    one = opened(LinkModel(rate=2.5e6, delay=0.01, queue=100_000, mtu=9000), endless=True)
    one.network.run(3)
    assert one.left.lane.sender.mtu.size == 8972


def test_other_paths_are_tried_at_once_where_the_system_knows_no_way_over_the_one_in_use() -> None:
    one = opened(endless=True)
    lane, now = one.left.lane, one.clock.time()
    assert lane.path is not None
    before = one.left.kinds[Kind.PROBE]
    address = Address(*lane.path[1:4])
    for elsewhere in (address._replace(ip="10.9.9.9"), address._replace(port=9), address._replace(local=5)):
        lane.on_unreachable(elsewhere, now)
    one.left.pump()
    assert one.left.kinds[Kind.PROBE] == before
    lane.on_unreachable(address, now)
    one.left.pump()
    assert one.left.kinds[Kind.PROBE] == before + 1
    one.network.run(1)
    assert one.left.closed is None


def test_idle_lanes_send_next_to_nothing() -> None:
    one = opened()
    before = one.network.there.sent + one.network.back.sent
    one.network.run(120)
    assert one.left.closed is None
    assert one.network.there.sent + one.network.back.sent - before <= 4 * (120 / 15 + 2)


def test_other_lanes_datagrams_are_passed_over() -> None:
    one = opened()
    other = LaneFlow(Network(2, FAST), endless=True)
    other.network.run(0.5)
    lane, source = one.right.lane, Address("10.0.0.1", 1000, 0)
    for batch in list(other.left.lane.datagrams(other.clock.time()))[:5]:
        for buffers in batch.datagrams():
            lane.receive_datagram(b"".join(buffers), source, one.clock.time())
    assert list(lane.events()) == []


def test_garbage_is_passed_over() -> None:
    one = opened()
    lane, source = one.right.lane, Address("203.0.113.9", 9, 0)
    for data in (b"", b"x", bytes(100), bytes([Kind.DATA]) + bytes(50), bytes([Kind.ACK]) + bytes(60), b"\xd9" * 99):
        for segment in (0, 10, 30):
            lane.receive_datagram(data, source, one.clock.time(), segment)
    assert lane.rejected
    assert list(lane.events()) == []
    assert list(lane.datagrams(one.clock.time())) == []


def test_probes_and_answers_have_one_size() -> None:
    one = flow()
    (probe,) = one.left.lane.datagrams(0.0)
    assert probe.size == LEAST_DATAGRAM
    source = Address("10.0.0.1", 1000, 0)
    one.right.lane.receive_datagram(bytes(probe.buffers[0]), source, 0.0)
    batches = list(one.right.lane.datagrams(0.0))
    assert [batch.size for batch in batches] == [LEAST_DATAGRAM] * len(batches)


@pytest.mark.parametrize("delay", [0.01, 0.1])
def test_it_stalls_after_half_a_second_and_three_probe_timeouts_and_resumes(delay: float) -> None:
    one = flow(LinkModel(rate=2.5e6, delay=delay, queue=500_000), endless=True)
    one.network.run(3)
    assert not one.left.stalls
    began = one.network.clock.time()
    pto = one.left.lane.sender.loss.rtt.pto
    one.network.there.cut = True
    one.network.run(3)
    ((at, stalled),) = one.left.stalls
    assert stalled
    assert one.left.lane.stalled
    assert began + max(STALL, 3 * pto) <= at <= began + max(STALL, 3 * pto) + 2 * delay + pto
    assert not one.right.stalls, "it has nothing on its way"
    one.network.there.cut = False
    one.network.run(3)
    assert [stalled for _, stalled in one.left.stalls] == [True, False]
    assert not one.left.lane.stalled


def test_a_lane_that_stalls_again_and_again_is_given_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stall, "CALM", 10.0)
    one = opened(LinkModel(rate=2.5e5, delay=0.01, queue=20_000), endless=True)
    waits = []
    for _ in range(5):
        one.network.run(1)
        began = one.network.clock.time()
        one.network.there.cut = True
        one.network.run(6)
        one.network.there.cut = False
        while one.left.lane.stalled:
            one.network.run(1)
        waits.append(one.left.stalls[-2][0] - began)
    assert waits == [pytest.approx(seconds, abs=0.3) for seconds in (0.5, 1.0, 2.0, 4.0, 4.0)]
    one.network.run(11.0)
    one.network.there.cut = True
    began = one.network.clock.time()
    one.network.run(2)
    assert one.left.stalls[-1][0] - began == pytest.approx(0.5, abs=0.3)


def test_a_lane_at_rest_does_not_stall() -> None:
    one = opened()
    one.network.there.cut = one.network.back.cut = True
    one.network.run(5)
    assert not one.left.stalls
    assert not one.right.stalls


def test_what_comes_before_the_path_is_valid_is_told_after_the_lane_opened() -> None:
    """The sender's path may be valid first: what it sends then waits, as a lane opens before it brings anything."""
    one = flow()
    told: list[bytes] = []
    one.right.on_message = told.append
    while one.left.opened_at is None:
        one.network.run(0.001)
    one.network.back.cut = True  # the receiver's own probe is not answered for now
    assert one.right.opened_at is None
    one.left.lane.send(b"early")
    one.left.pump()
    one.network.run(0.05)
    one.network.back.cut = False
    one.network.run(1)
    assert told == [b"early"]

"""Datagram lanes against a peer that knows the code, and against somebody on the path or off it: what arrives there."""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest
from tests.sim.links import LaneFlow, LinkModel, Network, Side, secrets

from p2pal.lanes.address_zones import ANYWHERE
from p2pal.lanes.candidate_filter import SESSION_HOSTS
from p2pal.lanes.udp.addresses import MAX_CANDIDATES, MAX_LOCALS, Address, CandidateKind, DatagramCandidate
from p2pal.lanes.udp.budget import ANSWERED, IP_REFILL, MAX_ADDRESS_PROBES, MAX_IP_PROBES, MAX_PROBES, ProbeBudget
from p2pal.lanes.udp.connectivity import (
    CONSENT,
    MAX_ANSWERS,
    MAX_NONCES,
    MAX_PAIR_PROBES,
    TROUBLE_PAUSE,
    WITHDRAWN,
    Connectivity,
)
from p2pal.lanes.udp.data_packet import data_headers
from p2pal.lanes.udp.entropy import Entropy
from p2pal.lanes.udp.events import Closed, Message
from p2pal.lanes.udp.lane import MAX_EARLY, MOST_PTOS, SILENCE, DatagramLane
from p2pal.lanes.udp.packet import AnswerFields, Kind, ProbeFields
from p2pal.lanes.udp.stream import MAX_MESSAGE, ReceiveStream, SendStream
from p2pal.session.core import Session
from p2pal.wire.signal import (
    DATAGRAM_LANES,
    MAX_UDP_CANDIDATES,
)

HOST = CandidateKind.HOST
FIRST = DATAGRAM_LANES + 1


# A peer that names others' addresses


def connectivity(budget: ProbeBudget | None = None, *, leads: bool = False, broadcast: str = "") -> Connectivity:
    one = Connectivity(
        Entropy(bytes(32)), leads=leads, zones=ANYWHERE, broadcast={broadcast}, budget=budget or ProbeBudget()
    )
    for index in range(MAX_LOCALS):
        one.add_local(index, f"10.0.0.{index + 1}", 5000, 0.0)
    return one


def leave(one: Connectivity, start: float, end: float) -> list[tuple[Address, ProbeFields | AnswerFields]]:
    """Run a machine that nobody answers; return what left."""
    sent = []
    now = start
    while now < end:
        sent += one.outputs(now)
        now = max(one.next_timeout(), now + 1e-4)
    return sent


def test_lane_after_lane_sends_no_more_probes_than_one_session_may() -> None:
    budget, sent, by_ip = ProbeBudget(), 0, Counter[str]()
    for lane in range(200):
        one = connectivity(budget)
        for number in range(MAX_UDP_CANDIDATES):
            one.add_remote(DatagramCandidate(HOST, f"203.0.113.{(lane + number) % 100}", 2000 + lane), lane * 0.01)
        for address, _ in leave(one, lane * 0.01, lane * 0.01 + 15):
            sent += 1
            by_ip[address.ip] += 1
    assert sent <= MAX_PROBES + 10
    assert max(by_ip.values()) <= MAX_IP_PROBES
    assert len(by_ip) <= SESSION_HOSTS[0] + 1


def test_what_an_address_was_sent_comes_back_slowly() -> None:
    budget, here = ProbeBudget(), Address("203.0.113.7", 2000, 0)
    taken = [sum(budget.take(here._replace(port=port), 0.0) for port in range(2000, 2400))]
    taken += [sum(budget.take(here._replace(port=2500), at) for _ in range(9)) for at in (IP_REFILL - 0.1, IP_REFILL)]
    assert taken == [MAX_IP_PROBES, 0, 1]


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    budget = ProbeBudget()
    for number in range(5000):
        address = Address(f"203.0.{number >> 8}.{number & 255}", 2000, 0)
        budget.answered(address, number * 100.0)
        budget.take(address._replace(port=2001), number * 100.0)
    assert all(len(kept) <= 1024 for kept in (budget._answered, budget._by_ip, budget._by_address))


def test_probes_with_the_sources_of_others_scan_no_network() -> None:
    """Who spoofs sources has as many answers as he sent, and few probes."""
    one = connectivity(ProbeBudget())
    asked, answered = Counter[str](), 0
    for number in range(5000):
        now = number * 0.01
        source = Address(f"192.168.{number >> 8}.{number & 255}", 2000, 0)
        one.handle_probe(ProbeFields(number.to_bytes(16, "big")), source, now)
        for address, fields in one.outputs(now):
            asked[address.ip] += isinstance(fields, ProbeFields)
            answered += isinstance(fields, AnswerFields)
    assert answered <= 5000
    assert sum(1 for probes in asked.values() if probes) <= SESSION_HOSTS[0] + 1


@pytest.mark.parametrize(
    "source",
    [("10.0.0.255", 2000), ("203.0.113.7", 53), ("203.0.113.7", 1023), ("127.0.0.1", 2000), ("224.0.0.251", 5353),
     ("255.255.255.255", 2000), ("0.0.0.0", 2000), ("::ffff:127.0.0.1", 2000)],
)  # fmt: skip
def test_nothing_goes_to_a_source_that_no_peer_has(source: tuple[str, int]) -> None:
    one = connectivity(broadcast="10.0.0.255")
    one.handle_probe(ProbeFields(bytes(16)), Address(*source, 0), 0.0)
    one.on_tagged(Address(*source, 0), 0.1)
    assert leave(one, 0.2, 100.0) == []


def test_an_address_that_answered_once_is_not_asked_for_ever() -> None:
    """It may be somebody else's now; the peer goes on from another one, and is in trouble all the time."""
    one = connectivity(leads=False)
    ours, theirs = Address("203.0.113.7", 2000, 0), Address("203.0.113.8", 2000, 0)
    for address in (ours, theirs):
        one.add_remote(DatagramCandidate(HOST, address.ip, address.port), 0.0)
    sent, now = Counter[str](), 0.0
    for step in range(36_000):  # an hour
        now = step * 0.1
        for address, fields in one.outputs(now):
            if isinstance(fields, ProbeFields):
                sent[address.ip] += now > 2 * CONSENT
                if address.ip == ours.ip or now < 1:
                    one.handle_answer(AnswerFields(fields.nonce, "10.0.0.1", 5000), address, now)
        one.handle_probe(ProbeFields(step.to_bytes(16, "big"), troubled=True), ours, now)
    assert sent[ours.ip] > 100
    assert sent[theirs.ip] <= MAX_LOCALS * MAX_PAIR_PROBES


def test_the_path_in_use_is_not_asked_for_ever() -> None:
    """It answered, was nominated, and fell silent; what the peer says from elsewhere is that there is trouble."""
    one = connectivity(leads=False)
    theirs, elsewhere = Address("203.0.113.8", 2000, 0), Address("203.0.113.7", 2000, 0)
    one.handle_probe(ProbeFields(bytes(16), nominated=True), theirs, 0.0)
    ((_, probe),) = [each for each in one.outputs(0.0) if isinstance(each[1], ProbeFields)]
    one.handle_answer(AnswerFields(probe.nonce, "10.0.0.1", 5000), theirs, 0.0)
    assert one.active is not None
    assert one.active.address == theirs
    late = 0
    for step in range(6000):
        now = step * 0.1
        one.handle_probe(ProbeFields(step.to_bytes(16, "big"), troubled=True), elsewhere, now)
        asked = [a for a, fields in one.outputs(now) if isinstance(fields, ProbeFields) and a == theirs]
        late += len(asked) * (now > WITHDRAWN)
    assert late <= MAX_PAIR_PROBES


def never(kind: Kind, side: Side) -> None:
    """One side hears nothing of this kind from now on."""
    lane = side.lane

    class Deaf:
        def __getattr__(self, name: str) -> object:
            return hear if name == "receive_datagram" else getattr(lane, name)

    def hear(data: bytes, source: Address, now: float) -> None:
        if data[0] != kind:
            lane.receive_datagram(data, source, now)

    side.lane = Deaf()  # type: ignore[assignment]


@pytest.mark.parametrize("leads", [True, False])
def test_a_peer_that_acknowledges_nothing_has_no_lane_for_long(leads: bool) -> None:
    """It answers probes, so that the lane is not silent; each probe of ours for the data would be noted for ever."""
    flow = LaneFlow(Network(1, LinkModel(rate=50e3, delay=0.01, queue=50_000)), endless=False)
    flow.network.run(0.5)
    victim = flow.left if leads else flow.right
    never(Kind.ACK, victim)
    victim.lane.send(bytes(10_000))
    victim.pump()
    flow.network.run(SILENCE)
    assert victim.closed is None
    flow.network.run(60)
    assert victim.closed is not None
    assert not victim.closed.broken
    assert len(victim.lane.sender.loss._flight) <= 2 * MOST_PTOS + 10


@pytest.mark.parametrize("leads", [True, False])
def test_an_address_that_answers_no_more_gets_no_more_data(leads: bool) -> None:
    """The peer acknowledges all that it is sent, but does not answer probes: the address may be another's by now."""
    flow = LaneFlow(Network(1, LinkModel(rate=50e3, delay=0.01, queue=50_000)), endless=False)
    flow.network.run(0.5)
    victim, liar = (flow.left, flow.right) if leads else (flow.right, flow.left)
    victim.source = lambda: bytes(10_000)
    never(Kind.ANSWER, victim)
    victim.pump()
    flow.network.run(CONSENT - 1)
    assert victim.closed is None
    assert liar.bytes > 100_000
    flow.network.run(WITHDRAWN - CONSENT + 2)
    assert victim.closed is not None
    assert not victim.closed.broken
    sent = dict(victim.kinds)
    flow.network.run(60)
    assert victim.kinds == sent


def test_a_machine_that_moved_sends_nothing_to_everybody_in_its_new_network() -> None:
    """The peer named the address before this machine came into that network."""
    broadcast = {"10.0.0.255"}
    one = Connectivity(Entropy(bytes(32)), leads=False, zones=ANYWHERE, broadcast=broadcast)
    one.add_local(0, "10.0.0.1", 5000, 0.0)
    for ip in ("10.9.0.255", "10.9.0.7"):
        one.add_remote(DatagramCandidate(HOST, ip, 2000), 0.0)
    broadcast.clear()
    broadcast.add("10.9.0.255")
    one.add_local(1, "10.9.0.1", 5000, 1.0)
    assert {address.ip for address, _ in leave(one, 1.0, 100.0)} == {"10.9.0.7"}


def test_addresses_of_the_path_get_few_probes_when_they_fall_silent() -> None:
    budget = ProbeBudget()
    for port in range(2000, 2100):
        assert sum(budget.take(Address("203.0.113.7", port, 0), 0.0) for _ in range(200)) <= MAX_ADDRESS_PROBES


def test_an_answer_of_long_ago_buys_no_probes() -> None:
    """An address that answered is of no account for a minute: then it may be somebody else's."""
    budget, here = ProbeBudget(), Address("203.0.113.7", 2000, 0)
    budget.answered(here, 0.0)
    assert all(budget.take(here, ANSWERED - 0.1) for _ in range(1000))
    assert sum(budget.take(here, ANSWERED) for _ in range(1000)) == MAX_ADDRESS_PROBES


def valid(one: Connectivity, address: Address, now: float) -> None:
    """The peer asks from there, and answers what comes."""
    one.handle_probe(ProbeFields(bytes(16)), address, now)
    for there, fields in one.outputs(now):
        if isinstance(fields, ProbeFields):
            one.handle_answer(AnswerFields(fields.nonce, "10.0.0.1", 5000), there, now)


def test_an_answer_to_what_another_address_was_asked_makes_no_path() -> None:
    """The peer was asked where it is, and answers as if it were where it wants us to send: both are its candidates."""
    one = connectivity(leads=True)
    here, there = Address("203.0.113.7", 2000, 0), Address("203.0.113.8", 2000, 0)
    for address in (here, there):
        one.add_remote(DatagramCandidate(HOST, address.ip, address.port), 0.0)
    asked = {address: fields for address, fields in leave(one, 0.0, 1.0) if isinstance(fields, ProbeFields)}
    answer = AnswerFields(asked[here].nonce, "10.0.0.1", 5000)
    for source in (there, here._replace(local=1)):
        assert not one.handle_answer(answer, source, 1.0)
    assert one.active is None
    assert not one.is_valid(there, 1.0)
    assert one.handle_answer(answer, here, 1.0)


@pytest.mark.parametrize(
    "ip", ["127.0.0.1", "::1", "224.0.0.251", "255.255.255.255", "0.0.0.0", "fe80::1%1", "\0", "x"]
)
def test_a_lane_takes_no_candidate_where_nobody_is(ip: str) -> None:
    """The driver passes over these, too; a lane does not rely on it."""
    one = connectivity()
    assert not one.add_remote(DatagramCandidate(HOST, ip, 2000), 0.0)
    assert leave(one, 0.0, 30.0) == []


def test_a_peer_that_is_in_trouble_all_the_time_gets_few_probes() -> None:
    """Each of its probes may ask us to try every path anew, without a budget where it answered just before."""
    one = connectivity(leads=True)
    addresses = [Address(f"203.0.113.{number}", 2000, 0) for number in range(MAX_CANDIDATES)]
    for number, address in enumerate(addresses):
        valid(one, address, number * 0.01)
    sent = 0
    for step in range(10_000):
        now = 0.1 + step * 1e-3
        one.handle_probe(ProbeFields(step.to_bytes(16, "big"), troubled=True), addresses[0], now)
        sent += sum(isinstance(fields, ProbeFields) for _, fields in one.outputs(now))
    assert 0 < sent <= 10 / TROUBLE_PAUSE * (2 * len(addresses) + MAX_PAIR_PROBES)
    assert len(one._nonces) <= MAX_NONCES


def test_probes_that_nobody_answers_are_not_remembered_without_end() -> None:
    one = connectivity(leads=True)
    for number in range(3 * MAX_NONCES):
        address = Address("203.0.113.7", 2000 + number, 0)
        one.handle_probe(ProbeFields(bytes(16)), address, number * 0.1)
        one._budget.answered(address, number * 0.1)
        one.outputs(number * 0.1)
    assert len(one._nonces) == MAX_NONCES


def test_a_flood_of_probes_has_few_answers_wait() -> None:
    one = connectivity()
    for number in range(1000):
        one.handle_probe(ProbeFields(number.to_bytes(16, "big")), Address("203.0.113.7", 2000, 0), 0.0)
    assert sum(isinstance(fields, AnswerFields) for _, fields in one.outputs(0.0)) == MAX_ANSWERS


def test_what_is_nominated_is_used_once_it_answered_and_not_before() -> None:
    """A leader writes whatever source it likes on the probe with which it nominates."""
    one = connectivity(leads=False)
    good, victim = Address("203.0.113.7", 2000, 0), Address("203.0.113.8", 2000, 0)
    valid(one, good, 0.0)
    for address in (victim, good, victim):
        one.handle_probe(ProbeFields(bytes(16), nominated=True), address, 0.1)
        assert one.active is None or one.active.address == good
    assert one.active is not None
    assert all(isinstance(fields, ProbeFields | AnswerFields) for _, fields in leave(one, 0.1, CONSENT - 1))
    one.handle_probe(ProbeFields(bytes(16), nominated=True), good, CONSENT + 1)
    one.handle_probe(ProbeFields(bytes(16), nominated=True), victim, CONSENT + 1)
    assert one.active.address == good


def test_a_machine_that_moves_again_and_again_has_few_sockets() -> None:
    one = connectivity()
    with pytest.raises(ValueError, match="sockets"):
        one.add_local(MAX_LOCALS, "10.0.1.1", 5000, 0.0)
    one.remove_local(0)
    one.add_local(MAX_LOCALS, "10.0.1.1", 5000, 0.0)
    with pytest.raises(ValueError, match="sockets"):
        one.add_local(MAX_LOCALS, "10.0.1.1", 5000, 0.0)


def test_a_follower_that_nominates_chooses_no_path() -> None:
    one = connectivity(leads=True)
    good, bad = Address("203.0.113.7", 2000, 0), Address("203.0.113.8", 2000, 0)
    valid(one, good, 0.0)
    assert one.active is not None
    assert one.active.address == good
    valid(one, bad, 1.0)
    one.handle_probe(ProbeFields(bytes(16), nominated=True), bad, 1.1)
    assert one._nominated is None
    assert one.active.address == good


# A peer, or somebody on the path, that sends what it likes


def lone() -> DatagramLane:
    lane = DatagramLane(1, secrets()[0], leads=False, seed=bytes(32), now=0.0)
    lane.add_local(0, "10.0.0.1", 5000, 0.0)
    lane.add_remote(DatagramCandidate(HOST, "10.0.0.2", 5000), 0.0)
    return lane


def test_messages_before_the_lane_is_open_fill_no_memory() -> None:
    lane = lone()
    tag = secrets()[0].receive_tag
    message = MAX_MESSAGE.to_bytes(4, "big") + bytes(MAX_MESSAGE)
    stream, offset, source = message * 64, 0, Address("10.0.0.2", 5000, 0)
    for number in count():
        piece = stream[offset : offset + 1200]
        if not piece:
            break
        lane.receive_datagram(bytes(data_headers(number, tag, offset, len(piece), 1)[0]) + piece, source, 0.1)
        offset += len(piece)
    assert sum(len(each.data) for each in lane._early) <= MAX_EARLY + MAX_MESSAGE
    assert lane._inbound.held <= MAX_MESSAGE
    assert lane.rejected
    assert not [event for event in lane.events() if isinstance(event, Closed | Message)]


def test_very_many_messages_before_the_lane_is_open_fill_no_memory() -> None:
    """A byte each: what Python takes for one is a hundred times that."""
    lane = lone()
    tag, source = secrets()[0].receive_tag, Address("10.0.0.2", 5000, 0)
    stream = b"\0\0\0\1x" * 240
    for number in range(200):
        header = bytes(data_headers(number, tag, number * len(stream), len(stream), 1)[0])
        lane.receive_datagram(header + stream, source, 0.1)
    assert lane.rejected
    assert 1000 < len(lane._early) < MAX_EARLY // 64


def test_a_message_in_very_many_pieces_is_joined_meanwhile() -> None:
    stream = ReceiveStream()
    stream.receive(0, [memoryview(MAX_MESSAGE.to_bytes(4, "big"))], 4)
    for offset in range(4, 10_004):
        stream.receive(offset, [memoryview(b"x")], 1, 1)
    assert len(stream._parts) < 1000


def test_acknowledgements_of_every_other_byte_fill_no_memory() -> None:
    """A window of single bytes would be 16 million ranges, which is more than a GB."""
    window = 1 << 20
    stream = SendStream(window)
    for _ in range(8):
        stream.write(bytes(window // 8))
    stream.mark_sent(0, window)
    stream.lost(0, window)
    for first in range(0, window - 64, 64):
        stream.acknowledge(0, [(first + 2 * each + 1, first + 2 * each + 2) for each in range(32)])
    assert len(stream._acked) <= window // 256 + 32
    assert len(stream._again) <= window // 256 + 33
    stream.acknowledge(window, [])
    assert not stream._acked
    assert not stream._again
    assert stream.pending


def opened(seed: int = 1) -> tuple[LaneFlow, list[tuple[bytes, Address]]]:
    """Return an open lane, and everything that its right side was sent so far."""
    flow = LaneFlow(Network(seed, LinkModel(rate=2.5e6, delay=0.01, queue=50_000)), endless=False)
    heard: list[tuple[bytes, Address]] = []
    take = flow.right.lane.receive_datagram

    def listen(data: bytes, source: Address, now: float) -> None:
        heard.append((bytes(data), source))
        take(data, source, now)

    class Overheard:
        def __init__(self, lane: DatagramLane) -> None:
            self.lane = lane

        def __getattr__(self, name: str) -> object:
            return listen if name == "receive_datagram" else getattr(self.lane, name)

    flow.right.lane = Overheard(flow.right.lane)  # type: ignore[assignment]
    flow.network.run(0.3)
    flow.left.lane.send(bytes(5000))
    flow.right.lane.send(bytes(5000))
    flow.left.pump()
    flow.right.pump()
    flow.network.run(0.5)
    assert flow.left.opened_at is not None
    assert flow.right.opened_at is not None
    return flow, heard


@pytest.mark.parametrize("attacker", [None, ("203.0.113.66", 4000)])
def test_what_was_overheard_changes_nothing_when_it_comes_again(attacker: tuple[str, int] | None) -> None:
    """Replayed in the other order, cut at each length, with bits changed, from here or from there."""
    flow, heard = opened()
    lane, now = flow.right.lane, flow.clock.time()
    path = lane.path
    kinds = {data[0] for data, _ in heard}
    assert {Kind.ACK, Kind.PROBE, Kind.ANSWER} <= kinds
    for data, source in list(reversed(heard)):
        there = source if attacker is None else Address(*attacker, 0)
        if data[0] == Kind.DATA:
            continue
        lane.receive_datagram(data, there, now)
        for end in range(len(data)):
            lane.receive_datagram(data[:end], there, now)
        for at in range(min(len(data), 40)):
            if at or data[0] ^ 1 != Kind.DATA:
                lane.receive_datagram(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], there, now)
    assert lane.path == path
    assert not lane.over
    sent = [batch for batch in lane.datagrams(now) if attacker and batch.ip == attacker[0]]
    assert sent == []
    flow.left.lane.send(b"still here")
    got: list[bytes] = []
    flow.right.on_message = got.append
    flow.left.pump()
    flow.network.run(0.5)
    assert got == [b"still here"]


def test_data_with_a_copied_tag_moves_no_path_and_sends_few_probes() -> None:
    flow, heard = opened()
    lane, now = flow.right.lane, flow.clock.time()
    path = lane.path
    data = next(data for data, _ in heard if data[0] == Kind.DATA)
    sent = Counter[int]()
    for number in range(3000):
        lane.receive_datagram(data, Address("203.0.113.66", 2000 + number, 0), now + number * 0.01)
        for batch in lane.datagrams(now + number * 0.01):
            if batch.ip == "203.0.113.66":
                sent[bytes(batch.buffers[0])[0]] += 1
    assert lane.path == path
    assert set(sent) == {Kind.PROBE}
    assert sent[Kind.PROBE] <= MAX_IP_PROBES + 1


def test_a_guessed_tag_is_passed_over() -> None:
    flow, heard = opened()
    lane, now = flow.right.lane, flow.clock.time()
    rejected = lane.rejected
    data, source = next(each for each in heard if each[0][0] == Kind.DATA)
    for bit in range(64):
        tag = int.from_bytes(data[8:16], "big") ^ 1 << bit
        lane.receive_datagram(data[:8] + tag.to_bytes(8, "big") + data[16:], source, now)
    assert lane.rejected == rejected + 64


def test_a_peer_that_stalls_its_lane_again_and_again_fills_no_memory() -> None:
    """What is on its way is bounded by the window, and not by how often it was."""
    session = Session(max_frame=1100, window=1 << 20, peer_max_frame=1100, peer_window=1 << 20, now=0.0)
    session.lane_up(FIRST, 0.0, controlled=False)
    session.lane_up(1, 0.0)
    while session.writable:
        session.send(bytes(1000), 0.0)
    outstanding = len(list(session.outputs(FIRST, 1 << 30, 0.0)))
    assert outstanding > 500
    for stall in range(50):
        session.lane_stalled(FIRST, float(stall))
        session.lane_resumed(FIRST, float(stall))
        assert len(list(session.outputs(FIRST, 1 << 30, float(stall)))) <= outstanding
    assert len(session._lanes[FIRST].flight) <= outstanding + 1

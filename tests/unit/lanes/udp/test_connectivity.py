"""Paths: found, validated, nominated, kept and lost; and what a lying peer can do with them."""

from __future__ import annotations

from collections import Counter

import pytest

from p2pal.lanes.address_zones import ANYWHERE, ONLY_LOOPBACK, Zones
from p2pal.lanes.udp.addresses import MAX_CANDIDATES, MAX_LOCALS, Address, CandidateKind, DatagramCandidate, may_try
from p2pal.lanes.udp.budget import MAX_ADDRESS_PROBES, MAX_IP_PROBES
from p2pal.lanes.udp.connectivity import CONSENT, KEEP_ALIVE, MAX_PAIR_PROBES, PACE, Connectivity
from p2pal.lanes.udp.entropy import Entropy
from p2pal.lanes.udp.packet import AnswerFields, ProbeFields

HOST, REFLEXIVE = CandidateKind.HOST, CandidateKind.SERVER_REFLEXIVE
PORT = 2001


def machine(*, leads: bool = True, zones: Zones = ANYWHERE) -> Connectivity:
    return Connectivity(Entropy(bytes([leads]) * 32), leads=leads, zones=zones)


class Wire:
    """Two machines whose datagrams arrive after a delay that depends on the pair of addresses."""

    def __init__(self, delays: dict[tuple[str, str], float]) -> None:
        self.ends = {"a": machine(leads=True), "b": machine(leads=False)}
        self.delays = delays
        self.now = 0.0
        self.coming: list[tuple[float, str, Address, ProbeFields | AnswerFields]] = []
        self.locals: dict[str, list[str]] = {"a": [], "b": []}
        self.sent: Counter[tuple[str, str]] = Counter()
        self.inside: dict[str, str] = {}
        """Addresses of NATs, and those of the sockets behind them."""

    def add(self, end: str, ip: str) -> None:
        index = len(self.locals[end])
        self.locals[end].append(ip)
        self.ends[end].add_local(index, self.inside.get(ip, ip), PORT, self.now)

    def tell(self, end: str, ip: str, kind: CandidateKind = HOST) -> None:
        assert self.ends[end].add_remote(DatagramCandidate(kind, ip, PORT), self.now)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            for name, end in self.ends.items():
                for address, fields in end.outputs(self.now):
                    source, other = self.locals[name][address.local], "b" if name == "a" else "a"
                    self.sent[source, address.ip] += 1
                    delay = self.delays.get((source, address.ip))
                    if delay is not None and address.ip in self.locals[other]:
                        back = Address(source, PORT, self.locals[other].index(address.ip))
                        self.coming.append((self.now + delay, other, back, fields))
            self.coming.sort(key=lambda each: each[0])
            while self.coming and self.coming[0][0] <= self.now:
                _, name, source_address, fields = self.coming.pop(0)
                if isinstance(fields, ProbeFields):
                    self.ends[name].handle_probe(fields, source_address, self.now)
                else:
                    self.ends[name].handle_answer(fields, source_address, self.now)
            self.now += 0.001

    def active(self, end: str) -> str:
        pair = self.ends[end].active
        return "" if pair is None else pair.address.ip


def both(a: str, b: str, delay: float) -> dict[tuple[str, str], float]:
    return {(a, b): delay, (b, a): delay}


def test_two_hosts_find_each_other_in_two_round_trips() -> None:
    wire = Wire(both("10.0.0.1", "10.0.0.2", 0.02))
    wire.add("a", "10.0.0.1")
    wire.add("b", "10.0.0.2")
    wire.tell("a", "10.0.0.2")
    wire.tell("b", "10.0.0.1")
    wire.run(0.09)
    assert (wire.active("a"), wire.active("b")) == ("10.0.0.2", "10.0.0.1")
    pair = wire.ends["a"].active
    assert pair is not None
    assert pair.rtt == pytest.approx(0.04, abs=0.005)
    assert not wire.ends["a"].is_punched(pair)


def test_one_side_that_knows_no_address_learns_it_from_the_probe() -> None:
    wire = Wire(both("10.0.0.1", "10.0.0.2", 0.01))
    wire.add("a", "10.0.0.1")
    wire.add("b", "10.0.0.2")
    wire.tell("a", "10.0.0.2")
    wire.run(0.2)
    assert (wire.active("a"), wire.active("b")) == ("10.0.0.2", "10.0.0.1")


def test_the_better_path_is_nominated_and_both_use_it() -> None:
    wire = Wire({**both("10.0.0.1", "10.0.0.2", 0.05), **both("10.1.0.1", "10.1.0.2", 0.005)})
    for ip in ("10.0.0.1", "10.1.0.1"):
        wire.add("a", ip)
        wire.tell("b", ip)
    for ip in ("10.0.0.2", "10.1.0.2"):
        wire.add("b", ip)
        wire.tell("a", ip)
    wire.run(1.0)
    assert (wire.active("a"), wire.active("b")) == ("10.1.0.2", "10.1.0.1")


def test_a_path_between_hosts_is_better_than_a_punched_one() -> None:
    wire = Wire({**both("10.0.0.1", "192.0.2.9", 0.005), **both("10.1.0.1", "10.1.0.2", 0.02)})
    wire.inside["192.0.2.9"] = "192.168.0.9"
    for ip in ("10.0.0.1", "10.1.0.1"):
        wire.add("a", ip)
        wire.tell("b", ip)
    for ip in ("192.0.2.9", "10.1.0.2"):
        wire.add("b", ip)
    wire.tell("a", "192.0.2.9", REFLEXIVE)
    wire.tell("a", "10.1.0.2")
    wire.run(1.0)
    assert wire.active("a") == "10.1.0.2"


def test_a_path_that_dies_is_left_for_one_that_lives() -> None:
    wire = Wire({**both("10.0.0.1", "10.0.0.2", 0.05), **both("10.1.0.1", "10.1.0.2", 0.005)})
    for ip in ("10.0.0.1", "10.1.0.1"):
        wire.add("a", ip)
        wire.tell("b", ip)
    for ip in ("10.0.0.2", "10.1.0.2"):
        wire.add("b", ip)
        wire.tell("a", ip)
    wire.run(1.0)
    del wire.delays["10.1.0.1", "10.1.0.2"]
    wire.ends["a"].search(wire.now)
    wire.run(0.5)
    assert (wire.active("a"), wire.active("b")) == ("10.0.0.2", "10.0.0.1")


def test_the_receiver_of_files_says_that_it_is_in_trouble() -> None:
    wire = Wire({**both("10.0.0.1", "10.0.0.2", 0.05), **both("10.1.0.1", "10.1.0.2", 0.005)})
    for ip in ("10.0.0.1", "10.1.0.1"):
        wire.add("a", ip)
        wire.tell("b", ip)
    for ip in ("10.0.0.2", "10.1.0.2"):
        wire.add("b", ip)
        wire.tell("a", ip)
    wire.run(1.0)
    del wire.delays["10.1.0.2", "10.1.0.1"]
    wire.ends["b"].search(wire.now)
    wire.run(1.0)
    assert (wire.active("a"), wire.active("b")) == ("10.0.0.2", "10.0.0.1")


def test_a_machine_that_moves_is_validated_before_it_is_used() -> None:
    wire = Wire({**both("10.0.0.1", "10.0.0.2", 0.01), **both("10.5.0.1", "10.0.0.2", 0.01)})
    wire.add("a", "10.0.0.1")
    wire.add("b", "10.0.0.2")
    wire.tell("a", "10.0.0.2")
    wire.tell("b", "10.0.0.1")
    wire.run(0.5)
    wire.ends["a"].remove_local(0)
    assert wire.ends["a"].active is None
    wire.add("a", "10.5.0.1")
    wire.run(0.5)
    assert wire.active("b") == "10.5.0.1"
    pair = wire.ends["b"].active
    assert pair is not None
    assert pair.kind is CandidateKind.PEER_REFLEXIVE
    assert not wire.ends["b"].is_punched(pair), "the probes came from the address that they name"


@pytest.mark.parametrize("own", [("10.0.0.5", 2009), ("203.0.113.9", 2008), ("203.0.113.5", 2009)])
def test_a_nat_is_on_the_way_unless_probes_come_from_the_address_that_they_name(own: tuple[str, int]) -> None:
    one, source = machine(), Address("203.0.113.9", 2009, 0)
    one.add_local(0, "10.0.0.1", 1, 0.0)
    for named in (own, source[:2], own):
        one.handle_probe(ProbeFields(bytes(16), ip=named[0], port=named[1]), source, 0.0)
        one.handle_probe(ProbeFields(bytes(16)), source, 0.0)  # for the sake of its size
        assert one.is_punched(one._pairs[source]) is (named == own)


def test_paths_are_kept_alive_for_an_hour() -> None:
    wire = Wire(both("10.0.0.1", "10.0.0.2", 0.01))
    wire.add("a", "10.0.0.1")
    wire.add("b", "10.0.0.2")
    wire.tell("a", "10.0.0.2")
    wire.tell("b", "10.0.0.1")
    wire.run(0.3)
    before = wire.sent.total()
    wire.run(60)
    assert all(end.active is not None and wire.now < end.active.valid_until for end in wire.ends.values())
    assert wire.sent.total() - before <= 2 * 2 * (60 / KEEP_ALIVE + 1)


def drain(machine: Connectivity, until: float) -> Counter[tuple[str, int]]:
    """Run a machine that nobody answers; return how many probes went where."""
    sent: Counter[tuple[str, int]] = Counter()
    now = last = 0.0
    while now < until:
        for address, _ in machine.outputs(now):
            sent[address.ip, address.port] += 1
            assert now - last >= PACE - 1e-9 or not last
            last = now
        now = max(machine.next_timeout(), now + 1e-4)
    return sent


def test_an_address_that_does_not_answer_gets_few_probes() -> None:
    one = machine()
    for index in range(MAX_LOCALS):
        one.add_local(index, f"10.0.0.{index}", 1, 0.0)
    for index in range(MAX_CANDIDATES):
        assert one.add_remote(DatagramCandidate(HOST, "203.0.113.7", 100 + index), 0.0)
    sent = drain(one, 10_000.0)
    assert sent.total() <= MAX_IP_PROBES
    assert max(sent.values()) <= min(MAX_ADDRESS_PROBES, MAX_LOCALS * MAX_PAIR_PROBES)


def test_a_peer_that_repeats_its_candidates_gains_nothing() -> None:
    one = machine()
    one.add_local(0, "10.0.0.1", 1, 0.0)
    for port in range(1, 200):
        one.add_remote(DatagramCandidate(HOST, "203.0.113.7", port), 0.0)
    assert drain(one, 10_000.0).total() <= MAX_CANDIDATES * MAX_PAIR_PROBES


def test_probes_from_ever_new_addresses_are_answered_but_hardly_asked() -> None:
    one = machine()
    one.add_local(0, "10.0.0.1", 1, 0.0)
    answers = probes = 0
    for index in range(3000):
        now = index * 0.01
        one.handle_probe(ProbeFields(index.to_bytes(16, "big")), Address("203.0.113.7", 1000 + index, 0), now)
        for _, fields in one.outputs(now):
            answers += isinstance(fields, AnswerFields)
            probes += isinstance(fields, ProbeFields)
    assert answers <= 3000
    assert probes <= MAX_IP_PROBES
    assert len(one._pairs) <= MAX_CANDIDATES
    assert one.active is None


def test_an_answer_must_come_from_where_it_was_asked() -> None:
    one = machine()
    one.add_local(0, "10.0.0.1", 1, 0.0)
    one.add_remote(DatagramCandidate(HOST, "203.0.113.7", 5), 0.0)
    ((address, probe),) = one.outputs(0.0)
    answer = AnswerFields(probe.nonce, "10.0.0.1", 1)
    for wrong in (address._replace(port=6), address._replace(ip="203.0.113.8"), address._replace(local=1)):
        assert not one.handle_answer(answer, wrong, 0.1)
    assert not one.handle_answer(answer._replace(nonce=bytes(16)), address, 0.1)
    assert one.active is None
    assert one.handle_answer(answer, address, 0.1)
    assert not one.handle_answer(answer, address, 0.1)
    assert one.active is not None


def test_a_nomination_is_told_until_it_is_answered() -> None:
    one = machine()
    one.add_local(0, "10.0.0.1", 1, 0.0)
    one.add_remote(DatagramCandidate(HOST, "203.0.113.7", 5), 0.0)
    ((address, first),) = one.outputs(0.0)
    ((_, second),) = one.outputs(0.1)
    one.handle_answer(AnswerFields(second.nonce, "10.0.0.1", 1), address, 0.15)
    ((_, nomination),) = one.outputs(0.15)
    assert isinstance(nomination, ProbeFields)
    assert nomination.nominated
    one.handle_answer(AnswerFields(first.nonce, "10.0.0.1", 1), address, 0.16)  # late
    again = [fields for now in (0.17, 0.3, 0.6) for _, fields in one.outputs(now)]
    assert all(isinstance(fields, ProbeFields) and fields.nominated for fields in again)
    assert len(again) >= 2
    one.handle_answer(AnswerFields(again[-1].nonce, "10.0.0.1", 1), address, 0.7)
    assert one.outputs(5.0) == []


def test_a_path_without_answers_is_not_valid_for_long() -> None:
    one = machine()
    one.add_local(0, "10.0.0.1", 1, 0.0)
    one.add_remote(DatagramCandidate(HOST, "203.0.113.7", 5), 0.0)
    ((address, probe),) = one.outputs(0.0)
    one.handle_answer(AnswerFields(probe.nonce, "10.0.0.1", 1), address, 0.1)
    assert one.is_valid(address, 0.1 + CONSENT - 0.01)
    assert not one.is_valid(address, 0.1 + CONSENT)


@pytest.mark.parametrize(
    "ip",
    ["224.0.0.1", "239.1.2.3", "255.255.255.255", "0.0.0.0", "0.1.2.3", "::", "ff02::1", "240.0.0.1", "no address",
     "example.org", "127.0.0.1", "::1", "::ffff:127.0.0.1", "::ffff:224.0.0.1"],
)  # fmt: skip
def test_odd_addresses_are_never_tried(ip: str) -> None:
    assert not may_try(DatagramCandidate(HOST, ip, 5), ANYWHERE)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_odd_ports_are_never_tried(port: int) -> None:
    assert not may_try(DatagramCandidate(HOST, "10.0.0.1", port), ANYWHERE)


def test_loopback_is_tried_only_where_nothing_else_is() -> None:
    for ip in ("127.0.0.1", "::1", "127.9.9.9"):
        assert may_try(DatagramCandidate(HOST, ip, 5), ONLY_LOOPBACK)
    for ip in ("10.0.0.1", "8.8.8.8", "2001:db8::1"):
        assert may_try(DatagramCandidate(HOST, ip, 5), ANYWHERE)
        assert not may_try(DatagramCandidate(HOST, ip, 5), ONLY_LOOPBACK)


def test_families_are_not_mixed() -> None:
    one = machine()
    one.add_local(0, "10.0.0.1", 1, 0.0)
    one.add_remote(DatagramCandidate(HOST, "2001:db8::1", 5), 0.0)
    assert one.outputs(0.0) == []
    with pytest.raises(ValueError, match="as many"):
        one.add_local(0, "10.0.0.2", 1, 0.0)

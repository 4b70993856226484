from __future__ import annotations

import pytest
from aioice import stun
from hypothesis import given
from hypothesis import strategies as st

from p2pal.lanes.udp.addresses import Address, CandidateKind, DatagramCandidate
from p2pal.lanes.udp.entropy import Entropy
from p2pal.lanes.udp.reflexive import AGAIN, MAX_REQUESTS, MAX_ROUNDS, TRIES, Reflexive, is_stun

SERVER = ("192.0.2.1", 3478)
SEEN = ("198.51.100.7", 40_000)


def machine(*, servers: list[tuple[str, int]] | None = None, ip: str = "10.0.0.2") -> Reflexive:
    reflexive = Reflexive(Entropy(bytes(32)))
    reflexive.add_socket(0, ip, 5000, 0.0)
    reflexive.add_servers([SERVER] if servers is None else servers, 0.0)
    return reflexive


def answer(request: bytes, seen: tuple[str, int] = SEEN, *, name: str = "XOR-MAPPED-ADDRESS") -> bytes:
    asked = stun.parse_message(request)
    return bytes(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, asked.transaction_id, {name: seen}))


@pytest.mark.parametrize("name", ["XOR-MAPPED-ADDRESS", "MAPPED-ADDRESS"])
def test_an_answer_makes_a_candidate_once(name: str) -> None:
    reflexive = machine()
    ((address, request),) = reflexive.outputs(0.0)
    assert address == Address(*SERVER, 0)
    assert is_stun(request[0])
    told = answer(request, name=name)
    assert reflexive.receive(told, address) == DatagramCandidate(CandidateKind.SERVER_REFLEXIVE, *SEEN)
    assert reflexive.receive(told, address) is None
    assert list(reflexive.outputs(100.0)) == []


def test_what_two_servers_see_alike_is_one_candidate() -> None:
    reflexive = machine(servers=[SERVER, ("192.0.2.2", 3478)])
    asked = list(reflexive.outputs(1.0))
    found = [reflexive.receive(answer(request), address) for address, request in asked]
    assert [each is not None for each in found] == [True, False]


def test_a_socket_that_is_seen_as_it_is_needs_no_other_candidate() -> None:
    reflexive = machine()
    ((address, request),) = reflexive.outputs(0.0)
    assert reflexive.receive(answer(request, ("10.0.0.2", 5000)), address) is None


def test_a_request_is_sent_again_and_given_up() -> None:
    reflexive, sent, now = machine(), 0, 0.0
    while (due := reflexive.next_timeout()) != float("inf"):
        now = due
        sent += len(list(reflexive.outputs(now)))
    assert sent == len(TRIES)
    assert now == pytest.approx(sum(TRIES))


def test_only_the_server_that_was_asked_is_believed() -> None:
    reflexive = machine()
    ((address, request),) = reflexive.outputs(0.0)
    told = answer(request)
    for other in (Address("192.0.2.9", 3478, 0), Address(*SERVER, 1), Address(SERVER[0], 3479, 0)):
        assert reflexive.receive(told, other) is None
    foreign = bytes(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, bytes(12), {"XOR-MAPPED-ADDRESS": SEEN}))
    assert reflexive.receive(foreign, address) is None
    assert reflexive.receive(told, address) is not None


def test_families_are_not_mixed_and_requests_are_bounded() -> None:
    reflexive = machine(servers=[("2001:db8::1", 3478)])
    assert list(reflexive.outputs(1.0)) == []
    many = machine(servers=[(f"192.0.2.{n}", 3478) for n in range(1, 100)])
    assert len(list(many.outputs(10.0))) == MAX_REQUESTS


def test_sockets_that_come_later_ask_too() -> None:
    reflexive = machine()
    list(reflexive.outputs(0.0))
    reflexive.add_socket(1, "10.0.1.2", 5001, 1.0)
    assert [address.local for address, _ in reflexive.outputs(1.1)] == [0, 1]


def test_servers_are_asked_once_more_and_what_they_see_anew_is_told() -> None:
    reflexive = machine()
    ((address, request),) = reflexive.outputs(0.0)
    reflexive.ask_again(0.1)
    assert list(reflexive.outputs(0.1)) == [], "the first request is still under way"
    assert reflexive.receive(answer(request), address) is not None
    for seen, found in ((SEEN, False), ((SEEN[0], 41_000), True)):
        reflexive.ask_again(now := 10.0 if found else 5.0)
        ((again, request),) = reflexive.outputs(now)
        assert again == address
        assert (reflexive.receive(answer(request, seen), address) is not None) is found


def test_rounds_are_apart_and_few() -> None:
    reflexive, sent = machine(), 0
    for tick in range(1000):
        now = tick / 10
        reflexive.ask_again(now)
        for address, request in reflexive.outputs(now):
            reflexive.receive(answer(request), address)
            assert now >= (sent - 1) * AGAIN
            sent += 1
    assert sent == 1 + MAX_ROUNDS


@given(st.binary(max_size=100), st.booleans())
def test_whatever_comes_back_is_no_error(data: bytes, framed: bool) -> None:
    reflexive = machine()
    ((address, request),) = reflexive.outputs(0.0)
    if framed:
        data = answer(request)[:20] + data
    found = reflexive.receive(data, address)
    assert found is None or found.kind is CandidateKind.SERVER_REFLEXIVE

"""Whose address an end of a path is, and what servers said."""

from __future__ import annotations

from dataclasses import replace

from p2pal.lanes.ice_candidates import IceCandidate
from p2pal.lanes.webrtc.gathering import MAX_CANDIDATES, MAX_ERRORS, UNREACHED, Gathering

HOST = IceCandidate("host", "udp", "192.0.2.1", 1000, cost=10)
MAPPED = IceCandidate("srflx", "udp", "198.51.100.1", 2000, cost=10)
PASSIVE = IceCandidate("host", "tcp", "192.0.2.1", 9, cost=10)
RELAY = IceCandidate("relay", "udp", "203.0.113.1", 3000, relay_transport="tls")
NO_BASE = ("", 0)


def seen_at(candidate: IceCandidate, port: int | None = None) -> IceCandidate:
    """What the engine makes of an address whose candidate it does not know."""
    return IceCandidate("prflx", candidate.protocol, candidate.address, port or candidate.port)


def test_a_check_that_overtakes_its_candidate_came_from_there_all_the_same() -> None:
    gathering = Gathering()
    assert gathering.recognise_remote(seen_at(HOST)) == seen_at(HOST)
    for candidate in (HOST, MAPPED, RELAY):
        gathering.add_remote(candidate)
        assert gathering.recognise_remote(seen_at(candidate)) == candidate


def test_a_port_of_its_own_is_a_nats_mapping_but_with_tcp() -> None:
    gathering = Gathering()
    for candidate in (HOST, PASSIVE):
        gathering.add_remote(candidate)
        gathering.add_own(candidate)
    elsewhere = seen_at(HOST, 4000)
    assert gathering.recognise_remote(elsewhere) == gathering.recognise_own(elsewhere, NO_BASE) == elsewhere
    active = seen_at(PASSIVE, 4000)
    assert gathering.recognise_remote(active).kind == gathering.recognise_own(active, NO_BASE).kind == "host"


def test_a_relay_that_is_seen_at_another_address_is_one_by_its_port() -> None:
    gathering = Gathering()
    gathering.add_remote(RELAY)
    inside = IceCandidate("prflx", "udp", "10.0.0.5", RELAY.port)
    assert gathering.recognise_remote(inside) == RELAY
    assert gathering.recognise_remote(replace(inside, port=RELAY.port + 1)).kind == "prflx"


def test_our_end_has_the_cost_of_the_network_behind_it() -> None:
    gathering = Gathering()
    gathering.add_own(HOST)
    mapping = seen_at(MAPPED)
    assert gathering.recognise_own(mapping, NO_BASE).cost == 0
    assert gathering.recognise_own(mapping, (HOST.address, HOST.port)) == replace(mapping, cost=10)
    assert gathering.recognise_own(replace(HOST, cost=0), NO_BASE) == HOST


def test_a_host_stays_one_when_a_server_sees_the_same_address() -> None:
    gathering = Gathering()
    gathering.add_remote(HOST)
    gathering.add_remote(replace(HOST, kind="srflx"))
    assert gathering.recognise_remote(seen_at(HOST)).kind == "host"


def test_only_hosts_are_this_machine() -> None:
    gathering = Gathering()
    for candidate in (HOST, MAPPED, RELAY):
        gathering.add_own(candidate)
    assert gathering.own_addresses == {HOST.address}


def test_what_a_server_says_is_kept_before_that_it_was_not_reached() -> None:
    gathering = Gathering(("turn:a", "turn:b"))
    gathering.add_error("turn:a", UNREACHED)
    gathering.add_error("turn:a", 401)
    gathering.add_error("turn:a", UNREACHED)
    assert gathering.errors == {"turn:a": 401}


def test_servers_are_known_by_the_urls_that_were_given() -> None:
    urls = ("turn:Relay.test", "turns:relay.test", "stun:relay.test", "turn:[2001:db8:0::1]")
    gathering = Gathering(urls)
    gathering.add_error("turn:relay.test:3478?transport=udp", 401)
    gathering.add_error("turns:relay.test:5349?transport=tcp", UNREACHED)
    gathering.add_own(MAPPED, "stun:relay.test:3478")
    gathering.add_own(RELAY, "turn:[2001:db8::1]:3478?transport=udp")
    assert gathering.errors == {urls[0]: 401, urls[1]: UNREACHED}
    assert gathering.answered == {urls[2], urls[3]}


def test_a_peer_cannot_fill_the_memory() -> None:
    gathering = Gathering()
    for port in range(2 * MAX_CANDIDATES):
        gathering.add_remote(replace(HOST, port=port))
        gathering.add_error(f"turn:{port}", 400)
    assert len(gathering.remote) == MAX_CANDIDATES
    assert len(gathering.errors) == MAX_ERRORS

"""Candidates as they travel: what an engine writes is read, what a peer makes up does no harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pal.lanes.ice_candidates import MAX_COST, IceCandidate, parse_candidate, with_relay_transport

HOST = "candidate:1 1 udp 2122260223 192.0.2.1 41000 typ host generation 0 ufrag abcd network-id 1"
RELAY = (
    "candidate:2 1 udp 41885439 198.51.100.1 50000 typ relay raddr 0.0.0.0 rport 0 generation 0 ufrag abcd"
    " network-id 1 network-cost 10"
)
TCP = "candidate:3 1 TCP 1518214911 2001:db8::1 9 typ host tcptype active generation 0 ufrag iirf network-id 1"


@pytest.mark.parametrize(
    ("line", "candidate"),
    [
        (HOST, IceCandidate("host", "udp", "192.0.2.1", 41000)),
        (RELAY, IceCandidate("relay", "udp", "198.51.100.1", 50000, cost=10)),
        (TCP, IceCandidate("host", "tcp", "2001:db8::1", 9)),
        (TCP.replace("active", "passive"), IceCandidate("host", "tcp", "2001:db8::1", 9, dialled=True)),
        # Where the engine does not look for the type, it finds none, and dials.
        (
            TCP.replace("tcptype active generation 0", "generation 0 tcptype active"),
            IceCandidate("host", "tcp", "2001:db8::1", 9, dialled=True),
        ),
        (
            TCP.replace("host", "srflx raddr 192.0.2.1 rport 9"),
            IceCandidate("srflx", "tcp", "2001:db8::1", 9),
        ),
        (TCP.replace("active", "activeX"), IceCandidate("host", "tcp", "2001:db8::1", 9, dialled=True)),
        (with_relay_transport(RELAY, "tls"), IceCandidate("relay", "udp", "198.51.100.1", 50000, 10, "tls")),
        (with_relay_transport(RELAY, "pigeon"), IceCandidate("relay", "udp", "198.51.100.1", 50000, cost=10)),
        (HOST + " network-cost 4000000000", IceCandidate("host", "udp", "192.0.2.1", 41000, cost=MAX_COST)),
        (HOST + " network-cost -1", IceCandidate("host", "udp", "192.0.2.1", 41000)),
    ],
)
def test_a_line_is_read(line: str, candidate: IceCandidate) -> None:
    assert parse_candidate(line) == candidate


def test_the_family_of_an_address() -> None:
    assert [IceCandidate("host", "udp", address, 1).ipv6 for address in ("2001:db8::1", "192.0.2.1", "::1")] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "candidate:",
        "candidate:1 1 udp 1 192.0.2.1 41000 typ",
        "candidate:1 1 udp 1 192.0.2.1 41000 kind host",
        "candidate:1 1 udp 1 192.0.2.1 41000 typ other",
        "candidate:1 1 udp 1 192.0.2.1 41000 typ \x1b[0m",
        "candidate:1 1 udp 1 192.0.2.1 port typ host",
        "candidate:1 1 udp 1 192.0.2.1 65536 typ host",
        HOST + " network-cost",
        HOST + " ",
        " " + HOST,
        HOST.replace(" typ", "  typ"),
        HOST.replace(" ", "\t"),
        HOST + "\n",
        HOST + "\r\na=" + RELAY,
        "candidate:1\u20031\u2003udp\u20031\u2003127.0.0.1\u20039\u2003typ\u2003host "
        + RELAY.removeprefix("candidate:1 "),
        HOST.replace("candidate:1", "candidate:\x01"),
        HOST.replace("192.0.2.1", "a\x00b.local"),
        HOST.replace("192.0.2.1", "5e3c1fbd-1e1c-4b0f-9d2c-6a6a9a4f0c11.local"),
        HOST.replace("192.0.2.1", "localhost"),
        HOST.replace("192.0.2.1", "2130706433"),
        HOST.replace("192.0.2.1", "127.1"),
        HOST.replace("192.0.2.1", "0x7f.0.0.1"),
        HOST.replace("192.0.2.1", "fe80::1%1"),
        HOST.replace("192.0.2.1", "example.org.local"),
        HOST.replace("udp", "sctp"),
        "candidate:1 1 udp 1 example.org 41000 typ host",
        "candidate:1 1 udp 1 192.0.2 41000 typ host",
        "candidate:1 1 udp 1 192.0.2.1 ٤١٠٠٠ typ host",
    ],
)
def test_what_is_no_candidate_is_none(line: str) -> None:
    assert parse_candidate(line) is None


@given(
    st.text(max_size=100)
    | st.lists(st.sampled_from([*RELAY.split(), "", "9" * 30, "\x1b[0m"]), max_size=20).map(" ".join)
)
def test_whatever_a_peer_sends_is_read_or_passed_over(line: str) -> None:
    found = parse_candidate(line)
    assert found is None or (0 <= found.port < 65536 and 0 <= found.cost <= MAX_COST)

from __future__ import annotations

import pytest

from p2pal.wire.ice_urls import canonical_url, is_stun_url, is_turn_url, parse_turn_url

LONG = "x" * 63


@pytest.mark.parametrize(
    "rest",
    ["h", "h:1", "h.example:65535", "h.example.", f"{LONG}.{LONG}", "192.0.2.1:3478", "[2001:db8::1]", "[::1]:3478"],
)
def test_hosts_with_and_without_a_port(rest: str) -> None:
    for scheme, judge, other in (
        ("stun", is_stun_url, is_turn_url),
        ("stuns", is_stun_url, is_turn_url),
        ("turn", is_turn_url, is_stun_url),
        ("turns", is_turn_url, is_stun_url),
    ):
        assert judge(f"{scheme}:{rest}")
        assert not other(f"{scheme}:{rest}")


@pytest.mark.parametrize(
    "rest",
    [
        "",
        ":1",
        "h:",
        "h:0",
        "h:65536",
        "[h]",
        "[::1",
        "u:p@h",
        "//h",
        "h/",
        "h ",
        "h\n",
        ".",
        "a..b",
        ".h",
        "h..",
        f"{LONG}x",
        f"{LONG}x.example",
    ],
)
def test_what_is_no_host_and_port(rest: str) -> None:
    assert not is_stun_url(f"stun:{rest}")
    assert not is_turn_url(f"turn:{rest}")


def test_only_turn_names_a_transport() -> None:
    assert is_turn_url("turn:h?transport=udp")
    assert is_turn_url("turns:h:443?transport=tcp")
    assert not is_turn_url("turn:h?transport=tls")
    assert not is_stun_url("stun:h?transport=udp")


def test_turns_is_tcp_whatever_it_asks_for() -> None:
    parsed = parse_turn_url("turns:h:443?transport=udp")
    assert parsed is not None
    assert (parsed.tls, parsed.transport) == (True, "tcp")
    assert (
        canonical_url("turns:h?transport=udp")
        == canonical_url("turns:h:5349?transport=tcp")
        == canonical_url("turns:H")
    )

from __future__ import annotations

import pytest

from p2pal.doctor.network_facts import Endpoint, ProbeTarget, Relaying, probe_target


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("stun:stun.example.org", ProbeTarget("stun.example.org", 3478, "udp")),
        ("stun:192.0.2.1:19302", ProbeTarget("192.0.2.1", 19302, "udp")),
        ("turn:[2001:db8::1]:3479", ProbeTarget("2001:db8::1", 3479, "udp")),
        ("turn:turn.example.org?transport=udp", ProbeTarget("turn.example.org", 3478, "udp")),
        ("turn:turn.example.org?transport=tcp", ProbeTarget("turn.example.org", 3478, "tcp")),
        ("turns:turn.example.org", ProbeTarget("turn.example.org", 5349, "tls")),
        ("turns:turn.example.org:443?transport=tcp", ProbeTarget("turn.example.org", 443, "tls")),
    ],
)
def test_where_a_url_leads(url: str, place: ProbeTarget) -> None:
    assert probe_target(url) == place


@pytest.mark.parametrize("url", ["", "stun:", "turn:user@example.org", "http://example.org", "stun:example.org:0"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match="no STUN or TURN URL"):
        probe_target(url)


def test_how_endpoints_are_written() -> None:
    assert str(Endpoint("192.0.2.1", 80)) == "192.0.2.1:80"
    assert str(Endpoint("2001:db8::1", 80)) == "[2001:db8::1]:80"


def test_how_a_relay_is_reached() -> None:
    assert Relaying("turns:turn.example.org").transport == "tls"

"""Whatever is typed behind a flag of ``p2pal server``: it is used as it is meant, or refused in one harmless line."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

import click
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p2pal.cli.commands.server_config import networks, origins, redis_url
from p2pal.cli.commands.server_values import Bounded, Bytes, Count, RateValue
from p2pal.cli.text import safe
from p2pal.errors import UsageError
from p2pal.rendezvous.transport import MAX_PAUSE, MAX_RETRY_AFTER, pause, retry_after

PARAM = click.Option(["--flag"])

TAKES: dict[str, Callable[[str], Any]] = {
    "redis": redis_url,
    "network": lambda text: networks([text]),
    "origin": lambda text: origins([text]),
    "rate": lambda text: RateValue().convert(text, PARAM, None),
    "count": lambda text: Count().convert(text, PARAM, None),
    "duration": lambda text: Bounded(1.0, 60.0).convert(text, PARAM, None),
    "size": lambda text: Bytes(1024, 65536).convert(text, PARAM, None),
}
PIECES = st.sampled_from(
    ["redis", "://", "unix", "+cluster", ":", "/", "?", "=", "@", "[", "]", "::1", "10.0.0.0", "/8", "%", "*", "https",
     "60", "1m", "none", "0", "-", ".", ",", " ", "\x1b[2J", "\n", "\u202e", "KiB", "9" * 30, "loopback", "a.b"]
)  # fmt: skip
TYPED = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=8).map("".join))


@pytest.mark.parametrize("kind", TAKES)
@settings(max_examples=200, deadline=None)
@given(text=TYPED)
@example("fe80::1%\x1b[2J/64")
@example("fe80::1%eth0")
@example("redis://[::1%\x1b]")
@example("https://[::1]:443")
def test_it_is_used_or_refused_in_one_line(kind: str, text: str) -> None:
    told = ""
    try:
        TAKES[kind](text)
    except UsageError as error:
        told = str(error)
    assert told == safe(told, 500)


@settings(max_examples=200, deadline=None)
@given(st.ip_addresses().filter(lambda each: "::ffff:" not in str(each)), st.integers(8, 32))
def test_every_network_is_itself(address: ipaddress.IPv4Address | ipaddress.IPv6Address, width: int) -> None:
    network = ipaddress.ip_network(f"{address}/{width}", strict=False)
    assert networks([str(network), str(address)]) == tuple(dict.fromkeys([network, ipaddress.ip_network(address)]))


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=30), st.integers().map(str)), st.floats(0.0, 10.0))
def test_no_server_makes_a_client_wait_for_long(said: str, backoff: float) -> None:
    asked = retry_after({"Retry-After": said})
    assert asked is None or 0 <= asked <= MAX_RETRY_AFTER
    assert 0 <= pause(backoff, asked) <= MAX_PAUSE
    if asked is not None:
        assert pause(backoff, asked) >= min(asked, MAX_PAUSE)

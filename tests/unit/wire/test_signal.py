"""Bounds of what the peers tell each other through the mailbox; hostile bytes are in tests/security."""

from __future__ import annotations

import pytest

from p2pal.errors import ProtocolError
from p2pal.wire.signal import SILENT, Fresh, Hello, Retry, decode_signal, encode


@pytest.mark.parametrize("hello", [Hello(1024, 262_144), Hello(262_144, 64 << 20)])
def test_what_a_side_can_do_has_bounds(hello: Hello) -> None:
    assert decode_signal(encode(hello)) == hello


@pytest.mark.parametrize(
    "hello",
    [Hello(1023, 262_144), Hello(262_145, 262_144), Hello(1024, 262_143), Hello(1024, (64 << 20) + 1)],
)
def test_a_window_past_the_bounds_would_make_us_hold_too_much(hello: Hello) -> None:
    with pytest.raises(ProtocolError):
        decode_signal(encode(hello))


def test_what_peers_say_where_they_meet_again() -> None:
    for message in (Fresh(bytes(16)), Retry(3, SILENT)):
        assert decode_signal(encode(message)) == message


@pytest.mark.parametrize("size", [0, 15, 17])
def test_the_bytes_that_are_quoted_are_sixteen(size: int) -> None:
    with pytest.raises(ProtocolError):
        decode_signal(encode(Fresh(bytes(size))))

"""Seals with explicit nonces: each once, in any order, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.lanes.udp.packet import MAX_PACKETS, REPLAY_WINDOW, BadPacket, Kind, read_header
from p2pal.lanes.udp.seal import LaneSecrets, PacketOpener, PacketSealer, ReplayWindow

KEY = bytes(range(32))


def opened(opener: PacketOpener, data: bytes) -> bytes:
    return opener.open(read_header(data), data)


def test_what_is_sealed_opens_once_and_in_any_order() -> None:
    sealer, opener = PacketSealer(KEY, 7), PacketOpener(KEY)
    sealed = [sealer.seal(Kind.ACK, b"%d" % number) for number in range(5)]
    for number in (3, 0, 4, 1, 2):
        assert opened(opener, sealed[number]) == b"%d" % number
        with pytest.raises(BadPacket, match="twice"):
            opened(opener, sealed[number])


def test_every_bit_is_authenticated_and_a_forgery_uses_no_number_up() -> None:
    sealed = PacketSealer(KEY, 7).seal(Kind.CLOSE, b"over")
    opener = PacketOpener(KEY)
    for bit in range(8 * len(sealed)):
        forged = bytearray(sealed)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadPacket):
            opened(opener, bytes(forged))
    assert opened(opener, sealed) == b"over"


def test_what_is_cut_short_does_not_open() -> None:
    sealed = PacketSealer(KEY, 7).seal(Kind.PROBE, b"some words")
    for length in range(len(sealed)):
        with pytest.raises(BadPacket):
            opened(PacketOpener(KEY), sealed[:length])


def test_no_nonce_is_used_twice() -> None:
    sealer = PacketSealer(KEY, 7)
    numbers = [read_header(sealer.seal(kind, b"")).number for kind in Kind for _ in range(20)]
    assert len(set(numbers)) == len(numbers)


def test_secrets_are_not_shown() -> None:
    secrets = LaneSecrets(KEY, KEY, 1, 2)
    assert KEY.hex() not in repr(secrets)
    assert repr(secrets) == str(secrets) == "<LaneSecrets>"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 5000), max_size=200))
def test_the_window_takes_each_number_once(numbers: list[int]) -> None:
    window, taken, highest = ReplayWindow(), set[int](), -1
    for number in numbers:
        new = number not in taken and number > highest - REPLAY_WINDOW
        assert window.is_new(number) == new
        if new:
            window.take(number)
            taken.add(number)
            highest = max(highest, number)


def test_the_window_jumps() -> None:
    window = ReplayWindow()
    window.take(3)
    window.take(MAX_PACKETS - 1)
    assert not window.is_new(3)
    assert window.is_new(MAX_PACKETS - 2)
    assert not window.is_new(MAX_PACKETS - 1)

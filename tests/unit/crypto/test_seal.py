from __future__ import annotations

import pytest

from p2pal.crypto.keys import Direction, SessionSecret
from p2pal.crypto.seal import (
    MAX_FRAMES,
    MAX_INDEX,
    BadSeal,
    LaneExhausted,
    LaneOpener,
    LaneSealer,
    MailboxOpener,
    MailboxSealer,
)
from p2pal.errors import ProtocolError

KEY = bytes(range(32))
SECRET = SessionSecret(KEY)


def test_a_lane_carries_frames_in_order() -> None:
    sealer, opener = LaneSealer(KEY), LaneOpener(KEY)
    frames = [b"", b"hello", bytes(64 * 1024)]
    sealed = [sealer.seal(frame) for frame in frames]
    assert [len(frame) for frame in sealed] == [len(frame) + 16 for frame in frames]
    assert [opener.open(frame) for frame in sealed] == frames
    assert sealer.count == opener.count == 3


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_sealed_and_opened(kind: type[bytes | bytearray | memoryview]) -> None:
    sealed = LaneSealer(KEY).seal(kind(b"hello"))
    assert LaneOpener(KEY).open(kind(sealed)) == b"hello"


def test_equal_frames_are_sealed_differently() -> None:
    sealer = LaneSealer(KEY)
    assert sealer.seal(b"same") != sealer.seal(b"same")


def test_a_lane_ends_after_two_to_the_32_frames() -> None:
    sealer, opener = LaneSealer(KEY), LaneOpener(KEY)
    sealer._count = opener._count = MAX_FRAMES - 1
    assert opener.open(sealer.seal(b"last")) == b"last"
    with pytest.raises(LaneExhausted):
        sealer.seal(b"one more")
    with pytest.raises(LaneExhausted):
        opener.open(bytes(20))
    assert sealer.count == opener.count == MAX_FRAMES


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33])
def test_a_lane_key_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError):
        LaneSealer(bytes(size))
    with pytest.raises(ValueError):
        LaneOpener(bytes(size))


def test_a_mailbox_log_carries_messages_in_order() -> None:
    sealer = MailboxSealer(SECRET, 1, Direction.TO_RECEIVER, 2)
    opener = MailboxOpener(SECRET, 1, Direction.TO_RECEIVER, 2)
    for index, message in enumerate([b"", b"hello", b"\x80", b"\x00\x00", b"\x80\x00", bytes(5000)], start=2):
        at, sealed = sealer.seal(message)
        assert at == index
        assert opener.open(at, sealed) == message


@pytest.mark.parametrize(("size", "sealed_size"), [(0, 256), (1, 256), (239, 256), (240, 512), (495, 512), (496, 768)])
def test_lengths_are_padded_to_256_bytes(size: int, sealed_size: int) -> None:
    _, sealed = MailboxSealer(SECRET, 1, Direction.TO_SENDER, 1).seal(bytes(size))
    assert len(sealed) == sealed_size


def test_a_log_ends_at_the_last_index() -> None:
    sealer = MailboxSealer(SECRET, 1, Direction.TO_SENDER, MAX_INDEX)
    opener = MailboxOpener(SECRET, 1, Direction.TO_SENDER, MAX_INDEX)
    assert opener.open(*sealer.seal(b"last")) == b"last"
    with pytest.raises(ProtocolError):
        sealer.seal(b"one more")
    with pytest.raises(BadSeal):
        opener.open(MAX_INDEX + 1, bytes(256))


def test_a_message_that_does_not_open_leaves_the_log_as_it_was() -> None:
    sealer = MailboxSealer(SECRET, 1, Direction.TO_SENDER, 1)
    opener = MailboxOpener(SECRET, 1, Direction.TO_SENDER, 1)
    index, sealed = sealer.seal(b"hello")
    with pytest.raises(BadSeal):
        opener.open(index, bytes(256))
    assert opener.open(index, sealed) == b"hello"

"""Attacks on what is sealed: a server or network that forges, cuts, moves or repeats messages; reused nonces."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from p2pal.crypto.keys import Direction, Master, SessionSecret
from p2pal.crypto.seal import BadSeal, LaneOpener, LaneSealer, MailboxOpener, MailboxSealer
from p2pal.errors import ProtocolError

SECRET = SessionSecret(bytes(range(32)))
OTHER = SessionSecret(bytes(32))
TO_RECEIVER, TO_SENDER = Direction.TO_RECEIVER, Direction.TO_SENDER


def log(*messages: bytes) -> list[tuple[int, bytes]]:
    sealer = MailboxSealer(SECRET, 1, TO_RECEIVER, 2)
    return [sealer.seal(message) for message in messages]


def reader(attempt: int = 1, direction: Direction = TO_RECEIVER, first: int = 2) -> MailboxOpener:
    return MailboxOpener(SECRET, attempt, direction, first)


def test_every_bit_of_a_mailbox_message_is_authenticated() -> None:
    ((index, sealed),) = log(b"offer")
    opener = reader()
    for at in range(len(sealed)):
        for bit in (1, 128):
            forged = sealed[:at] + bytes([sealed[at] ^ bit]) + sealed[at + 1 :]
            with pytest.raises(BadSeal):
                opener.open(index, forged)
    assert opener.open(index, sealed) == b"offer"


@pytest.mark.parametrize(
    "cut",
    [
        lambda sealed: b"",
        lambda sealed: sealed[:16],
        lambda sealed: sealed[:255],
        lambda sealed: sealed[:256],
        lambda sealed: sealed[256:],
        lambda sealed: sealed[:-1],
        lambda sealed: sealed + b"\x00",
        lambda sealed: sealed + bytes(256),
        lambda sealed: bytes(256),
    ],
)
def test_truncated_and_extended_mailbox_messages_are_refused(cut: Callable[[bytes], bytes]) -> None:
    ((index, sealed),) = log(bytes(300))
    with pytest.raises(BadSeal):
        reader().open(index, cut(sealed))


def test_a_server_cannot_reorder_replay_or_drop_mailbox_messages() -> None:
    (a, first), (b, second), (c, third) = log(b"1", b"2", b"3")
    opener = reader()
    with pytest.raises(ProtocolError):
        opener.open(b, second)  # the first was dropped
    with pytest.raises(ProtocolError):
        opener.open(a, second)  # renumbered
    assert opener.open(a, first) == b"1"
    for index in (a, b):
        with pytest.raises(ProtocolError):
            opener.open(index, first)  # replayed
    with pytest.raises(ProtocolError):
        opener.open(c, third)
    assert opener.open(b, second) == b"2"


@pytest.mark.parametrize("index", [-1, 0, 1, 3, 2**32, 2**64])
def test_an_index_that_is_not_the_next_is_refused(index: int) -> None:
    ((_, sealed),) = log(b"hello")
    with pytest.raises(ProtocolError):
        reader().open(index, sealed)


def test_a_message_fits_no_other_log() -> None:
    ((index, sealed),) = log(b"hello")
    openers = [
        reader(direction=TO_SENDER),  # sent back to its author
        reader(attempt=2),  # of another attempt
        MailboxOpener(OTHER, 1, TO_RECEIVER, 2),  # of another exchange
        MailboxOpener(SECRET.master().reconnect(1, bytes(16)), 1, TO_RECEIVER, 2),  # of a later rendezvous
    ]
    for opener in openers:
        with pytest.raises(BadSeal):
            opener.open(index, sealed)


@pytest.mark.parametrize(
    "padded",
    [
        pytest.param(bytes(240), id="no mark"),
        pytest.param(b"hello" + bytes(235), id="no mark after text"),
        pytest.param(b"\x80" + bytes(495), id="a whole block too much"),
        pytest.param(b"\x01" * 240, id="no padding at all"),
    ],
)
def test_wrong_padding_under_a_good_tag_is_refused(padded: bytes) -> None:
    associated = bytes.fromhex("000000010000000002")
    key = AESGCM(SECRET.mailbox_key(1, TO_RECEIVER))
    opener = reader()
    with pytest.raises(ProtocolError):
        opener.open(2, key.encrypt((2).to_bytes(12, "big"), padded, associated))
    good = b"hello\x80" + bytes(234)
    assert opener.open(2, key.encrypt((2).to_bytes(12, "big"), good, associated)) == b"hello"


def test_the_length_of_short_messages_does_not_show() -> None:
    assert {len(sealed) for _, sealed in log(b"", b"yes", b"a" * 239)} == {256}


def test_a_bad_frame_kills_the_lane() -> None:
    sealer, opener = LaneSealer(bytes(32)), LaneOpener(bytes(32))
    good = sealer.seal(b"frame")
    with pytest.raises(BadSeal):
        opener.open(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(BadSeal):
        opener.open(good)
    assert opener.count == 0


@pytest.mark.parametrize("size", [0, 1, 15, 16, 20])
def test_truncated_frames_do_not_open(size: int) -> None:
    sealed = LaneSealer(bytes(32)).seal(b"frame")
    with pytest.raises(BadSeal):
        LaneOpener(bytes(32)).open(sealed[:size])


def test_replayed_skipped_and_swapped_frames_do_not_open() -> None:
    sealer = LaneSealer(bytes(32))
    first, second = sealer.seal(b"1"), sealer.seal(b"2")
    with pytest.raises(BadSeal):
        LaneOpener(bytes(32)).open(second)
    opener = LaneOpener(bytes(32))
    assert opener.open(first) == b"1"
    with pytest.raises(BadSeal):
        opener.open(first)


def test_a_frame_reflected_or_moved_to_another_lane_does_not_open() -> None:
    master, nonce = SECRET.master(), bytes(16)
    sealed = LaneSealer(master.lane_key(1, TO_RECEIVER, nonce)).seal(b"frame")
    for lane, direction, opening in [
        (1, TO_SENDER, nonce),
        (2, TO_RECEIVER, nonce),
        (1, TO_RECEIVER, b"\x01" * 16),
    ]:
        with pytest.raises(BadSeal):
            LaneOpener(master.lane_key(lane, direction, opening)).open(sealed)


class Nonces:
    """Stands where the cipher is and notes the nonces; some calls fail, as for lack of memory."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def encrypt(self, nonce: bytes, plaintext: bytes, associated: bytes | None) -> bytes:
        self.seen.append(nonce)
        if plaintext.startswith(b"fail"):
            raise MemoryError
        return b""


def test_no_nonce_is_used_twice_even_when_sealing_fails() -> None:
    nonces = Nonces()
    lane = LaneSealer(bytes(32))
    lane._encrypt = nonces.encrypt  # type: ignore[assignment]
    mailbox = MailboxSealer(SECRET, 1, TO_SENDER, 5000)
    mailbox._encrypt = nonces.encrypt  # type: ignore[assignment]
    for sealer in (lane, mailbox):
        for plaintext in (b"a", b"fail", b"b", b"fail", b"fail", b"c"):
            try:
                sealer.seal(plaintext)
            except MemoryError:
                continue
    assert len(set(nonces.seen)) == len(nonces.seen) == 12


def test_a_sealer_cannot_be_set_back() -> None:
    for sealer in (LaneSealer(bytes(32)), MailboxSealer(SECRET, 1, TO_SENDER, 1)):
        for name in ("count", "anything"):
            with pytest.raises(AttributeError):
                setattr(sealer, name, 0)


def test_two_lanes_or_rendezvous_opened_alike_share_no_key() -> None:
    # A server that forgets a rendezvous, or a peer that repeats a lane id, gets other keys: the opening bytes differ.
    master = Master(bytes(range(32)))
    one, two = b"\x01" * 16, b"\x02" * 16
    assert master.lane_key(1, TO_SENDER, one) != master.lane_key(1, TO_SENDER, two)
    again = (master.reconnect(1, nonce).mailbox_key(1, TO_SENDER) for nonce in (one, two))
    assert len(set(again)) == 2

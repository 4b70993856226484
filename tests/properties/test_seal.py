"""Seals: what was sealed opens, in order; anything else does not."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from p2pal.crypto.keys import Direction, Master, SessionSecret
from p2pal.crypto.seal import BadSeal, LaneOpener, LaneSealer, MailboxOpener, MailboxSealer

keys = st.binary(min_size=32, max_size=32)
frames = st.lists(st.binary(max_size=600), min_size=1, max_size=8)
common = settings(max_examples=100, deadline=None)


@common
@given(keys, frames)
def test_lane_frames_open_in_order(key: bytes, plaintexts: list[bytes]) -> None:
    sealer, opener = LaneSealer(key), LaneOpener(key)
    assert [opener.open(sealer.seal(plaintext)) for plaintext in plaintexts] == plaintexts


@common
@given(keys, st.binary(max_size=200), st.data())
def test_a_changed_frame_does_not_open(key: bytes, plaintext: bytes, data: st.DataObject) -> None:
    sealed = LaneSealer(key).seal(plaintext)
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadSeal):
        LaneOpener(key).open(changed)


@common
@given(keys, st.lists(st.binary(max_size=40), min_size=2, max_size=6), st.data())
def test_frames_in_another_order_do_not_open(key: bytes, plaintexts: list[bytes], data: st.DataObject) -> None:
    sealer, opener = LaneSealer(key), LaneOpener(key)
    sealed = [sealer.seal(plaintext) for plaintext in plaintexts]
    delivered = data.draw(st.lists(st.sampled_from(sealed), max_size=8))
    agreed = 0
    while agreed < len(delivered) and agreed < len(sealed) and delivered[agreed] == sealed[agreed]:
        assert opener.open(delivered[agreed]) == plaintexts[agreed]
        agreed += 1
    for frame in delivered[agreed:]:
        with pytest.raises(BadSeal):
            opener.open(frame)


@common
@given(
    keys, st.integers(0, 2**32 - 1), st.sampled_from(Direction), st.integers(0, 3), st.lists(st.binary(max_size=900))
)
def test_mailbox_messages_open_and_show_only_a_rough_length(
    key: bytes, attempt: int, way: Direction, first: int, plaintexts: list[bytes]
) -> None:
    secret = SessionSecret(key)
    sealer, opener = MailboxSealer(secret, attempt, way, first), MailboxOpener(secret, attempt, way, first)
    for plaintext in plaintexts:
        index, sealed = sealer.seal(plaintext)
        assert len(sealed) % 256 == 0
        assert len(plaintext) + 17 <= len(sealed) < len(plaintext) + 17 + 256
        assert opener.open(index, sealed) == plaintext


@common
@given(keys, st.binary(max_size=2000))
def test_what_nobody_sealed_does_not_open(key: bytes, garbage: bytes) -> None:
    with pytest.raises(BadSeal):
        LaneOpener(key).open(garbage)
    with pytest.raises(BadSeal):
        MailboxOpener(SessionSecret(key), 1, Direction.TO_SENDER, 1).open(1, garbage)


Place = tuple[int, Direction, bytes]
places = st.tuples(st.integers(1, 2**31 - 1), st.sampled_from(Direction), st.binary(min_size=16, max_size=16))


@common
@given(keys, places, places)
def test_a_frame_opens_in_no_other_lane(key: bytes, one: Place, other: Place) -> None:
    assume(one != other)
    master = Master(key)
    sealed = LaneSealer(master.lane_key(*one)).seal(b"frame")
    with pytest.raises(BadSeal):
        LaneOpener(master.lane_key(*other)).open(sealed)

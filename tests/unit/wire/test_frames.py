"""The codec of session frames: round trips, the published vectors, and refusal of everything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.vectors import make_frames

from p2pal.errors import ProtocolError
from p2pal.wire.frames import (
    DATA_HEADER,
    MAX_CONTROL,
    MAX_NUMBER,
    Ack,
    Close,
    Data,
    Frame,
    LaneAck,
    Ping,
    Pong,
    decode,
    encode,
    encode_data,
)

_u32 = st.integers(0, 2**32 - 1)


@st.composite
def acks(draw: st.DrawFn) -> Ack:
    cumulative = draw(st.integers(0, 2**60))
    steps = draw(st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 1000)), max_size=32))
    ranges, position = [], cumulative
    for gap, length in steps:
        ranges.append((position + gap, position + gap + length))
        position += gap + length
    lanes = sorted(draw(st.sets(_u32, max_size=32)))
    micros = draw(st.lists(_u32, min_size=len(lanes), max_size=len(lanes)))
    entries = [LaneAck(lane, draw(_u32), delay / 1e6) for lane, delay in zip(lanes, micros, strict=True)]
    return Ack(cumulative, position + draw(st.integers(0, 1000)), ranges, entries)


def _same(left: Frame, right: Frame) -> bool:
    if isinstance(left, Ack) and isinstance(right, Ack):
        delays = [(a.delay, b.delay) for a, b in zip(left.lanes, right.lanes, strict=True)]
        return (
            (left.next, left.edge, list(left.ranges)) == (right.next, right.edge, list(right.ranges))
            and [a[:2] for a in left.lanes] == [b[:2] for b in right.lanes]
            and all(abs(a - b) <= 2e-6 for a, b in delays)
        )
    return type(left) is type(right) and left == right


_frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Data, st.integers(0, MAX_NUMBER - 1), st.binary(min_size=1, max_size=100).map(memoryview)),
    acks(),
    st.builds(Ping, _u32),
    st.builds(Pong, _u32),
    st.builds(Close, st.integers(0, 65535), st.text(max_size=50)),
)


@settings(max_examples=200, deadline=None)
@given(_frames)
def test_every_frame_survives_the_round_trip(frame: Frame) -> None:
    data = encode(frame)
    assert _same(decode(data), frame)
    assert _same(decode(memoryview(data)), frame)
    if not isinstance(frame, Data):
        assert len(data) <= MAX_CONTROL


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_a_frame_or_a_protocol_error(data: bytes) -> None:
    try:
        frame = decode(data)
    except ProtocolError:
        return
    assert isinstance(frame, Ack) or encode(frame) == data


@settings(max_examples=200, deadline=None)
@given(_frames.map(encode), st.data())
def test_damaged_frames_are_a_frame_or_a_protocol_error(data: bytes, draw: st.DataObject) -> None:
    position = draw.draw(st.integers(0, len(data) - 1))
    damaged = bytearray(data[: draw.draw(st.integers(0, len(data)))] + draw.draw(st.binary(max_size=3)))
    if position < len(damaged):
        damaged[position] ^= draw.draw(st.integers(1, 255))
    try:
        decode(bytes(damaged))
    except ProtocolError:
        return


def test_the_vectors_are_those_of_the_file() -> None:
    stored = json.loads(make_frames.PATH.read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(make_frames.vectors()))


_stored: dict[str, Any] = json.loads(make_frames.PATH.read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", _stored["good"], ids=lambda vector: vector["name"])
def test_good_vectors(vector: dict[str, Any]) -> None:
    frame = decode(bytes.fromhex(vector["hex"]))
    assert make_frames.fields(frame) == vector["fields"]


@pytest.mark.parametrize("vector", _stored["bad"], ids=lambda vector: vector["name"])
def test_bad_vectors(vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError, match="the other side sent"):
        decode(bytes.fromhex(vector["hex"]))


def test_data_is_joined_from_buffers_and_not_copied_out() -> None:
    frame = encode_data(3, [b"ab", bytearray(b"cd"), memoryview(b"ef")])
    assert frame == encode_data(3, b"abcdef")
    received = decode(frame)
    assert isinstance(received, Data)
    assert received.payload.obj is frame
    assert len(frame) == DATA_HEADER + 6


def test_a_long_reason_is_cut_between_characters() -> None:
    received = decode(encode(Close(1, "x" + "é" * 150)))
    assert received == Close(1, "x" + "é" * 99)
    assert decode(encode(Close(1, "\ud800"))) == Close(1, "?")


def test_delays_out_of_range_are_clamped() -> None:
    for delay, expected in ((-1.0, 0.0), (1e9, (2**32 - 1) / 1e6)):
        received = decode(encode(Ack(0, 8, (), (LaneAck(1, 0, delay),))))
        assert isinstance(received, Ack)
        assert received.lanes[0].delay == expected


@pytest.mark.parametrize(
    "frame",
    [Ack(0, 99, [(2 * i + 1, 2 * i + 2) for i in range(33)]), Ack(0, 8, (), [LaneAck(i, 0, 0.0) for i in range(33)])],
)
def test_an_ack_too_long_is_our_own_mistake(frame: Ack) -> None:
    with pytest.raises(ValueError, match="at most 32"):
        encode(frame)

"""The messages of TURN over TCP, cut as they come, and those that refer to another server."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pal.lanes.turn.stream import AnswerStream, Referral, opens_as_turn

ALTERNATE = bytes.fromhex("8023 0008 0001 04d2 c0000201")


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def message(kind: int, attributes: bytes = b"") -> bytes:
    return struct.pack("!HHI", kind, len(attributes), 0x2112A442) + b"transaction." + attributes


def refusal(code: int, kind: int = 0x0113) -> bytes:
    error = attribute(9, bytes((0, 0, code // 100, code % 100)) + b"sorry")
    return message(kind, attribute(0x8022, b"a server") + error + ALTERNATE)


def channel_data(payload: bytes) -> bytes:
    return attribute(0x4001, payload)


MESSAGES = st.one_of(
    st.builds(channel_data, st.binary(max_size=50)),
    st.builds(message, st.sampled_from([0x0103, 0x0113, 0x0017]), st.just(ALTERNATE)),
    st.builds(refusal, st.sampled_from([401, 437, 438, 486])),
    st.builds(refusal, st.just(300), st.sampled_from([0x0103, 0x0114, 0x4113])),
)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[start:end] for start, end in pairwise(places)]


@given(st.lists(MESSAGES, max_size=5), st.lists(st.integers(min_value=0, max_value=2000), max_size=10))
def test_what_refers_to_nobody_goes_on_as_it_is(messages: list[bytes], at: list[int]) -> None:
    stream, sent = AnswerStream(), b"".join(messages)
    assert b"".join(stream.feed(piece) for piece in cut(sent, at)) == sent


@given(st.lists(MESSAGES, max_size=3), st.lists(st.integers(min_value=0, max_value=2000), max_size=10))
def test_nothing_of_a_referral_goes_on(before: list[bytes], at: list[int]) -> None:
    stream, passed, sent = AnswerStream(), bytearray(), b"".join(before)

    def feed() -> None:
        for piece in cut(sent + refusal(300), at):
            passed.extend(stream.feed(piece))

    with pytest.raises(Referral):
        feed()
    assert sent.startswith(passed)


@given(st.binary(max_size=100))
def test_no_refusal_is_too_odd(attributes: bytes) -> None:
    stream = AnswerStream()
    try:
        assert stream.feed(message(0x0113, attributes)) == message(0x0113, attributes)
    except Referral:
        assert b"\0\x09" in attributes


def test_an_error_code_counts_as_the_engine_counts() -> None:
    """Its hundreds have three bits, and its rest may have more than two digits."""
    for code in (bytes((0, 0, 0xFB, 0)), bytes((0, 0, 2, 100))):
        with pytest.raises(Referral):
            AnswerStream().feed(message(0x0113, attribute(9, code)))


@pytest.mark.parametrize(
    ("data", "opens"),
    [
        (message(3), True),
        (message(1), False),
        (b"GET / HTTP/1.1\r\n", False),
        (bytes(8), False),
        (message(3)[:4] + bytes(4), False),
    ],
)
def test_how_a_turn_client_starts(data: bytes, opens: bool) -> None:
    assert opens_as_turn(data) is opens

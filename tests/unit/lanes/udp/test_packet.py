"""The datagrams as bytes: there and back, and what is refused."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.errors import ProtocolError
from p2pal.lanes.udp.data_packet import DATA_HEADER, data_headers, read_data
from p2pal.lanes.udp.packet import (
    MAX_OFFSET,
    MAX_PACKETS,
    MAX_RANGES,
    PROBE_BYTES,
    AckFields,
    AnswerFields,
    BadPacket,
    Batch,
    Buffer,
    Kind,
    ProbeFields,
    decode_ack,
    decode_answer,
    decode_probe,
    encode_ack,
    encode_answer,
    encode_probe,
    read_header,
)

TAG = 0x0123456789ABCDEF


def batch(number: int, offset: int, payload: bytes, size: int, tag: int = TAG, *, ask: bool = False) -> bytes:
    """Datagrams of DATA one after another, as a system hands them over."""
    count = -(-len(payload) // size)
    pieces: list[Buffer] = []
    for index, header in enumerate(data_headers(number, tag, offset, size, count, ask=ask)):
        pieces += [header, payload[index * size : (index + 1) * size]]
    return b"".join(pieces)


def test_kinds_share_a_socket_with_stun_turn_dtls_and_rtp() -> None:
    for kind in Kind:
        assert kind > 191  # RFC 7983: 0-3, 16-19, 20-63, 64-79, 128-191


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, MAX_PACKETS - 100),
    st.integers(0, MAX_OFFSET - 100_000),
    st.integers(1, 64),
    st.integers(1, 1500),
    st.data(),
)
def test_a_batch_is_read_as_one_run(number: int, offset: int, count: int, size: int, data: st.DataObject) -> None:
    last = data.draw(st.integers(1, size))
    payload = bytes(index % 251 for index in range(size * (count - 1) + last))
    runs = read_data(batch(number, offset, payload, size), size + DATA_HEADER, TAG)
    assert [(run.number, run.packets, run.offset, run.size) for run in runs] == [(number, count, offset, len(payload))]
    assert b"".join(runs[0].payloads) == payload


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("ask", [False, True])
def test_data_may_ask_for_an_acknowledgement(count: int, ask: bool) -> None:
    (run,) = read_data(batch(MAX_PACKETS - 3, 7, b"a" * 10 * count, 10, ask=ask), 10 + DATA_HEADER, TAG)
    assert (run.number, run.packets, run.offset, run.ask) == (MAX_PACKETS - 3, count, 7, ask)


def test_one_of_several_runs_may_ask() -> None:
    data = batch(5, 0, b"a" * 10, 10) + batch(6, 10, b"b" * 10, 10, ask=True) + batch(9, 90, b"c" * 10, 10)
    assert [(run.number, run.packets, run.ask) for run in read_data(data, 34, TAG)] == [(5, 2, True), (9, 1, False)]


def test_datagrams_that_do_not_follow_each_other_are_runs_of_their_own() -> None:
    first, other = batch(5, 100, b"a" * 20, 10), batch(9, 500, b"b" * 30, 10)
    runs = read_data(first + other, 10 + DATA_HEADER, TAG)
    assert [(run.number, run.packets, run.offset, run.size) for run in runs] == [(5, 2, 100, 20), (9, 3, 500, 30)]
    assert b"".join(runs[1].payloads) == b"b" * 30


def test_what_is_among_them_and_is_no_data_is_passed_over() -> None:
    data = batch(5, 0, b"a" * 10, 10) + batch(6, 10, b"x" * 10, 10, tag=1) + batch(7, 20, b"c" * 10, 10)
    assert [(run.number, run.offset) for run in read_data(data, 10 + DATA_HEADER, TAG)] == [(5, 0), (7, 20)]
    assert read_data(b"\xd1" + batch(0, 0, b"a", 10)[1:], 0, TAG) == []


@pytest.mark.parametrize("segment", [0, 1, DATA_HEADER, DATA_HEADER + 1])
def test_a_datagram_without_payload_is_none(segment: int) -> None:
    header = bytes(data_headers(0, TAG, 0, 10, 1)[0])
    assert read_data(header, segment, TAG) == []
    assert read_data(header[:-1], segment, TAG) == []
    assert read_data(b"", segment, TAG) == []


def test_numbers_and_offsets_end_somewhere() -> None:
    for number, offset in ((MAX_PACKETS, 0), (0, MAX_OFFSET), (0, MAX_OFFSET - 5), (0, 2**64 - 1)):
        header = struct.pack(">QQQ", Kind.DATA << 56 | number, TAG, offset)
        assert read_data(header + b"x" * 10, 0, TAG) == []


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 500))
def test_no_garbage_is_too_odd(data: bytes, segment: int) -> None:
    for run in read_data(b"\xd0" + data, segment, TAG):
        assert run.size == sum(map(len, run.payloads))
    with contextlib.suppress(BadPacket):
        read_header(data)
    for decode in (decode_ack, decode_probe, decode_answer):
        with contextlib.suppress(ProtocolError):
            decode(data)


def test_a_header_is_read() -> None:
    assert read_header(bytes([0xD1, 0, 0, 0, 0, 0, 0, 7]) + TAG.to_bytes(8, "big")) == (Kind.ACK, 7, TAG)
    for bad in (b"", bytes(15), bytes(16), b"\xcf" + bytes(15), b"\xd1\xff" + bytes(14)):
        with pytest.raises(BadPacket):
            read_header(bad)


def ranges(draw: st.DrawFn, below: int, most: int) -> list[tuple[int, int]]:
    edges = sorted(draw(st.sets(st.integers(below + 1, most), max_size=2 * MAX_RANGES)))
    return list(zip(edges[::2], edges[1::2], strict=False))


@st.composite
def acks(draw: st.DrawFn) -> AckFields:
    following = draw(st.integers(0, 2**40))
    return AckFields(
        draw(st.integers(0, 2**50)) / 1e6,
        draw(st.integers(0, 2**31)) / 1e6,
        following,
        ranges(draw, -1, MAX_PACKETS),
        ranges(draw, following, MAX_OFFSET),
    )


@settings(max_examples=200, deadline=None)
@given(acks())
def test_an_ack_comes_back(ack: AckFields) -> None:
    back = decode_ack(encode_ack(ack))
    assert back[2:] == ack[2:]
    assert back.received == pytest.approx(ack.received, abs=2e-6)
    assert back.delay == pytest.approx(ack.delay, abs=2e-6)


@pytest.mark.parametrize(
    ("packets", "stream"),
    [
        ([(5, 5)], []),
        ([(5, 4)], []),
        ([(5, 8), (8, 9)], []),
        ([(5, 8), (1, 2)], []),
        ([(1, MAX_PACKETS + 1)], []),
        ([], [(100, 110)]),
        ([], [(90, 110)]),
        ([], [(101, MAX_OFFSET + 1)]),
        ([], [(101, 105), (103, 110)]),
    ],
)
def test_ranges_that_cannot_be_are_refused(packets: list[tuple[int, int]], stream: list[tuple[int, int]]) -> None:
    with pytest.raises(ProtocolError, match="out of order"):
        decode_ack(encode_ack(AckFields(0, 0, 100, packets, stream)))


def test_an_ack_of_a_wrong_length_is_refused() -> None:
    good = encode_ack(AckFields(1, 0, 0, [(0, 1)], [(5, 6)]))
    for bad in (good[:-1], good + b"\0", good[:5], b""):
        with pytest.raises(ProtocolError):
            decode_ack(bad)
    many = [(2 * n, 2 * n + 1) for n in range(MAX_RANGES + 1)]
    with pytest.raises(ProtocolError):
        decode_ack(encode_ack(AckFields(0, 0, 0, many, [])))
    with pytest.raises(ProtocolError):
        decode_ack(encode_ack(AckFields(0, 0, MAX_OFFSET + 1, [], [])))


@pytest.mark.parametrize("ip", ["192.0.2.7", "2001:db8::1", "::1", "127.0.0.1"])
def test_probes_and_answers_come_back(ip: str) -> None:
    nonce = bytes(range(16))
    for nominated in (False, True):
        for troubled in (False, True):
            probe = ProbeFields(nonce, nominated, troubled, ip, 4711)
            assert decode_probe(encode_probe(probe)) == probe
            assert decode_probe(encode_probe(probe, 1400)) == probe
            assert len(encode_probe(probe, 1400)) == 1400
    answer = AnswerFields(nonce, ip, 4711)
    assert decode_answer(encode_answer(answer)) == answer


def test_an_answer_is_no_longer_than_what_it_answers() -> None:
    answer = encode_answer(AnswerFields(bytes(16), "2001:db8::1", 1))
    assert len(answer) == PROBE_BYTES == len(encode_probe(ProbeFields(bytes(16))))
    with pytest.raises(ProtocolError):
        decode_probe(encode_probe(ProbeFields(bytes(16)))[:-1])
    with pytest.raises(ProtocolError):
        decode_answer(answer + b"\0")


def test_a_batch_is_cut_where_its_datagrams_end() -> None:
    buffers = [b"h" * 4, b"abcdef", b"h" * 4, b"gh", b"ijkl", b"h" * 4, b"m"]
    whole = Batch("192.0.2.1", 1, 0, buffers, 10, 25)
    assert [b"".join(each) for each in whole.datagrams()] == [b"hhhhabcdef", b"hhhhghijkl", b"hhhhm"]
    assert [b"".join(each) for each in whole._replace(segment=0).datagrams()] == [b"".join(buffers)]

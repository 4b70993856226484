"""Messages as a stream: slices out, slices in, and the bounds of both."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.errors import ProtocolError
from p2pal.lanes.udp.stream import MAX_MESSAGE, PREFIX, ReceiveStream, SendStream

HEADER = b"H"


def payloads(stream: SendStream, start: int, stop: int, size: int) -> list[bytes]:
    """The payloads of the datagrams that carry these bytes."""
    count = -(-(stop - start) // size)
    found: list[bytes] = []
    for buffer in stream.gather(start, stop, size, [HEADER] * count):
        if buffer == HEADER and buffer is HEADER:
            found.append(b"")
        else:
            found[-1] += buffer
    return found


def received(stream: ReceiveStream, offset: int, data: bytes) -> list[bytes]:
    return stream.receive(offset, [memoryview(data)], len(data), len(data))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=6000), min_size=1, max_size=12), st.integers(1, 3000), st.data())
def test_messages_arrive_whatever_the_order_and_the_cuts(messages: list[bytes], size: int, data: st.DataObject) -> None:
    out, back = SendStream(), ReceiveStream()
    for message in messages:
        out.write(message)
    segments: list[tuple[int, bytes]] = []
    while (found := out.next_range(size * 5)) is not None:
        out.mark_sent(*found)
        for index, payload in enumerate(payloads(out, *found, size)):
            segments.append((found[0] + index * size, payload))
    again = data.draw(st.lists(st.sampled_from(segments), max_size=10))
    order = data.draw(st.permutations(segments + again))
    heard: list[bytes] = []
    for offset, payload in order:
        heard += received(back, offset, payload)
        out.acknowledge(back.next, back.ranges(32))
    assert heard == messages
    assert back.next == out.end == out.acked
    assert back.held == out.kept == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 900)), max_size=60), st.integers(1, 700))
def test_lost_bytes_go_again_and_arrived_ones_do_not(lost: list[tuple[int, int]], limit: int) -> None:
    out = SendStream()
    out.write(bytes(4000))
    out.mark_sent(0, out.end)
    out.acknowledge(500, [(1000, 1500), (2000, 2100)])
    arrived = set(range(500)) | set(range(1000, 1500)) | set(range(2000, 2100))
    expected: set[int] = set()
    for start, size in lost:
        out.lost(start, min(start + size, out.end))
        expected |= set(range(start, min(start + size, out.end))) - arrived
    again: set[int] = set()
    while (found := out.next_range(limit)) is not None:
        assert 0 < found[1] - found[0] <= limit
        assert not again & set(range(*found))
        again |= set(range(*found))
        out.mark_sent(*found)
    assert again == expected
    assert not out.pending


def test_what_arrives_while_it_waits_to_be_sent_again_is_not_sent() -> None:
    out = SendStream()
    out.write(bytes(996))
    out.mark_sent(0, 1000)
    out.lost(0, 1000)
    out.acknowledge(400, [(600, 700)])
    assert out.next_range(10_000) == (400, 600)


def test_slices_are_not_copies() -> None:
    out = SendStream()
    message = bytearray(10_000)
    out.write(message)
    buffers = out.gather(PREFIX, 10_004, 1000, [HEADER] * 10)
    message[:] = b"x" * 10_000
    assert b"".join(each for each in buffers if each is not HEADER) == message


def test_many_small_messages_need_few_buffers() -> None:
    out = SendStream()
    for _ in range(5000):
        out.write(b"abc")
    out.mark_sent(0, out.end)
    assert len(out.gather(0, 32_000, 1000, [HEADER] * 32)) <= 32 * 6


def test_the_window_holds_the_sender_back() -> None:
    out = SendStream(window=1000)
    out.write(bytes(3000))
    assert out.next_range(5000) == (0, 1000)
    out.mark_sent(0, 1000)
    assert out.next_range(5000) is None
    assert out.blocked
    assert not out.pending
    out.acknowledge(300, [])
    assert out.next_range(5000) == (1000, 1300)
    assert not out.blocked


def test_sizes_of_messages() -> None:
    out = SendStream()
    for bad in (b"", bytes(MAX_MESSAGE + 1)):
        with pytest.raises(ValueError, match="larger"):
            out.write(bad)
    out.write(bytes(MAX_MESSAGE))
    assert out.end == MAX_MESSAGE + PREFIX


def test_memory_is_given_back() -> None:
    out = SendStream()
    for _ in range(3000):
        out.write(bytes(5000))
        out.mark_sent(out.sent, out.end)
        out.acknowledge(out.end, [])
    assert out.kept == 0
    assert len(out._chunks) < 1024
    assert sum(map(len, out._chunks)) <= 5000


@pytest.mark.parametrize(("following", "ranges"), [(1005, []), (0, [(10, 1005)]), (2**60, [(2**60 + 1, 2**60 + 2)])])
def test_acknowledging_what_was_never_sent(following: int, ranges: list[tuple[int, int]]) -> None:
    out = SendStream()
    out.write(bytes(2000))
    out.mark_sent(0, 1004)
    with pytest.raises(ProtocolError, match="never sent"):
        out.acknowledge(following, ranges)


def test_an_old_acknowledgement_changes_nothing() -> None:
    out = SendStream()
    out.write(bytes(996))
    out.mark_sent(0, 1000)
    out.acknowledge(900, [])
    out.acknowledge(100, [(200, 300)])
    assert out.acked == 900
    assert out.oldest(500) == (900, 1000)


@pytest.mark.parametrize("length", [0, MAX_MESSAGE + 1, 2**32 - 1])
def test_a_length_that_cannot_be(length: int) -> None:
    with pytest.raises(ProtocolError, match="length"):
        received(ReceiveStream(), 0, length.to_bytes(PREFIX, "big"))


def test_bytes_past_the_window() -> None:
    stream = ReceiveStream(window=1000)
    received(stream, 999, b"x")
    with pytest.raises(ProtocolError, match="window"):
        received(stream, 1000, b"x")
    with pytest.raises(ProtocolError, match="window"):
        received(stream, 2**61, b"x")


def test_a_flood_of_small_pieces_is_not_held() -> None:
    stream = ReceiveStream(window=256 * 100)
    for offset in range(2, 2000, 2):
        received(stream, offset, b"x")
    assert stream.holes == 100
    assert stream.held == 100


def test_a_small_piece_does_not_keep_a_large_buffer() -> None:
    stream = ReceiveStream()
    large = bytes([0, 0, 1, 0]) + bytes(60_000)
    stream.receive(0, [memoryview(large)[:100]], 100, len(large))
    assert all(not isinstance(part, memoryview) or part.nbytes == len(part.obj) for part in stream._parts)  # type: ignore[arg-type]


def test_a_message_in_very_many_pieces_is_joined_along_the_way() -> None:
    stream = ReceiveStream()
    received(stream, 0, (5000).to_bytes(PREFIX, "big"))
    heard: list[bytes] = []
    for index in range(5000):
        heard += received(stream, PREFIX + index, b"z")
        assert len(stream._parts) <= 513
    assert heard == [b"z" * 5000]

"""Session frames: DATA, ACK, PING, PONG and CLOSE as bytes.

A lane carries one frame in each sealed message. All integers are unsigned and big-endian, and a frame is exactly
as long as its fields say. The first byte is the type::

    DATA   0x01 | u64 number | payload, at least 1 byte
    ACK    0x02 | u64 next | u64 edge | u8 R | u8 L
                | R x (u64 start | u64 stop)
                | L x (u32 lane | u32 counter | u32 delay)
    PING   0x03 | u32 number
    PONG   0x04 | u32 number
    CLOSE  0x05 | u16 code | reason, UTF-8, at most 200 bytes

**DATA** ``number`` counts the session's DATA frames in one direction from 0, whatever lane they take. A frame that
travels again has the same bytes. Numbers end at 2^63.

**ACK** ``next`` is the cumulative number: every DATA frame below it arrived. ``edge`` is the right edge of the
receiver's window: frames below it may be sent; it never shrinks. The R <= 32 ranges are the half-open intervals
``[start, stop)`` of frames that arrived past a gap: ascending, neither overlapping nor adjacent, the first above
``next``. Only the first 32 are told; the rest are told when those are closed.

Each of the L <= 32 lane entries, ascending by lane, gives the highest ``counter`` of a DATA frame that arrived on
that lane, and for how many microseconds (``delay``, at most 2^32-1) it has waited for this ACK. The counter is
implicit: it is the frame's place, from 0, among all frames of any type that the sender put on that lane, the same
number that makes the seal's nonce. As lanes keep order, all DATA of lower counters on that lane arrived too.

**PING** is answered by a **PONG** of the same number on the same lane. **CLOSE** ends the session; the side that
receives it answers with a CLOSE of its own on the same lane. ``code`` belongs to the floor above.

Only DATA needs room in the window. ACK and the rest have no number, are never repeated, and never wait for the window.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from p2pal.errors import ProtocolError

DATA_HEADER: Final = 9
"""Bytes before a DATA frame's payload."""
MAX_NUMBER: Final = 2**63
"""One past the highest frame number."""
MAX_RANGES: Final = 32
MAX_LANES: Final = 32
MAX_REASON: Final = 200
MAX_CONTROL: Final = 19 + MAX_RANGES * 16 + MAX_LANES * 12
"""The longest frame that is no DATA frame, in bytes."""

DATA: Final = 0x01
ACK: Final = 0x02
PING: Final = 0x03
PONG: Final = 0x04
CLOSE: Final = 0x05

Buffer = bytes | bytearray | memoryview

_data: Final = struct.Struct("!BQ")
_ack: Final = struct.Struct("!BQQBB")
_range: Final = struct.Struct("!QQ")
_lane: Final = struct.Struct("!III")
_number: Final = struct.Struct("!BI")
_close: Final = struct.Struct("!BH")
_MAX_DELAY: Final = 2**32 - 1


class Data(NamedTuple):
    """A payload and its place in the stream. The payload is a view into the frame."""

    number: int
    payload: memoryview


class LaneAck(NamedTuple):
    """The highest counter of a DATA frame that came over a lane, and how long it waited for the ACK, in seconds."""

    lane: int
    counter: int
    delay: float


class Ack(NamedTuple):
    """What arrived, and how far the sender may go. ``next`` and ``edge`` count frames."""

    next: int
    edge: int
    ranges: Sequence[tuple[int, int]] = ()
    lanes: Sequence[LaneAck] = ()


class Ping(NamedTuple):
    """Are you there?"""

    number: int


class Pong(NamedTuple):
    """Yes."""

    number: int


class Close(NamedTuple):
    """The session is over."""

    code: int
    reason: str


Frame = Data | Ack | Ping | Pong | Close


def encode_data(number: int, payload: Buffer | Sequence[Buffer]) -> bytes:
    """Return a DATA frame; the payload, one buffer or several, is copied once."""
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return b"".join((_data.pack(DATA, number), payload))
    return b"".join((_data.pack(DATA, number), *payload))


def encode(frame: Frame) -> bytes:
    """Return the frame as bytes.

    A delay out of 0 to 2^32-1 microseconds becomes the nearer of these. A reason is cut to 200 bytes, never within
    a character.

    Raises:
        ValueError: If an ACK has more ranges or lanes than the format allows.
    """
    if isinstance(frame, Ack):
        return _encode_ack(frame)
    if isinstance(frame, Data):
        return encode_data(frame.number, frame.payload)
    if isinstance(frame, Ping):
        return _number.pack(PING, frame.number)
    if isinstance(frame, Pong):
        return _number.pack(PONG, frame.number)
    reason = frame.reason.encode("utf-8", "replace")[:MAX_REASON].decode("utf-8", "ignore")
    return _close.pack(CLOSE, frame.code) + reason.encode()


def _encode_ack(frame: Ack) -> bytes:
    if len(frame.ranges) > MAX_RANGES or len(frame.lanes) > MAX_LANES:
        raise ValueError("an ACK holds at most 32 ranges and 32 lanes")
    parts = [_ack.pack(ACK, frame.next, frame.edge, len(frame.ranges), len(frame.lanes))]
    parts += [_range.pack(start, stop) for start, stop in frame.ranges]
    parts += [
        _lane.pack(lane, counter, min(max(int(delay * 1e6), 0), _MAX_DELAY)) for lane, counter, delay in frame.lanes
    ]
    return b"".join(parts)


def decode(frame: bytes | memoryview) -> Frame:
    """Return what the frame says; a DATA payload is not copied.

    Raises:
        ProtocolError: If it is empty, of an unknown type, of the wrong length, or breaks a rule of its type.
    """
    if not frame:
        raise ProtocolError("the other side sent an empty frame")
    kind = frame[0]
    if kind == DATA:
        return _decode_data(frame)
    if kind == ACK:
        return _decode_ack(frame)
    if kind in (PING, PONG):
        if len(frame) != _number.size:
            raise ProtocolError("the other side sent a malformed PING or PONG")
        _, number = _number.unpack(frame)
        return Ping(number) if kind == PING else Pong(number)
    if kind == CLOSE:
        return _decode_close(frame)
    raise ProtocolError("the other side sent a frame of an unknown type")


def _decode_data(frame: bytes | memoryview) -> Data:
    if len(frame) <= DATA_HEADER:
        raise ProtocolError("the other side sent a DATA frame without payload")
    _, number = _data.unpack_from(frame)
    if number >= MAX_NUMBER:
        raise ProtocolError("the other side sent a DATA frame with a number out of range")
    return Data(number, memoryview(frame)[DATA_HEADER:])


def _decode_ack(frame: bytes | memoryview) -> Ack:
    if len(frame) < _ack.size:
        raise ProtocolError("the other side sent a truncated ACK")
    _, cumulative, edge, range_count, lane_count = _ack.unpack_from(frame)
    lanes_at = _ack.size + range_count * _range.size
    if range_count > MAX_RANGES or lane_count > MAX_LANES or len(frame) != lanes_at + lane_count * _lane.size:
        raise ProtocolError("the other side sent an ACK of the wrong length")
    if not cumulative <= edge <= MAX_NUMBER:
        raise ProtocolError("the other side sent an ACK with an impossible window")
    view = memoryview(frame)
    ranges = list(_range.iter_unpack(view[_ack.size : lanes_at]))
    previous = cumulative
    for start, stop in ranges:
        if not previous < start < stop <= edge:
            raise ProtocolError("the other side sent an ACK with disordered ranges")
        previous = stop
    lanes: list[LaneAck] = []
    last = -1
    for lane, counter, delay in _lane.iter_unpack(view[lanes_at:]):
        if lane <= last:
            raise ProtocolError("the other side sent an ACK with disordered lanes")
        last = lane
        lanes.append(LaneAck(lane, counter, delay / 1e6))
    return Ack(cumulative, edge, ranges, lanes)


def _decode_close(frame: bytes | memoryview) -> Close:
    if not _close.size <= len(frame) <= _close.size + MAX_REASON:
        raise ProtocolError("the other side sent a CLOSE of the wrong length")
    _, code = _close.unpack_from(frame)
    try:
        return Close(code, str(frame[_close.size :], "utf-8"))
    except UnicodeDecodeError as error:
        raise ProtocolError("the other side sent a CLOSE whose reason is no text") from error

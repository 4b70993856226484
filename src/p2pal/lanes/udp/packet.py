"""The datagrams of a lane as bytes: one kind in clear, DATA, and four that are sealed.

This module has what all kinds share, and the insides of the sealed ones; :mod:`p2pal.lanes.udp.data_packet` has DATA.

All integers are unsigned and big-endian. Every datagram begins with the same 16 bytes, of which the first is the kind::

    u8 kind | u56 number | u64 lane tag

Kinds are 0xD0 to 0xD5: outside of what STUN, ZRTP, DTLS, TURN channels and RTP begin with (RFC 7983, RFC 9443), so that
one socket serves them all. The lane tag is 64 bits that only the two peers know: what comes without it is passed over.

**DATA** has its packet number as ``number``, then ``u64 offset`` in the stream of the lane, then payload. The highest
bit of ``number`` asks for an acknowledgement at once (:data:`~p2pal.lanes.udp.data_packet.ASK`). The payload is made of
frames that are sealed already. A batch of DATA that leaves with one system call has consecutive numbers and offsets, so
that it is described by one header.

**ACK**, **PROBE**, **ANSWER** and **CLOSE** are AES-256-GCM. ``number`` counts all of them in one direction and is the
nonce, the 16 bytes are the associated data, and a :class:`ReplayWindow` takes each number once. Inside::

    ACK     u64 received | u32 delay | u64 next | u8 P | u8 S | P x (u64 first | u64 end) | S x (u64 first | u64 end)
    PROBE   16 bytes nonce | u8 flags | zeros, at least 18 and as many as the path is to be tried with
    ANSWER  16 bytes nonce | u8 zero | 16 bytes address | u16 port
    CLOSE   u8 reason

``received`` is when the newest packet arrived and ``delay`` how long ago that is, both in microseconds and the former
on the receiver's clock; P packet ranges and S stream ranges are half-open, ascending, and never touch; the stream
ranges lie past ``next``, below which everything has arrived. An ANSWER tells the address that the PROBE came from, as
IPv6 or IPv4-mapped. It is never longer than what it answers.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from p2pal.errors import ProtocolError

Buffer: TypeAlias = bytes | bytearray | memoryview

COMMON: Final = struct.Struct(">QQ")
SEALED_OVERHEAD: Final = COMMON.size + 16
"""Bytes around what is sealed: the common header and the tag of AES-GCM."""
NONCE_BYTES: Final = 16
PROBE_BYTES: Final = 35
"""The least inside of a PROBE, and all of an ANSWER: an answer is never longer than what it answers."""
MAX_DATAGRAM: Final = 65_507
"""The longest payload of UDP over IPv4 (RFC 768)."""
MAX_PACKETS: Final = 2**48
"""Packet numbers, and numbers of sealed datagrams, end below it."""
MAX_OFFSET: Final = 2**62
MAX_RANGES: Final = 32
"""Ranges of each sort in an ACK."""
REPLAY_WINDOW: Final = 1024
"""Numbers below the highest one that may still come."""
MAX_SEGMENTS: Final = 64
"""Datagrams of one batch: what Linux takes with UDP_SEGMENT."""

KIND_SHIFT: Final = 56
"""Bits of the first word below its kind."""
_NUMBER_MASK: Final = (1 << KIND_SHIFT) - 1
_ACK: Final = struct.Struct(">QIQBB")
_RANGE: Final = struct.Struct(">QQ")
_PROBE: Final = struct.Struct(">16sB16sH")
_ANSWER: Final = struct.Struct(">16sB16sH")
_MAPPED: Final = b"\x00" * 10 + b"\xff\xff"


class BadPacket(ProtocolError):
    """A datagram is not one that the peer may send: it is passed over, for anybody may have sent it."""


class Kind(IntEnum):
    """The first byte."""

    DATA = 0xD0
    ACK = 0xD1
    PROBE = 0xD2
    ANSWER = 0xD3
    CLOSE = 0xD4


_KINDS: Final = frozenset(map(int, Kind))  # of an enumeration's members the hash is Python's


class Header(NamedTuple):
    """The first 16 bytes."""

    kind: int
    number: int
    tag: int

    def __repr__(self) -> str:
        return f"Header(kind={self.kind:#x}, number={self.number})"


class AckFields(NamedTuple):
    """The inside of an ACK.

    Attributes:
        received: When the newest packet arrived, in seconds on the receiver's clock.
        delay: Seconds from then until the ACK was made.
        next: Every byte of the stream below it has arrived.
        packets: Packet numbers that arrived, the newest :data:`MAX_RANGES` ranges.
        stream: Bytes past ``next`` that arrived, the first :data:`MAX_RANGES` ranges.
    """

    received: float
    delay: float
    next: int
    packets: Sequence[tuple[int, int]]
    stream: Sequence[tuple[int, int]]


class ProbeFields(NamedTuple):
    """The inside of a PROBE.

    Attributes:
        nonce: What the answer has to quote.
        nominated: The sender of the files uses this path from now on.
        troubled: What is sent over the path in use is not answered.
        ip: The address that the asking socket is bound to: where it comes from another one, a NAT is on the way.
        port: Its port; 0 if neither is told.
    """

    nonce: bytes
    nominated: bool = False
    troubled: bool = False
    ip: str = "::"
    port: int = 0


class AnswerFields(NamedTuple):
    """The inside of an ANSWER: the nonce of the PROBE, and the address that it came from."""

    nonce: bytes
    ip: str
    port: int


class Batch(NamedTuple):
    """Datagrams that leave together.

    Attributes:
        ip: Where to.
        port: Where to.
        local: Which socket.
        buffers: Headers and payloads in order, to be gathered.
        segment: The size of every datagram but the last, in bytes; 0 if there is one datagram only.
        size: All bytes.
    """

    ip: str
    port: int
    local: int
    buffers: Sequence[Buffer]
    segment: int
    size: int

    def datagrams(self) -> list[list[Buffer]]:
        """Return the buffers of each datagram, for systems that take one at a time."""
        if not self.segment:
            return [list(self.buffers)]
        found: list[list[Buffer]] = [[]]
        room = self.segment
        for buffer in self.buffers:
            if not room:
                found.append([])
                room = self.segment
            found[-1].append(buffer)
            room -= len(buffer)
        return found


def read_header(data: Buffer) -> Header:
    """Return the common header.

    Raises:
        BadPacket: If there is none.
    """
    if len(data) < COMMON.size:
        raise BadPacket("a datagram is too short")
    first, tag = COMMON.unpack_from(data)
    kind, number = first >> KIND_SHIFT, first & _NUMBER_MASK
    if kind not in _KINDS or number >= MAX_PACKETS:
        raise BadPacket("a datagram is of no kind that is known")
    return Header(kind, number, tag)


def first_word(kind: Kind, number: int) -> int:
    """Return kind and number as they begin a datagram."""
    return kind << KIND_SHIFT | number


def encode_ack(ack: AckFields) -> bytes:
    """Return the inside of an ACK. Ranges beyond :data:`MAX_RANGES` are a mistake of the caller."""
    received, delay = int(ack.received * 1e6), min(int(ack.delay * 1e6), 2**32 - 1)
    flat = [edge for pair in (*ack.packets, *ack.stream) for edge in pair]
    head = _ACK.pack(max(received, 0), max(delay, 0), ack.next, len(ack.packets), len(ack.stream))
    return head + struct.pack(f">{len(flat)}Q", *flat)


def decode_ack(inside: bytes) -> AckFields:
    """Return what an ACK says.

    Raises:
        ProtocolError: If it cannot be true.
    """
    if len(inside) < _ACK.size:
        raise ProtocolError("the other side sent an ACK that is too short")
    received, delay, following, packets, stream = _ACK.unpack_from(inside)
    if max(packets, stream) > MAX_RANGES or len(inside) != _ACK.size + _RANGE.size * (packets + stream):
        raise ProtocolError("the other side sent an ACK of a wrong length")
    every = list(_RANGE.iter_unpack(memoryview(inside)[_ACK.size :]))
    ack = AckFields(received / 1e6, delay / 1e6, following, every[:packets], every[packets:])
    _check_ranges(ack.packets, -1, MAX_PACKETS)
    _check_ranges(ack.stream, following, MAX_OFFSET)
    if following > MAX_OFFSET:
        raise ProtocolError("the other side sent an ACK past the end of numbers")
    return ack


def _check_ranges(ranges: Sequence[tuple[int, int]], below: int, most: int) -> None:
    for start, stop in ranges:
        if not below < start < stop <= most:
            raise ProtocolError("the other side sent ranges that are out of order")
        below = stop


def encode_probe(probe: ProbeFields, size: int = PROBE_BYTES) -> bytes:
    """Return the inside of a PROBE, ``size`` bytes long."""
    flags = probe.nominated | probe.troubled << 1
    return _PROBE.pack(probe.nonce, flags, _packed(probe.ip), probe.port) + bytes(size - _PROBE.size)


def decode_probe(inside: bytes) -> ProbeFields:
    """Return what a PROBE says; unknown flags are ignored.

    Raises:
        ProtocolError: If it is shorter than its answer.
    """
    if len(inside) < PROBE_BYTES:
        raise ProtocolError("the other side sent a PROBE that is too short")
    nonce, flags, packed, port = _PROBE.unpack_from(inside)
    return ProbeFields(nonce, bool(flags & 1), bool(flags & 2), _unpacked(packed), port)


def encode_answer(answer: AnswerFields) -> bytes:
    """Return the inside of an ANSWER."""
    return _ANSWER.pack(answer.nonce, 0, _packed(answer.ip), answer.port)


def decode_answer(inside: bytes) -> AnswerFields:
    """Return what an ANSWER says.

    Raises:
        ProtocolError: If it has another length.
    """
    if len(inside) != _ANSWER.size:
        raise ProtocolError("the other side sent an ANSWER of a wrong length")
    nonce, _, packed, port = _ANSWER.unpack(inside)
    return AnswerFields(nonce, _unpacked(packed), port)


def _packed(ip: str) -> bytes:
    """Return an address as 16 bytes."""
    address = ipaddress.ip_address(ip)
    return address.packed if address.version == 6 else _MAPPED + address.packed


def _unpacked(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed[12:] if packed.startswith(_MAPPED) else packed))

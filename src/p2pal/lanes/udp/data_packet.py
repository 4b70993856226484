"""DATA, the datagrams in clear: batches of them are written and read with one unpacking, as they come by the thousand.

Their format is in :mod:`p2pal.lanes.udp.packet`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from p2pal.lanes.udp.packet import KIND_SHIFT, MAX_OFFSET, MAX_PACKETS, Buffer, Kind

DATA_HEADER: Final = 24
"""Bytes before the payload of DATA."""

ASK: Final = 1 << 55
"""In the number of DATA: the sender waits for the acknowledgement."""

_DATA_NUMBER_MASK: Final = ASK - 1
_DATA: Final = struct.Struct(">QQQ")
_DATA_KIND: Final = int(Kind.DATA)
_DATA_WORD: Final = _DATA_KIND << KIND_SHIFT


@lru_cache(maxsize=256)
def _headers(count: int) -> struct.Struct:
    return struct.Struct(">" + "Q" * (3 * count))


@lru_cache(maxsize=256)
def _spaced(count: int, gap: int) -> struct.Struct:
    return struct.Struct(">" + f"3Q{gap}x" * (count - 1) + "3Q")


def data_headers(number: int, tag: int, offset: int, size: int, count: int, *, ask: bool = False) -> list[Buffer]:
    """Return the headers of a batch of DATA.

    Args:
        number: The first packet's.
        tag: The lane's.
        offset: Of the first packet's payload in the stream.
        size: Payload of every packet but the last, in bytes.
        count: Packets.
        ask: Whether each of them asks for an acknowledgement.
    """
    word = _DATA_WORD | number | (ASK if ask else 0)
    if count == 1:
        return [_DATA.pack(word, tag, offset)]
    fields = [tag] * (3 * count)
    fields[::3] = range(word, word + count)
    fields[2::3] = range(offset, offset + size * count, size)
    packed = memoryview(_headers(count).pack(*fields))
    return [packed[at : at + DATA_HEADER] for at in range(0, DATA_HEADER * count, DATA_HEADER)]


class Run(NamedTuple):
    """Packets of DATA with consecutive numbers and offsets.

    Attributes:
        number: The first packet's.
        packets: How many.
        offset: Of the first payload in the stream.
        payloads: As they follow each other.
        size: All bytes of payload.
        ask: Whether an acknowledgement is asked for.
    """

    number: int
    packets: int
    offset: int
    payloads: list[memoryview]
    size: int
    ask: bool


def read_data(data: Buffer, segment: int, tag: int) -> list[Run]:
    """Return what a datagram of DATA, or several that were received together, carry; what is not DATA is passed over.

    Args:
        data: The datagrams, one after another (UDP_GRO).
        segment: The size of each but the last, in bytes; 0 if there is one only.
        tag: What they must have.
    """
    view = memoryview(data)
    total = len(view)
    if not segment or segment >= total:
        return _read_one(view, total, tag)
    if segment <= DATA_HEADER:
        return []
    count = -(-total // segment)
    last = total - (count - 1) * segment - DATA_HEADER
    if last <= 0:  # a last datagram without payload is none of ours
        count -= 1
        last = segment - DATA_HEADER
    fields = _spaced(count, segment - DATA_HEADER).unpack_from(view)
    size = segment - DATA_HEADER
    word, _, offset = fields[:3]
    number = word & _DATA_NUMBER_MASK
    stop = count * segment
    payloads = [view[at : at + size] for at in range(DATA_HEADER, stop, segment)]
    if (
        word >> KIND_SHIFT == _DATA_KIND
        and number + count <= MAX_PACKETS
        and offset + size * count <= MAX_OFFSET
        and fields[1::3] == (tag,) * count
        and fields[::3] == tuple(range(word, word + count))
        and fields[2::3] == tuple(range(offset, offset + size * count, size))
    ):
        payloads[-1] = payloads[-1][:last]
        return [Run(number, count, offset, payloads, size * (count - 1) + last, bool(word & ASK))]
    payloads[-1] = payloads[-1][:last]
    return _runs_one_by_one(fields, payloads, tag)


def _read_one(view: memoryview, total: int, tag: int) -> list[Run]:
    size = total - DATA_HEADER
    if size <= 0:
        return []
    word, found, offset = _DATA.unpack_from(view)
    number = word & _DATA_NUMBER_MASK
    if word >> KIND_SHIFT != _DATA_KIND or found != tag or number >= MAX_PACKETS or offset + size > MAX_OFFSET:
        return []
    return [Run(number, 1, offset, [view[DATA_HEADER:]], size, bool(word & ASK))]


def _runs_one_by_one(fields: Sequence[int], payloads: list[memoryview], tag: int) -> list[Run]:
    runs: list[Run] = []
    for index, payload in enumerate(payloads):
        word, found, offset = fields[3 * index : 3 * index + 3]
        number = word & _DATA_NUMBER_MASK
        size = len(payload)
        if (
            word >> KIND_SHIFT != _DATA_KIND
            or found != tag
            or number >= MAX_PACKETS
            or offset + size > MAX_OFFSET
            or not size
        ):
            continue
        before = runs[-1] if runs else None
        if before is not None and number == before.number + before.packets and offset == before.offset + before.size:
            before.payloads.append(payload)
            ask = before.ask or bool(word & ASK)
            runs[-1] = before._replace(packets=before.packets + 1, size=before.size + size, ask=ask)
        else:
            runs.append(Run(number, 1, offset, [payload], size, bool(word & ASK)))
    return runs

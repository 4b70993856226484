"""Makes new inputs of old ones, with what these formats are made of in mind. All chance comes from the caller."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

import msgspec

MOST: Final = 64 << 10
"""Bytes of an input."""

NUMBERS: Final = (0, 1, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63)
WORDS: Final = (
    b"", b"\n", b"\r\n", b"\0", b" ", b"..", b"/", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", "\u202e\u2066".encode(),
    b"e\xcc\x81", b"-1", b"1e999", b"NaN", b"null", b"99999999999999999999", b"0x7f", b"127.0.0.1", b"::ffff:127.0.0.1",
    b"224.0.0.1", b"[::1]", b"%", b"%00", b"\x91" * 50, b"[" * 50, b"\x82", b"\xa1t", b"tcptype active",
    b"a=setup:holdconn\r\n",
)  # fmt: skip

Step = Callable[[Random, bytes, Sequence[bytes]], bytes]


def mutate(chance: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Return something like ``data``, by one to four steps."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        data = chance.choice(_STEPS)(chance, data, seeds)[:MOST]
    return data


def _flip(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    at = chance.randrange(len(data))
    changed[at] = chance.choice((changed[at] ^ (1 << chance.randrange(8)), chance.randrange(256), 0, 255))
    return bytes(changed)


def _cut(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    start, stop = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return chance.choice((data[:start], data[start:], data[:start] + data[stop:]))


def _repeat(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    start, stop = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:stop] + data[start:stop] * chance.choice((1, 2, 40)) + data[stop:]


def _put_in(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(WORDS) + data[at + chance.choice((0, 0, 1, 4)) :]


def _number(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    """Put a number of interest over what may be a length or a count."""
    form = chance.choice(("!B", "!H", "!I", "!Q"))
    size = struct.calcsize(form)
    at = chance.randrange(len(data) + 1)
    return data[:at] + struct.pack(form, chance.choice(NUMBERS) & (256**size - 1)) + data[at + size :]


def _splice(chance: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    other = chance.choice(seeds) if seeds else data
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]


def _fields(text: bool) -> Step:
    """Return a step that swaps, drops or changes what stands between separators."""

    def step(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
        between = chance.choice(
            (b" ", b"\r\n", b",", b":", b".", b"-", b"/") if text else (b"\0", b"\xc4", b"\xa1", b"\xda")
        )
        parts = data.split(between)
        one, other = (chance.randrange(len(parts)) for _ in range(2))
        match chance.randrange(3):
            case 0:
                parts[one], parts[other] = parts[other], parts[one]
            case 1:
                del parts[one]
            case _:
                parts[one] = chance.choice((*WORDS, str(chance.choice(NUMBERS)).encode()))
        return between.join(parts)

    return step


def _values(chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    """Change one value of a message, and keep its form."""
    for read, write in ((msgspec.msgpack.decode, msgspec.msgpack.encode), (msgspec.json.decode, msgspec.json.encode)):
        try:
            return write(_changed(chance, read(data)))
        except (msgspec.MsgspecError, RecursionError, UnicodeError, OverflowError, TypeError, ValueError):
            continue
    return data


def _changed(chance: Random, value: Any) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        return value | {key: _changed(chance, value[key])}
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        return [*value[:at], *([_changed(chance, value[at])] * chance.choice((0, 1, 1, 1, 2))), *value[at + 1 :]]
    return chance.choice((None, True, "", "x" * 300, b"", bytes(33), [], [[]], {}, -1, 0.5, *NUMBERS[:-1], value))


def _checksums(_chance: Random, data: bytes, _seeds: Sequence[bytes]) -> bytes:
    """Make the checksums of a checkpoint's records right again, so that what is in them is read."""
    if not data.startswith(b"p2pal-cp"):
        return data
    mended, at = bytearray(data), 8
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        mended[at + 4 : at + 8] = zlib.crc32(data[at + 8 : at + 8 + length]).to_bytes(4, "big")
        at += 8 + length
    return bytes(mended)


_STEPS: Final[tuple[Step, ...]] = (
    *(_flip, _cut, _repeat, _put_in, _number, _splice, _fields(True), _fields(False), _values, _values, _checksums),
)

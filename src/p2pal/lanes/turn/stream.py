"""TURN over TCP as a stream of whole messages, and the few of them that a tunnel looks into. Pure.

RFC 8489, section 6.2.2, and RFC 8656, section 12.5, say where a message ends; the engine's reading agrees.
"""

from __future__ import annotations

import struct
from typing import Final

FIRST_BYTES: Final = 8
"""Bytes of a stream that show whether a TURN client may be speaking."""

_COOKIE: Final = 0x2112A442
_HEADER: Final = 20
_CHANNEL_HEADER: Final = 4
_ALLOCATE: Final = 0x0003
_ALLOCATE_ERROR: Final = 0x0113
_ERROR_CODE: Final = 0x0009
_TRY_ALTERNATE: Final = 300


class Referral(Exception):
    """A TURN server told its client to go to another one (RFC 8489, section 10)."""


def opens_as_turn(data: bytes) -> bool:
    """Whether these :data:`FIRST_BYTES` of a stream are a TURN client's: an Allocate request (RFC 8656, section 7)."""
    kind, _, cookie = struct.unpack_from("!HHI", data)
    return bool(kind == _ALLOCATE and cookie == _COOKIE)


class AnswerStream:
    """What a TURN server sends, cut into whole messages; at most one of them, 64 KiB, is held back."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Return those bytes that may go on.

        Raises:
            Referral: If there is an Allocate error response that names another server. Nothing of it went on.
        """
        held = self._held
        held += data
        start, end = 0, len(held)
        while end - start >= _CHANNEL_HEADER:
            kind, length = struct.unpack_from("!HH", held, start)
            size = _HEADER + length if kind < 0x4000 else _CHANNEL_HEADER + length + -length % 4
            if end - start < size:
                break
            if kind == _ALLOCATE_ERROR and _refers(bytes(held[start + _HEADER : start + size])):
                raise Referral
            start += size
        whole = bytes(held[:start])
        del held[:start]
        return whole


def _refers(attributes: bytes) -> bool:
    """Whether one of these attributes is an error code of 300, however it is written (RFC 8489, section 14.8)."""
    at = 0
    while at + 8 <= len(attributes):
        kind, length = struct.unpack_from("!HH", attributes, at)
        if kind == _ERROR_CODE and (attributes[at + 6] & 7) * 100 + attributes[at + 7] == _TRY_ALTERNATE:
            return True
        at += 4 + length + -length % 4
    return False

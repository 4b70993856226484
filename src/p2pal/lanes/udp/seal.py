"""Seals for datagrams that may be lost, repeated or out of order: explicit nonces, each used once (RFC 5116).

A :class:`~p2pal.crypto.seal.LaneSealer` counts in silence and needs an ordered lane below it. Here the number travels
with the datagram, as in DTLS and QUIC (RFC 9147, section 4; RFC 9001, section 5.3).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from p2pal.crypto.seal import LaneExhausted
from p2pal.lanes.udp.packet import COMMON, MAX_PACKETS, REPLAY_WINDOW, BadPacket, Buffer, Header, Kind, first_word

_NONCE: Final = 12


class LaneSecrets(NamedTuple):
    """What both ends of one datagram lane agreed on. A lane's secrets serve one lane, never two.

    Attributes:
        seal_key: 32 bytes, for what we send.
        open_key: 32 bytes, for what we receive.
        send_tag: 64 random bits that begin what we send.
        receive_tag: 64 random bits that begin what we receive.
    """

    seal_key: bytes
    open_key: bytes
    send_tag: int
    receive_tag: int

    def __repr__(self) -> str:
        return "<LaneSecrets>"


class ReplayWindow:
    """Takes each number once, and none that is :data:`REPLAY_WINDOW` or more below the highest (RFC 6479)."""

    __slots__ = ("_highest", "_seen")

    def __init__(self) -> None:
        self._highest = -1
        self._seen = 0  # bit n: highest - n was seen

    def is_new(self, number: int) -> bool:
        """Whether a number may still be taken."""
        back = self._highest - number
        return back < 0 or (back < REPLAY_WINDOW and not self._seen >> back & 1)

    def take(self, number: int) -> None:
        """Note that a genuine datagram had this number."""
        ahead = number - self._highest
        if ahead > 0:
            self._seen = 1 if ahead >= REPLAY_WINDOW else (self._seen << ahead | 1) & ((1 << REPLAY_WINDOW) - 1)
            self._highest = number
        else:
            self._seen |= 1 << -ahead


class PacketSealer:
    """Seals what is not DATA, in one direction of one lane."""

    __slots__ = ("_count", "_encrypt", "_tag")

    def __init__(self, key: bytes, tag: int) -> None:
        self._encrypt = AESGCM(key).encrypt
        self._tag = tag
        self._count = 0

    def seal(self, kind: Kind, inside: bytes) -> bytes:
        """Return a whole datagram.

        Raises:
            LaneExhausted: After :data:`MAX_PACKETS` of them.
        """
        number = self._count
        if number >= MAX_PACKETS:
            raise LaneExhausted("the lane has sealed as many datagrams as one key may")
        # First, so that even a call that fails uses its nonce up.
        self._count = number + 1
        header = COMMON.pack(first_word(kind, number), self._tag)
        return header + self._encrypt(number.to_bytes(_NONCE, "big"), inside, header)


class PacketOpener:
    """Opens what is not DATA, in one direction of one lane, in any order but each once."""

    __slots__ = ("_decrypt", "_window")

    def __init__(self, key: bytes) -> None:
        self._decrypt = AESGCM(key).decrypt
        self._window = ReplayWindow()

    def open(self, header: Header, data: Buffer) -> bytes:
        """Return what is inside of a datagram with this header.

        Raises:
            BadPacket: If it is not what the peer sealed, or was opened before, or is too old to tell.
        """
        if not self._window.is_new(header.number):
            raise BadPacket("a sealed datagram came twice")
        view = memoryview(data)
        nonce = header.number.to_bytes(_NONCE, "big")
        try:
            inside = self._decrypt(nonce, view[COMMON.size :], view[: COMMON.size])
        except (InvalidTag, ValueError):
            raise BadPacket("a datagram was forged or damaged") from None
        self._window.take(header.number)
        return inside

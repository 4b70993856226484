"""Authenticated encryption: AES-256-GCM (NIST SP 800-38D) with nonces that count, so none can repeat under a key.

A *lane* carries frames in order. Its nonce is an implicit counter, so a frame that is lost, repeated, moved or forged
does not open, and the lane ends there; the session above goes on over other lanes.

A *mailbox log* goes through the server, which sees and may do anything. The nonce is the index in the log, the
associated data bind attempt, direction and index, and the length is padded, so the server learns no more than
about how long the messages are and can only deliver or not deliver them.
"""

from __future__ import annotations

import struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from p2pal.crypto.keys import KEY_BYTES, Direction, MailboxSecret
from p2pal.errors import ProtocolError

TAG_BYTES: Final = 16
MAX_FRAMES: Final = 2**32
MAX_INDEX: Final = 2**32 - 1
PADDED_TO: Final = 256

_NONCE: Final = 12
_PAD: Final = b"\x80"
_ASSOCIATED: Final = struct.Struct(">IBI")


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError("the key is not 32 bytes long")
    return AESGCM(key)


class BadSeal(ProtocolError):
    """A sealed message is not what the peer sealed: forged, damaged, repeated or out of order."""


class LaneExhausted(ProtocolError):
    """A lane has carried as many frames as one key may seal; the session needs a new lane."""


class LaneSealer:
    """Seals the frames of one direction of a lane.

    A key (:meth:`p2pal.crypto.keys.Master.lane_key`) serves one sealer.
    """

    __slots__ = ("_count", "_encrypt")

    def __init__(self, key: bytes) -> None:
        self._encrypt = _cipher(key).encrypt
        self._count = 0

    @property
    def count(self) -> int:
        """How many frames were sealed."""
        return self._count

    def seal(self, plaintext: bytes | bytearray | memoryview) -> bytes:
        """Return the frame sealed: as long as it was, and 16 bytes.

        Raises:
            LaneExhausted: After 2^32 frames.
        """
        count = self._count
        if count >= MAX_FRAMES:
            raise LaneExhausted("the lane has sealed as many frames as one key may")
        # First, so that even a call that fails uses its nonce up.
        self._count = count + 1
        return self._encrypt(count.to_bytes(_NONCE, "big"), plaintext, None)


class LaneOpener:
    """Opens the frames of one direction of a lane, in the order they were sealed in."""

    __slots__ = ("_count", "_dead", "_decrypt")

    def __init__(self, key: bytes) -> None:
        self._decrypt = _cipher(key).decrypt
        self._count = 0
        self._dead = False

    @property
    def count(self) -> int:
        """How many frames were opened."""
        return self._count

    def open(self, sealed: bytes | bytearray | memoryview) -> bytes:
        """Return the frame.

        Raises:
            BadSeal: If it is not the next frame of this lane; from then on nothing opens, the lane is dead.
            LaneExhausted: After 2^32 frames.
        """
        count = self._count
        if count >= MAX_FRAMES:
            raise LaneExhausted("the lane has opened as many frames as one key may seal")
        if self._dead:
            raise BadSeal("the lane ended with an earlier bad frame")
        try:
            plaintext = self._decrypt(count.to_bytes(_NONCE, "big"), sealed, None)
        except InvalidTag:
            self._dead = True
            raise BadSeal("a frame of the lane was forged, damaged or lost") from None
        self._count = count + 1
        return plaintext


class MailboxSealer:
    """Seals the messages of one mailbox log.

    Args:
        secret: What the key comes from.
        attempt: The attempt's number, 0 to 2^32 - 1.
        direction: Which log.
        first_index: The index of the first sealed message; the clear ones before it are the key exchange.
    """

    __slots__ = ("_attempt", "_direction", "_encrypt", "_next")

    def __init__(self, secret: MailboxSecret, attempt: int, direction: Direction, first_index: int) -> None:
        self._encrypt = _cipher(secret.mailbox_key(attempt, direction)).encrypt
        self._attempt = attempt
        self._direction = direction.value
        self._next = first_index

    def seal(self, plaintext: bytes) -> tuple[int, bytes]:
        """Return the message's index and the message sealed; a multiple of 256 bytes long.

        To send it again after a lost connection, keep these bytes: sealing again gives the next index.

        Raises:
            ProtocolError: After index 2^32 - 1.
        """
        index = self._next
        if index > MAX_INDEX:
            raise ProtocolError("the mailbox has no index left")
        self._next = index + 1
        padded = plaintext + _PAD + bytes(-(len(plaintext) + 1 + TAG_BYTES) % PADDED_TO)
        associated = _ASSOCIATED.pack(self._attempt, self._direction, index)
        return index, self._encrypt(index.to_bytes(_NONCE, "big"), padded, associated)


class MailboxOpener:
    """Opens the messages of one mailbox log, in order; arguments as for :class:`MailboxSealer`."""

    __slots__ = ("_attempt", "_decrypt", "_direction", "_next")

    def __init__(self, secret: MailboxSecret, attempt: int, direction: Direction, first_index: int) -> None:
        self._decrypt = _cipher(secret.mailbox_key(attempt, direction)).decrypt
        self._attempt = attempt
        self._direction = direction.value
        self._next = first_index

    def open(self, index: int, sealed: bytes) -> bytes:
        """Return the message. What does not open leaves the log where it was.

        Raises:
            BadSeal: If the index is not the next one, or the message is not what the peer sealed for it.
        """
        if index != self._next or index > MAX_INDEX:
            raise BadSeal("the server delivered a message out of order")
        if not sealed or len(sealed) % PADDED_TO:
            raise BadSeal("the server delivered a message of a wrong length")
        associated = _ASSOCIATED.pack(self._attempt, self._direction, index)
        try:
            padded = self._decrypt(index.to_bytes(_NONCE, "big"), sealed, associated)
        except InvalidTag:
            raise BadSeal("the server delivered a message that the other side did not seal") from None
        plaintext = padded.rstrip(b"\x00")
        if not plaintext.endswith(_PAD) or len(padded) - len(plaintext) >= PADDED_TO:
            raise BadSeal("the other side padded a message wrongly")
        self._next = index + 1
        return plaintext[:-1]

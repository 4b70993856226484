"""Every key of a session, and the label each is derived with.

All derivations are HKDF-SHA256 (RFC 5869, no salt, 32 bytes out). ``info`` is :func:`join_parts` of the protocol's
name, the label and the parameters below. Integers are big-endian; a direction is one byte, 0 to the receiver, 1 to the
sender.

============== =============== ================================== ==================================================
label          from            parameters                         gives
============== =============== ================================== ==================================================
``confirm``    PAKE key        role: ``sender`` or ``receiver``   the proof that this role has the key, sent in clear
``mailbox``    PAKE key        u32 attempt, u8 direction          AES-256-GCM key of one mailbox log
``master``     PAKE key                                           the session's master, never written to disk
``lane``       master          u32 lane, u8 direction, 16 bytes   AES-256-GCM key of one direction of one lane
``datagram``   master          u32 lane, u8 direction, 16 bytes   the same, of what a datagram lane sends about itself
``tag``        master          u32 lane, u8 direction, 16 bytes   the tag of its datagrams (8 of the 32 bytes)
``resume``     master                                             the resume key, kept beside both checkpoints
``rendezvous`` master          u32 n                              the id of the n-th rendezvous (16 of the 32 bytes)
``checkpoint`` resume key      16 bytes: the transfer id          the checkpoints' name (16 of the 32 bytes)
``reconnect``  master          u32 n, 16 bytes                    stands for the PAKE key at the n-th rendezvous
``transcript`` master                                             a public name of this session, for proofs to bind to
============== =============== ================================== ==================================================

The 16 bytes are drawn anew by whoever seals with the key and sent in clear before the first sealed byte, so that a
key, and with it a nonce, never returns, whatever a server or a reconnect repeats.
"""

from __future__ import annotations

import hmac
import struct
from base64 import b32encode
from enum import Enum
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PROTOCOL: Final = b"p2pal/1"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 16


class TransferEnd(Enum):
    """Which end of the transfer: the sender of the files leads."""

    SENDER = b"sender"
    RECEIVER = b"receiver"


class Direction(Enum):
    """Which way a mailbox log or one half of a lane flows."""

    TO_RECEIVER = 0
    TO_SENDER = 1


def join_parts(*parts: bytes) -> bytes:
    """Return the parts, each behind its length in two bytes: no two lists of parts give the same bytes.

    Raises:
        ValueError: If a part has more than 65,535 bytes.
    """
    if any(len(part) > 0xFFFF for part in parts):
        raise ValueError("a part is longer than 65,535 bytes")
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def _derive(key: bytes, label: bytes, *parameters: bytes) -> bytes:
    info = join_parts(PROTOCOL, label, *parameters)
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)


class _Secret:
    """32 secret bytes that stay out of logs and tracebacks."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("the key is not 32 bytes long")
        self._key = key

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class MailboxSecret(_Secret):
    """What the keys of one rendezvous' mailbox come from."""

    __slots__ = ()

    def mailbox_key(self, attempt: int, direction: Direction) -> bytes:
        """Return the key of one log. Each may serve one :class:`~p2pal.crypto.seal.MailboxSealer` only."""
        return _derive(self._key, b"mailbox", struct.pack(">I", attempt), struct.pack(">B", direction.value))


class SessionSecret(MailboxSecret):
    """The key that a key exchange gave to both sides; of one attempt."""

    __slots__ = ()

    def confirmation(self, role: TransferEnd) -> bytes:
        """Return the 32 bytes by which that role proves that it has this key."""
        return _derive(self._key, b"confirm", role.value)

    def master(self) -> Master:
        """Return the master of the session that this exchange opens."""
        return Master(_derive(self._key, b"master"))


class Master(_Secret):
    """What the keys of a session come from. It is never written to disk."""

    __slots__ = ()

    def lane_key(self, lane_id: int, direction: Direction, nonce16: bytes) -> bytes:
        """Return the key of one direction of a lane.

        Args:
            lane_id: The leader's number for the lane, 1 to 2^32 - 1; the peer accepts each once.
            direction: Which half of the lane.
            nonce16: The 16 random bytes that open this direction.

        Raises:
            ValueError: If ``nonce16`` is not 16 bytes long.
        """
        lane, way = struct.pack(">I", lane_id), struct.pack(">B", direction.value)
        return _derive(self._key, b"lane", lane, way, _nonce(nonce16))

    def datagram_key(self, lane_id: int, direction: Direction, nonce16: bytes) -> tuple[bytes, int]:
        """Return the key and the 64-bit tag of one direction of a datagram lane.

        The key seals what the lane says about itself; the session's frames have their own (:meth:`lane_key`).

        Args:
            lane_id: The leader's number for the lane, 1 to 2^32 - 1; the peer accepts each once.
            direction: Which half of the lane.
            nonce16: 16 random bytes that the sealing side told beforehand, in a sealed message.

        Raises:
            ValueError: If ``nonce16`` is not 16 bytes long.
        """
        parameters = struct.pack(">I", lane_id), struct.pack(">B", direction.value), _nonce(nonce16)
        tag = _derive(self._key, b"tag", *parameters)
        return _derive(self._key, b"datagram", *parameters), int.from_bytes(tag[:8], "big")

    def resume_key(self) -> bytes:
        """Return the 32 bytes that both sides keep to prove later that they began this transfer together."""
        return _derive(self._key, b"resume")

    def rendezvous_id(self, n: int) -> str:
        """Return the id under which both sides meet again for the n-th time: 26 characters of a-z and 2-7."""
        return _name(_derive(self._key, b"rendezvous", struct.pack(">I", n)))

    def reconnect(self, n: int, nonce16: bytes) -> MailboxSecret:
        """Return the secret for one side's log at the n-th rendezvous.

        Args:
            n: The same as for :meth:`rendezvous_id`.
            nonce16: 16 random bytes that open this log, in clear, at index 0: a server that forgot the rendezvous, or
                pretends so, then cannot make two messages share a key and a nonce.

        Raises:
            ValueError: If ``nonce16`` is not 16 bytes long.
        """
        return MailboxSecret(_derive(self._key, b"reconnect", struct.pack(">I", n), _nonce(nonce16)))

    def transcript(self) -> bytes:
        """Return the session's public name, 32 bytes: both sides have it, no other session does."""
        return _derive(self._key, b"transcript")


def checkpoint_id(resume_key: bytes, transfer_id: bytes) -> str:
    """Return the name that both sides give to their checkpoints of one transfer: 26 characters of a-z and 2-7.

    It hangs on the key as well: who only quotes a transfer's id gets another name, and touches nothing of the first.
    """
    return _name(_derive(resume_key, b"checkpoint", transfer_id))


def _name(derived: bytes) -> str:
    return b32encode(derived[:16]).decode("ascii").rstrip("=").lower()


def resume_proof(resume_key: bytes, role: TransferEnd, transcript: bytes) -> bytes:
    """Return HMAC-SHA256 by which a role proves, in a new session, that it holds an earlier one's resume key.

    Args:
        resume_key: :meth:`Master.resume_key` of the session in which the transfer was first accepted.
        role: Who proves. It is part of the proof, so one side's cannot be sent back as the other's.
        transcript: :meth:`Master.transcript` of the session that runs now, so a proof cannot be used twice.
    """
    return hmac.digest(resume_key, join_parts(PROTOCOL, b"resume-proof", role.value, transcript), "sha256")


def _nonce(nonce16: bytes) -> bytes:
    if len(nonce16) != NONCE_BYTES:
        raise ValueError("the nonce is not 16 bytes long")
    return nonce16

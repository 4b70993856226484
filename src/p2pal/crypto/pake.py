"""From the words to a key: SPAKE2 over Ed25519, then confirmation by both sides.

::

    sender                                  receiver
    SenderPake().element       ----->       ReceiverPake().answer(element)
    finish(element, confirm)   <-----         its element and its confirmation
    confirmation               ----->       verify(confirmation)

Until :meth:`SenderPake.finish` has verified the receiver's confirmation, the sender gives out nothing derived from the
key: whoever joins commits to one guess of the words and learns only whether it was right. The receiver answers first,
so whoever plays the sender can test one guess against it. An instance serves one attempt; its number, the rendezvous
and the role are part of the exchange, so messages of another attempt do not fit.

SPAKE2 as ``spake2`` on PyPI implements it (magic-wormhole's): M. Abdalla and D. Pointcheval, "Simple Password-Based
Encrypted Key Exchange Protocols" (CT-RSA 2005); messages and key schedule differ from RFC 9382.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from p2pal.crypto.keys import PROTOCOL, SessionSecret, TransferEnd, join_parts
from p2pal.errors import WrongCode

if TYPE_CHECKING:
    from spake2 import SPAKE2_A, SPAKE2_B

RandomBytes = Callable[[int], bytes]

ELEMENT_BYTES: Final = 33
_FIELD_PRIME: Final = 2**255 - 19
_Y_BITS: Final = 2**255 - 1


def load() -> None:
    """Import the library, which takes some 25 ms, while there is something to wait for."""
    import spake2  # noqa: F401


class SenderPake:
    """The sender's side of one attempt.

    Args:
        password: From :func:`p2pal.crypto.codes.password`.
        rendezvous_id: Where the two sides meet.
        attempt: The attempt's number there, 0 to 2^32 - 1.
        entropy: Returns so many random bytes; the operating system's by default.

    Attributes:
        element: The first message, 33 bytes.
    """

    __slots__ = ("_secret", "_spake", "element")

    def __init__(
        self, password: bytes, rendezvous_id: str, attempt: int, *, entropy: RandomBytes | None = None
    ) -> None:
        from spake2 import SPAKE2_A

        self._spake: SPAKE2_A | None = SPAKE2_A(password, **_arguments(rendezvous_id, attempt, entropy))
        self._secret: SessionSecret | None = None
        self.element: bytes = self._spake.start()

    def finish(self, element: bytes, confirmation: bytes) -> SessionSecret:
        """Take the receiver's answer, once.

        Raises:
            WrongCode: If the words differ, or the answer is anything but a right one; which, is not said.
            RuntimeError: If called again.
        """
        if self._spake is None:
            raise RuntimeError("an attempt is finished once")
        spake, self._spake = self._spake, None
        secret = _finish(spake, element, b"B")
        if not hmac.compare_digest(confirmation, secret.confirmation(TransferEnd.RECEIVER)):
            raise _wrong_code()
        self._secret = secret
        return secret

    @property
    def confirmation(self) -> bytes:
        """The sender's own proof, 32 bytes; there is none before the receiver's was verified.

        Raises:
            RuntimeError: If it was not.
        """
        if self._secret is None:
            raise RuntimeError("the receiver has not proved that it knows the words")
        return self._secret.confirmation(TransferEnd.SENDER)


class ReceiverPake:
    """The receiver's side of one attempt; arguments as for :class:`SenderPake`.

    A program makes one per command that a person typed, never in an automatic retry.
    """

    __slots__ = ("_secret", "_spake")

    def __init__(
        self, password: bytes, rendezvous_id: str, attempt: int, *, entropy: RandomBytes | None = None
    ) -> None:
        from spake2 import SPAKE2_B

        self._spake: SPAKE2_B | None = SPAKE2_B(password, **_arguments(rendezvous_id, attempt, entropy))
        self._secret: SessionSecret | None = None

    def answer(self, element: bytes) -> tuple[bytes, bytes]:
        """Take the sender's element, once, and return this side's element and confirmation.

        Raises:
            WrongCode: If it is not a valid element.
            RuntimeError: If called again.
        """
        if self._spake is None:
            raise RuntimeError("an attempt is answered once")
        spake, self._spake = self._spake, None
        own: bytes = spake.start()
        self._secret = _finish(spake, element, b"A")
        return own, self._secret.confirmation(TransferEnd.RECEIVER)

    def verify(self, confirmation: bytes) -> SessionSecret:
        """Take the sender's confirmation, once.

        Raises:
            WrongCode: If the words differ.
            RuntimeError: If there was no successful :meth:`answer`, or if called again.
        """
        if self._secret is None:
            raise RuntimeError("an attempt is verified once, after the answer")
        secret, self._secret = self._secret, None
        if not hmac.compare_digest(confirmation, secret.confirmation(TransferEnd.SENDER)):
            raise _wrong_code()
        return secret


def identity(rendezvous_id: str, attempt: int, role: TransferEnd) -> bytes:
    """Return what names one side in the exchange (idA, idB)."""
    return join_parts(PROTOCOL, rendezvous_id.encode(), struct.pack(">I", attempt), role.value)


def _arguments(rendezvous_id: str, attempt: int, entropy: RandomBytes | None) -> dict[str, object]:
    arguments: dict[str, object] = {
        "idA": identity(rendezvous_id, attempt, TransferEnd.SENDER),
        "idB": identity(rendezvous_id, attempt, TransferEnd.RECEIVER),
    }
    return arguments if entropy is None else {**arguments, "entropy_f": entropy}


def _finish(spake: SPAKE2_A | SPAKE2_B, element: bytes, side: bytes) -> SessionSecret:
    if len(element) != ELEMENT_BYTES or element[:1] != side or not _is_canonical(element[1:]):
        raise _wrong_code()
    try:
        return SessionSecret(spake.finish(element))
    except Exception:  # noqa: BLE001 - off the curve, wrong group, reflected: the library has no common base
        raise _wrong_code() from None


def _is_canonical(point: bytes) -> bool:
    """Return whether the point is encoded in the one right way and is not the neutral element.

    The library refuses the neutral element and points outside the group, but lets other spellings of the neutral
    element through: y + p for y, or a sign bit where x is 0.
    """
    y = int.from_bytes(point, "little") & _Y_BITS
    return 1 < y < _FIELD_PRIME


def _wrong_code() -> WrongCode:
    return WrongCode("the key exchange failed: the two sides have different words")

"""The two sealed logs of one attempt: the one in which the code was used, or one where the peers meet again.

At a meeting place each side's log begins with 16 random bytes, in clear, from which its key comes
(:meth:`p2pal.crypto.keys.Master.reconnect`). The server may play back an earlier log of the other side, and its key
would fit; so the first sealed message quotes the bytes with which *our* log begins (:class:`~p2pal.wire.signal.Fresh`),
and nothing is believed before it came. Nobody can have sealed these before.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import Final, Self

from p2pal.crypto.keys import NONCE_BYTES, Direction, Master
from p2pal.crypto.seal import BadSeal, MailboxOpener, MailboxSealer
from p2pal.errors import ProtocolError
from p2pal.peer.key_exchange import Introduction
from p2pal.wire.signal import Fresh, SignalMessage, decode_signal, encode

MEETING: Final = 1
"""The number of the one meeting place of a session; the logs' own random bytes keep its keys apart."""


class Conversation:
    """Seals and opens the messages of one attempt, in order.

    Attributes:
        attempt: Its number.
        fresh: Whether what comes is the other side's, and is said now.
    """

    __slots__ = ("_bodies", "_inward", "_master", "_nonce", "_opener", "_sealer", "attempt", "fresh")

    def __init__(self, master: Master, attempt: int, nonce: bytes, *, sender: bool) -> None:
        """Begin at a meeting place.

        Args:
            master: The session's.
            attempt: The attempt's number.
            nonce: 16 random bytes, used for nothing else.
            sender: Which side this is.
        """
        ours, theirs = Direction.TO_RECEIVER, Direction.TO_SENDER
        if not sender:
            ours, theirs = theirs, ours
        self.attempt = attempt
        self.fresh = False
        self._master = master
        self._nonce = nonce
        self._inward = theirs
        self._sealer = MailboxSealer(master.reconnect(MEETING, nonce), attempt, ours, 1)
        self._opener: MailboxOpener | None = None
        self._bodies = [nonce]

    @classmethod
    def of(cls, introduction: Introduction) -> Self:
        """Go on where the code was used: there the key exchange made everything fresh."""
        conversation = cls.__new__(cls)
        conversation.attempt = introduction.attempt
        conversation.fresh = True
        conversation._sealer = introduction.sealer
        conversation._opener = introduction.opener
        conversation._bodies = []
        return conversation

    def say(self, message: SignalMessage) -> None:
        """Seal a message.

        Raises:
            ProtocolError: If no index is left.
        """
        self._bodies.append(self._sealer.seal(encode(message))[1])

    def bodies(self) -> Iterator[bytes]:
        """Drain what is to be appended to our log, in order."""
        while self._bodies:
            yield self._bodies.pop(0)

    def hear(self, index: int, body: bytes) -> SignalMessage | None:
        """Return what the other side said, or None if it was about this conversation only.

        Raises:
            BadSeal: If it is not the other side's, or not the next, or not said now.
            ProtocolError: If the other side says what makes no sense.
        """
        if self._opener is None:
            if index != 0 or len(body) != NONCE_BYTES:
                raise BadSeal("the other side's log began the wrong way")
            self._opener = MailboxOpener(self._master.reconnect(MEETING, body), self.attempt, self._inward, 1)
            self.say(Fresh(body))
            return None
        message = decode_signal(self._opener.open(index, body))
        if not self.fresh:
            if not isinstance(message, Fresh) or not hmac.compare_digest(message.nonce, self._nonce):
                raise BadSeal("the server played back what the other side said before")
            self.fresh = True
            return None
        if isinstance(message, Fresh):
            raise ProtocolError("the other side began twice")
        return message

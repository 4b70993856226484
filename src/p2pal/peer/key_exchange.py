"""From a join code to a shared secret: SPAKE2 through the mailbox, in the order that gives nothing away.

The sender speaks first, with its element. The receiver answers with its element *and* its proof. Only if the proof is
right does the sender send its own proof, accept the attempt at the server and begin to seal; until then it has sent
nothing that depends on the key, so a stranger has nothing to test guesses against. Every wrong proof is one failed
guess; after :data:`MAX_GUESSES` over the life of the words the transfer closes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from p2pal.crypto.keys import Direction, SessionSecret
from p2pal.crypto.pake import ReceiverPake, SenderPake
from p2pal.crypto.seal import MailboxOpener, MailboxSealer
from p2pal.errors import CodeExpired, CodeUnknown, P2palError, PeerLost, ProtocolError, VersionMismatch, WrongCode
from p2pal.rendezvous.events import AttemptReleased, AttemptServed, PeerMessage, StateReported
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.wire.signal import PakeAnswer, PakeConfirm, PakeElement, PakeReject, decode_pake, encode

MAX_GUESSES: Final = 3

_SENDER_FIRST_SEALED: Final = 2
_RECEIVER_FIRST_SEALED: Final = 1

GuessReason = Literal["wrong-code", "version"]


class Guesses:
    """How many failed guesses the words have left, whatever slot, server or success lies between."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_GUESSES

    def failed(self) -> bool:
        """Count one failed guess; return whether it was the last."""
        self.left -= 1
        return self.left <= 0


@dataclass(frozen=True, slots=True)
class Introduction:
    """Both sides proved that they know the words: what the rest of the session builds on."""

    secret: SessionSecret
    attempt: int
    mailbox: Mailbox
    sealer: MailboxSealer
    opener: MailboxOpener


def _introduction(secret: SessionSecret, attempt: int, mailbox: Mailbox, *, sender: bool) -> Introduction:
    sealed_from = {Direction.TO_RECEIVER: _SENDER_FIRST_SEALED, Direction.TO_SENDER: _RECEIVER_FIRST_SEALED}
    ours = Direction.TO_RECEIVER if sender else Direction.TO_SENDER
    theirs = Direction.TO_SENDER if sender else Direction.TO_RECEIVER
    return Introduction(
        secret,
        attempt,
        mailbox,
        MailboxSealer(secret, attempt, ours, sealed_from[ours]),
        MailboxOpener(secret, attempt, theirs, sealed_from[theirs]),
    )


async def meet_receiver(
    mailbox: Mailbox,
    password: bytes,
    rendezvous_id: str,
    guesses: Guesses,
    on_failed: Callable[[GuessReason, int], None],
) -> Introduction:
    """Serve attempts one after another until one knows the words (the sender's side).

    Args:
        mailbox: The sender's mailbox, running.
        password: The words, as the key exchange takes them.
        rendezvous_id: The server's name for the transfer.
        guesses: The count of failed guesses.
        on_failed: Hears of each attempt that failed, and how many guesses are left.

    Raises:
        WrongCode: After the last failed guess.
        CodeExpired: When the transfer is over.
        ServerRefused: When the mailbox ended; why, its own error tells: expired, aborted, unreachable.
    """
    pake: SenderPake | None = None
    attempt = 0
    while True:
        event = await mailbox.get()
        if isinstance(event, AttemptServed):
            attempt = event.attempt
            pake = SenderPake(password, rendezvous_id, attempt)
            mailbox.append(attempt, encode(PakeElement(pake.element)))
        elif isinstance(event, AttemptReleased) and event.attempt == attempt:
            pake = None
        elif isinstance(event, StateReported) and event.state == "completed":
            raise CodeExpired("the transfer is over")
        elif isinstance(event, PeerMessage) and event.attempt == attempt and pake is not None and event.index == 0:
            tried, pake = pake, None
            secret = _check_answer(tried, event.body, mailbox, attempt, guesses, on_failed)
            if secret is None:
                continue
            mailbox.accept(attempt)
            mailbox.append(attempt, encode(PakeConfirm(tried.confirmation)))
            return _introduction(secret, attempt, mailbox, sender=True)


def _check_answer(
    pake: SenderPake,
    body: bytes,
    mailbox: Mailbox,
    attempt: int,
    guesses: Guesses,
    on_failed: Callable[[GuessReason, int], None],
) -> SessionSecret | None:
    try:
        answer = decode_pake(body)
        if isinstance(answer, PakeReject) and answer.reason == "version":
            raise VersionMismatch("the other side speaks another version of the protocol")
        if not isinstance(answer, PakeAnswer):
            raise ProtocolError("the other side broke the order of the key exchange")
        return pake.finish(answer.element, answer.confirmation)
    except VersionMismatch:
        # Nothing was guessed, and anyone can claim to be of another version: the transfer goes on waiting.
        mailbox.append(attempt, encode(PakeReject("version")))
        mailbox.release(attempt, "version")
        on_failed("version", guesses.left)
        return None
    except (WrongCode, ProtocolError):
        last = guesses.failed()
        mailbox.append(attempt, encode(PakeReject("closed" if last else "wrong-code")))
        mailbox.release(attempt, "wrong-code")
        on_failed("wrong-code", guesses.left)
        if last:
            message = f"{MAX_GUESSES} attempts with a wrong code; the transfer is closed"
            raise WrongCode(message, hint="send again to get a new code, and pass it on safely") from None
        return None


async def meet_sender(mailbox: Mailbox, password: bytes, rendezvous_id: str, attempt: int) -> Introduction:
    """Prove to the sender that we know the words, and have it prove the same (the receiver's side).

    Runs once for each command that a person typed: a retry would be a guess.

    Raises:
        WrongCode: If the words differ.
        VersionMismatch: If the sender speaks another version of the protocol.
        CodeExpired: When the transfer ended while we waited.
        ServerRefused: When the mailbox ended; why, its own error tells: expired, aborted, unreachable.
        CodeUnknown: When someone else has joined before.
        PeerLost: When this attempt was let go for another reason.
    """
    pake = ReceiverPake(password, rendezvous_id, attempt)
    answered = False
    while True:
        event = await mailbox.get()
        if isinstance(event, AttemptReleased):
            raise _let_go(event.reason)
        if isinstance(event, StateReported) and event.state == "completed":
            raise CodeExpired("the transfer is over")
        if not isinstance(event, PeerMessage):
            continue
        try:
            message = decode_pake(event.body)
        except VersionMismatch:
            mailbox.append(attempt, encode(PakeReject("version")))
            raise
        if isinstance(message, PakeReject):
            if message.reason == "version":
                raise VersionMismatch("the other side speaks another version of the protocol")
            raise _wrong(last=message.reason == "closed")
        if isinstance(message, PakeElement) and event.index == 0 and not answered:
            element, confirmation = pake.answer(message.element)
            mailbox.append(attempt, encode(PakeAnswer(element, confirmation)))
            answered = True
        elif isinstance(message, PakeConfirm) and event.index == 1 and answered:
            secret = pake.verify(message.confirmation)
            return _introduction(secret, attempt, mailbox, sender=False)
        else:
            raise ProtocolError("the other side broke the order of the key exchange")


def _wrong(*, last: bool) -> WrongCode:
    """The error for a guess that failed; after the ``last`` one the transfer is closed."""
    if last:
        return WrongCode(
            "the code is wrong, and was the last try; the transfer is closed", hint="ask the sender for a new code"
        )
    return WrongCode("the code is wrong")


def _let_go(reason: str) -> P2palError:
    """What an attempt's release means to its receiver."""
    match reason:
        case "wrong-code":
            return _wrong(last=False)
        case "version":
            return VersionMismatch("the other side speaks another version of the protocol")
        case "busy":
            return CodeUnknown("someone else has joined with this code", hint="ask the sender for a new code")
        case "over":
            return CodeExpired("the transfer is over")
        case _:
            return PeerLost("the sender did not go on with this attempt", hint="try the same code again")

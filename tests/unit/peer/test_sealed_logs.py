"""Logs at a meeting place: only what is said now, by the other side, is believed."""

from __future__ import annotations

import pytest

from p2pal.crypto.keys import Direction, SessionSecret
from p2pal.crypto.seal import BadSeal, MailboxOpener, MailboxSealer
from p2pal.errors import ProtocolError
from p2pal.peer.key_exchange import Introduction
from p2pal.peer.sealed_logs import Conversation
from p2pal.wire.signal import Bye, Fresh, Hello, Retry, encode

SECRET = SessionSecret(bytes(range(32)))
MASTER = SECRET.master()


def nonce(letter: str) -> bytes:
    return letter.encode() * 16


class Logs:
    """A sender and a receiver that meet, and what each has appended."""

    def __init__(self, attempt: int = 1, sender: str = "s", receiver: str = "r") -> None:
        self.sender = Conversation(MASTER, attempt, nonce(sender), sender=True)
        self.receiver = Conversation(MASTER, attempt, nonce(receiver), sender=False)
        self.of_sender: list[bytes] = []
        self.of_receiver: list[bytes] = []

    def turn(self) -> list[object]:
        """Each hears all that the other said; return what was of use."""
        heard: list[object] = []
        for speaker, listener, log in (
            (self.sender, self.receiver, self.of_sender),
            (self.receiver, self.sender, self.of_receiver),
        ):
            for body in speaker.bodies():
                log.append(body)
                heard.append(listener.hear(len(log) - 1, body))
        return [message for message in heard if message is not None]

    def meet(self) -> Logs:
        for _ in range(3):
            assert self.turn() == []
        assert self.sender.fresh
        assert self.receiver.fresh
        return self


def test_both_sides_become_sure_of_each_other_and_talk() -> None:
    logs = Logs()
    assert not logs.sender.fresh
    logs.meet()
    logs.sender.say(Bye("one"))
    logs.receiver.say(Retry(3))
    assert logs.turn() == [Bye("one"), Retry(3)]
    assert logs.of_sender[0] == nonce("s")
    assert len(logs.of_sender) == 3


def test_only_the_opening_is_clear() -> None:
    logs = Logs().meet()
    logs.sender.say(Bye("zebra"))
    logs.turn()
    assert not any(b"zebra" in body or nonce("r") in body for body in logs.of_sender[1:])


@pytest.mark.parametrize("body", [b"", bytes(15), bytes(17), encode(Fresh(bytes(16)))])
def test_a_log_that_begins_otherwise_is_refused(body: bytes) -> None:
    with pytest.raises(BadSeal):
        Logs().sender.hear(0, body)
    with pytest.raises(BadSeal):
        Logs().sender.hear(1, nonce("r"))


def test_an_earlier_log_played_back_is_refused() -> None:
    old = Logs().meet()
    old.receiver.say(Bye("go away"))
    old.turn()
    now = Logs(sender="n")
    assert now.sender.hear(0, old.of_receiver[0]) is None
    with pytest.raises(BadSeal, match="played back"):
        now.sender.hear(1, old.of_receiver[1])
    assert not now.sender.fresh


def test_a_log_of_another_attempt_or_direction_is_refused() -> None:
    other = Logs(attempt=2).meet()
    now = Logs()
    now.sender.hear(0, other.of_receiver[0])
    with pytest.raises(BadSeal):
        now.sender.hear(1, other.of_receiver[1])
    mirrored = Logs()
    own = list(mirrored.sender.bodies())
    mirrored.sender.hear(0, own[0])
    own += mirrored.sender.bodies()
    with pytest.raises(BadSeal):
        mirrored.sender.hear(1, own[1])


def test_what_is_said_before_the_proof_is_refused() -> None:
    logs = Logs()
    theirs = MailboxSealer(MASTER.reconnect(1, nonce("r")), 1, Direction.TO_SENDER, 1)
    logs.sender.hear(0, nonce("r"))
    with pytest.raises(BadSeal):
        logs.sender.hear(*theirs.seal(encode(Bye("at once"))))


def test_a_proof_that_comes_twice_is_a_protocol_error() -> None:
    logs = Logs().meet()
    logs.receiver.say(Fresh(nonce("s")))
    with pytest.raises(ProtocolError, match="twice"):
        logs.turn()


def test_a_skipped_message_is_refused() -> None:
    logs = Logs().meet()
    logs.sender.say(Bye("one"))
    logs.sender.say(Bye("two"))
    _, second = logs.sender.bodies()
    with pytest.raises(BadSeal):
        logs.receiver.hear(3, second)


def test_where_the_code_was_used_everything_is_fresh() -> None:
    theirs = MailboxSealer(SECRET, 7, Direction.TO_SENDER, 1)
    ours = MailboxSealer(SECRET, 7, Direction.TO_RECEIVER, 2)
    introduction = Introduction(SECRET, 7, None, ours, MailboxOpener(SECRET, 7, Direction.TO_SENDER, 1))  # type: ignore[arg-type]
    conversation = Conversation.of(introduction)
    assert conversation.fresh
    assert conversation.attempt == 7
    assert conversation.hear(*theirs.seal(encode(Hello(2048, 1 << 20)))) == Hello(2048, 1 << 20)
    conversation.say(Bye("done"))
    assert MailboxOpener(SECRET, 7, Direction.TO_RECEIVER, 2).open(2, next(conversation.bodies())) == encode(
        Bye("done")
    )

from __future__ import annotations

import pytest

from p2pal.crypto.keys import TransferEnd
from p2pal.crypto.pake import ReceiverPake, SenderPake, identity
from p2pal.errors import WrongCode

WORDS = b"zebra-luna"


def test_the_same_words_give_both_sides_the_same_key() -> None:
    sender, receiver = SenderPake(WORDS, "r", 1), ReceiverPake(WORDS, "r", 1)
    element, confirmation = receiver.answer(sender.element)
    assert len(sender.element) == len(element) == 33
    assert len(confirmation) == 32
    at_sender = sender.finish(element, confirmation)
    at_receiver = receiver.verify(sender.confirmation)
    assert at_sender._key == at_receiver._key


def test_every_exchange_gives_another_key() -> None:
    keys = set()
    for _ in range(3):
        sender, receiver = SenderPake(WORDS, "r", 1), ReceiverPake(WORDS, "r", 1)
        keys.add(sender.finish(*receiver.answer(sender.element))._key)
    assert len(keys) == 3


def test_the_entropy_given_is_the_entropy_used() -> None:
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return bytes([len(asked)]) * size

    first = SenderPake(WORDS, "r", 1, entropy=entropy).element
    asked.clear()
    assert SenderPake(WORDS, "r", 1, entropy=entropy).element == first
    assert SenderPake(WORDS, "r", 1, entropy=entropy).element != first
    assert asked == [64, 64]


def test_the_receiver_draws_from_its_own_entropy() -> None:
    element = SenderPake(WORDS, "r", 1).element
    answers = {ReceiverPake(WORDS, "r", 1, entropy=lambda size: b"7" * size).answer(element)[0] for _ in range(2)}
    assert len(answers) == 1


def test_an_instance_serves_one_exchange() -> None:
    sender, receiver = SenderPake(WORDS, "r", 1), ReceiverPake(WORDS, "r", 1)
    answer = receiver.answer(sender.element)
    with pytest.raises(RuntimeError):
        receiver.answer(sender.element)
    sender.finish(*answer)
    with pytest.raises(RuntimeError):
        sender.finish(*answer)
    receiver.verify(sender.confirmation)
    with pytest.raises(RuntimeError):
        receiver.verify(sender.confirmation)


def test_nothing_is_verified_before_the_answer() -> None:
    with pytest.raises(RuntimeError):
        ReceiverPake(WORDS, "r", 1).verify(bytes(32))


def test_the_sender_has_no_confirmation_before_the_receivers_was_right() -> None:
    sender = SenderPake(WORDS, "r", 1)
    with pytest.raises(RuntimeError):
        _ = sender.confirmation
    element, _ = ReceiverPake(WORDS, "r", 1).answer(sender.element)
    with pytest.raises(WrongCode):
        sender.finish(element, bytes(32))
    with pytest.raises(RuntimeError):
        _ = sender.confirmation


def test_repr_shows_no_secret() -> None:
    sender = SenderPake(WORDS, "r", 1)
    assert "zebra" not in repr(sender)
    assert "zebra" not in repr(ReceiverPake(WORDS, "r", 1))


def test_identities_differ_in_every_part() -> None:
    listed = [
        identity(rendezvous, attempt, role)
        for rendezvous in ("r", "r1", "r\x001", "", "r\x00\x00\x00\x01")
        for attempt in (1, 11, 256)
        for role in TransferEnd
    ]
    assert len(set(listed)) == len(listed)
    assert listed[0] == b"\x00\x07p2pal/1\x00\x01r\x00\x04\x00\x00\x00\x01\x00\x06sender"

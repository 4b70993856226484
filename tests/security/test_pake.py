"""Attacks on the key exchange: wrong words, invalid and reflected elements, replays, a server in the middle."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from spake2.ed25519_basic import bytes_to_element, bytes_to_unknown_group_element

from p2pal.crypto.pake import ReceiverPake, SenderPake
from p2pal.errors import WrongCode

WORDS = b"zebra-luna"
PRIME = 2**255 - 19
ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")


def point(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


def good_point() -> bytes:
    return SenderPake(b"other", "r", 1).element[1:]


INVALID_POINTS = {
    "neutral": point(1),
    "neutral, sign bit": point(1, 1),
    "neutral, not reduced": point(PRIME + 1),
    "neutral, not reduced, sign bit": point(PRIME + 1, 1),
    "order 2": point(PRIME - 1),
    "order 2, sign bit": point(PRIME - 1, 1),
    "order 4": point(0),
    "order 4, other": point(0, 1),
    "order 4, not reduced": point(PRIME),
    "order 8": ORDER_8,
    "mixed order": bytes_to_element(good_point()).add(bytes_to_unknown_group_element(ORDER_8)).to_bytes(),
    "off the curve": point(2),
    "all ones": b"\xff" * 32,
}


@pytest.mark.parametrize("invalid", INVALID_POINTS.values(), ids=INVALID_POINTS.keys())
def test_invalid_points_are_failed_guesses(invalid: bytes) -> None:
    with pytest.raises(WrongCode):
        ReceiverPake(WORDS, "r", 1).answer(b"A" + invalid)
    with pytest.raises(WrongCode):
        SenderPake(WORDS, "r", 1).finish(b"B" + invalid, bytes(32))


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"A", id="only the side"),
        pytest.param(b"A" + good_point()[:-1], id="truncated"),
        pytest.param(b"A" + good_point() + b"\x00", id="too long"),
        pytest.param(good_point() + b"A", id="side at the end"),
        pytest.param(b"S" + good_point(), id="symmetric side"),
        pytest.param(b"\x00" + good_point(), id="no side"),
        pytest.param(bytes(1_000_000), id="huge"),
    ],
)
def test_malformed_elements_are_failed_guesses(broken: bytes) -> None:
    with pytest.raises(WrongCode):
        ReceiverPake(WORDS, "r", 1).answer(broken)
    with pytest.raises(WrongCode):
        SenderPake(WORDS, "r", 1).finish(broken.replace(b"A", b"B", 1), bytes(32))


def test_a_senders_element_sent_back_to_it_is_refused() -> None:
    for side in (b"A", b"B"):
        sender = SenderPake(WORDS, "r", 1)
        with pytest.raises(WrongCode):
            sender.finish(side + sender.element[1:], bytes(32))


def test_a_receiver_is_not_answered_with_a_receivers_element() -> None:
    element, _ = ReceiverPake(WORDS, "r", 1).answer(SenderPake(WORDS, "r", 1).element)
    with pytest.raises(WrongCode):
        ReceiverPake(WORDS, "r", 1).answer(element)


def test_wrong_words_fail_at_the_sender_before_it_shows_anything() -> None:
    sender = SenderPake(WORDS, "r", 1)
    answer = ReceiverPake(b"zebra-lunch", "r", 1).answer(sender.element)
    with pytest.raises(WrongCode):
        sender.finish(*answer)
    with pytest.raises(RuntimeError):
        _ = sender.confirmation


def test_a_sender_with_wrong_words_fails_at_the_receiver() -> None:
    sender, receiver = SenderPake(b"zebra-lunch", "r", 1), ReceiverPake(WORDS, "r", 1)
    _, confirmation = receiver.answer(sender.element)
    # The best a false sender can do is send back what it was given: roles are part of the confirmation.
    with pytest.raises(WrongCode):
        receiver.verify(confirmation)
    with pytest.raises(RuntimeError):
        receiver.verify(confirmation)


@pytest.mark.parametrize("change", [b"", bytes(31), bytes(32), bytes(33), bytes(100_000)])
def test_forged_confirmations_are_failed_guesses(change: bytes) -> None:
    sender, receiver = SenderPake(WORDS, "r", 1), ReceiverPake(WORDS, "r", 1)
    element, _ = receiver.answer(sender.element)
    with pytest.raises(WrongCode):
        sender.finish(element, change)
    with pytest.raises(WrongCode):
        receiver.verify(change)


def test_a_truncated_or_flipped_confirmation_is_a_failed_guess() -> None:
    spoils: list[Callable[[bytes], bytes]] = [
        lambda right: right[:-1],
        lambda right: right + b"\x00",
        lambda right: bytes([right[0] ^ 1]) + right[1:],
    ]
    for spoil in spoils:
        sender, receiver = SenderPake(WORDS, "r", 1), ReceiverPake(WORDS, "r", 1)
        element, confirmation = receiver.answer(sender.element)
        with pytest.raises(WrongCode):
            sender.finish(element, spoil(confirmation))


def test_a_failed_attempt_cannot_be_tried_again() -> None:
    sender, receiver = SenderPake(WORDS, "r", 1), ReceiverPake(WORDS, "r", 1)
    element, confirmation = receiver.answer(sender.element)
    with pytest.raises(WrongCode):
        sender.finish(element, bytes(32))
    with pytest.raises(RuntimeError):
        sender.finish(element, confirmation)


def test_another_sides_answer_is_of_no_use_in_the_next_attempt() -> None:
    first, receiver = SenderPake(WORDS, "r", 1), ReceiverPake(WORDS, "r", 1)
    answer = receiver.answer(first.element)
    with pytest.raises(WrongCode):
        SenderPake(WORDS, "r", 1).finish(*answer)


@pytest.mark.parametrize(("rendezvous", "attempt"), [("r", 2), ("s", 1), ("r1", 1)])
def test_a_server_cannot_pair_different_attempts_or_rendezvous(rendezvous: str, attempt: int) -> None:
    sender, receiver = SenderPake(WORDS, "r", 1), ReceiverPake(WORDS, rendezvous, attempt)
    answer = receiver.answer(sender.element)
    with pytest.raises(WrongCode):
        sender.finish(*answer)


def test_a_server_in_the_middle_without_the_words_fails_on_both_sides() -> None:
    sender, receiver = SenderPake(WORDS, "r", 1), ReceiverPake(WORDS, "r", 1)
    false_receiver, false_sender = ReceiverPake(b"guess-one", "r", 1), SenderPake(b"guess-two", "r", 1)
    answer = receiver.answer(false_sender.element)
    with pytest.raises(WrongCode):
        false_sender.finish(*answer)
    with pytest.raises(WrongCode):
        sender.finish(*false_receiver.answer(sender.element))
    with pytest.raises(WrongCode):
        receiver.verify(answer[1])


def test_errors_say_nothing_about_the_words_or_the_cause() -> None:
    messages = set()
    for element in (b"", b"B" + INVALID_POINTS["off the curve"], b"B" + INVALID_POINTS["order 8"], b"B" + good_point()):
        with pytest.raises(WrongCode) as caught:
            SenderPake(WORDS, "r", 1).finish(element, bytes(32))
        messages.add(str(caught.value))
        assert caught.value.__cause__ is None
    assert len(messages) == 1
    assert "zebra" not in messages.pop()

"""The key exchange through a real server: who learns what, in which order, and what a wrong guess costs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.unit.peer.kit import WORDS, Rendezvous, introduce, rendezvous

from p2pal.crypto.keys import Direction
from p2pal.crypto.pake import ReceiverPake, SenderPake
from p2pal.errors import (
    CodeExpired,
    CodeUnknown,
    P2palError,
    PeerLost,
    ProtocolError,
    ServerRefused,
    VersionMismatch,
    WrongCode,
)
from p2pal.peer.key_exchange import MAX_GUESSES, Guesses, meet_sender
from p2pal.rendezvous.events import AttemptServed, PeerMessage
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.wire.signal import PakeAnswer, PakeConfirm, PakeElement, PakeReject, decode_pake, encode

NONCE = bytes(16)


async def test_both_sides_get_the_same_secret_and_working_seals() -> None:
    async with rendezvous() as place:
        sender, receiver = await introduce(place)
        for way in Direction:
            assert sender.secret.master().lane_key(1, way, NONCE) == receiver.secret.master().lane_key(1, way, NONCE)
        for one, other in ((sender, receiver), (receiver, sender)):
            for text in (b"first", b"second"):
                assert other.opener.open(*one.sealer.seal(text)) == text
        assert place.failed == []
        assert place.guesses.left == MAX_GUESSES


async def test_sealed_messages_travel_through_the_same_mailbox() -> None:
    async with rendezvous() as place:
        sender, receiver = await introduce(place)
        for one, other in ((sender, receiver), (receiver, sender)):
            index, sealed = one.sealer.seal(b"hello")
            assert one.mailbox.append(one.attempt, sealed) == index
            while not isinstance(event := await other.mailbox.get(), PeerMessage):
                pass
            assert other.opener.open(event.index, event.body) == b"hello"


@pytest.mark.parametrize("wrong", [1, 2])
async def test_the_right_words_work_after_wrong_ones(wrong: int) -> None:
    async with rendezvous() as place:
        serving = place.serve()
        for _ in range(wrong):
            with pytest.raises(WrongCode):
                await place.guess(b"other words")
        receiver = await place.guess()
        sender = await serving
        assert sender.attempt == receiver.attempt == wrong + 1
        assert place.failed == [("wrong-code", 2), ("wrong-code", 1)][:wrong]


async def test_three_wrong_guesses_close_the_transfer() -> None:
    async with rendezvous() as place:
        serving = place.serve()
        for _ in range(MAX_GUESSES):
            with pytest.raises(WrongCode):
                await place.guess(b"other words")
        with pytest.raises(WrongCode, match="3 attempts with a wrong code"):
            await serving
        assert [left for _, left in place.failed] == [2, 1, 0]


async def test_only_the_last_guess_hears_that_the_transfer_is_closed() -> None:
    async with rendezvous() as place:
        serving = place.serve()
        hints = []
        for _ in range(MAX_GUESSES):
            with pytest.raises(WrongCode) as caught:
                await place.guess(b"other words")
            hints.append((caught.value.message, caught.value.hint))
        again = ("the code is wrong", "check the words of the code and try again")
        closed = ("the code is wrong, and was the last try; the transfer is closed", "ask the sender for a new code")
        assert hints == [again, again, closed]
        with pytest.raises(WrongCode):
            await serving


async def test_the_sender_says_nothing_that_helps_to_guess() -> None:
    async with rendezvous() as place:
        place.serve()
        mailbox, attempt = await place.join()
        heard = [decode_pake((await message(mailbox)).body)]
        element, confirmation = ReceiverPake(b"other words", place.id, attempt).answer(_element(heard[0]).element)
        mailbox.append(attempt, encode(PakeAnswer(element, confirmation)))
        heard.append(decode_pake((await message(mailbox)).body))
        assert isinstance(heard[0], PakeElement)
        assert heard[1:] == [PakeReject("wrong-code")]
        with pytest.raises(ServerRefused):  # and then the attempt is over
            await message(mailbox)


async def message(mailbox: Mailbox) -> PeerMessage:
    while not isinstance(event := await mailbox.get(), PeerMessage):
        pass
    return event


def _element(heard: object) -> PakeElement:
    assert isinstance(heard, PakeElement)
    return heard


CONFIRM = encode(PakeConfirm(bytes(32)))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense",
        CONFIRM,
        encode(PakeElement(bytes(33))),
        encode(PakeAnswer(bytes(33), bytes(32))),
        encode(PakeAnswer(b"S" + bytes(32), bytes(32))),
        encode(PakeReject("wrong-code")),
    ],
)
async def test_an_answer_that_is_none_is_a_failed_guess(answer: bytes) -> None:
    async with rendezvous() as place:
        serving = place.serve()
        mailbox, attempt = await place.join()
        await message(mailbox)
        mailbox.append(attempt, answer)
        assert decode_pake((await message(mailbox)).body) == PakeReject("wrong-code")
        assert place.failed == [("wrong-code", 2)]
        await place.guess()
        await serving


async def test_a_receiver_of_another_version_costs_no_guess() -> None:
    async with rendezvous() as place:
        serving = place.serve()
        for answer in (PakeReject("version", version=2), PakeAnswer(bytes(33), bytes(32), version=2)):
            mailbox, attempt = await place.join()
            await message(mailbox)
            mailbox.append(attempt, encode(answer))
            assert decode_pake((await message(mailbox)).body) == PakeReject("version")
        assert place.failed == [("version", MAX_GUESSES)] * 2
        await place.guess()
        await serving


async def test_a_receiver_that_leaves_costs_no_guess() -> None:
    async with rendezvous() as place:
        serving = place.serve()
        mailbox, _ = await place.join()
        await message(mailbox)
        mailbox.leave()
        await place.guess()
        assert (await serving).attempt == 2
        assert place.failed == []


Acting = Callable[[Rendezvous, int], Awaitable[Any]]


async def against(act: Acting) -> P2palError:
    """Run a receiver against a sender that does ``act`` once it is served; return how the receiver ended."""
    async with rendezvous() as place:
        mailbox, attempt = await place.join()
        meeting = asyncio.create_task(meet_sender(mailbox, WORDS, place.id, attempt))
        while not isinstance(await place.sender.get(), AttemptServed):
            pass
        await act(place, attempt)
        with pytest.raises(P2palError) as caught:
            await meeting
        return caught.value


def says(*bodies: bytes) -> Acting:
    async def act(place: Rendezvous, attempt: int) -> None:
        for body in bodies:
            place.sender.append(attempt, body)

    return act


def releases(reason: str) -> Acting:
    async def act(place: Rendezvous, attempt: int) -> None:
        place.sender.release(attempt, reason)

    return act


def an_element() -> bytes:
    """A sender's element, for a transfer that is another one: its proof cannot be right."""
    return encode(PakeElement(SenderPake(WORDS, "another", 1).element))


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (says(b"nonsense"), ProtocolError),
        (says(CONFIRM), ProtocolError),
        (says(encode(PakeAnswer(bytes(33), bytes(32)))), ProtocolError),
        (says(an_element(), an_element()), ProtocolError),
        (says(encode(PakeElement(bytes(33)))), WrongCode),
        (says(an_element(), CONFIRM), WrongCode),
        (says(encode(PakeReject("wrong-code"))), WrongCode),
        (says(encode(PakeReject("closed"))), WrongCode),
        (says(encode(PakeReject("of-tomorrow"))), WrongCode),
        (says(encode(PakeReject("version"))), VersionMismatch),
        (says(encode(PakeElement(bytes(33), version=2))), VersionMismatch),
        (releases("wrong-code"), WrongCode),
        (releases("version"), VersionMismatch),
        (releases("something-else"), PeerLost),
    ],
)
def test_what_a_receiver_makes_of_its_sender(act: Acting, error: type[P2palError]) -> None:
    caught = asyncio.run(against(act))
    assert type(caught) is error
    assert "zebra" not in str(caught)


async def test_a_receiver_that_comes_too_late() -> None:
    async with rendezvous() as place:
        serving = place.serve()
        first, second = await place.join(), await place.join()
        late = asyncio.create_task(meet_sender(second[0], WORDS, place.id, second[1]))
        await meet_sender(first[0], WORDS, place.id, first[1])
        await serving
        with pytest.raises(CodeUnknown, match="someone else has joined"):
            await late


async def test_a_transfer_that_is_completed_meanwhile() -> None:
    async with rendezvous() as place:
        mailbox, attempt = await place.join()
        meeting = asyncio.create_task(meet_sender(mailbox, WORDS, place.id, attempt))
        while not isinstance(await place.sender.get(), AttemptServed):
            pass
        place.sender.accept(attempt)
        place.sender.complete()
        with pytest.raises(CodeExpired):
            await meeting


async def test_when_the_time_is_up_the_mailbox_says_so() -> None:
    async with rendezvous(ttl=1.0) as place:
        serving = place.serve()
        with pytest.raises(ServerRefused):
            await serving
        with pytest.raises(CodeExpired, match="the code has expired"):
            await place.sending


def test_guesses_are_counted() -> None:
    guesses = Guesses()
    assert [guesses.failed() for _ in range(MAX_GUESSES)] == [False, False, True]
    assert guesses.left == 0

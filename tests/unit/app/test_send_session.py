"""One sender and those who join it: the receiver, the same once more, and others who have the code."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.trees import leftovers, tree_equal
from tests.unit.app.kit import HALF, PATIENCE, Ended, Gate, Place, Running, follow, never, only_id, run, vanish

import p2pal.app.send as sending
from p2pal.app import events
from p2pal.app.receive_checkpoint import UNKNOWN
from p2pal.app.send_session import SendSession
from p2pal.errors import CodeUnknown, Interrupted, Refused, WrongCode
from p2pal.role import Role
from p2pal.transfer.events import Started


async def lose_the_receiver(there: Place, sent: Running, out: Path) -> str:
    """Have half arrive, the first file on the disk, and the receiver gone without a word; the code."""
    code = (await sent.until(events.Code)).code
    first = Running(there.receive(code, out))
    await first.until(events.Progress, lambda event: event.done >= HALF)
    await first.until(events.FileDelivered)
    await vanish(first)
    return code


class Admission:
    """What the sender says of somebody else who has the code, and how often it was asked."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.asked = 0

    async def __call__(self) -> bool:
        self.asked += 1
        return self.answer


async def join_as_stranger(there: Place, code: str, elsewhere: Path, gate: Gate) -> Ended:
    """Join with nothing of the receiver's but the code."""
    gate.open()
    return await follow(there.receive(code, elsewhere, home=elsewhere.parent / "stranger"))


def test_a_receiver_that_is_gone_joins_again_with_the_same_code(
    tmp_path: Path, out: Path, tree: Path, gate: Gate
) -> None:
    async def rejoining(there: Place) -> None:
        sent = Running(there.send(tree))
        code = await lose_the_receiver(there, sent, out)
        gate.open()
        again = await follow(there.receive(code, None, decide=never))
        ended = await sent.end()
        assert again.error is ended.error is None
        assert events.Unproven not in ended.kinds
        assert len(ended.all(events.Code)) == 1
        assert ended.only(events.Resuming).id == again.only(events.Resuming).id
        # What was complete is not sent again.
        assert ended.only(events.Resuming).files == 1
        assert [done.name for done in again.all(events.FileDelivered)] == ["tree/large"]
        assert there.kept() == ([], [])

    run(rejoining, tmp_path)
    assert tree_equal(tree, out / "tree")
    assert leftovers(out) == []


def test_who_was_not_there_is_let_in_by_the_sender_and_gets_all_as_new(
    tmp_path: Path, out: Path, tree: Path, gate: Gate
) -> None:
    (tmp_path / "elsewhere").mkdir()
    admission = Admission(answer=True)

    async def joining(there: Place) -> None:
        sent = Running(there.send(tree, admit=admission))
        code = await lose_the_receiver(there, sent, out)
        before = only_id_of(there, "receive")
        stranger = await join_as_stranger(there, code, tmp_path / "elsewhere", gate)
        ended = await sent.end()
        assert stranger.error is ended.error is None
        assert admission.asked == len(ended.all(events.Unproven)) == 1
        assert stranger.only(events.StartingOver).reason == UNKNOWN
        assert events.Resuming not in stranger.kinds + ended.kinds
        assert stranger.only(events.Summary).files == 2
        # The first receiver's transfer stays as it was, on both sides.
        assert (only_id_of(there, "send"), only_id_of(there, "receive")) == (before, before)
        again, rest = await there.both(there.send(resume=before), lambda code: there.receive(code, None))
        assert again.error is rest.error is None
        assert rest.only(events.Resuming).files == 1

    run(joining, tmp_path)
    assert tree_equal(tree, tmp_path / "elsewhere" / "tree")
    assert tree_equal(tree, out / "tree")


def only_id_of(there: Place, role: Role) -> str:
    (kept,) = there.checkpoints(role)
    return kept.id


@pytest.mark.parametrize("proves", [True, False])
def test_who_agrees_before_the_lost_session_is_over_has_agreed(
    tmp_path: Path, out: Path, tree: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch, proves: bool
) -> None:
    (tmp_path / "elsewhere").mkdir()
    late = LateEnd(monkeypatch)

    async def joining(there: Place) -> None:
        sent = Running(there.send(tree, admit=Admission(answer=True)))
        code = await lose_the_receiver(there, sent, out)
        late.begin()
        if proves:
            gate.open()
            again = await follow(there.receive(code, None, decide=never))
        else:
            again = await join_as_stranger(there, code, tmp_path / "elsewhere", gate)
        ended = await sent.end()
        assert again.error is ended.error is None
        assert late.agreed
        if proves:
            assert ended.only(events.Resuming).id == again.only(events.Resuming).id
            assert there.kept() == ([], [])
        else:
            assert len(ended.all(events.Accepted)) == 2
            assert only_id_of(there, "send") == only_id_of(there, "receive")

    run(joining, tmp_path)


class LateEnd:
    """From :meth:`begin` on a session takes until the next receiver has agreed, to end."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._consent = asyncio.Event()

    @property
    def agreed(self) -> bool:
        return self._consent.is_set()

    def begin(self) -> None:
        ended, handle = sending._ended, SendSession._handle_event

        async def late(task: asyncio.Task[None]) -> None:
            await ended(task)
            async with asyncio.timeout(PATIENCE):
                await self._consent.wait()

        def noting(session: SendSession, event: object) -> None:
            handle(session, event)
            if isinstance(event, Started):
                self._consent.set()

        self._patch.setattr(sending, "_ended", late)
        self._patch.setattr(SendSession, "_handle_event", noting)


@pytest.mark.parametrize("asks", [True, False])
def test_who_was_not_there_is_refused_and_the_session_waits_for_its_own(
    tmp_path: Path, out: Path, tree: Path, gate: Gate, asks: bool
) -> None:
    (tmp_path / "elsewhere").mkdir()
    admission = Admission(answer=False)

    async def joining(there: Place) -> None:
        sent = Running(there.send(tree, admit=admission if asks else None))
        code = await lose_the_receiver(there, sent, out)
        stranger = await join_as_stranger(there, code, tmp_path / "elsewhere", gate)
        await sent.until(events.Unproven)
        assert isinstance(stranger.error, Refused)
        assert admission.asked == int(asks)
        # No byte of a file was sent to them.
        assert max((event.done for event in stranger.all(events.Progress)), default=0) == 0
        again = await follow(there.receive(code, None, decide=never))
        assert again.error is (await sent.end()).error is None
        assert again.only(events.Resuming).files == 1
        assert there.kept() == ([], [])

    run(joining, tmp_path)
    assert tree_equal(tree, out / "tree")
    assert leftovers(tmp_path / "elsewhere") == []


def test_a_person_is_not_asked_without_end(
    tmp_path: Path, out: Path, tree: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who overheard the words may come again and again."""
    monkeypatch.setattr(sending, "MAX_ASKED", 1)
    admission = Admission(answer=False)

    async def joining(there: Place) -> None:
        sent = Running(there.send(tree, admit=admission))
        code = await lose_the_receiver(there, sent, out)
        gate.open()
        for number in range(2):
            stranger = await follow(there.receive(code, out, home=tmp_path / f"stranger-{number}"))
            assert isinstance(stranger.error, Refused)
            assert admission.asked == 1
        again = await follow(there.receive(code, None, decide=never))
        assert again.error is (await sent.end()).error is None

    run(joining, tmp_path)
    assert tree_equal(tree, out / "tree")


def test_the_session_goes_on_by_itself_while_the_sender_is_asked_about_another(
    tmp_path: Path, out: Path, tree: Path, gate: Gate
) -> None:
    async def joining(there: Place) -> None:
        asked = asyncio.Event()

        async def admit() -> bool:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

        sent = Running(there.send(tree, admit=admit))
        code = await lose_the_receiver(there, sent, out)
        stranger = Running(there.receive(code, tmp_path / "elsewhere", home=tmp_path / "stranger"))
        async with asyncio.timeout(20):
            await asked.wait()
            sent.transfer.cancel()
            assert isinstance((await sent.end()).error, Interrupted)
        stranger.transfer.cancel()
        await stranger.end()
        assert only_id(there) == sent.ended.only(events.Saved).id

    (tmp_path / "elsewhere").mkdir()
    run(joining, tmp_path)


def test_wrong_guesses_do_not_end_a_session_that_waits(tmp_path: Path, out: Path, tree: Path, gate: Gate) -> None:
    async def guessing(there: Place) -> None:
        sent = Running(there.send(tree))
        code = (await sent.until(events.Code)).code
        words, _, slot = code.rpartition("-")
        guess = f"{'-'.join(reversed(words.split('-')))}-{slot}"
        first = Running(there.receive(code, out))
        await first.until(events.Progress, lambda event: event.done >= HALF)
        # While the receiver is there, nobody even gets to guess.
        assert isinstance((await follow(there.receive(guess, out))).error, CodeUnknown)
        await vanish(first)
        for left in (2, 1, 0):
            assert isinstance((await follow(there.receive(guess, out))).error, WrongCode)
            assert (await sent.until(events.WrongGuess, lambda event: event.left <= left)).left == left  # noqa: B023
        # The words are used up, the session is not: only nobody can join it any more.
        sent.transfer.cancel()
        ended = await sent.end()
        assert isinstance(ended.error, Interrupted)
        ident = ended.only(events.Saved).id
        assert ident == only_id(there)
        gate.open()
        again, rest = await there.both(there.send(resume=ident), lambda code: there.receive(code, None))
        assert again.error is rest.error is None

    run(guessing, tmp_path)
    assert tree_equal(tree, out / "tree")


def test_a_lost_receiver_is_waited_for_and_then_the_sender_saves_the_transfer(
    tmp_path: Path, out: Path, tree: Path, gate: Gate
) -> None:
    async def waiting(there: Place) -> None:
        there.connect = replace(there.connect, wait=0.5)
        sent = Running(there.send(tree))
        await lose_the_receiver(there, sent, out)
        ended = await sent.end()
        assert ended.error is not None
        assert ended.error.exit_code == 5  # type: ignore[attr-defined]
        assert "peer" in [event.what for event in ended.all(events.Waiting)]
        assert ended.only(events.Saved).id == only_id(there)

    run(waiting, tmp_path)


def test_two_cannot_have_the_code_at_once(tmp_path: Path, out: Path, tree: Path, gate: Gate) -> None:
    async def joining(there: Place) -> None:
        sent = Running(there.send(tree))
        code = (await sent.until(events.Code)).code
        first = Running(there.receive(code, out))
        await first.until(events.Progress, lambda event: event.done >= HALF)
        second = await follow(there.receive(code, tmp_path, home=tmp_path / "stranger"))
        assert isinstance(second.error, CodeUnknown)
        gate.open()
        assert (await first.end()).error is (await sent.end()).error is None
        assert events.Unproven not in sent.ended.kinds
        assert events.WrongGuess not in sent.ended.kinds

    run(joining, tmp_path)
    assert tree_equal(tree, out / "tree")
    assert sorted(os.listdir(tmp_path)) == ["out", "receiver", "sender", "tree"]

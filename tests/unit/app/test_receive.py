"""Both sides of the API together."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.trees import MIB, content, make_tree, sparse, tree_equal, write
from tests.unit.app.kit import HALF, LARGE, Gate, Place, Running, follow, no_hook, only_id, peer_of, run

import p2pal
from p2pal.app import events
from p2pal.app.events import Event
from p2pal.app.options import Decision
from p2pal.app.transfer import Transfer
from p2pal.disk.fs.names import is_part_name
from p2pal.errors import CodeUnknown, DiskError, Interrupted, MistypedCode, PeerLost, Refused, WrongCode
from p2pal.role import Role
from p2pal.transfer import manifest

LONG = 4 << 30


def test_a_file_and_a_tree_arrive_and_every_event_comes_in_order(tmp_path: Path, out: Path) -> None:
    file, tree = write(tmp_path / "report.pdf", content(3 * MIB)), make_tree(tmp_path / "tree")

    async def sending(there: Place) -> None:
        sent, received = await there.both(there.send(file, tree), lambda code: there.receive(code, out))
        assert sent.error is received.error is None
        assert [kind for kind in received.kinds if kind is not events.FileDelivered] == [
            events.Joining, events.PeerJoined, events.Connected, events.Offered, events.Accepted, events.Summary,
        ]  # fmt: skip
        # The walk runs while the code waits, and may take longer than the receiver.
        assert [kind for kind in sent.kinds if kind not in {events.FileDelivered, events.Listed}] == [
            events.Code, events.PeerJoined, events.Connected, events.Accepted, events.Summary,
        ]  # fmt: skip
        assert sent.kinds.index(events.Listed) < sent.kinds.index(events.Accepted)
        offer, summary = received.only(events.Offered), received.only(events.Summary)
        assert [top.name for top in offer.tops] == ["report.pdf", "tree"]
        assert [top.kind for top in offer.tops] == ["file", "directory"]
        assert (summary.ok, summary.role, summary.files, summary.total) == (True, "receive", offer.files, offer.total)
        assert {done.name: done.digest for done in sent.all(events.FileDelivered)} == {
            done.name: done.digest for done in received.all(events.FileDelivered)
        }

    run(sending, tmp_path)
    assert tree_equal(file, out / "report.pdf")
    assert tree_equal(tree, out / "tree")


def test_what_cannot_be_a_code_is_refused_at_once() -> None:
    with pytest.raises(MistypedCode):
        p2pal.receive("nonsense")


def test_an_unknown_code(tmp_path: Path, out: Path) -> None:
    async def receiving(there: Place) -> None:
        ended = await follow(there.receive("zebra-luna-999999", out))
        assert isinstance(ended.error, CodeUnknown)
        assert ended.kinds == [events.Failure]

    run(receiving, tmp_path)


def test_wrong_words_then_the_right_ones(tmp_path: Path, out: Path) -> None:
    file = write(tmp_path / "report.pdf", "x")

    async def guessing(there: Place) -> None:
        wrong: list[BaseException | None] = []

        async def receive_after_a_guess(code: str) -> None:
            words, _, slot = code.rpartition("-")
            first, second = words.split("-")
            wrong.append((await follow(there.receive(f"{second}-{first}-{slot}", out))).error)
            right.append(await follow(there.receive(code, out)))

        right: list[Any] = []
        async with there.send(file) as transfer, asyncio.TaskGroup() as tasks:
            seen: list[Event] = []
            async for event in transfer:
                seen.append(event)
                if isinstance(event, events.Code):
                    tasks.create_task(receive_after_a_guess(event.code))
        assert isinstance(wrong[0], WrongCode)
        assert right[0].error is None
        assert [event.left for event in seen if isinstance(event, events.WrongGuess)] == [2]

    run(guessing, tmp_path)
    assert tree_equal(file, out / "report.pdf")


def test_nothing_is_written_before_the_decision(tmp_path: Path, out: Path) -> None:
    write(out / "report.pdf", "mine")
    file = write(tmp_path / "report.pdf", "theirs")
    asked: list[tuple[int, list[str]]] = []

    async def no(offer: events.Offered, existing: list[str]) -> Decision:
        asked.append((offer.total, existing))
        assert os.listdir(out) == ["report.pdf"]
        return Decision(accept=False)

    async def declining(there: Place) -> None:
        sent, received = await there.both(there.send(file), lambda code: there.receive(code, out, decide=no))
        assert isinstance(sent.error, Refused)
        assert isinstance(received.error, Refused)
        assert events.Summary not in sent.kinds + received.kinds

    run(declining, tmp_path)
    assert asked == [(6, ["report.pdf"])]
    assert (out / "report.pdf").read_text() == "mine"


@pytest.mark.parametrize("replace", [True, False])
def test_the_decision_says_whether_to_replace(tmp_path: Path, out: Path, replace: bool) -> None:
    write(out / "report.pdf", "mine")
    file = write(tmp_path / "report.pdf", "theirs")

    async def decide(offer: events.Offered, existing: list[str]) -> Decision:
        return Decision(accept=True, replace=replace)

    async def deciding(there: Place) -> None:
        sent, received = await there.both(there.send(file), lambda code: there.receive(code, out, decide=decide))
        assert sent.error is received.error is None
        assert received.only(events.Accepted).renamed == ({} if replace else {"report.pdf": "report (1).pdf"})

    run(deciding, tmp_path)
    assert (out / "report.pdf").read_text() == ("theirs" if replace else "mine")


def test_who_may_overwrite_is_still_told_what_is_there(tmp_path: Path, out: Path) -> None:
    write(out / "report.pdf", "mine")
    file = write(tmp_path / "report.pdf", "theirs")
    told: list[str] = []

    async def decide(offer: events.Offered, existing: list[str]) -> Decision:
        told.extend(existing)
        return Decision(accept=True)

    async def deciding(there: Place) -> None:
        await there.both(there.send(file), lambda code: there.receive(code, out, overwrite=True, decide=decide))

    run(deciding, tmp_path)
    assert told == ["report.pdf"]
    assert (out / "report.pdf").read_text() == "theirs"


def test_a_decision_that_fails_ends_both_sides(tmp_path: Path, out: Path) -> None:
    async def mistake(offer: events.Offered, existing: list[str]) -> Decision:
        raise ZeroDivisionError

    async def deciding(there: Place) -> None:
        file = write(tmp_path / "report.pdf", "x")
        sent, received = await there.both(there.send(file), lambda code: there.receive(code, out, decide=mistake))
        assert isinstance(received.error, ZeroDivisionError)
        assert isinstance(sent.error, PeerLost)

    run(deciding, tmp_path)
    assert list(out.iterdir()) == []


def test_a_person_who_is_interrupted_at_the_question(tmp_path: Path, out: Path) -> None:
    async def interrupted(offer: events.Offered, existing: list[str]) -> Decision:
        raise Interrupted("interrupted")

    async def deciding(there: Place) -> None:
        file = write(tmp_path / "report.pdf", "x")
        sent, received = await there.both(there.send(file), lambda code: there.receive(code, out, decide=interrupted))
        assert isinstance(received.error, Interrupted)
        assert isinstance(sent.error, PeerLost)

    run(deciding, tmp_path)


@pytest.mark.parametrize("by_sender", [True, False])
def test_cancelling_in_the_middle_ends_both_and_leaves_nothing_half_done(
    tmp_path: Path, out: Path, gate: Gate, by_sender: bool
) -> None:
    first, second = write(tmp_path / "first", "complete"), write(tmp_path / "second", content(LARGE))

    def stop(event: Event, transfer: Transfer) -> None:
        if isinstance(event, events.Progress) and event.done >= HALF:
            transfer.cancel()

    async def cancelling(there: Place) -> None:
        sent, received = await there.both(
            there.send(first, second),
            lambda code: there.receive(code, out),
            **({"on_sent": stop} if by_sender else {"on_received": stop}),
        )
        here, other = (sent, received) if by_sender else (received, sent)
        assert isinstance(here.error, Interrupted)
        assert isinstance(other.error, PeerLost)

    run(cancelling, tmp_path)
    # What arrived of the second waits for another session.
    assert [path.name for path in out.iterdir() if not is_part_name(os.fsencode(path.name))] == ["first"]


STAGES: list[tuple[Role, type[Event]]] = [
    ("send", events.PeerJoined),
    ("send", events.Connected),
    ("send", events.Accepted),
    ("send", events.FileDelivered),
    ("receive", events.Joining),
    ("receive", events.PeerJoined),
    ("receive", events.Connected),
    ("receive", events.Offered),
    ("receive", events.Accepted),
    ("receive", events.FileDelivered),
]


STAGES_OF_THE_REST = [
    each for each in STAGES if each[1] not in {events.Joining, events.PeerJoined, events.FileDelivered}
]


@pytest.mark.parametrize(
    ("by", "stage", "resumed"), [(*each, False) for each in STAGES] + [(*each, True) for each in STAGES_OF_THE_REST]
)
def test_cancelling_at_any_stage_ends_soon_and_loses_nothing(
    tmp_path: Path, out: Path, tree: Path, gate: Gate, by: Role, stage: type[Event], resumed: bool
) -> None:
    async def cancelling(there: Place) -> None:
        resume = None
        if resumed:
            await there.stopped(gate, tree, out=out)
            resume = only_id(there)
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def stop(event: Event, transfer: Transfer) -> None:
            # Where a transfer goes on, the sender hears of no new consent.
            agreed = stage is events.Accepted and isinstance(event, events.Resuming)
            if (agreed or isinstance(event, stage)) and not reached.done():
                reached.set_result(None)
                transfer.cancel()

        sent = Running(there.send(*([] if resumed else [tree]), resume=resume), stop if by == "send" else no_hook)
        code = (await sent.until(events.Code)).code
        received = Running(there.receive(code, None if resumed else out), stop if by == "receive" else no_hook)
        async with asyncio.timeout(20):
            await reached
        async with asyncio.timeout(10):
            here = await (sent if by == "send" else received).end()
        other = received if by == "send" else sent
        other.transfer.cancel()
        async with asyncio.timeout(10):
            await other.end()
        # A stop that came after the last word changes nothing; any other is told.
        assert isinstance(here.error, Interrupted) or (resumed and here.error is None)
        gate.open()
        left = [kept.id for kept in there.checkpoints("send")]
        for ident in left:
            again, rest = await there.both(there.send(resume=ident), lambda code: there.receive(code, out))
            assert again.error is rest.error is None
            assert tree_equal(tree, out / "tree")
        if resumed and isinstance(here.error, Interrupted):
            assert left

    run(cancelling, tmp_path)


def test_leaving_the_block_early_stops_the_transfer(tmp_path: Path, out: Path) -> None:
    source = sparse(tmp_path / "disk.img", LONG)

    async def leaving(there: Place) -> None:
        async def receive_a_little(code: str) -> None:
            async with there.receive(code, out) as transfer:
                async for event in transfer:
                    if isinstance(event, events.Progress) and event.done > MIB:
                        return

        tasks: set[asyncio.Task[None]] = set()

        def joined(event: Event, transfer: Transfer) -> None:
            if isinstance(event, events.Code):
                tasks.add(asyncio.create_task(receive_a_little(event.code)))

        assert isinstance((await follow(there.send(source), joined)).error, PeerLost)
        await asyncio.gather(*tasks)

    run(leaving, tmp_path)
    (part,) = out.iterdir()
    assert is_part_name(os.fsencode(part.name))


def test_a_lane_that_is_cut_in_the_middle_costs_nothing(tmp_path: Path, out: Path) -> None:
    source, tree = write(tmp_path / "large", content(60 * MIB)), make_tree(tmp_path / "tree")
    cuts = 0

    def cut(event: Event, transfer: Transfer) -> None:
        nonlocal cuts
        if isinstance(event, events.Progress) and event.done > (cuts + 1) * 10 * MIB and cuts < 2:
            peer = peer_of(transfer)
            if peer.link.linked:
                cuts += 1
                for live in list(peer.link.lanes.by_id.values()):
                    live.lane.close()

    async def cutting(there: Place) -> None:
        sent, received = await there.both(
            there.send(source, tree), lambda code: there.receive(code, out), on_received=cut
        )
        assert sent.error is received.error is None
        assert cuts > 0
        assert events.Reconnecting in sent.kinds
        done = [event.done for event in received.all(events.Progress)]
        assert done == sorted(done)
        assert received.only(events.Summary).total == sent.only(events.Summary).total

    run(cutting, tmp_path)
    assert tree_equal(source, out / "large")
    assert tree_equal(tree, out / "tree")


def test_a_place_that_cannot_be_written_to(tmp_path: Path, out: Path) -> None:
    async def receiving(there: Place) -> None:
        file = write(tmp_path / "report.pdf", "x")
        sent = Running(there.send(file))
        code = (await sent.until(events.Code)).code
        received = await follow(there.receive(code, out / "no" / "such"))
        assert isinstance(received.error, DiskError)
        assert received.kinds == [events.Failure]  # the code was not spent
        assert (await follow(there.receive(code, out))).error is None
        assert (await sent.end()).error is None

    run(receiving, tmp_path)


def test_two_transfers_at_once(tmp_path: Path, out: Path) -> None:
    sources = [write(tmp_path / f"file {number}", content(2 * MIB, number)) for number in range(3)]

    async def sending(there: Place) -> None:
        ends = await asyncio.gather(
            *(there.both(there.send(source), lambda code: there.receive(code, out)) for source in sources)
        )
        assert all(end.error is None for pair in ends for end in pair)

    run(sending, tmp_path)
    assert all(tree_equal(source, out / source.name) for source in sources)


def test_the_last_report_names_a_file_that_is_no_longer_remembered(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "RECENT", 1)
    for number in range(60):
        write(tmp_path / "tree" / f"{number:02}", content(number))

    async def sending(there: Place) -> None:
        sent, received = await there.both(there.send(tmp_path / "tree"), lambda code: there.receive(code, out))
        assert sent.error is received.error is None
        assert received.kinds.count(events.FileDelivered) == 60

    run(sending, tmp_path)

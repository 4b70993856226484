"""Checkpoints in the use cases: made at consent, told of at a stop, gone at the end; and the sender's notes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.e2e.trees import MIB, content, leftovers, tree_equal, write
from tests.unit.app.kit import FIRST, HALF, TOTAL, Gate, Place, never, only_id, run

from p2pal.app import events
from p2pal.app.events import Event
from p2pal.app.options import Decision
from p2pal.app.send_checkpoint import FLUSH_SECONDS, MAX_NAMES, UNWRITABLE, SendLog, make_header, saved_event
from p2pal.app.transfer import Transfer
from p2pal.checkpoint.records import VERSION
from p2pal.checkpoint.replay import SendState
from p2pal.crypto.keys import checkpoint_id
from p2pal.disk.checkpoints.store import Checkpoints
from p2pal.disk.source.source import Source
from p2pal.errors import CheckpointError, Interrupted, P2palError, PeerLost
from p2pal.role import Role
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.ops import PieceRead, ReadJob, SourceResult
from p2pal.wire.pieces import piece_count, piece_size
from p2pal.wire.transfer import Entry, EntryKind

KEY, ID = b"k" * 32, b"t" * 16
IDENT = checkpoint_id(KEY, ID)


@pytest.mark.parametrize("by", ["send", "receive"])
def test_a_stopped_transfer_tells_how_to_go_on_and_does(
    tmp_path: Path, out: Path, tree: Path, gate: Gate, by: Role
) -> None:
    async def going_on(there: Place) -> None:
        sent, received = await there.stopped(gate, tree, out=out, by=by)
        ident = only_id(there)
        for ended, role in ((sent, "send"), (received, "receive")):
            error = ended.error
            assert isinstance(error, Interrupted if role == by else PeerLost)
            assert isinstance(error, P2palError)
            assert error.hint == ""
            assert ended.kinds[-2:] == [events.Saved, events.Failure]
            told = ended.only(events.Saved)
            assert (told.id, told.total) == (ident, TOTAL)
            assert HALF // 2 <= told.done < TOTAL
        server = there.connect.server
        assert sent.only(events.Saved).command == f"p2pal send --resume {ident[:8]} -server {server}"
        assert received.only(events.Saved).command == f"p2pal recv -server {server} NEWCODE"

        again, rest = await there.both(
            there.send(resume=ident[:4]), lambda code: there.receive(code, None, decide=never)
        )
        assert again.error is rest.error is None
        for ended in (again, rest):
            resuming = ended.only(events.Resuming)
            assert (resuming.id, resuming.files, resuming.total) == (ident, 1, TOTAL)
            assert HALF // 2 <= resuming.done < TOTAL
            assert [done.name for done in ended.all(events.FileDelivered)] == ["tree/large"]
            progress = ended.all(events.Progress)
            done = [event.done for event in progress if event.files_done]
            assert done == sorted(done)
            assert done[0] >= resuming.done
            assert (done[-1], progress[-1].files_done) == (TOTAL, 2)
            assert ended.only(events.Summary).total == TOTAL - resuming.done
        assert (again.only(events.Resuming).where, rest.only(events.Resuming).where) == ("", str(out))
        assert again.only(events.Resuming).changed == 0
        assert there.kept() == ([], [])

    run(going_on, tmp_path)
    assert tree_equal(tree, out / "tree")
    assert leftovers(out) == []


def test_checkpoints_exist_from_the_consent_to_the_end(tmp_path: Path, out: Path, tree: Path, gate: Gate) -> None:
    async def sending(there: Place) -> None:
        async def agree(offer: events.Offered, existing: list[str]) -> Decision:
            assert there.kept() == ([], [])
            return Decision(accept=True)

        def look(event: Event, transfer: Transfer) -> None:
            if isinstance(event, events.Accepted):
                (kept,) = there.checkpoints("receive")
                assert kept.in_use
            if isinstance(event, events.Progress) and event.done >= HALF and there.checkpoints("send"):
                (kept,) = there.checkpoints("send")
                assert kept.in_use
                gate.open()

        sent, received = await there.both(
            there.send(tree), lambda code: there.receive(code, out, decide=agree), on_received=look
        )
        assert sent.error is received.error is None
        assert events.Unsaved not in sent.kinds + received.kinds
        assert there.kept() == ([], [])

    # Progress is told while something moves, or its rate falls: until the checkpoint is there, and much longer.
    run(sending, tmp_path)


@pytest.mark.parametrize("where", ["send", "receive"])
@pytest.mark.parametrize("stop", [False, True])
def test_where_nothing_can_be_kept_the_transfer_goes_on_and_says_so(
    tmp_path: Path, out: Path, tree: Path, gate: Gate, where: Role, stop: bool
) -> None:
    write(tmp_path / ("sender" if where == "send" else "receiver"), "no directory")

    async def sending(there: Place) -> None:
        if stop:
            sent, received = await there.stopped(gate, tree, out=out)
        else:
            gate.open()
            sent, received = await there.both(there.send(tree), lambda code: there.receive(code, out))
            assert sent.error is received.error is None
            assert tree_equal(tree, out / "tree")
        ended, other = (sent, received) if where == "send" else (received, sent)
        assert ended.only(events.Unsaved).reason
        assert events.Unsaved not in other.kinds
        assert events.Saved not in ended.kinds
        assert (events.Saved in other.kinds) is stop

    run(sending, tmp_path)


@pytest.mark.parametrize("prefix", ["", "1", "ab", "zzzzzzzz", "../../x"])
def test_what_is_no_checkpoint_of_a_sender_ends_before_there_is_a_code(
    tmp_path: Path, out: Path, tree: Path, prefix: str
) -> None:
    async def resuming(there: Place) -> None:
        from tests.unit.app.kit import follow

        ended = await follow(there.send(resume=prefix))
        assert isinstance(ended.error, CheckpointError)
        assert ended.kinds == [events.Failure]

    run(resuming, tmp_path)


# Headers


def test_a_header_says_all_that_a_list_shows() -> None:
    manifest = Manifest()
    for number in range(20):
        manifest.append(Entry(b"%02d" % number, EntryKind.FILE, 5, 0o644, 0, b""))
    names = [b"%02d" % number for number in range(20)]
    header = make_header(
        "send", manifest, names, transfer_id=ID, resume_key=KEY, ttl=9.0, shape=manifest.shape(), skip_errors=True
    )
    assert (header.version, header.role, header.id, header.ttl) == (VERSION, "send", IDENT, 9.0)
    assert (header.entries, header.files, header.total, header.skip_errors) == (20, 20, 100, True)
    assert (header.names, header.more) == (names[:MAX_NAMES], 20 - MAX_NAMES)
    assert header.digest == manifest.digest()
    assert KEY.hex() not in repr(header)
    assert "kkkk" not in repr(header)


def test_the_event_shows_the_short_id_and_has_the_long_one(tmp_path: Path) -> None:
    manifest = Manifest()
    header = make_header(
        "send", manifest, [], transfer_id=ID, resume_key=KEY, ttl=9.0, shape=manifest.digest(), skip_errors=False
    )
    journal = Checkpoints(tmp_path).create(header)
    event = saved_event(journal, "send", "http://x", 3, 4)
    journal.close()
    assert event == events.Saved(id=IDENT, command=f"p2pal send --resume {IDENT[:8]} -server http://x", done=3, total=4)


# The sender's notes


class Notes:
    """A sender's notes on a real source, with what is told of them."""

    def __init__(self, home: Path, source: Source) -> None:
        self.home = home
        self.source = source
        self.problems: list[str] = []
        self.log = SendLog(home, 60.0, self.problems.append)
        self.manifest = Manifest()
        for entry in source.walk():
            assert isinstance(entry, Entry)
            self.manifest.append(entry)

    def read(self, index: int) -> list[SourceResult]:
        """Read a whole file, and note its leaves."""
        entry = self.manifest[index]
        size = piece_size(entry.size)
        job = ReadJob(index, entry, size, 0, piece_count(entry.size, size))
        results = list(self.source.read(job))
        self.log.note(results, self.source)
        return results

    async def begin(self, key: bytes = KEY) -> None:
        self.log.begin(self.source, self.manifest, transfer_id=ID, resume_key=key, skip_errors=False)
        await self.log.ready(None)

    def state(self, ident: str = IDENT) -> SendState:
        """What a later session finds; the checkpoint must not be in use."""
        opened = Checkpoints(self.home).open(ident, "send")
        assert [entry.path for entry, _ in opened.listing()] == [entry.path for entry in self.manifest]
        opened.journal.close()
        assert isinstance(opened.state, SendState)
        return opened.state


@asynccontextmanager
async def notes(tmp_path: Path, home: str = "home") -> AsyncIterator[Notes]:
    """A small file, and two of three pieces."""
    for name, size in (("a", FIRST), ("b", 3 * MIB), ("c", 3 * MIB)):
        write(tmp_path / "tree" / name, content(size, seed=size + ord(name)))
    source = Source([tmp_path / "tree"], recursive=True, skip_errors=False)
    try:
        yield Notes(tmp_path / home, source)
    finally:
        source.close()


def leaves(results: list[SourceResult]) -> dict[int, bytes]:
    return {result.piece: result.leaf for result in results if isinstance(result, PieceRead)}


async def test_leaves_wait_for_the_checkpoint_and_are_found_in_it(tmp_path: Path) -> None:
    async with notes(tmp_path) as kept:
        small, first = kept.read(1), kept.read(2)
        kept.log.flush(0.0, 10, 1)  # there is nothing to write to
        assert not (tmp_path / "home").exists()
        await kept.begin()
        second = kept.read(3)
        kept.log.flush(0.0, 20, 2)
        await kept.log.close()
        state = kept.state()
        assert state.leaves == {2: leaves(first), 3: leaves(second)}
        assert len(leaves(small)) == 1  # it is read again as fast as it is looked up
        assert (state.done, state.files) == (20, 2)
        assert set(state.leaves_at) == {2, 3}
        assert kept.problems == []


async def test_it_is_written_a_few_times_a_second_and_at_the_end(tmp_path: Path) -> None:
    async with notes(tmp_path) as kept:
        await kept.begin()
        journal = kept.log.journal
        assert journal is not None

        def size() -> int:
            return journal.path.stat().st_size

        kept.log.flush(100.0, 1, 0)
        before = size()
        kept.read(2)
        kept.log.flush(100.0 + FLUSH_SECONDS / 2, 2, 0)
        assert size() == before
        kept.log.flush(100.0 + FLUSH_SECONDS, 2, 0)
        after = size()
        assert after >= before + 3 * 32
        kept.log.flush(200.0, 2, 0)  # nothing happened
        assert size() == after
        kept.log.flush(200.0, 3, 1, final=True)
        assert size() > after
        await kept.log.close()
        assert (kept.state().done, kept.state().files) == (3, 1)


async def test_pieces_that_do_not_follow_each_other_keep_their_numbers(tmp_path: Path) -> None:
    async with notes(tmp_path) as kept:
        await kept.begin()
        one, two = kept.read(2), kept.read(3)
        kept.log.flush(0.0, 0, 0, final=True)
        wanted = {2: leaves(one), 3: leaves(two)}
        pieces = [result for result in (*two, *one) if isinstance(result, PieceRead)]
        kept.log.note([pieces[2], pieces[0], pieces[5]], kept.source)
        kept.log.flush(0.0, 0, 0, final=True)
        await kept.log.close()
        assert kept.state().leaves == wanted


async def test_another_receiver_has_a_checkpoint_of_its_own_and_the_first_stays(tmp_path: Path) -> None:
    async with notes(tmp_path) as kept:
        await kept.begin()
        kept.log.flush(0.0, 7, 0)
        await kept.begin(b"o" * 32)
        kept.read(2)
        kept.log.flush(9.0, 8, 0)
        assert kept.state().done == 7
        assert kept.state().leaves == {}
        await kept.log.remove()
        assert [summary.id for summary in Checkpoints(kept.home).list()] == [IDENT]


async def test_two_that_begin_at_once_come_one_after_the_other(tmp_path: Path) -> None:
    async with notes(tmp_path) as kept:
        for key in (KEY, b"o" * 32):
            kept.log.begin(kept.source, kept.manifest, transfer_id=ID, resume_key=key, skip_errors=False)
        await kept.log.ready(None)
        assert kept.log.journal is not None
        assert kept.log.journal.id == checkpoint_id(b"o" * 32, ID)
        kept.state()  # the first is not in use any more
        await kept.log.close()
        assert len(Checkpoints(kept.home).list()) == 2


async def test_a_home_that_is_none_is_told_once_and_costs_nothing_else(tmp_path: Path) -> None:
    async with notes(tmp_path, home="tree/a") as kept:
        await kept.begin()
        kept.read(2)
        kept.log.flush(0.0, 1, 0, final=True)
        assert kept.log.journal is None
        assert len(kept.problems) == 1
        await kept.log.close()
        await kept.log.remove()


async def test_one_that_is_in_use_is_not_taken_away(tmp_path: Path) -> None:
    async with notes(tmp_path) as kept:
        await kept.begin()
        other = Notes(kept.home, kept.source)
        other.manifest = kept.manifest
        await other.begin()
        assert other.log.journal is None
        assert other.problems == ["another p2pal process is using this transfer"]
        await kept.log.close()


async def test_a_checkpoint_that_cannot_be_written_any_more_is_given_up_once(tmp_path: Path) -> None:
    async with notes(tmp_path) as kept:
        await kept.begin()
        journal = kept.log.journal
        assert journal is not None
        journal._give_up()
        for now in (0.0, 1.0, 2.0):
            kept.log.flush(now, int(now), 0)
        assert kept.problems == [UNWRITABLE]
        assert kept.log.journal is None
        kept.state()


async def test_nothing_is_waited_for_where_nothing_is_made(tmp_path: Path) -> None:
    async with notes(tmp_path) as kept, asyncio.timeout(5):
        await kept.log.ready(None)
        await kept.log.close()
        await kept.log.remove()

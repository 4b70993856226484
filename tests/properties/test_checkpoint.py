"""However a checkpoint is cut, damaged or interrupted: what is read is what was written, up to some point."""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.disk.kept import Kept
from tests.unit.transfer.records import ID, MIB, checkpoint, entries_of, header, listing

from p2pal.checkpoint.codec import MAGIC, MAX_RECORD, decode, encode, scan
from p2pal.checkpoint.records import (
    Arrived,
    Begun,
    CheckpointHeader,
    CheckpointRecord,
    Claimed,
    Declined,
    Done,
    Dropped,
    Finishing,
    Finishings,
    Leaves,
    Made,
    PlaceRecord,
    Places,
    SessionBegins,
    Stopped,
    TopRecord,
    Tops,
    Unclaimed,
)
from p2pal.checkpoint.replay import ReceiveState, SendState
from p2pal.disk.checkpoints import journal as journals
from p2pal.disk.checkpoints.journal import Journal
from p2pal.errors import CheckpointError
from p2pal.ranges import RangeSet

ENTRIES = 8

indices = st.integers(0, ENTRIES + 1)
identities = st.tuples(st.integers(0, 3), st.integers(0, 3))
sizes = st.integers(0, 5 * MIB)
ranges = st.lists(st.tuples(indices, indices), max_size=3)
digests = st.integers(0, 3).map(lambda number: bytes((number,)) * 32)
names = st.sampled_from([b"top", b"other", b".."])
finishings = st.builds(Finishing, indices, identities, digests, st.none() | identities)
leaf_runs = st.lists(digests, max_size=4).map(b"".join) | st.binary(max_size=5)

records: st.SearchStrategy[CheckpointRecord] = st.one_of(
    st.builds(Begun, indices, identities, sizes, st.integers(0, 9), st.sampled_from([b"top/a", b"top", b"../x"])),
    st.builds(Claimed, indices, st.integers(0, 6), leaf_runs, st.integers(0, 6), sizes),
    st.builds(Finishings, st.lists(finishings, max_size=3)),
    st.builds(Done, ranges),
    st.builds(Dropped, indices),
    st.builds(Declined, ranges),
    st.builds(Stopped, indices, identities, sizes, st.integers(0, 9), st.integers(0, 9)),
    st.builds(Unclaimed, indices, st.integers(0, 6), st.integers(0, 7)),
    st.just(SessionBegins()),
    st.builds(Places, st.lists(st.builds(PlaceRecord, names, names, st.sampled_from(["NEW", "MERGE"])), max_size=2)),
    st.builds(Made, names, identities),
    st.builds(Tops, st.lists(st.builds(TopRecord, names, names, st.booleans()), max_size=2)),
    st.integers(0, 3).map(lambda count: listing(0, entries_of(count))),
    st.builds(Leaves, indices, st.integers(0, 6), leaf_runs, st.floats(0, 1e9)),
    st.builds(Arrived, sizes, indices),
)
histories = st.lists(records, max_size=25)


def picture(first: CheckpointHeader, told: list[CheckpointRecord]) -> list[object]:
    """Return all that follows from these records, in a form that can be compared."""
    state: ReceiveState | SendState = ReceiveState(first) if first.role == "receive" else SendState(first)
    for record in told:
        state.apply(record)
    return shown(state)


def shown(state: ReceiveState | SendState) -> list[object]:
    if isinstance(state, SendState):
        return [state.tops, state.leaves, state.leaves_at, state.done, state.files]
    return [
        state.places, state.done, state.declined, state.begun, state.claims, state.finishing, state.made,
        state.stopped, [state.placed.get(index) for index in range(ENTRIES + 1)], state.done_files, state.done_bytes,
    ]  # fmt: skip


roles = st.sampled_from(["receive", "send"])


@settings(max_examples=150, deadline=None)
@given(histories, st.data())
def test_any_cut_leaves_the_records_before_it(told: list[CheckpointRecord], data: st.DataObject) -> None:
    first = header(entries=ENTRIES)
    whole = checkpoint(first, *told)
    ends = list(itertools.accumulate(map(len, map(encode, [first, *told])), initial=len(MAGIC)))[1:]
    cut = data.draw(st.integers(0, len(whole)))
    if cut < ends[0]:
        with pytest.raises(CheckpointError):
            list(decode(whole[:cut]))
        return
    kept = sum(end <= cut for end in ends)
    assert list(decode(whole[:cut])) == [first, *told][:kept]


@settings(max_examples=150, deadline=None)
@given(histories, st.data())
def test_any_damage_leaves_the_records_before_it(told: list[CheckpointRecord], data: st.DataObject) -> None:
    first = header(entries=ENTRIES)
    damaged = bytearray(checkpoint(first, *told))
    where = data.draw(st.integers(0, len(damaged) - 1))
    damaged[where] ^= data.draw(st.integers(1, 255))
    ends = list(itertools.accumulate(map(len, map(encode, [first, *told])), initial=len(MAGIC)))[1:]
    if where < ends[0]:
        with pytest.raises(CheckpointError):
            list(decode(bytes(damaged)))
        return
    before = sum(end <= where for end in ends)
    assert list(decode(bytes(damaged))) == [first, *told][:before]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.booleans(), st.booleans())
def test_nothing_but_its_own_error_comes_out_of_any_bytes(rubbish: bytes, magic: bool, begins: bool) -> None:
    data = (MAGIC if magic else b"") + (encode(header()) if begins else b"") + rubbish
    asked = 0

    def read(count: int, offset: int) -> bytes:
        nonlocal asked
        assert count <= MAX_RECORD
        asked += count
        return data[offset : offset + count]

    try:
        for _, record in scan(read):
            assert record is not None
    except CheckpointError:
        assert not (magic and begins)
    assert asked <= 2 * MAX_RECORD


@settings(max_examples=100, deadline=None)
@given(histories)
def test_a_fold_never_says_more_than_was_written(told: list[CheckpointRecord]) -> None:
    state = ReceiveState(header(entries=ENTRIES))
    for record in told:
        state.apply(record)
        begun = {each.index: each for each in told if isinstance(each, Begun)}
        assert set(state.begun) <= set(begun)
        assert set(state.claims) | set(state.finishing) <= set(range(ENTRIES))
        assert all(stop <= ENTRIES for _, stop in state.done)
        for index, claim in state.claims.items():
            size = state.begun[index].size
            assert claim.part == state.begun[index].part
            assert all(piece * MIB < size for piece in claim.leaves)
            assert claim.piece * MIB + claim.head <= size
            assert claim.piece not in claim.leaves or not claim.head
            written = b"".join(each.leaves for each in told if isinstance(each, Claimed) and each.index == index)
            assert all(leaf in written for leaf in claim.leaves.values())
            if claim.trusted:
                assert state.stopped[index].part == claim.part
        assert state.claimed_bytes <= sum(each.size for each in state.begun.values())


@contextmanager
def fresh() -> Iterator[Kept]:
    with tempfile.TemporaryDirectory() as path:
        yield Kept(Path(path))


@settings(max_examples=60, deadline=None)
@given(histories, roles, st.data())
def test_a_damaged_file_opens_with_less_or_not_at_all_and_can_go_on(
    told: list[CheckpointRecord], role: str, data: st.DataObject
) -> None:
    with fresh() as kept:
        first = kept.header("send" if role == "send" else "receive", entries=ENTRIES)
        journal = kept.store.create(first, told)
        journal.close()
        content = bytearray(journal.path.read_bytes())
        if data.draw(st.booleans()):
            del content[data.draw(st.integers(0, len(content))) :]
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(0, 255))
        journal.path.write_bytes(content)
        try:
            opened = kept.store.open(ID, first.role)
        except CheckpointError:
            assert kept.store.list()[0].problem
            assert kept.store.remove(ID)[0].removed
            return
        prefixes = [picture(first, told[:count]) for count in range(len(told) + 1)]
        assert shown(opened.state) in prefixes
        after = SessionBegins()
        assert opened.begin()
        opened.journal.close()
        again = kept.store.open(ID, first.role)
        assert shown(again.state) in [picture(first, [*told[:count], after]) for count in range(len(told) + 1)]
        again.journal.close()


class Medium:
    """A disk that fills up, and fails to sync: what it had not written then is lost, though it reads back well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.room: int | None = None
        self.failing_syncs = 0
        self._dirty = RangeSet()
        self._lost = RangeSet()
        self.durable = path.read_bytes()

    def write(self, fd: int, data: bytes, offset: int) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "full")
        part = bytes(data if self.room is None else data[: self.room])
        if self.room is not None:
            self.room -= len(part)
        write_all(fd, part, offset)
        self._dirty.add(offset, offset + len(part))
        self._lost.remove(offset, offset + len(part))
        return len(part)

    def sync(self, _: int) -> None:
        if self.failing_syncs:
            self.failing_syncs -= 1
            for start, stop in self._dirty:
                self._lost.add(start, stop)
            self._dirty = RangeSet()
            raise OSError(errno.EIO, "bad medium")
        self._dirty = RangeSet()
        self.durable = self.content()

    def content(self) -> bytes:
        """Return what the medium would hold if everything not lost were written now."""
        data = bytearray(self.path.read_bytes())
        for start, stop in self._lost:
            if start < len(data):
                stop = min(stop, len(data))
                data[start:stop] = bytes(stop - start)
        return bytes(data)


def write_all(fd: int, data: bytes, offset: int) -> None:
    assert os.pwrite(fd, data, offset) == len(data)


writes = st.tuples(st.just("write"), st.lists(records, min_size=1, max_size=3), st.booleans())
steps = st.one_of(
    writes,
    writes,
    st.tuples(st.just("room"), st.integers(0, 100), st.none()),
    st.tuples(st.just("room"), st.none(), st.none()),
    st.tuples(st.just("bad"), st.integers(1, 2), st.none()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=25), st.data())
def test_after_a_power_cut_a_prefix_is_there_with_all_that_was_called_durable(
    script: list[tuple[str, object, object]], data: st.DataObject
) -> None:
    with fresh() as kept, pytest.MonkeyPatch.context() as patch:
        first = kept.header(entries=ENTRIES)
        journal: Journal = kept.store.create(first)
        medium = Medium(journal.path)
        patch.setattr(journals, "write_some", medium.write)
        patch.setattr(journals, "sync_data", medium.sync)
        told: list[CheckpointRecord] = []
        promised = 0
        for step, value, durable in script:
            if step == "write":
                assert isinstance(value, list)
                told += value
                if journal.write(*value, durable=bool(durable)) and durable:
                    promised = len(told)
            elif step == "room":
                medium.room = value if isinstance(value, int) else None
            else:
                medium.failing_syncs = value if isinstance(value, int) else 0
        assert not journal.failed
        content = medium.content()
        left = medium.durable
        if data.draw(st.booleans()):
            left = content[: data.draw(st.integers(min(len(left), len(content)), len(content)))]
        found = list(decode(left))
        assert found == [first, *told][: len(found)]
        assert len(found) > promised

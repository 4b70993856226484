from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest
from tests.unit.disk.disk import (
    Disk,
    digest_of,
    directory_entry,
    file_entry,
    part_files,
    snapshot,
)
from tests.unit.disk.loops import Runner
from tests.unit.disk.sessions import Kept

from p2pal.checkpoint.records import CheckpointRecord, Claimed
from p2pal.disk.fs import io
from p2pal.disk.sink import part_file, write_thread
from p2pal.disk.sink.write_thread import WritePump
from p2pal.errors import ProtocolError
from p2pal.transfer import ops
from p2pal.wire.pieces import piece_size
from p2pal.wire.transfer import EntryKind, Reason

TOP = [(b"top", EntryKind.DIRECTORY)]


class Writing:
    """A write pump, and all that it gave back."""

    def __init__(self, pump: WritePump) -> None:
        self.pump = pump
        self.results: list[ops.SinkResult] = []
        self.executed = 0

    async def until(self, count: int) -> None:
        """Take results until there are so many."""
        empty = 0
        while len(self.results) < count:
            results, executed = await self.pump.get()
            empty += not (results or executed)
            assert empty <= 2  # once it begins to be held back, and once it does no more
            self.results += results
            self.executed += executed


def whole_file(index: int, path: bytes, data: bytes) -> list[ops.SinkOp]:
    return [
        ops.Begin(index, file_entry(path, data), piece_size(len(data))),
        ops.Write(index, 0, data),
        ops.Finish(index, digest_of(data)),
    ]


def test_operations_are_executed_in_order_and_counted(tmp_path: Path, run: Runner) -> None:
    disk = Disk(tmp_path, TOP)

    async def main() -> None:
        writing = Writing(WritePump(disk.sink))
        writing.pump.submit([ops.MakeDirectory(0, directory_entry(b"top"))])
        for index in range(1, 1001):
            writing.pump.submit(whole_file(index, b"top/%d" % index, b"%d" % index))
        writing.pump.submit([ops.Seal()])
        await writing.until(1002)
        assert writing.executed == 3002
        assert writing.results[-1] == ops.Sealed()
        assert {result.index for result in writing.results if isinstance(result, ops.EntryDone)} == set(range(1001))
        assert await writing.pump.close() == []
        assert await writing.pump.close() == []

    run(main())
    assert snapshot(tmp_path / "top") == {b"%d" % index: b"%d" % index for index in range(1, 1001)}


def test_a_lone_file_is_told_without_a_seal(tmp_path: Path, run: Runner) -> None:
    disk = Disk(tmp_path, [(b"x", EntryKind.FILE), (b"y", EntryKind.FILE)])

    async def main() -> None:
        writing = Writing(WritePump(disk.sink))
        for index, name in enumerate((b"x", b"y")):
            writing.pump.submit(whole_file(index, name, b"data"))
            await writing.until(index + 1)
        assert writing.results == [ops.EntryDone(0), ops.EntryDone(1)]
        await writing.pump.close()

    run(main())


def test_credit_comes_back_in_small_steps(tmp_path: Path, run: Runner) -> None:
    disk = Disk(tmp_path, [(b"x", EntryKind.FILE)])
    data = bytes(3 << 20)

    async def main() -> None:
        writing = Writing(WritePump(disk.sink, step=1))
        writes = [ops.Write(0, offset, data[offset : offset + 65536]) for offset in range(0, len(data), 65536)]
        begin, _, finish = whole_file(0, b"x", data)
        writing.pump.submit([begin, *writes, finish])
        await writing.until(1)
        assert writing.executed == len(writes) + 2
        await writing.pump.close()

    run(main())


def test_closing_keeps_what_is_complete_and_removes_the_rest(tmp_path: Path, run: Runner) -> None:
    before = len(os.listdir("/proc/self/fd"))
    disk = Disk(tmp_path, TOP)

    async def main() -> None:
        writing = Writing(WritePump(disk.sink))
        writing.pump.submit([ops.MakeDirectory(0, directory_entry(b"top")), *whole_file(1, b"top/whole", b"1")])
        writing.pump.submit(whole_file(2, b"top/half", b"12")[:1])
        while writing.executed < 5:
            results, executed = await writing.pump.get()
            writing.results += results
            writing.executed += executed
        writing.results += await writing.pump.close()
        assert writing.results == [ops.EntryDone(1)]

    run(main())
    assert snapshot(tmp_path) == {b"top": None, b"top/whole": b"1"}
    assert len(os.listdir("/proc/self/fd")) <= before


def test_the_peers_fault_is_raised_after_the_results(tmp_path: Path, run: Runner) -> None:
    disk = Disk(tmp_path, TOP)

    async def main() -> None:
        writing = Writing(WritePump(disk.sink))
        begin, _, _ = whole_file(1, b"top/x", b"1")
        bad: list[ops.SinkOp] = [ops.Begin(0, file_entry(b"../x", b"1"), 1 << 20), begin, ops.Write(7, 0, b"x")]
        writing.pump.submit(bad)
        await writing.until(2)
        with pytest.raises(ProtocolError):
            await writing.until(99)
        assert all(isinstance(result, ops.WriteFailed) for result in writing.results)
        await writing.pump.close()

    run(main())
    assert snapshot(tmp_path) == {}


def test_a_fault_while_cleaning_up_does_not_hang(tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(tmp_path, TOP)

    def bug() -> list[ops.SinkResult]:
        raise ZeroDivisionError

    async def main() -> None:
        pump = WritePump(disk.sink)
        with monkeypatch.context() as patch:
            patch.setattr(disk.sink, "discard_all", bug)
            await pump.close()
        with pytest.raises(ZeroDivisionError):
            await pump.get()

    run(main())


def test_the_thread_survives_a_loop_that_is_gone(tmp_path: Path, run: Runner) -> None:
    disk = Disk(tmp_path, TOP)
    made: list[WritePump] = []

    async def main() -> None:
        made.append(WritePump(disk.sink))

    run(main())
    (writer,) = made
    writer.submit(whole_file(0, b"top", b"1"))
    with writer._changed:
        writer._closing = True
        writer._changed.notify()
    writer._thread.join(60)
    assert not writer._thread.is_alive()


class Full:
    """A disk that is full until it is emptied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
        self.full = True
        self.number = number
        self.tries = 0
        self.tried = threading.Event()
        self._write = io.write_some
        monkeypatch.setattr(part_file, "write_some", self.write_some)
        monkeypatch.setattr(write_thread, "RETRY_SECONDS", 0.01)

    def write_some(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Take half of it, then nothing."""
        if not self.full:
            return self._write(fd, data, offset)
        self.tries += 1
        if self.tries >= 5:
            self.tried.set()
        if self.tries % 2:
            return self._write(fd, memoryview(data)[: len(data) // 2], offset)
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Runner, number: int) -> None:
    disk = Disk(tmp_path, [(b"x", EntryKind.FILE)])
    data = os.urandom((1 << 20) + 70_000)
    full = Full(monkeypatch, number)

    async def main() -> None:
        pump = WritePump(disk.sink)
        assert not pump.held
        pump.submit(
            [
                ops.Begin(0, file_entry(b"x", data), 1 << 20),
                ops.Write(0, 0, data[:1000]),
                ops.Write(0, 1000, data[1000:]),  # across two pieces
                ops.Finish(0, digest_of(data)),
            ]
        )
        executed = 0
        while not pump.held:
            results, count = await pump.get()
            assert results == []
            executed += count
        assert executed == 1
        assert await asyncio.to_thread(full.tried.wait, 60)
        full.full = False
        writing = Writing(pump)
        await writing.until(1)
        assert writing.results == [ops.EntryDone(0)]
        assert executed + writing.executed == 4
        assert not pump.held
        await pump.close()

    run(main())
    assert snapshot(tmp_path) == {b"x": data}


def test_who_waits_no_longer_hears_that_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Runner
) -> None:
    disk = Disk(tmp_path, [(b"x", EntryKind.FILE)])
    Full(monkeypatch)

    async def main() -> None:
        pump = WritePump(disk.sink)
        pump.submit([ops.Begin(0, file_entry(b"x", b"data"), 1 << 20), ops.Write(0, 0, b"data")])
        while not pump.held:
            await pump.get()
        pump.give_up()
        writing = Writing(pump)
        await writing.until(1)
        (failed,) = writing.results
        assert isinstance(failed, ops.WriteFailed)
        assert failed.reason is Reason.DISK
        await pump.close()
        assert not pump.held

    run(main())
    assert snapshot(tmp_path) == {}


def test_closing_ends_the_wait_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Runner) -> None:
    disk = Disk(tmp_path, [(b"x", EntryKind.FILE)])
    Full(monkeypatch)
    monkeypatch.setattr(write_thread, "RETRY_SECONDS", 3600.0)

    async def main() -> None:
        pump = WritePump(disk.sink)
        pump.submit([ops.Begin(0, file_entry(b"x", b"data"), 1 << 20), ops.Write(0, 0, b"data")])
        while not pump.held:
            await pump.get()
        assert await pump.close() == []

    run(main())
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize("keep", [True, False])
def test_closing_keeps_the_unfinished_if_told(tmp_path: Path, run: Runner, keep: bool) -> None:
    data = os.urandom(2 << 20)
    kept = Kept(tmp_path, [file_entry(b"x", data)])

    async def main() -> None:
        pump = WritePump(kept.sink)
        pump.submit([ops.Begin(0, kept.entries[0], 1 << 20), ops.Write(0, 0, data[:1000])])
        executed = 0
        while executed < 2:
            executed += (await pump.get())[1]
        assert await pump.close(keep) == []
        assert await pump.close(not keep) == []

    run(main())
    kept.journal.close()
    assert bool(part_files(kept.out)) is keep
    resume, _ = kept.look()
    assert bool(resume.claims) is keep
    kept.stop()


def test_after_a_fault_of_the_peer_the_unfinished_is_kept(tmp_path: Path, run: Runner) -> None:
    data = os.urandom(2 << 20)
    kept = Kept(tmp_path, [file_entry(b"x", data)])

    async def main() -> None:
        pump = WritePump(kept.sink)
        pump.submit([ops.Begin(0, kept.entries[0], 1 << 20), ops.Write(0, 0, data[:1000]), ops.Write(7, 0, b"x")])
        with pytest.raises(ProtocolError):
            await Writing(pump).until(1)
        await pump.close()

    run(main())
    kept.journal.close()
    assert kept.look()[0].claims[0].head == 1000
    kept.stop()


def test_what_arrived_is_claimed_though_nothing_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Runner
) -> None:
    monkeypatch.setattr("p2pal.disk.sink.claims.CLAIM_SECONDS", 0.01)
    data = os.urandom(2 << 20)
    kept = Kept(tmp_path, [file_entry(b"x", data)])
    claimed = threading.Event()
    write = kept.journal.write

    def heard(*records: CheckpointRecord, durable: bool = False) -> bool:
        written = write(*records, durable=durable)
        if Claimed(0, 0, b"", 0, 1000) in records and durable:
            claimed.set()
        return written

    monkeypatch.setattr(
        type(kept.journal), "write", lambda _, *records, durable=False: heard(*records, durable=durable)
    )

    async def main() -> None:
        pump = WritePump(kept.sink)
        pump.submit([ops.Begin(0, kept.entries[0], 1 << 20), ops.Write(0, 0, data[:1000])])
        assert await asyncio.to_thread(claimed.wait, 60)
        await pump.close(keep=True)

    run(main())
    kept.journal.close()

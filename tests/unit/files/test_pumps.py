from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.files.disk import (
    Disk,
    digest_of,
    directory_entry,
    file_entry,
    job_for,
    part_files,
    snapshot,
    walk_of,
)
from tests.unit.files.sessions import Kept

from p2pal.errors import ProtocolError
from p2pal.files import arriving, pumps
from p2pal.files.pumps import READ_AHEAD, ReadPump, WritePump
from p2pal.files.source import Source
from p2pal.transfer import ops
from p2pal.transfer.checkpoint import Claimed, Record
from p2pal.transfer.pieces import piece_size
from p2pal.wire.transfer import Entry, Kind, Reason

Runner = Callable[[Coroutine[Any, Any, None]], None]
TOP = [(b"top", Kind.DIRECTORY)]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Runner:
    if request.param == "asyncio":
        return asyncio.run
    uvloop = pytest.importorskip("uvloop")

    def run_on_uvloop(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)

    return run_on_uvloop


async def read_all(pump: ReadPump, files: int) -> tuple[list[ops.SourceResult], int]:
    """Return the results of so many files, and how often the loop was woken."""
    results: list[ops.SourceResult] = []
    wakes = 0
    while files:
        batch = await pump.get()
        wakes += 1
        assert batch
        results += batch
        files -= sum(isinstance(result, ops.FileRead | ops.ReadFailed) for result in batch)
    return results, wakes


def tree_of(path: Path, count: int) -> tuple[Source, list[Entry]]:
    top = path / "top"
    top.mkdir()
    for number in range(count):
        (top / f"{number:05}").write_bytes(b"%05d" % number)
    source = Source([top], recursive=True)
    return source, walk_of(source)[0]


def test_many_small_files_wake_the_loop_seldom(tmp_path: Path, run: Runner) -> None:
    source, entries = tree_of(tmp_path, 1000)

    async def main() -> None:
        pump = ReadPump(source)
        for index, entry in enumerate(entries[1:], 1):
            pump.submit(job_for(index, entry))
        results, wakes = await read_all(pump, 1000)
        assert wakes <= 100
        blocks = [result for result in results if isinstance(result, ops.BlockRead)]
        assert [bytes(block.data) for block in blocks] == [b"%05d" % number for number in range(1000)]
        pump.close()
        assert await asyncio.to_thread(pump.join, 60)

    run(main())


def test_jobs_that_come_one_by_one_are_answered_at_once(tmp_path: Path, run: Runner) -> None:
    source, entries = tree_of(tmp_path, 5)

    async def main() -> None:
        pump = ReadPump(source)
        for index, entry in enumerate(entries[1:], 1):
            waiting = asyncio.ensure_future(read_all(pump, 1))
            await asyncio.sleep(0)
            pump.submit(job_for(index, entry))
            results, _ = await waiting
            assert results[-1] == ops.FileRead(index, digest_of(b"%05d" % (index - 1)))
        pump.close()

    run(main())


def test_reading_stops_when_nobody_takes(tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 3 * READ_AHEAD
    with (tmp_path / "x").open("wb") as file:
        file.truncate(size)
    source = Source([tmp_path / "x"], recursive=False)
    (entry,), _ = walk_of(source)
    full = threading.Event()
    given = []
    read = source.read

    def counted(job: ops.ReadJob) -> Iterator[ops.SourceResult]:
        for result in read(job):
            given.append(result)
            if sum(len(each.data) for each in given if isinstance(each, ops.BlockRead)) >= READ_AHEAD:
                full.set()
            yield result

    monkeypatch.setattr(source, "read", counted)

    async def main() -> None:
        pump = ReadPump(source)
        pump.submit(job_for(0, entry))
        assert await asyncio.to_thread(full.wait, 60)
        assert pump._bytes <= READ_AHEAD + (1 << 20) + 4096
        results, _ = await read_all(pump, 1)
        assert results[-1] == ops.FileRead(0, digest_of(bytes(size)))
        assert sum(len(each.data) for each in results if isinstance(each, ops.BlockRead)) == size
        assert pump._bytes == 0
        pump.close()

    run(main())


def test_a_pump_that_waits_for_room_can_be_closed(tmp_path: Path, run: Runner) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(3 * READ_AHEAD)
    before = len(os.listdir("/proc/self/fd"))
    source = Source([tmp_path / "x"], recursive=False)
    (entry,), _ = walk_of(source)

    async def main() -> None:
        pump = ReadPump(source)
        pump.submit(job_for(0, entry))
        await pump.get()
        pump.close()
        assert await asyncio.to_thread(pump.join, 60)

    run(main())
    assert len(os.listdir("/proc/self/fd")) <= before


def test_an_exception_in_the_reader_comes_after_the_results(
    tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, entries = tree_of(tmp_path, 1)
    read = source.read

    def broken(job: ops.ReadJob) -> Iterator[ops.SourceResult]:
        yield from read(job)
        raise ZeroDivisionError

    monkeypatch.setattr(source, "read", broken)

    async def main() -> None:
        pump = ReadPump(source)
        pump.submit(job_for(1, entries[1]))
        await read_all(pump, 1)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await pump.get()
        pump.close()

    run(main())


class Writing:
    """A write pump, and all that it gave back."""

    def __init__(self, pump: WritePump) -> None:
        self.pump = pump
        self.results: list[ops.SinkResult] = []
        self.executed = 0

    async def until(self, count: int) -> None:
        """Take results until there are so many."""
        while len(self.results) < count:
            results, executed = await self.pump.get()
            assert results or executed
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
    disk = Disk(tmp_path, [(b"x", Kind.FILE), (b"y", Kind.FILE)])

    async def main() -> None:
        writing = Writing(WritePump(disk.sink))
        for index, name in enumerate((b"x", b"y")):
            writing.pump.submit(whole_file(index, name, b"data"))
            await writing.until(index + 1)
        assert writing.results == [ops.EntryDone(0), ops.EntryDone(1)]
        await writing.pump.close()

    run(main())


def test_credit_comes_back_in_small_steps(tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pumps, "_PUBLISH_BYTES", 1)
    disk = Disk(tmp_path, [(b"x", Kind.FILE)])
    data = bytes(3 << 20)

    async def main() -> None:
        writing = Writing(WritePump(disk.sink))
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
        assert all(isinstance(result, ops.EntryFailed) for result in writing.results)
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


def test_threads_survive_a_loop_that_is_gone(tmp_path: Path, run: Runner) -> None:
    source, entries = tree_of(tmp_path, 1)
    (tmp_path / "out").mkdir()
    disk = Disk(tmp_path / "out", TOP)
    made: list[ReadPump | WritePump] = []

    async def main() -> None:
        made.extend((ReadPump(source), WritePump(disk.sink)))

    run(main())
    reader, writer = made
    assert isinstance(reader, ReadPump)
    assert isinstance(writer, WritePump)
    reader.submit(job_for(1, entries[1]))
    writer.submit(whole_file(0, b"top", b"1"))
    with writer._changed:
        writer._closing = True
        writer._changed.notify()
    writer._thread.join(60)
    assert not writer._thread.is_alive()
    reader.close()
    assert reader.join(60)


class Full:
    """A disk that is full until it is emptied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
        self.full = True
        self.number = number
        self.tries = 0
        self.tried = threading.Event()
        self._write = arriving._write_some
        monkeypatch.setattr(arriving, "_write_some", self._write_some)
        monkeypatch.setattr(pumps, "RETRY_SECONDS", 0.01)

    def _write_some(self, fd: int, data: bytes | memoryview, offset: int) -> int:
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
    disk = Disk(tmp_path, [(b"x", Kind.FILE)])
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
    disk = Disk(tmp_path, [(b"x", Kind.FILE)])
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
        assert isinstance(failed, ops.EntryFailed)
        assert failed.reason is Reason.DISK
        await pump.close()
        assert not pump.held

    run(main())
    assert snapshot(tmp_path) == {}


def test_closing_ends_the_wait_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Runner) -> None:
    disk = Disk(tmp_path, [(b"x", Kind.FILE)])
    Full(monkeypatch)
    monkeypatch.setattr(pumps, "RETRY_SECONDS", 3600.0)

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
    monkeypatch.setattr("p2pal.files.claiming.CLAIM_SECONDS", 0.01)
    data = os.urandom(2 << 20)
    kept = Kept(tmp_path, [file_entry(b"x", data)])
    claimed = threading.Event()
    write = kept.journal.write

    def heard(*records: Record, durable: bool = False) -> bool:
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


def test_a_source_may_outlive_its_pump(tmp_path: Path, run: Runner) -> None:
    source, entries = tree_of(tmp_path, 2)

    async def main() -> None:
        for index in (1, 2):
            pump = ReadPump(source, close_source=False)
            pump.submit(job_for(index, entries[index]))
            results, _ = await read_all(pump, 1)
            assert isinstance(results[-1], ops.FileRead)
            pump.close()
            assert await asyncio.to_thread(pump.join, 60)

    run(main())
    source.close()

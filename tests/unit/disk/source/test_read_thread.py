from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.disk.disk import (
    digest_of,
    job_for,
    walk_of,
)
from tests.unit.disk.loops import Runner

from p2pal.disk.source.read_thread import READ_AHEAD, ReadPump
from p2pal.disk.source.source import Source
from p2pal.transfer import ops
from p2pal.wire.transfer import Entry


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


def test_the_thread_survives_a_loop_that_is_gone(tmp_path: Path, run: Runner) -> None:
    source, entries = tree_of(tmp_path, 1)
    made: list[ReadPump] = []

    async def main() -> None:
        made.append(ReadPump(source))

    run(main())
    (reader,) = made
    reader.submit(job_for(1, entries[1]))
    reader.close()
    assert reader.join(60)

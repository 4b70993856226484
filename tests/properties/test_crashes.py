"""Whatever fails or stops, and whenever: what stands under a name is right, and what goes on becomes identical."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest
from tests.properties.faulty_disk import FaultyDisk, PowerCut, on
from tests.unit.disk.disk import digest_of, directory_entry, file_entry, link_entry, part_files, snapshot

from p2pal.checkpoint.records import VERSION, CheckpointHeader, Places, Resume
from p2pal.checkpoint.replay import ReceiveState
from p2pal.disk.checkpoints.store import Checkpoints, OpenedCheckpoint
from p2pal.disk.fs.os_errors import DiskFull
from p2pal.disk.sink import claims
from p2pal.disk.sink.placement import Placement, plan
from p2pal.disk.sink.sink import Sink
from p2pal.disk.sink.survey import survey
from p2pal.ranges import RangeSet
from p2pal.transfer import ops
from p2pal.transfer.manifest import Manifest
from p2pal.wire.pieces import leaf, piece_count, piece_size
from p2pal.wire.transfer import Entry, EntryKind, Reason

MEMORY: Final = "/dev/shm"  # the disk's own slowness proves nothing
CHUNK: Final = 256 << 10
ID: Final = "abcdefghijklmnopqrstuvwxyz"
TAG: Final = ID[:8]
FRESH: Final = Resume(RangeSet(), RangeSet(), {})

_random = random.Random(7)
CONTENT: Final[dict[bytes, bytes]] = {
    b"old": b"the new one",
    b"top/big": _random.randbytes((2 << 20) + (300 << 10)),
    b"top/d/a": b"a" * 5000,
    b"top/d/b": b"",
    b"top/d/e/c": b"c",
    b"top/z": b"z" * 70_000,
}
ENTRIES: Final[list[Entry]] = [
    file_entry(b"old", CONTENT[b"old"]),
    directory_entry(b"top"),
    file_entry(b"top/big", CONTENT[b"top/big"]),
    directory_entry(b"top/d"),
    file_entry(b"top/d/a", CONTENT[b"top/d/a"]),
    file_entry(b"top/d/b", CONTENT[b"top/d/b"]),
    directory_entry(b"top/d/e"),
    file_entry(b"top/d/e/c", CONTENT[b"top/d/e/c"]),
    link_entry(b"top/l", b"d/a"),
    file_entry(b"top/z", CONTENT[b"top/z"]),
]
EXPECTED: Final[dict[bytes, bytes | None]] = {
    **CONTENT, b"top": None, b"top/d": None, b"top/d/e": None, b"top/l": b"-> d/a"
}  # fmt: skip


def manifest() -> Manifest:
    made = Manifest()
    for entry in ENTRIES:
        made.append(entry)
    return made


class Target:
    """The directory that is written to, the checkpoint beside it, and the sessions one after another."""

    def __init__(self, base: Path) -> None:
        self.root = base / "out"
        self.aside = base / "aside"
        self.aside.mkdir()
        self.root.mkdir()
        (self.root / "old").write_bytes(b"the one before")
        self.checkpoints = Checkpoints(base / "home")
        self.placement: Placement = plan(self.root, [(b"old", EntryKind.FILE), (b"top", EntryKind.DIRECTORY)])
        self.placement.resolve(overwrite=True)
        offered = manifest()
        header = CheckpointHeader(
            VERSION, "receive", ID, bytes(16), bytes(32), 1.0, 1e6, offered.digest(), offered.shape(), len(offered),
            offered.files, offered.total, [b"old", b"top"], 0, target=self.placement.target(TAG),
        )  # fmt: skip
        self.journal = self.checkpoints.create(header, [Places(self.placement.records())])
        self.path = self.journal.path
        self.resume = FRESH
        self.state: ReceiveState | None = None

    def reopen(self) -> OpenedCheckpoint:
        """Begin another session: look at what is there."""
        opened = self.checkpoints.open(ID, "receive")
        state = opened.state
        assert isinstance(state, ReceiveState)
        target = opened.header.target
        assert target is not None
        # A rolled back name has a new ctime here, which it has not on a real disk.
        place = state.places[b"old"]
        with contextlib.suppress(FileNotFoundError):
            found = (self.root / "old").stat()
            if place.replaces == (found.st_dev, found.st_ino):
                state.places[b"old"] = msgspec.structs.replace(place, ctime_ns=found.st_ctime_ns)
        self.placement = Placement.restored(self.root, target.identity, state.places, target.consent_ns)
        self.journal, self.state = opened.journal, state
        self.resume, _ = survey(state, self.placement, manifest(), TAG, verify=False, journal=opened.journal)
        assert opened.begin()
        return opened

    def session(self, stop_after: int = 1 << 30) -> dict[int, Reason] | None:
        """Run one; return what failed, or None if it was stopped after so many operations."""
        sink = Sink(self.placement, TAG, umask=0o022, journal=self.journal, resume=self.state)
        sink.patient = True
        driver = Driver(sink, self.resume)
        try:
            finished = driver.run(stop_after)
            results = sink.suspend_all()
            driver.take(results)
            sink.close()
            self.journal.close()
        except PowerCut:
            _bury(sink)
            os.close(self.journal._fd)
            raise
        assert not driver.repairs, "the checkpoint claimed what the disk had not"
        return driver.failed if finished else None


def _bury(sink: Sink) -> None:
    """Free what a process that is killed frees."""
    with contextlib.suppress(PowerCut):
        sink.close()
    for file in sink._working._files.values():
        if file.fd >= 0:
            os.close(file.fd)


class Driver:
    """What sender and machine do: send what is lacking, repair what is wrong, finish, seal."""

    def __init__(self, sink: Sink, resume: Resume) -> None:
        self.sink = sink
        self.resume = resume
        self.failed: dict[int, Reason] = {}
        self.done: set[int] = set()
        self.again: list[ops.SinkOp] = []
        self.repairs = 0

    def take(self, results: Iterable[ops.SinkResult]) -> None:
        for result in results:
            match result:
                case ops.EntryDone():
                    self.done.add(result.index)
                case ops.WriteFailed():
                    self.failed[result.index] = result.reason
                case ops.PieceBad():
                    self.repairs += 1
                    entry = ENTRIES[result.index]
                    self.again.append(ops.ResetPiece(result.index, result.piece))
                    self.again += piece(result.index, entry, result.piece, 0)
                case ops.DigestBad():
                    self.again.append(finish(result.index, ENTRIES[result.index]))

    def run(self, stop_after: int) -> bool:
        """Send everything; False if it was stopped."""
        count = 0
        for op in self.operations():
            if count >= stop_after:
                return False
            count += 1
            if isinstance(op, ops.Begin | ops.Write | ops.CheckPiece | ops.Finish) and op.index in self.failed:
                continue
            self.take(self.execute(op))
            self.take(self.sink.poll(idle=False))
            if Reason.DISK in self.failed.values():
                return True
        return True

    def execute(self, op: ops.SinkOp) -> list[ops.SinkResult]:
        try:
            return self.sink.execute(op)
        except DiskFull:  # there is room again at once
            return self.sink.execute(op)

    def operations(self) -> Iterator[ops.SinkOp]:
        for index, entry in enumerate(ENTRIES):
            if index in self.resume.done:
                continue
            if entry.kind is EntryKind.DIRECTORY:
                yield ops.MakeDirectory(index, entry)
            elif entry.kind is EntryKind.FILE:
                yield from self.file(index, entry)
        yield from self.repair()
        for index, entry in enumerate(ENTRIES):
            if entry.kind is EntryKind.LINK and index not in self.resume.done:
                yield ops.MakeLink(index, entry)
        yield ops.Seal()

    def file(self, index: int, entry: Entry) -> Iterator[ops.SinkOp]:
        size = piece_size(entry.size)
        claim = self.resume.claims.get(index)
        yield ops.Begin(index, entry, size, claim)
        for number in range(piece_count(entry.size, size)):
            if claim is None or number not in claim.leaves:
                head = claim.head if claim is not None and claim.piece == number else 0
                yield from piece(index, entry, number, head)
        yield finish(index, entry)

    def repair(self) -> Iterator[ops.SinkOp]:
        """Wait until every file ended, and repair what is found wrong."""
        files = [i for i, entry in enumerate(ENTRIES) if entry.kind is EntryKind.FILE and i not in self.resume.done]
        for _ in range(10):
            while self.again:
                yield self.again.pop(0)
            if all(index in self.done or index in self.failed for index in files):
                return
            self.sink._verifying.wait(ended=False)
            self.take(self.sink.poll(idle=True))
            self.take(self.sink._finish_batches())
        raise AssertionError("some files never end")


def piece(index: int, entry: Entry, number: int, head: int) -> Iterator[ops.SinkOp]:
    size = piece_size(entry.size)
    data = CONTENT[entry.path][number * size : (number + 1) * size]
    for start in range(head, len(data), CHUNK):
        yield ops.Write(index, number * size + start, data[start : start + CHUNK])
    if piece_count(entry.size, size) > 1:
        yield ops.CheckPiece(index, number, leaf(data))


def finish(index: int, entry: Entry) -> ops.Finish:
    return ops.Finish(index, digest_of(CONTENT[entry.path]))


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claim after every write: the more happens, the more can go wrong."""
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 0.0)


@contextlib.contextmanager
def target() -> Iterator[Target]:
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as path:
        yield Target(Path(path))


def nothing_is_wrong(target: Target) -> None:
    """No name stands for anything but what was sent, or what stood there before."""
    for path, content in snapshot(target.root).items():
        if os.path.basename(path).startswith(b".p2pal-"):
            continue
        right = content == EXPECTED[path] or (path == b"old" and content == b"the one before")
        assert right, f"{path!r} is wrong"


def all_is_well(target: Target) -> None:
    """The next session completes everything, and leaves nothing that the checkpoint knew of.

    A power cut may leave a part file and take the record of it; that one is nobody's then.
    """
    state = target.reopen().state
    assert isinstance(state, ReceiveState)
    known = {(b"-%d.part" % index, begun.part[1]) for index, begun in state.begun.items()}
    found_parts = {path: (path[path.rindex(b"-") :], inode(target, path)) for path in part_files(target.root)}
    strangers = {path for path, part in found_parts.items() if part not in known}
    assert target.session() == {}
    found = snapshot(target.root)
    for path in part_files(target.root):
        assert path in strangers
        del found[path]
    assert found == EXPECTED


def inode(target: Target, path: bytes) -> int:
    return os.lstat(os.path.join(os.fsencode(target.root), path)).st_ino


def strike(target: Target, fault: str | int, at: int, *, rng: random.Random | None, stop_after: int = 1 << 30) -> bool:
    """Run a session with one fault; say whether it came to that. With ``rng`` what was not durable may be lost."""
    disk = FaultyDisk(target.root, target.aside, fault, at)
    try:
        try:
            with on(disk):
                failed = target.session(stop_after)
            assert failed is None or set(failed.values()) <= {Reason.DISK}
        except PowerCut:
            failed = None
        if rng is not None:
            disk.lose(rng, target.path)
        if failed == {}:
            found = snapshot(target.root)
            assert {path: found.get(path) for path in EXPECTED} == EXPECTED, "what was said to be done was lost"
    finally:
        disk.close()
    nothing_is_wrong(target)
    return disk.struck


def every_operation(run: Callable[[int], bool]) -> None:
    """Strike at each operation in turn, until a session is over before."""
    for at in range(1000):
        if not run(at):
            assert at > 40
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("seed", range(2))
def test_a_power_cut_at_any_operation(seed: int) -> None:
    def run(at: int) -> bool:
        with target() as there:
            struck = strike(there, "cut", at, rng=random.Random(seed * 1000 + at))
            all_is_well(there)
            return struck

    every_operation(run)


def test_a_kill_at_any_operation_leaves_nothing_behind() -> None:
    def run(at: int) -> bool:
        with target() as there:
            struck = strike(there, "cut", at, rng=None)
            all_is_well(there)
            assert part_files(there.root) == []
            return struck

    every_operation(run)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, "short"])
def test_an_operation_that_fails_or_does_half(fault: int | str) -> None:
    def run(at: int) -> bool:
        with target() as there:
            struck = strike(there, fault, at, rng=None)
            all_is_well(there)
            assert part_files(there.root) == []
            return struck

    every_operation(run)


@pytest.mark.parametrize("seed", range(30))
def test_one_misfortune_after_another(seed: int) -> None:
    rng = random.Random(seed)
    with target() as there:
        for number in range(5):
            if number:
                there.reopen()
            fault = rng.choice(("cut", "cut", "short", errno.EIO, errno.ENOSPC))
            lossy = rng if rng.random() < 0.7 else None
            stop_after = rng.choice((rng.randint(1, 30), 1 << 30))
            strike(there, fault, rng.randint(0, 60), rng=lossy, stop_after=stop_after)
        all_is_well(there)

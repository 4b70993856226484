"""The queue of operations: order, memory, and what is dropped with a file that is given up."""

from __future__ import annotations

from p2pal.transfer import ops
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.write_queue import JUDGED, WANTED, OpQueue
from p2pal.wire.transfer import Entry, EntryKind

KINDS = [
    EntryKind.DIRECTORY,
    EntryKind.DIRECTORY,
    EntryKind.FILE,
    EntryKind.DIRECTORY,
    EntryKind.LINK,
    EntryKind.FILE,
    EntryKind.LINK,
]


def queue() -> tuple[OpQueue, bytearray]:
    manifest = Manifest()
    for number, kind in enumerate(KINDS):
        manifest.append(Entry(b"%d" % number, kind))
    status = bytearray(kind | WANTED for kind in KINDS)
    return OpQueue(manifest, status), status


def drain(operations: OpQueue) -> list[ops.SinkOp]:
    taken = []
    while (op := operations.take()) is not None:
        taken.append(op)
    assert operations.backlog == 0
    return taken


def test_directories_are_made_once_and_before_what_follows() -> None:
    operations, _ = queue()
    operations.make_directories(2)
    operations.add(ops.Discard(2))
    operations.make_directories(2)
    operations.make_directories(7)
    assert [(type(op), op.index) for op in drain(operations) if not isinstance(op, ops.Seal)] == [
        (ops.MakeDirectory, 0), (ops.MakeDirectory, 1), (ops.Discard, 2), (ops.MakeDirectory, 3)
    ]  # fmt: skip
    assert operations.handed == 3


def test_links_and_directories_that_are_not_wanted_are_not_made() -> None:
    operations, status = queue()
    status[0] |= JUDGED
    status[4] |= JUDGED
    operations.make_directories(7)
    operations.make_links()
    assert [op.index for op in drain(operations) if not isinstance(op, ops.Seal)] == [1, 3, 6]


def test_a_million_directories_wait_as_one() -> None:
    operations, _ = queue()
    before = operations.backlog
    operations.make_directories(7)
    assert operations.backlog - before < 1000


def test_the_backlog_counts_bytes() -> None:
    operations, _ = queue()
    operations.write(ops.Write(2, 0, bytes(5000)))
    assert operations.backlog > 5000
    drain(operations)


def test_what_is_given_up_is_not_written() -> None:
    operations, _ = queue()
    operations.make_directories(2)
    for index in (2, 5):
        operations.write(ops.Write(index, 0, bytes(5000)))
        operations.add(ops.CheckPiece(index, 0, bytes(32)))
    operations.drop({2})
    kept = drain(operations)
    assert [(type(op), op.index) for op in kept if not isinstance(op, ops.Seal)] == [
        (ops.MakeDirectory, 0), (ops.MakeDirectory, 1), (ops.Write, 5), (ops.CheckPiece, 5)
    ]  # fmt: skip

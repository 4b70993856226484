from __future__ import annotations

import contextlib
import errno
import os
import stat
import tracemalloc
from pathlib import Path

import pytest
from tests.unit.disk.disk import (
    MTIME,
    TAG,
    Disk,
    as_nobody,
    digest_of,
    directory_entry,
    file_entry,
    part_files,
    public_directory,
    snapshot,
)
from tests.unit.disk.sessions import Kept

from p2pal.disk.fs.free_names import MOST_NUMBERS
from p2pal.disk.fs.os_errors import DISK_FULL, sink_failure
from p2pal.disk.sink import batches, claims
from p2pal.disk.sink.open_files import MAX_OPEN
from p2pal.disk.sink.placement import plan
from p2pal.disk.sink.sink import Sink
from p2pal.errors import DiskError, ProtocolError
from p2pal.transfer import ops
from p2pal.wire.pieces import leaf
from p2pal.wire.transfer import EntryKind, Reason

PIECE = 1 << 20
TOP = [(b"top", EntryKind.DIRECTORY)]
ONE = [(b"x", EntryKind.FILE)]


def test_a_file_arrives_with_its_mode_and_time(tmp_path: Path) -> None:
    with Disk(tmp_path, ONE) as disk:
        index = disk.file(b"x", b"data", mode=0o775)
        assert (tmp_path / "x").exists() is False
        disk.seal()
        assert disk.done == {index}
    found = (tmp_path / "x").stat()
    assert (tmp_path / "x").read_bytes() == b"data"
    assert stat.S_IMODE(found.st_mode) == 0o755
    assert found.st_mtime_ns == MTIME
    assert part_files(tmp_path) == []


def test_the_part_file_is_private_and_beside_its_target(tmp_path: Path) -> None:
    with Disk(tmp_path, TOP) as disk:
        disk.directory(b"top")
        index = disk.begin(file_entry(b"top/x", b"data"))
        part = tmp_path / "top" / f".p2pal-{TAG}-{index}.part"
        assert stat.S_IMODE(part.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "top").stat().st_mode) == 0o700


def test_a_tree_arrives(tmp_path: Path) -> None:
    with Disk(tmp_path, TOP) as disk:
        disk.directory(b"top", 0o555)
        disk.directory(b"top/empty", 0o700)
        disk.directory(b"top/d", 0o777)
        disk.file(b"top/d/x", b"1")
        disk.file(b"top/zero")
        disk.link(b"top/l", b"d/x")
        disk.link(b"top/d/up", b"../zero")
        disk.seal()
        assert disk.done == set(range(7))
    assert snapshot(tmp_path) == {
        b"top": None, b"top/empty": None, b"top/d": None, b"top/d/x": b"1", b"top/zero": b"", b"top/l": b"-> d/x",
        b"top/d/up": b"-> ../zero",
    }  # fmt: skip
    for name, mode in (("top", 0o555), ("top/empty", 0o700), ("top/d", 0o755)):
        found = (tmp_path / name).stat()
        assert stat.S_IMODE(found.st_mode) == mode
        assert found.st_mtime_ns == MTIME


def test_directories_that_forbid_writing_get_their_mode_last() -> None:
    with public_directory() as path, as_nobody():
        with Disk(path, TOP) as disk:
            disk.directory(b"top", 0o500)
            disk.directory(b"top/d", 0o500)
            disk.file(b"top/d/x", b"1", mode=0o400)
            disk.link(b"top/d/l", b"x")
            disk.seal()
            assert disk.failed == {}
        assert (path / "top" / "d" / "l").read_bytes() == b"1"
        (path / "top").chmod(0o700)
        (path / "top" / "d").chmod(0o700)


def test_a_big_file_arrives_in_any_cut(tmp_path: Path) -> None:
    data = os.urandom(2 * PIECE + 12345)
    with Disk(tmp_path, ONE) as disk:
        index = disk.begin(file_entry(b"x", data))
        for offset in range(0, len(data), 64_512):  # cuts across pieces too
            disk.do(ops.Write(index, offset, memoryview(data)[offset : offset + 64_512]))
        disk.do(ops.Finish(index, digest_of(data)))
        disk.seal()
        assert disk.done == {index}
    assert (tmp_path / "x").read_bytes() == data


def test_damaged_pieces_are_noticed_and_repaired(tmp_path: Path) -> None:
    data = os.urandom(3 * PIECE)
    pieces = [data[i * PIECE : (i + 1) * PIECE] for i in range(3)]
    with Disk(tmp_path, ONE) as disk:
        index = disk.begin(file_entry(b"x", data))
        disk.do(ops.Write(index, 0, pieces[0]), ops.CheckPiece(index, 0, leaf(pieces[0])))
        assert disk.do(
            ops.Write(index, PIECE, bytes(PIECE)),
            ops.CheckPiece(index, 1, leaf(pieces[1])),
            ops.ResetPiece(index, 1),
            ops.Write(index, 2 * PIECE, pieces[2]),
        ) == [ops.PieceBad(index, 1)]
        assert disk.do(ops.Finish(index, digest_of(data))) == [ops.DigestBad(index)]
        disk.do(ops.Write(index, PIECE, pieces[1]), ops.CheckPiece(index, 1, leaf(pieces[1])))
        disk.do(ops.Finish(index, digest_of(data)))
        disk.seal()
        assert disk.done == {index}
    assert (tmp_path / "x").read_bytes() == data


def test_a_damaged_file_of_one_piece_is_repaired(tmp_path: Path) -> None:
    with Disk(tmp_path, ONE) as disk:
        index = disk.begin(file_entry(b"x", b"right"))
        assert disk.do(ops.Write(index, 0, b"wrong"), ops.Finish(index, digest_of(b"right"))) == [ops.DigestBad(index)]
        disk.do(ops.ResetPiece(index, 0), ops.Write(index, 0, b"right"), ops.Finish(index, digest_of(b"right")))
        disk.seal()
    assert (tmp_path / "x").read_bytes() == b"right"


def test_many_files_may_wait_for_repair_with_few_open(tmp_path: Path) -> None:
    count = 3 * MAX_OPEN
    with Disk(tmp_path, TOP) as disk:
        disk.directory(b"top")
        before = len(os.listdir("/proc/self/fd"))
        for number in range(count):
            index = disk.begin(file_entry(b"top/%d" % number, b"right"))
            disk.do(ops.Write(index, 0, b"wrong"), ops.Finish(index, digest_of(b"right")))
        assert len(os.listdir("/proc/self/fd")) <= before + MAX_OPEN + 2
        for index in range(1, count + 1):
            disk.do(ops.ResetPiece(index, 0), ops.Write(index, 0, b"right"), ops.Finish(index, digest_of(b"right")))
        disk.seal()
        assert len(disk.done) == count + 1
    assert {(tmp_path / "top" / str(number)).read_bytes() for number in range(count)} == {b"right"}


def test_a_parked_file_that_was_replaced_fails(tmp_path: Path) -> None:
    with Disk(tmp_path, TOP) as disk:
        disk.directory(b"top")
        for number in range(MAX_OPEN + 1):
            disk.begin(file_entry(b"top/%d" % number, b"right"))
        part = tmp_path / "top" / f".p2pal-{TAG}-1.part"
        part.unlink()
        part.write_bytes(b"other")
        (result,) = disk.do(ops.Write(1, 0, b"right"))
        assert isinstance(result, ops.WriteFailed)
    assert part.read_bytes() == b"other"


@pytest.mark.parametrize(("offset", "data"), [(4, b"xy"), (-1, b"x"), (5, b"x"), (2**63, b"x"), (0, b"123456")])
def test_writes_past_the_declared_size_are_the_peers_fault(tmp_path: Path, offset: int, data: bytes) -> None:
    with Disk(tmp_path, ONE) as disk:
        index = disk.begin(file_entry(b"x", b"12345"))
        with pytest.raises(ProtocolError):
            disk.do(ops.Write(index, offset, data))
        (part,) = part_files(tmp_path)
        assert (tmp_path / part.decode()).read_bytes() == b""


def test_operations_that_no_honest_sender_causes(tmp_path: Path) -> None:
    with Disk(tmp_path, ONE) as disk:
        for op in (ops.Write(5, 0, b"x"), ops.Finish(5, b""), ops.CheckPiece(5, 0, b""), ops.ResetPiece(5, 0)):
            with pytest.raises(ProtocolError):
                disk.do(op)
        index = disk.begin(file_entry(b"x", b"12345"))
        with pytest.raises(ProtocolError):
            disk.do(ops.Begin(index, file_entry(b"x", b"12345"), PIECE))
        with pytest.raises(ProtocolError):
            disk.do(ops.Write(index, 1, b"2"))
        disk.do(ops.Write(index, 0, b"12345"))
        with pytest.raises(ProtocolError):
            disk.do(ops.Write(index, 0, b"1"))
        with pytest.raises(ProtocolError):
            disk.begin(file_entry(b"never offered", b""))


def test_a_discarded_file_leaves_nothing(tmp_path: Path) -> None:
    with Disk(tmp_path, ONE) as disk:
        index = disk.begin(file_entry(b"x", b"data"))
        disk.do(ops.Write(index, 0, b"da"), ops.Discard(index), ops.Write(index, 2, b"ta"), ops.Finish(index, b""))
        disk.do(ops.Discard(99))
        assert snapshot(tmp_path) == {}
        disk.seal()
        assert disk.results == [ops.Sealed()]


def test_a_file_that_failed_costs_one_byte(tmp_path: Path) -> None:
    with Disk(tmp_path / "out", [(b"f", EntryKind.FILE)]) as disk:
        tracemalloc.start()
        try:
            for index in reversed(range(20_000)):
                disk.sink.execute(ops.Discard(index))
            assert tracemalloc.get_traced_memory()[0] < 50_000
        finally:
            tracemalloc.stop()
        assert disk.do(ops.Write(0, 0, b"late"), ops.Write(19_999, 0, b"late")) == []
        with pytest.raises(ProtocolError):
            disk.do(ops.Write(20_000, 0, b"never begun"))


def test_what_was_not_completed_fails_at_the_seal(tmp_path: Path) -> None:
    with Disk(tmp_path, ONE) as disk:
        index = disk.begin(file_entry(b"x", b"data"))
        disk.seal()
        assert disk.failed == {index: Reason.OTHER}
    assert snapshot(tmp_path) == {}


def test_closing_removes_the_unfinished_and_keeps_the_verified(tmp_path: Path) -> None:
    disk = Disk(tmp_path, TOP)
    disk.directory(b"top")
    disk.file(b"top/whole", b"1")
    index = disk.begin(file_entry(b"top/half", b"12"))
    disk.do(ops.Write(index, 0, b"1"))
    assert disk.sink.discard_all() == [ops.EntryDone(1)]
    disk.sink.close()
    assert snapshot(tmp_path) == {b"top": None, b"top/whole": b"1"}


def test_discarding_spares_what_is_not_ours(tmp_path: Path) -> None:
    disk = Disk(tmp_path, ONE)
    disk.begin(file_entry(b"x", b"12"))
    (part,) = part_files(tmp_path)
    path = tmp_path / part.decode()
    path.unlink()
    path.write_bytes(b"somebody else's")
    other = tmp_path / f".p2pal-{TAG}-99.part"
    other.write_bytes(b"from another time")
    disk.sink.close()
    assert path.read_bytes() == b"somebody else's"
    assert other.read_bytes() == b"from another time"


def test_a_part_file_replaced_before_the_rename_is_not_given_the_name(tmp_path: Path) -> None:
    with Disk(tmp_path, ONE) as disk:
        index = disk.file(b"x", b"right")
        (part,) = part_files(tmp_path)
        path = tmp_path / part.decode()
        path.unlink()
        path.write_bytes(b"forged")
        disk.seal()
        assert disk.failed == {index: Reason.OTHER}
        assert not (tmp_path / "x").exists()
        assert path.read_bytes() == b"forged"


# What exists


def test_an_existing_file_is_never_replaced_without_consent(tmp_path: Path) -> None:
    with Disk(tmp_path, ONE) as disk:
        (tmp_path / "x").write_bytes(b"came after the plan")
        index = disk.file(b"x", b"new")
        disk.seal()
        assert disk.done == {index}
        assert disk.named == {index: b"x (1)"}
    assert snapshot(tmp_path) == {b"x": b"came after the plan", b"x (1)": b"new"}


def test_a_file_that_appears_while_another_arrives_is_not_replaced(tmp_path: Path) -> None:
    with Disk(tmp_path, ONE) as disk:
        index = disk.file(b"x", b"new")
        (tmp_path / "x").write_bytes(b"appeared")
        disk.seal()
        assert disk.done == {index}
        assert disk.named == {index: b"x (1)"}
    assert snapshot(tmp_path) == {b"x": b"appeared", b"x (1)": b"new"}


def test_the_new_one_stands_beside_the_old(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "f").write_bytes(b"old")
    with Disk(tmp_path, [*ONE, *TOP]) as disk:
        disk.file(b"x", b"new")
        disk.directory(b"top")
        disk.file(b"top/f", b"new")
        disk.seal()
        assert disk.failed == {}
    assert snapshot(tmp_path) == {
        b"x": b"old", b"x (1)": b"new", b"top": None, b"top/f": b"old", b"top (1)": None, b"top (1)/f": b"new",
    }  # fmt: skip


def test_consent_is_for_the_file_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with Disk(tmp_path, ONE, overwrite=True) as disk:
        disk.file(b"x", b"new")
        disk.seal()
        assert disk.failed == {}
    assert snapshot(tmp_path) == {b"x": b"new"}
    with Disk(tmp_path, ONE, overwrite=True) as disk:
        (tmp_path / "other").write_bytes(b"precious")
        (tmp_path / "other").rename(tmp_path / "x")
        index = disk.file(b"x", b"newer")
        disk.seal()
        assert disk.named == {index: b"x (1)"}
    assert snapshot(tmp_path) == {b"x": b"precious", b"x (1)": b"newer"}


def test_consent_ends_when_the_file_is_replaced_while_another_arrives(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with Disk(tmp_path, ONE, overwrite=True) as disk:
        index = disk.file(b"x", b"new")
        (tmp_path / "other").write_bytes(b"precious")
        (tmp_path / "other").rename(tmp_path / "x")
        disk.seal()
        assert disk.named == {index: b"x (1)"}
    assert snapshot(tmp_path) == {b"x": b"precious", b"x (1)": b"new"}


def test_a_consented_file_that_is_gone_is_simply_made(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with Disk(tmp_path, ONE, overwrite=True) as disk:
        (tmp_path / "x").unlink()
        disk.file(b"x", b"new")
        disk.seal()
        assert disk.failed == {}
    assert snapshot(tmp_path) == {b"x": b"new"}


def test_merging_replaces_files_and_keeps_the_rest(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "d").mkdir(parents=True)
    (top / "d").chmod(0o770)
    (top / "d" / "same").write_bytes(b"old")
    (top / "d" / "kept").write_bytes(b"kept")
    (top / "l").symlink_to("d")
    with Disk(tmp_path, TOP, overwrite=True) as disk:
        disk.directory(b"top")
        disk.directory(b"top/d", 0o700)
        disk.directory(b"top/new")
        disk.file(b"top/d/same", b"new")
        disk.link(b"top/l", b"new")
        disk.link(b"top/d/l2", b"same")
        disk.seal()
        assert disk.failed == {}
        assert disk.done == set(range(6))
    assert snapshot(top) == {
        b"d": None, b"d/same": b"new", b"d/kept": b"kept", b"l": b"-> new", b"new": None, b"d/l2": b"-> same",
    }  # fmt: skip
    assert stat.S_IMODE((top / "d").stat().st_mode) == 0o770


def test_merging_replaces_neither_links_nor_directories_by_files(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "d").mkdir(parents=True)
    (tmp_path / "victim").write_bytes(b"precious")
    (top / "l").symlink_to("../victim")
    (top / "f").write_bytes(b"file")
    (top / "g").write_bytes(b"file")
    with Disk(tmp_path, TOP, overwrite=True) as disk:
        disk.directory(b"top")
        file, over, directory = disk.file(b"top/d", b"1"), disk.file(b"top/l", b"2"), disk.directory(b"top/f")
        link = disk.link(b"top/g", b"d")
        disk.seal()
        assert disk.failed == {}
        assert disk.named == {file: b"d (1)", over: b"l (1)", directory: b"f (1)", link: b"g (1)"}
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert snapshot(top) == {
        b"d": None, b"d (1)": b"1", b"l": b"-> ../victim", b"l (1)": b"2", b"f": b"file", b"f (1)": None,
        b"g": b"file", b"g (1)": b"-> d",
    }  # fmt: skip


def test_a_transfer_never_replaces_its_own_files(tmp_path: Path) -> None:
    """On a file system that ignores case, two names of one payload can mean one file; here a name comes twice."""
    (tmp_path / "top" / "d").mkdir(parents=True)
    with Disk(tmp_path, TOP, overwrite=True) as disk:
        disk.directory(b"top")
        disk.directory(b"top/d")
        disk.file(b"top/x", b"first")
        disk.results += disk.sink._commit.drain() + disk.sink._batches._hand_over() + disk.sink._commit.drain()
        second, twice = disk.file(b"top/x", b"second"), disk.directory(b"top/d")
        disk.link(b"top/l", b"x")
        other = disk.link(b"top/l", b"d")
        disk.seal()
        assert disk.failed == {}
        assert disk.named == {second: b"x (1)", twice: b"d (1)", other: b"l (1)"}
    assert snapshot(tmp_path / "top") == {
        b"x": b"first", b"x (1)": b"second", b"d": None, b"d (1)": None, b"l": b"-> x", b"l (1)": b"-> d",
    }  # fmt: skip


def test_a_directory_whose_name_is_taken_meanwhile_stands_beside_it_with_all_that_is_in_it(tmp_path: Path) -> None:
    with Disk(tmp_path, TOP) as disk:
        (tmp_path / "top").mkdir()  # somebody made it after the plan: nothing of ours belongs there
        (tmp_path / "top (1)").write_bytes(b"1")
        top = disk.directory(b"top")
        disk.file(b"top/x", b"1")
        (tmp_path / "top (2)" / "d").symlink_to("x")
        below = disk.directory(b"top/d")
        disk.file(b"top/d/y", b"2")
        disk.link(b"top/l", b"x")
        disk.seal()
        assert disk.failed == {}
        assert disk.named == {top: b"top (2)", below: b"d (1)"}
    assert snapshot(tmp_path) == {
        b"top": None, b"top (1)": b"1", b"top (2)": None, b"top (2)/x": b"1", b"top (2)/d": b"-> x",
        b"top (2)/d (1)": None, b"top (2)/d (1)/y": b"2", b"top (2)/l": b"-> x",
    }  # fmt: skip


def test_one_name_a_thousand_times_is_not_looked_for_without_end(tmp_path: Path) -> None:
    with Disk(tmp_path, TOP) as disk:
        disk.directory(b"top")
        for number in range(MOST_NUMBERS):
            (tmp_path / "top" / ("x" if not number else f"x ({number})")).write_bytes(b"1")
        index = disk.file(b"top/x", b"2")
        disk.seal()
        assert disk.failed == {index: Reason.EXISTS}


def test_a_directory_that_could_not_be_made_gets_no_children(tmp_path: Path) -> None:
    with Disk(tmp_path, TOP) as disk:
        disk.directory(b"top")
        failing = [disk.directory(b"top/con\0"), disk.file(b"top/con\0/x", b"1")]
        disk.seal()
        assert disk.failed == dict.fromkeys(failing, Reason.NAME)
    assert snapshot(tmp_path) == {b"top": None}


def test_entries_without_their_directory_fail(tmp_path: Path) -> None:
    with Disk(tmp_path, TOP) as disk:
        index = disk.file(b"top/missing/x", b"1")
        link = disk.link(b"top/missing/l", b"x")
        disk.seal()
        assert disk.failed == {index: Reason.OTHER, link: Reason.OTHER}
    assert snapshot(tmp_path) == {}


# The disk refuses


def test_a_forbidden_directory_is_a_permission_failure() -> None:
    with public_directory() as path:
        (path / "top").mkdir(mode=0o755)
        with as_nobody(), Disk(path, TOP, overwrite=True) as disk:
            (path / "top").chmod(0o555) if os.geteuid() == path.stat().st_uid else None
            disk.directory(b"top")
            failing = [disk.file(b"top/x", b"1"), disk.directory(b"top/d"), disk.link(b"top/l", b"x")]
            disk.seal()
            assert disk.failed == dict.fromkeys(failing, Reason.PERMISSION)
        (path / "top").chmod(0o755)


def test_a_full_disk_fails_the_file_and_removes_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with Disk(tmp_path, ONE) as disk:
        index = disk.begin(file_entry(b"x", b"1"))
        monkeypatch.setattr("p2pal.disk.sink.part_file.write_some", full)
        assert disk.do(ops.Write(index, 0, b"1")) == [ops.WriteFailed(index, Reason.DISK, DISK_FULL)]
        assert snapshot(tmp_path) == {}


def test_a_failed_sync_fails_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("p2pal.disk.sink.group_commit.sync_file", broken)
    with Disk(tmp_path, ONE) as disk:
        index = disk.file(b"x", b"1")
        disk.seal()
        assert disk.failed == {index: Reason.DISK}
    assert snapshot(tmp_path) == {}


def test_big_files_are_synced_on_the_way_and_a_failure_there_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "SYNC_BYTES", PIECE)
    monkeypatch.setattr(claims, "DROP_FROM", 0)
    data = os.urandom(5 * PIECE)
    with Disk(tmp_path, [(b"x", EntryKind.FILE), (b"y", EntryKind.FILE)]) as disk:
        index = disk.file(b"x", data)
        disk.seal()
        assert disk.done == {index}
        assert (tmp_path / "x").read_bytes() == data

        def broken(_: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr("p2pal.disk.sink.group_commit.sync_file", broken)
        index = disk.file(b"y", data)
        disk.seal()
        assert disk.failed == {index: Reason.DISK}
    assert not (tmp_path / "y").exists()


def test_a_root_that_is_no_directory_is_a_disk_error(tmp_path: Path) -> None:
    placement = plan(tmp_path / "out", [(b"a", EntryKind.FILE), (b"b", EntryKind.FILE)])
    placement.resolve(overwrite=False)
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(DiskError, match="did not exist a moment ago"):
        Sink(placement, TAG)


# Batches


def test_a_complete_file_waits_for_nobody_when_the_writer_is_idle(tmp_path: Path) -> None:
    with Disk(tmp_path, ONE) as disk:
        index = disk.file(b"x", b"1")
        assert disk.sink.poll(idle=False) == []
        results = disk.sink.poll(idle=True)
        while not results:
            results = disk.sink.poll(idle=True)
        assert results == [ops.EntryDone(index)]
        assert (tmp_path / "x").read_bytes() == b"1"


def test_a_batch_is_closed_by_its_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_SECONDS", 0.0)
    with Disk(tmp_path, ONE) as disk:
        index = disk.file(b"x", b"1")
        results = disk.sink.poll(idle=False)
        while not results:
            results = disk.sink.poll(idle=False)
        assert results == [ops.EntryDone(index)]


@pytest.mark.parametrize("limit", [1, 7])
def test_a_batch_is_closed_by_its_size(tmp_path: Path, limit: int) -> None:
    with Disk(tmp_path, TOP) as disk:
        disk.sink._batches._limit = limit
        disk.directory(b"top")
        before = len(os.listdir("/proc/self/fd"))
        for number in range(50):
            disk.file(b"top/%d" % number, b"%d" % number)
            assert len(os.listdir("/proc/self/fd")) < before + 3 * limit + 4
        disk.seal()
        assert disk.done == set(range(51))


def test_sinks_leave_no_open_files(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with Disk(tmp_path, TOP) as disk:
        disk.directory(b"top")
        disk.file(b"top/x", b"1")
        disk.do(ops.MakeDirectory(50, directory_entry(b"top/d")))
        disk.begin(file_entry(b"top/y", b"12"))
        disk.file(b"top/x", b"2")
        disk.link(b"top/d/l", b"../x")
        disk.seal()
        disk.begin(file_entry(b"top/z", b"12"))
    assert len(os.listdir("/proc/self/fd")) == before


# What is kept


BIG = os.urandom(2 * PIECE + 100)


def claim_all(kept: Kept) -> list[ops.SinkResult]:
    """Wait until all that arrived is claimed, or a sync failed."""
    failed: list[ops.SinkResult] = []
    while True:
        for file in kept.sink._working._files.values():
            with contextlib.suppress(OSError):
                if file.syncing is not None:
                    file.syncing.result()
        if failed or not kept.sink._claiming._waiting:
            return failed
        failed += kept.sink.poll(idle=True)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("while_idle", [True, False])
def test_nothing_is_claimed_after_a_failed_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, while_idle: bool
) -> None:
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 0.0)
    kept = Kept(tmp_path, [file_entry(b"x", BIG)])
    kept.sink.patient = True  # for writes: what a sync has lost cannot be written again
    kept.begin(0)
    kept.piece(0, 0, BIG)
    assert claim_all(kept) == []

    def broken(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("p2pal.disk.sink.group_commit.sync_file", broken)
        kept.do(ops.Write(0, PIECE, BIG[PIECE : PIECE + 1000]))
        assert claim_all(kept) == []  # nobody has asked yet how it went
        kept.sink.execute(ops.CheckPiece(0, 0, leaf(BIG[:PIECE])))
        failed = kept.sink.poll(idle=True) if while_idle else []
        failed = failed or kept.sink.execute(ops.Write(0, PIECE + 1000, BIG[PIECE + 1000 : PIECE + 2000]))
    assert failed == [ops.WriteFailed(0, *sink_failure(OSError(number, os.strerror(number))))]
    assert len(part_files(kept.out)) == 1
    kept.stop()
    claim = kept.look()[0].claims[0]
    assert list(claim.leaves) == [0]
    assert claim.head == 0
    assert not claim.trusted
    kept.stop()


def test_a_file_of_one_piece_is_not_kept(tmp_path: Path) -> None:
    kept = Kept(tmp_path, [file_entry(b"x", b"12")])
    kept.begin(0)
    kept.do(ops.Write(0, 0, b"1"), ops.Suspend(0), ops.Write(0, 1, b"2"))
    assert part_files(kept.out) == []
    kept.stop()
    assert kept.look()[0].claims == {}
    kept.stop()


def test_what_earlier_sessions_left_goes_when_all_is_given_up(tmp_path: Path) -> None:
    kept = Kept(tmp_path, [file_entry(b"x", BIG), file_entry(b"y", BIG)])
    for index in (0, 1):
        kept.begin(index)
        kept.piece(index, 0, BIG)
    kept.stop()
    assert len(part_files(kept.out)) == 2
    resume, _ = kept.look()
    kept.begin(1, resume.claims[1])
    kept.do(ops.Discard(0))
    assert len(part_files(kept.out)) == 1
    kept.sink.discard_all()
    assert part_files(kept.out) == []
    kept.stop()
    assert kept.look()[0].claims == {}
    kept.stop()


def test_a_target_that_is_gone_keeps_what_is_claimed(tmp_path: Path) -> None:
    entries = [directory_entry(b"top"), file_entry(b"top/x", b"1"), file_entry(b"top/y", b"1")]
    kept = Kept(tmp_path, entries)
    kept.do(ops.MakeDirectory(0, entries[0]))
    kept.out.rename(tmp_path / "away")
    kept.begin(1)  # the handles still lead there
    kept.do(ops.Discard(1))
    (tmp_path / "away" / "top").rename(tmp_path / "top")
    assert kept.begin(2) == []
    kept.do(ops.Discard(2))
    (tmp_path / "top").rmdir()
    (failed,) = kept.do(ops.Begin(1, entries[1], PIECE))
    assert failed == ops.WriteFailed(1, Reason.DISK, "the directory that is written to is gone")
    kept.stop()


def test_many_links_are_told_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pal.disk.sink.links_and_directories.RESULTS", 2)
    told: list[list[ops.SinkResult]] = []
    with Disk(tmp_path, TOP) as disk:
        disk.sink.set_listener(lambda: None, told.append)
        disk.directory(b"top")
        for number in range(5):
            disk.link(b"top/%d" % number, b"x")
        assert disk.do(ops.Seal()) == [ops.Sealed()]
    assert [len(chunk) for chunk in told] == [2, 2, 1, 1]

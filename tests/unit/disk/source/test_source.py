from __future__ import annotations

import os
import socket
from itertools import islice
from pathlib import Path

import pytest
from tests.unit.disk.disk import as_nobody, data_of, digest_of, job_for, public_directory, walk_of

from p2pal.checkpoint.records import TopRecord
from p2pal.disk.source.source import Source
from p2pal.errors import UsageError
from p2pal.transfer import ops
from p2pal.transfer.manifest import Manifest
from p2pal.wire.transfer import Entry, EntryKind, Reason


def source_of(*paths: Path | str, skip_errors: bool = False) -> Source:
    return Source([str(path) for path in paths], recursive=True, skip_errors=skip_errors)


def paths_of(source: Source) -> list[bytes]:
    return [entry.path for entry in walk_of(source)[0]]


def test_a_file_travels_under_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    path.write_bytes(b"data")
    path.chmod(0o4755)
    os.utime(path, ns=(0, 1_234_567_890))
    entries, failures = walk_of(Source([path], recursive=False))
    assert entries == [Entry(b"report.pdf", EntryKind.FILE, 4, 0o755, 1_234_567_890)]
    assert not failures


def test_a_tree_is_walked_in_order_parents_first(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for name in ("b/x", "b/y", "a/z/deep", "c"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(name.encode())
    (top / "empty").mkdir()
    (top / "link").symlink_to("../outside")
    (top / "loop").symlink_to(".")
    source = source_of(top)
    entries, failures = walk_of(source)
    assert not failures
    assert [entry.path for entry in entries] == [
        b"top", b"top/a", b"top/a/z", b"top/a/z/deep", b"top/b", b"top/b/x", b"top/b/y", b"top/c", b"top/empty",
        b"top/link", b"top/loop",
    ]  # fmt: skip
    assert entries[-2].kind is EntryKind.LINK
    assert entries[-2].target == b"../outside"
    assert source.names == [b"top"]


def test_names_in_any_encoding_survive(tmp_path: Path) -> None:
    top = os.path.join(os.fsencode(tmp_path), b"top")
    os.mkdir(top)
    names = [b"\xff\xfe", "\u4e2d\u6587 \U0001f600".encode(), b"new\nline", b"x" * 255, b"-r", b" "]
    for name in names:
        with open(os.path.join(top, name), "wb") as file:
            file.write(name)
    source = source_of(tmp_path / "top")
    entries, failures = walk_of(source)
    assert not failures
    assert sorted(entry.path for entry in entries[1:]) == sorted(b"top/" + name for name in names)
    for index, entry in enumerate(entries[1:], 1):
        assert data_of(source.read(job_for(index, entry))) == entry.path[4:]


def test_arguments_that_are_no_names_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "sub")
    assert source_of(".").names == [b"sub"]
    assert source_of("..").names == [b"here"]
    assert source_of("./").names == [b"sub"]
    assert source_of("/").names == [b"root"]


def test_the_working_directory_may_change_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    source = source_of("x")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert paths_of(source) == [b"x"]


def test_equal_names_are_numbered(tmp_path: Path) -> None:
    for parent in ("a", "b", "c"):
        (tmp_path / parent / "v1.0").mkdir(parents=True)
        (tmp_path / parent / "x.txt").write_bytes(parent.encode())
    files = source_of(*(tmp_path / parent / "x.txt" for parent in "abc"))
    assert files.names == [b"x.txt", b"x (1).txt", b"x (2).txt"]
    entries, _ = walk_of(files)
    assert [data_of(files.read(job_for(i, entry))) for i, entry in enumerate(entries)] == [b"a", b"b", b"c"]
    assert source_of(tmp_path / "a" / "v1.0", tmp_path / "b" / "v1.0").names == [b"v1.0", b"v1.0 (1)"]


def test_a_link_that_was_named_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_bytes(b"1")
    (tmp_path / "tree").symlink_to("real")
    (tmp_path / "file").symlink_to("real/x")
    source = source_of(tmp_path / "tree", tmp_path / "file")
    entries, _ = walk_of(source)
    assert [(entry.path, entry.kind) for entry in entries] == [
        (b"tree", EntryKind.DIRECTORY),
        (b"tree/x", EntryKind.FILE),
        (b"file", EntryKind.FILE),
    ]
    assert data_of(source.read(job_for(2, entries[2]))) == b"1"


def test_a_directory_needs_r(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a directory; use -r"):
        Source([tmp_path], recursive=False)


def test_what_is_missing_or_special_is_a_usage_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("missing", "fifo", "dangling", "a\0b"):
        with pytest.raises(UsageError, match=r"missing|fifo|dangling|no such name"):
            source_of(tmp_path / name)
    with pytest.raises(UsageError):
        source_of()


def test_a_name_of_ours_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / ".p2pal-abcd2345-0.part").write_bytes(b"unfinished")
    with pytest.raises(UsageError, match="has a name that p2pal uses for unfinished files; rename it"):
        source_of(tmp_path / ".p2pal-abcd2345-0.part")


def test_skipped_arguments_are_reported(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    source = source_of(tmp_path / "missing", tmp_path / "x", skip_errors=True)
    assert source.names == [b"x"]
    entries, failures = walk_of(source)
    assert [entry.path for entry in entries] == [b"x"]
    assert [(failure.name, failure.reason) for failure in failures] == [("missing", Reason.READ)]
    with pytest.raises(UsageError, match="missing"):
        source_of(tmp_path / "missing", tmp_path / "other", skip_errors=True)


def test_special_files_and_our_own_are_not_sent(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    os.mkfifo(top / "fifo")
    (top / ".p2pal-abcd2345-0.part").write_bytes(b"unfinished")
    (top / "x").write_bytes(b"1")
    with socket.socket(socket.AF_UNIX) as listener:
        home = os.getcwd()
        os.chdir(top)  # a socket's path is short
        try:
            listener.bind("socket")
        finally:
            os.chdir(home)
        entries, failures = walk_of(source_of(top))
    assert [entry.path for entry in entries] == [b"top", b"top/x"]
    assert [failure.name for failure in failures] == ["top/fifo", "top/socket"]


def test_unreadable_directories_are_reported_and_not_offered() -> None:
    with public_directory() as path:
        (path / "top" / "closed" / "x").mkdir(parents=True)
        (path / "top" / "open").mkdir()
        (path / "top" / "closed").chmod(0)
        with as_nobody():
            entries, failures = walk_of(source_of(path / "top"))
        (path / "top" / "closed").chmod(0o755)
    assert [entry.path for entry in entries] == [b"top", b"top/open"]
    assert [(failure.name, failure.reason) for failure in failures] == [("top/closed", Reason.READ)]


def test_an_unreadable_file_fails_when_it_is_read() -> None:
    with public_directory() as path:
        (path / "x").write_bytes(b"1")
        (path / "x").chmod(0)
        source, entry = listed(path / "x")
        with as_nobody():
            (result,) = source.read(job_for(0, entry))
    assert result == ops.ReadFailed(0, Reason.READ, "Permission denied")


@pytest.mark.parametrize("directory", [False, True])
def test_an_argument_that_cannot_be_read_is_told_of_at_once(directory: bool) -> None:
    with public_directory() as path:
        if directory:
            (path / "closed").mkdir()
        else:
            (path / "closed").write_bytes(b"1")
        (path / "other").mkdir()
        (path / "closed").chmod(0)
        (path / "other" / "closed").write_bytes(b"2")
        with as_nobody():
            with pytest.raises(UsageError, match="closed: Permission denied; see who may read it, or leave it out"):
                source_of(path / "closed", path / "other")
            with pytest.raises(UsageError, match="Permission denied"):
                source_of(path / "closed", skip_errors=True)
            source = source_of(path / "closed", path / "other" / "closed", skip_errors=True)
            entries, failures = walk_of(source)
        (path / "closed").chmod(0o755)
    # What is left out takes no name from what is sent.
    assert [entry.path for entry in entries] == [b"closed"]
    assert [(failure.name, failure.text) for failure in failures] == [("closed", "Permission denied")]


def test_over_long_paths_are_reported(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    home = os.open(".", os.O_RDONLY)
    os.chdir(top)
    try:
        for _ in range(17):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
    finally:
        os.chdir(home)
        os.close(home)
    entries, failures = walk_of(source_of(top))
    assert len(entries) == 17
    assert max(len(entry.path) for entry in entries) <= 4096
    assert [failure.reason for failure in failures] == [Reason.NAME]


def test_what_vanishes_during_the_walk_is_no_failure(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    for name in "ab":
        (top / name).write_bytes(b"1")
    walk = source_of(top).walk()
    assert isinstance(next(walk), Entry)
    (top / "b").unlink()
    assert [entry.path for entry in walk if isinstance(entry, Entry)] == [b"top/a"]


def test_a_directory_swapped_for_a_link_during_the_walk_is_not_followed(tmp_path: Path) -> None:
    top, secret = tmp_path / "top", tmp_path / "secret"
    (top / "d").mkdir(parents=True)
    secret.mkdir()
    (secret / "key").write_bytes(b"1")
    source = source_of(top)
    walk = source.walk()
    next(walk)
    (top / "d").rmdir()
    (top / "d").symlink_to(secret)
    assert [(entry.path, entry.kind) for entry in walk if isinstance(entry, Entry)] == [(b"top/d", EntryKind.LINK)]


def listed(path: Path) -> tuple[Source, Entry]:
    source = source_of(path)
    return source, walk_of(source)[0][0]


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_file_is_read_with_its_leaves_and_digest(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "x").write_bytes(data)
    source, entry = listed(tmp_path / "x")
    results = list(source.read(job_for(0, entry)))
    assert data_of(results) == data
    assert results[-1] == ops.FileRead(0, digest_of(data))
    assert [result.piece for result in results if isinstance(result, ops.PieceRead)] == list(
        range(-(-size // (1 << 20)))
    )


@pytest.mark.parametrize("change", ["longer", "shorter", "same size", "replaced", "mode", "fifo", "directory"])
def test_a_file_is_read_as_it_is_when_its_turn_comes_if_it_has_its_size(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    source, entry = listed(path)
    now = b"54321"
    if change in {"longer", "shorter"}:
        path.write_bytes(b"123456" if change == "longer" else b"1234")
    elif change == "same size":
        path.write_bytes(now)
        os.utime(path, ns=(0, entry.mtime_ns + 1))
    elif change == "replaced":
        (tmp_path / "y").write_bytes(now)
        (tmp_path / "y").rename(path)
    elif change == "mode":
        path.chmod(0o400)
        now = b"12345"
    else:
        path.unlink()
        os.mkfifo(path) if change == "fifo" else path.mkdir()
    results = list(source.read(job_for(0, entry)))
    if change in {"same size", "replaced", "mode"}:
        assert data_of(results) == now
        assert results[-1] == ops.FileRead(0, digest_of(now))
    else:
        (result,) = results
        assert isinstance(result, ops.ReadFailed)
        assert result.reason in {Reason.CHANGED, Reason.READ}


@pytest.mark.parametrize("skip_errors", [True, False])
def test_an_empty_name_is_never_the_current_directory(tmp_path: Path, skip_errors: bool) -> None:
    with pytest.raises(UsageError, match="an empty name was given to send"):
        Source([tmp_path, ""], recursive=True, skip_errors=skip_errors)


def test_a_vanished_file_fails(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    source, entry = listed(tmp_path / "x")
    (tmp_path / "x").unlink()
    (result,) = source.read(job_for(0, entry))
    assert isinstance(result, ops.ReadFailed)
    assert result.reason is Reason.READ
    assert str(tmp_path) not in result.text


@pytest.mark.parametrize("link", ["file", "directory"])
def test_a_link_swapped_into_a_tree_is_not_read_through(tmp_path: Path, link: str) -> None:
    top, secret = tmp_path / "top", tmp_path / "secret"
    (top / "d").mkdir(parents=True)
    secret.mkdir()
    for parent in (top / "d", secret):
        (parent / "x").write_bytes(b"12345")
        os.utime(parent / "x", ns=(0, 0))
    source = source_of(top)
    entries, _ = walk_of(source)
    source.close()
    if link == "file":
        (top / "d" / "x").unlink()
        (top / "d" / "x").symlink_to(secret / "x")
    else:
        (top / "d").rename(tmp_path / "moved")
        (top / "d").symlink_to(secret)
    (result,) = source.read(job_for(2, entries[2]))
    assert isinstance(result, ops.ReadFailed)


def test_the_identity_seen_by_the_walk_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"1")
    source, _ = listed(path)
    found = path.stat()
    assert source.identity(0) == (found.st_dev, found.st_ino, found.st_ctime_ns)


class Clock:
    """A clock that stands at a time after the last change of a file.

    Args:
        path: The file.
        later: Seconds.
    """

    def __init__(self, path: Path, later: float) -> None:
        found = path.stat()
        self.now = max(found.st_ctime_ns, found.st_mtime_ns) / 1e9 + later

    def __call__(self) -> float:
        return self.now


def leaves_read(source: Source, entry: Entry, wanted: tuple[tuple[int, int], ...] = ()) -> list[int]:
    """Let the source read what is wanted of the first entry; return the pieces whose leaves it had to compute."""
    size = 1 << 20
    job = ops.ReadJob(0, entry, size, 0, -(-entry.size // size), wanted=wanted)
    results = list(source.read(job))
    assert isinstance(results[-1], ops.FileRead), results
    return [result.piece for result in results if isinstance(result, ops.PieceRead)]


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "x"
    path.write_bytes(os.urandom((2 << 20) + 1))
    return path


def with_clock(path: Path, later: float) -> tuple[Source, Entry, Clock]:
    clock = Clock(path, later)
    source = Source([path], recursive=False, clock=clock)
    return source, walk_of(source)[0][0], clock


def test_a_receiver_that_comes_back_finds_the_leaves_known(big: Path) -> None:
    source, entry, _ = with_clock(big, later=3)
    taken = list(islice(source.read(job_for(0, entry)), 4))  # then the receiver was lost
    assert isinstance(taken[-1], ops.PieceRead)
    assert leaves_read(source, entry, ((2, 3),)) == [2]
    assert leaves_read(source, entry) == []
    source.forget(0)
    assert leaves_read(source, entry) == [0, 1, 2]


def test_leaves_of_a_file_that_had_just_changed_are_read_again(big: Path) -> None:
    source, entry, clock = with_clock(big, later=1)
    assert leaves_read(source, entry) == [0, 1, 2]
    clock.now += 5
    assert leaves_read(source, entry) == [0, 1, 2]
    assert leaves_read(source, entry) == []


def test_leaves_of_a_file_whose_attributes_changed_are_read_again(big: Path) -> None:
    source, entry, _ = with_clock(big, later=100)
    assert leaves_read(source, entry) == [0, 1, 2]
    before = big.stat().st_ctime_ns
    while big.stat().st_ctime_ns == before:  # until the clock of the file system ticks
        big.chmod(0o600)
    assert leaves_read(source, entry) == [0, 1, 2]


def test_a_file_forgotten_while_it_is_read_is_read_to_its_end(big: Path) -> None:
    source, entry, _ = with_clock(big, later=3)
    results = []
    for result in source.read(job_for(0, entry)):
        results.append(result)
        source.forget(0)
    assert results[-1] == ops.FileRead(0, digest_of(big.read_bytes()))
    assert len(source.known_leaves) == 0


def test_repairs_and_files_of_one_piece_leave_nothing_to_remember(big: Path, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(bytes(1 << 20))
    source = source_of(big, tmp_path / "small")
    entries, _ = walk_of(source)
    list(source.read(job_for(0, entries[0], again=(1, 2))))
    list(source.read(job_for(1, entries[1])))
    assert len(source.known_leaves) == 0


def test_a_checkpoint_gets_the_arguments_and_entries_that_were_walked(tmp_path: Path) -> None:
    (tmp_path / "top" / "d").mkdir(parents=True)
    (tmp_path / "top" / "d" / "x").write_bytes(b"1")
    source = source_of(tmp_path / "top", tmp_path / "missing", tmp_path / "top" / "d" / "x", skip_errors=True)
    manifest = Manifest()
    for entry in walk_of(source)[0]:
        manifest.append(entry)
    (tops,) = source.tops_records()
    assert tops.tops == [
        TopRecord(b"top", os.fsencode(tmp_path / "top"), True),
        TopRecord(b"x", os.fsencode(tmp_path / "top" / "d" / "x"), False),
    ]
    (listing,) = source.listing_records(manifest)
    assert (listing.first, listing.entries) == (0, manifest.encoded(0, 9, 1 << 20)[1])
    assert listing.identities == [source.identity(index) for index in range(4)]


def test_a_restored_source_reads_and_lists_like_the_first(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "x").write_bytes(b"data")
    first = source_of(tmp_path / "top")
    entries, _ = walk_of(first)
    tops = [top for record in first.tops_records() for top in record.tops]
    listing = [(entry, first.identity(index)) for index, entry in enumerate(entries)]
    source = Source.restored(tops, iter(listing), {}, {})
    assert source.names == [b"top"]
    assert walk_of(source) == (entries, [])
    assert data_of(source.read(job_for(1, entries[1]))) == b"data"
    assert [*source.tops_records()] == [*first.tops_records()]
    manifest = Manifest()
    for entry in entries:
        manifest.append(entry)
    assert [*source.listing_records(manifest)] == [*first.listing_records(manifest)]
    source.close()

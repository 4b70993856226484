"""Checkpoints that someone edited, swapped, planted or linked: refused or harmless, and nothing outside is touched."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.unit.disk.disk import NOBODY, snapshot
from tests.unit.disk.kept import Kept, identity
from tests.unit.transfer.records import ID, OTHER, TRANSFER, begun, checkpoint, finishing, frame, header, leaves

from p2pal.checkpoint.codec import MAGIC, encode
from p2pal.checkpoint.records import (
    Begun,
    CheckpointRecord,
    Claimed,
    Declined,
    Done,
    Dropped,
    Finishings,
    PlaceRecord,
    Places,
    Stopped,
    Target,
)
from p2pal.checkpoint.replay import ReceiveState
from p2pal.disk.fs.handle_directory import HandleDirectory
from p2pal.errors import CheckpointError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "victim").write_bytes(b"precious")
    (path / f".p2pal-{ID[:8]}-0.part").write_bytes(b"precious as well")
    return path


def refused(kept: Kept, message: str) -> None:
    """No use of the checkpoint gets further than saying this."""
    with pytest.raises(CheckpointError, match=message):
        kept.store.open(ID, "receive")
    (summary,) = kept.store.list()
    assert summary.problem
    assert summary.where == ""
    assert kept.store.offered(TRANSFER) == []
    assert kept.store.clean(1e9) == [] or not os.path.lexists(kept.store.path / f"{ID}.receive")


def link(path: Path, kept: Kept) -> None:
    path.rename(kept.path / "elsewhere")
    path.symlink_to(kept.path / "elsewhere")


def give_away(path: Path, _: Kept) -> None:
    os.chown(path, NOBODY, NOBODY)


def mode(bits: int) -> Callable[[Path, Kept], None]:
    return lambda path, _: path.chmod(bits)


def fifo(path: Path, _: Kept) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (link, "no regular file"),
        pytest.param(give_away, "another user", marks=as_root),
        (mode(0o622), "others may write"),
        (mode(0o602), "others may write"),
        (mode(0o644), "others may read"),
        (fifo, "no regular file"),
    ],
)
def test_a_checkpoint_that_is_not_ours_alone_is_refused(
    kept: Kept, plant: Callable[[Path, Kept], None], message: str
) -> None:
    part, record = kept.part(0)
    path = kept.closed(record)
    plant(path, kept)
    refused(kept, message)
    with pytest.raises(CheckpointError, match=message):
        kept.store.create(kept.header())
    assert os.path.lexists(path)
    (removed,) = kept.store.remove(ID)
    assert removed.removed
    assert "no part file was looked for" in removed.problem
    assert part.exists()
    assert not os.path.lexists(path)


def test_a_link_in_a_checkpoints_place_is_removed_and_not_what_it_points_to(kept: Kept, outside: Path) -> None:
    kept.closed().unlink()
    (kept.store.path / f"{ID}.receive").symlink_to(outside / "victim")
    kept.store.clean_all()
    assert kept.files() == []
    assert (outside / "victim").read_bytes() == b"precious"


@pytest.mark.parametrize("bits", [0o777, 0o720, 0o1777])
def test_a_directory_that_others_can_write_to_is_refused(kept: Kept, bits: int) -> None:
    kept.closed()
    kept.store.path.chmod(bits)
    for attempt in (
        lambda: kept.store.open(ID, "receive"),
        lambda: kept.store.create(kept.header()),
        lambda: kept.store.remove(ID),
        kept.store.list,
        kept.store.clean_all,
    ):
        with pytest.raises(CheckpointError, match="cannot be trusted: others may write"):
            attempt()


@as_root
def test_a_directory_of_another_user_is_refused(kept: Kept) -> None:
    kept.closed()
    os.chown(kept.store.path, NOBODY, NOBODY)
    with pytest.raises(CheckpointError, match="belongs to another user"):
        kept.store.list()


def test_swapped_checkpoints_are_refused(kept: Kept) -> None:
    first, second = kept.closed(), kept.closed(ident=OTHER)
    swap = first.with_name("swap")
    first.rename(swap)
    second.rename(first)
    swap.rename(second)
    for each in (ID, OTHER):
        with pytest.raises(CheckpointError, match="another transfer's"):
            kept.store.open(each, "receive")
    assert kept.store.offered(TRANSFER) == []
    assert all("another transfer's" in each.problem for each in kept.store.list())


def test_a_checkpoint_of_the_other_role_under_this_name_is_refused(kept: Kept) -> None:
    kept.closed(role="send").rename(kept.store.path / f"{ID}.receive")
    refused(kept, "another transfer's")


def write(kept: Kept, data: bytes) -> Path:
    path = kept.closed()
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("root", [b"relative", b"../..", b"/tmp/\0/x", b"."])
def test_a_target_that_is_no_absolute_path_is_refused(kept: Kept, root: bytes) -> None:
    write(kept, checkpoint(header(target=Target(root, (1, 2)))))
    refused(kept, "damaged")


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, (16 << 20) + 1])
def test_a_huge_length_costs_nothing(kept: Kept, length: int) -> None:
    path = write(kept, checkpoint(kept.header(), begun(1)) + struct.pack("!II", length, 0))
    os.truncate(path, 1 << 40)  # a file with a hole: a terabyte, no disk
    opened = kept.store.open(ID, "receive")
    assert isinstance(opened.state, ReceiveState)
    assert set(opened.state.begun) == {1}
    opened.journal.write(Dropped(1))
    assert path.stat().st_size < 1 << 20


def test_a_huge_header_is_refused(kept: Kept) -> None:
    path = write(kept, MAGIC + struct.pack("!II", 2**32 - 1, 0))
    os.truncate(path, 1 << 40)
    refused(kept, "damaged")


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd\xff\xff\xff\xff",  # an array of four thousand million
        b"\x92\x0d\xdd\xff\xff\xff\xff",
        b"\x92\x0c\xdd\x7f\xff\xff\xff" + b"\x94" * 100,
        b"\x95\x0b\x00\x00\xc6\xff\xff\xff\xff",
        b"\x92\x0d" + b"\x91" * 100_000,
        msgspec.msgpack.encode([13, [[0, 2**64 - 1]]]),
    ],
)
def test_huge_counts_and_deep_nests_end_what_is_read(kept: Kept, body: bytes) -> None:
    write(kept, checkpoint(kept.header(), begun(1)) + frame(body) + encode(Dropped(1)))
    opened = kept.store.open(ID, "receive")
    assert isinstance(opened.state, ReceiveState)
    assert set(opened.state.begun) == {1}
    opened.journal.close()


def test_records_in_any_order_claim_nothing_that_was_not_begun(kept: Kept) -> None:
    told: list[CheckpointRecord] = [
        Stopped(1, (7, 70), 1, 1, 1),
        Claimed(1, 0, leaves(1)),
        begun(1),
        Finishings([finishing(1, part=(9, 9))]),
        Done([(200, 300)]),
        Declined([(100, 10**7)]),
    ]
    kept.closed(*told)
    state = kept.store.open(ID, "receive").state
    assert isinstance(state, ReceiveState)
    assert not any((state.claims, state.stopped, state.finishing, state.done, state.declined))


HOSTILE_PATHS = [
    b"../outside/0", b"top/../../outside/0", b"/etc/0", b"top//0", b"top/./0", b"top/\0", b".", b"..", b"top/",
    b"/", b"top/.p2pal-aaaaaaaa-1.part/0", b"x" * 300,
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_path_that_cannot_be_is_not_followed_when_cleaning(kept: Kept, outside: Path, path: bytes) -> None:
    victim = outside / f".p2pal-{ID[:8]}-0.part"
    before = snapshot(outside)
    top = path.split(b"/")[0] or b"top"
    kept.closed(Places([PlaceRecord(top, b"top", "NEW")]), Begun(0, identity(victim), 10, 0, path))
    (removed,) = kept.store.remove(ID)
    assert removed.removed
    assert removed.cleaned.parts == 0
    assert len(removed.cleaned.left) == 1
    assert snapshot(outside) == before


@pytest.mark.parametrize("name", [b"..", b".", b"../outside", b"/etc", b"a/b", b"x\0", b".p2pal-aaaaaaaa-1.part"])
@pytest.mark.parametrize("path", [b"top/0", b"top"])
def test_a_place_that_cannot_be_is_not_gone_to_when_cleaning(
    kept: Kept, outside: Path, name: bytes, path: bytes
) -> None:
    victim = outside / f".p2pal-{ID[:8]}-0.part"
    (kept.path / victim.name).hardlink_to(victim)
    before = snapshot(outside)
    kept.closed(Places([PlaceRecord(b"top", name, "NEW")]), Begun(0, identity(victim), 10, 0, path))
    (removed,) = kept.store.remove(ID)
    assert removed.cleaned.parts == 0
    assert len(removed.cleaned.left) == 1
    assert snapshot(outside) == before
    assert (kept.path / victim.name).exists()


@pytest.mark.parametrize("depth", ["top", "top/a", "top/a/b"])
def test_a_link_swapped_into_the_path_is_not_followed_when_cleaning(kept: Kept, outside: Path, depth: str) -> None:
    part, record = kept.part(0, "top/a/b/file")
    swapped = kept.out / depth
    inside = part.relative_to(swapped)
    planted = outside / inside
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.unlink(missing_ok=True)
    part.rename(planted)  # even the recorded inode stands there
    swapped.rename(kept.path / "aside")
    swapped.symlink_to(outside)
    kept.closed(record)
    (removed,) = kept.store.remove(ID)
    assert removed.cleaned.parts == 0
    assert removed.cleaned.left == [("top/a/b/file", "something else stands in its place")]
    assert planted.read_bytes() == b"unfinished"
    assert (outside / "victim").exists()


def test_a_link_swapped_in_at_the_last_moment_is_not_followed(
    kept: Kept, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, record = kept.part(0, "top/file")
    kept.closed(record)
    status = HandleDirectory.status

    def swap(self: HandleDirectory, name: bytes) -> os.stat_result | None:
        found = status(self, name)
        if name == os.fsencode(part.name) and not (kept.out / "top").is_symlink():
            (kept.out / "top").rename(kept.out / "moved")
            (kept.out / "top").symlink_to(outside)
        return found

    monkeypatch.setattr(HandleDirectory, "status", swap)
    before = snapshot(outside)
    (removed,) = kept.store.remove(ID)
    assert removed.cleaned.parts == 1  # in the directory that was opened, wherever it is now
    assert os.listdir(kept.out / "moved") == []
    assert snapshot(outside) == before


def test_the_root_swapped_for_a_link_is_not_followed(kept: Kept, outside: Path) -> None:
    (outside / "top").mkdir()
    part, record = kept.part(0, "top/file")
    kept.closed(record)
    part.rename(outside / "top" / part.name)
    kept.out.rename(kept.path / "aside")
    kept.out.symlink_to(outside)
    (removed,) = kept.store.remove(ID)
    assert "another directory" in removed.cleaned.left[0][1]
    assert (outside / "top" / part.name).exists()


@pytest.mark.parametrize("kind", ["file", "link", "hardlink", "directory"])
def test_a_foreign_inode_under_the_part_files_name_stays(kept: Kept, outside: Path, kind: str) -> None:
    part, record = kept.part(0)
    part.rename(kept.path / "aside")  # keeps the inode's number from being used again
    if kind == "file":
        part.write_bytes(b"foreign")
    elif kind == "link":
        part.symlink_to(outside / "victim")
    elif kind == "hardlink":
        part.hardlink_to(outside / "victim")
    else:
        part.mkdir()
    kept.closed(record)
    before = snapshot(outside)
    (removed,) = kept.store.remove(ID)
    assert removed.cleaned.parts == 0
    assert removed.cleaned.left == [("top/0", "another file has the name of its part file")]
    assert os.path.lexists(part)
    assert snapshot(outside) == before


def test_a_link_or_directory_is_not_removed_even_if_it_is_recorded(kept: Kept) -> None:
    (kept.out / "top").mkdir()
    part = kept.out / "top" / f".p2pal-{ID[:8]}-0.part"
    for directory in (False, True):
        if directory:
            part.mkdir()
        else:
            part.symlink_to("x")
        kept.closed(Begun(0, identity(part), 10, 0, b"top/file"))
        (removed,) = kept.store.remove(ID)
        assert removed.cleaned.parts == 0
        assert os.path.lexists(part)
        if part.is_symlink():
            part.unlink()


def test_nothing_secret_is_in_what_is_said(kept: Kept) -> None:
    key = kept.header().resume_key
    path = kept.closed()
    path.chmod(0o644)
    said = repr(kept.store.list())
    with pytest.raises(CheckpointError) as caught:
        kept.store.open(ID, "receive")
    said += str(caught.value) + repr(kept.store.remove(ID))
    assert key.decode() not in said
    assert repr(key) not in said

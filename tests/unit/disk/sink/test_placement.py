from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from p2pal.disk.sink.placement import Place, Placement, Policy, plan
from p2pal.errors import DiskError
from p2pal.wire.transfer import EntryKind

FILE, DIRECTORY, LINK = EntryKind.FILE, EntryKind.DIRECTORY, EntryKind.LINK


class _Usage:
    def __init__(self, total: int, used: int, free: int) -> None:
        self.total, self.used, self.free = total, used, free


def planned(out: Path, *tops: tuple[bytes, EntryKind], overwrite: bool = False) -> Placement:
    placement = plan(out, tops)
    placement.resolve(overwrite=overwrite)
    return placement


def test_an_existing_directory_is_written_into(tmp_path: Path) -> None:
    placement = planned(tmp_path, (b"a", FILE), (b"d", DIRECTORY))
    assert placement.root == tmp_path
    assert not placement.make_root
    assert placement.existing == []
    assert placement.renamed == {}
    assert placement.place(b"a") == Place(b"a")
    assert placement.path(b"d") == tmp_path / "d"
    assert placement.place(b"never offered") is None


def test_one_entry_may_be_given_its_path(tmp_path: Path) -> None:
    placement = planned(tmp_path / "new.txt", (b"offered", FILE))
    assert placement.path(b"offered") == tmp_path / "new.txt"
    assert placement.renamed == {"offered": "new.txt"}


def test_several_entries_make_a_directory(tmp_path: Path) -> None:
    placement = planned(tmp_path / "new", (b"a", FILE), (b"b", FILE))
    assert placement.make_root
    assert not (tmp_path / "new").exists()
    late = planned(tmp_path / "new", (b"a", FILE), (b"b", FILE))
    placement.prepare()
    assert (tmp_path / "new").is_dir()
    placement.prepare()
    with pytest.raises(DiskError, match="did not exist a moment ago"):
        late.prepare()
    assert placement.path(b"b") == tmp_path / "new" / "b"


def test_a_relative_path_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert planned(Path(), (b"a", FILE)).path(b"a") == Path("a")
    assert planned(Path("x"), (b"a", FILE)).path(b"a") == Path("x")


@pytest.mark.parametrize("missing", ["no/such/x", "file/x"])
def test_a_missing_parent_is_an_error_with_a_hint(tmp_path: Path, missing: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError, match="make it first"):
        plan(tmp_path / missing, [(b"a", FILE)])


def test_several_entries_cannot_go_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(DiskError, match="no directory"):
        plan(tmp_path / "x", [(b"a", FILE), (b"b", FILE)])


def test_a_path_that_cannot_be_a_name_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="another name"):
        plan(tmp_path / ".p2pal-abcd2345-0.part", [(b"a", FILE)])


def test_what_exists_is_told_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"old")
    (tmp_path / "d").mkdir()
    placement = planned(tmp_path, (b"a.txt", FILE), (b"d", DIRECTORY), (b"n", FILE))
    assert placement.existing == [b"a.txt", b"d"]
    assert placement.renamed == {"a.txt": "a (1).txt", "d": "d (1)"}
    assert not placement.merges


def test_a_new_name_is_not_one_that_is_offered_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    placement = planned(tmp_path, (b"a", FILE), (b"a (1)", FILE))
    assert placement.place(b"a") == Place(b"a (2)")
    assert placement.place(b"a (1)") == Place(b"a (1)")
    (tmp_path / "b").write_bytes(b"old")
    (tmp_path / "b (1)").symlink_to("dangling")
    assert planned(tmp_path, (b"b", FILE)).place(b"b") == Place(b"b (2)")


def test_with_consent_files_are_replaced_and_directories_merged(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "d").mkdir()
    found = (tmp_path / "a").stat()
    placement = planned(tmp_path, (b"a", FILE), (b"d", DIRECTORY), overwrite=True)
    assert placement.place(b"a") == Place(b"a", Policy.REPLACE, (found.st_dev, found.st_ino), found.st_ctime_ns)
    assert placement.place(b"d") == Place(b"d", Policy.MERGE)
    assert placement.merges


@pytest.mark.parametrize("kind", [FILE, DIRECTORY, LINK])
def test_what_cannot_be_replaced_is_not(tmp_path: Path, kind: EntryKind) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "l").symlink_to("real")
    (tmp_path / "x").mkdir() if kind is FILE else (tmp_path / "x").write_bytes(b"old")
    placement = planned(tmp_path, (b"l", kind), (b"x", kind), overwrite=True)
    assert placement.place(b"l") == Place(b"l (1)")
    assert placement.place(b"x") == Place(b"x (1)")


def test_an_existing_out_file_is_the_conflict(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"old")
    assert planned(tmp_path / "x.txt", (b"a", FILE)).place(b"a") == Place(b"x (1).txt")
    place = planned(tmp_path / "x.txt", (b"a", FILE), overwrite=True).place(b"a")
    assert place is not None
    assert place.policy is Policy.REPLACE


def test_names_that_cannot_be_used_get_no_place(tmp_path: Path) -> None:
    placement = planned(tmp_path, (b"..", DIRECTORY), (b"", FILE), (b"a", FILE))
    assert placement.place(b"..") is None
    assert placement.place(b"") is None
    assert placement.place(b"a") == Place(b"a")
    assert planned(tmp_path / "new", (b"..", FILE), (b"a", FILE)).place(b"..") is None


def test_a_root_that_cannot_be_made_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    placement = planned(tmp_path / "p" / "new", (b"a", FILE), (b"b", FILE))
    (tmp_path / "p").rmdir()
    with pytest.raises(DiskError, match="could not be made: No such file"):
        placement.prepare()


def test_space_is_checked_where_the_system_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placement = planned(tmp_path / "new", (b"a", FILE), (b"b", FILE))
    placement.check_space(0)
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(DiskError, match=r"not enough space: .* to receive, .* free, .* missing"):
        placement.check_space(free * 2 + 10**9)

    def unknown(_: object) -> object:
        raise OSError

    monkeypatch.setattr(shutil, "disk_usage", unknown)
    placement.check_space(2**62)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(0, 0, 0))
    placement.check_space(2**62)


def test_sizes_are_said_in_units_people_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(10**12, 0, 999))
    with pytest.raises(DiskError, match=r"2\.5 GB to receive, 999 bytes free, 2\.5 GB missing"):
        planned(tmp_path, (b"a", FILE)).check_space(2_500_000_999)


def test_a_placement_is_restored_from_its_records(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "d").mkdir()
    (tmp_path / "l").mkdir()
    tops = ((b"a", FILE), (b"d", DIRECTORY), (b"l", LINK), (b"n", FILE))
    placement = planned(tmp_path, *tops, overwrite=True)
    target = placement.target("abcd2345")
    assert target.root == bytes(tmp_path)
    assert target.consent_ns == placement.consent_ns
    assert target.consent_ns > 0
    restored = Placement.restored(
        tmp_path, target.identity, {each.top: each for each in placement.records()}, target.consent_ns
    )
    assert [restored.place(top) for top, _ in tops] == [placement.place(top) for top, _ in tops]
    assert restored.target("abcd2345") == target
    assert restored.merges
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "d", "l"]


def test_the_root_is_made_for_the_record(tmp_path: Path) -> None:
    placement = planned(tmp_path / "new", (b"a", FILE), (b"b", FILE))
    target = placement.target("abcd2345")
    found = (tmp_path / "new").stat()
    assert target.identity == (found.st_dev, found.st_ino)
    assert target.consent_ns == 0
    assert placement.target("abcd2345") == target
    (tmp_path / "new").rename(tmp_path / "moved")
    (tmp_path / "new").mkdir()
    with pytest.raises(DiskError, match="another directory"):
        placement.target("abcd2345")


def test_another_directory_is_not_the_one_from_before(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="another directory than before"):
        Placement.restored(tmp_path, (0, 0), {}, 0)
    with pytest.raises(DiskError, match="not there any more"):
        Placement.restored(tmp_path / "gone", (0, 0), {}, 0)

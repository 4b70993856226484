from __future__ import annotations

from pathlib import Path

from p2pal.disk.sink.replacement import file_before, known_file, link_before


def test_what_may_be_replaced(tmp_path: Path) -> None:
    file, link, other = tmp_path / "file", tmp_path / "link", tmp_path / "directory"
    file.write_bytes(b"1")
    link.symlink_to("file")
    other.mkdir()
    found = file.lstat()
    now = max(path.lstat().st_ctime_ns for path in (file, link, other))
    known = known_file((found.st_dev, found.st_ino), found.st_ctime_ns)
    assert known(found)
    assert not known_file((found.st_dev, found.st_ino), found.st_ctime_ns - 1)(found)
    assert not known(link.lstat())
    assert [file_before(now)(path.lstat()) for path in (file, link, other)] == [True, False, False]
    assert [link_before(now)(path.lstat()) for path in (file, link, other)] == [False, True, False]
    assert not file_before(found.st_ctime_ns - 1)(found)
    assert not link_before(0)(link.lstat())

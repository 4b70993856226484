from __future__ import annotations

import os
from pathlib import Path

import pytest

from p2pal.disk.fs.locator import Locator
from p2pal.disk.fs.root import open_root


def test_entries_are_reached_under_their_names_here_and_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "here" / "d").mkdir(parents=True)
    (tmp_path / "here" / "l").symlink_to("d")

    def name_of(top: bytes) -> bytes:
        if top != b"top":
            raise FileNotFoundError
        return b"here"

    names = {b"top/e": b"d", b"top/e/f": b"g", b"top/bad": b"../d", b"top/worse": b".."}
    locator = Locator(open_root(os.fsencode(tmp_path)), name_of, names)
    for path, where, name in (
        (b"top", tmp_path, b"here"),
        (b"top/d/x", tmp_path / "here" / "d", b"x"),
        (b"top/e", tmp_path / "here", b"d"),
        (b"top/e/f", tmp_path / "here" / "d", b"g"),
    ):
        directory, found = locator.locate(path)
        assert found == name
        assert directory.identity == (os.stat(where).st_dev, os.stat(where).st_ino)
        directory.release()
    locator.directory(b"top/d").release()
    for path in (b"other", b"other/x", b"top/missing/x", b"top/l/x", b"top/bad", b"top/bad/x", b"top/worse/x"):
        with pytest.raises(OSError):
            locator.locate(path)
    locator.close()

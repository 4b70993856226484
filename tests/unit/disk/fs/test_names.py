from __future__ import annotations

import pytest

from p2pal.disk.fs.names import check_link, check_path, free_name, is_part_name, part_name, part_names


@pytest.mark.parametrize(
    "path",
    [
        b"a",
        b"a/b",
        b"...",
        b" ",
        b"a\nb",
        b"\xff\xfe",
        "\u00e9\u4e2d/\U0001f600".encode(),
        b"x" * 255,
        b"c:",
        b"a\\b",
        b"nul",
    ],
)
def test_usable_names_pass(path: bytes) -> None:
    assert check_path(path, windows=False) is None


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/",
        b"/a",
        b"a/",
        b"a//b",
        b".",
        b"..",
        b"a/../b",
        b"a/..",
        b"./a",
        b"a\0b",
        b"x" * 256,
        b"a/" * 2048 + b"a",
    ],
)
def test_names_that_escape_or_cannot_be_are_refused(path: bytes) -> None:
    assert check_path(path, windows=False)


@pytest.mark.parametrize(
    "path",
    [
        b"c:",
        b"c:x",
        b"a:b",
        b"a\\b",
        b"\\\\host\\share",
        b"nul",
        b"NUL.txt",
        b"Com1",
        b"com1 .x",
        b"COM\xc2\xb9",
        b"a.",
        b"a ",
        b"a?",
        b"a\x01",
        b"\xff",
        b"a/con/b",
    ],
)
def test_windows_refuses_more(path: bytes) -> None:
    assert check_path(path, windows=True)


def test_windows_takes_ordinary_names() -> None:
    assert check_path("photos/\u00e9t\u00e9 (1).jpg".encode(), windows=True) is None
    assert check_path(b"console/com10/nullable", windows=True) is None


def test_an_entry_has_several_part_names_that_no_other_has() -> None:
    names = [name for index in range(20) for name in part_names("abcd2345", index)]
    assert names[0] == part_name("abcd2345", 0)
    assert len(set(names)) == len(names)
    assert all(map(is_part_name, names))


def test_part_names_are_ours_alone() -> None:
    name = part_name("abcd2345", 7)
    assert name == b".p2pal-abcd2345-7.part"
    assert is_part_name(name)
    assert check_path(name) is not None
    assert check_path(b"a/" + name.upper()) is not None
    assert not is_part_name(b".p2pal-abc-7.part")
    assert not is_part_name(b"p2pal.part")
    with pytest.raises(ValueError, match="tag"):
        part_name("../../xx", 0)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"t/l", b"a"),
        (b"t/l", b"a/b"),
        (b"t/l", b"."),
        (b"t/d/l", b"../a"),
        (b"t/d/l", b".."),
        (b"t/d/e/l", b"../.././a"),
        (b"t/l", b"missing/name"),
        (b"t/l", b"c:x"),
    ],
)
def test_links_within_their_tree_pass(path: bytes, target: bytes) -> None:
    assert check_link(path, target, windows=False) is None


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"t/l", b""),
        (b"t/l", b"a\0"),
        (b"t/l", b"/etc/passwd"),
        (b"t/l", b".."),
        (b"t/l", b"../x"),
        (b"t/d/l", b"../../x"),
        (b"t/l", b"./../x"),
        (b"t/d/l", b"a/../b"),
        (b"l", b"x"),
        (b"l", b"../x"),
        (b"l", b"/x"),
    ],
)
def test_links_out_of_their_tree_are_refused(path: bytes, target: bytes) -> None:
    assert check_link(path, target, windows=False)


@pytest.mark.parametrize("target", [b"c:\\x", b"\\\\host\\share", b"..\\..\\x", b"a:stream"])
def test_windows_links_out_of_their_tree_are_refused(target: bytes) -> None:
    assert check_link(b"t/d/l", target, windows=True)


@pytest.mark.parametrize(
    ("name", "directory", "expected"),
    [
        (b"a.txt", False, b"a (1).txt"),
        (b"a", False, b"a (1)"),
        (b"a.tar.gz", False, b"a (1).tar.gz"),
        (b".bashrc", False, b".bashrc (1)"),
        (b"..x", False, b"..x (1)"),
        (b"v1.2", True, b"v1.2 (1)"),
        (b"a." + b"x" * 40, False, b"a." + b"x" * 40 + b" (1)"),
    ],
)
def test_free_names_number_before_the_suffix(name: bytes, directory: bool, expected: bytes) -> None:
    assert free_name({name}.__contains__, name, directory=directory) == expected


def test_free_names_count_on_and_fit() -> None:
    taken = {b"a.c", b"a (1).c", b"a (2).c"}
    assert free_name(taken.__contains__, b"a.c") == b"a (3).c"
    assert free_name(taken.__contains__, b"b.c") == b"b.c"
    long = "\u00e9".encode() * 127
    shortened = free_name({long}.__contains__, long)
    assert len(shortened) <= 255
    assert shortened.decode().endswith(" (1)")


def test_free_names_run_out() -> None:
    with pytest.raises(FileExistsError):
        free_name(lambda _: True, b"a")

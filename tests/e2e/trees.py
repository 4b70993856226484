"""Making trees of files, and comparing them."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20
OLD: Final = 1_234_567_890_123_456_789
"""A modification time, in nanoseconds, that is not now and no whole number of anything."""

LONG_NAME: Final = "ü" * 125 + ".long"
NAMES: Final = (
    "plain.txt",
    "with space.txt",
    " leading and trailing ",
    "новый документ.txt",
    "报告.pdf",
    "レポート.txt",
    "تقرير.txt",
    "דוח.txt",
    "รายงาน.txt",
    "😀 emoji 👩‍👩‍👧.txt",
    "line\nbreak.txt",
    "tab\tand \x1b[31mcolour\x1b[0m.txt",
    "quote'\"`$(x).txt",
    "-dash",
    ".hidden",
    "back\\slash",
    "a:b*c?d|e",
    LONG_NAME,
)
"""Names that a Linux file system takes. The last has 255 bytes."""


def content(size: int, seed: int = 1) -> bytes:
    """Bytes that no compression and no luck makes equal to others."""
    return random.Random(seed).randbytes(size)


def write(path: Path, data: bytes | str, mode: int = 0o644, mtime_ns: int = OLD) -> Path:
    """Write a file, with its directories, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    path.chmod(mode)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def sparse(path: Path, size: int, *marks: int) -> Path:
    """Write a file of zeros that takes no room, but for a few bytes at each of the marks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
        for mark in marks:
            file.seek(mark)
            file.write(b"p2pal at %d" % mark)
        assert file.tell() <= size
    return path


def make_tree(root: Path) -> Path:
    """Make a tree with everything that is kept: kinds, modes, times, empty things, links, names."""
    write(root / "empty", b"")
    write(root / "one byte", b"x", mtime_ns=OLD + 1)
    write(root / "program", "#!/bin/sh\n", mode=0o755)
    write(root / "private", "secret\n", mode=0o600)
    write(root / "read only", "kept\n", mode=0o444)
    write(root / "a" / "b" / "c" / "deep.bin", content(300_000))
    write(root / "exactly a chunk", content(63 * 1024, 2))
    write(root / "exactly a piece", content(MIB, 3))
    write(root / "a piece and a byte", content(MIB + 1, 4))
    for number, name in enumerate(NAMES):
        write(root / "names" / name, content(number * 100, number))
    (root / "empty directory" / "within").mkdir(parents=True)
    (root / "link to file").symlink_to("program")
    (root / "a" / "link up").symlink_to("../program")
    (root / "link to directory").symlink_to("a/b")
    (root / "broken link").symlink_to("nothing here")
    (root / "a" / "b").chmod(0o750)
    for folder, names, _ in os.walk(root, topdown=False):
        for name in names:
            os.utime(Path(folder, name), ns=(OLD + 7, OLD + 7), follow_symlinks=False)
    os.utime(root, ns=(OLD + 8, OLD + 8))
    return root


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """What a tree is: kind, mode, time, size and hash of everything under (and with) ``root``, by relative path."""
    found = {".": _describe(root)}
    if root.is_dir() and not root.is_symlink():
        for folder, directories, files in os.walk(root):
            for name in [*directories, *files]:
                path = Path(folder, name)
                found[os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")] = _describe(path)
    return found


def _describe(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return "link", os.readlink(path), status.st_mtime_ns
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    if stat.S_ISDIR(status.st_mode):
        return "directory", mode, status.st_mtime_ns
    with path.open("rb") as file:
        return "file", mode, status.st_mtime_ns, status.st_size, hashlib.file_digest(file, "sha256").hexdigest()


def tree_equal(left: Path, right: Path) -> bool:
    """Whether two files or trees are the same, but for their own names; prints what differs."""
    a, b = snapshot(left), snapshot(right)
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            print(f"{name!r}: {a.get(name)} != {b.get(name)}")
    return a == b


def leftovers(root: Path) -> list[str]:
    """Unfinished files of ours anywhere below ``root``."""
    return [str(path) for path in root.rglob("*") if path.name.startswith(".p2pal")]


def has_data(folder: Path) -> bool:
    """Whether a file below a directory begins with something else than zero; room that is only reserved does not."""
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                with open(os.path.join(path, name), "rb") as file:
                    if file.read(16).strip(b"\0"):
                        return True
            except FileNotFoundError:  # renamed in between: the next look finds it
                continue
    return False

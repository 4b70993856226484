"""What is sent: files and trees, made in the scratch directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30


def quiet_disk() -> None:
    """Let the disk finish what earlier runs left in the page cache, or the next one pays for it."""
    os.sync()


def random_file(path: Path, size: int) -> Path:
    """Write a file of random bytes: one block again and again, each time with another beginning."""
    block = os.urandom(min(size, MIB))
    with path.open("wb") as file:
        for number in range(size // MIB):
            file.write(number.to_bytes(8, "big") + block[8:])
        file.write(block[: size % MIB])
    return path


def sparse_file(path: Path, size: int) -> Path:
    """Write a file whose first MiB is random and whose rest is a hole: it takes no room on the disk."""
    random_file(path, min(size, MIB))
    os.truncate(path, size)
    return path


def marked_file(path: Path, size: int, step: int, mark: int, *, first: int = 0) -> Path:
    """Write a hole with so many bytes other than zero at every multiple of ``step`` from ``first`` on."""
    with path.open("wb") as file:
        for offset in range(-(-first // step) * step, size, step):
            file.seek(offset)
            file.write(b"\xff" * mark)
        file.truncate(size)
    return path


def tree(path: Path, files: int, size: int, *, per_directory: int = 100) -> Path:
    """Write a directory with so many random files of so many bytes, at most ``per_directory`` in each below it."""
    path.mkdir()
    noise = os.urandom(size + files)
    for start in range(0, files, per_directory):
        directory = path / f"{start // per_directory:04}"
        directory.mkdir()
        for number in range(start, min(start + per_directory, files)):
            (directory / f"{number:06}.bin").write_bytes(noise[number : number + size])
    return path

"""Checkpoints on a real disk: a home, a target directory, and part files in it."""

from __future__ import annotations

import os
from pathlib import Path

from tests.unit.transfer.records import ID, header

from p2pal.checkpoint.records import (
    Begun,
    CheckpointHeader,
    CheckpointRecord,
    PlaceRecord,
    Places,
    StoredIdentity,
    Target,
)
from p2pal.disk.checkpoints.journal import Journal
from p2pal.disk.checkpoints.store import Checkpoints
from p2pal.role import Role


class Kept:
    """A store in a directory of its own.

    Args:
        path: An empty directory.
        handles: Whether the store uses directory handles.
    """

    def __init__(self, path: Path, *, handles: bool = True) -> None:
        self.path = path
        self.store = Checkpoints(path / "home", handles=handles)
        self.out = path / "out"
        self.out.mkdir()

    @property
    def target(self) -> Target:
        return Target(os.fsencode(self.out), identity(self.out))

    def header(self, role: Role = "receive", ident: str = ID, entries: int = 100) -> CheckpointHeader:
        return header(role, ident=ident, entries=entries, target=self.target if role == "receive" else None)

    def create(self, *records: CheckpointRecord, role: Role = "receive", ident: str = ID) -> Journal:
        places: list[CheckpointRecord] = [Places([PlaceRecord(b"top", b"top", "NEW")])] if role == "receive" else []
        return self.store.create(self.header(role, ident), [*places, *records])

    def closed(self, *records: CheckpointRecord, role: Role = "receive", ident: str = ID) -> Path:
        """Make a checkpoint, and let go of it; return its file."""
        journal = self.create(*records, role=role, ident=ident)
        journal.close()
        return journal.path

    def part(self, index: int, where: str = "", data: bytes = b"unfinished", ident: str = ID) -> tuple[Path, Begun]:
        """Make a part file below the target, and the record of it. ``where`` is the entry's path as offered."""
        where = where or f"top/{index}"
        directory = (self.out / where).parent
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f".p2pal-{ident[:8]}-{index}.part"
        path.write_bytes(data)
        return path, Begun(index, identity(path), 100, 0, os.fsencode(where))

    def files(self) -> list[str]:
        """Return the names in the checkpoints' directory."""
        return sorted(os.listdir(self.store.path))


def identity(path: Path) -> StoredIdentity:
    found = os.lstat(path)
    return found.st_dev, found.st_ino

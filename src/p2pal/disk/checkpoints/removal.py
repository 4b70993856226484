"""Removing checkpoints: those that a person names, those that have expired, and what crashed processes left."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from typing import Final

from p2pal.checkpoint.codec import NewerVersion
from p2pal.checkpoint.replay import ReceiveState
from p2pal.disk.checkpoints.cleanup import Cleaned, remove_parts
from p2pal.disk.checkpoints.contents import file_name, fold, opened, read_header
from p2pal.disk.checkpoints.ids import CHECKPOINT_FILE, DEFAULT_TTL
from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.locks import NotOurs, open_locked, remove_locked
from p2pal.disk.fs.os_errors import error_text
from p2pal.errors import CheckpointError
from p2pal.role import Role

STALE: Final = 3600.0
"""Seconds after which a temporary file is a crashed process's."""


_TEMPORARY: Final = re.compile(rf"\.{CHECKPOINT_FILE.pattern}\.[0-9a-f]{{16}}\.tmp")


@dataclass(frozen=True, slots=True)
class Removed:
    """What became of one checkpoint that was to be removed.

    Attributes:
        id: Its name.
        role: What this machine was in the transfer.
        removed: Whether it is gone.
        problem: Why it is not, or why its part files could not be known; empty if all went well.
        cleaned: What became of its part files.
    """

    id: str
    role: Role
    removed: bool
    problem: str = ""
    cleaned: Cleaned = field(default_factory=Cleaned)


def sweep(directory: Directory, now: float) -> None:
    """Remove temporary files that nobody has touched for an hour, and nobody has locked."""
    for name in directory.names():
        if not _TEMPORARY.fullmatch(os.fsdecode(name)):
            continue
        with contextlib.suppress(OSError, CheckpointError):
            found = directory.status(name)
            if found is None or found.st_mtime + STALE > now:
                continue
            remove_locked(directory, name, open_locked(directory, name))


def remove_each(directory: Directory, files: list[tuple[str, Role]], now: float | None = None) -> list[Removed]:
    """Remove these checkpoints; given the time, those of them that have expired."""
    chosen = files if now is None else [each for each in files if _may_go(directory, *each, now)]
    found = (_remove(directory, *each, now) for each in chosen)
    return [removed for removed in found if removed is not None]


def _may_go(directory: Directory, each: str, role: Role, now: float) -> bool:
    """Whether it has expired; what is not ours is not for us to judge."""
    try:
        with opened(directory, each, role) as fd:
            return _expired(fd, each, role, now)
    except (OSError, CheckpointError):
        return False


def _expired(fd: int, each: str, role: Role, now: float) -> bool:
    """Whether it may go. One that a newer p2pal made is for that to judge."""
    try:
        ttl = read_header(fd, each, role).ttl
    except NewerVersion:
        return False
    except CheckpointError:
        ttl = DEFAULT_TTL  # its own cannot be read
    return os.fstat(fd).st_mtime + ttl <= now


def _remove(directory: Directory, each: str, role: Role, now: float | None = None) -> Removed | None:
    """Remove one checkpoint and what it knows of; given the time, only if nobody has used it meanwhile."""
    name = file_name(each, role)
    try:
        try:
            fd = open_locked(directory, name)
        except NotOurs as error:
            directory.remove(name)
            return Removed(each, role, True, f"{error.message}, so no part file was looked for")
        try:
            if now is not None and not _expired(fd, each, role, now):
                os.close(fd)
                return None
            cleaned, problem = _remove_parts(fd, each, role)
        except BaseException:
            os.close(fd)
            raise
        remove_locked(directory, name, fd)
    except FileNotFoundError:
        return Removed(each, role, True)
    except CheckpointError as error:
        return Removed(each, role, False, error.message)
    except OSError as error:
        return Removed(each, role, False, error_text(error))
    with contextlib.suppress(OSError):
        directory.sync()
    return Removed(each, role, True, problem, cleaned)


def _remove_parts(fd: int, each: str, role: Role) -> tuple[Cleaned, str]:
    """Remove the part files that a checkpoint names; return what became of them, and why they are not known."""
    try:
        header, state, _ = fold(fd, each, role)
    except CheckpointError as error:
        return Cleaned(), f"{error.message}, so its part files are not known"
    return remove_parts(header, state) if isinstance(state, ReceiveState) else Cleaned(), ""

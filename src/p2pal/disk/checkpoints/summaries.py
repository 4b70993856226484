"""What the list shows of each checkpoint, without reading what is large in it."""

from __future__ import annotations

from dataclasses import dataclass

from p2pal.checkpoint.records import CheckpointHeader
from p2pal.checkpoint.replay import ReceiveState, SendState
from p2pal.disk.checkpoints.contents import file_name, fold, opened
from p2pal.disk.fs.directory import Directory
from p2pal.disk.fs.locks import in_use
from p2pal.disk.fs.os_errors import error_text
from p2pal.errors import CheckpointError
from p2pal.role import Role
from p2pal.wire.transfer import name_text


@dataclass(frozen=True, slots=True)
class CheckpointSummary:
    """One checkpoint, for the list.

    Attributes:
        id: Its name, 26 characters.
        role: What this machine is in the transfer.
        names: Top-level names, the first few,
        more: and how many there are besides.
        files: Files of the transfer,
        files_done: and how many of them are known to have arrived.
        total: Bytes of the transfer,
        done: and how many of them are known to have arrived.
        created: When the transfer was accepted, in seconds since the epoch.
        used: When the checkpoint was last written.
        expires_at: When ``clean`` may remove it.
        where: The directory that is written to; of a sender, the first path that was given.
        in_use: A process is using it now.
        problem: Why it cannot be used; empty if it can. Only ``id``, ``role``, ``used`` and ``in_use`` are known then.
    """

    id: str
    role: Role
    names: tuple[str, ...] = ()
    more: int = 0
    files: int = 0
    files_done: int = 0
    total: int = 0
    done: int = 0
    created: float = 0.0
    used: float = 0.0
    expires_at: float = 0.0
    where: str = ""
    in_use: bool = False
    problem: str = ""


def summarize(directory: Directory, each: str, role: Role) -> CheckpointSummary | None:
    """Look at one checkpoint, without reading what is large in it; None if it was removed meanwhile."""
    used, busy = 0.0, False
    try:
        found = directory.status(file_name(each, role))
        used = found.st_mtime if found is not None else 0.0
        with opened(directory, each, role) as fd:
            busy = in_use(fd)
            header, state, _ = fold(fd, each, role, light=True)
    except FileNotFoundError:
        return None
    except CheckpointError as error:
        return CheckpointSummary(each, role, used=used, in_use=busy, problem=error.message)
    except OSError as error:
        return CheckpointSummary(each, role, used=used, in_use=busy, problem=error_text(error))
    if isinstance(state, ReceiveState):
        files, done = state.done_files, state.done_bytes + state.claimed_bytes
    else:
        files, done = state.files, state.done
    return CheckpointSummary(
        each,
        role,
        names=tuple(map(name_text, header.names)),
        more=header.more,
        files=header.files,
        files_done=min(files, header.files),
        total=header.total,
        done=min(done, header.total),
        created=header.created,
        used=used,
        expires_at=used + header.ttl,
        where=_where(header, state),
        in_use=busy,
    )


def _where(header: CheckpointHeader, state: ReceiveState | SendState) -> str:
    if header.target is not None:
        return name_text(header.target.root)
    return name_text(state.tops[0].path) if isinstance(state, SendState) and state.tops else ""

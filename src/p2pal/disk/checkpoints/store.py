"""Where checkpoints are kept: one file for each transfer and role, in a directory that is ours alone.

A checkpoint comes into being whole, under its name, and locked: it is written to a temporary file, made durable, and
renamed. From then on it is only appended to (:class:`p2pal.disk.checkpoints.journal.Journal`) until it is removed.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from p2pal.checkpoint.codec import MAGIC, decode, encode
from p2pal.checkpoint.durable import DurableCount
from p2pal.checkpoint.records import CheckpointHeader, CheckpointRecord
from p2pal.checkpoint.replay import ReceiveState
from p2pal.disk.checkpoints.contents import (
    OpenedCheckpoint,
    checkpoint_files,
    file_name,
    fold,
    named,
    opened,
    read_header,
)
from p2pal.disk.checkpoints.ids import ID_PREFIX, SHOWN_IN_HINTS, usual_home
from p2pal.disk.checkpoints.journal import Journal, write_records
from p2pal.disk.checkpoints.removal import Removed, remove_each, sweep
from p2pal.disk.checkpoints.summaries import CheckpointSummary, summarize
from p2pal.disk.fs.directory import Directory, sync_file
from p2pal.disk.fs.locks import IN_USE, IN_USE_HINT, NotOurs, check_directory, identity_of, open_locked, try_lock
from p2pal.disk.fs.os_errors import error_text
from p2pal.disk.fs.rename import Identity
from p2pal.disk.fs.root import HAVE_HANDLES, open_root
from p2pal.errors import CheckpointError
from p2pal.role import Role

__all__ = ["CheckpointSummary", "Checkpoints", "OpenedCheckpoint", "Removed"]

_TRIES: Final = 16


class Checkpoints:
    """The directory of checkpoints. All methods raise CheckpointError, also for what the system refuses.

    Args:
        home: p2pal's own directory; None for ``~/.p2pal``. It is made when the first checkpoint is.
        handles: Whether the system has directory handles.
    """

    def __init__(self, home: Path | None = None, *, handles: bool = HAVE_HANDLES) -> None:
        if home is None:
            try:
                home = usual_home()
            except RuntimeError as error:
                raise CheckpointError(
                    "there is no home directory to keep checkpoints in", hint="set P2PAL_HOME"
                ) from error
        self.path = home / "checkpoints"
        self._handles = handles

    # --- one checkpoint ---------------------------------------------------------------------------------------------

    def create(self, header: CheckpointHeader, records: Iterable[CheckpointRecord] = ()) -> Journal:
        """Make a checkpoint of these records: durable, locked, whole or not at all. One of the same name is replaced.

        Raises:
            CheckpointError: If one of the same name is in use or not ours, or the disk refuses.
            ValueError: If the header, or a record, is not one that can be read again.
        """
        opening = MAGIC + encode(header)
        try:
            next(decode(opening))
        except CheckpointError as error:
            raise ValueError("this header could not be read again") from error
        name = file_name(header.id, header.role)
        with self._errors(), self._made() as directory:
            temporary = b".%s.%s.tmp" % (name, secrets.token_hex(8).encode())
            fd = directory.create(temporary)
            identity = identity_of(fd)
            standing = temporary
            try:
                if not try_lock(fd):
                    raise CheckpointError(IN_USE, hint=IN_USE_HINT)
                end = write_records(fd, chain((opening,), map(encode, records)))
                sync_file(fd)
                if directory.closes_first:
                    fd = _closed(fd)
                self._settle(directory, temporary, name)
                standing = name
                if fd < 0:
                    fd = _open_again(directory, name, identity)
                directory.sync()
                count = DurableCount() if header.role == "receive" else None
                return Journal(directory.retain(), name, fd, end, self.path / os.fsdecode(name), count=count)
            except BaseException:
                if directory.closes_first:
                    fd = _closed(fd)
                with contextlib.suppress(OSError):
                    if directory.has(standing, identity):
                        directory.remove(standing)
                _closed(fd)
                raise

    def _settle(self, directory: Directory, temporary: bytes, name: bytes) -> None:
        """Give a new checkpoint its name; one that has it already is replaced while nobody else can open it."""
        for _ in range(_TRIES):
            try:
                directory.rename_new(temporary, name)
            except FileExistsError:
                pass
            else:
                return
            try:
                old = open_locked(directory, name)
            except FileNotFoundError:
                continue
            except NotOurs as error:
                raise named(self.path / os.fsdecode(name), error) from error
            try:
                allowed = identity_of(old)
                if directory.closes_first:
                    old = _closed(old)
                directory.rename_over(temporary, name, allowed)
            except FileExistsError:
                continue
            finally:
                _closed(old)
            return
        raise CheckpointError(IN_USE, hint=IN_USE_HINT)

    def open(self, prefix: str, role: Role) -> OpenedCheckpoint:
        """Open a checkpoint to go on from it.

        Args:
            prefix: The beginning of its id, enough to tell it from others of this role.
            role: What this machine is in the transfer.

        Raises:
            CheckpointError: If there is none or more than one, or it is in use, damaged, of a newer version or not
                ours.
        """
        with self._errors(), self._directory() as directory:
            ((found, _),) = _find(directory, prefix, role)
            if directory is None:  # then nothing was found
                raise _none(found, [])
            name = file_name(found, role)
            path = self.path / os.fsdecode(name)
            try:
                fd = open_locked(directory, name)
            except FileNotFoundError:
                raise _none(found, []) from None
            except NotOurs as error:
                raise named(path, error) from error
            try:
                header, state, end = fold(fd, found, role)
                sync_file(fd)
                torn = os.fstat(fd).st_size != end
                count = DurableCount(state) if isinstance(state, ReceiveState) else None
                journal = Journal(directory.retain(), name, fd, end, path, torn=torn, count=count)
                return OpenedCheckpoint(header, state, journal)
            except BaseException as error:
                os.close(fd)
                if isinstance(error, CheckpointError):
                    raise named(path, error) from error
                raise

    def offered(self, transfer_id: bytes) -> builtins.list[CheckpointHeader]:
        """Return the headers of the receiver's checkpoints of this transfer; those in use too, damaged ones not."""
        found = []
        with self._errors(), self._directory() as directory:
            if directory is None:
                return []
            for each, role in checkpoint_files(directory):
                if role == "receive":
                    with contextlib.suppress(OSError, CheckpointError), opened(directory, each, role) as fd:
                        header = read_header(fd, each, role)
                        if header.transfer_id == transfer_id:
                            found.append(header)
        return found

    # --- all of them ------------------------------------------------------------------------------------------------

    def remove(self, prefix: str, role: Role | None = None) -> builtins.list[Removed]:
        """Remove a transfer's checkpoint (both, if this machine has both and ``role`` is None), and its part files.

        Raises:
            CheckpointError: If there is none, or more than one id begins so.
        """
        with self._errors(), self._directory() as directory:
            found = _find(directory, prefix, role)
            return [] if directory is None else remove_each(directory, found)

    def clean(self, now: float) -> builtins.list[Removed]:
        """Remove what has expired, and what crashed processes left behind.

        Args:
            now: Seconds since the epoch.
        """
        with self._errors(), self._directory() as directory:
            if directory is None:
                return []
            sweep(directory, now)
            return remove_each(directory, checkpoint_files(directory), now)

    def clean_all(self) -> builtins.list[Removed]:
        """Remove every checkpoint that no process uses."""
        with self._errors(), self._directory() as directory:
            if directory is None:
                return []
            sweep(directory, time.time())
            return remove_each(directory, checkpoint_files(directory))

    def list(self) -> builtins.list[CheckpointSummary]:
        """Return all checkpoints, the last used first."""
        with self._errors(), self._directory() as directory:
            if directory is None:
                return []
            looks = [summarize(directory, *each) for each in checkpoint_files(directory)]
        found = [summary for summary in looks if summary is not None]
        return sorted(found, key=lambda summary: (-summary.used, summary.id, summary.role))

    # --- how --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Say what the system refused."""
        try:
            yield
        except OSError as error:
            raise CheckpointError(
                f"the checkpoints in {self.path} cannot be used: {error_text(error)}",
                hint="see that it can be written to and has space, or set P2PAL_HOME to another directory",
            ) from error

    @contextlib.contextmanager
    def _made(self) -> Iterator[Directory]:
        """Open the directory; make it first if there is none."""
        home = self.path.parent
        os.makedirs(home.parent, exist_ok=True)
        for path in (home, self.path):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
                parent = open_root(os.fsencode(path.parent), handles=self._handles)
                try:
                    parent.sync()
                finally:
                    parent.release()
        with self._directory() as directory:
            if directory is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            yield directory

    @contextlib.contextmanager
    def _directory(self) -> Iterator[Directory | None]:
        """Open the directory; None if there is none."""
        try:
            directory = open_root(os.fsencode(self.path), handles=self._handles)
        except FileNotFoundError:
            yield None
            return
        try:
            found = directory.status(b".")
            if found is not None:
                check_directory(found)
            yield directory
        finally:
            directory.release()


def _closed(fd: int) -> int:
    """Close a descriptor, if it is one; return what is none."""
    if fd >= 0:
        os.close(fd)
    return -1


def _open_again(directory: Directory, name: bytes, identity: Identity) -> int:
    """Open and lock a new checkpoint that had to be closed to get its name.

    Raises:
        CheckpointError: If another process was there first.
        OSError: If it cannot be opened.
    """
    fd = open_locked(directory, name)
    if identity_of(fd) != identity:
        os.close(fd)
        raise CheckpointError(IN_USE, hint=IN_USE_HINT)
    return fd


def _find(directory: Directory | None, prefix: str, role: Role | None) -> list[tuple[str, Role]]:
    """Return the one transfer of which the id begins so: its roles, or the one that is asked for."""
    wanted = prefix.strip().lower()
    if not ID_PREFIX.fullmatch(wanted):
        raise CheckpointError("that is no checkpoint's id: it has letters and the digits 2 to 7, at most 26")
    files = checkpoint_files(directory) if directory is not None else []
    alike = [each for each in files if each[0].startswith(wanted)]
    found = [each for each in alike if role is None or each[1] == role]
    ids = sorted({each[0] for each in found})
    if not ids:
        raise _none(wanted, alike)
    if len(ids) > 1:
        shown = ", ".join(each[:SHOWN_IN_HINTS] for each in ids[:8]) + (", ..." if len(ids) > 8 else "")
        raise CheckpointError(f"more than one checkpoint begins with {wanted}: {shown}", hint="give more of the id")
    return found


def _none(prefix: str, alike: list[tuple[str, Role]]) -> CheckpointError:
    message = f"there is no checkpoint {prefix}"
    if not alike:
        return CheckpointError(message)
    if alike[0][1] == "send":
        return CheckpointError(f"{message} of a receiver", hint="this machine is its sender: p2pal send --resume")
    return CheckpointError(f"{message} of a sender", hint="this machine is its receiver: p2pal recv with a new code")

"""Where checkpoints are kept: one file for each transfer and role, in a directory that is ours alone.

A checkpoint comes into being whole, under its name, and locked: it is written to a temporary file, made durable, and
renamed. From then on it is only appended to (:class:`p2pal.files.journal.Journal`) until it is removed.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec

from p2pal.errors import CheckpointError
from p2pal.files.cleaning import Cleaned, remove_parts
from p2pal.files.failures import error_text
from p2pal.files.journal import Journal, read_at, write_records
from p2pal.files.locking import (
    IN_USE,
    IN_USE_HINT,
    NotOurs,
    check_directory,
    identity_of,
    in_use,
    open_locked,
    open_own,
    try_lock,
)
from p2pal.files.rooted import Directory, open_root, sync_file
from p2pal.transfer.checkpoint import (
    LEAVES,
    LISTING,
    MAGIC,
    Header,
    Listing,
    NewerVersion,
    Record,
    Role,
    SessionBegins,
    decode,
    encode,
    scan,
)
from p2pal.transfer.recall import ReceiveState, SendState
from p2pal.wire.transfer import Entry, name_text

DEFAULT_TTL: Final = 168 * 3600.0
"""Seconds after which a checkpoint goes whose own time to live cannot be read."""
STALE: Final = 3600.0
"""Seconds after which a temporary file is a crashed process's."""

_FILE: Final = re.compile(r"([a-z2-7]{26})\.(send|receive)")
_TEMPORARY: Final = re.compile(r"\.[a-z2-7]{26}\.(send|receive)\.[0-9a-f]{16}\.tmp")
_PREFIX: Final = re.compile(r"[a-z2-7]{1,26}")
_SHOWN: Final = 12
_TRIES: Final = 16
_ROLES: Final[dict[str, Role]] = {"send": "send", "receive": "receive"}
_LISTINGS: Final = frozenset((LISTING,))
_LARGE: Final = frozenset((LISTING, LEAVES))
_entries: Final = msgspec.msgpack.Decoder(list[Entry])


@dataclass(frozen=True, slots=True)
class Summary:
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


class Opened:
    """A checkpoint to go on from, locked until its journal is closed.

    Attributes:
        header: The transfer.
        state: How far it is.
        journal: Where to write what happens now.
    """

    __slots__ = ("header", "journal", "state")

    def __init__(self, header: Header, state: ReceiveState | SendState, journal: Journal) -> None:
        self.header = header
        self.state = state
        self.journal = journal

    def begin(self, now: float) -> bool:
        """Note, durably, that the transfer goes on: what the last stop said of part files is not true any more.

        Only once it is certain that it does: until then the checkpoint stays as it was. ``state`` stays too.

        Args:
            now: Seconds since the epoch.
        """
        return self.journal.write(SessionBegins(now), durable=True)

    def listing(self) -> Iterator[tuple[Entry, tuple[int, int, int]]]:
        """Yield the entries that the sender offered, with (device, inode, ctime_ns) of each, from the file.

        Raises:
            CheckpointError: If not all of them are there.
        """
        count = 0
        try:
            for _, record in scan(self.journal.read, skip=frozenset((LEAVES,))):
                if not isinstance(record, Listing):
                    continue
                entries = self._entries(record)
                if record.first != count or len(entries) != len(record.identities):
                    break
                yield from zip(entries, record.identities, strict=True)
                count += len(entries)
                if count >= self.header.entries:
                    break
        except OSError as error:
            raise CheckpointError(f"{self.journal.path} cannot be read: {error_text(error)}") from error
        if count != self.header.entries:
            raise _named(self.journal.path, CheckpointError("it is damaged"))

    @staticmethod
    def _entries(record: Listing) -> list[Entry]:
        """Decode a stretch of entries: as one array, of as many as there are identities."""
        try:
            return _entries.decode(b"\xdd" + len(record.identities).to_bytes(4, "big") + record.entries)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return []


class Checkpoints:
    """The directory of checkpoints. All methods raise CheckpointError, also for what the system refuses.

    Args:
        home: p2pal's own directory; None for ``~/.p2pal``. It is made when the first checkpoint is.
    """

    def __init__(self, home: Path | None = None) -> None:
        if home is None:
            try:
                home = Path.home() / ".p2pal"
            except RuntimeError as error:
                raise CheckpointError(
                    "there is no home directory to keep checkpoints in", hint="set P2PAL_HOME"
                ) from error
        self.path = home / "checkpoints"

    # --- one checkpoint ---------------------------------------------------------------------------------------------

    def create(self, header: Header, records: Iterable[Record] = ()) -> Journal:
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
        name = _file_name(header.id, header.role)
        with self._errors(), self._made() as directory:
            temporary = b".%s.%s.tmp" % (name, secrets.token_hex(8).encode())
            fd = directory.create(temporary)
            standing = temporary
            try:
                if not try_lock(fd):
                    raise CheckpointError(IN_USE, hint=IN_USE_HINT)
                end = write_records(fd, chain((opening,), map(encode, records)))
                sync_file(fd)
                self._settle(directory, temporary, name)
                standing = name
                directory.sync()
                return Journal(directory.retain(), name, fd, end, self.path / os.fsdecode(name))
            except BaseException:
                with contextlib.suppress(OSError):
                    if directory.has(standing, identity_of(fd)):
                        directory.remove(standing)
                os.close(fd)
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
            try:
                directory.rename_over(temporary, name, identity_of(old))
            finally:
                os.close(old)
            return
        raise CheckpointError(IN_USE, hint=IN_USE_HINT)

    def open(self, prefix: str, role: Role) -> Opened:
        """Open a checkpoint to go on from it.

        Args:
            prefix: The beginning of its id, enough to tell it from others of this role.
            role: What this machine is in the transfer.

        Raises:
            CheckpointError: If there is none or more than one, or it is in use, damaged, of a newer version or not
                ours.
        """
        with self._errors(), self._directory() as directory:
            if directory is None:
                raise _none(prefix, [])
            ((found, _),) = self._find(directory, prefix, role)
            name = _file_name(found, role)
            path = self.path / os.fsdecode(name)
            try:
                fd = open_locked(directory, name)
            except FileNotFoundError:
                raise _none(found, []) from None
            except NotOurs as error:
                raise _named(path, error) from error
            try:
                header, state, end = _fold(fd, found, role)
                sync_file(fd)
                torn = os.fstat(fd).st_size != end
                return Opened(header, state, Journal(directory.retain(), name, fd, end, path, torn=torn))
            except BaseException as error:
                os.close(fd)
                if isinstance(error, CheckpointError):
                    raise _named(path, error) from error
                raise

    def offered(self, transfer_id: bytes) -> builtins.list[str]:
        """Return the ids of the receiver's checkpoints of this transfer; those in use too, damaged ones not."""
        found = []
        with self._errors(), self._directory() as directory:
            if directory is None:
                return []
            for each, role in self._files(directory):
                if role == "receive":
                    with contextlib.suppress(OSError, CheckpointError), _opened(directory, each, role) as fd:
                        if _header(fd, each, role).transfer_id == transfer_id:
                            found.append(each)
        return found

    # --- all of them ------------------------------------------------------------------------------------------------

    def remove(self, prefix: str, role: Role | None = None) -> builtins.list[Removed]:
        """Remove a transfer's checkpoint (both, if this machine has both and ``role`` is None), and its part files.

        Raises:
            CheckpointError: If there is none, or more than one id begins so.
        """
        with self._errors(), self._directory() as directory:
            if directory is None:
                raise _none(prefix, [])
            return [self._remove(directory, *each) for each in self._find(directory, prefix, role)]

    def clean(self, now: float) -> builtins.list[Removed]:
        """Remove what has expired, and what crashed processes left behind.

        Args:
            now: Seconds since the epoch.
        """
        with self._errors(), self._directory() as directory:
            if directory is None:
                return []
            self._sweep(directory, now)
            return [
                self._remove(directory, *each)
                for each in self._files(directory)
                if self._expired(directory, now, *each)
            ]

    def clean_all(self) -> builtins.list[Removed]:
        """Remove every checkpoint that no process uses."""
        with self._errors(), self._directory() as directory:
            if directory is None:
                return []
            self._sweep(directory, time.time())
            return [self._remove(directory, *each) for each in self._files(directory)]

    def list(self) -> builtins.list[Summary]:
        """Return all checkpoints, the last used first."""
        with self._errors(), self._directory() as directory:
            if directory is None:
                return []
            found = [self._summary(directory, *each) for each in self._files(directory)]
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
                parent = open_root(os.fsencode(path.parent))
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
            directory = open_root(os.fsencode(self.path))
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

    def _files(self, directory: Directory) -> builtins.list[tuple[str, Role]]:
        """Return id and role of all that has a checkpoint's name."""
        matches = map(_FILE.fullmatch, sorted(os.fsdecode(name) for name in directory.names()))
        return [(match[1], _ROLES[match[2]]) for match in matches if match is not None]

    def _find(self, directory: Directory, prefix: str, role: Role | None) -> builtins.list[tuple[str, Role]]:
        """Return the one transfer of which the id begins so: its roles, or the one that is asked for."""
        wanted = prefix.strip().lower()
        if not _PREFIX.fullmatch(wanted):
            raise CheckpointError("that is no checkpoint's id: it has letters and the digits 2 to 7, at most 26")
        alike = [each for each in self._files(directory) if each[0].startswith(wanted)]
        found = [each for each in alike if role is None or each[1] == role]
        ids = sorted({each[0] for each in found})
        if not ids:
            raise _none(wanted, alike)
        if len(ids) > 1:
            shown = ", ".join(each[:_SHOWN] for each in ids[:8]) + (", ..." if len(ids) > 8 else "")
            raise CheckpointError(f"more than one checkpoint begins with {wanted}: {shown}", hint="give more of the id")
        return found

    def _sweep(self, directory: Directory, now: float) -> None:
        """Remove temporary files that nobody has touched for an hour, and nobody has locked."""
        for name in directory.names():
            if not _TEMPORARY.fullmatch(os.fsdecode(name)):
                continue
            with contextlib.suppress(OSError, CheckpointError):
                found = directory.status(name)
                if found is None or found.st_mtime + STALE > now:
                    continue
                fd = open_locked(directory, name)
                try:
                    directory.remove(name)
                finally:
                    os.close(fd)

    def _expired(self, directory: Directory, now: float, each: str, role: Role) -> bool:
        """Whether it may go. One that a newer p2pal made, or that is not ours, is for its owner to judge."""
        try:
            with _opened(directory, each, role) as fd:
                used = os.fstat(fd).st_mtime
                try:
                    ttl = _header(fd, each, role).ttl
                except NewerVersion:
                    return False
                except CheckpointError:
                    ttl = DEFAULT_TTL
                return used + ttl <= now
        except (OSError, CheckpointError):
            return False

    def _remove(self, directory: Directory, each: str, role: Role) -> Removed:
        """Remove one checkpoint and what it knows of."""
        name = _file_name(each, role)
        cleaned, problem = Cleaned(), ""
        try:
            try:
                fd = open_locked(directory, name)
            except NotOurs as error:
                directory.remove(name)
                return Removed(each, role, True, f"{error.message}, so no part file was looked for")
            try:
                try:
                    header, state, _ = _fold(fd, each, role)
                except CheckpointError as error:
                    problem = f"{error.message}, so its part files are not known"
                else:
                    if isinstance(state, ReceiveState):
                        cleaned = remove_parts(header, state)
                directory.remove(name)
            finally:
                os.close(fd)
        except FileNotFoundError:
            return Removed(each, role, True)
        except CheckpointError as error:
            return Removed(each, role, False, error.message)
        except OSError as error:
            return Removed(each, role, False, error_text(error), cleaned)
        with contextlib.suppress(OSError):
            directory.sync()
        return Removed(each, role, True, problem, cleaned)

    def _summary(self, directory: Directory, each: str, role: Role) -> Summary:
        """Look at one checkpoint, without reading what is large in it."""
        used, busy = 0.0, False
        try:
            with _opened(directory, each, role) as fd:
                used, busy = os.fstat(fd).st_mtime, in_use(fd)
                header, state, _ = _fold(fd, each, role, light=True)
        except CheckpointError as error:
            return Summary(each, role, used=used, in_use=busy, problem=error.message)
        except OSError as error:
            return Summary(each, role, used=used, in_use=busy, problem=error_text(error))
        if isinstance(state, ReceiveState):
            files, done = state.done_files, state.done_bytes + state.claimed_bytes
        else:
            files, done = state.files, state.done
        return Summary(
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


def _file_name(each: str, role: Role) -> bytes:
    return f"{each}.{role}".encode("ascii")


def _none(prefix: str, alike: list[tuple[str, Role]]) -> CheckpointError:
    message = f"there is no checkpoint {prefix}"
    if not alike:
        return CheckpointError(message)
    if alike[0][1] == "send":
        return CheckpointError(f"{message} of a receiver", hint="this machine is its sender: p2pal send --resume")
    return CheckpointError(f"{message} of a sender", hint="this machine is its receiver: p2pal recv with a new code")


def _named(path: Path, error: CheckpointError) -> CheckpointError:
    """Name the file, and say what to do."""
    hint = error.hint
    if hint == CheckpointError.default_hint:
        hint = f"'p2pal checkpoint delete {path.name[:_SHOWN]}' removes it"
    return CheckpointError(f"{path} cannot be used: {error.message}", hint=hint)


@contextlib.contextmanager
def _opened(directory: Directory, each: str, role: Role) -> Iterator[int]:
    """Open a checkpoint without locking it."""
    fd = open_own(directory, _file_name(each, role))
    try:
        yield fd
    finally:
        os.close(fd)


def _check_header(record: Record | None, each: str, role: Role) -> Header:
    if not isinstance(record, Header):
        raise CheckpointError("it is damaged")
    if (record.id, record.role) != (each, role):
        raise CheckpointError("it is another transfer's checkpoint under this name")
    root = record.target.root if record.target is not None else b""
    if root and (b"\0" in root or not os.path.isabs(os.fsdecode(root))):
        raise CheckpointError("it is damaged")
    return record


def _header(fd: int, each: str, role: Role) -> Header:
    """Read the first record only."""
    for _, record in scan(partial(read_at, fd)):
        return _check_header(record, each, role)
    raise CheckpointError("it is damaged")


def _fold(fd: int, each: str, role: Role, *, light: bool = False) -> tuple[Header, ReceiveState | SendState, int]:
    """Read a checkpoint; return its header, what follows from it, and where its last good record ends.

    Args:
        fd: The file.
        each: The id that its name says.
        role: The role that its name says.
        light: Only what the list shows: the large records are skipped unread.
    """
    records = scan(partial(read_at, fd), skip=_LARGE if light else _LISTINGS, unchecked=light)
    end, first = next(records)
    header = _check_header(first, each, role)
    state = ReceiveState(header) if role == "receive" else SendState(header)
    for end, record in records:  # noqa: B007 - the last one's end is the result
        if record is not None:
            state.apply(record)
    return header, state, end


def _where(header: Header, state: ReceiveState | SendState) -> str:
    if header.target is not None:
        return name_text(header.target.root)
    return name_text(state.tops[0].path) if isinstance(state, SendState) and state.tops else ""

"""The nearest to Windows that runs on Linux, for a command that has this directory on its PYTHONPATH.

Python loads this file when it starts. It imports p2pal's modules once, for the sake of what they import, and forgets
them. When they are imported again, they see ``sys.platform == "win32"``, modules without what only POSIX has, an event
loop that watches no descriptor and hears of no signal, and a disk that is as particular as Windows':

- nothing is renamed, replaced or removed while this process has it open; renaming replaces nothing; what is read-only
  is neither removed nor replaced nor written to;
- a file is dated anew when what was written to it is flushed or closed; the time of the last change is unknown, modes
  are "read-only" or not; only files that are open for writing can be synced; directories cannot be opened;
- links have backslashes; whether a file is opened as binary is checked.

Everybody else in the process sees the system as it is. Names stay Linux', and so do processes and sockets.

``P2PAL_TEST_WINDOWS`` holds further wishes: ``no-links`` (no right to make symbolic links), ``ticks`` (the clock of
Python 3.11 and 3.12 there, with 64 ticks a second).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import importlib
import os
import pkgutil
import signal
import stat
import sys
import time
import traceback
from types import ModuleType
from typing import Any, Final, NoReturn

_WISHES: Final = frozenset(os.environ.get("P2PAL_TEST_WINDOWS", "").split())
_BINARY: Final = 0x8000
_BORN: Final = 1_600_000_000_000_000_000
_NO_MODULES: Final = (
    "_curses", "crypt", "curses", "fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios",
    "tty", "uvloop",
)  # fmt: skip
_ONLY_POSIX: Final = """
    O_ASYNC O_CLOEXEC O_DIRECT O_DIRECTORY O_DSYNC O_LARGEFILE O_NDELAY O_NOATIME O_NOCTTY O_NOFOLLOW O_NONBLOCK
    O_PATH O_RSYNC O_SYNC O_TMPFILE POSIX_FADV_DONTNEED POSIX_FADV_SEQUENTIAL WNOHANG chown chroot confstr
    copy_file_range ctermid eventfd fchdir fchmod fchown fdatasync fork forkpty fpathconf fstatvfs fwalk getegid
    geteuid getgid getgroups getloadavg getpgid getpgrp getpriority getresuid getsid getuid getxattr killpg lchown
    listxattr lockf major memfd_create mkfifo mknod nice openpty pathconf pipe2 posix_fadvise posix_fallocate
    posix_spawn pread preadv pwrite pwritev readv removexattr sched_getaffinity sendfile setpgid setsid setuid
    setxattr splice statvfs sync sysconf tcgetpgrp ttyname uname wait writev
"""
_NOT_IN_OS: Final = frozenset(_ONLY_POSIX.split())
_IN_SIGNAL: Final = frozenset(("SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM"))

SIGBREAK: Final = signal.SIGUSR1
"""Stands for Ctrl-Break."""


class Seen(ModuleType):
    """A module as p2pal sees it: the real one, but for what is hidden or set on this one.

    Args:
        real: The module.
        hidden: Names that it has not.
    """

    def __init__(self, real: ModuleType, hidden: frozenset[str] = frozenset(), **instead: object) -> None:
        super().__init__(real.__name__)
        vars(self).update(instead, _real=real, _hidden=hidden)

    def __getattr__(self, name: str) -> Any:
        if name in vars(self)["_hidden"]:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} (on Windows)")
        return getattr(vars(self)["_real"], name)


class Disk:
    """The functions of ``os`` that Windows has otherwise."""

    def __init__(self) -> None:
        self._written: set[int] = set()

    def functions(self) -> dict[str, Any]:
        """Return them by their names."""
        return {name: getattr(self, name) for name in vars(Disk) if name[0] != "_" and name != "functions"}

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: None = None) -> int:
        _no_handles(dir_fd)
        assert flags & _BINARY, f"{path!r} is opened as text"
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, "a directory cannot be opened")
        if flags & (os.O_RDWR | os.O_WRONLY) and os.path.lexists(path):
            _refuse_read_only(path)
        return os.open(path, flags & ~_BINARY, mode)

    def write(self, fd: int, data: Any, /) -> int:
        self._written.add(fd)
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "only what is open for writing can be synced")
        self._flushed(fd)
        os.fsync(fd)

    def close(self, fd: int) -> None:
        self._flushed(fd)
        os.close(fd)

    def _flushed(self, fd: int) -> None:
        if fd in self._written:
            self._written.discard(fd)
            os.utime(fd)

    def rename(self, source: Any, target: Any, *, src_dir_fd: None = None, dst_dir_fd: None = None) -> None:
        _no_handles(src_dir_fd, dst_dir_fd)
        _refuse_open(source)
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "cannot create a file when that file already exists")
        os.rename(source, target)

    def replace(self, source: Any, target: Any, *, src_dir_fd: None = None, dst_dir_fd: None = None) -> None:
        _no_handles(src_dir_fd, dst_dir_fd)
        _refuse_open(source)
        if os.path.lexists(target):
            _refuse_open(target)
            _refuse_read_only(target)
        os.replace(source, target)

    def unlink(self, path: Any, *, dir_fd: None = None) -> None:
        _no_handles(dir_fd)
        _refuse_open(path)
        _refuse_read_only(path)
        os.unlink(path)

    remove = unlink

    def chmod(self, path: Any, mode: int) -> None:
        _no_descriptor(path)
        if not os.path.isdir(path):
            os.chmod(path, 0o644 if mode & stat.S_IWRITE else 0o444)

    def utime(self, path: Any, *, ns: tuple[int, int]) -> None:
        _no_descriptor(path)
        os.utime(path, ns=(ns[0] // 100 * 100, ns[1] // 100 * 100))

    def listdir(self, path: Any = ".") -> list[Any]:
        _no_descriptor(path)
        return os.listdir(path)

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: None = None) -> None:
        _no_handles(dir_fd)
        os.mkdir(path)

    def symlink(self, source: Any, target: Any, target_is_directory: bool = False, *, dir_fd: None = None) -> None:
        _no_handles(dir_fd)
        if "no-links" in _WISHES:
            raise OSError(errno.EINVAL, "a required privilege is not held by the client")
        if b"/" in os.fsencode(source):
            raise OSError(errno.EINVAL, "a link with slashes leads nowhere")
        real = os.fsencode(source).replace(b"\\", b"/")
        there = os.path.isdir(os.path.join(os.path.dirname(os.fsencode(target)), real))
        assert target_is_directory == there, "a link to a directory is another kind of link"
        os.symlink(real, target)

    def readlink(self, path: Any, *, dir_fd: None = None) -> bytes:
        _no_handles(dir_fd)
        return os.fsencode(os.readlink(path)).replace(b"/", b"\\")

    def stat(self, path: Any, *, dir_fd: None = None, follow_symlinks: bool = True) -> os.stat_result:
        _no_handles(dir_fd)
        return _as_there(os.stat(path, follow_symlinks=follow_symlinks))

    def lstat(self, path: Any, *, dir_fd: None = None) -> os.stat_result:
        _no_handles(dir_fd)
        return _as_there(os.lstat(path))

    def fstat(self, fd: int) -> os.stat_result:
        return _as_there(os.fstat(fd))


def _no_handles(*handles: object) -> None:
    if any(handle is not None for handle in handles):
        raise NotImplementedError("dir_fd unavailable on this platform")


def _no_descriptor(path: object) -> None:
    if isinstance(path, int):
        raise TypeError("path should be string, bytes or os.PathLike, not int")


def _refuse_open(path: Any) -> None:
    there = os.lstat(path)
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            held = os.fstat(int(fd))
            if (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino):
                error = PermissionError(errno.EACCES, "it is being used by another process")
                vars(error)["winerror"] = 32
                raise error


def _refuse_read_only(path: Any) -> None:
    there = os.lstat(path)
    if stat.S_ISREG(there.st_mode) and not there.st_mode & stat.S_IWRITE:
        raise PermissionError(errno.EACCES, "access is denied")


def _as_there(found: os.stat_result) -> os.stat_result:
    fields = list(found[:10])
    fields[9] = _BORN // 10**9
    if stat.S_ISREG(found.st_mode):
        fields[0] = stat.S_IFREG | (0o666 if found.st_mode & stat.S_IWRITE else 0o444)
    elif stat.S_ISDIR(found.st_mode):
        fields[0] = stat.S_IFDIR | 0o777
    fields[4] = fields[5] = 0
    seconds = (found.st_atime, found.st_mtime, _BORN / 1e9)
    return os.stat_result((*fields, *seconds, found.st_atime_ns, found.st_mtime_ns, _BORN))


class Console(ModuleType):
    """``msvcrt``, with locks that belong to an open file as Windows' do."""

    LK_UNLCK = 0
    LK_NBLCK = 2

    def locking(self, fd: int, mode: int, count: int) -> None:
        import struct

        kind = fcntl.F_UNLCK if mode == self.LK_UNLCK else fcntl.F_WRLCK
        lock = struct.pack("hhqqi", kind, os.SEEK_SET, os.lseek(fd, 0, os.SEEK_CUR), count, 0)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
        except BlockingIOError as error:
            raise PermissionError(errno.EACCES, "permission denied") from error

    def kbhit(self) -> bool:
        return False


def _unsupported(*_args: object, **_options: object) -> NoReturn:
    raise NotImplementedError


def _ticking() -> float:
    return time.monotonic() // (1 / 64) / 64


def _no_library(name: object, *args: object, **options: object) -> ctypes.CDLL:
    if name is None:
        raise TypeError("bad argument type for built-in operation")
    return ctypes.CDLL(name, *args, **options)  # type: ignore[arg-type]


def _load_all() -> None:
    import p2pal

    for module in pkgutil.walk_packages(p2pal.__path__, "p2pal."):
        if module.name != "p2pal.__main__":
            importlib.import_module(module.name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "p2pal"]:
        del sys.modules[name]


def _become_windows() -> None:
    for function in ("add_reader", "add_writer", "add_signal_handler"):
        setattr(asyncio.SelectorEventLoop, function, _unsupported)
    no_signals = frozenset(name for name in dir(signal) if name.startswith("SIG")) - _IN_SIGNAL
    no_signals -= {"SIG_DFL", "SIG_IGN"}
    no_clocks = frozenset(name for name in dir(time) if name.startswith("CLOCK_")) | {"clock_gettime", "pthread_kill"}
    clock = {"monotonic": _ticking} if "ticks" in _WISHES else {}
    sys.modules.update(
        {
            "os": Seen(os, _NOT_IN_OS, O_BINARY=_BINARY, supports_dir_fd=set(), **Disk().functions()),
            "signal": Seen(signal, no_signals, SIGBREAK=SIGBREAK),
            "time": Seen(time, no_clocks, **clock),
            "ctypes": Seen(ctypes, CDLL=_no_library),
            "msvcrt": Console("msvcrt"),
            "sys": Seen(sys, platform="win32"),
        }
    )
    sys.modules.update(dict.fromkeys(_NO_MODULES))  # type: ignore[arg-type]


try:
    _load_all()
    _become_windows()
except BaseException:  # noqa: BLE001
    # Python would go on without this file, and every test of it would pass on plain Linux.
    traceback.print_exc()
    os._exit(70)

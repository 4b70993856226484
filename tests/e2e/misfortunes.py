"""What befalls a transfer besides kills: a source and a target on file systems of their own, and what happens to them.

A test, and the commands that it starts in there, have a mount namespace to themselves: what is mounted, taken away or
made read-only is so for nobody else. The commands are root without the right to read and write everything (Linux's
``CAP_DAC_OVERRIDE``), so that permissions mean to them what they mean to others.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.e2e.isolation import need
from tests.e2e.trees import MIB, content, write

TARGET_BYTES: Final = 32 * MIB
TARGET_INODES: Final = 400

_HOLD: Final = "echo ready; read _"
_DROPPED: Final = "-dac_override,-dac_read_search"


class Place:
    """Two file systems, for the length of a ``with`` block: ``source`` with a tree, and ``out``.

    Args:
        path: An empty directory.
        chance: Decides what the tree holds, and where things happen.

    Attributes:
        wrapper: What a command that shall live there is run with.
        versions: Every content that each file of the tree ever had, oldest first.
        foreign: Files of others that stand where one of ours should: their content, by path in the tree.
        changed: Bytes of the files that really changed, or have another time.
    """

    def __init__(self, path: Path, chance: random.Random) -> None:
        self.path = path
        self.chance = chance
        self.source, self.out = path / "source", path / "out"
        self._stores = {self.source: path / "stores" / "source", self.out: path / "stores" / "out"}
        self.versions: dict[str, list[bytes]] = {}
        self.foreign: dict[str, bytes] = {}
        self.changed: dict[str, int] = {}
        self._serial = 0

    def __enter__(self) -> Self:
        for place, store in self._stores.items():
            place.mkdir(parents=True)
            store.mkdir(parents=True)
        self._holder = subprocess.Popen(
            [*need("--mount"), "sh", "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        user = ["--user", "--preserve-credentials"] if "--map-root-user" in need("--mount") else []
        self._enter = ["nsenter", f"--target={self._holder.pid}", *user, "--mount", "--"]
        self.wrapper = [*self._enter, "setpriv", f"--bounding-set={_DROPPED}", "--"]
        self.run("mount", "-t", "tmpfs", "none", self._stores[self.source])
        limits = f"size={TARGET_BYTES},nr_inodes={TARGET_INODES}"
        self.run("mount", "-t", "tmpfs", "-o", limits, "none", self._stores[self.out])
        for place, store in self._stores.items():
            self.run("mount", "--bind", store, place)
        self._make_tree()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait()
        self._holder.stdout.close()

    def run(self, *command: str | Path) -> bool:
        """Run a command in there; say whether it did what it should."""
        return subprocess.run([*self._enter, *map(str, command)], capture_output=True, check=False).returncode == 0

    def inside(self, place: Path) -> Path:
        """The path, from outside, of what a command in there finds under a path. The mounts of now."""
        return Path(f"/proc/{self._holder.pid}/root{place}")

    def store(self, place: Path) -> Path:
        """The same of a file system that may not be mounted under its own path now."""
        return self.inside(self._stores[place])

    @property
    def tree(self) -> Path:
        return self.store(self.source) / "tree"

    @property
    def total(self) -> int:
        return sum(len(versions[-1]) for versions in self.versions.values())

    def _make_tree(self) -> None:
        sizes = [0, 1, MIB + 1, 3 * MIB, 6 * MIB, *(self.chance.randrange(30_000) for _ in range(24))]
        self.chance.shuffle(sizes)
        for number, size in enumerate(sizes):
            name = f"d{number % 4}/{number}.bin"
            data = content(size, self.chance.randrange(1 << 30))
            write(self.tree / name, data)
            self.versions[name] = [data]

    def a_file(self, least: int = 0) -> str:
        """Any file of the tree of that size or more."""
        return self.chance.choice([name for name, each in self.versions.items() if len(each[-1]) >= least])

    def a_directory(self) -> str:
        return f"d{self.chance.randrange(4)}"

    # What is there in the end

    def complaints(self) -> list[str]:
        """What is not as it should be once everything arrived: files lacking, wrong, or not asked for."""
        found: list[str] = []
        root = self.store(self.out)
        there = {str(path.relative_to(root)): path for path in root.rglob("*") if not path.is_dir()}
        for name, data in self.foreign.items():
            path = there.pop(f"tree/{name}", None)
            if path is None or path.read_bytes() != data:
                found.append(f"somebody's {name} is not what it was")
        for name, versions in self.versions.items():
            stem, _, suffix = name.rpartition(".")
            wanted = [f"tree/{name}", *(f"tree/{stem} ({n}).{suffix}" for n in range(1, 9))]
            path = next((there.pop(each) for each in wanted if each in there), None)
            if path is None:
                found.append(f"{name} is not there")
            elif path.read_bytes() not in versions:
                found.append(f"{name} is none of its {len(versions)} versions")
        return found + [f"{name} is there" for name in sorted(there)]

    # Misfortunes: each returns what ends it, or None where it cannot strike now

    def source_unmounted(self) -> Callable[[], object] | None:
        if not self.run("umount", "-l", self.source):
            return None
        return lambda: self.run("mount", "--bind", self._stores[self.source], self.source)

    def source_unreadable(self) -> Callable[[], object] | None:
        name = self.chance.choice([self.a_file(), self.a_file(MIB), self.a_directory(), "."])
        path = self.tree / name
        if not path.exists():  # another misfortune was here before
            return None
        mode = path.stat().st_mode & 0o777
        path.chmod(0)
        return lambda: path.chmod(mode)

    def source_renamed(self) -> Callable[[], object] | None:
        name = self.chance.choice([self.a_file(), self.a_file(MIB), self.a_directory(), "."])
        path = self.tree / name
        if not path.exists():
            return None
        away = self.store(self.source) / f"away-{self._number()}"
        path.rename(away)
        return lambda: away.rename(path)

    def source_touched(self) -> Callable[[], object] | None:
        name = self.chance.choice([self.a_file(), self.a_file(MIB)])
        path = self.tree / name
        if not path.exists():
            return None
        match self.chance.choice(["mode", "link", "times"]):
            case "mode":
                path.chmod(0o600)
            case "link":
                os.link(path, self.store(self.source) / f"link-{self._number()}")
            case _:  # of a file that is complete there the time is part of what was sent: it comes again
                self.changed[name] = len(self.versions[name][-1])
                os.utime(path, ns=(1_600_000_000_000_000_000 + self._number(), 1_600_000_000_000_000_000))
        return lambda: None

    def source_changed(self) -> Callable[[], object] | None:
        """Other bytes in three places; sometimes more or fewer of them, too."""
        name = self.chance.choice([self.a_file(100), self.a_file(MIB)])
        path, data = self.tree / name, bytearray(self.versions[name][-1])
        if not path.exists():
            return None
        half = bytearray(data)
        cut = self.chance.choice([0, 0, 1, -1]) * self.chance.randrange(1, 99)
        self.changed[name] = max(self.changed.get(name, 0), len(data)) + 99
        with path.open("r+b") as file:
            for place in sorted(self.chance.randrange(len(data)) for _ in range(3)):
                data[place] ^= 0xFF
                file.seek(place)
                file.write(data[place : place + 1])
                file.flush()
            if cut < 0:
                del data[cut:]
                file.truncate(len(data))
            elif cut:
                data += content(cut, self._number())
                file.seek(0, os.SEEK_END)
                file.write(data[-cut:])
        assert half != data
        self.versions[name].append(bytes(data))
        return lambda: None

    def name_taken(self) -> Callable[[], object] | None:
        """Somebody else's file stands where one of ours goes; and stays."""
        tree = self.store(self.out) / "tree"
        free = [
            name for name in self.versions if (tree / name).parent.is_dir() and not os.path.lexists(tree / name)
        ]  # fmt: skip
        if not free:
            return None
        name = self.chance.choice(free)
        data = b"somebody's %d" % self._number()
        try:
            descriptor = os.open(tree / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except OSError:  # it came just now, or there is no room
            return None
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        self.foreign[name] = data
        return lambda: None

    def target_unmounted(self) -> Callable[[], object] | None:
        if not self.run("umount", "-l", self.out):
            return None
        return lambda: self.run("mount", "--bind", self._stores[self.out], self.out)

    def target_renamed(self) -> Callable[[], object] | None:
        """What is received into has another name for a while."""
        tree = self.store(self.out) / "tree"
        if not tree.is_dir():
            return None
        away = self.store(self.out) / "away"
        tree.rename(away)
        return lambda: away.rename(tree)

    def target_read_only(self) -> Callable[[], object] | None:
        """The file system, where nobody writes to it now; else its directories."""
        if self.run("mount", "-o", "remount,bind,ro", self.out):
            return lambda: self.run("mount", "-o", "remount,bind,rw", self.out)
        folders = [self.store(self.out), *(path for path in self.store(self.out).rglob("*") if path.is_dir())]
        modes = [(folder, folder.stat().st_mode & 0o777) for folder in folders]
        for folder in folders:
            folder.chmod(0o555)

        def end() -> None:
            for folder, mode in modes:
                folder.chmod(mode)

        return end

    def target_full(self) -> Callable[[], object] | None:
        ballast = self.store(self.out) / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(4096)) == 4096:
                pass
        return lambda: ballast.unlink(missing_ok=True)

    def target_out_of_inodes(self) -> Callable[[], object] | None:
        made: list[Path] = []
        with contextlib.suppress(OSError):
            while True:
                path = self.store(self.out) / f"inode-{len(made)}"
                path.touch()
                made.append(path)

        def end() -> None:
            for path in made:
                path.unlink()

        return end

    def _number(self) -> int:
        self._serial += 1
        return self._serial


SOURCE: Final = (
    Place.source_unmounted, Place.source_unreadable, Place.source_renamed, Place.source_touched, Place.source_changed,
)  # fmt: skip
TARGET: Final = (
    Place.name_taken, Place.target_unmounted, Place.target_renamed, Place.target_read_only, Place.target_full,
    Place.target_out_of_inodes,
)  # fmt: skip

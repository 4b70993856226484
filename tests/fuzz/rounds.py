"""Runs a target with made-up inputs, keeps the input of a failure, and knows those of before."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.mutation import mutate
from tests.fuzz.targets import TARGETS, Target

KNOWN: Final = Path(__file__).with_name("known")
"""Inputs that something once failed with, ``TARGET-*``: they are tried each time. Add one with its mending."""

_POOL: Final = 64


class Failed(AssertionError):
    """A target failed.

    Args:
        name: The target's.
        data: What it was given.
    """

    def __init__(self, name: str, data: bytes) -> None:
        super().__init__(f"{name} failed with {data[:200]!r}")
        self.name, self.data = name, data

    def save(self, folder: Path) -> Path:
        """Write the input to a file, and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}-{hashlib.sha256(self.data).hexdigest()[:16]}"
        path.write_bytes(self.data)
        return path


def known(name: str) -> list[bytes]:
    """Return the inputs that this target once failed with."""
    return [path.read_bytes() for path in sorted(KNOWN.glob(f"{name}-*")) if path.name.rpartition("-")[0] == name]


def inputs(target: Target, seed: int) -> Iterator[bytes]:
    """Yield inputs without end; the same seed gives the same ones."""
    chance = Random(seed)
    pool = list(target.seeds) or [b""]
    while True:
        data = mutate(chance, chance.choice(pool), target.seeds)
        # What was made of a seed is built upon, too.
        if len(pool) < _POOL:
            pool.append(data)
        elif chance.random() < 0.1:
            pool[chance.randrange(len(target.seeds), _POOL)] = data
        yield data


def fuzz(name: str, *, seed: int = 0, count: int | None = None, seconds: float | None = None) -> int:
    """Run a target, with the seeds and what once failed first; return how many inputs it had.

    Args:
        name: The target's.
        seed: For the inputs.
        count: Inputs at most.
        seconds: Seconds at most; the last input may take longer.

    Raises:
        Failed: With the first input that it fails with.
    """
    target, tried = TARGETS[name], 0
    end = None if seconds is None else time.monotonic() + seconds
    for data in _chained(target, known(name), seed):
        if (count is not None and tried >= count) or (end is not None and time.monotonic() >= end):
            break
        tried += 1
        try:
            target.run(data)
        except Exception as error:
            raise Failed(name, data) from error
    return tried


def _chained(target: Target, before: list[bytes], seed: int) -> Iterator[bytes]:
    yield from before
    yield from target.seeds
    yield from inputs(target, seed)

"""Stopping and killing either side at random moments, again and again, until everything has arrived.

``make test_resume`` runs these; ``make test_resume SOAK=500`` runs as many interruptions instead.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from tests.e2e.kit import Command, Commands, environment, until
from tests.e2e.trees import MIB, content, leftovers, tree_equal, write

ROUNDS: Final = int(os.environ.get("P2PAL_SOAK", "32"))
GROUPS: Final = 4
STOPS: Final = 6
"""Interruptions of one transfer; then it may end."""
RESENT: Final = 64 * MIB
"""Bytes that one kill may cost, or a second of the rate where that is more (the limit of the design)."""

_BEGUN: Final = ("accepted", "resuming", "summary", "error")
_CODES: Final = (0, 5, 130, -signal.SIGKILL, -signal.SIGINT)
"""How a side may end; the last where the signal met an interpreter that was already leaving."""

_WHO: Final = ("sender", "receiver", "both")
_HOW: Final = (signal.SIGINT, signal.SIGKILL, signal.SIGKILL)


@dataclass
class Saga:
    """One transfer, from its first session to its last."""

    commands: Commands
    source: Path
    out: Path
    home: Path
    random: random.Random
    total: int
    sent: Command | None = None
    received: Command | None = None
    code: str = ""
    last_done: int = 0
    last_rate: float = 0.0
    stops: int = 0
    log: list[str] = field(default_factory=list)
    complete: bool = False

    def side(self, name: str) -> dict[str, str]:
        return environment(P2PAL_HOME=str(self.home / name))

    def checkpoint(self) -> str:
        """The id of the sender's checkpoint, as a person finds it."""
        listing = self.commands.run("checkpoint", "list", "--json", env=self.side("sender"))
        assert listing.wait() == 0, listing.said
        found = [event["id"] for event in listing.events]
        assert len(found) == 1, listing.said
        return str(found[0])

    @property
    def remembered(self) -> bool:
        """Whether the sender has a checkpoint."""
        place = self.home / "sender" / "checkpoints"
        return place.is_dir() and any(place.iterdir())

    def begin_session(self) -> None:
        """Start whichever side is not running."""
        if self.sent is None:
            what = ["--resume", self.checkpoint()] if self.remembered else ["-r", self.source]
            self.sent = self.commands.send(*what, "--json", env=self.side("sender"))
            self.code = self.sent.code()
        self.received = self.commands.receive(
            self.code, "-out", self.out, "--json", "--wait", "60s", env=self.side("receiver")
        )

    def await_flow(self) -> None:
        """Wait until files flow, and look how much of what had arrived is known."""
        assert self.received is not None
        received = self.received

        def begun() -> dict[str, Any] | None:
            return next((e for e in received.events if e["event"] in _BEGUN), None)

        event = until(begun, lambda: f"files to flow\n{received.said}\n{self.sent.said if self.sent else ''}", 60)
        assert event is not None
        if event["event"] == "error" and event["code"] == "code-expired" and self.sent is not None:
            # The last receiver was killed after its last word had arrived.
            assert self.sent.wait() == 0, self.sent.said
            self.complete = True
            return
        assert event["event"] in ("accepted", "resuming"), received.said
        if event["event"] == "resuming":
            lost = self.last_done - int(str(event["done"]))
            allowed = max(RESENT, self.last_rate)
            assert lost <= allowed, f"{lost} bytes are sent again\n{self.log}\n{received.said}"
        elif self.last_done:
            # Only a transfer that was stopped before it was remembered begins again.
            assert self.last_done == 0, (
                f"it started over\n{self.log}\n{received.said}\n{self.sent.said if self.sent else ''}"
            )

    def await_moment(self) -> bool:
        """Wait until a random part of what is lacking has moved; False if all of it did."""
        received = self.received
        assert received is not None
        if self.complete:
            return False
        moment = self.random.uniform(self.last_done, self.total)
        until(lambda: not received.running or _done(received) >= moment, lambda: f"a moment\n{received.said}", 60)
        return received.running

    def interrupt(self) -> None:
        """Stop, or kill, one side or both, and bring the other to its end as a person would."""
        assert self.sent is not None
        assert self.received is not None
        who, how = self.random.choice(_WHO), self.random.choice(_HOW)
        self.log.append(f"{who} {how.name}")
        sides = {"sender": [self.sent], "receiver": [self.received], "both": [self.sent, self.received]}[who]
        self.random.shuffle(sides)
        for side in sides:
            side.signal(how)
        for side in sides:
            side.wait(10)
        self.stops += 1
        if any(event["event"] == "summary" and event["ok"] for event in self.sent.events):
            self.complete = True  # that came too late
            return
        self.last_done = _done(self.received)
        self.last_rate = max(
            [float(e.get("rate", 0.0)) for e in self.received.events if e["event"] == "progress"], default=0
        )
        if who == "receiver" and how == signal.SIGKILL:
            self.received = None  # the sender waits for it: the same code again
            return
        for side in (self.sent, self.received):
            if side.running and how == signal.SIGKILL:
                side.signal(signal.SIGINT)
            code = side.wait(10)
            assert code in _CODES, side.said
        if self.last_done and not self.remembered:
            self.complete = True  # the sender knew that all had arrived, and forgot it before it could say so
            return
        self.sent = self.received = None

    def finish(self) -> None:
        assert self.sent is not None
        assert self.received is not None
        if not self.complete:
            codes = self.received.wait(90), self.sent.wait(30)
            assert codes == (0, 0), f"{self.log}\n{self.received.said}\n{self.sent.said}"
        assert tree_equal(self.source, self.out / self.source.name)
        assert leftovers(self.out) == []
        assert os.listdir(self.out) == [self.source.name]
        if not self.complete:  # else it may have been killed before it could remove that
            assert not any((self.home / "sender" / "checkpoints").iterdir())


def _done(received: Command) -> int:
    """Bytes that had arrived when it last said so."""
    told = [int(event["done"]) for event in received.events if event["event"] in ("progress", "resuming")]
    return told[-1] if told else 0


def make_source(root: Path, seed: int) -> int:
    """A few files of every size; returns their bytes."""
    chance = random.Random(seed)
    total = 0
    sizes = [0, 1, MIB, MIB + 1, 5 * MIB, 30 * MIB, 100 * MIB, *(chance.randrange(40_000) for _ in range(150))]
    chance.shuffle(sizes)
    for number, size in enumerate(sizes):
        data = content(min(size, 3 * MIB), seed + number)
        write(root / f"d{number % 7}" / f"{number}.bin", (data * (size // max(1, len(data)) + 1))[:size])
        total += size
    (root / "link").symlink_to("d0")
    return total


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("group", range(GROUPS))
def test_everything_arrives_however_often_it_is_interrupted(commands: Commands, tmp_path: Path, group: int) -> None:
    chance = random.Random(group)
    stops = number = 0
    while stops < ROUNDS / GROUPS:
        place = tmp_path / str(number)
        (place / "out").mkdir(parents=True)
        total = make_source(place / "source", 1000 * group + number)
        saga = Saga(commands, place / "source", place / "out", place / "home", chance, total)
        while saga.stops < STOPS:
            saga.begin_session()
            saga.await_flow()
            if not saga.await_moment():
                break
            saga.interrupt()
            if saga.complete:
                break
        else:
            saga.begin_session()
            saga.await_flow()
        saga.finish()
        stops += saga.stops
        number += 1
        shutil.rmtree(place)

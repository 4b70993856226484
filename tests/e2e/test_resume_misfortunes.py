"""Misfortunes besides kills, at random moments and in any order, on either side: afterwards everything arrives.

``make test_resume`` runs these; ``make test_resume SOAK=1000`` runs as many rounds instead of :data:`ROUNDS`.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from tests.e2e.kit import Command, Commands, Gate, environment, until
from tests.e2e.misfortunes import SOURCE, TARGET, Place

from p2pal.disk.checkpoints.store import Checkpoints, CheckpointSummary

ROUNDS: Final = max(60, int(os.environ.get("P2PAL_SOAK", "0")))
"""Sessions in which something goes wrong."""

GROUPS: Final = 6
MOST: Final = 4
"""Such sessions of one transfer; then it may end."""

LOOK: Final = 1.5
"""Seconds that a session gets to come to its moment; where it does not, things happen earlier."""

_CODES: Final = (0, 1, 4, 5, 7, 130, -signal.SIGKILL, -signal.SIGINT)
_BEGUN: Final = {"accepted", "resuming", "summary", "error"}
_STOPS: Final = (None, None, None, signal.SIGINT, signal.SIGKILL)

Strike = Callable[[Place], Callable[[], object] | None]


class Saga:
    """One transfer, from its first session to its last."""

    def __init__(self, commands: Commands, path: Path, place: Place, chance: random.Random) -> None:
        self.commands = commands
        self.place = place
        self.chance = chance
        self.homes = {side: path / "home" / side for side in ("send", "receive")}
        (path / "home").mkdir()
        self.gate = Gate(path / "gate")
        self.log: list[str] = []
        self.sent: Command | None = None
        self.received: Command | None = None

    def kept(self, side: str) -> list[CheckpointSummary]:
        """The checkpoints of one side."""
        return Checkpoints(self.homes[side]).list()

    def said(self) -> str:
        """Everything, for a person who reads a failed test."""
        both = [each.said for each in (self.sent, self.received) if each is not None]
        return "\n".join([*self.log, *both])

    # A session

    def start(self) -> bool:
        """Start both sides; False if the sender ended before it had a code."""
        kept = self.kept("send")
        assert len(kept) < 2, self.said()
        what: list[str | Path] = ["--resume", kept[0].id] if kept else ["-r", self.place.source / "tree"]
        env = environment(P2PAL_HOME=str(self.homes["send"]))
        self.received = None
        sent = self.sent = self.commands.send(*what, "--json", env=env, wrapper=self.place.wrapper)
        until(lambda: not sent.running or "code" in sent.kinds, f"a code, or none\n{self.said()}")
        code = next((event["code"] for event in sent.events if event["event"] == "code"), None)
        if code is None:
            return False
        env = self.gate.environment | {"P2PAL_HOME": str(self.homes["receive"])}
        flags: list[str | Path] = ["-out", self.place.out, "--wait", "1s", "--json"]
        self.received = self.commands.receive(code, *flags, env=env, wrapper=self.place.wrapper)
        return True

    def await_moment(self, claimed: int) -> None:
        """Wait until files flow, look that what was claimed is not sent again, and wait a little more."""
        sent, received = self.sent, self.received
        assert sent is not None
        assert received is not None
        until(lambda: not received.running or _BEGUN & set(received.kinds), f"files to flow\n{self.said()}")
        event = _first(received, "resuming")
        if event is not None:
            allowed = sum(self.place.changed.values())
            assert event["done"] >= claimed - allowed, f"{claimed - event['done']} bytes are sent again\n{self.said()}"
        elif _first(received, "accepted") is not None:
            assert not claimed, f"it started over\n{self.said()}"
            # The sender's checkpoint is made while files flow.
            until(lambda: self.kept("send") or not sent.running, f"the sender's checkpoint\n{self.said()}")
        moment = self.chance.uniform(0, 1) * self.place.total
        end = time.monotonic() + LOOK
        while received.running and _done(received) < moment and time.monotonic() < end:
            time.sleep(0.01)

    def disturbed(self) -> None:
        """One session in which something goes wrong; at its end all is well again, but for what was lost."""
        claims = self.kept("receive")
        claimed = claims[0].done if claims else 0
        strikes: list[Strike] = self.chance.sample([*SOURCE, *TARGET], self.chance.choice([1, 1, 2]))
        early = bool(self.kept("send")) and self.chance.random() < 0.4
        if early:
            self.received = None
        ends = self._strike(strikes) if early else []
        self.gate.allow(int(self.chance.uniform(0, 1) * self.place.total))
        try:
            if self.start():
                self.await_moment(claimed)
                if not early:
                    ends = self._strike(strikes)
                self.gate.open()
                self._stop(self.chance.choice(_STOPS))
            self._await_end()
        finally:
            for end in reversed(ends):
                try:
                    end()
                except OSError as error:
                    pytest.fail(f"{error}\n{self.said()}", pytrace=False)

    def _strike(self, strikes: list[Strike]) -> list[Callable[[], object]]:
        ends = []
        for strike in strikes:
            if strike is Place.target_renamed and not self._moved:
                continue  # gone before this session wrote into it: as if a person had removed it, all goes anew
            end = strike(self.place)
            self.log.append(f"{strike.__name__}{'' if end else ' (not now)'}")
            if end is not None:
                ends.append(end)
        return ends

    @property
    def _moved(self) -> bool:
        """Whether this session's receiver has written something."""
        received = self.received
        if received is None or not received.running:
            return False
        there = _first(received, "resuming")
        return _done(received) > (0 if there is None else there["done"])

    def _stop(self, how: signal.Signals | None) -> None:
        """Stop one side, too, or neither."""
        if how is None:
            return
        side = self.chance.choice([self.sent, self.received])
        assert side is not None
        self.log.append(f"{how.name} to the {'sender' if side is self.sent else 'receiver'}")
        side.signal(how)
        side.wait()
        if how == signal.SIGKILL:  # the other one waits for it, as it should
            for each in (self.sent, self.received):
                if each is not None and each.running:
                    each.signal(signal.SIGINT)

    def _await_end(self) -> None:
        """Have both end; one that waits for the other is stopped, as a person would."""
        sides = [each for each in (self.sent, self.received) if each is not None]
        until(lambda: any(not each.running for each in sides), lambda: f"an end\n{self.said()}", 60)
        end = time.monotonic() + 3
        while any(each.running for each in sides) and time.monotonic() < end:
            time.sleep(0.01)
        for each in sides:
            if each.running:
                each.signal(signal.SIGINT)
            code = each.wait()
            error = _first(each, "error")
            assert code in _CODES, self.said()
            assert error is None or error["code"] != "internal", self.said()
            assert "Traceback" not in each.err, self.said()

    # The end

    @property
    def over(self) -> bool:
        """Whether the sender gave its checkpoint up: then all must have arrived."""
        return self.sent is not None and not self.kept("send") and not self.place.complaints()

    def finish(self) -> None:
        """With nothing in the way any more, everything arrives."""
        self.gate.open()
        for _ in range(3):
            if self.over:
                break
            claims = self.kept("receive")
            self.log.append("undisturbed")
            assert self.start(), self.said()
            self.await_moment(claims[0].done if claims else 0)
            self._await_end()
        complaints = self.place.complaints()
        assert not complaints, f"{complaints}\n{self.said()}"
        assert not self.kept("send"), self.said()
        # A receiver that was killed after its last word keeps what nobody comes for any more; it says that all is here.
        assert all(each.done == each.total for each in self.kept("receive")), self.said()


def _first(command: Command, kind: str) -> dict[str, Any] | None:
    return next((event for event in command.events if event["event"] == kind), None)


def _done(received: Command) -> int:
    told = [int(event["done"]) for event in received.events if event["event"] in ("progress", "resuming")]
    return told[-1] if told else 0


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("group", range(GROUPS))
def test_everything_arrives_whatever_befalls_it(commands: Commands, tmp_path: Path, group: int) -> None:
    rounds = number = 0
    again = os.environ.get("P2PAL_SEED")  # one transfer that failed
    while rounds < (1 if again else ROUNDS / GROUPS):
        seed = int(again) if again else 10_000 * (group + 1) + number
        chance = random.Random(seed)
        path = tmp_path / str(number)
        path.mkdir()
        with Place(path, chance) as place:
            saga = Saga(commands, path, place, chance)
            saga.log.append(f"seed {seed}")
            for _ in range(chance.randrange(1, MOST + 1)):
                saga.disturbed()
                rounds += 1
                if saga.over:
                    break
            saga.finish()
        number += 1
        shutil.rmtree(path)

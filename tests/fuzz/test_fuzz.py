"""A short run of every target, always with the same inputs. ``make fuzz`` goes on from here."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from tests.contract.lane_pairs import Signaling
from tests.contract.test_lane import Ear
from tests.fuzz import rounds
from tests.fuzz.mutation import MOST, mutate
from tests.fuzz.rounds import Failed, fuzz
from tests.fuzz.targets import SDP, TARGETS, Target

from p2pal.errors import ProtocolError
from p2pal.lanes.webrtc.connection import WebRtcConnection, allow_loopback

COUNT = 400


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_of_hostile_input(name: str) -> None:
    assert fuzz(name, count=COUNT) == COUNT


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_is_taken(name: str) -> None:
    """One that is refused at once tries nothing."""
    assert TARGETS[name].seeds
    assert [seed for seed in TARGETS[name].seeds if not TARGETS[name].run(seed)] == []


def test_the_same_seed_gives_the_same_inputs() -> None:
    target = TARGETS["signal"]
    one, other = (rounds.inputs(target, 7) for _ in range(2))
    assert [next(one) for _ in range(200)] == [next(other) for _ in range(200)]


def test_inputs_are_bounded() -> None:
    chance = Random(1)
    data = bytes(MOST)
    for _ in range(300):
        assert len(data := mutate(chance, data, [data])) <= MOST


def test_a_failure_is_found_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(data: bytes) -> bool:
        if b"\xff" in data:
            raise ZeroDivisionError
        return True

    monkeypatch.setitem(TARGETS, "planted", Target(run, [b"seed"]))
    with pytest.raises(Failed, match="planted") as failed:
        fuzz("planted", count=10_000)
    assert b"\xff" in failed.value.data
    monkeypatch.setattr(rounds, "KNOWN", tmp_path)
    assert failed.value.save(tmp_path).read_bytes() == failed.value.data
    with pytest.raises(Failed):
        fuzz("planted", count=1)


def test_the_command_line(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        "--blind",
        "--seconds",
        "0.2",
        "--found",
        str(tmp_path),
        "frame",
        "code",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^(?:frame|code): [\d,]+ inputs$", done.stdout, re.MULTILINE)) == 2
    assert list(tmp_path.iterdir()) == []


def test_descriptions_that_the_engine_is_given() -> None:
    """Whatever a session description says, it is answered, or the other side's fault."""

    async def take(seed: int, count: int) -> int:
        allow_loopback()
        chance, refused = Random(seed), 0
        caller = WebRtcConnection(1, 1, Signaling(Ear()), only_loopback=True)
        seeds = [(await caller.offer()).encode(), SDP.encode()]
        for _ in range(count):
            called = WebRtcConnection(1, 1, Signaling(Ear()), only_loopback=True)
            try:
                await called.answer(mutate(chance, chance.choice(seeds), seeds).decode("utf-8", "replace"))
            except ProtocolError:
                refused += 1
            called.close()
        caller.close()
        return refused

    assert 0 < asyncio.run(take(1, 60)) < 60

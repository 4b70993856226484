"""The turns that a lane's thread asks for."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from threading import Thread

import pytest

from p2pal.lanes.udp.time_slice import SLICE, shorten_turns


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a thread choose")
def test_only_the_turns_of_this_thread_become_shorter() -> None:
    seen: list[tuple[bool, int, int, str]] = []

    def ask() -> None:
        os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), 3))
        taken = shorten_turns()
        told = Path("/proc/thread-self/sched")
        text = told.read_text() if told.exists() else ""
        seen.append((taken, os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0), text))

    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread = Thread(target=ask)
    thread.start()
    thread.join()
    ((taken, policy, nice, text),) = seen
    assert policy == os.SCHED_OTHER
    assert nice == max(before, 3)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    version = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    found = re.search(r"se\.slice\s*:\s*(\d+)", text)
    if taken and found and version >= (6, 12):
        assert int(found[1]) == SLICE


def test_a_system_without_that_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pal.lanes.udp.time_slice.platform.machine", lambda: "another")
    assert not shorten_turns()
    monkeypatch.setattr("sys.platform", "darwin")
    assert not shorten_turns()

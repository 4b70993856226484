from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from p2pal.cli import interrupts, signals

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.fixture(autouse=True)
def usual_signals() -> Iterator[None]:
    """No signal is ignored, whatever this process was started with (``nohup`` ignores SIGHUP)."""
    before: dict[signal.Signals, Any] = {}
    if sys.platform != "win32":
        for number in (signal.SIGHUP, signal.SIGTERM):
            before[number] = signal.signal(number, signal.SIG_DFL)
        before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


async def _loop_module(stop: signals.Stop) -> str:
    return type(asyncio.get_running_loop()).__module__


def test_transfers_run_on_the_loop_that_the_engine_knows() -> None:
    assert signals.run(_loop_module) in {"asyncio.unix_events", "asyncio.windows_events"}


def test_a_server_runs_on_the_fast_loop_where_it_exists() -> None:
    expected = {"uvloop"} if find_spec("uvloop") else {"asyncio.unix_events", "asyncio.windows_events"}
    assert signals.run(_loop_module, fast_sockets=True) in expected


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks(number: signal.Signals) -> None:
    async def main(stop: signals.Stop) -> list[str]:
        asked: list[str] = []
        stop.on_request(lambda: asked.append("first"))
        os.kill(os.getpid(), number)
        await stop.wait()
        stop.on_request(lambda: asked.append("late"))
        return asked

    assert signals.run(main) == ["first", "late"]


@POSIX
def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    async def main(_stop: signals.Stop) -> None:
        return

    signals.run(main)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@POSIX
def test_the_second_signal_ends_at_once_with_the_terminal_in_order() -> None:
    code = textwrap.dedent("""
        import asyncio, os, signal
        from p2pal.cli import interrupts, signals

        async def main(stop):
            stop.on_abandon(lambda: print("abandoned", flush=True))
            os.kill(os.getpid(), signal.SIGINT)
            await stop.wait()
            interrupts.SAME_WISH = 0.0
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()

        signals.run(main, deadline=signals.Deadline(lambda: print("said", flush=True), 60.0))
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (130, "said\nabandoned\n")


class _Clock:
    """Seconds that a test counts."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@POSIX
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_what_follows_at_once_is_the_same_wish(
    first: signal.Signals, second: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _Clock()
    stop = signals.Stop(interrupts.StopRequests(clock))
    left: list[str] = []
    asked: list[str] = []
    stop.on_request(lambda: asked.append("asked"))
    monkeypatch.setattr(signals, "leave", lambda _words: left.append("left"))
    wishes = signals._wishes(stop)
    for number in (first, second, first):
        wishes[number]()
    assert (asked, left) == (["asked"], [])
    clock.now += interrupts.SAME_WISH
    wishes[second]()
    # A terminal that is gone is no impatience, however late it is told.
    assert (asked, left) == (["asked"], [] if second is signal.SIGHUP else ["left"])


@POSIX
async def test_nohup_stays_in_force() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.listening(signals.Stop()):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@POSIX
async def test_a_terminal_that_goes_away_is_no_impatience_however_often_it_is_told() -> None:
    stop = signals.Stop()
    asked: list[str] = []
    stop.on_request(lambda: asked.append("asked"))
    with signals.listening(stop):
        for _ in range(3):  # the shell tells, and the kernel
            signal.raise_signal(signal.SIGHUP)
            await asyncio.sleep(0)
        await stop.wait()
        await asyncio.sleep(0)
    assert asked == ["asked"]


class _Deaf:
    """A loop that hears of no signal, as Windows' does not; otherwise the running one."""

    def __init__(self) -> None:
        self.add_signal_handler = self._refuse
        self.call_soon_threadsafe = asyncio.get_running_loop().call_soon_threadsafe

    def _refuse(self, *_: object) -> None:
        raise NotImplementedError


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_asks_where_the_loop_hears_of_none(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    stop = signals.Stop()
    with pytest.MonkeyPatch.context() as patch:
        deaf = _Deaf()
        patch.setattr(asyncio, "get_running_loop", lambda: deaf)
        listening = signals.listening(stop)
        listening.__enter__()
    signal.raise_signal(number)
    async with asyncio.timeout(30):
        await stop.wait()
    listening.__exit__(None, None, None)
    assert {each: signal.getsignal(each) for each in before} == before


STUCK = textwrap.dedent("""
    import asyncio, os, signal, sys, threading
    from concurrent.futures import ThreadPoolExecutor
    from p2pal.cli import main, signals
    from p2pal.errors import Interrupted

    for_ever = threading.Event().wait
    said = lambda: print("said", flush=True)

    async def in_time(stop):
        await stop.wait()
        raise Interrupted("stopped")

    async def late(stop):
        await asyncio.Event().wait()

    async def thread(stop):
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, for_ever)
        await in_time(stop)

    async def pool(stop):
        ThreadPoolExecutor().submit(for_ever)
        await in_time(stop)

    def interrupted(stop):
        os.kill(os.getpid(), signal.SIGINT)
        return globals()[sys.argv[1]](stop)

    def command(**_options):
        signals.run(interrupted, deadline=signals.Deadline(said, 0.1 if sys.argv[1] == "late" else 60.0))

    main.cli.main = command
    sys.exit(main.main())
""")


@POSIX
@pytest.mark.parametrize(
    ("way", "out", "err"),
    [
        ("in_time", "", "p2pal: stopped\n"),
        ("late", "said\n", ""),
        ("thread", "", "p2pal: stopped\n"),
        ("pool", "", "p2pal: stopped\n"),
    ],
)
def test_a_stop_ends_the_process_whatever_hangs(way: str, out: str, err: str) -> None:
    done = subprocess.run([sys.executable, "-c", STUCK, way], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, out, err)


@POSIX
def test_a_last_word_that_nobody_takes_holds_nothing_up() -> None:
    code = "from p2pal.cli import signals; import threading; wait = threading.Event().wait\n"
    code += "signals.Deadline(wait, 0.0).start(); wait()"
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 130


def test_a_deadline_that_was_lifted_ends_nothing() -> None:
    said: list[str] = []
    deadline = signals.Deadline(lambda: said.append("said"), 0.0)
    deadline.lift()
    deadline.start()
    for thread in threading.enumerate():
        if thread.name == "p2pal-deadline":
            thread.join()
    assert said == []


async def test_work_in_threads_that_ends_is_waited_for() -> None:
    ended: list[str] = []
    threads = signals._Threads()
    threads.submit(ended.append, "ended")
    await asyncio.to_thread(threads.shutdown)
    assert ended == ["ended"]

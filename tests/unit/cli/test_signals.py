from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest
from tests.unit.cli.kit import on_loop

from p2pal.cli import signals

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


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
        from p2pal.cli import signals

        async def main(stop):
            stop.on_abandon(lambda: print("abandoned", flush=True))
            os.kill(os.getpid(), signal.SIGINT)
            await stop.wait()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()

        signals.run(main)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (130, "abandoned\n")


@POSIX
@on_loop
async def test_nohup_stays_in_force() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.listening(signals.Stop()):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@POSIX
@on_loop
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

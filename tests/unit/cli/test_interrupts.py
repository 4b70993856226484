from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest

from p2pal.cli import interrupts
from p2pal.cli.interrupts import SAME_WISH, Interrupts, StopRequests, Wish, heard

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.fixture(autouse=True)
def usual_signals() -> Iterator[None]:
    """No signal is ignored, whatever this process was started with."""
    before: dict[signal.Signals, Any] = {
        number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGTERM)
    }
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([0.0], [Wish.ASK]),
        ([0.0, 0.001, SAME_WISH - 0.001], [Wish.ASK, Wish.SAME, Wish.SAME]),
        ([0.0, 0.001, SAME_WISH], [Wish.ASK, Wish.SAME, Wish.INSIST]),
        ([0.0, 3.0, 3.001], [Wish.ASK, Wish.INSIST, Wish.INSIST]),
    ],
)
def test_only_what_comes_a_while_later_is_impatience(times: list[float], said: list[Wish]) -> None:
    moments = iter(times)
    patience = StopRequests(lambda: next(moments))
    assert [patience.hear() for _ in times] == said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_before_any_loop_a_signal_interrupts_once(number: signal.Signals) -> None:
    before = handlers()
    with heard(to_the_end=False):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        for other in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # the same wish
            signal.raise_signal(other)
    assert handlers() == before


def test_a_command_that_ended_is_not_interrupted_any_more() -> None:
    with heard(to_the_end=False) as running:
        running.ending = True
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)


def test_nohup_stays_in_force() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with heard(to_the_end=False):
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_thread_that_can_hear_of_none_leaves_them_alone() -> None:
    before = handlers()
    seen: list[Interrupts] = []

    def work() -> None:
        with heard(to_the_end=False) as running:
            seen.append(running)

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert len(seen) == 1
    assert handlers() == before
    assert interrupts.current.get() is None


def test_the_interpreters_end_is_not_interrupted() -> None:
    code = textwrap.dedent("""
        import atexit, os, signal, sys
        from p2pal.cli import interrupts
        with interrupts.heard(to_the_end=True):
            pass
        class AtTheVeryEnd:
            def __del__(self, kill=os.kill, pid=os.getpid(), number=int(signal.SIGTERM)):
                kill(pid, number)
        sys.last_value = AtTheVeryEnd()
        signal.raise_signal(signal.SIGHUP)
        atexit.register(signal.raise_signal, signal.SIGINT)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("ending", [False, True])
def test_who_insists_is_not_kept_waiting(ending: bool) -> None:
    code = textwrap.dedent(f"""
        import signal
        from p2pal.cli import interrupts
        with interrupts.heard(to_the_end=True) as running:
            running.ending = {ending}
            try:
                signal.raise_signal(signal.SIGTERM)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            interrupts.SAME_WISH = 0.0
            signal.raise_signal(signal.SIGTERM)
            print("here", flush=True)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "" if ending else "interrupted\n", "")

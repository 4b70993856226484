"""What holds for every test: nothing of the user's own is read or written."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from typing import Final

import pytest


@pytest.fixture(autouse=True, scope="session")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home directory for the length of the run: checkpoints go there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


_KEPT: Final = ("P2PAL_ONLY_LOOPBACK", "P2PAL_SEED", "P2PAL_SOAK")
_SETTINGS: Final = ("P2PAL_", "REDIS_", "TURN_", "SSL_CERT_", "XDG_")
_SEEN: Final = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TZ")


@pytest.fixture(autouse=True, scope="session")
def usual_environment() -> Iterator[None]:
    """Nothing of the caller's environment decides what p2pal does; a test sets what it depends on."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            ours = name.startswith(_SETTINGS) and name not in _KEPT
            if ours or name in _SEEN or name.lower().endswith("_proxy"):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True, scope="session")
def usual_signals() -> Iterator[None]:
    """Commands start with the system's own handling of each signal, whatever this process was started with.

    ``nohup`` ignores SIGHUP, a script's ``&`` SIGINT and SIGQUIT, and a process that is started inherits that. It does
    not inherit a handler; and with one that does nothing, the tests themselves still outlive the terminal.
    """
    numbers = [getattr(signal, name, None) for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM")]
    ignored = [number for number in numbers if number is not None and signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda _number, _frame: None)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(autouse=True, scope="module")
def collected() -> Iterator[None]:
    """What a module's tests left in cycles goes with it: open files, above all."""
    yield
    gc.collect()

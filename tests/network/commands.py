"""p2pal's commands on the hosts of a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.e2e.kit import Command, environment

_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def start(host: str, wrapper: Sequence[str], folder: Path, *args: str | Path, **env: str) -> Command:
    """``p2pal ARGS`` on a host; it uses whatever network there is, and no proxy of this machine's.

    Args:
        host: Its name.
        wrapper: A program and its arguments that run a command there.
        folder: A directory that must not exist, for the output; beside it lies the host's home.
        args: What follows ``p2pal``.
        env: More for the environment.
    """
    whole = environment(P2PAL_HOME=str(folder.parent / f"home-{host}"), **env)
    del whole["P2PAL_ONLY_LOOPBACK"]
    whole = {name: value for name, value in whole.items() if name.lower() not in _PROXIES}
    return Command(args, folder, env=whole, wrapper=wrapper)

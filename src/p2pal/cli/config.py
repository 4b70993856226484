"""From flags and environment to the validated settings that the app takes.

Environment: ``P2PAL_SERVER``, ``TURN_USER`` and ``TURN_PASS`` stand in for their flags (click reads them);
``P2PAL_HOME`` is the directory that holds the checkpoints; ``P2PAL_ONLY_LOOPBACK=1`` keeps all traffic on this machine,
for tests and demonstrations.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from p2pal.app.options import DEFAULT_SERVER, LANES, ConnectOptions
from p2pal.cli import logs
from p2pal.cli.options import AUTO, quoted
from p2pal.disk.sink.preflight import check_current_directory
from p2pal.errors import UsageError
from p2pal.lanes.ice_servers import RelayUse

CONNECTION_FLAGS: Final = (
    "server", "max_retries", "retry_backoff", "wait", "stun", "turn", "turn_user", "turn_pass", "relay_only",
    "no_relay", "lane",
)  # fmt: skip
"""The names of :func:`connect_options`'s arguments."""


def only_loopback() -> bool:
    """Whether the environment keeps all traffic on this machine."""
    return os.environ.get("P2PAL_ONLY_LOOPBACK", "") not in {"", "0"}


def home() -> Path | None:
    """Return where the environment wants our own files (absolute); None for the usual place, ``~/.p2pal``.

    Raises:
        DiskError: If it is in the current directory, and that is gone.
    """
    text = os.environ.get("P2PAL_HOME", "")
    if not text:
        return None
    if not os.path.isabs(text):
        check_current_directory()
    return Path(text).absolute()


def server_url(text: str | None) -> str:
    """Return the server's URL without a trailing slash; the default where none is given.

    Raises:
        UsageError: If it is no http or https URL of a host.
    """
    if not text:
        return DEFAULT_SERVER
    hint = "write it as https://example.org or http://192.0.2.5:8080"
    unwanted = "-server takes a URL without user, password, query and fragment"
    if "@" in text:  # also where the rest is wrong: a password is not repeated
        raise UsageError(unwanted, hint=hint)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    else:
        if usable and (parts.query or parts.fragment):
            raise UsageError(unwanted, hint=hint)
    if not usable or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(f"-server takes an http:// or https:// URL, not {quoted(text)}", hint=hint)
    return text.rstrip("/")


def connect_options(
    *,
    server: str | None,
    max_retries: int | None,
    retry_backoff: float,
    wait: float,
    stun: str,
    turn: Sequence[str],
    turn_user: str | None,
    turn_pass: str | None,
    relay_only: bool,
    no_relay: bool,
    lane: Sequence[str],
) -> ConnectOptions:
    """Return how to connect. The TURN password is kept out of logs from here on.

    Raises:
        UsageError: If a value cannot be used.
    """
    logs.hide(turn_pass or "")
    if relay_only and no_relay:
        raise UsageError("--relay-only and --no-relay exclude each other")
    off = stun.strip().lower() == "none"
    return ConnectOptions(
        server=server_url(server),
        stun=None if off else (stun,),
        turn=tuple(turn),
        turn_user=turn_user or "",
        turn_pass=turn_pass or "",
        relay=RelayUse.ONLY if relay_only else RelayUse.NEVER if no_relay else RelayUse.ALLOWED,
        max_retries=max_retries,
        retry_backoff=retry_backoff,
        wait=wait,
        lanes=LANES if not lane or AUTO in lane else tuple(dict.fromkeys(lane)),
        only_loopback=only_loopback(),
    )

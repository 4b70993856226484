"""What this process may use: its umask, and how many files it may hold open."""

from __future__ import annotations

import os
import sys
from typing import Final

MAX_BATCH: Final = 256
"""Files that are made durable together."""

_MIN_BATCH: Final = 16
_OTHER_FILES: Final = 128


def read_umask() -> int:
    """Return the process's umask without changing it where the system can tell (Linux)."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except (OSError, ValueError):
        pass
    umask = os.umask(0o077)  # what another thread makes meanwhile is stricter than meant, never laxer
    os.umask(umask)
    return umask


def batch_limit() -> int:
    """Return how many files a batch may hold open: three batches at once must fit beside everything else.

    macOS allows a process 256 open files by default, Linux 1,024, Windows always 8,192.
    """
    if sys.platform == "win32":
        return MAX_BATCH
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_BATCH
    return max(_MIN_BATCH, min(MAX_BATCH, (soft - _OTHER_FILES) // 4))

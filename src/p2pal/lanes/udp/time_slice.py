"""How soon the system lets the thread of a datagram lane run when something comes, beside other programs."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from typing import Final

SLICE: Final = 300_000
"""Nanoseconds of a turn on the processor; the system's own is some 3 ms."""

_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
"""The number of the system call; C libraries have no function for it."""
_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQ")
"""struct sched_attr: its size, the policy, flags, the nice value, a priority, the slice, and two that are not used."""


def shorten_turns() -> bool:
    """Ask for shorter and sooner turns on the processor for this thread; return whether the system took that.

    Linux 6.12 and later let an ordinary thread choose its slice (sched_setattr(2)). A short one changes nothing of the
    thread's share and needs no privilege: as the deadline of a turn is near, the thread runs soon after a datagram
    comes, and not after a whole turn of everybody else. Earlier versions take the call and pass over the slice. A
    thread that somebody gave another policy is left as it is.
    """
    if sys.platform != "linux":
        return False
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, SLICE, 0, 0)
    try:
        refused: int = ctypes.CDLL(None).syscall(number, 0, attributes, 0)
    except (OSError, AttributeError):
        return False
    return refused == 0

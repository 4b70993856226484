"""A disk that takes only so many bytes, for a command that has this directory on its PYTHONPATH.

Python loads this file when it starts. The file named by ``P2PAL_TEST_GATE`` holds how many bytes may be written by
position (``pwrite``) into unfinished files so far; whoever wants to write more waits until the number has grown, and
notes the number in a file beside it, ``.full``. Nothing else of the command is touched, its checkpoint neither.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_gate = Path(os.environ["P2PAL_TEST_GATE"])
_full = _gate.with_suffix(".full")
_pwrite = os.pwrite
_written = 0


def _gated_pwrite(fd: int, data: bytes | memoryview, offset: int, /) -> int:
    global _written
    if not os.readlink(f"/proc/self/fd/{fd}").endswith(".part"):
        return _pwrite(fd, data, offset)
    told = -1
    while (allowed := int(_gate.read_text())) < _written + len(data):
        if allowed != told:
            _full.write_text(f"{allowed} ")
            told = allowed
        time.sleep(0.005)
    _written += len(data)
    return _pwrite(fd, data, offset)


vars(os)["pwrite"] = _gated_pwrite

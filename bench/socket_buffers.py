"""How large a socket's buffers may become on this machine (Linux): a fast machine's setting is not everybody's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from processes import BenchError

_LIMITS: Final = tuple(Path("/proc/sys/net/core", name) for name in ("rmem_max", "wmem_max"))


def most() -> int:
    """How many bytes of a socket's buffer anybody may ask for."""
    return int(_LIMITS[0].read_text(encoding="ascii"))


@contextmanager
def limited(size: int | None) -> Iterator[None]:
    """Let nobody ask for more than so many bytes for the length of the block, on the whole machine; None: as it is.

    Raises:
        BenchError: If this user may not change that.
    """
    before = {path: path.read_text(encoding="ascii") for path in _LIMITS} if size is not None else {}
    try:
        for path in before:
            path.write_text(f"{size}", encoding="ascii")
        yield
    except PermissionError as error:
        raise BenchError(f"{error.filename} cannot be changed: only root may do that") from error
    finally:
        for path, value in before.items():
            path.write_text(value, encoding="ascii")

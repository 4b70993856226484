"""Bytes, counts and durations in words, the same wherever a person reads them: the screen or the text of an error."""

from __future__ import annotations

import math
from typing import Final

_SIZE_UNITS: Final = ("kB", "MB", "GB", "TB", "PB", "EB")
_SPANS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def size(count: float) -> str:
    """Return bytes for people, in decimal units: ``999 bytes``, ``2.3 MB``."""
    if count < 1000:
        return plural(int(count), "byte")
    value = float(count)
    for unit in _SIZE_UNITS:
        value /= 1000
        # What would be rounded up to 1000.0 belongs to the next unit.
        if value < 999.95 or unit == _SIZE_UNITS[-1]:
            return f"{value:.1f} {unit}"
    raise AssertionError("unreachable")


def plural(count: int, noun: str) -> str:
    """Return ``1 file``, ``1,204 files``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1] + 'ies' if noun.endswith('y') else noun + 's'}"


def duration(seconds: float) -> str:
    """Return a setting as it is written: ``5m``, ``1h30m``, ``1.5s``."""
    if math.isinf(seconds):
        return "inf"
    if seconds < 60:
        return f"{seconds:g}s"
    parts: list[str] = []
    rest = round(seconds)
    for unit, length in _SPANS:
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)

"""Sizes, rates, durations and counts: as people write them, and back.

Sizes are decimal (1 MB = 1,000,000 bytes), as disks and networks count; binary units are read, never shown.
"""

from __future__ import annotations

import math
import re
from typing import Final

from p2pal.amounts import duration, plural, size

__all__ = [
    "age",
    "clock",
    "duration",
    "elapsed",
    "parse_duration",
    "parse_size",
    "part",
    "percent",
    "plural",
    "rate",
    "size",
]

_FACTORS: Final = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
    "ki": 2**10, "kib": 2**10, "mi": 2**20, "mib": 2**20, "gi": 2**30, "gib": 2**30, "ti": 2**40, "tib": 2**40,
}  # fmt: skip
_SIZE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([a-zA-Z]{0,3})")

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")


def rate(bytes_per_second: float) -> str:
    """Return a rate for people: ``12.5 MB/s``."""
    text = size(max(bytes_per_second, 0.0))
    return (text.replace("bytes", "B").replace("byte", "B")) + "/s"


def part(done: int, total: int) -> str:
    """Return how much of a whole: ``4.2 of 10.0 GB``, ``999 kB of 10.0 GB``."""
    one, _, unit = size(done).rpartition(" ")
    whole = size(total)
    same = whole.endswith(f" {unit}") or not done
    return f"{one} of {whole}" if same else f"{size(done)} of {whole}"


def parse_size(text: str) -> int:
    """Return bytes: ``1500``, ``2.3MB``, ``64 KiB``.

    Raises:
        ValueError: If it is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    factor = _FACTORS.get(match.group(2).lower()) if match else None
    if match is None or factor is None:
        raise ValueError("not a size such as 500kB, 2.5MB or 64KiB")
    return round(float(match.group(1)) * factor)


def parse_duration(text: str, *, infinite: bool = False) -> float:
    """Return seconds: ``90s``, ``10m``, ``1h30m``, ``500ms``, and ``inf`` where ``infinite`` allows it.

    Raises:
        ValueError: If it is no duration, or its units do not go from large to small.
    """
    text = text.strip().lower()
    if infinite and text in {"inf", "infinite", "forever"}:
        return math.inf
    if text == "0":
        return 0.0
    total, position, last = 0.0, 0, math.inf
    while match := _PART.match(text, position):
        unit = _SECONDS[match.group(2)]
        if unit >= last:
            break
        total, position, last = total + float(match.group(1)) * unit, match.end(), unit
    if position == 0 or position != len(text):
        raise ValueError("not a duration such as 90s, 10m, 1h or 1h30m")
    return total


def elapsed(seconds: float) -> str:
    """Return measured time: ``0.8 s``, ``42 s``, ``3 min 5 s``, ``2 h 4 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def age(seconds: float) -> str:
    """Return a time span in its largest unit: ``42 s``, ``12 min``, ``5 h``, ``6 d``; at most 99999 days."""
    whole = int(min(max(seconds, 0.0), 99_999 * 86_400.0))
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"


def clock(seconds: float | None) -> str:
    """Return time left as a clock: ``0:42``, ``1:02:03``; ``-:--`` while it is unknown or beyond 99 hours."""
    if seconds is None or not 0 <= seconds < 360_000:
        return "-:--"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def percent(done: int, total: int) -> int:
    """Return whole percent, rounded down, so that 100 means all of it; nothing to do is 100."""
    return 100 if total <= 0 else min(100, done * 100 // total)

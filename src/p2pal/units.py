"""Sizes, rates, durations and counts: as people write them, and back. Pure.

Sizes are decimal (1 MB = 1,000,000 bytes), as disks and networks count; binary units are read, never shown.
"""

from __future__ import annotations

import math
import re
from typing import Final

_FACTORS: Final = {
    "": 1, "b": 1,
    "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
    "ki": 2**10, "kib": 2**10, "mi": 2**20, "mib": 2**20, "gi": 2**30, "gib": 2**30, "ti": 2**40, "tib": 2**40,
}  # fmt: skip
_SIZE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([a-zA-Z]{0,3})")

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")

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

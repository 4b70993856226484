"""What the flags of ``p2pal server`` take: durations and sizes in a range, counts, and so many in a time."""

from __future__ import annotations

import re
from typing import Any, Final

import click

from p2pal import units
from p2pal.cli.options import Duration, quoted
from p2pal.errors import UsageError
from p2pal.rate_limit import Rate

_MOST_COUNT: Final = 1_000_000
_DAY: Final = 86_400.0
_RATE: Final = re.compile(r"([0-9]{1,7})/(.+)")
_UNIT: Final = re.compile(r"ms|s|m|h|d")


class Bounded(Duration):
    """A duration in a range that the error names. ``low`` and ``high`` are seconds."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse it."""
        seconds = super().convert(value, param, ctx)
        if not self.low <= seconds <= self.high:
            low, high = units.duration(self.low), units.duration(self.high)
            raise UsageError(f"{_name(param)} takes a duration from {low} to {high}, not {quoted(str(value))}", hint="")
        return seconds


class Bytes(click.ParamType[int]):
    """A size in a range that the error names. ``low`` and ``high`` are bytes."""

    name = "size"

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def convert(self, value: Any, param: click.Parameter | None, _ctx: click.Context | None) -> int:
        """Parse it."""
        if isinstance(value, int):
            return value
        try:
            size = units.parse_size(value)
        except ValueError:
            size = -1
        if not self.low <= size <= self.high:
            low, high = _size(self.low), _size(self.high)
            message = f"{_name(param)} takes a size from {low} to {high}, not {quoted(value)}"
            raise UsageError(message, hint=f"write it as {high}")
        return size


class OneOf(click.Choice[str]):
    """One of a few words, which the error names."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Find it."""
        try:
            return super().convert(value, param, ctx)
        except click.UsageError:
            words = " or ".join(self.choices)
            raise UsageError(f"{_name(param)} takes {words}, not {quoted(str(value))}", hint="") from None


class Count(click.ParamType[int]):
    """How many at once; 0 or ``none`` for any number."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, _ctx: click.Context | None) -> int:
        """Parse it."""
        if isinstance(value, int):
            return value
        text = value.strip().lower()
        if text == "none":
            return 0
        if not re.fullmatch(r"[0-9]{1,7}", text) or int(text) > _MOST_COUNT:
            message = f"{_name(param)} takes a whole number up to {_MOST_COUNT}, not {quoted(value)}"
            raise UsageError(message, hint="0 or none switches the limit off")
        return int(text)


class RateValue(click.ParamType["Rate | None"]):
    """So many in a time, as ``60/1m``; None for ``0`` and ``none``."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, _ctx: click.Context | None) -> Rate | None:
        """Parse it."""
        if isinstance(value, Rate):
            return value
        text = value.strip().lower()
        if text in {"0", "none"}:
            return None
        if found := _RATE.fullmatch(text):
            span = f"1{found[2]}" if _UNIT.fullmatch(found[2]) else found[2]
            try:
                rate = Rate(int(found[1]), units.parse_duration(span))
            except ValueError:
                rate = Rate(0, 0.0)
            if 0 < rate.count <= _MOST_COUNT and 0 < rate.seconds <= _DAY:
                return rate
        message = f"{_name(param)} takes COUNT/DURATION, not {quoted(value)}"
        raise UsageError(message, hint="write it as 60/1m or 10/s; 0 or none switches the limit off")


def _size(size: int) -> str:
    return f"{size >> 20}MiB" if size % (1 << 20) == 0 else f"{size >> 10}KiB"


def _name(param: click.Parameter | None) -> str:
    return param.opts[0] if param else "this"

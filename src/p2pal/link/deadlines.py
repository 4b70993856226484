"""Points in time that may be missing. They are seconds of one clock; None stands for never."""

from __future__ import annotations


def passed(deadline: float | None, now: float) -> bool:
    """Whether this deadline exists, and has come."""
    return deadline is not None and now >= deadline


def earliest(*deadlines: float | None) -> float | None:
    """Return the first of the deadlines there are, or None. It is asked for after every message: a plain loop."""
    first = None
    for deadline in deadlines:
        if deadline is not None and (first is None or deadline < first):
            first = deadline
    return first

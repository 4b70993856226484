"""How often an address may do something, as pure arithmetic.

:func:`spend` is the generic cell rate algorithm (ITU-T I.371): one number per address says when its allowance will
be whole again. No history, no windows whose edges let twice as much through.
"""

from __future__ import annotations

from p2pal.server.config import Rate


def spend(whole_at: float, now: float, rate: Rate) -> tuple[float, float]:
    """Take one from an allowance.

    Args:
        whole_at: When the allowance is whole; any time in the past if it is.
        now: The time, in seconds.
        rate: What is allowed.

    Returns:
        When the allowance is whole after it, and the seconds to wait: 0 if one was taken.
    """
    step = rate.seconds / rate.count
    after = max(whole_at, now) + step
    wait = after - now - rate.seconds
    return (whole_at, wait) if wait > 1e-9 else (after, 0.0)


def reserve(whole_at: float, now: float, rate: Rate, count: int) -> tuple[float, float]:
    """Take so many from an allowance in any case: what it does not cover yet is waited for afterwards.

    Args:
        whole_at: When the allowance is whole; any time in the past if it is.
        now: The time, in seconds.
        rate: What is allowed.
        count: How many are taken.

    Returns:
        When the allowance is whole after it, and the seconds until it covers what was taken.
    """
    after = max(whole_at, now) + count * rate.seconds / rate.count
    return after, max(0.0, after - now - rate.seconds)

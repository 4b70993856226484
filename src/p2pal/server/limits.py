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

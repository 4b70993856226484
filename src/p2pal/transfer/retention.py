"""Whether a checkpoint stays when a session ends: decided here, for both sides and by nobody else. Pure.

A checkpoint, and the unfinished files that belong to it, may go for three reasons only. Every entry was delivered; or
those that were not, a person gave up; or it has expired (:mod:`p2pal.disk.checkpoints.removal`). A file that could not
be read, written or named is none of these: it can be had later.

Both sides count the same verdicts, so a session that ran to its end leaves both with the same numbers. One that was cut
may leave the sender with fewer; then the sender keeps its checkpoint, and the receiver, which knows more, keeps its own
until the sender has heard of it.
"""

from __future__ import annotations

from enum import Enum

from p2pal.transfer.events import Finished


class Fate(Enum):
    """What becomes of a checkpoint."""

    OPEN = "something can still be had: it stays, and a person hears how to go on"
    UNTOLD = "every entry is settled, but the other side may not know: it stays, quietly, to say so, until it expires"
    SETTLED = "every entry was delivered or given up by a person, and the other side knows: it goes"


def is_settled(entries: int, finished: Finished | None) -> bool:
    """Say whether every entry was delivered, or given up by a person.

    Args:
        entries: How many the offer has.
        finished: How the session ended; None if the machine did not come to its end.
    """
    return finished is not None and finished.ok + finished.given_up == entries


def fate(entries: int, finished: Finished | None, *, told: bool) -> Fate:
    """Return what becomes of a side's checkpoint.

    Args:
        entries: How many the offer has.
        finished: How the session ended; None if the machine did not come to its end.
        told: The other side is known to know that all is settled. A sender's word comes last, so for a sender this is
            always so: the receiver told it.
    """
    if not is_settled(entries, finished):
        return Fate.OPEN
    return Fate.SETTLED if told else Fate.UNTOLD

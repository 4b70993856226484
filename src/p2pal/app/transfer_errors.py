"""The texts of the ways in which a file or a transfer can fail: a reason in words, and the error at the end."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from p2pal.disk.fs import os_errors
from p2pal.errors import (
    DiskError,
    Interrupted,
    P2palError,
    PartialFailure,
    PeerError,
    PeerLost,
    Refused,
    VerificationFailed,
)
from p2pal.role import Role
from p2pal.transfer.events import Aborted, Finished
from p2pal.units import plural
from p2pal.wire.transfer import Reason

_WORDS: Final = {
    Reason.OTHER: "failed",
    Reason.READ: "could not be read",
    Reason.CHANGED: "changed while it was being sent",
    Reason.VERIFY: "arrived damaged twice",
    Reason.NAME: "its name cannot be used there",
    Reason.DISK: "the disk takes nothing",
    Reason.PERMISSION: "may not be written there",
    Reason.EXISTS: "something else stands there already",
    Reason.DECLINED: "declined",
    Reason.CANCELLED: "stopped",
    Reason.BATCH: "not sent: another file failed",
}


_PEER_DISK: Final = {
    "": "the other side's disk is full",
    os_errors.DISK_FULL: "the other side's disk is full",
    os_errors.TARGET_GONE: "the directory that the other side writes to is gone",
    os_errors.READ_ONLY: "the other side's disk is read-only",
}
"""By the peer's words, of which those that are ours are known, and no other is repeated."""


def reason_text(reason: Reason, text: str) -> str:
    """Return a short text for a reason, with the detail that came along. Not yet safe for a terminal."""
    words = _WORDS[reason]
    if reason is Reason.DISK and text:
        return text  # it says what is the matter: a full disk is one thing of several
    return f"{words}: {text}" if text and text != words else words


def transfer_error(
    role: Role, aborted: Aborted | None, finished: Finished | None, reasons: AbstractSet[Reason]
) -> P2palError | None:
    """Return the error that a transfer ends with, or None if every entry arrived.

    Args:
        role: Which side asks: what is a full disk here is a peer's trouble there.
        aborted: How it was stopped, if it was.
        finished: How it ended.
        reasons: Why entries failed.
    """
    if aborted is not None and aborted.reason is not Reason.BATCH:
        return _stopped(role, aborted)
    failed, left_out = (0, 0) if finished is None else (finished.failed, finished.left_out)
    if aborted is None and not failed and not left_out and not reasons:
        return None
    if Reason.VERIFY in reasons:
        return VerificationFailed("what arrived is not what was sent")
    local_disk = role == "receive" and reasons and reasons <= {Reason.PERMISSION, Reason.DISK}
    if aborted is not None:
        if local_disk:
            return DiskError("the files could not be written", hint="check the permissions or choose another -out")
        return PartialFailure(
            "a file failed and the batch was stopped", hint="-skip-errors on the sender leaves such files out"
        )
    if role == "receive" and left_out and not failed:
        # All that was offered is here; what was not, its names and reasons, only the sender knows.
        message = f"the sender left out {_entries(left_out)} that it could not read"
        return PartialFailure(message, hint="its screen says which, and why")
    count = max(failed if role == "receive" else failed + left_out, 1)
    return PartialFailure(f"{_entries(count)} failed or left out", hint="each is reported with its reason")


def stopped_here() -> Interrupted:
    """Return the error for a transfer that the user stopped."""
    return Interrupted("stopped", hint="")


def stopped_there() -> PeerLost:
    """Return the error for a transfer that the other side's user stopped."""
    return PeerLost("the other side stopped the transfer", hint="files that were complete are kept")


def _entries(count: int) -> str:
    return plural(count, "entry")


def _own_disk(text: str) -> DiskError:
    match text:
        case "" | os_errors.DISK_FULL:
            return DiskError("the disk is full; the transfer was stopped")
        case os_errors.TARGET_GONE:
            message = "the directory that is written to is gone; the transfer was stopped"
            return DiskError(message, hint="mount its disk or make it again, then go on")
        case os_errors.READ_ONLY:
            return DiskError("the disk is read-only; the transfer was stopped", hint="make it writable, then go on")
        case _:
            return DiskError("the disk failed; the transfer was stopped", hint="the list above says how")


def _stopped(role: Role, aborted: Aborted) -> P2palError:
    here = not aborted.by_peer
    match aborted.reason:
        case Reason.DECLINED:
            return Refused("you declined the files" if here else "the other side declined the files")
        case Reason.CANCELLED:
            return stopped_here() if here else stopped_there()
        case Reason.DISK if role == "receive" and here:
            return _own_disk(aborted.text)
        case Reason.DISK:
            message = _PEER_DISK.get(aborted.text, "the other side's disk failed")
            return PeerError(message, hint="see to it there, then go on")
        case Reason.PERMISSION if here:
            return DiskError("the files could not be written")
        case Reason.PERMISSION:
            return PeerError("the other side cannot write the files", hint="its own screen says why; then send again")
        case _:
            return PeerError("the other side stopped the transfer" if aborted.by_peer else "the transfer was stopped")

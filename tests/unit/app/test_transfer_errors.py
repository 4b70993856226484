from __future__ import annotations

import pytest

from p2pal.app.transfer_errors import reason_text, transfer_error
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
from p2pal.wire.transfer import Reason


def finished(failed: int = 0, left_out: int = 0) -> Finished:
    return Finished(ok=3, failed=failed, files_ok=3, files_failed=failed, left_out=left_out, seconds=1.0)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_words(reason: Reason) -> None:
    words = reason_text(reason, "")
    assert words
    assert reason_text(reason, "a detail") == ("a detail" if reason is Reason.DISK else f"{words}: a detail")
    assert reason_text(reason, words) == words


@pytest.mark.parametrize("role", ["send", "receive"])
@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("by_peer", [True, False])
def test_every_way_to_stop_has_an_error_with_an_exit_code(role: Role, reason: Reason, by_peer: bool) -> None:
    error = transfer_error(role, Aborted(reason, "their text", by_peer), finished(), set())
    assert error is not None
    assert error.exit_code
    assert "their text" not in str(error)


@pytest.mark.parametrize(
    ("role", "reason", "by_peer", "kind"),
    [
        ("receive", Reason.DECLINED, False, Refused),
        ("send", Reason.DECLINED, True, Refused),
        ("send", Reason.CANCELLED, False, Interrupted),
        ("receive", Reason.CANCELLED, True, PeerLost),
        ("receive", Reason.DISK, False, DiskError),
        ("send", Reason.DISK, True, PeerError),
        ("receive", Reason.DISK, True, PeerError),
        ("receive", Reason.PERMISSION, False, DiskError),
        ("send", Reason.BATCH, False, PartialFailure),
        ("receive", Reason.BATCH, True, PartialFailure),
        ("send", Reason.OTHER, True, PeerError),
    ],
)
def test_who_stopped_and_why_decides_the_error(role: Role, reason: Reason, by_peer: bool, kind: type) -> None:
    assert type(transfer_error(role, Aborted(reason, "", by_peer), finished(), {Reason.READ})) is kind


@pytest.mark.parametrize(
    ("role", "reasons", "ended", "kind"),
    [
        ("send", set(), finished(), None),
        ("send", {Reason.READ}, finished(1), PartialFailure),
        ("send", {Reason.READ}, finished(0, 1), PartialFailure),
        ("receive", {Reason.NAME, Reason.VERIFY}, finished(2), VerificationFailed),
        ("receive", {Reason.CHANGED}, finished(1), PartialFailure),
    ],
)
def test_what_failed_decides_the_error(
    role: Role, reasons: set[Reason], ended: Finished, kind: type[P2palError] | None
) -> None:
    error = transfer_error(role, None, ended, reasons)
    assert (None if error is None else type(error)) is kind


def test_a_batch_that_stopped_for_our_disk_is_the_disks_fault() -> None:
    batch = Aborted(Reason.BATCH, "", False)
    assert isinstance(transfer_error("receive", batch, finished(1), {Reason.PERMISSION}), DiskError)
    assert isinstance(transfer_error("send", batch, finished(1), {Reason.PERMISSION}), PartialFailure)


def test_a_receiver_that_has_all_that_was_offered_is_told_who_knows_the_reasons() -> None:
    error = transfer_error("receive", None, finished(0, 2), set())
    assert isinstance(error, PartialFailure)
    assert (error.message, error.hint) == (
        "the sender left out 2 entries that it could not read",
        "its screen says which, and why",
    )
    assert "1 entry failed" in str(transfer_error("receive", None, finished(1, 2), {Reason.READ}))


@pytest.mark.parametrize(
    ("text", "here", "there"),
    [
        ("", "the disk is full", "the other side's disk is full"),
        (os_errors.DISK_FULL, "the disk is full", "the other side's disk is full"),
        (os_errors.READ_ONLY, "the disk is read-only", "the other side's disk is read-only"),
        (
            os_errors.TARGET_GONE,
            "the directory that is written to is gone",
            "the directory that the other side writes to is gone",
        ),
        ("Input/output error", "the disk failed", "the other side's disk failed"),
    ],
)
def test_what_is_gone_or_read_only_is_not_called_full(text: str, here: str, there: str) -> None:
    ours = transfer_error("receive", Aborted(Reason.DISK, text, False), finished(1), {Reason.DISK})
    assert isinstance(ours, DiskError)
    assert ours.message == f"{here}; the transfer was stopped"
    theirs = transfer_error("send", Aborted(Reason.DISK, text, True), finished(1), {Reason.DISK})
    assert isinstance(theirs, PeerError)
    assert theirs.message == there


def test_the_number_of_failures_is_told() -> None:
    assert "1 entry failed" in str(transfer_error("send", None, finished(1), {Reason.READ}))
    assert "3 entries failed" in str(transfer_error("send", None, finished(1, 2), {Reason.READ}))

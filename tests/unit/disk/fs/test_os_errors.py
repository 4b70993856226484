from __future__ import annotations

import errno

import pytest

from p2pal.disk.fs.os_errors import error_text, sink_failure
from p2pal.wire.transfer import Reason


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, Reason.DISK),
        (errno.EDQUOT, Reason.DISK),
        (errno.EROFS, Reason.DISK),
        (errno.EIO, Reason.DISK),
        (errno.ENODEV, Reason.DISK),
        (errno.ESTALE, Reason.DISK),
        (errno.ENOTCONN, Reason.DISK),
        (errno.EACCES, Reason.PERMISSION),
        (errno.EPERM, Reason.PERMISSION),
        (errno.ENAMETOOLONG, Reason.NAME),
        (errno.EILSEQ, Reason.NAME),
        (errno.EEXIST, Reason.EXISTS),
        (errno.ELOOP, Reason.EXISTS),
        (errno.ENOENT, Reason.OTHER),
    ],
)
def test_each_failure_has_its_reason(number: int, reason: Reason) -> None:
    found, text = sink_failure(OSError(number, "what happened", "/secret/path"))
    assert found is reason
    assert text
    assert "secret" not in text


def test_what_is_full_and_what_is_read_only_is_said() -> None:
    assert sink_failure(OSError(errno.ENOSPC, "x")) == (Reason.DISK, "the disk is full")
    assert sink_failure(OSError(errno.EROFS, "x")) == (Reason.DISK, "the disk is read-only")


def test_an_error_without_number_or_text_still_says_something() -> None:
    assert error_text(OSError("odd")) == "the operation failed"
    assert error_text(OSError(errno.ENOSPC, "")) == "No space left on device"

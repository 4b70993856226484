"""What an OSError means for one entry: the reason that the other side hears, and a text for the log."""

from __future__ import annotations

import errno
import os
from typing import Final

from p2pal.wire.transfer import Reason

FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
"""What may work later: the disk is full now."""

_GONE: Final = (errno.EROFS, errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN)

_REASONS: Final[dict[int, Reason]] = {
    **dict.fromkeys((*FULL, *_GONE), Reason.DISK),
    **dict.fromkeys((errno.EACCES, errno.EPERM), Reason.PERMISSION),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL), Reason.NAME),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENOTEMPTY), Reason.EXISTS),
}

STANDS_THERE: Final = "something else stands in its place"
REPLACED: Final = "the unfinished file was replaced"
TARGET_GONE: Final = "the directory that is written to is gone"
DISK_FULL: Final = "the disk is full"
READ_ONLY: Final = "the disk is read-only"


class DiskFull(Exception):
    """An operation could not be carried out, has changed nothing, and may be tried again."""


def error_text(error: OSError) -> str:
    """Return what went wrong in the system's words, without paths."""
    if error.errno is None:
        return "the operation failed"
    return error.strerror or os.strerror(error.errno)


def sink_failure(error: OSError) -> tuple[Reason, str]:
    """Return why an entry could not be written."""
    reason = _REASONS.get(error.errno or 0, Reason.OTHER)
    if reason is Reason.EXISTS:
        return reason, STANDS_THERE
    if error.errno in FULL:
        return reason, DISK_FULL
    return reason, READ_ONLY if error.errno == errno.EROFS else error_text(error)

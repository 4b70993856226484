"""What an OSError means for one entry: the reason that the other side hears, and a text for the log."""

from __future__ import annotations

import errno
import os
from typing import Final

from p2pal.wire.transfer import Reason

_REASONS: Final[dict[int, Reason]] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO), Reason.DISK),
    **dict.fromkeys((errno.EACCES, errno.EPERM), Reason.PERMISSION),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL), Reason.NAME),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENOTEMPTY), Reason.EXISTS),
}

STANDS_THERE: Final = "something else stands in its place"


def error_text(error: OSError) -> str:
    """Return what went wrong in the system's words, without paths."""
    if error.errno is None:
        return "the operation failed"
    return error.strerror or os.strerror(error.errno)


def sink_failure(error: OSError) -> tuple[Reason, str]:
    """Return why an entry could not be written."""
    reason = _REASONS.get(error.errno or 0, Reason.OTHER)
    return reason, STANDS_THERE if reason is Reason.EXISTS else error_text(error)

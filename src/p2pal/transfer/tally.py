"""How the entries of a transfer ended: the counts behind Complete and the last event, the same on both sides."""

from __future__ import annotations

from p2pal.transfer.events import Finished
from p2pal.wire.transfer import Reason


class Tally:
    """Counts ends of entries.

    Attributes:
        ok: Entries that ended well.
        failed: Entries that did not.
        given_up: Those of them that a person does not want any more.
        left_out: What was never listed.
        began: When files began to flow, in seconds; None before.
    """

    __slots__ = ("_files_failed", "_files_ok", "began", "failed", "given_up", "left_out", "ok")

    def __init__(self) -> None:
        self.ok = 0
        self.failed = 0
        self.given_up = 0
        self.left_out = 0
        self.began: float | None = None
        self._files_ok = 0
        self._files_failed = 0

    def add(self, is_file: bool, reason: Reason | None) -> None:
        """Count one entry's end; without a reason it ended well."""
        if reason is None:
            self.ok += 1
            self._files_ok += is_file
        else:
            self.failed += 1
            self._files_failed += is_file
            self.given_up += reason is Reason.DECLINED

    def finished(self, now: float) -> Finished:
        """Return the last event."""
        seconds = 0.0 if self.began is None else now - self.began
        files = self._files_ok, self._files_failed
        return Finished(self.ok, self.failed, *files, self.left_out, seconds, self.given_up)

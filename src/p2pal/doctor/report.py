"""What a check found, in words for a person: how good it is, and what to do if it is not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from p2pal.errors import EXIT_OK, ConnectionImpossible

NO_PATH: Final = ConnectionImpossible.exit_code
NO_TIME: Final = "not checked: no time left"


class Rating(IntEnum):
    """How good it is; more is worse."""

    NONE = 0
    """Not checked, or nothing to say."""
    OK = 1
    WARN = 2
    """Transfers work all the same, perhaps slower or not with everyone."""
    FAIL = 3
    """Transfers do not work, or not with most others."""

    @property
    def word(self) -> str:
        """As it is shown."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of the table.

    Attributes:
        check: What was checked: a word.
        verdict: How good it is.
        detail: What was found.
        advice: What to do about it, one line; empty where nothing need be done.
        target: The URL that it is about; empty for what is about this machine.
        seconds: How long the answer took; None where that means nothing.
        exit_code: That of the command if it comes to the worst here.
    """

    check: str
    verdict: Rating
    detail: str
    advice: str = ""
    target: str = ""
    seconds: float | None = None
    exit_code: int = NO_PATH


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order in which they are read.

    Attributes:
        findings: They.
        complete: Whether there was time for everything.
        near_only: Whether transfers are possible within one network only.
    """

    findings: tuple[CheckResult, ...]
    complete: bool = True
    near_only: bool = False

    @property
    def verdict(self) -> Rating:
        """The worst of all."""
        return max((finding.verdict for finding in self.findings), default=Rating.NONE)

    @property
    def exit_code(self) -> int:
        """That of the first check that failed; 0 if none did."""
        failed = (finding.exit_code for finding in self.findings if finding.verdict is Rating.FAIL)
        return next(failed, EXIT_OK)

    def count(self, verdict: Rating) -> int:
        """How many checks came out so."""
        return sum(finding.verdict is verdict for finding in self.findings)


def milliseconds(seconds: float) -> str:
    """Return a delay for people."""
    value = seconds * 1000
    return f"{value:.0f} ms" if value >= 1 else "under 1 ms"

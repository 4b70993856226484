"""How the process ends: one line that says what happened and what to do, and the exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap
from typing import Final, NamedTuple

import click

from p2pal.cli import logs
from p2pal.cli.text import broken, safe
from p2pal.errors import EXIT_OK, Interrupted, P2palError, UsageError, first_error

MESSAGE_LIMIT: Final = 600

EXIT_CODES: Final = (
    (EXIT_OK, "done"),
    (1, "files failed or were skipped, output was lost, or an internal error"),
    (2, "usage: the command line or a setting is wrong"),
    (3, "could not reach the server, or it refused"),
    (4, "code unknown, expired or wrong, or another protocol version"),
    (5, "peer lost, or no connection possible"),
    (6, "refused by a person, on either side"),
    (7, "local disk: full, read-only or not permitted"),
    (8, "verification failed: what arrived is not what was sent"),
    (130, "interrupted (Ctrl-C, SIGTERM or SIGHUP)"),
)
"""Every exit code with its meaning, as the help and the README list them."""


class Ending(NamedTuple):
    """How an error ends the process; ``code`` is the error's short name."""

    code: str
    message: str
    hint: str
    exit_code: int

    @property
    def line(self) -> str:
        """What a person reads: one safe line."""
        text = f"{self.message}; {self.hint}" if self.hint else self.message
        return safe(text, MESSAGE_LIMIT)


def describe(error: BaseException) -> Ending:
    """Return what to tell the user about any exception, ours or not."""
    if isinstance(error, BaseExceptionGroup):
        error = first_error(error)
    if isinstance(error, P2palError):
        return Ending(error.code, error.message, error.hint, error.exit_code)
    if isinstance(error, click.UsageError):
        # Click's sentences end with a full stop; our lines do not.
        command = error.ctx.command_path if error.ctx else "p2pal"
        message = error.format_message().rstrip(".")
        message = message[:1].lower() + message[1:]
        return Ending(UsageError.code, message, f"see '{command} --help'", UsageError.exit_code)
    if isinstance(error, click.ClickException):
        return Ending(UsageError.code, error.format_message().rstrip("."), "", UsageError.exit_code)
    if isinstance(error, (KeyboardInterrupt, click.Abort, EOFError)):
        return Ending(Interrupted.code, "interrupted", "", Interrupted.exit_code)
    return Ending("internal", f"internal error ({type(error).__name__})", "run again with --debug to see more", 1)


def _folded(line: str) -> str:
    """Break a line between words where the terminal would break it anywhere; what is no terminal gets one line."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
        if len(line) > columns > 20:
            lines = textwrap.wrap(
                line, columns, subsequent_indent="  ", replace_whitespace=False, break_long_words=False,
                break_on_hyphens=False,
            )  # fmt: skip
            return "\n".join(broken(lines))
    return line


def report(error: BaseException, *, debug: bool) -> int:
    """Write the error to stderr (with its traceback if ``debug``) and return the exit code."""
    ending = describe(error)
    if debug:
        sys.stderr.write(logs.traceback_text(error))
    sys.stderr.write(_folded(f"p2pal: {logs.redact(ending.line)}") + "\n")
    sys.stderr.flush()
    return ending.exit_code

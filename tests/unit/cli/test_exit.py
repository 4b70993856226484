from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios

import click
import pytest

from p2pal import errors
from p2pal.cli import logs
from p2pal.cli.exit import EXIT_CODES, describe, report

EXPECTED = {
    errors.P2palError: 1,
    errors.UsageError: 2,
    errors.ServerError: 3,
    errors.ServerUnreachable: 3,
    errors.ServerRefused: 3,
    errors.CodeError: 4,
    errors.CodeUnknown: 4,
    errors.CodeExpired: 4,
    errors.MistypedCode: 4,
    errors.WrongCode: 4,
    errors.VersionMismatch: 4,
    errors.PeerError: 5,
    errors.PeerLost: 5,
    errors.ConnectionImpossible: 5,
    errors.ProtocolError: 5,
    errors.Refused: 6,
    errors.DiskError: 7,
    errors.VerificationFailed: 8,
    errors.PartialFailure: 1,
    errors.Interrupted: 130,
}


def every_error() -> list[type[errors.P2palError]]:
    found = [errors.P2palError]
    for kind in found:
        found.extend(kind.__subclasses__())
    return found


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_its_exit_code_and_its_line(
    kind: type[errors.P2palError], capsys: pytest.CaptureFixture[str]
) -> None:
    code = report(kind("it happened", hint="do this"), debug=False)
    # Other floors have finer kinds of their own, which end as the kind they belong to.
    assert code == EXPECTED[next(base for base in kind.__mro__ if base in EXPECTED)]
    assert code in dict(EXIT_CODES)
    assert capsys.readouterr().err == "p2pal: it happened; do this\n"


def test_exit_codes_are_those_of_the_errors() -> None:
    assert [code for code, _ in EXIT_CODES] == sorted({0, *EXPECTED.values()})


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (EOFError(), 130, "interrupted"),
        (click.UsageError("Missing argument 'FILE...'."), 2, "missing argument 'FILE...'; see 'p2pal --help'"),
        (click.ClickException("No."), 2, "No"),
        (ZeroDivisionError("secret text"), 1, "internal error (ZeroDivisionError); run again with --debug to see more"),
    ],
)
def test_other_exceptions(error: BaseException, code: int, line: str) -> None:
    ending = describe(error)
    assert (ending.exit_code, ending.line) == (code, line)


def test_a_group_ends_like_the_error_of_ours_in_it() -> None:
    group = BaseExceptionGroup("", [ValueError(), ExceptionGroup("", [OSError(), errors.PeerLost("gone", hint="")])])
    assert describe(group).exit_code == 5
    assert describe(ExceptionGroup("", [ValueError()])).code == "internal"


def test_debug_shows_the_traceback_without_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.hide("zebra-luna")
    with pytest.raises(ValueError) as caught:
        raise ValueError("zebra-luna-47 \x1b[2J")
    assert report(caught.value, debug=True) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "test_exit.py" in shown
    assert "zebra" not in shown
    assert "\x1b" not in shown


def test_a_terminal_breaks_no_word(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    error = errors.ServerRefused("too many transfers are open from this address", hint="end one of them, or wait")
    try:
        with os.fdopen(theirs, "w") as terminal:
            monkeypatch.setattr("sys.stderr", terminal)
            report(error, debug=False)
            shown = os.read(ours, 4096).decode()
    finally:
        os.close(ours)
    assert shown.splitlines() == [
        "p2pal: too many transfers are open from this address; end",
        "  one of them, or wait",
    ]
    monkeypatch.undo()
    report(error, debug=False)
    assert capsys.readouterr().err == f"p2pal: {error}\n"


def test_a_message_never_breaks_the_line_or_grows_without_bound() -> None:
    line = describe(errors.ServerRefused("bad\n\x1b[2Jthing" + "x" * 10_000, hint="a\nb")).line
    assert line.isprintable()
    assert len(line) <= 600

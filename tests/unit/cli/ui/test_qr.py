"""QR codes as lines of a terminal."""

from __future__ import annotations

import pytest
import segno

from p2pal.cli.ui.qr import QUIET_ZONE, picture

CODE = "zebra-luna-47"
COMMAND = "p2pal recv zebra-luna-47 -server http://192.0.2.5:41234"
_LIGHT = {"█": (True, True), "▀": (True, False), "▄": (False, True), " ": (False, False)}


def dark(text: str) -> list[list[bool]]:
    """Which modules a QR code has, with its quiet zone."""
    return [list(map(bool, row)) for row in segno.make(text, error="m", micro=False).matrix_iter(1, QUIET_ZONE)]


def seen(lines: list[str]) -> list[list[bool]]:
    """Which modules are dark in lines of half blocks."""
    return [[not _LIGHT[char][half] for char in line] for line in lines for half in (0, 1)]


@pytest.mark.parametrize("text", [CODE, COMMAND])
def test_each_module_is_where_it_belongs(text: str) -> None:
    expected = dark(text)
    shown = seen(picture(text, colour=False, encoding="utf-8"))
    assert shown[: len(expected)] == expected
    assert shown[len(expected) :] == [[False] * len(expected)], "an odd number of rows ends with a light one"


def test_colours_stand_around_each_line() -> None:
    plain = picture(CODE, colour=False, encoding="utf-8")
    assert picture(CODE, colour=True, encoding="utf-8") == [f"\x1b[97;40m{line}\x1b[0m" for line in plain]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "nonsense"])
def test_where_there_are_no_blocks(encoding: str) -> None:
    lines = picture(CODE, colour=False, encoding=encoding)
    assert [[line[at : at + 2] == "  " for at in range(0, len(line), 2)] for line in lines] == dark(CODE)


def test_a_code_and_a_command_fit_a_narrow_terminal() -> None:
    assert len(picture(CODE, colour=False, encoding="utf-8")[0]) <= 40
    assert len(picture(COMMAND, colour=False, encoding="utf-8")[0]) <= 60

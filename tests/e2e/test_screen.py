"""What a person sees on a terminal, read from the screen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.e2e.conftest import Open, Start
from tests.e2e.terminal import CTRL_C
from tests.e2e.trees import MIB, sparse, write

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

BAR = re.compile(r"[━╸╺]{10,40}")


@pytest.mark.parametrize("width", [60, 100, 200])
def test_both_sides_show_bars(sender: Start, terminal: Open, tmp_path: Path, out: Path, width: int) -> None:
    source = sparse(tmp_path / "backup of the whole disk.img", 200 * MIB)
    sending = terminal("send", "-y", source, write(tmp_path / "notes.txt", "x"), width=width)
    sending.shows("Join code: ")
    code = next(line for line in sending.lines if line.startswith("Join code: ")).removeprefix("Join code: ")
    receiving = terminal("recv", "-y", "-out", out, code, width=width)
    for screen in (receiving, sending):
        screen.until(lambda screen=screen: BAR.search(screen.text), "a bar")  # type: ignore[misc]
    while not (receiving.over and sending.over):
        receiving.look()
        sending.look()
    assert (receiving.wait(), sending.wait()) == (0, 0)

    for screen in (sending, receiving):
        moving = [lines for lines in screen.seen if any(re.search(r"^ *[1-9]\d?%", part) for part in _figures(lines))]
        assert moving, "no bar was ever between 1 and 99 percent"
        for lines in moving:
            text = "\n".join(lines)
            bars = [line for line in lines if BAR.search(line)]
            assert len(bars) == 1, text
            assert re.search(r"[\d.]+ [kM]?B/s", text), text
            assert re.search(r"(\d:\d\d|-:--) left", text), text
            assert "/2 files" in text
            assert "direct, udp" in text
            assert all(len(line) < width for line in lines[lines.index(bars[0]) :]), text
        assert screen.text.count("━") <= 40, screen.text
        assert "100%" in screen.text
        assert "SHA-256 verified" in " ".join(screen.text.split())
        assert not screen.cursor_hidden
    assert "backup of the whole disk.img" in sending.text


def _figures(lines: list[str]) -> list[str]:
    return [BAR.split(line, maxsplit=1)[-1] for line in lines if BAR.search(line)]


def test_a_stopped_transfer_leaves_the_terminal_usable(
    sender: Start, terminal: Open, tmp_path: Path, out: Path
) -> None:
    sent = sender(sparse(tmp_path / "disk.img", 4096 * MIB))
    screen = terminal("recv", "-y", "-out", out, sent.code())
    screen.until(lambda: re.search(r"━.* [1-9]\d?%", screen.text), "a bar that moved")
    screen.type(CTRL_C)
    assert (screen.wait(), sent.wait()) == (130, 5)
    assert not screen.cursor_hidden
    assert "p2pal: stopped" in screen.text
    assert "Stopping: saving what is here (once more to stop at once)" in screen.text
    saved = next(index for index, line in enumerate(screen.lines) if line.startswith("Saved at "))
    assert re.fullmatch(r"Saved at \d+%\. To go on, the sender types, as on its screen:", screen.lines[saved])
    assert re.fullmatch(r"p2pal send --resume [a-z2-7]{8}", screen.lines[saved + 1])
    assert screen.lines[saved + 2] == "and then here, with the new code:"
    assert re.fullmatch(r"p2pal recv -server http://127\.0\.0\.1:\d+ NEWCODE", screen.lines[saved + 3])
    assert [path.suffix for path in out.iterdir()] == [".part"]


def test_a_dumb_terminal_gets_lines(sender: Start, terminal: Open, tmp_path: Path, out: Path) -> None:
    sent = sender(sparse(tmp_path / "disk.img", 50 * MIB))
    screen = terminal("recv", "-y", "-out", out, sent.code(), term="dumb")
    assert (screen.wait(), sent.wait()) == (0, 0)
    assert b"\x1b" not in screen.raw


def test_names_cannot_control_the_terminal(sender: Start, terminal: Open, tmp_path: Path, out: Path) -> None:
    hostile = "\x1b]0;owned\x07\x1b[31mred\x1b[2J\r\n\u202egnp.exe"
    sent = sender("--", write(tmp_path / "in" / hostile, "x"))
    screen = terminal("recv", "-out", out, sent.code())
    screen.shows("[Y/n]")
    assert r"\x1b]0;owned\x07\x1b[31mred\x1b[2J\r\n\u202egnp.exe" in screen.text
    screen.type("y\r")
    assert (screen.wait(), sent.wait()) == (0, 0)
    assert b"\x1b]0;" not in screen.raw
    assert b"\x1b[2J" not in screen.raw

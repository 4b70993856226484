"""The bars, seen through a terminal emulator."""

from __future__ import annotations

import io

import pyte
import pytest
from rich.cells import cell_len

from p2pal.app.events import Progress
from p2pal.cli.ui.progress_bars import Bars, fit

NAMES = [
    "photos/IMG_0001.jpg",
    "a/very/long/path/" + "deep/" * 40 + "file.tar.gz",
    "写真/" + "東京タワー" * 30 + ".jpg",
    "\x1b[2Jevil\nname\u202egpj.exe",
    "caf\udce9.txt",
    "👩‍👩‍👧 family.png",
]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A terminal of some width that remembers what was written to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, width: int, term: str = "xterm-256color") -> None:
        super().__init__()
        self.width = width
        for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("LINES", "24")
        monkeypatch.setenv("TERM", term)

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """The lines that a person sees now."""
        screen = pyte.Screen(self.width, 24)
        pyte.Stream(screen).feed(self.getvalue().replace("\n", "\r\n"))
        return [line.rstrip() for line in screen.display]

    def shown(self) -> list[str]:
        return [line for line in self.screen() if line]


def progress(done: int = 1_150_000_000, name: str | None = "photos/IMG_0001.jpg", **changed: int) -> Progress:
    return Progress(
        done=done,
        total=2_300_000_000,
        files_done=12,
        files_failed=changed.get("failed", 0),
        files=changed.get("files", 1204),
        rate=182.4e6,
        eta=3723.0,
        name=name,
        file_done=1_100_000,
        file_size=2_300_000,
    )


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_everything_that_matters_is_visible(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    terminal, clock = Terminal(monkeypatch, width), Clock()
    bars = Bars(terminal, clock)
    bars.start(2_300_000_000, 1204, "direct, host udp")
    clock.now += 1
    bars.update(progress(failed=3))
    shown = terminal.shown()
    assert 2 <= len(shown) <= 3
    text = "\n".join(shown)
    for part in (
        "IMG_0001.jpg",
        " 47%  1.1 MB of 2.3 MB",
        "50%",
        "1.1 GB of 2.3 GB",
        "182.4 MB/s",
        "1:02:03 left",
        "12/1,204 files",
        "3 failed",
        "direct, host udp",
        "━" * 5,
    ):
        assert part in text, part


@pytest.mark.parametrize("width", [60, 100, 200])
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_fits_one_line(monkeypatch: pytest.MonkeyPatch, width: int, name: str) -> None:
    terminal, clock = Terminal(monkeypatch, width), Clock()
    bars = Bars(terminal, clock)
    bars.start(2_300_000_000, 1204, "relayed, turn tcp")
    for _ in range(3):  # redrawing in place only works if no line wraps
        clock.now += 1
        bars.update(progress(name=name))
    shown = terminal.shown()
    assert 2 <= len(shown) <= 3
    assert shown[0].endswith("47%  1.1 MB of 2.3 MB")
    assert "[2Jevil\n" not in terminal.getvalue()
    assert "\u202e" not in terminal.getvalue()


def test_narrower_than_promised_still_does_not_wrap(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(monkeypatch, 20), Clock()
    bars = Bars(terminal, clock)
    bars.start(2_300_000_000, 1204, "relayed, turn tcp")
    for _ in range(3):
        clock.now += 1
        bars.update(progress())
    assert len(terminal.shown()) <= 3


def test_one_file_needs_no_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(monkeypatch, 100), Clock()
    bars = Bars(terminal, clock)
    bars.start(2_300_000_000, 1, "direct, host udp")
    clock.now += 1
    bars.update(progress(files=1))
    (line,) = terminal.shown()
    assert "files" not in line


def test_at_most_ten_drawings_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(monkeypatch, 100), Clock()
    bars = Bars(terminal, clock)
    bars.start(2_300_000_000, 1204, "")
    for step in range(1000):
        clock.now += 0.001
        bars.update(progress(done=step))
    assert terminal.getvalue().count("photos/IMG_0001.jpg") <= 10


def test_notes_stand_above_and_the_end_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(monkeypatch, 100), Clock()
    bars = Bars(terminal, clock)
    bars.note("Connected: direct, host udp")
    bars.start(2_300_000_000, 1204, "direct, host udp")
    clock.now += 1
    bars.update(progress())
    bars.note("[bold]Path:[/bold] relayed, turn tcp :smile:")
    bars.path("relayed, turn tcp")
    clock.now += 1
    bars.update(progress())
    bars.stop(complete=True)
    bars.stop(complete=False)
    shown = terminal.shown()
    assert shown[0] == "Connected: direct, host udp"
    assert shown[1] == "[bold]Path:[/bold] relayed, turn tcp :smile:"
    assert "100%  2.3 GB of 2.3 GB" in shown[2]
    assert "1,204/1,204 files" in shown[2]
    assert "relayed, turn tcp" in shown[-1]
    assert terminal.getvalue().rstrip().endswith("\x1b[?25h")


def test_an_aborted_transfer_leaves_the_truth_on_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(monkeypatch, 100), Clock()
    bars = Bars(terminal, clock)
    bars.start(2_300_000_000, 1204, "")
    bars.update(progress())
    bars.stop(complete=False)
    text = "\n".join(terminal.shown())
    assert "50%" in text
    assert "-:-- left" in text


def test_an_empty_transfer_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, 100)
    bars = Bars(terminal, Clock())
    bars.start(0, 0, "")
    bars.stop(complete=True)
    assert "100%  0 bytes of 0 bytes" in terminal.shown()[0]


def test_no_colour_when_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(monkeypatch, 100), Clock()
    monkeypatch.setenv("NO_COLOR", "1")
    bars = Bars(terminal, clock)
    bars.start(2_300_000_000, 1204, "")
    clock.now += 1
    bars.update(progress())
    bars.stop(complete=True)
    assert "\x1b[3" not in terminal.getvalue()


def test_an_abandoned_terminal_gets_its_cursor_back(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, 100)
    bars = Bars(terminal, Clock())
    bars.abandon()
    assert terminal.getvalue() == ""
    bars.start(1, 1, "")
    assert terminal.getvalue().count("\x1b[?25l") == 1
    bars.abandon()
    assert terminal.getvalue().endswith("\x1b[?25h\n")


@pytest.mark.parametrize("text", [*NAMES[:3], "ab", "東京"])
@pytest.mark.parametrize("cells", [0, 1, 2, 3, 5, 10, 40])
def test_fit_counts_cells_not_characters(text: str, cells: int) -> None:
    assert cell_len(fit(text, cells)) <= cells


def test_the_bar_begins_at_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, 100)
    Bars(terminal, Clock()).start(2_300_000_000, 1204, "", 1_150_000_000)
    assert "50%  1.1 GB of 2.3 GB" in terminal.shown()[0]


def test_bars_leave_a_question_alone_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(monkeypatch, 100), Clock()
    bars = Bars(terminal, clock)
    bars.pause()
    bars.go_on()
    assert terminal.getvalue() == ""
    bars.start(2_300_000_000, 1204, "")
    bars.pause()
    assert terminal.getvalue().endswith("\x1b[?25h")
    terminal.write("Send to them? [y/N] ")
    clock.now += 1
    bars.update(progress(done=1_500_000_000))
    bars.start(1, 1, "")
    assert terminal.getvalue().endswith("[y/N] ")
    terminal.write("y\n")
    bars.go_on()
    assert "65%" in terminal.shown()[-1]
    bars.stop(complete=False)
    bars.go_on()
    assert terminal.getvalue().rstrip().endswith("\x1b[?25h")


def test_lines_that_come_while_a_question_is_asked_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, 100)
    bars = Bars(terminal, Clock())
    bars.pause()
    terminal.write("Receive into /home/ann? [Y/n] ")
    bars.note("Path: direct, ipv6")
    bars.start(2_300_000_000, 1204, "direct, ipv6")
    assert terminal.shown() == ["Receive into /home/ann? [Y/n]"]
    terminal.write("y\n")
    bars.go_on()
    assert terminal.shown()[1] == "Path: direct, ipv6"
    assert "0%" in terminal.shown()[-1]


def test_a_shell_that_has_the_terminal_finds_it_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(monkeypatch, 100), Clock()
    bars = Bars(terminal, clock)
    bars.start(2_300_000_000, 1204, "")
    assert bars.hides_cursor
    bars.suspend()
    assert not bars.hides_cursor
    assert terminal.getvalue().rstrip().endswith("\x1b[?25h")
    terminal.write("[1]+  Stopped   p2pal send\n$ fg\np2pal send\n")
    bars.resume()
    assert bars.hides_cursor
    shown = terminal.shown()
    assert shown[-2].endswith("p2pal send")
    assert "0%" in shown[-1]


def test_bars_that_were_stopped_without_notice_are_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(monkeypatch, 100), Clock()
    bars = Bars(terminal, clock)
    bars.start(2_300_000_000, 1, "")
    terminal.write("\n[1]+  Stopped   p2pal send\n$ fg\np2pal send\n")
    bars.resume()
    assert bars.hides_cursor
    assert [line.split()[-1] for line in terminal.shown()[1:4]] == ["send", "fg", "send"]
    assert "0%" in terminal.shown()[-1]


def test_nothing_is_drawn_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(monkeypatch, 100), Clock()
    front = False
    monkeypatch.setattr("p2pal.cli.ui.progress_bars.in_foreground", lambda _stream: front)
    bars = Bars(terminal, clock)
    bars.start(2_300_000_000, 1, "")
    clock.now += 1
    bars.update(progress())
    assert terminal.getvalue() == ""
    front = True
    clock.now += 1
    bars.update(progress())
    assert "50%" in terminal.shown()[-1]

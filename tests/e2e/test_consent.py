"""Nothing is written or sent without a yes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.e2e.conftest import Open, Start
from tests.e2e.kit import Commands
from tests.e2e.terminal import CTRL_C
from tests.e2e.trees import MIB, content, make_tree, tree_equal, write

# Python 3.12 warns of forking beside threads; the child execs at once.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def test_the_receiver_is_asked(sender: Start, terminal: Open, tmp_path: Path, out: Path) -> None:
    tree = make_tree(tmp_path / "photos")
    sent = sender("-r", tree, write(tmp_path / "report.pdf", content(MIB)), "--json")
    screen = terminal("recv", "-out", out, sent.code())
    screen.shows(f"Receive into {out}? [Y/n]"[:60])
    assert "report.pdf (1.0 MB)" in screen.text
    assert "photos/ (" in screen.text
    assert os.listdir(out) == []
    screen.type("y\r")
    assert (screen.wait(), sent.wait()) == (0, 0)
    assert tree_equal(tree, out / "photos")


def test_the_receiver_says_no(sender: Start, terminal: Open, tmp_path: Path, out: Path) -> None:
    sent = sender(write(tmp_path / "report.pdf", "x"))
    screen = terminal("recv", "-out", out, sent.code())
    screen.shows("[Y/n]")
    screen.type("n\r")
    assert (screen.wait(), sent.wait()) == (6, 6)
    assert "you declined the files" in screen.text
    assert "the other side declined the files" in sent.err
    assert os.listdir(out) == []


def test_the_receiver_stops_at_the_question(sender: Start, terminal: Open, tmp_path: Path, out: Path) -> None:
    sent = sender(write(tmp_path / "report.pdf", "x"))
    screen = terminal("recv", "-out", out, sent.code())
    screen.shows("[Y/n]")
    screen.type(CTRL_C)
    assert (screen.wait(), sent.wait()) == (130, 5)
    assert "the other side stopped the transfer" in sent.err
    assert os.listdir(out) == []


def test_the_sender_stops_while_the_receiver_is_asked(sender: Start, terminal: Open, tmp_path: Path, out: Path) -> None:
    sent = sender(write(tmp_path / "report.pdf", "x"))
    screen = terminal("recv", "-out", out, sent.code())
    screen.shows("[Y/n]")
    sent.signal(signal.SIGINT)
    assert (sent.wait(), screen.wait()) == (130, 5)
    assert any(line.startswith("p2pal: the other side stopped the transfer") for line in screen.lines)
    assert os.listdir(out) == []


def test_the_sender_is_asked(receiver: Start, terminal: Open, tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "report.pdf", content(MIB))
    screen = terminal("send", source)
    screen.shows("Send? [Y/n]")
    assert "Sending file: report.pdf (1 file, 1.0 MB) — TTL: 5m" in screen.text
    assert "Join code" not in screen.text
    screen.type("\r")
    screen.shows("Join code: ")
    code = next(line for line in screen.lines if line.startswith("Join code: ")).removeprefix("Join code: ")
    received = receiver(code, "-out", out)
    assert (received.wait(), screen.wait()) == (0, 0)
    assert tree_equal(source, out / "report.pdf")


def test_the_sender_says_no(terminal: Open, tmp_path: Path) -> None:
    screen = terminal("send", write(tmp_path / "report.pdf", "x"))
    screen.shows("Send? [Y/n]")
    screen.type("no\r")
    assert screen.wait() == 6
    assert "Join code" not in screen.text


def test_with_yes_the_sender_is_not_asked(receiver: Start, terminal: Open, tmp_path: Path, out: Path) -> None:
    screen = terminal("send", "-y", write(tmp_path / "report.pdf", "x"))
    screen.shows("Join code: ")
    screen.type(CTRL_C)
    assert screen.wait() == 130


def test_the_receiver_is_asked_for_the_code(sender: Start, terminal: Open, tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "report.pdf", "x")
    sent = sender(source)
    screen = terminal("recv", "-y", "-out", out)
    screen.shows("Enter join code:")
    screen.type("nonsense\r")
    screen.until(lambda: screen.text.count("Enter join code:") == 2, "a second question")
    screen.type(sent.code() + "\r")
    assert (screen.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "report.pdf")


@pytest.mark.parametrize(
    ("answer", "code", "here", "beside"),
    [("r", 0, "theirs", None), ("k", 0, "mine", "theirs"), ("", 0, "mine", "theirs"), ("c", 6, "mine", None)],
)
def test_an_existing_file_is_asked_about(
    sender: Start, terminal: Open, tmp_path: Path, out: Path, answer: str, code: int, here: str, beside: str | None
) -> None:
    write(out / "report.pdf", "mine")
    sent = sender(write(tmp_path / "report.pdf", "theirs"))
    screen = terminal("recv", "-out", out, sent.code())
    screen.shows("[r]eplace, [k]eep both, or [c]ancel? [K]")
    assert "report.pdf exists already" in screen.text
    screen.type(answer + "\r")
    assert (screen.wait(), sent.wait()) == (code, code)
    assert (out / "report.pdf").read_text() == here
    found = out / "report (1).pdf"
    assert (found.read_text() if found.exists() else None) == beside


def test_without_a_terminal_yes_is_needed(commands: Commands) -> None:
    received = commands.run("recv", *commands.connection, "zebra-luna-47")
    assert received.wait() == 2
    assert "there is no terminal to ask at; add -y to accept what is offered" in received.err


def test_json_asks_nothing(commands: Commands) -> None:
    received = commands.run("recv", *commands.connection, "--json", "zebra-luna-47")
    assert received.wait() == 2
    assert received.kinds == ["error"]

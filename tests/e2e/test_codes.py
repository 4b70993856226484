"""Wrong, mistyped, expired and used codes; servers that are not there."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.e2e.conftest import Start
from tests.e2e.kit import Commands
from tests.e2e.trees import tree_equal, write

from p2pal.cli.ui.qr import picture
from p2pal.crypto.codes import parse
from p2pal.crypto.words import WORDS
from p2pal.errors import MistypedCode


def wrong(code: str) -> str:
    """Another code of the same transfer, with words that are on the list."""
    first, rest = code.split("-", 1)
    return f"{WORDS[(WORDS.index(first) + 1) % len(WORDS)]}-{rest}"


def mistyped(code: str) -> str:
    """The same code with a typo that can only mean one word."""
    word, rest = code.split("-", 1)
    typos = [word[:at] + word[at + 1 :] for at in range(len(word))] + [word + letter for letter in "qxz"]
    return next(f"{typo}-{rest}" for typo in typos if typo not in WORDS and _means(f"{typo}-{rest}", code))


def _means(typed: str, code: str) -> bool:
    try:
        return str(parse(typed).code) == code
    except MistypedCode:
        return False


def test_a_wrong_code_fails_clearly_and_the_right_one_works_afterwards(
    sender: Start, receiver: Start, tmp_path: Path, out: Path
) -> None:
    source = write(tmp_path / "report.pdf", "x")
    sent = sender(source, "--json")
    code = sent.code()
    guess = receiver(wrong(code), "-out", out)
    assert guess.wait() == 4
    assert "p2pal: the code is wrong; check the words of the code and try again" in guess.err
    assert sent.event("wrong-guess") == {"event": "wrong-guess", "left": 2, "reason": "wrong-code"}
    assert os.listdir(out) == []
    received = receiver(code, "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "report.pdf")


def test_the_sender_is_told_of_a_wrong_code_in_words(sender: Start, receiver: Start, tmp_path: Path) -> None:
    sent = sender(write(tmp_path / "report.pdf", "x"))
    assert receiver(wrong(sent.code())).wait() == 4
    sent.says(r"Someone tried to join with another code \(2 more tries left\)")


def test_three_wrong_codes_close_the_transfer(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    sent = sender(write(tmp_path / "report.pdf", "x"), "--json")
    code = sent.code()
    for left in (2, 1, 0):
        assert receiver(wrong(code), "-out", out).wait() == 4
        sent.event("wrong-guess", left=left)
    assert sent.wait() == 4
    assert sent.event("error")["code"] == "code-wrong"
    late = receiver(code, "-out", out)
    assert late.wait() == 4
    assert "the transfer with this code is over" in late.err
    assert os.listdir(out) == []


def test_a_mistyped_word_is_corrected(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "report.pdf", "x")
    sent = sender(source, "--json")
    code = sent.code()
    typed = mistyped(code)
    received = receiver(typed, "-out", out)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert f"Reading '{typed.split('-')[0]}' as '{code.split('-')[0]}'" in received.err
    assert "wrong-guess" not in sent.kinds
    assert tree_equal(source, out / "report.pdf")


def test_what_is_no_code_never_reaches_the_server(commands: Commands) -> None:
    for text, code in (("zebra", 4), ("47", 4), ("qqqqq-xxxxx-47", 4), ("zebra--luna", 4), ("", 2)):
        # There is no server at this address: exit code 3 would tell that it was asked.
        assert commands.run("recv", "-server", "http://127.0.0.1:1", "-y", "--", text).wait() == code


def test_an_expired_code(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    sent = sender("-ttl", "1s", write(tmp_path / "report.pdf", "x"))
    code = sent.code()
    assert sent.wait() == 4
    assert "the code has expired; send again, with a longer -ttl if needed" in sent.err
    received = receiver(code, "-out", out)
    assert received.wait() == 4
    assert "the code has expired" in received.err
    assert os.listdir(out) == []


def test_an_unknown_code(receiver: Start) -> None:
    received = receiver("zebra-luna-999999999")
    assert received.wait() == 4
    assert "no transfer has this code; check the number" in received.err


def test_a_code_is_good_for_one_transfer(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    sent = sender(write(tmp_path / "report.pdf", "x"))
    code = sent.code()
    assert receiver(code, "-out", out).wait() == 0
    assert sent.wait() == 0
    again = receiver(code, "-out", out)
    assert again.wait() == 4
    assert "the transfer with this code is over; ask for a new code" in again.err
    assert os.listdir(out) == ["report.pdf"]


def test_the_code_comes_from_standard_input(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    source = write(tmp_path / "report.pdf", "x")
    sent = sender(source)
    received = receiver("-out", out, typed=f"  p2pal recv {sent.code().upper()}\n")
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "report.pdf")


def test_more_words(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    sent = sender("--words", "4", write(tmp_path / "report.pdf", "x"))
    code = sent.code()
    assert len(code.split("-")) == 5
    assert receiver(code, "-out", out).wait() == 0
    assert sent.wait() == 0


def test_no_server(commands: Commands, tmp_path: Path) -> None:
    source = write(tmp_path / "report.pdf", "x")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: nobody else gets the port, and nobody answers
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        sent = commands.run("send", "-server", url, source)
        received = commands.run("recv", "-server", url, "-y", "zebra-luna-47")
        assert (sent.wait(), received.wait()) == (3, 3)
    for command in (sent, received):
        assert command.out == "" or "Sending" in command.out
        assert "check the -server address and your network, or start one with 'p2pal server'" in command.err
        assert len(command.err.splitlines()) <= 2


def test_a_code_is_shown_as_a_picture(sender: Start, tmp_path: Path) -> None:
    sent = sender(write(tmp_path / "report.pdf", "x"), "--qr")
    code = sent.code()
    sent.says("Waiting for the other machine")
    for line in picture(code, colour=False, encoding="utf-8"):
        assert line in sent.out.splitlines()


def test_a_served_command_is_shown_as_a_picture(commands: Commands, tmp_path: Path) -> None:
    sent = commands.run("send", "-stun", "none", "--serve", "--qr", write(tmp_path / "report.pdf", "x"))
    command = sent.says(r"On the other machine: (.+)").group(1)
    sent.says("Waiting for the other machine")
    for line in picture(command, colour=False, encoding="utf-8"):
        assert line in sent.out.splitlines()


def test_a_picture_is_for_a_person(sender: Start, tmp_path: Path) -> None:
    source = write(tmp_path / "report.pdf", "x")
    for quiet in ("-q", "--json"):
        sent = sender(source, "--qr", quiet)
        assert sent.wait() == 2
        assert "p2pal: --qr is for a person to look at; leave it out, or -q and --json" in sent.err + sent.out

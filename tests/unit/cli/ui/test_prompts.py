"""Questions, asked over a pseudo-terminal."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from threading import Event

import pytest
from tests.unit.cli.kit import FILE, TREE

from p2pal.app import events
from p2pal.app.options import Decision, ReceiveOptions
from p2pal.cli import logs
from p2pal.cli.commands.recv_run import ask, read_code
from p2pal.cli.commands.send_run import admitted
from p2pal.cli.signals import Stop
from p2pal.cli.ui import prompts
from p2pal.cli.ui.progress_lines import Silent, nothing
from p2pal.errors import Interrupted, MistypedCode, Refused, UsageError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")

OFFER = events.Offered(tops=[FILE, TREE], more=0, files=1204, entries=1300, total=2_300_000_000)


class _Screen(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()
        self.hurry: tuple[str, Callable[[], None]] | None = None

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written.set()
        if self.hurry and self.hurry[0] in text:
            self.hurry[1]()
            self.hurry = None
        return super().write(text)


class Keyboard:
    """The far end of a pseudo-terminal, as a person uses it: answers only what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._far, near = os.openpty()
        self._near = os.fdopen(near, "r", encoding="utf-8")
        self.screen = _Screen()
        self._monkeypatch = monkeypatch

    def sit_down(self) -> None:
        """Take over the streams. Called by the test itself: pytest sets its own after the fixtures ran."""
        self._monkeypatch.setattr(sys, "stdin", self._near)
        self._monkeypatch.setattr(sys, "stderr", self.screen)

    async def see(self, question: str) -> None:
        async with asyncio.timeout(30):
            while question not in self.screen.getvalue():
                await self.screen.written.wait()
                self.screen.written.clear()

    def type(self, text: str) -> None:
        os.write(self._far, text.encode())

    async def answer(self, question: str, text: str) -> None:
        await self.see(question)
        self.type(text)

    def answer_at_once(self, question: str, text: str) -> None:
        """Answer it where no loop runs that could wait for it."""
        self.screen.hurry = question, lambda: self.type(text)

    def close(self) -> None:
        self._near.close()
        os.close(self._far)


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keyboard]:
    keyboard = Keyboard(monkeypatch)
    yield keyboard
    keyboard.close()


@pytest.mark.parametrize(
    ("typed", "yes"),
    [("\n", True), ("y\n", True), ("YES\n", True), ("n\n", False), ("no\n", False), ("what\nn\n", False)],
)
async def test_confirm(keyboard: Keyboard, typed: str, yes: bool) -> None:
    keyboard.sit_down()
    answer, _ = await asyncio.gather(prompts.Prompter(Stop()).confirm("Send?"), keyboard.answer("Send? [Y/n] ", typed))
    assert answer is yes


async def test_type_ahead_agrees_to_nothing(keyboard: Keyboard) -> None:
    keyboard.sit_down()
    keyboard.type("y\ny\n")
    answer, _ = await asyncio.gather(prompts.Prompter(Stop()).confirm("Send?"), keyboard.answer("Send?", "n\n"))
    assert answer is False


async def test_end_of_input_is_a_refusal(keyboard: Keyboard) -> None:
    keyboard.sit_down()
    with pytest.raises(Refused):
        await asyncio.gather(prompts.Prompter(Stop()).confirm("Send?"), keyboard.answer("Send?", "\x04"))


async def test_a_stop_ends_the_question(keyboard: Keyboard) -> None:
    keyboard.sit_down()
    stop = Stop()
    asking = asyncio.create_task(prompts.Prompter(stop).confirm("Send?"))
    await keyboard.see("Send?")
    stop.request()
    with pytest.raises(Interrupted):
        await asking


async def test_a_cancelled_question_leaves_the_terminal_to_the_next(keyboard: Keyboard) -> None:
    keyboard.sit_down()
    prompter = prompts.Prompter(Stop())
    asking = asyncio.create_task(prompter.confirm("First?"))
    await keyboard.see("First?")
    asking.cancel()
    await asyncio.wait([asking])
    assert keyboard.screen.getvalue() == "First? [Y/n] \n", "what is told next has a line of its own"
    answer, _ = await asyncio.gather(prompter.confirm("Second?"), keyboard.answer("Second?", "n\n"))
    assert answer is False


@pytest.mark.parametrize(("typed", "accept"), [("\n", True), ("n\n", False)])
async def test_the_offer_is_shown_before_the_question(keyboard: Keyboard, typed: str, accept: bool) -> None:
    keyboard.sit_down()
    decision, _ = await asyncio.gather(
        ask(prompts.Prompter(Stop()), OFFER, [], ReceiveOptions(out=Path("/tmp"))),
        keyboard.answer("Receive into /tmp? [Y/n] ", typed),
    )
    assert decision == Decision(accept=accept)
    assert keyboard.screen.getvalue().startswith(
        "Offered: 1,204 files, 2.3 GB\n  report.pdf (2.3 MB)\n  photos/ (1,203"
    )


@pytest.mark.parametrize(
    ("typed", "decision"),
    [
        ("\n", Decision(accept=True)),
        ("k\n", Decision(accept=True)),
        ("r\n", Decision(accept=True, replace=True)),
        ("c\n", Decision(accept=False)),
        ("y\nc\n", Decision(accept=False)),
    ],
)
async def test_what_exists_is_replaced_only_when_a_person_says_so(
    keyboard: Keyboard, typed: str, decision: Decision
) -> None:
    keyboard.sit_down()
    made, _ = await asyncio.gather(
        ask(prompts.Prompter(Stop()), OFFER, ["report.pdf"], ReceiveOptions()),
        keyboard.answer("[r]eplace, [k]eep both, or [c]ancel? [K] ", typed),
    )
    assert made == decision
    assert "report.pdf exists already\n" in keyboard.screen.getvalue()


@pytest.mark.parametrize("overwrite", [True, False])
def test_nobody_agrees_to_lose_what_is_not_shown(keyboard: Keyboard, overwrite: bool) -> None:
    many = [f"file-{number}" for number in range(30)] + ["\x1b[2J"]

    async def agree() -> None:
        keyboard.sit_down()
        await asyncio.gather(
            ask(prompts.Prompter(Stop()), OFFER, many, ReceiveOptions(overwrite=overwrite)),
            keyboard.answer("[Y/n]" if overwrite else "[K] ", "\n"),
        )

    asyncio.run(agree())
    shown = keyboard.screen.getvalue()
    assert all(f"  {name}\n" in shown for name in many[:-1])
    assert "  \\x1b[2J\n" in shown


async def test_overwrite_says_what_it_replaces(keyboard: Keyboard) -> None:
    keyboard.sit_down()
    made, _ = await asyncio.gather(
        ask(prompts.Prompter(Stop()), OFFER, ["report.pdf", "photos"], ReceiveOptions(overwrite=True)),
        keyboard.answer("[Y/n]", "y\n"),
    )
    assert made == Decision(accept=True, replace=True)
    assert "This replaces report.pdf and photos\n" in keyboard.screen.getvalue()


def test_the_code_is_asked_for_again_when_it_is_mistyped(keyboard: Keyboard) -> None:
    keyboard.sit_down()
    keyboard.type("nonsense\nZEBRA luna 47\n")
    assert str(read_code(None, quiet=False)) == "zebra-luna-47"
    assert keyboard.screen.getvalue().count("Enter join code: ") == 2


def test_three_mistyped_codes_are_enough(keyboard: Keyboard) -> None:
    keyboard.sit_down()
    keyboard.type("a\nb\nc\n")
    with pytest.raises(MistypedCode):
        read_code(None, quiet=False)


def test_no_code_at_all(keyboard: Keyboard) -> None:
    keyboard.sit_down()
    keyboard.type("\x04")
    with pytest.raises(EOFError):
        read_code(None, quiet=False)


def test_a_correction_is_reported_and_secrets_are_hidden(keyboard: Keyboard) -> None:
    keyboard.sit_down()
    assert str(read_code("zebrra-luna-47", quiet=False)) == "zebra-luna-47"
    assert keyboard.screen.getvalue() == "Reading 'zebrra' as 'zebra'\n"
    assert logs.redact("zebra-luna-47 zebra-luna zebrra-luna-47") == "[hidden] [hidden] [hidden]"


def test_without_a_terminal_the_code_comes_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("zebra-luna-47\nmore\n"))
    assert str(read_code(None, quiet=True)) == "zebra-luna-47"
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(UsageError, match="the join code is missing"):
        read_code(None, quiet=True)


@pytest.mark.parametrize(
    ("typed", "yes"),
    [("\n", False), ("y\n", True), ("YES\n", True), ("n\n", False), ("what\ny\n", True), ("\x04", False)],
)
def test_only_a_yes_agrees_to_remove(keyboard: Keyboard, typed: str, yes: bool) -> None:
    keyboard.sit_down()
    keyboard.answer_at_once("Remove 3 checkpoints?", typed)
    assert prompts.agree("Remove 3 checkpoints?") is yes
    assert keyboard.screen.getvalue().startswith("Remove 3 checkpoints? [y/N] ")


class _Board(Silent):
    """A board that remembers when it was told to keep away."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause(self, again: Callable[[], None] = nothing) -> None:
        self.told.append("pause")

    def go_on(self) -> None:
        self.told.append("go on")


@pytest.mark.parametrize(
    ("typed", "yes"), [("\n", False), ("y\n", True), ("n\n", False), ("maybe\nyes\n", True), ("\x04", False)]
)
async def test_a_stranger_who_knows_the_code_gets_nothing_unless_a_person_says_so(
    keyboard: Keyboard, typed: str, yes: bool
) -> None:
    keyboard.sit_down()
    board = _Board()
    answer, _ = await asyncio.gather(
        admitted(prompts.Prompter(Stop()), board), keyboard.answer("Send to them? [y/N] ", typed)
    )
    assert answer is yes
    assert board.told == ["pause", "go on"]
    assert keyboard.screen.getvalue().startswith(
        "Someone who knows the code, but is not the one from before,\n"
        "wants the files from the start, in the place of the other\nSend to them?"
    )
    refused = "Refused; still waiting for the one from before" in keyboard.screen.getvalue()
    assert refused is (not yes and typed != "\x04")


async def test_a_stop_at_that_question_stops(keyboard: Keyboard) -> None:
    keyboard.sit_down()
    stop, board = Stop(), _Board()
    asking = asyncio.create_task(admitted(prompts.Prompter(stop), board))
    await keyboard.see("[y/N]")
    stop.request()
    with pytest.raises(Interrupted):
        await asking
    assert board.told == ["pause", "go on"]


def test_what_was_typed_ahead_is_taken_from_a_console_and_forgotten() -> None:
    typed = list("y\r")
    prompts.drop_keys(lambda: bool(typed), lambda: typed.pop(0))
    assert typed == []
    taken: list[str] = []

    def held_down() -> str:
        taken.append("y")
        return "y"

    prompts.drop_keys(lambda: True, held_down)
    assert len(taken) == 4096


async def test_a_loop_that_cannot_watch_the_terminal_has_a_thread_read(
    keyboard: Keyboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NotImplementedError

    keyboard.sit_down()
    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refuse)
    asking = prompts.Prompter(Stop()).confirm("Send?")
    answer, _ = await asyncio.gather(asking, keyboard.answer("Send? [Y/n] ", "n\n"))
    assert answer is False


class Lines:
    """An input whose lines come one by one, and a reader of it that says when it reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._lines: Queue[str] = Queue()
        self.reading = Event()
        self.reader = prompts.LineReader()
        monkeypatch.setattr(sys, "stdin", self)

    def readline(self) -> str:
        self.reading.set()
        return self._lines.get()

    def type(self, line: str) -> None:
        self.reading.clear()
        self._lines.put(line)


async def test_a_read_whose_question_was_overtaken_is_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines(monkeypatch)
    first = asyncio.ensure_future(lines.reader.line())
    assert await asyncio.to_thread(lines.reading.wait, 30)
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.ensure_future(lines.reader.line())
    await asyncio.sleep(0)
    lines.type("yes\n")
    assert await second == "yes\n"
    lines.type("no\n")
    assert await lines.reader.line() == "no\n"


async def test_the_end_of_the_input_is_the_end_in_a_thread_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "CTRL_C", 0.0)
    lines = Lines(monkeypatch)
    lines.type("")
    assert await lines.reader.line() is None

"""What ``p2pal recv`` does once its command line is understood."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from p2pal.app import events
from p2pal.app.options import Decision, ReceiveOptions
from p2pal.cli import config, signals
from p2pal.cli.code_file import MAX_TEXT, read_code_file, take_variable
from p2pal.cli.commands.transfer_run import deadline, drive, make_board, reporting, tell_of_proxy
from p2pal.cli.job_control import in_foreground
from p2pal.cli.streams import Writer
from p2pal.cli.text import names, safe, safe_path
from p2pal.cli.ui.prompts import Prompter, ask_line, interactive
from p2pal.cli.ui.views import JsonView, QuietView, ReceiverView, View, absolute, hide_code, offer_lines
from p2pal.crypto.codes import JoinCode, parse
from p2pal.disk.sink.preflight import check_destination
from p2pal.errors import MistypedCode, UsageError

TRIES: Final = 3
ALL_NAMED: Final = 3
"""Names that a sentence still names all; of more it counts some."""
_EXISTING: Final = {
    "r": "replace", "replace": "replace",
    "k": "keep", "keep": "keep", "keep both": "keep",
    "c": "cancel", "cancel": "cancel", "n": "cancel", "no": "cancel",
}  # fmt: skip


def run_recv(text: str | None, flags: dict[str, Any], *, as_json: bool, quiet: bool, debug: bool) -> None:
    """Receive what the code stands for; return when all of it arrived.

    Raises:
        P2palError: If it did not.
    """
    board = make_board(quiet=quiet or as_json, debug=debug)
    out = Writer(sys.stdout)
    target: Path | None = flags["out"]
    quietly = QuietView(out, Writer(sys.stderr), "receive")
    view: View = JsonView(out) if as_json else quietly if quiet else ReceiverView(out, board, target or Path())
    with reporting(view):
        if not flags["yes"] and as_json:
            raise UsageError("--json asks no questions", hint="add -y to accept what is offered")
        if not flags["yes"] and not interactive():
            raise UsageError("there is no terminal to ask at", hint="add -y to accept what is offered")
        connect = config.connect_options(**{name: flags[name] for name in config.CONNECTION_FLAGS})
        options = ReceiveOptions(
            out=target,
            overwrite=flags["overwrite"],
            verify=flags["verify"],
            home=config.home(),
            checkpoint_ttl=flags["checkpoint_ttl"],
        )
        check_destination(target, overwrite=options.overwrite)
        code = read_code(given_code(text, flags["code_file"]), quiet=quiet or as_json)

        async def main(stop: signals.Stop) -> None:
            from p2pal.app.receive import receive

            prompter = Prompter(stop, board)

            async def decide(offer: events.Offered, existing: list[str]) -> Decision:
                if flags["yes"]:
                    return Decision(accept=True, replace=options.overwrite)
                return await ask(prompter, offer, existing, options)

            tell_of_proxy(board, connect)
            await drive(receive(code, options=options, connect=connect, decide=decide), view, board, stop)

        signals.run(main, deadline=deadline(view))


async def ask(prompter: Prompter, offer: events.Offered, existing: Sequence[str], options: ReceiveOptions) -> Decision:
    """Show the offer and ask the person. What exists is never replaced without a word that says so.

    Raises:
        Interrupted: If the user stops the program at the question.
        Refused: If the input ends.
    """
    for line in offer_lines(offer):
        prompter.say(line)
    if existing and not options.overwrite:
        verb = "exists" if len(existing) == 1 else "exist"
        prompter.say(f"{names(existing)} {verb} already")
        _list_all(prompter, existing)
        answer = await prompter.choose("[r]eplace, [k]eep both, or [c]ancel? [K] ", _EXISTING, default="keep")
        return Decision(accept=answer != "cancel", replace=answer == "replace")
    if existing:
        prompter.say(f"This replaces {names(existing)}")
        _list_all(prompter, existing)
    accept = await prompter.confirm(f"Receive into {safe_path(absolute(options.out or Path()))}?")
    return Decision(accept=accept, replace=options.overwrite)


def _list_all(prompter: Prompter, existing: Sequence[str]) -> None:
    """Name what the sentence before only counted: nobody agrees to lose what is not shown."""
    if len(existing) > ALL_NAMED:
        for name in existing:
            prompter.say(f"  {safe(name, 100)}")


def given_code(text: str | None, file: Path | None) -> str | None:
    """Return the code that was given: on the command line, in a file or in the environment, in this order.

    Raises:
        UsageError: If the file cannot be read, or has no code in it.
    """
    hidden = take_variable()
    return text if text is not None else read_code_file(file) if file is not None else hidden


def read_code(text: str | None, *, quiet: bool) -> JoinCode:
    """Return the join code: the one that was given, else from the person, else from standard input.

    Raises:
        MistypedCode: If it is none.
        UsageError: If there is no code.
    """
    if text is not None:
        return _parsed(text, quiet=quiet)
    if not interactive():
        # What is typed at a terminal is the shell's where this process is in its background.
        ours = sys.stdin is not None and in_foreground(sys.stdin)
        line = sys.stdin.readline(MAX_TEXT) if ours else ""
        if not line.strip():
            raise UsageError("the join code is missing", hint="write p2pal recv zebra-luna-47, or pipe the code in")
        return _parsed(line, quiet=quiet)
    for left in reversed(range(TRIES)):
        try:
            return _parsed(ask_line("Enter join code: "), quiet=False)
        except MistypedCode as error:
            if not left:
                raise
            Writer(sys.stderr).line(safe(str(error)))
    raise AssertionError("unreachable")


def _parsed(text: str, *, quiet: bool) -> JoinCode:
    hide_code(text.strip())
    parsed = parse(text)
    hide_code(str(parsed.code))
    if not quiet:
        for typed, word in parsed.corrections:
            Writer(sys.stderr).line(f"Reading '{safe(typed, 40)}' as '{safe(word, 40)}'")
    return parsed.code

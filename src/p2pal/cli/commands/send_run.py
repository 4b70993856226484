"""What ``p2pal send`` does once its command line is understood."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from p2pal.app import events
from p2pal.app.options import SendOptions
from p2pal.cli import config, signals
from p2pal.cli.code_file import CodeFile
from p2pal.cli.commands.serve import RunningServer, for_later, for_the_other_machine, parse_address, serving
from p2pal.cli.commands.transfer_run import deadline, drive, make_board, reporting, tell_of_proxy
from p2pal.cli.patterns import expand, read_names, read_patterns
from p2pal.cli.streams import Writer, takes_colours
from p2pal.cli.ui import phrases
from p2pal.cli.ui.progress_lines import Board
from p2pal.cli.ui.prompts import Prompter, interactive
from p2pal.cli.ui.views import JsonView, QuietView, SenderView, View
from p2pal.errors import Refused, UsageError
from p2pal.hosts import is_loopback

MIN_TTL = 1.0


def _directories(files: Iterable[Path]) -> frozenset[str]:
    # Where the current directory is gone, nothing relative can be sent anyway.
    with contextlib.suppress(OSError):
        return frozenset(os.path.basename(os.path.abspath(path)) for path in files if os.path.isdir(path))
    return frozenset()


def qr_of(event: events.Code, *, command: bool) -> list[str]:
    """Return the lines that show what the other machine needs: the code, or the whole command where only that helps."""
    from p2pal.cli.ui.qr import picture

    shown = event.command if command else event.code
    return picture(shown, colour=takes_colours(sys.stdout), encoding=sys.stdout.encoding)


def run_send(files: tuple[Path, ...], flags: dict[str, Any], *, as_json: bool, quiet: bool, debug: bool) -> None:
    """Send the files; return when all arrived.

    Raises:
        P2palError: If they did not.
    """
    board = make_board(quiet=quiet or as_json, debug=debug)
    out = Writer(sys.stdout)
    warn = Writer(sys.stderr).line if quiet or as_json else board.note
    asking = not as_json and not quiet and not flags["yes"] and interactive()
    picture = functools.partial(qr_of, command=flags["serve"] is not None) if flags["qr"] else None
    directories: set[str] = set()
    screen = SenderView(out, board, flags["ttl"], directories, asking=asking, picture=picture)
    quietly = QuietView(out, Writer(sys.stderr), "send", command=flags["serve"] is not None)
    view: View = JsonView(out) if as_json else quietly if quiet else screen

    async def main(stop: signals.Stop) -> None:
        async def confirm(listed: events.Listed) -> bool:
            screen.listing(listed)
            return await Prompter(stop, board).confirm("Send?")

        async def admit() -> bool:
            return await admitted(Prompter(stop, board), board)

        async def give_up(missing: events.Missing) -> bool:
            prompter = Prompter(stop, board)
            for line in phrases.missing(missing):
                prompter.say(line)
            return await prompter.confirm("Leave these out for good?", default=False)

        async with AsyncExitStack() as stack:
            served: RunningServer | None = None
            reach = connect
            if address is not None:
                served = await stack.enter_async_context(serving(address))
                for line in phrases.ALONE if served.alone else ():
                    warn(line)
                # Where others have no other address of this machine, they are on it as well.
                own = not is_loopback(urlsplit(served.public[0]).hostname or "")
                reach = replace(connect, server=served.local, own_server=own)

            code_file = stack.enter_context(CodeFile(flags["code_file"])) if flags["code_file"] is not None else None

            def change(event: events.Event) -> events.Event:
                if code_file is not None and isinstance(event, events.Code):
                    code_file.write(event.code)
                if served is not None and isinstance(event, events.Code):
                    return for_the_other_machine(event, served)
                return for_later(event) if served is not None and isinstance(event, events.Saved) else event

            from p2pal.app.send import send

            tell_of_proxy(board, reach)
            transfer = send(
                named,
                options=options,
                connect=reach,
                confirm=confirm if asking and flags["resume"] is None else None,
                resume=flags["resume"],
                admit=admit if asking else None,
                give_up=give_up if asking else None,
            )
            await drive(transfer, view, board, stop, change)

    with reporting(view):
        if flags["ttl"] < MIN_TTL:
            raise UsageError("-ttl must be at least 1s", hint="write -ttl 5m")
        options = SendOptions(
            ttl=flags["ttl"],
            recursive=flags["recursive"],
            skip_errors=flags["skip_errors"],
            one_file_system=flags["one_file_system"],
            listed=() if flags["files_from"] is None else tuple(read_names(flags["files_from"])),
            exclude=(*read_patterns(flags["exclude_from"]), *flags["exclude"]),
            git=flags["git"],
            chunk_kib=flags["chunk_size"],
            words=flags["words"],
            home=config.home(),
            checkpoint_ttl=flags["checkpoint_ttl"],
        )
        named = expand(files)
        directories |= _directories(named)
        connect = config.connect_options(**{name: flags[name] for name in config.CONNECTION_FLAGS})
        address = None if flags["serve"] is None else parse_address(flags["serve"], only_loopback=connect.only_loopback)
        signals.run(main, deadline=deadline(view))


async def admitted(prompter: Prompter, board: Board) -> bool:
    """Ask whether someone who knows the code, but is not the receiver from before, may have the files.

    Raises:
        Interrupted: If the user stops the program at the question.
    """
    board.pause()
    try:
        for line in phrases.UNPROVEN:
            prompter.say(line)
        admit = await prompter.confirm("Send to them?", default=False)
        if not admit:
            prompter.say(phrases.REFUSED)
    except Refused:  # the input ended: nobody said yes
        return False
    else:
        return admit
    finally:
        board.go_on()

"""The ``p2pal`` command: finds the sub-command, runs it, turns every ending into an exit code.

Nothing heavy is imported before a command runs, and no command before it is named: ``p2pal --help`` is instant.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from importlib import import_module
from typing import Final

import click

from p2pal._version import __version__
from p2pal.cli import streams
from p2pal.cli.exit import describe, report
from p2pal.cli.groups import Group
from p2pal.cli.interrupts import heard
from p2pal.cli.options import CONTEXT, Globals, debug_option, flag
from p2pal.errors import UsageError

COMMANDS: Final = {
    "send": "Send files and directories; prints the join code.",
    "recv": "Receive what the join code stands for.",
    "server": "Run the signaling server that both sides can reach.",
    "doctor": "Check the server and the network, and say what to do.",
    "checkpoint": "List and remove what unfinished transfers left, to go on with.",
    "completion": "Print the completion script for bash, zsh or fish.",
}
"""Each sub-command's one line. It lives in the module and under the attribute of the same name."""

WITH_ENGINE: Final = ("send", "recv", "doctor")
"""Those that load the engine."""


class Root(Group):
    """The group that imports a sub-command only when it is named."""

    summaries = COMMANDS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return the command."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"p2pal.cli.commands.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101
        return command


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        streams.write_results([f"p2pal {__version__}"])
        ctx.exit()


@click.command(
    cls=Root,
    context_settings=CONTEXT,
    no_args_is_help=False,
    invoke_without_command=True,
    options_metavar="[--version] [--debug]",
    subcommand_metavar="COMMAND [ARGS]...",
)
@flag(
    "--version",
    "-V",
    dest="version",
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@debug_option
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Send files from one machine to another, directly and end-to-end encrypted.

    \b
    p2pal send report.pdf                on one machine; prints a join code
    p2pal recv zebra-luna-47             on the other one
    p2pal send --serve -r photos/        no server to set up: the sender runs one
    """  # noqa: D301
    if ctx.invoked_subcommand is None and not ctx.resilient_parsing:
        raise UsageError("a command is missing", hint="try 'p2pal send FILE', 'p2pal recv CODE' or 'p2pal --help'")


PARTING: Final = 0.2
"""Seconds for which threads are waited for at the process's end."""


def main(args: list[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        args: What follows ``p2pal``. None for the process's own: then the process may end in here, because Python would
            wait without end for a thread that hangs in the disk.
    """
    streams.open_missing()
    if args is None and next((each for each in sys.argv[1:] if not each.startswith("-")), "") in WITH_ENGINE:
        streams.take_stderr()
    settings = Globals()
    with heard(to_the_end=args is None) as interrupts:
        try:
            result = cli.main(args=args, prog_name="p2pal", standalone_mode=False, obj=settings)
            interrupts.ending = True
            code = result if isinstance(result, int) else 0
        except SystemExit as error:  # click's way out of a completion request, or of a closed pipe
            interrupts.ending = True
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException as error:  # noqa: BLE001
            interrupts.ending = True
            code = _reported(error, debug=settings.debug)
        streams.settle()
        if args is None and _threads_hang():
            os._exit(code)
    return code


def _threads_hang() -> bool:
    """Whether threads still run after :data:`PARTING` that the interpreter would wait for."""
    end = time.monotonic() + PARTING
    others = [each for each in threading.enumerate() if each is not threading.current_thread() and not each.daemon]
    for thread in others:
        thread.join(max(0.0, end - time.monotonic()))
    return any(thread.is_alive() for thread in others)


def _reported(error: BaseException, *, debug: bool) -> int:
    try:
        return report(error, debug=debug)
    except OSError:  # stderr is gone; the exit code still tells
        return describe(error).exit_code


if __name__ == "__main__":
    sys.exit(main())

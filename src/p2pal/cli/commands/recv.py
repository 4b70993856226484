"""``p2pal recv``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from p2pal.cli.options import (
    CONTEXT,
    Command,
    Globals,
    checkpoint_ttl_option,
    connection_options,
    debug_option,
    flag,
    json_option,
    option,
    server_option,
    yes_option,
)
from p2pal.cli.preload import preload
from p2pal.errors import UsageError


def complete_code(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """Complete the words of a join code; the number nobody can guess."""
    from p2pal.crypto.codes import complete

    return [CompletionItem(word) for word in complete(incomplete)]


class OutPath(click.Path):
    """What ``-out`` names. A slash at its end promises a directory, which a path object would forget."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; refuse a directory that is promised and not there."""
        if str(value).endswith(("/", os.sep)) and not os.path.isdir(value):
            self.fail("it ends with a slash but there is no such directory; make it first", param, ctx)
        return super().convert(value, param, ctx)


@click.command(cls=Command, context_settings=CONTEXT, options_metavar="[FLAGS]")
@click.argument("code", metavar="[CODE]", required=False, shell_complete=complete_code)
@server_option
@option(
    "-out",
    dest="out",
    metavar="PATH",
    type=OutPath(path_type=Path),
    help="Directory to write into, or the path that the file or tree shall have [current directory, or where a "
    "transfer that goes on was written].",
)
@flag("-overwrite", dest="overwrite", help="Replace existing files.")
@yes_option
@option(
    "--code-file",
    dest="code_file",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Read the code from this file, so that neither the list of processes nor the shell's history shows it; or "
    "set $P2PAL_CODE.",
)
@flag("-q", dest="quiet", help="Quiet: only errors.")
@flag("--verify", dest="verify", help="When going on with an earlier transfer, read and check all that is there.")
@checkpoint_ttl_option
@connection_options
@json_option
@debug_option
@click.pass_context
def recv(ctx: click.Context, /, code: str | None, *, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Receive what CODE stands for.

    Where CODE is left out, it is that of --code-file, else that in $P2PAL_CODE. Without any p2pal asks for it, or reads
    it from standard input.

    Options take one dash or two, a value after a space or '='.

    It shows what is offered and asks before writing, unless -y. With -y an existing file stays, and the new one is
    written beside it as 'name (1).ext', unless -overwrite. Without a terminal -y is needed.

    A transfer that was interrupted goes on where it stopped: CODE is then the new one, of 'p2pal send --resume ID'.

    What is received and how it ended go to stdout; status, progress, questions and errors to stderr.
    """
    if code is not None and flags["code_file"] is not None:
        raise UsageError("CODE and --code-file exclude each other", hint="leave one out")
    # From here on the command runs, and what it needs is loaded.
    preload()
    from p2pal.cli.commands.recv_run import run_recv

    run_recv(code, flags, as_json=as_json, quiet=quiet, debug=ctx.ensure_object(Globals).debug)

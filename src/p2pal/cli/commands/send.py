"""``p2pal send``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from p2pal.cli.commands.checkpoint_ids import CheckpointId
from p2pal.cli.options import (
    CONTEXT,
    Command,
    Duration,
    Globals,
    Number,
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

_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]*):[0-9]{1,5}")


class _Address(click.ParamType[str]):
    """The optional value of ``--serve``."""

    name = "address"

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[Any]]:
        """Complete file names: after ``--serve`` most people name what they send."""
        return [CompletionItem(incomplete, type="file")]


@click.command(cls=Command, context_settings=CONTEXT, options_metavar="[FLAGS]")
@click.argument("files", metavar="FILE...", nargs=-1, type=click.Path(path_type=Path))
@server_option
@option(
    "--serve",
    dest="serve",
    metavar="HOST:PORT",
    type=_Address(),
    optional=_ADDRESS,
    help="Run the signaling server inside this command, on a free port, and print the full command for the other "
    "machine.",
)
@option(
    "--resume",
    dest="resume",
    metavar="ID",
    type=CheckpointId("send"),
    help="Go on with an earlier transfer instead of sending FILEs; 'p2pal checkpoint list' shows the ids.",
)
@option("-ttl", dest="ttl", metavar="DURATION", type=Duration(), default="5m", help="How long the code waits [5m].")
@flag("-r", dest="recursive", help="Send directories recursively.")
@yes_option
@flag("-q", dest="quiet", help="Quiet: only the join code and errors.")
@flag(
    "--one-file-system",
    "-x",
    dest="one_file_system",
    help="Stay on the file system of each FILE: what is mounted below it is left out, and counted. Short: -x.",
)
@option(
    "--files-from",
    dest="files_from",
    metavar="PATH",
    help="Send what this file names, or '-' for standard input: names that end with NULs or newlines, relative to the "
    "current directory, which keep their directories.",
)
@option(
    "--exclude",
    dest="exclude",
    metavar="PATTERN",
    multiple=True,
    help="Leave out what fits this pattern of gitignore(5); may be given again.",
)
@option(
    "--exclude-from",
    dest="exclude_from",
    metavar="PATH",
    multiple=True,
    help="Leave out what fits the patterns in this file, or '-' for standard input; may be given again.",
)
@flag("--git", dest="git", help="Leave out what the .gitignore files of the tree name.")
@flag("-skip-errors", dest="skip_errors", help="Skip files with errors instead of aborting the batch.")
@option(
    "-chunk-size",
    dest="chunk_size",
    metavar="KIB",
    type=Number(4, 255, "of KiB"),
    default=None,
    help="Chunk size in KiB, 4 to 255 [255 where the path is fast, else 63].",
)
@checkpoint_ttl_option
@connection_options
@option(
    "--code-file",
    dest="code_file",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Write the join code to this new file as well, for scripts; it goes when the command ends.",
)
@flag("--qr", dest="qr", help="Show the join code (with --serve the command for the other machine) as a picture, too.")
@option("--words", dest="words", metavar="N", type=Number(2, 8), default=2, help="Words in the join code, 2 to 8 [2].")
@json_option
@debug_option
@click.pass_context
def send(ctx: click.Context, /, files: tuple[Path, ...], *, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Send FILEs, and with -r directories, to whoever types the join code.

    A FILE may be a pattern such as '*.pdf' or 'src/**/*.py'; a name that exists is taken as it is.

    Options take one dash or two, a value after a space or '='.

    The code, what is sent and how it ended go to stdout; status, progress, questions and errors to stderr.
    """
    named = bool(files) or flags["files_from"] is not None
    if named and flags["resume"] is not None:
        raise UsageError("FILE and --resume exclude each other", hint="leave the files out: the checkpoint names them")
    if flags["resume"] is not None and (flags["exclude"] or flags["exclude_from"] or flags["git"]):
        raise UsageError("--resume goes on with what was listed", hint="leave --exclude, --exclude-from and --git out")
    if not named and flags["resume"] is None:
        raise UsageError(
            "missing argument 'FILE...'", hint="name what to send, or go on with an earlier transfer: --resume ID"
        )
    if flags["qr"] and (as_json or quiet):
        raise UsageError("--qr is for a person to look at", hint="leave it out, or -q and --json")
    if flags["serve"] is not None and ctx.get_parameter_source("server") is click.core.ParameterSource.COMMANDLINE:
        raise UsageError("-server and --serve exclude each other", hint="leave one out")
    # From here on the command runs, and what it needs is loaded.
    preload()
    from p2pal.cli.commands.send_run import run_send

    run_send(files, flags, as_json=as_json, quiet=quiet, debug=ctx.ensure_object(Globals).debug)

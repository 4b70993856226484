"""``p2pal checkpoint``: its sub-commands and their flags."""

from __future__ import annotations

from typing import Final

import click

from p2pal.cli.commands.checkpoint_ids import CheckpointId
from p2pal.cli.groups import Group
from p2pal.cli.options import CONTEXT, Command, Globals, debug_option, flag, yes_option
from p2pal.errors import UsageError

COMMANDS: Final = {
    "list": "Show the checkpoints: what, how far, how old, where.",
    "delete": "Remove one checkpoint and its unfinished files.",
    "clean": "Remove those that have expired and their unfinished files.",
    "clean-all": "Remove all of them and their unfinished files.",
}


class _Checkpoint(Group):
    summaries = COMMANDS


@click.group(
    cls=_Checkpoint,
    context_settings=CONTEXT,
    no_args_is_help=False,
    invoke_without_command=True,
    options_metavar="",
    subcommand_metavar="COMMAND [ARGS]...",
)
@debug_option
@click.pass_context
def checkpoint(ctx: click.Context) -> None:
    """List and remove checkpoints: what unfinished transfers left, so that they can go on.

    \b
    p2pal checkpoint list                what there is
    p2pal send --resume k7x2m9qa         on the sender; prints a new join code
    p2pal recv zebra-luna-47             on the receiver, with the new code

    A checkpoint removes itself when its transfer is complete. They are kept in ~/.p2pal/checkpoints, or in
    $P2PAL_HOME/checkpoints. The start of an id is enough where it is the only one that starts so.
    """  # noqa: D301
    if ctx.invoked_subcommand is None and not ctx.resilient_parsing:
        raise UsageError("a command is missing", hint="try 'p2pal checkpoint list' or 'p2pal checkpoint --help'")
    if not ctx.ensure_object(Globals).debug:
        from p2pal.cli import logs

        logs.off()


@checkpoint.command("list", cls=Command, context_settings=CONTEXT, options_metavar="[FLAGS]")
@flag("--json", dest="as_json", help="One JSON object per line for every checkpoint.")
@debug_option
def list_checkpoints(*, as_json: bool) -> None:
    """Show the checkpoints: id, direction, files, bytes, age, expiry and where the files are."""
    from p2pal.cli.commands.checkpoint_run import run_list

    run_list(as_json=as_json)


@checkpoint.command("delete", cls=Command, context_settings=CONTEXT, options_metavar="[FLAGS]")
@click.argument("checkpoint_id", metavar="ID", type=CheckpointId())
@debug_option
def delete(checkpoint_id: str) -> None:
    """Remove the checkpoint ID and its unfinished files; complete files stay.

    A transfer within one machine has a checkpoint on either side; both are removed.
    """
    from p2pal.cli.commands.checkpoint_run import run_delete

    run_delete(checkpoint_id)


@checkpoint.command("clean", cls=Command, context_settings=CONTEXT, options_metavar="[FLAGS]")
@debug_option
def clean() -> None:
    """Remove the checkpoints that have expired and their unfinished files; complete files stay."""
    from p2pal.cli.commands.checkpoint_run import run_clean

    run_clean()


@checkpoint.command("clean-all", cls=Command, context_settings=CONTEXT, options_metavar="[FLAGS]")
@yes_option
@debug_option
def clean_all(*, yes: bool) -> None:
    """Remove all checkpoints and their unfinished files; complete files stay. Those in use are left.

    It asks first, unless -y. Without a terminal -y is needed.
    """
    from p2pal.cli.commands.checkpoint_run import run_clean_all

    run_clean_all(yes=yes)

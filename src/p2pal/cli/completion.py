"""``p2pal completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from p2pal.cli.options import CONTEXT, Command, debug_option

VARIABLE = "_P2PAL_COMPLETE"


@click.command(cls=Command, context_settings=CONTEXT, options_metavar="")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@debug_option
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    """Print the completion script for SHELL: flags, files, and the words of a join code.

    \b
    bash: p2pal completion bash > ~/.local/share/bash-completion/completions/p2pal
    zsh:  p2pal completion zsh > ~/.zfunc/_p2pal     (with ~/.zfunc in $fpath)
    fish: p2pal completion fish > ~/.config/fish/completions/p2pal.fish
    """  # noqa: D301
    script = get_completion_class(shell)
    assert script is not None  # noqa: S101 - the choice above has only what click knows
    click.echo(script(ctx.find_root().command, {}, "p2pal", VARIABLE).source())

"""``p2pal completion``."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from p2pal.cli.options import CONTEXT, Command, debug_option
from p2pal.cli.streams import write_results

VARIABLE: Final = "_P2PAL_COMPLETE"

# A completed word of a code ends with a dash and goes on: click's scripts would put a space there. (fish does not.)
_NO_SPACE: Final = {
    "bash": (
        "COMPREPLY+=($value)\n",
        "COMPREPLY+=($value)\n            [[ $value == *- ]] && compopt -o nospace\n",
    ),
    "zsh": (
        "compadd -U -V unsorted -a completions\n",
        """local -a space; [[ $completions[1] == *- ]] && space=(-S '')
        compadd -U "${space[@]}" -V unsorted -a completions\n""",
    ),
}


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
    source = script(ctx.find_root().command, {}, "p2pal", VARIABLE).source()
    if shell in _NO_SPACE:
        source = source.replace(*_NO_SPACE[shell])
    write_results([source])

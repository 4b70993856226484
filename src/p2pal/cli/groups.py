"""A command that consists of commands: one dash or two, and the nearest name for a mistyped one."""

from __future__ import annotations

from collections.abc import Mapping

import click

from p2pal.cli.options import Helpful, canonical, closest, quoted, write_exit_codes
from p2pal.errors import UsageError


class Group(Helpful, click.Group):
    """The base of ``p2pal`` itself and of its commands that have sub-commands.

    Attributes:
        summaries: Each sub-command's one line, in the order of use.
    """

    summaries: Mapping[str, str]

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of use."""
        return list(self.summaries)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        if args[0] not in self.summaries and not ctx.resilient_parsing:
            near = closest(args[0], self.summaries)
            hint = f"did you mean '{near}'?" if near else f"see '{ctx.command_path} --help'"
            raise UsageError(f"there is no command {quoted(args[0])}", hint=hint)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Accept options with one dash or two."""
        lenient = ctx.resilient_parsing
        return super().parse_args(ctx, canonical(self.get_params(ctx), args, leading_only=True, lenient=lenient))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the exit codes."""
        write_exit_codes(formatter)

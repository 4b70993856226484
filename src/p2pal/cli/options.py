"""Options: one dash or two alike, ``-flag value`` or ``-flag=value``; the flags that several commands share.

Click parses; before it does, :func:`canonical` rewrites what the user typed into the one form ``--flag=value``. It also
finds the nearest option to an unknown one, and keeps ``--serve report.pdf`` from taking the file for an address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from p2pal import units
from p2pal.cli.exit import EXIT_CODES
from p2pal.cli.streams import write_results
from p2pal.cli.text import safe
from p2pal.errors import UsageError

CONTEXT: Final[dict[str, Any]] = {"help_option_names": ["-help", "--help", "-h"], "max_content_width": 100}
MAX_RETRIES: Final = 1000
AUTO: Final = "auto"

F = TypeVar("F", bound=Callable[..., Any])


class Globals:
    """What holds for the whole run of the process; click hands it to every command."""

    def __init__(self) -> None:
        self.debug = False


class Option(click.Option):
    """An option as the help shows it: ``-server URL`` once, not in each accepted spelling.

    Args:
        optional: What a value must look like to be taken from the next argument; the option may then stand alone.
    """

    def __init__(self, *args: Any, optional: re.Pattern[str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.optional = optional

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:  # noqa: ARG002
        """Return the spelling of the documentation, and the help text."""
        if self.hidden:
            return None
        shown = self.opts[0]
        if not self.is_flag:
            metavar = self.metavar or "TEXT"
            shown += f" [{metavar}]" if self.optional else f" {metavar}"
        return shown, self.help or ""


def show_help(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """Write the help of the command, and end.

    Raises:
        OutputError: If it cannot be written.
    """
    if value and not ctx.resilient_parsing:
        write_results([ctx.get_help()])
        ctx.exit()


class Helpful(click.Command):
    """A command whose help is written by us: that it cannot be is an error that says so."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return the option for the help."""
        found = super().get_help_option(ctx)
        if found is not None:
            found.callback = show_help
        return found


class Command(Helpful):
    """A command whose options take one dash or two, and whose help ends with what a script needs to know."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite the arguments, then let click parse them."""
        return super().parse_args(ctx, canonical(self.get_params(ctx), args, lenient=ctx.resilient_parsing))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the exit codes."""
        write_exit_codes(formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        """Complete options in the spelling that was begun: ``-s`` with one dash, ``--s`` with two."""
        if not incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        items = []
        for param in self.get_params(ctx):
            source = ctx.get_parameter_source(param.name) if param.name else None
            used = source is click.core.ParameterSource.COMMANDLINE and not param.multiple
            if isinstance(param, click.Option) and not param.hidden and not used:
                spelling = incomplete if incomplete.startswith("--") else None
                name = _two_dashes(param) if spelling else param.opts[0]
                if name.startswith(incomplete):
                    items.append(CompletionItem(name, help=param.help))
        return items


def write_exit_codes(formatter: click.HelpFormatter) -> None:
    """Write the section of the help that scripts need."""
    with formatter.section("Exit codes"):
        formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES])


def _two_dashes(option: click.Option) -> str:
    return next((name for name in option.opts if name.startswith("--")), option.opts[0])


def quoted(text: str) -> str:
    """Return what the user typed, safe and in quotes."""
    return f"'{safe(text, 80, isolate=False)}'"


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that the user most likely meant, if one is near."""
    return next(iter(get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)), None)


class _Names:
    """The options of one command, by name without dashes."""

    def __init__(self, params: Sequence[click.Parameter]) -> None:
        self.by_name: dict[str, click.Option] = {}
        for param in params:
            if isinstance(param, click.Option):
                for spelling in param.opts:
                    self.by_name[spelling.lstrip("-")] = param
        self.short = {
            name for name, option in self.by_name.items() if len(name) == 1 and (option.is_flag or option.count)
        }

    def find(self, argument: str) -> click.Option | None:
        """Return the option that this argument names, with or without ``=value``."""
        if not argument.startswith("-") or argument.startswith("---"):
            return None
        return self.by_name.get(argument.partition("=")[0].removeprefix("-").removeprefix("-"))

    def bundle(self, argument: str) -> bool:
        """Whether this is several one-letter flags together, such as ``-ry``."""
        letters = argument[1:]
        return not argument.startswith("--") and bool(letters) and set(letters) <= self.short

    def unknown(self, argument: str) -> UsageError:
        typed = argument.partition("=")[0]
        near = closest(typed.lstrip("-"), self.by_name)
        other = "see --help; a name that starts with a dash goes after '--'"
        hint = f"did you mean {self.by_name[near].opts[0]}?" if near else other
        return UsageError(f"there is no option {quoted(typed)}", hint=hint)


def canonical(
    params: Sequence[click.Parameter], args: list[str], *, leading_only: bool = False, lenient: bool = False
) -> list[str]:
    """Return the arguments with every option as ``--flag`` or ``--flag=value``.

    Args:
        params: The command's parameters.
        args: What the user typed.
        leading_only: Stop at the first argument that is no option (a group: the rest is the sub-command's).
        lenient: Pass on what is wrong instead of raising, for completion.

    Raises:
        UsageError: If an option is unknown, lacks its value or has one too many; or if anything is empty: nobody means
            that, and as a path it would name the current directory.
    """
    names = _Names(params)
    result: list[str] = []
    rest = list(args)
    while rest:
        argument = rest.pop(0)
        if argument == "--" or (leading_only and not argument.startswith("-")):
            if "" in rest and not leading_only and not lenient:
                raise _empty()
            return [*result, argument, *rest]
        option = names.find(argument)
        if option is not None:
            result.append(_spelled(option, argument, rest, names, lenient=lenient))
        elif not argument and not lenient:
            raise _empty()
        elif not argument.startswith("-") or argument == "-":
            result.append(argument)
        elif names.bundle(argument):
            result += [_two_dashes(names.by_name[letter]) for letter in argument[1:]]
        elif not lenient:
            raise names.unknown(argument)
    return result


def _empty() -> UsageError:
    return UsageError("an argument is empty", hint="leave it out, or see why: a variable in it may not be set")


def _spelled(option: click.Option, argument: str, rest: list[str], names: _Names, *, lenient: bool) -> str:
    """Return one option with its value, which is taken from ``rest`` where it stands apart."""
    typed, equals, value = argument.partition("=")
    name = _two_dashes(option)
    if option.is_flag or option.count:
        if equals and not lenient:
            raise UsageError(f"{typed} takes no value", hint=f"write just {option.opts[0]}")
        return name
    if equals and (value or lenient):
        return f"{name}={value}"
    if (optional := getattr(option, "optional", None)) is not None and not equals:
        return f"{name}={rest.pop(0) if rest and optional.fullmatch(rest[0]) else ''}"
    empty = equals or (rest and not rest[0])
    if empty or not rest or rest[0] == "--" or names.find(rest[0]) is not None:
        if lenient:
            return name
        if empty:
            hint = f"leave {option.opts[0]} out, or see why it is empty: a variable may not be set"
            raise UsageError(f"{typed} needs a value", hint=hint)
        hint = f"write {option.opts[0]}={option.metavar or 'VALUE'}"
        raise UsageError(f"{typed} needs a value", hint=hint)
    return f"{name}={rest.pop(0)}"


class Duration(click.ParamType[float]):
    """Seconds, written as ``90s``, ``10m``, ``1h30m`` or ``7d``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, _ctx: click.Context | None) -> float:
        """Parse it."""
        if isinstance(value, float):
            return value
        try:
            return units.parse_duration(value)
        except ValueError:
            shown = param.opts[0] if param else "the duration"
            message = f"{shown} takes a duration, not {quoted(value)}"
            raise UsageError(message, hint="write it as 90s, 10m, 1h30m or 7d") from None


class Number(click.ParamType[int]):
    """A whole number in a range that the error names."""

    name = "number"

    def __init__(self, low: int, high: int, unit: str = "") -> None:
        self.low, self.high, self.unit = low, high, unit

    def convert(self, value: Any, param: click.Parameter | None, _ctx: click.Context | None) -> int:
        """Parse it."""
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,9}", value):
            value = int(value)
        if not isinstance(value, int) or not self.low <= value <= self.high:
            shown = param.opts[0] if param else "the number"
            unit = f" {self.unit}" if self.unit else ""
            given = quoted(str(value))
            message = f"{shown} takes a whole number{unit} from {self.low} to {self.high}, not {given}"
            raise UsageError(message, hint=f"write {shown} NUMBER")
        return value


class Retries(click.ParamType["int | None"]):
    """A number of attempts; None for ``inf``: no end."""

    name = "retries"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Parse it."""
        if isinstance(value, str) and value.strip().lower() == "inf":
            return None
        try:
            return Number(0, MAX_RETRIES).convert(value, param, ctx)
        except UsageError as error:
            shown = param.opts[0] if param else "the number"
            raise UsageError(error.message, hint=f"write {shown} NUMBER, or {shown} inf to try without end") from None


class LaneChoice(click.ParamType[str]):
    """A kind of lane, or ``auto`` for all there are."""

    name = "lane"

    def convert(self, value: Any, param: click.Parameter | None, _ctx: click.Context | None) -> str:
        """Look it up."""
        from p2pal.app.options import LANES

        if value == AUTO or value in LANES:
            return str(value)
        shown = param.opts[0] if param else "the lane"
        kinds = ", ".join((AUTO, *LANES[:-1]))
        message = f"{shown} takes {kinds} or {LANES[-1]}, not {quoted(str(value))}"
        raise UsageError(message, hint=f"write {shown} {AUTO}")

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[Any]]:
        """Complete it."""
        from p2pal.app.options import LANES

        return [CompletionItem(kind) for kind in (AUTO, *LANES) if kind.startswith(incomplete)]


def option(*spellings: str, dest: str, cls: type[click.Option] = Option, **kwargs: Any) -> Callable[[F], F]:
    """Declare an option. The first spelling is the one the help shows; both dashes are accepted for each."""
    names = [spelling.lstrip("-") for spelling in spellings]
    both = [form for name in names for form in (f"-{name}", f"--{name}")]
    ordered = [spellings[0], *(form for form in both if form != spellings[0])]
    return click.option(*ordered, dest, cls=cls, **kwargs)


def flag(*spellings: str, dest: str, **kwargs: Any) -> Callable[[F], F]:
    """Declare an option without a value."""
    return option(*spellings, dest=dest, is_flag=True, **kwargs)


def together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several declarations as one, listed in the help in this order."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _set_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    import logging

    from p2pal.cli import logs

    ctx.ensure_object(Globals).debug = True
    logs.start(logging.DEBUG)


debug_option: Final = flag(
    "--debug",
    dest="debug",
    is_eager=True,
    expose_value=False,
    callback=_set_debug,
    help="Log to stderr, and show tracebacks.",
)
server_option: Final = option(
    "-server",
    dest="server",
    metavar="URL",
    envvar="P2PAL_SERVER",
    help="Signaling server, http or https [$P2PAL_SERVER, else http://localhost:8080].",
)
yes_option: Final = flag("-y", dest="yes", help="Do not ask.")
checkpoint_ttl_option: Final = option(
    "-checkpoint-ttl",
    dest="checkpoint_ttl",
    metavar="DURATION",
    type=Duration(),
    default="168h",
    help="How long the checkpoint of an unfinished transfer is kept [168h].",
)
json_option: Final = flag("--json", dest="as_json", help="One JSON object per line for every event.")
turn_options: Final = together(
    option("-turn", dest="turn", metavar="URL", multiple=True, help="TURN server; may be given again."),
    option("-turn-user", dest="turn_user", metavar="NAME", envvar="TURN_USER", help="TURN user name [$TURN_USER]."),
    option("-turn-pass", dest="turn_pass", metavar="SECRET", envvar="TURN_PASS", help="TURN password [$TURN_PASS]."),
)
connection_options: Final = together(
    option(
        "-max-retries",
        dest="max_retries",
        metavar="N|inf",
        type=Retries(),
        default=3,
        help="Connection retry attempts; 'inf' for no end [3].",
    ),
    option(
        "-retry-backoff",
        dest="retry_backoff",
        metavar="DURATION",
        type=Duration(),
        default="1s",
        help="Wait before the first retry; doubles each time [1s].",
    ),
    option(
        "--wait",
        dest="wait",
        metavar="DURATION",
        type=Duration(),
        default="10m",
        help="How long to wait for the network, the other side or disk space before pausing [10m].",
    ),
    option(
        "-stun",
        dest="stun",
        metavar="URL",
        default="stun:stun.l.google.com:19302",
        help="STUN server; 'none' switches it off [stun:stun.l.google.com:19302].",
    ),
    turn_options,
    flag(
        "--relay-only",
        dest="relay_only",
        help="Use nothing but TURN: the other side does not learn this machine's addresses.",
    ),
    flag("--no-relay", dest="no_relay", help="Use no TURN server, neither this side's nor the other's."),
    option(
        "-lane",
        dest="lane",
        metavar="KIND",
        multiple=True,
        type=LaneChoice(),
        help="Kind of lane to use: auto, udp or webrtc; may be given again [auto].",
    ),
)

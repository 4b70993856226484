"""``p2pal server``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import click

from p2pal.cli.commands.server_config import Flags, server_config
from p2pal.cli.commands.server_values import Bounded, Bytes, Count, OneOf, RateValue
from p2pal.cli.options import CONTEXT, Command, F, Globals, Number, debug_option, flag, option, together
from p2pal.wire import rendezvous as wire

_DAY: Final = 86_400.0

LEAST_MESSAGE: Final = 20 * 1024
"""Bytes: the largest session description that peers may say, sealed, still fits."""

LEAST_LOG: Final = wire.MAX_BODY
"""Bytes."""

LEAST_MESSAGES: Final = 64
"""Messages: a key exchange and some generations with their candidates."""

SECTIONS: Final = {
    "What to set first": ("host", "port", "redis_url", "trusted_proxy"),
    "STUN and TURN for clients": ("turn", "turn_secret", "turn_ttl", "stun"),
    "TLS and web pages": ("origin", "tls_cert", "tls_key"),
    "Limits for one address (IPv6: for its /64)": (
        "create_rate", "join_rate", "request_rate", "message_rate", "frame_rate", "max_open", "max_sockets",
    ),
    "Limits for all": ("max_transfers", "max_message", "max_messages", "max_log", "max_ttl"),
    "Times": ("hello_timeout", "heartbeat", "drain", "drain_delay"),
}  # fmt: skip
"""The sections of the help, with the names of their options."""

LAST_SECTION: Final = "Logs and help"
"""The section of all others."""


EXAMPLES: Final = (
    ("p2pal server", "on port 8080, for everyone who reaches it"),
    ("p2pal server --host 127.0.0.1 --trusted-proxy loopback", "behind a proxy on this machine that speaks TLS"),
    ("p2pal server --tls-cert cert.pem --tls-key key.pem", "with TLS of its own"),
)
"""Command lines with what they are for."""

EXIT_CODES: Final = (
    (0, "stopped by SIGTERM or Ctrl-C"),
    (1, "an internal error"),
    (2, "usage: the command line or a setting is wrong"),
    (3, "the port cannot be had"),
    (130, "a second SIGTERM or Ctrl-C, 0.4 seconds later or more, ended it at once"),
)
"""The exit codes that this command has, as its help lists them."""


class ServerCommand(Command):
    """A command with more options than anyone needs at once: what most people set comes first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options in sections."""
        section_of = {name: title for title, names in SECTIONS.items() for name in names}
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in (*SECTIONS, LAST_SECTION)}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                sections[section_of.get(param.name or "", LAST_SECTION)].append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List examples, and the exit codes that a server has."""
        with formatter.section("Examples"):
            formatter.write_dl(EXAMPLES, col_max=20)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES])


_METAVARS: Final[dict[type[click.ParamType[Any]], str]] = {
    Bounded: "DURATION", Bytes: "SIZE", Count: "N", Number: "N", RateValue: "COUNT/DURATION",
}  # fmt: skip


def setting(name: str, kind: click.ParamType[Any], default: str | int, what: str) -> Callable[[F], F]:
    """Declare an option whose help is one sentence, without its full stop, and its default."""
    dest = name.lstrip("-").replace("-", "_")
    return option(
        name, dest=dest, metavar=_METAVARS[type(kind)], type=kind, default=default, help=f"{what} [{default}]."
    )


_first_options: Final = together(
    option(
        "--host",
        dest="host",
        metavar="ADDRESS",
        default="0.0.0.0",  # noqa: S104
        help="Address to listen on; '*' for every one, IPv4 and IPv6 [0.0.0.0].",
    ),
    option("--port", dest="port", metavar="PORT", type=Number(0, 65535), default=8080, help="Port; 0 for any [8080]."),
    option(
        "--redis-url",
        dest="redis_url",
        metavar="URL",
        envvar="REDIS_URL",
        default="",
        help="Redis that keeps the transfers, for several servers as one: redis://, rediss:// (TLS), unix://, or "
        "redis+cluster:// [$REDIS_URL, else this process's memory].",
    ),
    option(
        "--trusted-proxy",
        dest="trusted_proxy",
        metavar="NETWORK",
        multiple=True,
        help="Proxy in front whose X-Forwarded-For is believed: an address, a network such as 10.0.0.0/8, or "
        "'loopback'; may be given again.",
    ),
    option(
        "--turn",
        dest="turn",
        metavar="URL",
        multiple=True,
        help="TURN server for clients that name none; may be given again.",
    ),
    option(
        "--turn-secret",
        dest="turn_secret",
        metavar="SECRET",
        envvar="TURN_SECRET",
        default="",
        help="Its shared secret (coturn: static-auth-secret). Set the variable: other users of this machine can see "
        "the command line [$TURN_SECRET].",
    ),
)
_client_options: Final = together(
    setting("--turn-ttl", Bounded(60.0, 7 * _DAY), "1h", "How long a TURN credential can be used"),
    option(
        "--stun",
        dest="stun",
        metavar="URL",
        multiple=True,
        help="STUN server for clients that name none; may be given again; 'none' for none [none].",
    ),
    option(
        "--origin",
        dest="origin",
        metavar="ORIGIN",
        multiple=True,
        help="Web pages that may use this server, such as https://example.org, or '*' for all; may be given again. "
        "p2pal itself needs none.",
    ),
    option(
        "--tls-cert",
        dest="tls_cert",
        metavar="FILE",
        default="",
        help="Certificate chain (PEM), to speak TLS without a proxy in front.",
    ),
    option("--tls-key", dest="tls_key", metavar="FILE", default="", help="Its private key (PEM, no password)."),
)
_address_options: Final = together(
    setting("--create-rate", RateValue(), "60/1m", "Transfers that may be opened; 'none' for any number"),
    setting("--join-rate", RateValue(), "60/1m", "Codes that may be tried; 'none' for any number"),
    setting(
        "--request-rate",
        RateValue(),
        "300/15s",
        "HTTP requests and connections, refused ones included; 'none' for any number",
    ),
    setting(
        "--message-rate",
        RateValue(),
        "1200/1m",
        "Messages that one WebSocket may send; more are read later; 'none' for any number",
    ),
    setting(
        "--frame-rate",
        RateValue(),
        "1600/10s",
        "Frames that all its WebSockets may send together; more are read later; 'none' for any number",
    ),
    setting("--max-open", Count(), "128", "Transfers at once; 0 for any number"),
    setting(
        "--max-sockets",
        Count(),
        "256",
        "WebSockets at once, at this instance, and 64 connections beside them; 0 for any number",
    ),
)
_limit_options: Final = together(
    setting("--max-transfers", Number(1, 10_000_000), 100_000, "Transfers at once in memory; Redis has its maxmemory"),
    setting(
        "--max-message",
        Bytes(LEAST_MESSAGE, wire.MAX_BODY),
        "64KiB",
        "Size of one message between the peers, 20KiB to 64KiB",
    ),
    setting(
        "--max-messages",
        Number(LEAST_MESSAGES, wire.MAX_MESSAGES),
        512,
        "Messages kept for one side of a transfer, 64 to 512",
    ),
    setting("--max-log", Bytes(LEAST_LOG, wire.MAX_LOG), "512KiB", "Size of all of them together, 64KiB to 1MiB"),
    setting("--max-ttl", Bounded(1.0, 365 * _DAY), "7d", "How long a code may wait at most"),
)
_time_options: Final = together(
    setting("--hello-timeout", Bounded(0.1, 300.0), "10s", "A new WebSocket must show its token within this time"),
    setting(
        "--heartbeat", Bounded(1.0, 600.0), "15s", "An idle WebSocket is pinged so often, and closed without an answer"
    ),
    setting("--drain", Bounded(0.0, 600.0), "2s", "A stop waits this long for connections to close"),
    setting(
        "--drain-delay",
        Bounded(0.0, 600.0),
        "0s",
        "Before that, /readyz asks balancers for this long to send nobody here",
    ),
)
_log_options: Final = together(
    option(
        "--log-format",
        dest="log_format",
        metavar="FORMAT",
        type=OneOf(["text", "json"]),
        default="text",
        help="'text' or 'json', to stderr [text].",
    ),
    flag("-q", dest="quiet", help="Quiet: log warnings and errors only."),
    debug_option,
)


@click.command(cls=ServerCommand, context_settings=CONTEXT, options_metavar="[FLAGS]")
@_first_options
@_client_options
@_address_options
@_limit_options
@_time_options
@_log_options
@click.pass_context
def server(ctx: click.Context, /, *, quiet: bool, **flags: Any) -> None:
    """Run the signaling server: it brings two peers together and sees neither files nor names nor codes.

    It stops gracefully on SIGTERM and Ctrl-C, with exit code 0; a second one ends it at once, with 130. GET /healthz
    tells whether it runs.
    """
    set_in = ctx.get_parameter_source
    environment = {name for name in flags if set_in(name) is click.core.ParameterSource.ENVIRONMENT}
    config = server_config(cast("Flags", flags), environment)
    from p2pal.cli.commands.server_run import run_server

    unused = "turn_secret" in environment and not config.turn
    run_server(config, quiet=quiet, debug=ctx.ensure_object(Globals).debug, unused_secret=unused)

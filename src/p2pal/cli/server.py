"""``p2pal server``."""

from __future__ import annotations

from typing import Literal

import click

from p2pal.cli.options import CONTEXT, Command, Globals, Number, debug_option, flag, option


@click.command(cls=Command, context_settings=CONTEXT, options_metavar="[FLAGS]")
@option(
    "--host",
    dest="host",
    metavar="ADDRESS",
    default="0.0.0.0",  # noqa: S104
    help="Address to listen on; '' for every one, IPv4 and IPv6 [0.0.0.0].",
)
@option("--port", dest="port", metavar="PORT", type=Number(0, 65535), default=8080, help="Port; 0 for any free [8080].")
@option(
    "--log-format",
    dest="log_format",
    metavar="FORMAT",
    type=click.Choice(["text", "json"]),
    default="text",
    help="'text' or 'json', to stderr [text].",
)
@flag("-q", dest="quiet", help="Quiet: log warnings and errors only.")
@debug_option
@click.pass_context
def server(ctx: click.Context, /, *, host: str, port: int, log_format: Literal["text", "json"], quiet: bool) -> None:
    """Run the signaling server: it brings two peers together and sees neither files nor names nor codes.

    It stops gracefully on SIGTERM and Ctrl-C, with exit code 0. GET /healthz tells whether it runs.
    """
    from p2pal.cli.serving import run_server

    run_server(host, port, log_format=log_format, quiet=quiet, debug=ctx.ensure_object(Globals).debug)

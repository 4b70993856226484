"""``p2pal doctor``."""

from __future__ import annotations

from typing import Any

import click

from p2pal.cli.options import CONTEXT, Command, Globals, debug_option, json_option, option, server_option, turn_options


@click.command(cls=Command, context_settings=CONTEXT, options_metavar="[FLAGS]")
@server_option
@option(
    "-stun",
    dest="stun",
    metavar="URL",
    multiple=True,
    help="STUN server; may be given again; 'none' asks none [that of send and recv, and a second public one, which "
    "shows the kind of NAT].",
)
@turn_options
@json_option
@debug_option
@click.pass_context
def doctor(ctx: click.Context, /, *, as_json: bool, **flags: Any) -> int:
    """Check what transfers need, and say what to do about each problem.

    It tries the server and its WebSocket, every STUN and TURN server that send and recv would use, IPv6, UDP, the
    sockets of datagram lanes and the clock, and finds out what kind of NAT there is. It takes 15 seconds at most, and
    leaves nothing behind.

    The exit code is 0 if transfers should work, warnings or not; 3 if the server cannot be used (4 if it speaks another
    version of the protocol); 5 if peers cannot be connected, or not most of them.

    What it shows contains addresses of this machine.
    """
    # From here on the command runs, and what it needs is loaded.
    from p2pal.cli.commands.doctor_run import run_doctor

    return run_doctor(flags, as_json=as_json, debug=ctx.ensure_object(Globals).debug)

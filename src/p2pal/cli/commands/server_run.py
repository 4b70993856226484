"""What ``p2pal server`` does once its command line is understood."""

from __future__ import annotations

import logging

from p2pal.cli import signals
from p2pal.cli.commands.serve import ListenAddress, cannot_listen
from p2pal.errors import UsageError
from p2pal.server import logs
from p2pal.server.config import ServerConfig
from p2pal.server.http.app import Server


def run_server(config: ServerConfig, *, quiet: bool, debug: bool, unused_secret: bool = False) -> None:
    """Serve until the user stops it.

    Args:
        config: How it runs.
        quiet: Log warnings and errors only.
        debug: Log everything.
        unused_secret: The environment has a secret for a TURN server, and no TURN server is named.

    Raises:
        UsageError: If the host is no address of this machine, or a setting cannot be used.
        ServerError: If the port cannot be had.
    """
    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    logs.configure(config.log_format, level=level)
    if unused_secret:
        logs.log_warning("turn-secret-unused", hint="TURN_SECRET is set: name the TURN server with --turn, or unset it")
    signals.run(lambda stop: _serve(config, stop), fast_sockets=True)


async def _serve(config: ServerConfig, stop: signals.Stop) -> None:
    server = Server(config)
    try:
        await server.start()
    except UsageError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise cannot_listen(ListenAddress(config.host, config.port), error, "--host and --port") from error
    try:
        await stop.wait()
    finally:
        await server.stop()

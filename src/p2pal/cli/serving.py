"""What ``p2pal server`` does once its command line is understood."""

from __future__ import annotations

import logging

from p2pal.cli import signals
from p2pal.cli.serve import Address, cannot_listen
from p2pal.errors import UsageError
from p2pal.server import logs
from p2pal.server.app import Server
from p2pal.server.config import ServerConfig


def run_server(config: ServerConfig, *, quiet: bool, debug: bool) -> None:
    """Serve until the user stops it.

    Raises:
        UsageError: If the host is no address of this machine, or a setting cannot be used.
        ServerError: If the port cannot be had.
    """
    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    logs.configure(config.log_format, level=level)
    signals.run(lambda stop: _serve(config, stop), fast_sockets=True)


async def _serve(config: ServerConfig, stop: signals.Stop) -> None:
    server = Server(config)
    try:
        await server.start()
    except UsageError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise cannot_listen(Address(config.host, config.port), error, "--host and --port") from error
    try:
        await stop.wait()
    finally:
        await server.stop()

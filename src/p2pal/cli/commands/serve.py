"""``send --serve``: the rendezvous inside the sending command, and the addresses that the other machine may reach."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import msgspec

from p2pal.app.events import Code, Saved, recv_command
from p2pal.cli.options import quoted
from p2pal.errors import ServerError, UsageError

EVERYWHERE: Final = ""
"""Every address of this machine, of both families."""
LOOPBACK: Final = "127.0.0.1"
_ANY: Final = {EVERYWHERE, "0.0.0.0", "::"}  # noqa: S104 - compared


class ListenAddress(NamedTuple):
    """Where to listen; port 0 lets the system choose."""

    host: str
    port: int


class RunningServer(NamedTuple):
    """A running rendezvous.

    Attributes:
        local: Its URL for this process.
        public: Its URLs for the other machine, best first; one at least.
        alone: No other machine can reach it, though nobody asked for that: this one is connected to no network.
    """

    local: str
    public: tuple[str, ...]
    alone: bool = False


def parse_address(text: str, *, only_loopback: bool) -> ListenAddress:
    """Return where ``--serve`` listens: ``HOST:PORT``, ``[IPv6]:PORT``, ``:PORT``, or nothing (anywhere, any port).

    Raises:
        UsageError: If it is no address.
    """
    everywhere = LOOPBACK if only_loopback else EVERYWHERE
    host, colon, port = text.rpartition(":")
    if not text:
        return ListenAddress(everywhere, 0)
    if not (colon and port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
        hint = "write --serve, --serve=:9000 or --serve=192.0.2.5:9000"
        raise UsageError(f"--serve takes HOST:PORT, not {quoted(text)}", hint=hint)
    host = host.removeprefix("[").removesuffix("]")
    return ListenAddress(everywhere if host in ("", "*") else host, int(port))


def url(host: str, port: int) -> str:
    """Return the http URL; IPv6 addresses get their brackets, and their zone is escaped (RFC 6874)."""
    return f"http://[{host.replace('%', '%25')}]:{port}" if ":" in host else f"http://{host}:{port}"


def published(address: ListenAddress, port: int, families: Collection[int], own: Sequence[str]) -> RunningServer:
    """Return the URLs of a server. Pure.

    Args:
        address: Where it was asked to listen.
        port: What it got.
        families: The address families that it listens for.
        own: This machine's addresses, best first.
    """
    if address.host not in _ANY:
        there = url(address.host, port)
        return RunningServer(there, (there,))
    local = url(LOOPBACK if socket.AF_INET in families else "::1", port)
    heard = {4: socket.AF_INET, 6: socket.AF_INET6}
    found = [each for each in own if heard[ipaddress.ip_address(each).version] in families]
    return RunningServer(local, tuple(url(each, port) for each in found) or (local,), alone=not found)


@asynccontextmanager
async def serving(address: ListenAddress) -> AsyncIterator[RunningServer]:
    """Run the rendezvous for the length of the block.

    Raises:
        ServerError: If it cannot listen there.
    """
    from p2pal.server.config import ServerConfig
    from p2pal.server.http.app import Server

    server = Server(ServerConfig(host=address.host, port=address.port))
    try:
        await server.start()
    except UsageError as error:
        raise cannot_listen(address, error, "--serve=HOST:PORT") from error
    try:
        own: list[str] = []
        if address.host in _ANY:
            from p2pal.lanes.interfaces import adapters, own_addresses

            own = [each.address for each in await asyncio.to_thread(lambda: own_addresses(adapters()))]
        yield published(address, server.port, server.families, own)
    finally:
        await server.stop()


def cannot_listen(address: ListenAddress, error: UsageError, flags: str) -> ServerError | UsageError:
    """Return what to tell about a server that could not start: exit 2 for an address that is not ours, else 3."""
    cause = error.__cause__
    number = cause.errno if isinstance(cause, OSError) and not isinstance(cause, socket.gaierror) else None
    if number == errno.EADDRINUSE:
        return ServerError(f"port {address.port} is in use", hint=f"choose another with {flags}")
    if number in {errno.EACCES, errno.EPERM}:
        return ServerError(f"port {address.port} may not be used", hint=f"choose one above 1023 with {flags}")
    message = f"{quoted(address.host)} is no address of this machine"
    return UsageError(message, hint=f"choose another with {flags}")


def for_the_other_machine(event: Code, served: RunningServer) -> Code:
    """Return the event with the addresses that the other machine may reach: this one talks over loopback."""
    commands = tuple(recv_command(event.code, each) for each in served.public)
    return msgspec.structs.replace(
        event, server=served.public[0], command=commands[0], servers=served.public, commands=commands
    )


def for_later(event: Saved) -> Saved:
    """Return the event with the command that goes on: this server ends with us, and the next has another address."""
    return msgspec.structs.replace(event, command=f"{event.command.partition(' -server ')[0]} --serve")

"""``send --serve``: the rendezvous inside the sending command, and an address that the other machine can reach."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import msgspec

from p2pal.app.events import Code, Saved, recv_command
from p2pal.cli.options import quoted
from p2pal.errors import ServerError, UsageError

ALL_INTERFACES: Final = "0.0.0.0"  # noqa: S104
LOOPBACK: Final = "127.0.0.1"
# Addresses for documentation (RFC 5737, RFC 3849): connecting a UDP socket only asks the kernel which of our
# addresses it would use; nothing is sent.
_ANYWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


class Address(NamedTuple):
    """Where to listen; port 0 lets the system choose."""

    host: str
    port: int


class Served(NamedTuple):
    """A running rendezvous: its URL for this process, and for the other machine."""

    local: str
    public: str


def parse_address(text: str, *, only_loopback: bool) -> Address:
    """Return where ``--serve`` listens: ``HOST:PORT``, ``[IPv6]:PORT``, ``:PORT``, or nothing (anywhere, any port).

    Raises:
        UsageError: If it is no address.
    """
    everywhere = LOOPBACK if only_loopback else ALL_INTERFACES
    host, colon, port = text.rpartition(":")
    if not text:
        return Address(everywhere, 0)
    if not (colon and port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
        hint = "write --serve, --serve=:9000 or --serve=192.0.2.5:9000"
        raise UsageError(f"--serve takes HOST:PORT, not {quoted(text)}", hint=hint)
    return Address(host.removeprefix("[").removesuffix("]") or everywhere, int(port))


def lan_address() -> str:
    """Return the address of this machine that others most likely reach; the loopback address if there is none."""
    for family, anywhere in _ANYWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((anywhere, 9))
                found = str(probe.getsockname()[0])
        except OSError:
            continue
        if _reachable(found):
            return found
    try:
        own = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        own = []
    addresses = [str(entry[4][0]) for entry in own]
    return next((found for found in addresses if _reachable(found)), LOOPBACK)


def _reachable(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # for example an IPv6 address with a zone
        return False
    return not (parsed.is_loopback or parsed.is_unspecified or parsed.is_link_local)


def url(host: str, port: int) -> str:
    """Return the http URL; IPv6 addresses get their brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def published(address: Address, port: int) -> Served:
    """Return the URLs of a server that listens on ``address`` and got ``port``."""
    if address.host == ALL_INTERFACES:
        return Served(url(LOOPBACK, port), url(lan_address(), port))
    if address.host == "::":
        return Served(url("::1", port), url(lan_address(), port))
    own = url(address.host, port)
    return Served(own, own)


@asynccontextmanager
async def serving(address: Address) -> AsyncIterator[Served]:
    """Run the rendezvous for the length of the block.

    Raises:
        ServerError: If it cannot listen there.
    """
    from p2pal.server.app import Server
    from p2pal.server.config import ServerConfig

    server = Server(ServerConfig(host=address.host, port=address.port))
    try:
        await server.start()
    except UsageError as error:
        raise cannot_listen(address, error, "--serve=HOST:PORT") from error
    try:
        yield published(address, server.port)
    finally:
        await server.stop()


def cannot_listen(address: Address, error: UsageError, flags: str) -> ServerError | UsageError:
    """Return what to tell about a server that could not start: exit 2 for an address that is not ours, else 3."""
    cause = error.__cause__
    number = cause.errno if isinstance(cause, OSError) and not isinstance(cause, socket.gaierror) else None
    if number == errno.EADDRINUSE:
        return ServerError(f"port {address.port} is in use", hint=f"choose another with {flags}")
    if number in {errno.EACCES, errno.EPERM}:
        return ServerError(f"port {address.port} may not be used", hint=f"choose one above 1023 with {flags}")
    message = f"{quoted(address.host)} is no address of this machine"
    return UsageError(message, hint=f"choose another with {flags}")


def for_the_other_machine(event: Code, served: Served) -> Code:
    """Return the event with the address that the other machine can use: this one talks over loopback."""
    return msgspec.structs.replace(event, server=served.public, command=recv_command(event.code, served.public))


def for_later(event: Saved) -> Saved:
    """Return the event with the command that goes on: this server ends with us, and the next has another address."""
    return msgspec.structs.replace(event, command=f"{event.command.partition(' -server ')[0]} --serve")

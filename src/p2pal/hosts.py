"""Where a host is, the direct way there, and why it was not reached."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import socket
import ssl
from typing import Final

from p2pal.connect_failure import ConnectFailure

# X509_V_ERR_ numbers of OpenSSL; the last are of a host name and of an address.
_CERTIFICATES: Final = {
    9: ConnectFailure.NOT_YET_VALID,
    10: ConnectFailure.EXPIRED,
    62: ConnectFailure.OTHER_NAME,
    64: ConnectFailure.OTHER_NAME,
}
# Windows has numbers of its own, which only texts show: Python's exceptions have the common ones.
_REFUSED: Final = frozenset({errno.ECONNREFUSED, 1225, 10061})
_NO_ROUTE: Final = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, 1231, 1232, 10049, 10050, 10051, 10065}
)
_NO_ANSWER: Final = frozenset({errno.ETIMEDOUT, 121, 10060})
_NO_SOCKET: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, 10024, 10055})
_LOST: Final = frozenset({errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE})
_GROUP: Final = "Multiple exceptions: "
_NUMBER: Final = re.compile(r"\[(?:Errno|WinError) ([0-9]{1,5})\]")


HAPPY_EYEBALLS_DELAY: Final = 0.25
"""Seconds that one address of a host has before the next is tried beside it (RFC 8305, section 5)."""


class NotReached(OSError):
    """A host was not reached, and it is known why.

    Args:
        why: The cause, which is also the text.
    """

    def __init__(self, why: ConnectFailure) -> None:
        super().__init__(why.words)
        self.why = why


def is_loopback(host: str) -> bool:
    """Whether a name or an address stands for this machine, whatever a resolver says (RFC 6761, section 6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def connect_to(
    host: str, port: int, *, context: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a host over TCP, and TLS if there is a ``context``.

    Its addresses are tried beside each other, with IPv6 and IPv4 in turn (Happy Eyeballs, RFC 8305): one that swallows
    everything does not keep us from the next one. Loops that are not asyncio's own, such as uvloop's, cannot do that,
    and try one after the other.

    Raises:
        OSError: If it is not reached, or its certificate is not trusted.
        ValueError: If its name cannot be used.
    """
    if isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
        return await asyncio.open_connection(host, port, ssl=context, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY)
    return await asyncio.open_connection(host, port, ssl=context)


def connect_failure(error: OSError | ValueError) -> ConnectFailure:
    """Return why a host was not reached; it holds nothing of what the host, or a proxy, sent."""
    match error:
        case NotReached():
            return error.why
        case TimeoutError():
            return ConnectFailure.NO_ANSWER
        case ssl.SSLCertVerificationError():
            return _CERTIFICATES.get(getattr(error, "verify_code", 0), ConnectFailure.UNTRUSTED)
        case ssl.SSLError():
            return (
                ConnectFailure.NO_TLS
                if getattr(error, "reason", "") == "WRONG_VERSION_NUMBER"
                else ConnectFailure.NO_HANDSHAKE
            )
        case socket.gaierror():
            return ConnectFailure.NOT_RESOLVED
        case ConnectionRefusedError():
            return ConnectFailure.REFUSED
        case OSError():
            return _of_numbers(error)
        case _:
            return ConnectFailure.UNUSABLE_NAME  # it did not even get into a question to the resolver


def _of_numbers(error: OSError) -> ConnectFailure:
    text = str(error)
    if error.errno is None and text.startswith(_GROUP):
        # One for each address of the host, and only their text is left.
        causes = {_of_number(int(number)) for number in _NUMBER.findall(text)}
        if len(causes) > 1:
            causes.discard(ConnectFailure.NO_ROUTE)  # there was one to another of its addresses
        return causes.pop() if len(causes) == 1 else ConnectFailure.FAILED
    found = _of_number(error.errno or 0)
    return ConnectFailure.LOST if found is ConnectFailure.FAILED and isinstance(error, ConnectionError) else found


def _of_number(number: int) -> ConnectFailure:
    if number in _REFUSED:
        return ConnectFailure.REFUSED
    if number in _NO_ROUTE:
        return ConnectFailure.NO_ROUTE
    if number in _NO_ANSWER:
        return ConnectFailure.NO_ANSWER
    if number in _NO_SOCKET:
        return ConnectFailure.NO_SOCKET
    return ConnectFailure.LOST if number in _LOST else ConnectFailure.FAILED

"""Why a server cannot be reached, in words, and what can be done about it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import ssl
from typing import Final, NamedTuple

import aiohttp

from p2pal.connect_failure import ConnectFailure
from p2pal.hosts import connect_failure
from p2pal.proxies import Proxy, advice, why_proxy_answers, why_proxy_failed

_PROBE: Final = 2.0
_UNTRUSTED: Final = "give it a certificate of a public CA, or set SSL_CERT_FILE=/path/to/ca.pem"
_HINTS: Final = {
    ConnectFailure.EXPIRED: "renew it, or set this machine's clock",
    ConnectFailure.NOT_YET_VALID: "set the clock of this machine, or of the server",
    ConnectFailure.OTHER_NAME: "write the name it is for in the -server address",
    ConnectFailure.NO_TLS: "if it is meant to have no TLS, write http:// in the -server address",
}


class Trouble(NamedTuple):
    """Why a connection failed, in a few words; and what to do, where that is not the usual advice (None)."""

    cause: str
    hint: str | None = None


NO_ANSWER: Final = Trouble(ConnectFailure.NO_ANSWER.words)
LOST: Final = Trouble(ConnectFailure.LOST.words)
SPEAKS_TLS: Final = Trouble("it speaks TLS", "write https:// in the -server address")
"""Where plain HTTP met it."""


class ProxyFailed(aiohttp.ClientConnectionError):
    """A proxy did not connect us.

    Args:
        why: The cause, which is also the text.
    """

    def __init__(self, why: ConnectFailure) -> None:
        super().__init__(why.words)
        self.why = why


def trouble(error: BaseException, proxy: Proxy | None = None) -> Trouble:
    """Say why a connection failed, with nothing of what the server sent.

    Args:
        error: What was raised.
        proxy: The proxy on the way, if there is one: what is its fault is not the server's.
    """
    why = _why(error) if proxy is None else _why_through(error, proxy)
    if why is None:
        cause = "the connection failed or its answer is not HTTP"
        return Trouble(cause, None if proxy is None else advice(proxy, ConnectFailure.FAILED))
    if why is ConnectFailure.UNTRUSTED:
        return Trouble(why.words, _own_authorities() or _UNTRUSTED)
    if proxy is not None and why not in _HINTS:
        return Trouble(why.words, advice(proxy, why))
    return Trouble(why.words, _HINTS.get(why))


def proxy_answered(status: int, proxy: Proxy) -> Trouble:
    """Return what a status means that only a proxy answers."""
    why = why_proxy_answers(status)
    return Trouble(why.words, advice(proxy, why))


def _why_through(error: BaseException, proxy: Proxy) -> ConnectFailure | None:
    """Return the cause where there is a proxy: to it alone we connect, and it looks names up."""
    match error:
        case ProxyFailed():
            return error.why
        case aiohttp.ClientHttpProxyError():
            return why_proxy_answers(error.status)
        case aiohttp.ClientConnectorDNSError():
            return ConnectFailure.PROXY_NOT_RESOLVED
        case aiohttp.ClientProxyConnectionError():
            return why_proxy_failed(error.os_error)
        case aiohttp.ConnectionTimeoutError():
            return ConnectFailure.PROXY_SILENT
        case aiohttp.ClientSSLError() if proxy.kind == "https" and (error.host, error.port) == (proxy.host, proxy.port):
            return ConnectFailure.PROXY_HANDSHAKE
    return ConnectFailure.PROXY_LOST if (why := _why(error)) is ConnectFailure.LOST else why


def _why(error: BaseException) -> ConnectFailure | None:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return ConnectFailure.NOT_RESOLVED
        case aiohttp.ClientConnectorCertificateError():
            inner = error.certificate_error
            return connect_failure(inner) if isinstance(inner, OSError | ValueError) else ConnectFailure.UNTRUSTED
        case aiohttp.ClientConnectorError():
            return connect_failure(error.os_error)
        case aiohttp.ServerDisconnectedError():
            return ConnectFailure.LOST
        case OSError() | UnicodeError():
            # It need not have come from connecting.
            return None if (found := connect_failure(error)) is ConnectFailure.FAILED else found
        case _:
            return None


def _own_authorities() -> str:
    """Say what is wrong with the file of certificates that the environment names; nothing if none is, or it is fine."""
    path = os.environ.get("SSL_CERT_FILE", "")
    if not path:
        return ""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return f"SSL_CERT_FILE={path} has no certificate in it"
    except (OSError, ValueError):
        return f"SSL_CERT_FILE={path} cannot be read"
    return ""


def was_cut(error: BaseException | None) -> bool:
    """Whether the other end ended a connection that stood, without an answer."""
    return isinstance(error, aiohttp.ServerDisconnectedError) or (
        isinstance(error, OSError) and error.errno in (errno.ECONNRESET, errno.EPIPE)
    )


async def speaks_tls(host: str, port: int) -> bool:
    """Find out, within two seconds, whether TLS is spoken there. Nothing is sent over it, so it need not be trusted."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(_PROBE):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.transport.abort()
            return True
    return False

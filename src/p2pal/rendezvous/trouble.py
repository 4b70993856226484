"""Why a server cannot be reached, in words, and what can be done about it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import ssl
from typing import Final, NamedTuple

import aiohttp

_PROBE: Final = 2.0
_UNTRUSTED: Final = "give it a certificate of a public CA, or set SSL_CERT_FILE=/path/to/ca.pem"
# X509_V_ERR_ numbers of OpenSSL; the last are of a host name and of an address.
_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
_OTHER_NAME: Final = (62, 64)


class Trouble(NamedTuple):
    """Why a connection failed, in a few words; and what to do, where that is not the usual advice (None)."""

    cause: str
    hint: str | None = None


NO_ANSWER: Final = Trouble("no answer in time")
LOST: Final = Trouble("the connection was lost")
SPEAKS_TLS: Final = Trouble("it speaks TLS", "write https:// in the -server address")
"""Where plain HTTP met it."""


def trouble(error: BaseException) -> Trouble:
    """Say why a connection failed, with nothing of what the server sent."""
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return NO_ANSWER
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Trouble("its name does not resolve")
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return _of_tls(error)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return Trouble("the proxy does not answer")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Trouble("the proxy refused the connection")
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ECONNREFUSED or isinstance(error, ConnectionRefusedError):
        return Trouble("connection refused")
    if number in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return Trouble("no network route to it")
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return LOST
    if isinstance(error, aiohttp.ClientConnectorError):
        return Trouble("the connection failed")
    return Trouble("the connection failed or its answer is not HTTP")


def _of_tls(error: BaseException) -> Trouble:
    inner: BaseException | None = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        inner = error.os_error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return _of_certificate(getattr(inner, "verify_code", 0))
    if isinstance(inner, ssl.SSLError) and getattr(inner, "reason", "") == "WRONG_VERSION_NUMBER":
        return Trouble("it does not speak TLS", "if it is meant to have no TLS, write http:// in the -server address")
    return Trouble("the TLS handshake failed")


def _of_certificate(number: int) -> Trouble:
    if number == _EXPIRED:
        return Trouble("its TLS certificate has expired", "renew it, or set this machine's clock")
    if number == _NOT_YET_VALID:
        return Trouble("its TLS certificate is not valid yet", "set the clock of this machine, or of the server")
    if number in _OTHER_NAME:
        return Trouble("its TLS certificate is for another name", "write the name it is for in the -server address")
    return Trouble("its TLS certificate is not trusted", _own_authorities() or _UNTRUSTED)


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

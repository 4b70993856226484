"""What every answer over HTTP has, and what a refusal looks like: ``{"error": {"code", "message"}}``."""

from __future__ import annotations

import math
from typing import Final

import msgspec
from aiohttp import hdrs, web

from p2pal.server.state import Denied
from p2pal.wire import rendezvous as wire

HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Server": "p2pal",  # otherwise aiohttp names itself and Python, with versions
}


def refusal_answer(denied: Denied) -> web.Response:
    """Return the answer to a command that was refused."""
    headers: dict[str, str] = {}
    if denied.status in (429, 503):
        headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(denied.retry_after)))
    if denied.status == 401:
        headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if denied.status == 415:
        headers[hdrs.ACCEPT_ENCODING] = "identity"  # RFC 9110, section 15.5.16
    return error_answer(denied.status, denied.code, denied.message, headers, denied.allowed)


def json_answer(value: msgspec.Struct, status: int = 200) -> web.Response:
    """Return an answer that holds this."""
    return web.Response(
        body=wire.encoder.encode(value), status=status, content_type="application/json", headers=HEADERS
    )


def error_answer(
    status: int,
    code: str,
    message: str,
    headers: dict[str, str] | None = None,
    allowed: tuple[float, float] | None = None,
) -> web.Response:
    """Return the answer to what failed.

    Args:
        status: Its HTTP status.
        code: Its code in docs/protocol.md.
        message: What it means, for people.
        headers: Further headers.
        allowed: The least and the most, in seconds, that would have been allowed.
    """
    least, most = allowed or (None, None)
    response = json_answer(wire.ErrorBody(wire.ErrorDetail(code, message, least, most)), status)
    response.headers.update(headers or {})
    return response

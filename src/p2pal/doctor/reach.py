"""Why a TURN server cannot be reached, as far as that shows without speaking TURN to it."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

from p2pal.doctor.network_facts import probe_target
from p2pal.hosts import connect_to, why_unreached
from p2pal.lanes.interfaces import source_of
from p2pal.unreached import Unreached

TIMEOUT: Final = 2.5
"""Seconds for the connection and its TLS handshake."""


async def why_not_reached(url: str, timeout: float = TIMEOUT) -> Unreached | None:  # noqa: ASYNC109
    """Connect to a server directly, as the engine does; return why that does not work, None if it does.

    Over UDP nothing is sent: only its name is looked up, and whether there is a route to one of its addresses.

    Args:
        url: A TURN URL.
        timeout: Seconds.
    """
    place = probe_target(url)
    try:
        async with asyncio.timeout(timeout):
            if place.transport == "udp":
                found = await asyncio.get_running_loop().getaddrinfo(place.host, place.port)
                return None if any(source_of(str(entry[4][0])) for entry in found) else Unreached.NO_ROUTE
            context = await asyncio.to_thread(ssl.create_default_context) if place.transport == "tls" else None
            _, writer = await connect_to(place.host, place.port, context=context)
            writer.transport.abort()
    except TimeoutError:
        return Unreached.NOT_RESOLVED if place.transport == "udp" else Unreached.NO_ANSWER
    except (OSError, ValueError) as error:
        return why_unreached(error)
    return None

"""A signaling server whose TURN credentials end sooner than the command line allows.

Usage: ``brief_server.py PORT TURN-URL SECRET SECONDS``; what follows is the command that it runs instead of.
"""

from __future__ import annotations

import asyncio
import sys

from p2pal.server.config import ServerConfig
from p2pal.server.http.app import Server


async def serve(port: str, url: str, secret: str, seconds: str) -> None:
    config = ServerConfig("0.0.0.0", int(port), turn=(url,), turn_secret=secret, turn_ttl=float(seconds))
    server = Server(config)
    await server.start()
    print(f"port={server.port}", flush=True)
    await asyncio.Event().wait()


asyncio.run(serve(*sys.argv[1:5]))

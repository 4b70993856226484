"""p2pal: direct, ephemeral file transfer between two machines over WebRTC.

The public names load on first use, so that ``import p2pal`` (and ``p2pal --help``) stays instant::

    import p2pal

    connect = p2pal.ConnectOptions(server="https://example.org")
    async with p2pal.send(["report.pdf"], connect=connect) as transfer:
        async for event in transfer:
            print(event)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2pal._version import __version__

if TYPE_CHECKING:
    from p2pal.app import events as events
    from p2pal.app.events import Event as Event
    from p2pal.app.options import ConnectOptions as ConnectOptions
    from p2pal.app.options import Decision as Decision
    from p2pal.app.options import ReceiveOptions as ReceiveOptions
    from p2pal.app.options import SendOptions as SendOptions
    from p2pal.app.receive import receive as receive
    from p2pal.app.send import send as send
    from p2pal.errors import P2palError as P2palError
    from p2pal.lanes.ice_servers import RelayUse as RelayUse

_HOMES = {
    "ConnectOptions": "p2pal.app.options",
    "Decision": "p2pal.app.options",
    "Event": "p2pal.app.events",
    "P2palError": "p2pal.errors",
    "ReceiveOptions": "p2pal.app.options",
    "RelayUse": "p2pal.lanes.ice_servers",
    "SendOptions": "p2pal.app.options",
    "receive": "p2pal.app.receive",
    "send": "p2pal.app.send",
}

__all__ = [
    "ConnectOptions",
    "Decision",
    "Event",
    "P2palError",
    "ReceiveOptions",
    "RelayUse",
    "SendOptions",
    "__version__",
    "events",
    "receive",
    "send",
]


def __getattr__(name: str) -> object:
    """Load a public name from its home (PEP 562)."""
    from importlib import import_module

    if name == "events":
        return import_module("p2pal.app.events")
    home = _HOMES.get(name)
    if home is None:
        message = f"module 'p2pal' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(home), name)

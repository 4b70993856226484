"""The sockets of this server instance, and the way of the rules' effects to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from time import monotonic
from typing import Final

from p2pal.server.logs import log, log_detail, short
from p2pal.server.metrics import Metrics
from p2pal.server.state import Missed, Note, Tell
from p2pal.server.stores.base import News
from p2pal.server.ws.socket import Socket
from p2pal.wire.rendezvous import CloseCode, LogMessage

AT_ONCE: Final = 100
"""Sockets that may always be closed at once when the server stops."""

_LAST_WORDS: Final = 1.0
"""Seconds that the store has to hear of sockets that were cut."""

_LOOKS: Final = 4
"""How often in one heartbeat the sockets are looked at."""

_WAVES: Final = 20
"""More of them are closed in at most so many parts, because their clients turn to other instances."""


class Hub:
    """Finds sockets by id; effects for those that another instance holds are ignored."""

    __slots__ = ("_count", "_fewer", "_instance", "_opened", "_sockets", "_stopping", "metrics")

    def __init__(self, instance: str, metrics: Metrics) -> None:
        self._instance = instance
        self.metrics = metrics
        self._count = 0
        self._sockets: dict[str, Socket] = {}
        self._opened: dict[str, tuple[float, Callable[[], None]]] = {}
        self._stopping = False
        self._fewer = asyncio.Event()

    def __len__(self) -> int:
        return len(self._sockets)

    def new_id(self) -> str:
        """Return a name for a socket that no socket of any instance ever had."""
        self._count += 1
        return f"{self._instance}.{self._count}"

    def add(self, socket: Socket, release: Callable[[], None]) -> None:
        """Hold a socket until :meth:`remove`, which calls ``release``; while the server stops it is told to go."""
        self._sockets[socket.id] = socket
        self._opened[socket.id] = (monotonic(), release)
        self.metrics.sockets_opened += 1
        log_detail("socket-opened", socket=socket.id)
        if self._stopping:
            socket.close(CloseCode.GOING_AWAY)

    def remove(self, socket: Socket) -> None:
        """Let go of a socket."""
        if self._sockets.pop(socket.id, None) is not None:
            opened, release = self._opened.pop(socket.id)
            release()
            seconds = monotonic() - opened
            self.metrics.closed(socket.close_code)
            log("socket-closed", socket=socket.id, code=socket.close_code, seconds=round(seconds, 1))
        self._fewer.set()

    def handle(self, rendezvous_id: str, effect: News) -> None:
        """Carry out one effect; the store's listener."""
        if isinstance(effect, Note):
            fields: dict[str, str | int] = {"transfer": short(rendezvous_id)}
            if effect.attempt:
                fields["attempt"] = effect.attempt
            if effect.reason:
                fields["reason"] = effect.reason
            self.metrics.note(effect)
            log(effect.event, **fields)
            return
        socket = self._sockets.get(effect.socket)
        if socket is None:
            return
        if isinstance(effect, Tell):
            if isinstance(effect.message, LogMessage):
                self.metrics.relayed += 1
                self.metrics.relayed_bytes += len(effect.message.body)
            socket.tell(effect.message)
        elif isinstance(effect, Missed):
            socket.attach_again()
        else:
            socket.close(effect.code)

    async def watch(self, heartbeat: float) -> None:
        """Look, until cancelled, for clients that are silent for ``heartbeat`` seconds; see ``Connection.look``."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(heartbeat / _LOOKS)
            for socket in list(self._sockets.values()):
                socket.connection.look(loop.time(), heartbeat)

    async def _wait_for_none(self, patience: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._sockets:
                    self._fewer.clear()
                    await self._fewer.wait()

    async def stop(self, patience: float) -> None:
        """Close all sockets with 1001, many of them one part after the other over half of ``patience`` (seconds).

        Those that have not gone after ``patience`` are cut.
        """
        self._stopping = True
        sockets = list(self._sockets.values())
        size = max(AT_ONCE, -(-len(sockets) // _WAVES))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                for begin in range(0, len(sockets), size):
                    for socket in sockets[begin : begin + size]:
                        socket.close(CloseCode.GOING_AWAY)
                    if begin + size < len(sockets):
                        await asyncio.sleep(patience / 2 / _WAVES)
                await self._wait_for_none(patience)
        if self._sockets:
            log("sockets-cut", count=len(self._sockets))
        for socket in list(self._sockets.values()):
            socket.abort()
        await self._wait_for_none(_LAST_WORDS)

"""The sockets of this server instance, and the way of the rules' effects to them."""

from __future__ import annotations

import asyncio
import contextlib

from p2pal.server.logs import log, short
from p2pal.server.socket import Socket
from p2pal.server.state import Missed, Note, Tell
from p2pal.server.store import News
from p2pal.wire.rendezvous import CloseCode


class Hub:
    """Finds sockets by id; effects for those that another instance holds are ignored."""

    __slots__ = ("_count", "_fewer", "_instance", "_sockets", "_stopping")

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._count = 0
        self._sockets: dict[str, Socket] = {}
        self._stopping = False
        self._fewer = asyncio.Event()

    def __len__(self) -> int:
        return len(self._sockets)

    def new_id(self) -> str:
        """Return a name for a socket that no socket of any instance ever had."""
        self._count += 1
        return f"{self._instance}.{self._count}"

    def add(self, socket: Socket) -> None:
        """Hold a socket until :meth:`remove`; while the server stops it is told to go at once."""
        self._sockets[socket.id] = socket
        if self._stopping:
            socket.close(CloseCode.GOING_AWAY)

    def remove(self, socket: Socket) -> None:
        """Let go of a socket."""
        self._sockets.pop(socket.id, None)
        self._fewer.set()

    def handle(self, rendezvous_id: str, effect: News) -> None:
        """Carry out one effect; the store's listener."""
        if isinstance(effect, Note):
            fields: dict[str, str | int] = {"transfer": short(rendezvous_id)}
            if effect.attempt:
                fields["attempt"] = effect.attempt
            if effect.reason:
                fields["reason"] = effect.reason
            log(effect.event, **fields)
            return
        socket = self._sockets.get(effect.socket)
        if socket is None:
            return
        if isinstance(effect, Tell):
            socket.tell(effect.message)
        elif isinstance(effect, Missed):
            socket.attach_again()
        else:
            socket.close(effect.code)

    async def stop(self, patience: float) -> None:
        """Close all sockets with 1001; those that have not gone after ``patience`` seconds are cut."""
        self._stopping = True
        for socket in self._sockets.values():
            socket.close(CloseCode.GOING_AWAY)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._sockets:
                    self._fewer.clear()
                    await self._fewer.wait()
        for socket in self._sockets.values():
            socket.abort()

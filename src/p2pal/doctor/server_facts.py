"""What checking a signaling server found: plain facts, for whoever judges them. Times are seconds."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pal.errors import ServerError
from p2pal.wire.rendezvous import IceServer


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, in words that hold nothing of what the server sent; and the exit code that belongs to it."""

    cause: str
    hint: str = ""
    exit_code: int = ServerError.exit_code


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What is known of a signaling server.

    Attributes:
        server: Its URL, without user name and password.
        proxy: The proxy that the environment names for it, without user name and password; empty for none.
        ipv6_connects: Whether its IPv6 address takes a TCP connection; None if it has none, or that was not tried.
        answered: Until it answered an HTTP request; None if it did not.
        ready: Whether it says that it can serve (``/readyz``); None if it does not say.
        clock: How far its clock is ahead of ours; None if it does not say. It tells whole seconds.
        problem: Why it cannot be used at all.
        welcomed: Until it welcomed us on a WebSocket; None if it did not.
        socket_problem: Why its WebSocket cannot be used.
        near: The STUN and TURN servers that it gives to a sender whose receiver has come.
        far: Those that it gives to that receiver.
        reached: The address of its WebSocket; empty if that is not known, or a proxy's.
        left: Whether the transfer that was opened for the check could not be removed, and ends by itself.
        late: What did not come in time though the server answers, but slowly: that tells of no fault; empty for none.
    """

    server: str
    proxy: str = ""
    ipv6_connects: bool | None = None
    answered: float | None = None
    ready: bool | None = None
    clock: float | None = None
    problem: Problem | None = None
    welcomed: float | None = None
    socket_problem: Problem | None = None
    near: tuple[IceServer, ...] = field(default=(), repr=False)
    far: tuple[IceServer, ...] = field(default=(), repr=False)
    reached: str = ""
    left: bool = False
    late: str = ""

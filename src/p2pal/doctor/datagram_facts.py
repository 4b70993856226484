"""What was seen of the sockets that datagram lanes use on this machine. Pure: findings are made from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Batching:
    """What became of a batch of datagrams that a socket sent to itself.

    Attributes:
        heard: How many of its datagrams came back.
        one_call_out: The system took all of them with one call (UDP_SEGMENT).
        one_call_in: The system handed several of them over with one call (UDP_GRO).
        buffers: Bytes that the system gives the socket to send and to receive; None where it does not say.
        asked: Bytes that it was asked for, each way.
    """

    heard: int = 0
    one_call_out: bool = False
    one_call_in: bool = False
    buffers: tuple[int, int] | None = None
    asked: int = 0


@dataclass(frozen=True, slots=True)
class DatagramFacts:
    """The sockets of a lane that would be opened now.

    Attributes:
        addresses: This machine's addresses that a socket was bound to, in the order in which a transfer tells them.
        refused: Those for which there is no socket, and what the system said.
        batching: What the first socket can do; None if there is none, or no time for it.
    """

    addresses: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    batching: Batching | None = None

"""Every key and channel of the store in Redis: its name, its type, and what is in it. Pure.

A running server of another version finds what this one wrote by these names, so they stay as they are. Whatever is in
capitals stands for a value. ``{ID}`` is written with its braces: what is between them places a key on a Redis Cluster.

=============================  ======  ========================================================================
name                           type    what is in it
=============================  ======  ========================================================================
``p2pal:transfer:{ID}``        hash    a transfer: :data:`VERSION`, :data:`STATE`, and a :func:`message_field` for
                                       each message of its logs
``p2pal:slot:NUMBER``          string  the id of the transfer that has the slot
``p2pal:open:OWNER``           zset    the ids of an owner's open transfers, by when they are counted until (ms)
``p2pal:kept:OWNER``           zset    the :func:`log_unit` that an owner's transfers took for their logs, by when
                                       they are counted until (ms)
``p2pal:rate:PURPOSE:ADDRESS`` string  when what an address may do is whole again (us)
``p2pal:instances``            zset    the names of the server's instances, by their last sign of life (ms)
``p2pal:check``                none    nothing: it is read to learn whether Redis answers
``p2pal:to:INSTANCE``          channel what other instances say to the sockets of one
                                       (:class:`~p2pal.server.stores.redis.replica.Update`); empty: its own sign
                                       of life
=============================  ======  ========================================================================
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "p2pal"
"""What all names begin with, but in tests."""

VERSION: Final = "version"
"""The field of a transfer's hash that counts its steps, in decimal digits."""

STATE: Final = "state"
"""The field of a transfer's hash with a :class:`~p2pal.server.state.Rendezvous`, as MessagePack."""


class Keys:
    """The names of keys and channels.

    Args:
        prefix: What all names begin with.

    Attributes:
        instances: The key of the instances that gave a sign of life.
        check: A key that is never written.
    """

    __slots__ = ("_prefix", "check", "instances")

    def __init__(self, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self.instances = f"{prefix}:instances"
        self.check = f"{prefix}:check"

    def transfer(self, rendezvous_id: str) -> str:
        """Return the key of a transfer with its logs."""
        return f"{self._prefix}:transfer:{{{rendezvous_id}}}"

    def slot(self, slot: int) -> str:
        """Return the key of a slot: the number at the end of a join code."""
        return f"{self._prefix}:slot:{slot}"

    def open(self, owner: str) -> str:
        """Return the key of an owner's open transfers."""
        return f"{self._prefix}:open:{owner}"

    def kept(self, owner: str) -> str:
        """Return the key of the room that an owner's logs have taken."""
        return f"{self._prefix}:kept:{owner}"

    def rate(self, purpose: str, address: str) -> str:
        """Return the key of what an address may still do for a purpose."""
        return f"{self._prefix}:rate:{purpose}:{address}"

    def channel(self, instance: str) -> str:
        """Return the channel of an instance."""
        return f"{self._prefix}:to:{instance}"


def message_field(attempt: int, by_sender: bool, index: int) -> str:
    """Return the field of a transfer's hash with a message: ``3s0`` is the sender's first one to the third receiver."""
    return f"{attempt}{'s' if by_sender else 'r'}{index}"


def log_unit(rendezvous_id: str, number: int) -> str:
    """Return the member of :meth:`Keys.kept` for a unit of room, counted from 1, that a transfer's logs have taken."""
    return f"{rendezvous_id}:{number}"

"""What a step writes, removes and reads of a transfer's logs, and says to whom. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from p2pal.server import state as s
from p2pal.server.state import Attempt, Effect, Rendezvous
from p2pal.server.stores.redis.keys import message_field
from p2pal.server.stores.redis.replica import SocketClosed, Told, instance_of
from p2pal.wire import rendezvous as wire


class Plan:
    """The effects of one step, sorted.

    Args:
        before: The transfer before the step; None for a new one.
        effects: What the rules want done.

    Attributes:
        puts: Fields and bodies of messages to store, in turn.
        removes: Fields of messages to remove.
        gets: Fields of messages to read, for the one socket that reads a log.
    """

    __slots__ = ("_effects", "gets", "puts", "removes")

    def __init__(self, before: Rendezvous | None, effects: list[Effect]) -> None:
        self._effects = effects
        self.puts: list[str | bytes] = []
        self.removes: list[str] = []
        self.gets: list[str] = []
        attempts = {attempt.number: attempt for attempt in before.attempts} if before is not None else {}
        for effect in effects:
            if isinstance(effect, s.Keep):
                count = _log(attempts[effect.attempt], effect.by_sender).count
                self.puts += (message_field(effect.attempt, effect.by_sender, count), effect.body)
            elif isinstance(effect, s.Drop) and effect.attempt in attempts:
                for by_sender in (True, False):
                    self.removes += _fields(attempts[effect.attempt], by_sender, 0)
            elif isinstance(effect, s.Replay):
                self.gets += _fields(attempts[effect.attempt], effect.by_sender, effect.start)

    def news(self, instance: str, bodies: Sequence[bytes] = ()) -> list[Told | SocketClosed]:
        """Return what is said to the sockets of an instance; ``bodies`` are what was read for :attr:`gets`."""
        news: list[Told | SocketClosed] = []
        for effect in self._effects:
            if isinstance(effect, s.Tell) and instance_of(effect.socket) == instance:
                news.append(Told(effect.socket, effect.message))
            elif isinstance(effect, s.CloseSocket) and instance_of(effect.socket) == instance:
                news.append(SocketClosed(effect.socket, effect.code))
            elif isinstance(effect, s.Replay):
                messages = (wire.LogMessage(effect.attempt, n, body) for n, body in enumerate(bodies, effect.start))
                news += (Told(effect.socket, message) for message in messages)
        return news


def _log(attempt: Attempt, by_sender: bool) -> s.Log:
    return attempt.to_receiver if by_sender else attempt.to_sender


def _fields(attempt: Attempt, by_sender: bool, start: int) -> list[str]:
    count = _log(attempt, by_sender).count
    return [message_field(attempt.number, by_sender, index) for index in range(start, count)]

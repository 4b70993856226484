"""Exactly once, in order, over sockets that come and go: the pure part of a mailbox.

What the owner wants done waits in one ordered list until the server acknowledges it: an append by its index, an
accept, release or completion by the state that it leads to. After a reconnect the whole list is said again, byte for
byte; the server drops what it has. Inwards a cursor per attempt says which index comes next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Literal

from p2pal.errors import ServerRefused
from p2pal.rendezvous import events as e
from p2pal.role import Role
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import State

_BENIGN: Final = frozenset({"released", "not-served", "unknown-attempt", "over", "expired"})
"""Refusals that a released or a closed transfer explains: the news of that is on its way."""
_MAX_PAST: Final = 64
_MAX_KNOCKS: Final = 64

_Command = wire.Append | wire.ClientAccept | wire.Release | wire.ClientComplete | wire.Leave


class Delivery:
    """One side's logs. Methods for the owner queue; methods for the socket return nothing and raise on nonsense.

    Args:
        role: ``send`` or ``receive``.
    """

    __slots__ = (
        "_attempt",
        "_cursor",
        "_ended",
        "_events",
        "_floor",
        "_knocks",
        "_log_sizes",
        "_outputs",
        "_pending",
        "_role",
        "_wants_ice",
        "_welcomed",
        "over",
    )

    def __init__(self, role: Role) -> None:
        self._role = role
        self._attempt = 0  # the served one; a receiver's own
        self._ended: set[int] = set()  # the last attempts that were served or knocked, and are over
        self._floor = 0  # attempts up to this number are over
        self._knocks: set[int] = set()  # those that knocked and were not served yet
        self._cursor = 0
        self._log_sizes: dict[int, tuple[int, int]] = {}  # attempt -> messages, bytes
        self._pending: list[_Command] = []
        self._outputs: deque[wire.ClientMessage] = deque()
        self._events: deque[e.MailboxEvent] = deque()
        self._wants_ice = False
        self._welcomed = False
        self.over: Literal["", "completed", "aborted", "released"] = ""

    @property
    def settled(self) -> bool:
        """Everything that was asked for is acknowledged."""
        return not self._pending

    # The owner.

    def append(self, attempt: int, body: bytes) -> int:
        """Queue a message and return its index.

        Raises:
            ServerRefused: If the log is full.
            ValueError: If the body is larger than a message may be.
        """
        if len(body) > wire.MAX_BODY:
            message = f"a message of {len(body)} bytes is larger than {wire.MAX_BODY}"
            raise ValueError(message)
        count, size = self._log_sizes.get(attempt, (0, 0))
        if count >= wire.MAX_MESSAGES or size + len(body) > wire.MAX_LOG:
            raise ServerRefused("too many messages for one transfer on the signaling server")
        while len(self._log_sizes) > _MAX_PAST:
            del self._log_sizes[next(iter(self._log_sizes))]
        self._log_sizes[attempt] = (count + 1, size + len(body))
        self._want(wire.Append(count, body, attempt))
        return count

    def accept(self, attempt: int) -> None:
        """Queue the accept of the served attempt."""
        self._want(wire.ClientAccept(attempt))

    def release(self, attempt: int, reason: str) -> None:
        """Queue the release of an attempt: the served one, or one that knocks."""
        self._want(wire.Release(attempt, reason))

    def complete(self) -> None:
        """Queue the completion of the transfer."""
        self._want(wire.ClientComplete())

    def leave(self) -> None:
        """Queue the receiver's leave."""
        self._want(wire.Leave())

    def ask_ice(self) -> None:
        """Ask for STUN and TURN servers."""
        self._wants_ice = True
        if self._welcomed:
            self._outputs.append(wire.AskIce())

    def _want(self, command: _Command) -> None:
        if isinstance(command, wire.Append | wire.ClientAccept | wire.Release) and self._gone(command.attempt):
            return
        self._pending.append(command)
        if self._welcomed:
            self._outputs.append(command)

    def _gone(self, attempt: int) -> bool:
        if self._role == "receive" and self._attempt:
            return attempt != self._attempt
        return 0 < attempt <= self._floor or attempt in self._ended

    # The socket.

    def connected(self) -> dict[int, int]:
        """A new socket is open: return the cursors for its hello."""
        self.disconnected()
        return {self._attempt: self._cursor} if self._attempt else {}

    def disconnected(self) -> None:
        """The socket is gone; nothing more goes out before the next welcome."""
        self._welcomed = False
        self._outputs.clear()

    def outputs(self) -> list[wire.ClientMessage]:
        """Drain what is to be sent over the current socket."""
        drained = list(self._outputs)
        self._outputs.clear()
        return drained

    def events(self) -> list[e.MailboxEvent]:
        """Drain what the owner is to be told."""
        drained = list(self._events)
        self._events.clear()
        return drained

    def handle(self, message: wire.ServerMessage) -> None:
        """Take one message from the server.

        Raises:
            ServerRefused: If it is not one that a correct server sends now, or it refuses what cannot be helped.
        """
        if isinstance(message, wire.Error):
            if message.code not in _BENIGN or not self._welcomed:
                raise _refused(message.code)
        elif isinstance(message, wire.Welcome):
            self._handle_welcome(message)
        elif not self._welcomed:
            raise bad_message()
        elif isinstance(message, wire.LogMessage):
            self._handle_message(message)
        elif isinstance(message, wire.Appended):
            self._handle_appended(message)
        else:
            self._handle_notice(message)

    def _handle_notice(
        self, message: wire.Served | wire.Knock | wire.Released | wire.StateChanged | wire.PeerPresence | wire.Ice
    ) -> None:
        match message:
            case wire.Served():
                self._handle_served(message.attempt)
            case wire.Knock():
                self._handle_knock(message.attempt)
            case wire.Released():
                self._handle_released(message)
            case wire.StateChanged():
                self._handle_state(message)
            case wire.PeerPresence():
                self._events.append(e.PeerOnline(message.online))
            case wire.Ice():
                self._wants_ice = False
                self._events.append(e.IceServersOffered(wire.usable_ice_servers(message.servers)))

    def _handle_welcome(self, message: wire.Welcome) -> None:
        if self._welcomed:
            raise bad_message()
        self._welcomed = True
        if self._role == "receive":
            if not message.attempt or (self._attempt and message.attempt != self._attempt):
                raise bad_message()
            self._attempt = message.attempt
        self._handle_state(message)
        self._outputs.extend(self._pending)
        if self._wants_ice:
            self._outputs.append(wire.AskIce())

    def _handle_served(self, attempt: int) -> None:
        if self._role != "send" or self._attempt or self._gone(attempt):
            raise bad_message()
        self._knocks.discard(attempt)
        self._attempt = attempt
        self._cursor = 0
        self._events.append(e.AttemptServed(attempt))

    def _handle_knock(self, attempt: int) -> None:
        """A knock is repeated on every new socket; the owner hears of it once."""
        if self._role != "send" or attempt == self._attempt:
            raise bad_message()
        if attempt in self._knocks or self._gone(attempt):
            return
        if len(self._knocks) >= _MAX_KNOCKS:  # their ends were missed
            self._knocks.discard(min(self._knocks))
        self._knocks.add(attempt)
        self._events.append(e.AttemptKnocked(attempt))

    def _handle_message(self, message: wire.LogMessage) -> None:
        if message.attempt != self._attempt:
            if self._role == "send" and self._gone(message.attempt):
                return
            raise bad_message()
        if message.index < self._cursor:
            return
        if message.index > self._cursor:
            raise bad_message()
        self._cursor += 1
        self._events.append(e.PeerMessage(message.attempt, message.index, message.body))

    def _handle_appended(self, message: wire.Appended) -> None:
        count, _ = self._log_sizes.get(message.attempt, (0, 0))
        if message.index >= count:
            raise bad_message()
        self._settle(lambda c: isinstance(c, wire.Append) and c.attempt == message.attempt and c.index == message.index)

    def _handle_released(self, message: wire.Released) -> None:
        if message.attempt == self._attempt:
            self._end_attempt(message.attempt, message.reason)
        elif message.attempt in self._knocks:
            self._knocks.discard(message.attempt)
            self._note_end(message.attempt)
            self._events.append(e.AttemptReleased(message.attempt, message.reason))
        self._drop_attempt(message.attempt)

    def _end_attempt(self, attempt: int, reason: str) -> None:
        self._attempt = 0
        self._note_end(attempt)
        self._drop_attempt(attempt)
        self._events.append(e.AttemptReleased(attempt, reason))
        if self._role == "receive":
            self.over = "released"
            self._pending.clear()

    def _note_end(self, attempt: int) -> None:
        self._ended.add(attempt)
        if len(self._ended) > _MAX_PAST:
            oldest = min(self._ended)
            self._ended.discard(oldest)
            self._floor = max(self._floor, oldest)

    def _drop_attempt(self, attempt: int) -> None:
        self._settle(lambda c: _is_for(c, attempt))
        # A server that ends attempts and reads nothing does not make us keep what was for them.
        self._outputs = deque(output for output in self._outputs if not _is_for(output, attempt))

    def _handle_state(self, message: wire.Welcome | wire.StateChanged) -> None:
        state = message.state
        self._events.append(e.StateReported(state, message.expires_in))
        if state is State.ACTIVE:
            self._settle(lambda c: isinstance(c, wire.ClientAccept) and c.attempt == message.attempt)
        elif state is State.COMPLETED or state is State.ABORTED:
            self.over = "completed" if state is State.COMPLETED else "aborted"
            self._pending.clear()

    def _settle(self, done: Callable[[_Command], bool]) -> None:
        self._pending = [command for command in self._pending if not done(command)]


def _is_for(message: wire.ClientMessage, attempt: int) -> bool:
    return isinstance(message, wire.Append | wire.ClientAccept | wire.Release) and message.attempt == attempt


def bad_message() -> ServerRefused:
    """Return the error for a server that breaks the protocol."""
    return ServerRefused("the signaling server sent what the protocol does not allow", hint="use another -server")


def _refused(code: str) -> ServerRefused:
    texts = {
        "log-full": "too many messages for one transfer on the signaling server",
        "too-large": "a message is too large for the signaling server",
    }
    return ServerRefused(texts.get(code, "the signaling server refused a message of this transfer"))

"""A whole transfer between two peers on a virtual clock: machines, sessions, seals, negotiators; disks in memory.

``TwoPeers`` does what :class:`p2pal.peer.peer.Peer` and the use cases of :mod:`p2pal.app` do, without a loop::

    world = TwoPeers(tree, Conditions(PathModel(delay=0.01, rate=1e6), strikes=5), seed=7)
    assert world.run()
    assert world.receiver.sink.tree == tree
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Final
from zlib import crc32

from tests.sim.disk import Tree
from tests.sim.movers import MAX_FRAME, WINDOW, Mover, Pace, ReceivingApp, SendingApp
from tests.sim.network import ENGINE_DELAY, Conditions, Connection, Mail, Network, SealedLane
from tests.sim.peers import SimPeer

from p2pal.crypto.keys import Direction, SessionSecret
from p2pal.crypto.seal import LaneOpener, LaneSealer
from p2pal.errors import Interrupted, PeerLost, ProtocolError
from p2pal.lanes.base import Lane
from p2pal.lanes.memory import VirtualClock
from p2pal.link.actions import Action, DropConnection, GaveUp, LinkUp, Retrying
from p2pal.link.negotiator import Negotiator
from p2pal.session.core import window_frames
from p2pal.session.events import LaneAlive, LaneSilent, SessionClosed
from p2pal.transfer import events
from p2pal.wire import frames
from p2pal.wire.frames import DATA_HEADER
from p2pal.wire.signal import Bye, Fresh, Hello, SignalMessage, UdpCandidates
from p2pal.wire.transfer import Reason

# As in p2pal.peer.peer and p2pal.app, seconds.
CLOSE_GRACE: Final = 1.0
LAST_WORD: Final = 60.0
FAREWELL: Final = 2.0
LINGER: Final = 0.1
STOP_LIMIT: Final = 2.0
MAX_RETRIES: Final = 3


class TransferPeer(SimPeer[Mover]):
    """One side: the listener of its lanes, the reader of its mail, the engine's customer."""

    def __init__(
        self, network: Network, app: Mover, secret: SessionSecret, *, leader: bool, max_frame: int, window: int
    ) -> None:
        super().__init__(network.clock, app, max_frame=max_frame, window=window)
        app.peer = self
        self.network = network
        self.leader = leader
        self.name = "sender" if leader else "receiver"
        self.outward = Direction.TO_RECEIVER if leader else Direction.TO_SENDER
        self.inward = Direction.TO_SENDER if leader else Direction.TO_RECEIVER
        self.mail = Mail(network, secret, self.outward)
        self.negotiator = Negotiator(
            leader=leader, max_retries=MAX_RETRIES, backoff=1.0, jitter=lambda: network.random.uniform(0.8, 1.2)
        )
        self.other: TransferPeer
        self.connections: dict[int, Connection] = {}
        self.heard: set[int] = set()  # the lanes that brought something
        self.ups: list[int] = []  # the lanes that were in use
        self.tries = self.retries = 0
        self.parting = False
        self.closing = False
        self.ended = False
        self.ended_at = 0.0
        self.error = ""
        self.held = self.most_held = 0  # bytes that arrived and are not dealt with
        self.most_unacked = 0
        self._master = secret.master()
        self._arrived: dict[int, int] = {}  # the size of each frame that is held
        self._dealt = 0
        self._actions: deque[Action] = deque()
        self._acting = False
        self._progress = (0, 0)
        self._session_over = False
        self._waiting: tuple[Callable[[], bool], float, Callable[[], None]] | None = None
        self._link_due: float | None = None

    # Lanes

    def lane_opened(self, lane: Lane) -> None:
        if self.closing:
            return
        self.negotiator.handle_lane_open(lane.id, self.clock.time())
        if not self.negotiator.is_open(lane.id):
            return  # it was dropped just now
        nonce = self.network.random.randbytes(16)
        lane.send(nonce)
        key = self._master.lane_key(lane.id, self.outward, nonce)
        super().lane_opened(SealedLane(lane, LaneSealer(key)))

    def budget(self, lane: Lane) -> int:
        waits = len(self.lanes) > 1 and lane.id != self.negotiator.in_use
        return 0 if waits else lane.budget()

    def lane_message(self, lane: Lane, data: bytes) -> None:
        live = self.lanes.get(lane.id)
        if not isinstance(live, SealedLane):
            return
        self.network.trace(self.name, lane.id, len(data), crc32(data))
        self.network.overheard.append(data)
        try:
            if live.opener is None:
                if len(data) != 16:
                    raise ProtocolError("no opening")
                live.opener = LaneOpener(self._master.lane_key(lane.id, self.inward, data))
                self.heard.add(lane.id)
                return
            frame = live.opener.open(data)
        except ProtocolError:
            lane.close()
            return
        self._note_arrival(frame)
        super().lane_message(lane, frame)

    def _note_arrival(self, frame: bytes) -> None:
        if frame[0] == frames.DATA and not self.session.closed:
            number = int.from_bytes(frame[1:DATA_HEADER], "big")
            if number >= self._dealt and number not in self._arrived:
                self._arrived[number] = len(frame)
                self.held += len(frame)
                self.most_held = max(self.most_held, self.held)

    def consumed(self, count: int) -> None:
        for _ in range(count):
            self.held -= self._arrived.pop(self._dealt)
            self._dealt += 1
        self.session.consumed(count, self.clock.time())
        self.wake()

    def lane_closed(self, lane: Lane, reason: str) -> None:
        super().lane_closed(lane, reason)
        connection = self.connections.get(lane.id)
        if connection is not None:
            self.connection_over(connection)

    def connection_over(self, connection: Connection) -> None:
        for generation, each in list(self.connections.items()):
            if each is connection:
                del self.connections[generation]
                if not self.closing:
                    self.negotiator.handle_lane_closed(generation, self.clock.time())
        self.wake()

    # The mailbox and the link

    def handle_mail(self, message: SignalMessage) -> None:
        if isinstance(message, Bye):
            if not self.ended:
                self.later(CLOSE_GRACE if self.lanes else 0.0, lambda: self._handle_bye(message))
        elif not isinstance(message, Hello | Fresh | UdpCandidates):
            self.negotiator.handle_message(message, self.clock.time())
        self.wake()

    def _handle_bye(self, bye: Bye) -> None:
        if self.closing or self.ended:
            return
        if bye.code == PeerLost.code:
            self.end(PeerLost.code)
        else:
            self._peer_left()

    def _flush_link(self) -> None:
        for message in self.negotiator.messages():
            self.mail.send(message, self.other)
        for action in self.negotiator.actions():
            dropped = self.connections.get(action.generation) if isinstance(action, DropConnection) else None
            if dropped is None:
                self._actions.append(action)
            else:
                dropped.close()
        for event in self.negotiator.events():
            self.network.trace(self.name, event)
            if isinstance(event, Retrying):
                self.tries = event.attempt
                self.retries += 1
            elif isinstance(event, LinkUp):
                self.ups.append(event.generation)
                self.negotiator.handle_path(event.generation in self.network.relayed, self.clock.time())
            elif isinstance(event, GaveUp):
                self.end(PeerLost.code)
        if self._actions and not self._acting:  # one at a time
            self._acting = True
            self.later(self.network.random.uniform(0, ENGINE_DELAY), self._act)

    def _act(self) -> None:
        self._acting = False
        self.network.carry_out(self, self._actions.popleft())

    def _note_progress(self) -> None:
        """Whatever arrived, here or there, makes earlier failures of the link count no more."""
        progress = (self._dealt + len(self._arrived), self.app.given - self.session.unacked_bytes)
        if progress != self._progress:
            self._progress = progress
            self.tries = 0
            self.negotiator.handle_progress()

    # The turn

    def later(self, seconds: float, then: Callable[[], None]) -> None:
        """Do it then, if this side still lives, and see what follows."""

        def due() -> None:
            if not self.ended:
                then()
                self.wake()

        self.clock.call_at(self.clock.time() + seconds, due)

    def _flush(self) -> None:
        if self.ended:
            self._awake = False
            return
        self._note_progress()
        self._flush_link()  # a lane that is to be dropped gets nothing more
        super()._flush()
        self.most_unacked = max(self.most_unacked, self.session.unacked_bytes)
        self.app.turn()
        self._flush_link()
        if self._waiting is not None:
            condition, deadline, then = self._waiting
            if condition() or self.clock.time() >= deadline:
                self._waiting = None
                then()
        due = self.negotiator.next_timeout()
        if due is not None and due != self._link_due:
            self._link_due = due
            self.later(due - self.clock.time(), lambda: self.negotiator.handle_timeout(self.clock.time()))

    def session_event(self, event: SessionClosed | LaneSilent | LaneAlive) -> None:
        self.network.trace(self.name, event)
        if isinstance(event, SessionClosed):
            self._session_over = True
            if event.by_peer:
                self._peer_left()
        elif isinstance(event, LaneSilent):
            self.negotiator.handle_silence(self.clock.time(), event.lane_id)
        else:
            self.negotiator.handle_alive(self.clock.time(), event.lane_id)

    # The end

    def _wait(self, condition: Callable[[], bool], seconds: float, then: Callable[[], None]) -> None:
        """Go on once it holds, and at the latest in so many seconds."""
        self._waiting = (condition, self.clock.time() + seconds, then)
        self.later(seconds, lambda: None)
        self.wake()

    def part(self) -> None:
        """The machine is done: the sender closes, the receiver waits for that."""
        if self.parting or self.closing:
            return
        self.parting = True
        if self.leader:
            self._close()
        else:
            self._wait(
                lambda: self.session.drained or self.session.closed,
                LAST_WORD,
                lambda: self._wait(lambda: self._session_over, FAREWELL, self._close),
            )

    def _close(self) -> None:
        if self.lanes and not self.closing:
            self._wait(lambda: self.session.drained or self.session.closed, CLOSE_GRACE, self._farewell)
        else:
            self._farewell()

    def _farewell(self) -> None:
        if self.closing:
            return
        self.closing = True
        if self.lanes and not self.session.closed:
            self.session.close(0, "done", self.clock.time())
            self._wait(lambda: self._session_over, CLOSE_GRACE, self.end)
        else:
            self.end()

    def _peer_left(self) -> None:
        self.closing = True
        self._wait(lambda: not self.lanes, LINGER, self.end)

    def cancel(self) -> None:
        """The user stops this side."""
        if self.ended:
            return
        ending = self.app.finished is not None
        if not self.lanes and not ending:
            self.end(Interrupted.code)
            return
        self.later(STOP_LIMIT, lambda: self.end("" if self.app.finished else Interrupted.code))
        if not ending:
            self.app.machine.cancel(Reason.CANCELLED, "", self.clock.time())
        self.wake()

    def end(self, error: str = "") -> None:
        """It is over on this side; an error is mailed to the other one."""
        if self.ended:
            return
        self.ended = self.closing = True
        self.ended_at = self.clock.time()
        # Once the machine has finished, nothing that happens to the link or the other side is an error any more.
        self.error = "" if self.app.finished else error or PeerLost.code
        self.network.trace(self.name, "ended", self.error)
        if error:
            self.mail.send(Bye(error), self.other)
        self.negotiator.stop()
        for connection in list(self.connections.values()):
            connection.close()


class TwoPeers:
    """Both peers, the network between them, and the clock.

    Args:
        tree: What is sent.
        conditions: Of the network.
        pace: Of the disks and the person.
        seed: Of every choice.
        max_frame: The largest frame; like ``window``, the receive window of both, in bytes.
        skip_errors: Whether the sender leaves out what fails.
    """

    def __init__(
        self, tree: Tree, conditions: Conditions | None = None, pace: Pace | None = None, *, seed: int = 0,
        max_frame: int = MAX_FRAME, window: int = WINDOW, skip_errors: bool = False,
    ) -> None:  # fmt: skip
        self.clock = VirtualClock()
        self.random = random.Random(seed)
        self.network = Network(self.clock, self.random, conditions or Conditions())
        self.window = window_frames(window, max_frame) * max_frame
        pace, limit = pace or Pace(), max_frame - DATA_HEADER
        self.sender = SendingApp(tree, pace, self.random, limit=limit, skip_errors=skip_errors)
        self.receiver = ReceivingApp(pace, self.random, limit=limit)
        self.sender.standing = self.receiver.sink.tree.__contains__
        secret = SessionSecret(self.random.randbytes(32))
        self.left, self.right = (
            TransferPeer(self.network, app, secret, leader=leads, max_frame=max_frame, window=window)
            for app, leads in ((self.sender, True), (self.receiver, False))
        )
        self.peers = self.network.ends = (self.left, self.right)
        self.left.other, self.right.other = self.right, self.left
        for peer in self.peers:
            peer.negotiator.start(0.0)
            peer.wake()
        self.sender.start()

    @property
    def ended(self) -> bool:
        return self.left.ended and self.right.ended

    def run(self, limit: float = 3600.0, until: Callable[[], bool] | None = None) -> bool:
        """Run until both ended, or until the condition holds; return whether that came within ``limit`` seconds."""
        return self.clock.run(until or (lambda: self.ended), limit)

    def ends(self, app: Mover) -> dict[bytes, Reason | None]:
        """Return how each entry ended as one side was told: None for well. Each is told once."""
        found: dict[bytes, Reason | None] = {}
        for event in app.events:
            if isinstance(event, events.EntryFinished | events.EntryFailed) and event.index is not None:
                path = self.sender.machine.manifest[event.index].path
                assert path not in found, "each end is told once"
                found[path] = event.reason if isinstance(event, events.EntryFailed) else None
        return found

"""Between two peers on a virtual clock: mailboxes that delay, an engine that makes connections or fails to, weather.

The two ends are :class:`tests.sim.two_peers.TransferPeer`. All choices come from one seeded generator.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from zlib import crc32

from p2pal.crypto.keys import Direction, SessionSecret
from p2pal.crypto.seal import LaneOpener, LaneSealer, MailboxOpener, MailboxSealer
from p2pal.lanes.base import Lane
from p2pal.lanes.memory import EmulatedPath, MemoryLane, MemoryLink, VirtualClock
from p2pal.link.actions import Action, CreateAnswer, CreateOffer, Judge, TakeAnswer, TakeCandidate
from p2pal.link.negotiator import Negotiator
from p2pal.wire.signal import Candidate, SignalMessage, decode_signal, encode

if TYPE_CHECKING:
    from tests.sim.two_peers import TransferPeer

ENGINE_DELAY: Final = 0.03
"""Seconds that the engine takes for an action, at most."""


JUDGED: Final = 3.0
"""Seconds in which a new path is judged, at most."""


@dataclass
class Conditions:
    """What the network is like; seconds and bytes.

    Attributes:
        path: What every link runs over.
        mail_delay: Of a message in the mailbox, at most.
        faults: What may happen; see :meth:`Network.strike`.
        strikes: How often it does.
        pause: Between two strikes, on average.
        bad_attempts: The chance that a try at a connection fails.
        ways: When the direct way between both opens, closes and so on; empty if it is always open. Where it is not,
            a relay carries everything, with twice the delay.
    """

    path: EmulatedPath = field(default_factory=EmulatedPath)
    mail_delay: float = 0.1
    faults: tuple[str, ...] = ("cut", "close", "stall", "silence", "replay", "damage", "mail")
    strikes: int = 0
    pause: float = 0.5
    bad_attempts: float = 0.0
    ways: tuple[float, ...] = ()


class Mail:
    """One direction of the mailbox: sealed, in order, with delays."""

    def __init__(self, network: Network, secret: SessionSecret, direction: Direction) -> None:
        self.held_until = 0.0
        self._network = network
        self._sealer = MailboxSealer(secret, 1, direction, 2)
        self._opener = MailboxOpener(secret, 1, direction, 2)

    def send(self, message: SignalMessage, to: TransferPeer) -> None:
        index, sealed = self._sealer.seal(encode(message))
        network = self._network
        clock, delay = network.clock, network.random.uniform(0, network.conditions.mail_delay)
        self.held_until = max(self.held_until, clock.time() + delay)  # also what keeps the order
        network.trace("mail", index, crc32(sealed))
        if not network.mail_lost:
            clock.call_at(self.held_until, lambda: to.handle_mail(decode_signal(self._opener.open(index, sealed))))


class SealedLane:
    """A lane with the key of one direction: what goes in comes out sealed."""

    def __init__(self, lane: Lane, sealer: LaneSealer) -> None:
        self.id = lane.id
        self.max_message = lane.max_message
        self.likes_large = lane.likes_large
        self.budget, self.close = lane.budget, lane.close
        self.opener: LaneOpener | None = None
        self._lane, self._sealer = lane, sealer

    def send(self, message: bytes) -> None:
        self._lane.send(self._sealer.seal(message))


class Connection:
    """One end of one generation. Its lane comes once both ends have each other's description."""

    def __init__(self, peer: TransferPeer, *, direct: bool) -> None:
        self.lane: MemoryLane | None = None
        self.described = False
        self.direct = direct
        self._peer = peer

    def close(self) -> None:
        if self.lane is not None:
            self.lane.close()  # reports to the peer itself
        else:
            self._peer.connection_over(self)


class Network:
    """The engine of both ends, the links, and what befalls them."""

    def __init__(self, clock: VirtualClock, rng: random.Random, conditions: Conditions) -> None:
        self.clock = clock
        self.random = rng
        self.conditions = conditions
        self.ends: tuple[TransferPeer, ...] = ()
        self.links: list[MemoryLink] = []
        self.relayed: set[int] = set()  # those of the links by their number
        self.open = not conditions.ways  # the direct way is
        self.overheard: deque[bytes] = deque(maxlen=20)  # what lanes carried last
        self.blocked = False  # no connection ever comes up any more
        self.mail_lost = False
        self.struck: list[str] = []
        self._digest = hashlib.sha256()
        clock.call_at(0.0, self._plan)
        for when in conditions.ways:
            clock.call_at(when, self._change_ways)

    def trace(self, *happened: object) -> None:
        """Note what happened, and when."""
        self._digest.update(repr((self.clock.time(), *happened)).encode())

    @property
    def trace_hash(self) -> str:
        """Of all that happened so far."""
        return self._digest.hexdigest()

    @property
    def stood(self) -> bool:
        """Whether the link stood, on both sides."""
        return all(peer.ups for peer in self.ends)

    # The engine

    def carry_out(self, peer: TransferPeer, action: Action) -> None:
        """Do one action, as the engine does it a little later."""
        link, generation, now = peer.negotiator, action.generation, self.clock.time()
        connection = peer.connections.get(generation)
        if isinstance(action, CreateOffer | CreateAnswer):
            assert connection is None, "a generation is made once"
            assert action.lane not in peer.lanes
            peer.connections[generation] = connection = Connection(peer, direct=action.direct)
            connection.described = isinstance(action, CreateAnswer)
            self._describe(link, action, now)
        elif connection is None:
            return
        elif isinstance(action, Judge):
            self._judge(peer, action, now + JUDGED)
        elif isinstance(action, TakeAnswer):
            connection.described = True
            self._connect(generation)
        elif isinstance(action, TakeCandidate):
            assert connection.described, "a candidate came before its description"
        else:
            connection.close()

    def _describe(self, link: Negotiator, action: CreateOffer | CreateAnswer, now: float) -> None:
        generation = action.generation
        link.handle_local_candidate(Candidate(generation, "early"), now)
        if isinstance(action, CreateOffer):
            link.handle_local_offer(generation, "offer", now)
        else:
            link.handle_local_answer(generation, "answer", now)
        link.handle_local_candidate(Candidate(generation, "late"), now)

    def _judge(self, leader: TransferPeer, action: Judge, deadline: float) -> None:
        """Compare both paths, once the other side was heard on the new one."""
        now = self.clock.time()
        if action.generation in leader.heard or now >= deadline:
            better = action.generation not in self.relayed and action.used in self.relayed
            leader.negotiator.handle_judged(action.generation, better and action.generation in leader.heard, now)
        else:
            leader.later(0.1, lambda: self._judge(leader, action, deadline))

    def _connect(self, generation: int) -> None:
        """Both ends are described: a link comes, or not."""
        left, right = (peer.connections.get(generation) for peer in self.ends)
        if left is None or right is None or self.blocked:
            return
        assert left.direct == right.direct, "both sides know what it is for"
        if left.direct and not self.open:
            return
        if self._calm() and self.random.random() < self.conditions.bad_attempts:
            self.trace("bad attempt")
            if not self.stood or self.random.random() < 0.5:
                failing = self.random.choice((left, right))
                self.clock.call_at(self.clock.time() + self.random.uniform(0, 3), failing.close)
            return
        one, other = self.ends
        path = self.conditions.path
        if not self.open:
            self.relayed.add(generation)
            path = replace(path, delay=2 * path.delay)
        link = MemoryLink(self.clock, generation, one, other, path, self.random.random)
        left.lane, right.lane = link.left, link.right
        self.links.append(link)

    # The weather

    def _change_ways(self) -> None:
        """The direct way opens, or it closes and nobody is told."""
        self.open = not self.open
        self.trace("direct", self.open)
        for link in self.links:
            if link.alive and link.left.id not in self.relayed and link.stalled == self.open:
                (link.resume if self.open else link.stall)()

    def _calm(self) -> bool:
        """Whether another failure leaves enough tries on both sides."""
        return all(peer.tries < (2 if self.stood else 1) for peer in self.ends)

    def _plan(self) -> None:
        if len(self.struck) < self.conditions.strikes:
            pause = self.random.expovariate(1 / self.conditions.pause)
            self.clock.call_at(self.clock.time() + pause, self._strike)

    def _strike(self) -> None:
        link = self.links[-1] if self.links else None
        if link is not None and link.alive and not link.stalled and self._calm():
            fault = self.random.choice(self.conditions.faults)
            self.trace(fault)
            self.struck.append(fault)
            self.strike(fault, link)
        self._plan()

    def strike(self, fault: str, link: MemoryLink) -> None:
        """Let one thing happen to the newest link, or to the mailbox."""
        lane = self.random.choice((link.left, link.right))
        now = self.clock.time()
        match fault:
            case "cut":  # all that is on its way is lost; both ends notice
                link.cut()
            case "close":  # one end goes, what it sent arrives
                lane.close()
            case "stall":  # nothing moves for a while that nobody need notice
                link.stall()
                self.clock.call_at(now + self.random.uniform(0.1, 4), link.resume)
            case (
                "silence"
            ):  # nothing moves until somebody gives it up, and then the old arrives in the midst of the new
                link.stall()
                self.clock.call_at(now + self.random.uniform(20, 60), link.resume)
            case "replay":  # something old once more
                if self.overheard and lane.opened and not lane.closed:
                    lane.listener.lane_message(lane, self.random.choice(self.overheard))
            case "damage":
                if self.overheard and lane.opened and not lane.closed:
                    data = bytearray(self.random.choice(self.overheard))
                    data[self.random.randrange(len(data))] ^= 1
                    lane.listener.lane_message(lane, bytes(data))
            case "mail":  # the mailbox stands still, and the link goes
                for peer in self.ends:
                    peer.mail.held_until = now + self.random.uniform(1, 10)
                link.cut()
            case "networks":  # one side has a new address
                self.random.choice(self.ends).negotiator.handle_networks(now)

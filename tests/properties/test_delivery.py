"""Whatever sockets are lost, and wherever in the stream, both sides get every message once and in order.

The same while the server's instances lose touch with their store: what they have to say is lost, commands are carried
out twice because the first outcome was unknown, and sockets are given up for gone that are not.
"""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.rendezvous import events as e
from p2pal.rendezvous.delivery import Delivery
from p2pal.server import rules
from p2pal.server import state as s
from p2pal.server.config import Limits
from p2pal.server.state import SENDER, Denied
from p2pal.server.ws.view import ClientView
from p2pal.wire import rendezvous as wire

LIMITS = Limits(silence=1e9)


class World:
    """The real rules between two real machines, over two lossy pipes each, and instances that may be blind."""

    def __init__(self) -> None:
        self.transfer = rules.create("r" * 32, 1, b"s", 1e9, 0.0)
        self.logs: dict[tuple[int, bool], list[bytes]] = {}
        self.sides = {SENDER: Delivery("send"), 1: Delivery("receive")}
        self.sockets = {SENDER: "", 1: ""}
        self.views = {SENDER: ClientView(), 1: ClientView()}
        self.blinded: set[int] = set()
        self.missed: set[int] = set()
        self.down: dict[int, deque[wire.ServerMessage]] = {SENDER: deque(), 1: deque()}
        self.up: dict[int, deque[wire.ClientMessage]] = {SENDER: deque(), 1: deque()}
        self.got: dict[int, list[bytes]] = {SENDER: [], 1: []}
        self.told: dict[int, list[e.MailboxEvent]] = {SENDER: [], 1: []}
        self.count = 0
        self.execute(s.Join(b"one"))

    def execute(self, command: s.RendezvousCommand) -> None:
        self.transfer, effects = rules.handle(self.transfer, command, 0.0, LIMITS)
        for effect in effects:
            if isinstance(effect, s.Keep):
                self.logs.setdefault((effect.attempt, effect.by_sender), []).append(effect.body)
            elif isinstance(effect, s.Tell | s.Replay):
                for who, socket in self.sockets.items():
                    if socket == effect.socket:
                        self.tell(who, self.messages(effect))

    def tell(self, who: int, messages: list[wire.ServerMessage]) -> None:
        if who in self.blinded:
            return
        self.down[who].extend(message for message in messages if self.views[who].passes(message))
        if self.views[who].lost:
            self.missed.add(who)

    def blind(self, who: int) -> None:
        """The instance that holds the socket does not hear any more what it has to tell; it notices, in the end."""
        self.blinded.add(who)
        self.missed.add(who)

    def see(self, who: int) -> None:
        """It hears again, and does not know yet what it missed."""
        self.blinded.discard(who)

    def heal(self, who: int) -> None:
        """It knows that it missed something, and attaches the socket again."""
        self.blinded.discard(who)
        self.missed.discard(who)
        if self.sockets[who]:
            self.views[who].lost = True
            self.execute(s.Attach(who, self.sockets[who], self.views[who].cursors, again=True))

    def bury(self, who: int) -> None:
        """Another instance takes the blind one for dead."""
        if who in self.blinded and self.sockets[who]:
            self.execute(s.Detach(who, self.sockets[who]))

    def messages(self, effect: s.Tell | s.Replay) -> list[wire.ServerMessage]:
        if isinstance(effect, s.Tell):
            return [effect.message]
        log = self.logs.get((effect.attempt, effect.by_sender), [])
        return [wire.LogMessage(effect.attempt, index, log[index]) for index in range(effect.start, len(log))]

    def connect(self, who: int) -> None:
        self.cut(who)
        self.count += 1
        self.sockets[who] = f"s{self.count}"
        cursors = self.sides[who].connected()
        self.views[who] = ClientView()
        self.views[who].begin(cursors)
        if who != SENDER:
            self.views[who].begin({who: cursors.get(who, 0)})
        self.execute(s.Attach(who, self.sockets[who], cursors))

    def cut(self, who: int) -> None:
        """Lose the socket and everything in flight, both ways."""
        if self.sockets[who]:
            socket, self.sockets[who] = self.sockets[who], ""
            self.down[who].clear()
            self.up[who].clear()
            self.sides[who].disconnected()
            self.execute(s.Detach(who, socket))

    def serve(self, who: int) -> None:
        """The server takes one message of that side."""
        self.up[who].extend(self.sides[who].outputs())
        if self.up[who]:
            self.carry_out(who, self.up[who].popleft())

    def serve_all(self, who: int) -> None:
        """The server takes everything that side has to say; without a socket that is nothing."""
        self.serve(who)
        while self.up[who]:
            self.serve(who)

    def doubt(self, who: int) -> None:
        """The server takes one message twice, because it does not know whether it did."""
        self.up[who].extend(self.sides[who].outputs())
        if self.up[who]:
            message = self.up[who].popleft()
            self.carry_out(who, message)
            self.carry_out(who, message)

    def carry_out(self, who: int, message: wire.ClientMessage) -> None:
        try:
            self.execute(self.command(who, message))
        except Denied as denied:
            self.down[who].append(wire.Error(denied.code, denied.message))  # the socket says so itself

    def command(self, who: int, message: wire.ClientMessage) -> s.RendezvousCommand:
        if isinstance(message, wire.Append):
            log = self.logs.get((message.attempt, who == SENDER), [])
            stored = log[message.index] if message.index < len(log) else None
            return s.AppendMessage(who, message.attempt, message.index, message.body, stored)
        if isinstance(message, wire.ClientAccept):
            return s.AcceptAttempt(who, message.attempt)
        if isinstance(message, wire.Release):
            return s.ReleaseAttempt(who, message.attempt, message.reason)
        assert isinstance(message, wire.ClientComplete)
        return s.CompleteTransfer(who)

    def hear(self, who: int) -> None:
        """That side takes one message of the server."""
        if self.down[who]:
            side = self.sides[who]
            side.handle(self.down[who].popleft())
            events = side.events()
            self.told[who] += events
            self.got[who] += [event.body for event in events if isinstance(event, e.PeerMessage)]

    def do(self, action: str, who: int) -> None:
        if action not in ("append", "say", "missay", "pass on", "stranger"):
            getattr(self, action)(who)

    def hear_all(self, who: int) -> None:
        while self.down[who]:
            self.hear(who)

    def settle_sender(self) -> None:
        self.see(SENDER)
        if not self.sockets[SENDER]:
            self.connect(SENDER)
        self.missed.add(SENDER)
        while self.missed or self.down[SENDER] or self.up[SENDER] or not self.sides[SENDER].settled:
            for _ in self.missed & {SENDER}:
                self.heal(SENDER)
            self.serve(SENDER)
            self.hear(SENDER)

    def settle(self) -> None:
        for who in self.sides:
            self.see(who)
            if not self.sockets[who]:
                self.connect(who)
        for _ in range(2000):
            for who in self.sides:
                self.serve(who)
                self.hear(who)
            for who in list(self.missed):
                self.heal(who)
            if not any(self.down.values()) and not any(self.up.values()):
                return


WHO = st.sampled_from([0, 1])
LOSSY = ["connect", "cut", "serve", "hear", "serve", "hear", "append"]
ACTIONS = st.lists(st.tuples(st.sampled_from(LOSSY), WHO), max_size=120)
BLIND = ["say", "say", "say", "missay", "missay", "hear", "hear_all", "doubt", "blind", "see", "heal", "bury", "cut"]
BLIND_ACTIONS = st.lists(st.tuples(st.sampled_from(BLIND), WHO), min_size=30, max_size=80)


@given(ACTIONS)
@settings(max_examples=200, deadline=None)
def test_lossy_sockets_deliver_exactly_once_in_order(actions: list[tuple[str, int]]) -> None:
    deliver_all(actions)


@given(BLIND_ACTIONS)
@settings(max_examples=400, deadline=None)
def test_blind_instances_deliver_exactly_once_in_order(actions: list[tuple[str, int]]) -> None:
    deliver_all(actions)


def deliver_all(actions: list[tuple[str, int]]) -> None:
    world = World()
    world.settle()
    assert e.AttemptServed(1) in world.told[SENDER]
    sent: dict[int, list[bytes]] = {SENDER: [], 1: []}
    for action, who in actions:
        if action in ("append", "say", "missay"):
            body = b"%d:%d" % (who, len(sent[who]))
            assert world.sides[who].append(1, body) == len(sent[who])
            sent[who].append(body)
            if action == "missay":
                world.blind(1 - who)
            if action != "append":
                world.serve_all(who)
            if action == "missay":
                world.see(1 - who)
        else:
            getattr(world, action)(who)
    world.sides[SENDER].accept(1)
    world.settle()
    assert world.got[SENDER] == sent[1]
    assert world.got[1] == sent[SENDER]
    assert world.sides[SENDER].settled
    assert world.sides[1].settled
    assert world.told[SENDER].count(e.AttemptServed(1)) == 1
    world.sides[SENDER].complete()
    world.settle()
    assert world.sides[SENDER].over == world.sides[1].over == "completed"


@given(st.one_of(ACTIONS, BLIND_ACTIONS), st.integers(0, 40))
@settings(max_examples=200, deadline=None)
def test_a_knock_is_told_once_and_its_answer_arrives_whatever_is_lost(
    actions: list[tuple[str, int]], answered: int
) -> None:
    world = World()
    world.settle()
    sender = world.sides[SENDER]
    sender.accept(1)
    world.settle()
    world.execute(s.Join(b"two"))
    world.execute(s.Attach(2, "knocker"))
    for action, who in actions[:answered]:
        world.do(action, who)
    sender.release(2, "busy")
    for action, who in actions[answered:]:
        world.do(action, who)
    world.settle()
    assert world.transfer.attempt(2) is None
    assert world.transfer.served == 1
    assert sender.settled
    assert world.told[SENDER].count(e.AttemptKnocked(2)) <= 1


STRANGE = ["speaks", "speaks", "speaks unheard", "leaves", "leaves unheard", "pass on"]
STRANGE_ACTIONS = st.lists(st.sampled_from([*STRANGE, *BLIND[5:]]), min_size=20, max_size=60)


@given(STRANGE_ACTIONS)
@settings(max_examples=300, deadline=None)
def test_who_is_served_next_is_told_once_whatever_was_missed(actions: list[str]) -> None:
    world = World()
    world.connect(SENDER)
    for number in range(1, 9):
        if number > 1:
            world.execute(s.Join(b"%d" % number))
        world.execute(s.Attach(number, f"stranger {number}"))
    for action in actions:
        if action in STRANGE:
            deal_with_strangers(world, action)
        else:
            world.do(action, SENDER)
    world.settle_sender()
    assert world.sides[SENDER].settled
    served, heard = what_was_told(world.told[SENDER])
    assert served == world.transfer.served
    for attempt, bodies in heard.items():
        assert bodies == [b"%d" % n for n in range(len(bodies))]
        if attempt == served:
            assert bodies == world.logs[attempt, False]


def deal_with_strangers(world: World, action: str) -> None:
    """Someone who is served says something or leaves, heard by the sender or not, or is passed over by it."""
    served = world.transfer.served
    if action == "pass on":
        told, _ = what_was_told(world.told[SENDER])
        if told:
            world.sides[SENDER].append(told, b"a last word")
            world.sides[SENDER].release(told, "wrong-code")
            world.serve_all(SENDER)
    elif served:
        if action.endswith("unheard"):
            world.blind(SENDER)
        log = world.logs.get((served, False), [])
        leaves = action.startswith("leaves")
        world.execute(s.LeaveAttempt(served) if leaves else s.AppendMessage(served, served, len(log), b"%d" % len(log)))
        world.see(SENDER)


def what_was_told(events: list[e.MailboxEvent]) -> tuple[int, dict[int, list[bytes]]]:
    """Return who is served as far as the sender knows, and what each attempt said to it."""
    served = 0
    heard: dict[int, list[bytes]] = {}
    for event in events:
        if isinstance(event, e.AttemptServed):
            assert not served, "the one before is over"
            served = event.attempt
        elif isinstance(event, e.AttemptReleased):
            assert event.attempt == served
            served = 0
        elif isinstance(event, e.PeerMessage):
            assert event.attempt == served
            heard.setdefault(served, []).append(event.body)
    return served, heard

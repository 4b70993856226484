"""Whatever sockets are lost, and wherever in the stream, both sides get every message once and in order."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.rendezvous import events as e
from p2pal.rendezvous.delivery import Delivery
from p2pal.server import rules
from p2pal.server import state as s
from p2pal.server.config import Limits
from p2pal.server.state import SENDER
from p2pal.wire import rendezvous as wire

LIMITS = Limits(silence=1e9)


class World:
    """The real rules between two real machines, over two lossy pipes each."""

    def __init__(self) -> None:
        self.transfer = rules.create("r" * 32, 1, b"s", 1e9, 0.0)
        self.logs: dict[tuple[int, bool], list[bytes]] = {}
        self.sides = {SENDER: Delivery("send"), 1: Delivery("receive")}
        self.sockets = {SENDER: "", 1: ""}
        self.down: dict[int, deque[wire.ServerMessage]] = {SENDER: deque(), 1: deque()}
        self.up: dict[int, deque[wire.ClientMessage]] = {SENDER: deque(), 1: deque()}
        self.got: dict[int, list[bytes]] = {SENDER: [], 1: []}
        self.told: dict[int, list[e.MailboxEvent]] = {SENDER: [], 1: []}
        self.count = 0
        self.execute(s.Join(b"one"))

    def execute(self, command: s.Command) -> None:
        self.transfer, effects = rules.handle(self.transfer, command, 0.0, LIMITS)
        for effect in effects:
            if isinstance(effect, s.Keep):
                self.logs.setdefault((effect.attempt, effect.by_sender), []).append(effect.body)
            elif isinstance(effect, s.Tell | s.Replay):
                for who, socket in self.sockets.items():
                    if socket == effect.socket:
                        self.down[who].extend(self.messages(effect))

    def messages(self, effect: s.Tell | s.Replay) -> list[wire.ServerMessage]:
        if isinstance(effect, s.Tell):
            return [effect.message]
        log = self.logs.get((effect.attempt, effect.by_sender), [])
        return [wire.Message(effect.attempt, index, log[index]) for index in range(effect.start, len(log))]

    def connect(self, who: int) -> None:
        self.cut(who)
        self.count += 1
        self.sockets[who] = f"s{self.count}"
        cursors = self.sides[who].connected()
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
        if not self.up[who]:
            return
        message = self.up[who].popleft()
        if isinstance(message, wire.Append):
            log = self.logs.get((message.attempt, who == SENDER), [])
            stored = log[message.index] if message.index < len(log) else None
            self.execute(s.Append(who, message.attempt, message.index, message.body, stored))
        elif isinstance(message, wire.Accept):
            self.execute(s.Accept(who, message.attempt))
        elif isinstance(message, wire.Release):
            self.execute(s.Release(who, message.attempt, message.reason))
        else:
            assert isinstance(message, wire.Complete)
            self.execute(s.Complete(who))

    def hear(self, who: int) -> None:
        """That side takes one message of the server."""
        if self.down[who]:
            side = self.sides[who]
            side.handle(self.down[who].popleft())
            events = side.events()
            self.told[who] += events
            self.got[who] += [event.body for event in events if isinstance(event, e.Message)]

    def settle(self) -> None:
        for who in self.sides:
            if not self.sockets[who]:
                self.connect(who)
        for _ in range(2000):
            for who in self.sides:
                self.serve(who)
                self.hear(who)
            if not any(self.down.values()) and not any(self.up.values()):
                return


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["connect", "cut", "serve", "hear", "serve", "hear", "append"]), st.sampled_from([0, 1])),
    max_size=120,
)


@given(ACTIONS)
@settings(max_examples=200, deadline=None)
def test_lossy_sockets_deliver_exactly_once_in_order(actions: list[tuple[str, int]]) -> None:
    world = World()
    world.settle()
    assert e.Served(1) in world.told[SENDER]
    sent: dict[int, list[bytes]] = {SENDER: [], 1: []}
    for action, who in actions:
        if action == "append":
            body = b"%d:%d" % (who, len(sent[who]))
            assert world.sides[who].append(1, body) == len(sent[who])
            sent[who].append(body)
        else:
            getattr(world, action)(who)
    world.sides[SENDER].accept(1)
    world.settle()
    assert world.got[SENDER] == sent[1]
    assert world.got[1] == sent[SENDER]
    assert world.sides[SENDER].settled
    assert world.sides[1].settled
    assert world.told[SENDER].count(e.Served(1)) == 1
    world.sides[SENDER].complete()
    world.settle()
    assert world.sides[SENDER].over == world.sides[1].over == "completed"


@given(ACTIONS)
@settings(max_examples=100, deadline=None)
def test_a_knock_is_told_once_and_its_answer_arrives_over_lossy_sockets(actions: list[tuple[str, int]]) -> None:
    world = World()
    world.settle()
    sender = world.sides[SENDER]
    sender.accept(1)
    world.settle()
    world.execute(s.Join(b"two"))
    world.execute(s.Attach(2, "knocker"))
    for action, who in actions:
        if action != "append":
            getattr(world, action)(who)
    sender.release(2, "busy")
    world.settle()
    assert world.transfer.attempt(2) is None
    assert world.transfer.served == 1
    assert sender.settled
    assert world.told[SENDER].count(e.Knock(2)) <= 1

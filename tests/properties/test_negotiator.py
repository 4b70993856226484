"""Two negotiators, and everything between them that can go wrong."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.errors import ProtocolError
from p2pal.link.negotiator import (
    Action,
    CreateAnswer,
    CreateOffer,
    DropConnection,
    GaveUp,
    LinkUp,
    Negotiator,
    State,
    TakeAnswer,
    TakeCandidate,
)
from p2pal.wire.signal import Answer, Candidate, Offer, Retry, SignalMessage

RETRIES = 3


@dataclass
class Side:
    """One negotiator with its shell: connections that exist, actions and mail that wait."""

    link: Negotiator
    mail: deque[SignalMessage] = field(default_factory=deque)
    actions: deque[Action] = field(default_factory=deque)
    connections: set[int] = field(default_factory=set)
    described: set[int] = field(default_factory=set)
    sent: list[SignalMessage] = field(default_factory=list)
    generations: list[int] = field(default_factory=list)
    gave_up: int = 0

    def collect(self, other: Side) -> None:
        """Take out what the machine has to say, and check what must always hold."""
        for message in self.link.messages():
            self.sent.append(message)
            other.mail.append(message)
        self.actions.extend(self.link.actions())
        for event in self.link.events():
            if isinstance(event, LinkUp):
                assert event.generation == self.link.generation
            self.gave_up += isinstance(event, GaveUp)
        self.generations.append(self.link.generation)
        assert self.gave_up <= 1
        assert (self.link.state is State.DEAD) == (self.link.next_timeout() is None and self.gave_up > 0)
        if self.link.state in (State.CONNECTING, State.WAITING):
            assert self.link.next_timeout() is not None  # nothing waits for ever


class World:
    """Both sides and a clock. The mailbox keeps the order of each direction, loses nothing and repeats nothing."""

    def __init__(self) -> None:
        self.now = 0.0
        self.leader, self.follower = (
            Side(Negotiator(leader=leads, max_retries=RETRIES, backoff=1.0, jitter=lambda: 1.0))
            for leads in (True, False)
        )
        for side in (self.leader, self.follower):
            side.link.start(0.0)
        self.settle()

    def settle(self) -> None:
        self.leader.collect(self.follower)
        self.follower.collect(self.leader)

    def side(self, leads: bool) -> Side:
        return self.leader if leads else self.follower

    def deliver(self, leads: bool) -> None:
        """The next message of the other side arrives. Two honest sides never break the protocol."""
        side = self.side(leads)
        if side.mail:
            message = side.mail.popleft()
            assert isinstance(message, (Offer, Answer, Candidate, Retry))
            side.link.handle_message(message, self.now)

    def act(self, leads: bool) -> None:
        """The engine carries out the next action."""
        side = self.side(leads)
        if not side.actions:
            return
        action = side.actions.popleft()
        link, generation = side.link, action.generation
        match action:
            case CreateOffer() | CreateAnswer():
                assert generation not in side.connections, "a generation is made once"
                assert leads == isinstance(action, CreateOffer)
                side.connections.add(generation)
                link.handle_local_candidate(generation, "early", "0", 0, self.now)
                if isinstance(action, CreateOffer):
                    link.handle_local_offer(generation, "offer", self.now)
                else:
                    side.described.add(generation)
                    link.handle_local_answer(generation, "answer", self.now)
                link.handle_local_candidate(generation, "late", "0", 0, self.now)
            case TakeAnswer():
                assert leads
                side.described.add(generation)
            case TakeCandidate():
                # The engine refuses a candidate that comes before its description.
                assert generation in side.described or generation not in side.connections
            case DropConnection():
                side.connections.discard(generation)

    def open(self, leads: bool) -> None:
        """The lane of the newest connection opens."""
        side = self.side(leads)
        newest = max(side.connections & side.described, default=0)
        if newest and newest in self.side(not leads).connections:
            side.link.handle_lane_open(newest, self.now)

    def close(self, leads: bool) -> None:
        """The newest connection ends."""
        side = self.side(leads)
        if side.connections:
            newest = max(side.connections)
            side.connections.discard(newest)
            side.link.handle_lane_closed(newest, self.now)

    def progress(self, leads: bool) -> None:
        side = self.side(leads)
        if side.link.state is State.UP:
            side.link.handle_progress()

    def tick(self, leads: bool) -> None:
        """Time passes until this side's timer."""
        due = self.side(leads).link.next_timeout()
        if due is not None:
            self.now = max(self.now, due)
            for side in (self.leader, self.follower):
                side.link.handle_timeout(self.now)

    def check(self) -> None:
        for side in (self.leader, self.follower):
            assert side.generations == sorted(side.generations), "generations only grow"
        assert self.follower.link.generation <= self.leader.link.generation
        offers = [message for message in self.leader.sent if isinstance(message, Offer)]
        assert len({offer.lane for offer in offers}) == len({offer.generation for offer in offers}) == len(offers)
        assert not any(isinstance(message, Offer) for message in self.follower.sent), "one leads"
        assert not any(isinstance(message, (Answer, Retry)) for message in self.leader.sent)


STEPS = ["deliver", "act", "open", "close", "progress", "tick"]
steps = st.tuples(st.sampled_from(STEPS), st.booleans())


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=80))
def test_two_honest_sides_never_break_the_protocol(script: list[tuple[str, bool]]) -> None:
    world = World()
    for name, leads in script:
        getattr(world, name)(leads)
        world.settle()
    world.check()


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=40))
def test_whatever_happened_a_calm_end_connects_or_gives_up(script: list[tuple[str, bool]]) -> None:
    world = World()
    for name, leads in script:
        getattr(world, name)(leads)
        world.settle()
    calm = {State.UP, State.DEAD}
    states: set[State] = set()
    for _ in range(400):
        for leads in (True, False):
            for name in ("deliver", "act", "open"):
                getattr(world, name)(leads)
                world.settle()
        states = {world.leader.link.state, world.follower.link.state}
        quiet = not (world.leader.mail or world.follower.mail or world.leader.actions or world.follower.actions)
        if quiet:
            if states <= calm:
                break
            world.tick(world.leader.link.next_timeout() is not None)
            world.settle()
    world.check()
    # A link that stands on one side stands on the other, in the same generation, unless a side gave up.
    if states == {State.UP}:
        assert world.leader.link.generation == world.follower.link.generation
    else:
        assert State.DEAD in states


generations = st.integers(1, 4)
messages = st.one_of(
    st.builds(Offer, generations, st.integers(1, 4), st.just("sdp")),
    st.builds(Answer, generations, st.just("sdp")),
    st.builds(Candidate, generations, st.sampled_from(["", "candidate"])),
    st.builds(Retry, generations),
)
hostile = st.one_of(messages, st.sampled_from(["open", "close", "local", "timeout", "progress", "stop"]))


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.lists(hostile, max_size=60))
def test_a_hostile_peer_causes_protocol_errors_and_nothing_else(leads: bool, script: list[SignalMessage | str]) -> None:
    link = Negotiator(leader=leads, max_retries=RETRIES, backoff=1.0, jitter=lambda: 1.0)
    link.start(0.0)
    before = 0
    made: list[int] = []
    for step in script:
        generation = link.generation
        match step:
            case "open":
                link.handle_lane_open(generation, 1.0)
            case "close":
                link.handle_lane_closed(generation, 1.0)
            case "local":
                link.handle_local_candidate(generation, "mine", "0", 0, 1.0)
                (link.handle_local_offer if leads else link.handle_local_answer)(generation, "sdp", 1.0)
            case "timeout":
                link.handle_timeout(link.next_timeout() or 0.0)
            case "progress":
                link.handle_progress()
            case "stop":
                link.stop()
            case Offer() | Answer() | Candidate() | Retry():
                try:
                    link.handle_message(step, 1.0)
                except ProtocolError:
                    return
        made += [action.generation for action in link.actions() if isinstance(action, (CreateOffer, CreateAnswer))]
        list(link.messages())
        list(link.events())
        assert link.generation >= before
        before = link.generation
    assert made == sorted(set(made))

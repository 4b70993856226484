"""Two negotiators, and everything between them that can go wrong."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.errors import ProtocolError
from p2pal.link.actions import (
    Action,
    CreateAnswer,
    CreateOffer,
    DropConnection,
    GaveUp,
    Judge,
    LinkUp,
    TakeAnswer,
    TakeCandidate,
    WaitingFor,
)
from p2pal.link.backoff import MIN_PATIENCE
from p2pal.link.negotiator import LinkState, Negotiator
from p2pal.wire.signal import BETTER, SILENT, Answer, Candidate, Offer, Retry, SignalMessage

RETRIES = 3
WAIT = 200.0


def negotiator(leads: bool, retries: int | None = RETRIES) -> Negotiator:
    return Negotiator(leader=leads, max_retries=retries, backoff=1.0, jitter=lambda: 1.0, wait=WAIT)


@dataclass
class Side:
    """One negotiator with its shell: connections that exist, actions and mail that wait."""

    link: Negotiator
    mail: deque[SignalMessage] = field(default_factory=deque)
    actions: deque[Action] = field(default_factory=deque)
    connections: set[int] = field(default_factory=set)
    described: set[int] = field(default_factory=set)
    opened: set[int] = field(default_factory=set)
    to_judge: int = 0
    sent: list[SignalMessage] = field(default_factory=list)
    generations: list[int] = field(default_factory=list)
    online: bool = True
    waiting: str = ""
    gave_up: int = 0
    carried: bool = False

    def collect(self, other: Side) -> None:
        """Take out what the machine has to say, and check what must always hold."""
        for message in self.link.messages():
            self.sent.append(message)
            other.mail.append(message)
        self.actions.extend(self.link.actions())
        for event in self.link.events():
            if isinstance(event, LinkUp):
                assert event.generation == (0 if self.carried else self.link.in_use)
            elif isinstance(event, WaitingFor):
                assert event.what != self.waiting, "changes only"
                assert event.seconds_left >= 0
                self.waiting = event.what
            self.gave_up += isinstance(event, GaveUp)
        self.generations.append(self.link.generation)
        assert self.gave_up <= 1
        state = self.link.state
        assert (state is LinkState.DEAD) == (self.gave_up == 1)
        assert self.link.in_use <= self.link.generation
        if state is not LinkState.DEAD:
            wanted = {generation for generation in (self.link.in_use, self.link.generation) if generation}
            dropped = {action.generation for action in self.actions if isinstance(action, DropConnection)}
            assert len(self.connections - dropped) <= 2, "one in use and one that is tried"
            assert self.connections - dropped <= wanted
            assert {g for g in self.opened if self.link.is_open(g)} <= self.connections - dropped
        if state in (LinkState.CONNECTING, LinkState.WAITING) and not self.carried:
            assert self.link.next_timeout() is not None  # nothing waits for ever


class World:
    """Both sides and a clock. A mailbox keeps the order of each direction, and may be lost as a whole."""

    def __init__(self, retries: int | None = RETRIES) -> None:
        self.now = 0.0
        self.leader, self.follower = (Side(negotiator(leads, retries)) for leads in (True, False))
        for side in self.sides:
            side.link.start(0.0)
        self.settle()

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.leader, self.follower

    def settle(self) -> None:
        self.leader.collect(self.follower)
        self.follower.collect(self.leader)

    def side(self, leads: bool) -> Side:
        return self.leader if leads else self.follower

    def deliver(self, leads: bool) -> None:
        """The next message of the other side arrives. Two honest sides never break the protocol."""
        side = self.side(leads)
        if side.mail and side.online:
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
                link.handle_local_candidate(Candidate(generation, "early"), self.now)
                if isinstance(action, CreateOffer):
                    link.handle_local_offer(generation, "offer", self.now)
                else:
                    side.described.add(generation)
                    link.handle_local_answer(generation, "answer", self.now)
                link.handle_local_candidate(Candidate(generation, "late"), self.now)
            case TakeAnswer():
                assert leads
                side.described.add(generation)
            case TakeCandidate():
                # The engine refuses a candidate that comes before its description.
                assert generation in side.described or generation not in side.connections
            case DropConnection():
                side.connections.discard(generation)
            case Judge():
                assert leads
                side.to_judge = generation

    def open(self, leads: bool) -> None:
        """The lane of the newest connection opens."""
        side = self.side(leads)
        newest = max(side.connections & side.described, default=0)
        other = self.side(not leads)
        if newest and newest not in side.opened and newest in other.connections & other.described:
            side.opened.add(newest)
            side.link.handle_lane_open(newest, self.now)

    def judge(self, better: bool) -> None:
        """The leader's shell has compared both paths: the other side was heard on the new one."""
        generation = self.leader.to_judge
        if generation in self.follower.opened:
            self.leader.to_judge = 0
            self.leader.link.handle_judged(generation, better, self.now)

    def relayed(self, relayed: bool) -> None:
        for side in self.sides:
            side.link.handle_path(relayed, self.now)

    def networks(self, leads: bool) -> None:
        self.side(leads).link.handle_networks(self.now)

    def close(self, leads: bool, *, oldest: bool = False) -> None:
        """A connection ends."""
        side = self.side(leads)
        if side.connections:
            ended = (min if oldest else max)(side.connections)
            side.connections.discard(ended)
            side.link.handle_lane_closed(ended, self.now)

    def close_old(self, leads: bool) -> None:
        self.close(leads, oldest=True)

    def progress(self, leads: bool) -> None:
        side = self.side(leads)
        if side.link.state is LinkState.UP:
            side.link.handle_progress()

    def silence(self, leads: bool) -> None:
        self.side(leads).link.handle_silence(self.now)

    def silence_newest(self, leads: bool) -> None:
        self.side(leads).link.handle_silence(self.now, self.side(leads).link.generation)

    def alive(self, leads: bool) -> None:
        self.side(leads).link.handle_alive(self.now)

    def carry(self, leads: bool) -> None:
        """A datagram lane carries for one side from now on, or does not any more; the other need not agree."""
        side = self.side(leads)
        if side.link.state is not LinkState.DEAD:
            side.carried = not side.carried
            side.link.handle_carried(side.carried, self.now)

    def stand_by(self, leads: bool) -> None:
        self.side(leads).link.handle_standby(self.now)

    def go(self, leads: bool) -> None:
        """One side's socket falls, or comes back; the other need not be told at once."""
        side = self.side(leads)
        side.online = not side.online
        side.link.handle_online(side.online, self.side(not leads).online, self.now)

    def tell(self, leads: bool) -> None:
        side = self.side(leads)
        side.link.handle_online(side.online, self.side(not leads).online, self.now)

    def forget(self, leads: bool) -> None:
        """The server forgot everything: both meet anew, one after the other."""
        self.leader.mail.clear()
        self.follower.mail.clear()
        for each in (leads, not leads):
            self.side(each).link.handle_moved(self.now)
            self.settle()

    def pass_time(self, leads: bool) -> None:
        self.now += 1.5 if leads else 15.0
        self._look()

    def tick(self, leads: bool) -> None:
        """Time passes until this side's timer."""
        due = self.side(leads).link.next_timeout()
        if due is not None:
            self.now = max(self.now, due)
            self._look()

    def _look(self) -> None:
        for side in self.sides:
            side.link.handle_timeout(self.now)

    def check(self) -> None:
        for side in self.sides:
            assert side.generations == sorted(side.generations), "generations only grow"
        assert self.follower.link.generation <= self.leader.link.generation
        offers = [message for message in self.leader.sent if isinstance(message, Offer)]
        assert len({offer.lane for offer in offers}) == len({offer.generation for offer in offers}) == len(offers)
        assert not any(isinstance(message, Offer) for message in self.follower.sent), "one leads"
        assert not any(isinstance(message, (Answer, Retry)) for message in self.leader.sent)

    def calm_down(self) -> None:
        """From now on the network is good: sockets are back, what can open opens, what is open is heard."""
        for side in self.sides:
            side.online = True
        for leads in (True, False):
            self.tell(leads)
            self.settle()
            if self.side(leads).carried:
                self.carry(leads)
                self.settle()

    def heard(self) -> None:
        """A lane that stands on both sides is heard on both; one that stands on one side only closes there."""
        for side, other in ((self.leader, self.follower), (self.follower, self.leader)):
            used = side.link.in_use
            if used and other.link.is_open(used):
                side.link.handle_alive(self.now)
            for generation in sorted(side.opened & side.connections):
                if generation not in other.connections:
                    side.connections.discard(generation)
                    side.link.handle_lane_closed(generation, self.now)
                    self.settle()
            self.settle()


STEPS = [
    "deliver", "act", "open", "close", "close_old", "progress", "silence", "alive", "go", "tell", "forget", "pass_time",
    "tick", "relayed", "networks", "judge", "silence_newest", "carry", "stand_by",
]  # fmt: skip
steps = st.tuples(st.sampled_from(STEPS), st.booleans())
helpful = st.tuples(st.sampled_from(["deliver", "act", "open", "judge"]), st.booleans())
EXCHANGE = [(step, leads) for _ in range(7) for leads in (True, False) for step in ("act", "deliver")]
LINKED = [*EXCHANGE, ("open", True), ("open", False)]
LOOKING = [*LINKED, ("relayed", True), ("tick", True)]
COMPARING = [*LOOKING, *EXCHANGE, ("open", True), ("open", False)]
CARRIED = [("carry", True), ("carry", False)]
STANDING_BY = [*CARRIED, ("stand_by", True), *EXCHANGE, ("open", True), ("open", False)]
scripts = st.builds(
    list.__add__,
    st.sampled_from([[], LINKED, LOOKING, COMPARING, CARRIED, STANDING_BY]),
    st.lists(st.one_of(steps, helpful), max_size=60),
)


def play(script: list[tuple[str, bool]], allowed: int) -> World:
    world = World(allowed)
    for name, leads in script:
        getattr(world, name)(leads)
        world.settle()
    world.check()
    return world


def test_the_beginnings_lead_where_their_names_say() -> None:
    assert [side.link.in_use for side in play(LINKED, RETRIES).sides] == [1, 1]
    assert [side.link.generation for side in play([*LOOKING, *EXCHANGE], RETRIES).sides] == [2, 2]
    world = play(COMPARING, RETRIES)
    assert all(side.link.in_use == 1 and side.link.is_open(2) for side in world.sides)
    assert world.leader.to_judge == 0
    world.act(leads=True)
    assert world.leader.to_judge == 2


@settings(max_examples=250, deadline=None)
@given(scripts, st.sampled_from([0, 1, RETRIES]))
def test_two_honest_sides_never_break_the_protocol(script: list[tuple[str, bool]], allowed: int) -> None:
    play(script, allowed)


@settings(max_examples=200, deadline=None)
@given(scripts, st.sampled_from([0, 1, RETRIES]))
def test_whatever_happened_a_calm_end_connects_or_gives_up(script: list[tuple[str, bool]], allowed: int) -> None:
    world = play(script, allowed)
    world.calm_down()
    began = world.now
    states: set[LinkState] = set()
    for _ in range(600):
        for leads in (True, False):
            for name in ("deliver", "act", "open"):
                getattr(world, name)(leads)
                world.settle()
        world.judge(better=True)
        world.relayed(False)
        world.settle()
        world.heard()
        states = {side.link.state for side in world.sides}
        if any(side.mail or side.actions for side in world.sides):
            continue
        agreed = world.leader.link.in_use == world.follower.link.in_use
        if LinkState.DEAD in states or (
            states == {LinkState.UP} and agreed and world.leader.link.next_timeout() is None
        ):
            break
        due = [time for side in world.sides if (time := side.link.next_timeout()) is not None]
        assert due, "nothing waits for ever"
        world.now = max(world.now, min(due))
        for side in world.sides:
            side.link.handle_timeout(world.now)
        world.settle()
    world.check()
    # A link that stands on one side stands on the other, in the same generation, unless a side gave up.
    for side in world.sides:
        waits = side.link.next_timeout() is not None  # for a try that the other side has dropped
        assert LinkState.DEAD in states or side.connections == {side.link.in_use} or waits
    assert states == {LinkState.UP} or LinkState.DEAD in states
    assert world.now - began < MIN_PATIENCE


@settings(max_examples=100, deadline=None)
@given(scripts, st.sampled_from([0, 1, RETRIES]), st.booleans(), st.booleans())
def test_where_nothing_connects_any_more_both_sides_end(
    script: list[tuple[str, bool]], allowed: int, here: bool, there: bool
) -> None:
    world = play(script, allowed)
    began = world.now
    world.leader.online, world.follower.online = here, there
    for side, leads in ((world.leader, True), (world.follower, False)):
        world.tell(leads)
        while side.connections:
            world.close(leads)
        if side.carried:
            world.carry(leads)
        world.settle()
    for _ in range(300):
        for leads in (True, False):
            for name in ("deliver", "act"):
                getattr(world, name)(leads)
                world.settle()
        due = [time for side in world.sides if (time := side.link.next_timeout()) is not None]
        if not due:
            break
        world.now = max(world.now, min(due))
        for side in world.sides:
            side.link.handle_timeout(world.now)
        world.settle()
    assert [side.link.state for side in world.sides] == [LinkState.DEAD, LinkState.DEAD]
    assert world.now - began < MIN_PATIENCE + WAIT + 200.0


generations = st.integers(1, 4)
messages = st.one_of(
    st.builds(Offer, generations, st.integers(1, 4), st.just("sdp"), st.integers(0, 4)),
    st.builds(Answer, generations, st.just("sdp")),
    st.builds(Candidate, generations, st.sampled_from(["", "candidate"])),
    st.builds(Retry, generations, st.sampled_from(["", SILENT, BETTER])),
)
hostile = st.one_of(
    messages,
    st.sampled_from(
        [
            "open",
            "close",
            "local",
            "timeout",
            "progress",
            "silence",
            "alive",
            "away",
            "back",
            "moved",
            "stop",
            "relayed",
            "networks",
            "judged",
        ]
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.lists(hostile, max_size=60))
def test_a_hostile_peer_causes_protocol_errors_and_nothing_else(  # noqa: C901 - a table of steps
    leads: bool, script: list[SignalMessage | str]
) -> None:
    link = negotiator(leads)
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
                link.handle_local_candidate(Candidate(generation, "mine"), 1.0)
                (link.handle_local_offer if leads else link.handle_local_answer)(generation, "sdp", 1.0)
            case "timeout":
                link.handle_timeout(link.next_timeout() or 0.0)
            case "progress":
                link.handle_progress()
            case "silence":
                link.handle_silence(1.0)
            case "alive":
                link.handle_alive(1.0)
            case "away" | "back":
                link.handle_online(True, step == "back", 1.0)
            case "moved":
                link.handle_moved(1.0)
            case "relayed":
                link.handle_path(True, 1.0)
            case "networks":
                link.handle_networks(1.0)
            case "judged":
                link.handle_judged(generation, True, 1.0)
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

"""Two negotiators that never had a link, on networks of every speed: it comes where it can, or the error comes soon."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.link.actions import CreateAnswer, CreateOffer, GaveUp, Retrying, TakeAnswer
from p2pal.link.first_link import FIRST_LINK, FIRST_LINK_MOST, FIRST_SLACK, FIRST_TRY, PROMPT
from p2pal.link.negotiator import LinkState, Negotiator
from p2pal.wire.signal import Answer, Candidate, Offer, Retry

END = 120.0


@dataclass
class Net:
    """How fast everything is, in seconds.

    Attributes:
        mail: From one side to the other.
        skew: By which the follower begins later.
        gathering: After which each candidate of a generation is found; the last one ends them.
        opens: From the moment at which both sides know all candidates to the open lane; None if it never is.
        hangs: How many generations do not open in any case.
    """

    mail: float = 0.05
    skew: float = 0.0
    gathering: tuple[float, ...] = (0.0, 0.1)
    opens: float | None = 0.5
    hangs: int = 0


@dataclass
class Pair:
    """Both negotiators, their mail and their engines, on one clock."""

    net: Net
    now: float = 0.0
    ended: dict[str, float] = field(default_factory=dict)
    retries: list[Retrying] = field(default_factory=list)
    last_candidate: float = 0.0

    def __post_init__(self) -> None:
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self.leader, self.follower = (
            Negotiator(leader=leads, max_retries=3, backoff=1.0, jitter=lambda: 1.0) for leads in (True, False)
        )
        self.at(0.0, lambda: self.leader.start(self.now))
        self.at(self.net.skew, lambda: self.follower.start(self.now))

    def at(self, delay: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._numbers), work))

    def run(self) -> Pair:
        for _ in range(2000):
            timers = [side.next_timeout() for side in (self.leader, self.follower)]
            due = min((timer for timer in timers if timer is not None), default=END)
            if self._queue and self._queue[0][0] <= due:
                self.now, _, work = heapq.heappop(self._queue)
                work()
            elif due >= END:
                break
            else:
                self.now = max(self.now, due)
                for side in (self.leader, self.follower):
                    side.handle_timeout(self.now)
            self._settle()
        return self

    def _settle(self) -> None:
        for side, other in ((self.leader, self.follower), (self.follower, self.leader)):
            name = "leader" if side is self.leader else "follower"
            for action in side.actions():
                if isinstance(action, CreateOffer | CreateAnswer):
                    self._gather(side, action)
                elif isinstance(action, TakeAnswer):
                    self._connect(action.generation)
            for message in side.messages():
                assert isinstance(message, (Offer, Answer, Candidate, Retry))
                delay = self.net.mail + (self.net.skew if side is self.leader else 0.0)
                self.at(delay, lambda message=message, other=other: other.handle_message(message, self.now))  # type: ignore[misc]
            for event in side.events():
                if isinstance(event, GaveUp):
                    self.ended[name] = self.now
                elif isinstance(event, Retrying):
                    self.retries.append(event)

    def _gather(self, side: Negotiator, action: CreateOffer | CreateAnswer) -> None:
        generation = action.generation
        if isinstance(action, CreateOffer):
            side.handle_local_offer(generation, "offer", self.now)
        else:
            side.handle_local_answer(generation, "answer", self.now)
        for number, delay in enumerate(self.net.gathering):
            text = "" if number == len(self.net.gathering) - 1 else f"candidate {number}"
            self.at(delay, lambda text=text: self._found(side, generation, text))  # type: ignore[misc]

    def _found(self, side: Negotiator, generation: int, text: str) -> None:
        if text and generation == 1 and side.generation == 1 and side.state is not LinkState.DEAD:
            self.last_candidate = self.now + self.net.mail + self.net.skew
        side.handle_local_candidate(Candidate(generation, text), self.now)

    def _connect(self, generation: int) -> None:
        if self.net.opens is None or generation <= self.net.hangs:
            return
        known = max(self.net.gathering) + self.net.mail + self.net.skew
        for side in (self.leader, self.follower):
            self.at(known + self.net.opens, lambda side=side: side.handle_lane_open(generation, self.now))  # type: ignore[misc]

    @property
    def up(self) -> bool:
        return self.leader.state is self.follower.state is LinkState.UP


def test_no_path_on_a_fast_network_is_soon_known() -> None:
    pair = Pair(Net(opens=None)).run()
    assert FIRST_LINK <= pair.ended["leader"] <= FIRST_LINK + 0.5
    assert pair.ended["leader"] <= pair.ended["follower"] <= 20.0
    assert pair.retries
    assert all(retry.attempts is None for retry in pair.retries)


def test_a_slow_relay_gets_the_time_it_needs() -> None:
    """A round trip of 2 seconds: the relay's address is known after 10, and its lane open 10 later."""
    pair = Pair(Net(mail=1.0, skew=1.0, gathering=(10.0, 10.1), opens=8.0)).run()
    assert pair.up
    assert pair.leader.in_use == 1
    assert pair.retries == []


@pytest.mark.parametrize("mail", [0.01, 0.5])
def test_a_first_attempt_that_hangs_is_followed_by_one_that_has_time(mail: float) -> None:
    pair = Pair(Net(mail=mail, hangs=1, opens=1.0)).run()
    assert pair.up
    assert pair.leader.in_use == 2


delays = st.floats(0, 12)


@given(
    mail=st.floats(0, FIRST_SLACK / 2), skew=st.floats(0, FIRST_SLACK / 2), gathering=st.lists(delays, max_size=5),
    hangs=st.integers(0, 3), opens=st.none() | st.floats(0, 20),
)  # fmt: skip
@settings(deadline=None, max_examples=200)
def test_it_comes_up_or_ends_in_time(
    mail: float, skew: float, gathering: list[float], hangs: int, opens: float | None
) -> None:
    times = (*sorted(gathering), max(gathering, default=0.0))
    pair = Pair(Net(mail, skew, times, opens, hangs)).run()
    if not pair.up:
        leader, follower = pair.ended.get("leader"), pair.ended.get("follower")
        if leader is None or follower is None:
            return  # the last word of one is on its way: the lane opened on one side
        assert leader <= min(pair.last_candidate + FIRST_LINK, FIRST_LINK_MOST) + 1e-6
        assert leader - 1e-6 <= follower <= skew + FIRST_LINK_MOST + FIRST_SLACK + 1e-6
        assert leader >= FIRST_LINK
    ready = times[-1] + 2 * (mail + skew) + (opens or 0.0)  # from the start to the answer, and on to the lane
    if (
        opens is not None
        and not hangs
        and opens + mail + skew < min(FIRST_TRY, FIRST_LINK - PROMPT)
        and ready < FIRST_LINK
    ):
        assert pair.up
        assert pair.leader.in_use == 1

"""How a link comes up, and comes back: a pure machine of generations (RFC 8829 offer and answer, RFC 8838 candidates).

The sender leads. A *generation* is one try at a connection: an offer, an answer, candidates, a lane. Only the leader
starts one, and numbers only grow, so a late message of an old generation is recognised and dropped. The follower
may ask for the next one (:class:`~p2pal.wire.signal.Retry`).

At most two generations live at a time: the one *in use*, whose lane is open, and the newest, which is being *tried*,
or whose lane is open as well and is compared with the other. The state says which of them there are::

    IDLE ──start──▶ CONNECTING ──lane opens──▶ UP ──silence──▶ UP, and a challenger is tried
                       ▲  │ attempt fails       │                 │ the challenger's lane opens: it is in use, and
                       │  ▼                     │ lane closes     │ the old connection is dropped
                    WAITING ◀───────────────────┴─────────────────┘ the old lane is heard again: the challenger is
                       │ patience at its end                         dropped
                       ▼
                     DEAD

**A new connection, not an ICE restart.** When a path was cut and comes back, the engine's connection survives, but its
data moves again only when SCTP's retransmission timer fires, which doubled all the while (RFC 9260, section 6.3.3).
An ICE restart keeps that timer. A new connection starts with a fresh one, and in slow start. So a lane that is silent
is challenged at once, while the old one stays: whichever delivers first wins.

**A better path.** While the lane in use is heard, the leader may try a challenger for a better path
(:mod:`p2pal.link.path_upgrade`). When its lane opens, both stay until the leader has compared the two paths
(:class:`~p2pal.link.actions.Judge`) and drops the worse one; the follower takes what is left. Of two open lanes a
silent one is dropped by whoever notices. It costs no retry, nobody is told, and it gives way to any repair: a retry of
the follower's says that it hears nothing there, or has no lane at all, and that what is tried will not do.

**Beside a datagram lane.** While one carries the session (:mod:`p2pal.link.datagrams`) nothing is missed here: a lane
that is lost or silent is just dropped, a failure counts for nothing, no better path is looked for. A generation may be
started as a standby. When the datagram lane carries no more, the standby is in use, or the link is lost.

**When the next one comes**, and after which failure none does: :mod:`p2pal.link.retry`.

The shell carries out the actions in order, each to its end before the next: that is what keeps a candidate behind the
description it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Final

from p2pal.errors import ProtocolError
from p2pal.link.actions import Action, NegotiatorEvent
from p2pal.link.deadlines import earliest, passed
from p2pal.link.generations import Generations
from p2pal.link.path_upgrade import Improvement
from p2pal.link.presence import FLAP
from p2pal.link.retry import Repair
from p2pal.wire.signal import BETTER, SILENT, Answer, Candidate, Offer, Retry, SignalMessage

DEFAULT_WAIT: Final = 600.0


class LinkState(Enum):
    """Where the link is."""

    IDLE = auto()
    CONNECTING = auto()
    UP = auto()
    WAITING = auto()
    DEAD = auto()


class Negotiator:
    """One side of the link.

    Args:
        leader: Whether this side starts generations (the sender does).
        max_retries: Failures that are tried again, counted from the last progress; None for no end.
        backoff: Seconds before a retry that follows a failed one; doubles each time.
        jitter: Returns a factor around 1 for a delay: the machine has no randomness.
        wait: Seconds that a link which is lost waits in all for the network or the other side.
        improve: Whether a better path is looked for while one is in use.
        engine: Whether there are generations at all. Without, the link is up while a datagram lane carries it.
    """

    def __init__(
        self,
        *,
        leader: bool,
        max_retries: int | None,
        backoff: float,
        jitter: Callable[[], float],
        wait: float = DEFAULT_WAIT,
        improve: bool = True,
        engine: bool = True,
    ) -> None:
        self._leader = leader
        self._repair = Repair(leader=leader, max_retries=max_retries, backoff=backoff, jitter=jitter, wait=wait)
        # Without a retry a path that turns out not to last would be the end.
        self._improvement = Improvement(enabled=improve and max_retries != 0)
        self._started = self._dead = self._carried = False
        self._engine = engine
        self._live = Generations(leader=leader)

    @property
    def state(self) -> LinkState:
        """Where the link is."""
        if self._dead:
            return LinkState.DEAD
        if not self._started:
            return LinkState.IDLE
        if self._live.used:
            return LinkState.UP
        return LinkState.CONNECTING if self._live.trying else LinkState.WAITING

    @property
    def generation(self) -> int:
        """The newest generation; 0 before the first."""
        return self._live.newest

    @property
    def in_use(self) -> int:
        """The generation whose lane is in use; 0 if there is none."""
        return self._live.used

    def is_open(self, generation: int) -> bool:
        """Whether the lane of this generation is open, and kept."""
        return self._live.is_open(generation)

    def start(self, now: float, *, after: float = 0.0) -> None:
        """Begin: the leader makes its first offer, the follower waits for it.

        Args:
            now: The time.
            after: Seconds for which the leader gives another kind of lane a head start.
        """
        if self._started or self._dead:
            raise RuntimeError("the link was started before")
        self._started = True
        self._repair.start(now)
        if self._leader and after:
            self._repair.begin_at(now + after)
        elif self._leader:
            self._offer(now)

    def disable_engine(self) -> None:
        """The other side has none: no generation is started from now on."""
        self._engine = False
        self._live.drop_trying()

    def hurry(self, now: float) -> None:
        """Leader: there is no other kind of lane, so no head start either."""
        if self._leader and self._started and not self.generation and self._wanted:
            self._repair.begin_at(now)

    def stop(self) -> None:
        """End: nothing more comes from here."""
        self._live.drop_all()
        self._end()

    # The other side's messages

    def handle_message(self, message: Offer | Answer | Candidate | Retry, now: float) -> None:
        """Take a signaling message of the peer.

        Raises:
            ProtocolError: If the peer plays the other role's part, or floods.
        """
        if self._dead:
            return
        if not self._started:
            raise ProtocolError("the other side began to connect before the key exchange was over")
        self._live.exchange.check(message)
        if isinstance(message, Offer):
            self._handle_offer(message, now)
        elif isinstance(message, Retry):
            self._handle_retry(message, now)
        elif self._live.takes(message.generation):
            self._live.take(message)
            if isinstance(message, Candidate):
                self._note_candidate(message, now, ours=False)
        else:
            return  # late mail of a generation that is over
        self._look_around(now)

    def _handle_offer(self, offer: Offer, now: float) -> None:
        if offer.generation <= self.generation:
            return
        self._live.drop_trying()
        if self._live.rival and offer.beside == self._live.rival:
            self._take_rival(now)  # as the leader did
        self._live.drop_rival()
        allowed = self._engine and self._live.exchange.may_answer(now)
        if allowed and not offer.beside:
            self._live.answer(offer, now)
            self._repair.on_begun(now)
        elif allowed and not self._live.missed and self._improvement.enabled:
            self._live.answer(offer, now)
        else:
            self._live.pass_over(offer)
            if self._wanted:
                self._repair.await_offer(now)
                if allowed and self._repair.linked:
                    self._live.ask()  # where the lane is missed something else is of use

    def _handle_retry(self, retry: Retry, now: float) -> None:
        """The follower lost that generation, or hears nothing on it."""
        if retry.reason == BETTER:
            self._improvement.on_networks(now)
        elif self._carried:
            # Here the datagram lane is heard; there it is not.
            if retry.generation == self._live.trying:
                self._live.drop_trying()
            if retry.generation == self._live.used:
                self._live.drop_used()
            if not self._live.trying and not self._live.used:
                self._repair.challenge(now)
        elif not retry.generation:
            self._repair.challenge(now)
        elif (self._live.improving or self._live.rival) and retry.generation in (self.generation, self._live.used):
            # It has no other lane that it hears, or it would not ask.
            self._live.drop_improvement()
            if retry.reason == SILENT:
                self._repair.challenge(now)
            else:
                self._live.drop_used()
                self._lane_lost(now)
        elif retry.generation == self._live.trying:
            self._attempt_failed(now)
        elif retry.reason != SILENT and retry.generation == self._live.used:
            self._live.drop_used()
            self._lane_lost(now)
        elif retry.generation == self.generation and self.state is LinkState.UP:
            # Here the lane is heard; there it is not, and only what is new can tell who is right.
            self._repair.challenge(now)

    # The engine

    def handle_local_offer(self, generation: int, sdp: str, now: float) -> None:  # noqa: ARG002 - one shape for all inputs
        """The engine made the offer that :class:`CreateOffer` asked for."""
        self._live.describe(generation, sdp)

    def handle_local_answer(self, generation: int, sdp: str, now: float) -> None:  # noqa: ARG002
        """The engine made the answer that :class:`CreateAnswer` asked for."""
        self._live.describe(generation, sdp)

    def handle_local_candidate(self, candidate: Candidate, now: float) -> None:
        """The engine found a candidate; an empty one ends them."""
        if self._live.takes(candidate.generation):
            self._live.exchange.local_candidate(candidate)
            self._note_candidate(candidate, now, ours=True)

    def handle_lane_open(self, generation: int, now: float) -> None:
        """The lane of this generation is open: it is in use from now on, or first compared with the one that is."""
        if generation != self._live.trying or not generation:
            return
        self._live.open(now)
        if self._live.rival:
            return
        if not self._carried:
            self._repair.on_replaced()
        self._take_up(now)
        self._look_around(now)

    def handle_judged(self, generation: int, better: bool, now: float) -> None:
        """Whether the path of this generation is better than the one in use, as :class:`Judge` asked."""
        if self._dead or not self._leader or not generation or generation != self._live.rival:
            return
        if better:
            self._improvement.on_better(now)
            self._take_rival(now)
        else:
            self._live.drop_rival()
        self._look_around(now)

    def handle_lane_closed(self, generation: int, now: float) -> None:
        """The lane of this generation, or the connection before it opened, is over."""
        if not generation:
            return
        trying, used = self._live.trying, self._live.used
        self._live.closed(generation)
        if generation == trying:
            self._attempt_failed(now)
        elif generation == used:
            self._lane_lost(now)
        self._look_around(now)

    # What the session and the mailbox noticed

    def handle_silence(self, now: float, generation: int = 0) -> None:
        """A generation's lane (0: the one in use) has been silent for seconds while something is due.

        Saying it again does no harm.
        """
        generation = generation or self._live.used
        if generation and generation == self._live.rival:
            self._live.drop_rival()
        if self._carried and generation == self._live.used:
            self._live.drop_used()
            return
        if not self._live.used or generation != self._live.used or self._live.silent or self._dead:
            return
        if self._live.rival:
            self._take_rival(now)
            return
        self._live.fall_silent()
        self._repair.on_silent(now)
        if not self._live.trying and not self._repair.hopeless:
            self._retry(now, counted=self._repair.both_online)
        self._look_around(now)

    def handle_alive(self, now: float, generation: int = 0) -> None:
        """A generation's lane (0: the one in use) is heard again: then the challenger of that is not needed."""
        if not self._live.silent or self._dead or (generation or self._live.used) != self._live.used:
            return
        self._live.wake()
        if self._leader:
            # The follower leaves that to the leader, which may hear less than it does.
            self._live.drop_trying()
        self._repair.on_progress()
        self._repair.on_up(self._live.used, now)
        self._look_around(now)

    def handle_progress(self) -> None:
        """The session delivered something new: earlier failures no longer count."""
        if self._live.used or self._carried:
            self._repair.on_progress()

    def handle_online(self, here: bool, there: bool, now: float) -> None:
        """Whether this side reaches the server, and whether the other one does as far as the server knows."""
        if self._dead:
            return
        away = self._repair.on_presence(here, there, now)
        if away is not None and self._wanted and self._repair.linked and self._started:
            self._both_back(now, flap=away < FLAP)
        self._look_around(now)

    def _both_back(self, now: float, *, flap: bool) -> None:
        if self._live.trying and not flap:
            self._repair.excuse()
            if self._leader:
                # What it gathered while there was no network is of no use.
                self._live.drop_trying()
        if not self._live.trying and (not flap or self._repair.due is None):
            self._repair.resume(now)

    def handle_moved(self, now: float) -> None:
        """Both sides met at another place: what was on its way between them at the old one is lost."""
        if self._dead or not self._started:
            return
        if self._leader:
            self._live.drop_trying()
            if self._wanted:
                self._repair.begin_at(now)
        elif self._wanted and not self._live.trying:
            self._live.ask(again=True)
        self._look_around(now)

    # A datagram lane beside it

    def handle_carried(self, carried: bool, now: float) -> None:
        """Whether a datagram lane carries the session from now on."""
        if self._dead or not self._started or carried == self._carried:
            return
        self._carried = carried
        if carried:
            self._live.drop_improvement()
            if self._live.silent:
                self._live.drop_used()
                self._live.lose()
            self._repair.on_carried(now)
        elif not self._live.missed:
            self._take_up(now)
        else:
            self._repair.on_lost(now)
            if self._repair.hopeless:
                self._give_up()
            elif not self._live.trying:
                self._retry(now, counted=self._repair.both_online)
                if self._engine and not self._leader and not self.generation:
                    self._live.exchange.say(Retry(0))
        self._look_around(now)

    def handle_standby(self, now: float) -> None:
        """Leader: start a generation beside the datagram lane that carries the session, unless there is one."""
        wanted = self._leader and self._engine and self._carried and not self._dead
        if wanted and not self.standing_by:
            self._offer(now)

    @property
    def standing_by(self) -> bool:
        """Whether there is a generation beside the datagram lane, or one is tried."""
        return bool(self._live.trying or self._live.used)

    # A better path

    def handle_path(self, relayed: bool, now: float) -> None:
        """The lane in use takes a relayed path, or another one. Saying it again does no harm."""
        if self._leader and self._live.used:
            self._improvement.on_path(relayed, now)

    def handle_networks(self, now: float) -> None:
        """This machine is in another network than before, or in one more."""
        if self._live.used:
            self._improvement.on_networks(now)

    def keep_path(self) -> None:
        """From now on no better path is looked for: one of the sides hides its addresses."""
        self._improvement = Improvement(enabled=False)

    @property
    def _improvable(self) -> bool:
        """Whether a better path can be looked for now."""
        quiet = self._repair.due is None and (self._live.improving or not self._live.trying)
        well = bool(self._live.used) and not self._live.silent and not self._live.rival and not self._dead
        return well and quiet and not self._carried and self._repair.both_online

    def _look_for_better(self, now: float) -> None:
        self._improvement.on_begun(now)
        if self._leader:
            self._live.offer(now, better=True)
        else:
            self._live.exchange.say(Retry(self.generation, BETTER))

    def _take_rival(self, now: float) -> None:
        """The lane that was in use is over, or worse than the other one."""
        self._live.take_rival()
        self._take_up(now)

    # Time

    def handle_timeout(self, now: float) -> None:
        """The time that :meth:`next_timeout` named has come."""
        if self._dead:
            return
        if self._repair.is_over(now):
            self._give_up()
            return
        if passed(self._live.attempt_ends, now):
            self._attempt_failed(now)
        if passed(self._live.judged_by, now):
            self._live.drop_rival()
        if self._improvable and passed(self._improvement.at, now):
            self._look_for_better(now)
        if self._repair.take_due(now) and not self._dead:
            if self._leader:
                self._offer(now)
            else:
                self._live.miss()  # the leader should have made an offer long ago
                self._retry(now, counted=True)
        self._look_around(now)

    def next_timeout(self) -> float | None:
        """When :meth:`handle_timeout` is due, or None."""
        if self._dead:
            return None
        return earliest(
            self._live.attempt_ends,
            self._live.judged_by,
            self._repair.next_timeout(missed=self._missed),
            self._improvement.at if self._improvable else None,
        )

    def messages(self) -> Iterator[SignalMessage]:
        """Drain the messages for the peer, in order."""
        return self._live.exchange.messages()

    def actions(self) -> Iterator[Action]:
        """Drain the actions for the engine, in order."""
        actions = self._live.actions
        while actions:
            yield actions.popleft()

    def events(self) -> Iterator[NegotiatorEvent]:
        """Drain what happened."""
        events = self._repair.events
        while events:
            yield events.popleft()

    # Generations

    @property
    def _missed(self) -> bool:
        """Whether there is no lane that is heard."""
        return self._live.missed and not self._carried

    @property
    def _wanted(self) -> bool:
        """Whether there is no lane that is heard, and another is to be had."""
        return self._missed and not self._repair.hopeless

    def _offer(self, now: float) -> None:
        if self._engine:
            self._live.offer(now)
        self._repair.on_begun(now)
        if not self._engine and self._repair.linked:
            self._retry(now, counted=self._repair.both_online)  # what is tried then is another datagram lane

    def _note_candidate(self, candidate: Candidate, now: float, *, ours: bool) -> None:
        """The first generation's say how fast both sides' networks are."""
        if self._live.trying != 1:
            return
        ends = self._repair.on_first_candidate(ours=ours, last=not candidate.candidate, now=now)
        if ends is not None:
            self._live.shorten(ends)

    def _take_up(self, now: float) -> None:
        """Another lane is in use."""
        self._improvement.on_link()
        if not self._carried:
            self._repair.on_up(self._live.used, now)

    # Failures

    def _attempt_failed(self, now: float) -> None:
        self._live.drop_trying()
        if self._missed:
            self._retry(now, counted=self._repair.counts(now))

    def _lane_lost(self, now: float) -> None:
        if self._live.rival:
            self._take_rival(now)
            return
        was_silent = self._live.lose()
        if self._carried:
            return
        self._repair.on_lost(now)
        if self._repair.hopeless:
            self._give_up()
        elif not self._live.trying and not (was_silent and self._repair.due is not None):
            self._retry(now, counted=self._repair.both_online and not was_silent)

    def _retry(self, now: float, *, counted: bool) -> None:
        """Something failed: go on, unless that was enough."""
        if not self._repair.retry(now, counted=counted):
            self._give_up()
        elif not self._leader and self._engine:
            self._live.ask()

    def _look_around(self, now: float) -> None:
        self._repair.look_around(now, missed=self._missed and not self._dead)

    def _give_up(self) -> None:
        self._end()
        self._repair.give_up()

    def _end(self) -> None:
        self._dead = True
        self._live.forget()

"""At which addresses the two sides reach each other (after ICE, RFC 8445, and path validation, RFC 9000, section 8.2).

Every pair of one of our sockets and one of the peer's candidates is probed, paced, and a bounded number of times. A
probe carries a nonce that only its receiver can know. A path is valid once an answer that quotes it came from the very
address that was asked, so nothing but probes ever goes to an address that has not answered, and a lying peer can aim
nothing at others. The sender of the files nominates the best valid path, and says so in its probes; both sides send
over the nominated path as soon as it is valid for themselves.

An address from which something genuine comes and that is not known (a NAT that rebinds, a machine that moved) becomes
one more candidate, and is validated like all others before anything follows it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import Final

from p2pal.lanes.address_zones import Zones
from p2pal.lanes.candidate_filter import FIRST_PORT
from p2pal.lanes.udp.acks import NEVER
from p2pal.lanes.udp.addresses import (
    MAX_CANDIDATES,
    MAX_LOCALS,
    Address,
    CandidateKind,
    DatagramCandidate,
    is_ipv6,
    may_try,
    plain,
)
from p2pal.lanes.udp.budget import ProbeBudget
from p2pal.lanes.udp.entropy import Entropy
from p2pal.lanes.udp.packet import AnswerFields, ProbeFields

PACE: Final = 0.005
"""Seconds between two probes (RFC 8445, section 14.2)."""
FIRST_WAIT: Final = 0.1
"""Seconds until the second probe of a pair; each further wait is twice as long."""
LONGEST_WAIT: Final = 2.0
MAX_PAIR_PROBES: Final = 10
"""Probes over one pair that go unanswered."""
KEEP_ALIVE: Final = 15.0
"""Seconds between probes over the valid paths, so that NATs keep their bindings (RFC 8445, section 11)."""
KEPT_PATHS: Final = 3
"""Valid paths that are kept alive."""
CONSENT: Final = 30.0
"""Seconds for which a path is valid after its last answer (RFC 7675, section 5.1)."""
WITHDRAWN: Final = 2 * CONSENT
"""Seconds after its last answer from which nothing goes over the path in use any more, whatever else is heard."""
MIN_GAIN: Final = 0.75
"""Of the round trip in use: a path of the same class must be faster than this to take over."""
LEAST_GAIN: Final = 0.001
"""Seconds that it must be faster by."""
TROUBLE_PAUSE: Final = 0.25
"""Seconds from one search because of silence to the next."""
MAX_NONCES: Final = 256
"""Probes whose answers are awaited."""
MAX_ANSWERS: Final = 32
"""Answers that wait to be sent."""


class PairState:
    """One of our sockets and one of the peer's addresses.

    Attributes:
        address: Where.
        answered_at: When it last answered.
        kind: What the peer's address is.
        due: When it is probed next.
        probes: How often it was since it last answered.
        rtt: The round trip; 0 before the first answer.
        valid_until: Until when it is valid.
        mapped: Where the peer sees us over this path, once it told.
        unchanged: The peer's datagrams come from the very address that its socket is bound to.
    """

    __slots__ = ("address", "answered_at", "due", "kind", "mapped", "probes", "rtt", "unchanged", "valid_until", "wait")

    def __init__(self, address: Address, kind: CandidateKind, due: float) -> None:
        self.address = address
        self.kind = kind
        self.due = due
        self.probes = 0
        self.wait = FIRST_WAIT
        self.rtt = 0.0
        self.answered_at = self.valid_until = -NEVER
        self.mapped: tuple[str, int] | None = None
        self.unchanged = False


class Connectivity:
    """The pairs of one lane, and which one is used.

    Args:
        leads: Whether we nominate: the sender of the files does.
        entropy: For nonces.
        zones: Where the peer may be.
        broadcast: Addresses that mean everybody in a network of this machine; it may change as the machine moves.
        budget: The session's, of probes to addresses that do not answer; None for one of its own.

    Attributes:
        active: The path in use, None before the first is valid.
        heard: When something genuine last came, over any path.
    """

    __slots__ = (
        "_answers", "_broadcast", "_budget", "_entropy", "_leads", "_locals", "_nominated", "_nonces", "_pace_at",
        "_pairs", "_remotes", "_told", "_troubled_at", "_zones", "active", "heard",
    )  # fmt: skip

    def __init__(
        self,
        entropy: Entropy,
        *,
        leads: bool,
        zones: Zones,
        broadcast: Container[str] = (),
        budget: ProbeBudget | None = None,
    ) -> None:
        self._leads = leads
        self._entropy = entropy
        self._zones = zones
        self._broadcast = broadcast
        self._budget = ProbeBudget() if budget is None else budget
        self._locals: dict[int, DatagramCandidate] = {}
        self._remotes: dict[tuple[str, int], CandidateKind] = {}
        self._pairs: dict[Address, PairState] = {}
        self._nonces: dict[bytes, tuple[Address, float, bool]] = {}
        self._answers: deque[tuple[Address, AnswerFields]] = deque(maxlen=MAX_ANSWERS)
        self._nominated: Address | None = None
        self._told = False  # the peer knows which path we nominated
        self._pace_at = -NEVER
        self._troubled_at = -NEVER
        self.active: PairState | None = None
        self.heard = -NEVER

    def add_local(self, index: int, ip: str, port: int, now: float) -> None:
        """One more of our sockets, bound to an address.

        Raises:
            ValueError: If there are :data:`~p2pal.lanes.udp.addresses.MAX_LOCALS` already, or the index is taken.
        """
        if index in self._locals or len(self._locals) >= MAX_LOCALS:
            raise ValueError("there are as many sockets as a lane has")
        self._locals[index] = DatagramCandidate(CandidateKind.HOST, plain(ip), port)
        for (remote, at), kind in self._remotes.items():
            self._pair(Address(remote, at, index), kind, now)

    def remove_local(self, index: int) -> None:
        """One of our sockets is gone, with every path over it."""
        self._locals.pop(index, None)
        for address in [a for a in self._pairs if a.local == index]:
            del self._pairs[address]
        if self.active is not None and self.active.address.local == index:
            self.active = None
            self._nominated = None

    def add_remote(self, candidate: DatagramCandidate, now: float) -> bool:
        """The peer told a candidate. Return whether it is used: :data:`MAX_CANDIDATES` at most, no odd addresses."""
        told = sum(kind is not CandidateKind.PEER_REFLEXIVE for kind in self._remotes.values())
        if told >= MAX_CANDIDATES or not may_try(candidate, self._zones):
            return False
        key = plain(candidate.ip), candidate.port
        kind = min(candidate.kind, CandidateKind.SERVER_REFLEXIVE)
        self._remotes[key] = kind
        for index in self._locals:
            pair = self._pair(Address(*key, index), kind, now)
            if pair is not None:
                pair.kind = kind
        return True

    def _pair(self, address: Address, kind: CandidateKind, now: float) -> PairState | None:
        local = self._locals.get(address.local)
        if local is None or is_ipv6(local.ip) != is_ipv6(address.ip):
            return None
        pair = self._pairs.get(address)
        if pair is None:
            pair = self._pairs[address] = PairState(address, kind, now)
        return pair

    # What comes

    def handle_probe(self, probe: ProbeFields, source: Address, now: float) -> None:
        """A genuine PROBE came: it is answered, and its address is validated if it is new.

        Nothing goes to an address that no peer can be at: a sender writes whatever source it likes on what it sends.
        """
        pair = self.on_genuine(source, now)
        if pair is None:
            return
        self._answers.append((source, AnswerFields(probe.nonce, source.ip, source.port)))
        if probe.port:
            pair.unchanged = (probe.ip, probe.port) == source[:2]
        if probe.troubled:
            self.search(now)
        if probe.nominated and not self._leads:
            self._nominated = source
            self._choose(now)

    def on_genuine(self, source: Address, now: float) -> PairState | None:
        """Something that only the peer can have sealed came from there."""
        self.heard = now
        return self.on_tagged(source, now)

    def on_tagged(self, source: Address, now: float) -> PairState | None:
        """Something with the lane's tag came from there, which who listens on the way can have sent as well."""
        pair = self._pairs.get(source) or self._discover(source, now)
        if pair is None:
            return None
        if now >= pair.valid_until and pair.due > now and pair.probes < MAX_PAIR_PROBES:
            pair.due = now  # a triggered check (RFC 8445, section 7.3.1.4)
        return pair

    def _discover(self, source: Address, now: float) -> PairState | None:
        """Take an address that nobody told as a candidate; the oldest such one that is not in use makes room."""
        candidate = DatagramCandidate(CandidateKind.PEER_REFLEXIVE, source.ip, source.port)
        if source.port < FIRST_PORT or source.ip in self._broadcast or not may_try(candidate, self._zones):
            return None
        key = source.ip, source.port
        if key not in self._remotes:
            found = [k for k, kind in self._remotes.items() if kind is CandidateKind.PEER_REFLEXIVE]
            if len(found) >= MAX_CANDIDATES:
                unused = [k for k in found if self.active is None or self.active.address[:2] != k]
                if not unused:
                    return None
                del self._remotes[unused[0]]
                for address in [a for a in self._pairs if a[:2] == unused[0]]:
                    del self._pairs[address]
            self._remotes[key] = CandidateKind.PEER_REFLEXIVE
        return self._pair(source, self._remotes[key], now)

    def handle_answer(self, answer: AnswerFields, source: Address, now: float) -> bool:
        """A genuine ANSWER came. Return whether it makes its path valid: it quotes a nonce that was sent there."""
        asked = self._nonces.get(answer.nonce)
        pair = self._pairs.get(source)
        if asked is None or asked[0] != source or pair is None:
            return False
        del self._nonces[answer.nonce]
        self._budget.answered(source, now)
        sample = max(now - asked[1], 1e-6)
        pair.rtt = min(pair.rtt, sample) if now < pair.valid_until else sample
        pair.answered_at = now
        pair.valid_until = now + CONSENT
        pair.probes = 0
        pair.wait = FIRST_WAIT
        pair.due = now + KEEP_ALIVE
        pair.mapped = answer.ip, answer.port
        self.heard = now
        if asked[2] and pair is self.active:
            self._told = True
        self._choose(now)
        if self._leads and self.active is not None and not self._told:
            # A late answer to a probe of before puts off nothing: the peer has to hear of the nomination.
            self.active.due = min(self.active.due, now + max(2 * self.active.rtt, PACE))
        return True

    # Which path

    def _choose(self, now: float) -> None:
        if not self._leads:
            pair = self._pairs.get(self._nominated) if self._nominated is not None else None
            if pair is not None and now < pair.valid_until:
                self.active = pair
            return
        valid = [pair for pair in self._pairs.values() if now < pair.valid_until]
        if not valid:
            return
        best = min(valid, key=lambda pair: (self.is_punched(pair), pair.rtt))
        used = self.active
        if used is not None and used is not best and now < used.valid_until:
            same = self.is_punched(best) == self.is_punched(used)
            if same and best.rtt > min(MIN_GAIN * used.rtt, used.rtt - LEAST_GAIN):
                return
        if best is not used:
            self.active = best
            self._told = False
            best.due = now

    def is_punched(self, pair: PairState) -> bool:
        """Whether a NAT is on the way, as far as is known."""
        local = self._locals.get(pair.address.local)
        behind = pair.mapped is not None and local is not None and pair.mapped != (local.ip, local.port)
        theirs = pair.kind is not CandidateKind.HOST and not pair.unchanged
        return theirs or (behind and local is not None and local.ip not in _ANY)

    def is_valid(self, address: Address, now: float) -> bool:
        """Whether a path is valid."""
        pair = self._pairs.get(address)
        return pair is not None and now < pair.valid_until

    @property
    def withdrawn_at(self) -> float:
        """When the path in use has gone without an answer for so long that the lane must leave it alone."""
        return NEVER if self.active is None else self.active.answered_at + WITHDRAWN

    def search(self, now: float) -> None:
        """What is sent over the path in use is not answered: ask all that once answered, and the rest, anew."""
        if now < self._troubled_at + TROUBLE_PAUSE:
            return
        self._troubled_at = now
        for pair in self._pairs.values():
            pair.due = min(pair.due, now)
            pair.wait = FIRST_WAIT
            if now < pair.valid_until + CONSENT:
                # Valid only once it answers again; it answered just before, so the budget of others is not touched.
                pair.valid_until = min(pair.valid_until, now)
                pair.probes = 0

    # What goes

    def outputs(self, now: float) -> list[tuple[Address, ProbeFields | AnswerFields]]:
        """Return the answers and probes that leave now, each once."""
        if self.next_timeout() > now:
            return []
        found: list[tuple[Address, ProbeFields | AnswerFields]] = list(self._answers)
        self._answers.clear()
        for pair in sorted(self._pairs.values(), key=lambda pair: (pair.due, pair.kind)):
            if pair.due > now or self._pace_at > now:
                break
            if self._probe(pair, now):
                self._pace_at = now + PACE
                found.append((pair.address, self._ask(pair, now)))
        return found

    def _probe(self, pair: PairState, now: float) -> bool:
        """Set when the pair is probed again; return whether it is now."""
        if now < pair.valid_until:
            if self._leads and pair is self.active and not self._told:
                pair.due = now + max(2 * pair.rtt, PACE)
                return True
            kept = sorted((p for p in self._pairs.values() if now < p.valid_until), key=lambda p: p.rtt)
            pair.due = now + min(KEEP_ALIVE, max(pair.valid_until - now - KEEP_ALIVE / 2, 1.0))
            return pair is self.active or pair in kept[:KEPT_PATHS]
        # The address of one that answered long ago may be somebody else's by now (RFC 7675, section 5.1).
        answered = now < pair.valid_until + CONSENT
        if pair.probes >= MAX_PAIR_PROBES and not (answered and pair is self.active):
            pair.due = NEVER
            return False
        # A machine that moved has other networks than when the address was named.
        if not answered and (pair.address.ip in self._broadcast or not self._budget.take(pair.address, now)):
            pair.due = NEVER
            return False
        pair.probes += 1
        pair.due = now + pair.wait
        pair.wait = min(2 * pair.wait, LONGEST_WAIT)
        return True

    def _ask(self, pair: PairState, now: float) -> ProbeFields:
        nonce = self._entropy.nonce()
        nominated = self._leads and pair is self.active
        self._nonces[nonce] = (pair.address, now, nominated)
        while len(self._nonces) > MAX_NONCES:
            del self._nonces[next(iter(self._nonces))]
        own = self._locals[pair.address.local]
        return ProbeFields(nonce, nominated, now < self._troubled_at + LONGEST_WAIT, own.ip, own.port)

    def next_timeout(self) -> float:
        """Return when :meth:`outputs` is due; infinity if it never is."""
        if self._answers:
            return -NEVER
        due = min((pair.due for pair in self._pairs.values()), default=NEVER)
        return due if due == NEVER else max(due, self._pace_at)


_ANY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, never bound to

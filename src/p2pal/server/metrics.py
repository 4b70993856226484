"""What happened on this server instance, counted, and the store with a stop watch.

Plain numbers: a count costs what an addition costs, and a server that nobody asks never loads the Prometheus library
(:mod:`p2pal.server.http.exposition`). Nothing here is named by what a client chose: every key comes from a list.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from time import perf_counter
from typing import Final

from p2pal.rate_limit import Rate
from p2pal.server.state import DENIALS, AppendMessage, Note, Rendezvous, RendezvousCommand
from p2pal.server.stores.base import Store, StoreListener
from p2pal.wire.rendezvous import CloseCode, State

EVENTS: Final = ("created", "joined", "met", "knocked", "served", "accepted", "completed", "aborted", "expired")
"""What happens to transfers; releases are counted by their reason."""

REASONS: Final = (
    *("silent", "gone", "left", "busy", "renewed", "over"),  # the server's own
    *("wrong-code", "version", "moved", "declined"),  # this program's senders'
)
"""Why attempts are released. A sender may give any other reason: that is ``other``."""

CLOSES: Final = frozenset((1000, 1006, 1009, *CloseCode))
"""Close codes that are counted one by one. A client may close with any other: that is ``other``."""

BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of a histogram's buckets, in seconds: from memory to a Redis that is about to be given up."""

FAILURES: Final = (
    "malformed",
    "websocket-expected",
    "not-found",
    "method-not-allowed",
    "timeout",
    "refused",
    "internal",
    "no-metrics",
)
"""Codes of HTTP errors that are no refusals of a command."""

STEPS: Final = ("create", "join", "meet", "authorise", "load", "execute", "spend")
"""The steps of a store that are measured."""

OTHER: Final = "other"


class Histogram:
    """How long something took. ``counts`` has one entry more than :data:`BUCKETS`, for what took longer."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class Watch:
    """Measures a ``with`` block, whether it succeeds or not."""

    __slots__ = ("_histogram", "_started")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = perf_counter()

    def __exit__(self, *_: object) -> None:
        self._histogram.observe(perf_counter() - self._started)


class Metrics:
    """The counts of one server instance, since it started.

    Attributes:
        events: What happened to transfers, by :data:`EVENTS`.
        releases: Attempts that were released, by :data:`REASONS` or ``other``.
        denials: Requests and commands that were refused, by code.
        requests: HTTP requests by method, route pattern and class of status, such as ``2xx``.
        sockets_opened: WebSockets that began.
        sockets_closed: WebSockets that ended, by close code or ``other``.
        stored: Messages that clients put into mailboxes, repeats included.
        stored_bytes: Bytes of their bodies.
        relayed: Messages sent to clients, repeats included.
        relayed_bytes: Bytes of their bodies.
        steps: What the store took for each of :data:`STEPS`.
    """

    def __init__(self) -> None:
        self.events = Counter(dict.fromkeys(EVENTS, 0))
        self.releases = Counter(dict.fromkeys((*REASONS, OTHER), 0))
        self.denials = Counter(dict.fromkeys((*DENIALS, *FAILURES), 0))  # all are there before the first: for alerts
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.sockets_opened = 0
        self.sockets_closed: Counter[str] = Counter()
        self.stored = 0
        self.stored_bytes = 0
        self.relayed = 0
        self.relayed_bytes = 0
        self.steps = {name: Histogram() for name in STEPS}

    def note(self, note: Note) -> None:
        """Count what the rules noted."""
        if note.event == "released":
            self.releases[note.reason if note.reason in self.releases else OTHER] += 1
        elif note.event in self.events:
            self.events[note.event] += 1

    def closed(self, code: int) -> None:
        """Count the end of a WebSocket."""
        self.sockets_closed[str(int(code)) if code in CLOSES else OTHER] += 1


class MeasuredStore:
    """A store whose steps are measured, and what is put into mailboxes.

    Args:
        store: The one that does the work.
        metrics: Where it is counted.
    """

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._steps = metrics.steps
        self.instance = store.instance

    def now(self) -> float:
        """The store's clock, in seconds."""
        return self._store.now()

    def listen(self, listener: StoreListener) -> None:
        """Name the one listener."""
        self._store.listen(listener)

    async def create(self, ttl: float, owner: str = "") -> tuple[Rendezvous, str]:
        """Open a transfer; see :class:`~p2pal.server.stores.base.Store`."""
        with Watch(self._steps["create"]):
            created = await self._store.create(ttl, owner)
        self._metrics.events["created"] += 1
        return created

    async def join(self, slot: int) -> tuple[Rendezvous, int, str]:
        """Open an attempt; see :class:`~p2pal.server.stores.base.Store`."""
        with Watch(self._steps["join"]):
            return await self._store.join(slot)

    async def meet(
        self, rendezvous_id: str, ttl: float, *, sender: bool, owner: str = ""
    ) -> tuple[Rendezvous, int, str]:
        """Come to a meeting; see :class:`~p2pal.server.stores.base.Store`."""
        with Watch(self._steps["meet"]):
            return await self._store.meet(rendezvous_id, ttl, sender=sender, owner=owner)

    async def authorise(self, token: str) -> tuple[Rendezvous, int]:
        """Check a token; see :class:`~p2pal.server.stores.base.Store`."""
        with Watch(self._steps["authorise"]):
            return await self._store.authorise(token)

    async def load(self, rendezvous_id: str) -> Rendezvous:
        """Return a transfer; see :class:`~p2pal.server.stores.base.Store`."""
        with Watch(self._steps["load"]):
            return await self._store.load(rendezvous_id)

    async def execute(self, rendezvous_id: str, command: RendezvousCommand) -> Rendezvous:
        """Carry out a command; see :class:`~p2pal.server.stores.base.Store`."""
        with Watch(self._steps["execute"]):
            transfer = await self._store.execute(rendezvous_id, command)
        if isinstance(command, AppendMessage):
            self._metrics.stored += 1
            self._metrics.stored_bytes += len(command.body)
        return transfer

    async def spend(self, purpose: str, address: str, rate: Rate) -> float:
        """Take one from an allowance; see :class:`~p2pal.server.stores.base.Store`."""
        with Watch(self._steps["spend"]):
            return await self._store.spend(purpose, address, rate)

    async def check(self) -> None:
        """Ask the store for a sign of life."""
        await self._store.check()

    async def available(self) -> None:
        """Return once the store can be reached."""
        await self._store.available()

    def census(self) -> Counter[State]:
        """Count transfers by state; see :class:`~p2pal.server.stores.base.Store`."""
        return self._store.census()

    async def run(self) -> None:
        """Carry out what time decides, until cancelled."""
        await self._store.run()

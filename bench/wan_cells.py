"""What ``wan.py`` measures: the cells of its matrix, who runs in each, and how long that takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from emulated import Link

Kind = Literal["clean", "lossy", "shallow", "policer", "beside", "flows", "busy"]
Order = Literal["first", "second"]
KINDS: Final[tuple[Kind, ...]] = ("clean", "lossy", "shallow", "policer", "beside", "flows", "busy")
TCP: Final = ("cubic", "bbr")

OVERHEAD: Final = 4.0
"""Seconds that a run takes beside what is measured: hosts, processes, a join code, the disk."""

OVERHEAD_FLOW: Final = 1.0
"""Seconds that each further p2pal transfer takes to start."""

LEAD: Final = 2.0
"""Seconds by which one of two flows that share a link is earlier than the other."""

HOGS: Final = 8
LEAST_QUEUE: Final = 20.0
"""Milliseconds of the rate that a queue of one bandwidth-delay product holds at least."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of link, and what happens on it.

    Attributes:
        kind: Which part of the matrix it belongs to.
        mbit: Mbit/s of whole IP packets.
        rtt: Milliseconds of the round trip without a queue.
        loss: Percent of the packets that are lost at random, in each direction.
        queue: Bandwidth-delay products that the drop-tail queue holds; of 20 ms at least, if it is one.
        police: Mbit/s that a policer lets through from the sender to the receiver; 0 for none.
        burst: Bytes that it lets through at once.
        rival: The congestion control of the TCP stream beside p2pal; empty for none.
        order: Whether p2pal is on the link before its rival.
        flows: How many p2pal transfers there are at once.
        hogs: Processes that do nothing but take the processors.
    """

    kind: Kind
    mbit: float
    rtt: float
    loss: float = 0.0
    queue: float = 1.0
    police: float = 0.0
    burst: int = 64_000
    rival: str = ""
    order: Order = "second"
    flows: int = 1
    hogs: int = 0

    def __str__(self) -> str:
        words = [f"{self.mbit:g} Mbit/s", f"RTT {self.rtt:g} ms"]
        if self.loss:
            words.append(f"loss {self.loss:g} %")
        if self.queue != 1:
            words.append(f"queue of {self.queue:g} BDP")
        if self.police:
            words.append(f"policer at {self.police:g} Mbit/s")
        if self.rival:
            words.append(f"{'before' if self.order == 'first' else 'after'} one {self.rival.upper()} stream")
        if self.flows > 1:
            words.append(f"{self.flows} transfers at once")
        if self.hogs:
            words.append(f"{self.hogs} busy processes")
        return ", ".join(words)

    @property
    def there(self) -> Link:
        """The link from the sender to the receiver."""
        time = max(self.rtt, LEAST_QUEUE) if self.queue == 1 else self.rtt * self.queue
        queue = max(round(self.mbit * 1e6 / 8 * time / 1000), 3000)
        return replace(self.back, queue=queue, police=self.police * 1e6, burst=self.burst)

    @property
    def back(self) -> Link:
        """The link from the receiver to the sender: its acknowledgements meet no policer and no short queue."""
        return Link(delay=self.rtt / 2000, loss=self.loss / 100, rate=self.mbit * 1e6)

    @property
    def rate(self) -> float:
        """Mbit/s that can get through at most: the link's or the policer's, less the loss."""
        return min(self.mbit, self.police or self.mbit) * (1 - self.loss / 100)

    @property
    def quiet(self) -> Cell:
        """The same without busy processes."""
        return replace(self, kind="lossy" if self.loss else "clean", hogs=0)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        kinds: Which parts of the matrix.
        rtt: Round-trip times, milliseconds, by the part.
        mbit: Rates, Mbit/s, by the part.
        loss: Percent of the packets that are lost, for the lossy part.
        rivals: Congestion controls of TCP to share a link with.
        orders: Whether p2pal is on the link before its rival.
        flows: How many transfers share a link.
        against: TCP's congestion controls to compare with on the same link.
        seconds: How long each run takes, but for those that share a link with a rival: twice as long.
        first: Seconds from the beginning that are told as well.
        repetitions: How often a lossy cell is measured; the median counts.
    """

    kinds: Sequence[Kind] = KINDS
    rtt: dict[Kind, Sequence[float]] = field(
        default_factory=lambda: {
            "clean": (1, 20, 50, 100, 200),
            "lossy": (20, 50, 100, 200),
            "shallow": (50, 100),
            "policer": (50, 100),
            "beside": (50,),
            "flows": (50,),
            "busy": (1, 20, 50, 100, 200),
        }
    )
    mbit: dict[Kind, Sequence[float]] = field(
        default_factory=lambda: dict.fromkeys(KINDS, (100,)) | {"clean": (10, 100, 500), "busy": (10, 100, 500)}
    )
    loss: Sequence[float] = (0.1, 1, 2)
    rivals: Sequence[str] = TCP
    orders: Sequence[Order] = ("first", "second")
    flows: Sequence[int] = (2, 8, 20)
    against: Sequence[str] = TCP
    seconds: float = 30.0
    first: float = 8.0
    repetitions: int = 5

    @property
    def cells(self) -> list[Cell]:
        """Every cell, in the order of the parts."""
        return [cell for kind in KINDS if kind in self.kinds for cell in self._cells(kind)]

    def _cells(self, kind: Kind) -> Iterator[Cell]:
        for mbit in self.mbit[kind]:
            for rtt in self.rtt[kind]:
                plain = Cell(kind, mbit, rtt)
                if kind == "lossy":
                    yield from (replace(plain, loss=loss) for loss in self.loss)
                elif kind == "shallow":
                    yield replace(plain, queue=0.25)
                elif kind == "policer":
                    yield replace(plain, police=mbit / 2)
                elif kind == "beside":
                    yield from (replace(plain, rival=rival, order=o) for rival in self.rivals for o in self.orders)
                elif kind == "flows":
                    yield from (replace(plain, flows=count) for count in self.flows)
                elif kind == "busy":
                    yield replace(plain, hogs=HOGS)
                else:
                    yield plain
        if kind == "busy" and "lossy" in self.kinds:
            lossy = (Cell(kind, mbit, rtt, hogs=HOGS) for mbit in self.mbit["lossy"] for rtt in self.rtt["lossy"])
            yield from (replace(cell, loss=loss) for cell in lossy for loss in self.loss)

    def seconds_of(self, cell: Cell) -> float:
        """How long a run of this cell is measured."""
        return 2 * self.seconds if cell.rival else self.seconds

    def repetitions_of(self, cell: Cell) -> int:
        """How often p2pal is measured there."""
        return self.repetitions if cell.kind == "lossy" else 1

    def streams_of(self, cell: Cell, repetition: int) -> list[str]:
        """TCP's streams that are measured alone on the same link.

        CUBIC is left out when a lossy link is measured again: it is never the faster one there.
        """
        if cell.kind not in {"clean", "lossy", "shallow", "policer"}:
            return []
        return [name for name in self.against if not repetition or name != "cubic" or len(self.against) == 1]

    @property
    def duration(self) -> float:
        """Seconds that all of it takes, about."""
        cells, whole = self.cells, 0.0
        quiet = {cell for cell in cells if not cell.hogs}
        for cell in cells:
            run = self.seconds_of(cell) + OVERHEAD + OVERHEAD_FLOW * (cell.flows - 1) + LEAD * bool(cell.rival)
            for repetition in range(self.repetitions_of(cell)):
                whole += run * (1 + len(self.streams_of(cell, repetition)))
            if cell.hogs and cell.quiet not in quiet:
                whole += run
        return whole


WHOLE: Final = Plan()
QUICK: Final = Plan(
    rtt=dict.fromkeys(KINDS, (50,)) | {"clean": (20, 100), "lossy": (100,), "busy": (20,)},
    mbit=dict.fromkeys(KINDS, (100,)),
    loss=(1,),
    rivals=("cubic",),
    orders=("second",),
    flows=(2,),
    seconds=10.0,
    repetitions=1,
)

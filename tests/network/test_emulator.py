"""The emulator of long and bad links does what it says.

Its own numbers are looked at, and what arrived in which order; of times only that nothing came too soon.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from types import TracebackType
from typing import Final, Literal, Self

import pytest
from tests.e2e.kit import until
from tests.network.emulator import hosts
from tests.network.emulator.wan import NAMES, Name, Wan
from tests.network.emulator.wire import Counts, EmulatorError, Link
from tests.network.namespaces import run
from tests.network.needs import need_emulator, need_networks

_BUFFER: Final = 16 << 20
_SIZE: Final = 1_000
"""Bytes of a packet, with what IPv4 and UDP put before it."""

_SO_TIMESTAMPNS: Final = 35
_HEADERS: Final = {4: 28, 6: 48}
_SECOND_IN_THE_QUEUE: Final = Link(rate=8 * 20 * _SIZE, queue=20 * _SIZE)


@pytest.fixture(autouse=True)
def possible() -> None:
    need_emulator()


def test_where_there_is_no_tun_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "_TUN", "/dev/net/none")
    assert "start a container with --device /dev/net/none" in hosts.missing()


class Datagrams:
    """Numbered packets from one host to the other, for the length of a ``with`` block."""

    def __init__(self, wan: Wan, name: Name = "alice", *, version: Literal[4, 6] = 4) -> None:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        other: Name = "bob" if name == "alice" else "alice"
        self._wan, self._name, self._size = wan, name, _SIZE - _HEADERS[version]
        self._stack = ExitStack()
        self._receiver = self._stack.enter_context(wan.inside(other, lambda: socket.socket(family, socket.SOCK_DGRAM)))
        self._sender = self._stack.enter_context(wan.inside(name, lambda: socket.socket(family, socket.SOCK_DGRAM)))
        self._receiver.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), _BUFFER)
        self._receiver.setblocking(False)
        self._receiver.bind((wan.address(other, version), 0))
        self._to = self._receiver.getsockname()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def counts(self) -> Counts:
        return self._wan.counts(self._name)

    def send(self, numbers: Sequence[int]) -> None:
        """Send them all at once; the wire has them when this returns."""
        goal = self.counts.packets + len(numbers)
        for number in numbers:
            self._sender.sendto(number.to_bytes(self._size, "big"), self._to)
        until(lambda: self.counts.packets == goal, f"{goal} packets on the wire")

    def pace(self, rate: float) -> None:
        """Let the kernel send at this rate in bits per second from now on: no process has to be in time for it."""
        need_networks()
        place = self._wan.wrapper(self._name)[-1]
        limit = ("rate", f"{rate / 1000:.0f}kbit", "burst", "3000", "limit", str(_BUFFER))
        run("tc", "-n", place, "qdisc", "replace", "dev", "wan", "root", "tbf", *limit)
        self._sender.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_SNDBUFFORCE", 32), _BUFFER)

    def stamp(self) -> None:
        """Let the kernel say from now on when it had what arrives."""
        self._receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def delays(self, count: int, gap: float) -> list[float]:
        """Send so many with so many seconds between them; return the seconds that each took, from just before the
        system call to the other host's kernel."""
        for _ in range(count):
            self._sender.sendto(struct.pack("!d", time.time()).ljust(self._size), self._to)
            time.sleep(gap)
        until(lambda: self.counts.in_flight == 0, "the end of the wire")
        took: list[float] = []
        while True:
            try:
                data, ancillary, _, _ = self._receiver.recvmsg(_SIZE, 128)
            except BlockingIOError:
                return took
            seconds, nanoseconds = struct.unpack_from("@ll", ancillary[0][2])
            took.append(seconds + nanoseconds / 1e9 - struct.unpack_from("!d", data)[0])

    def arrived(self, *, all_of_them: bool = True) -> list[int]:
        """The numbers that arrived since this was asked last, once nothing is on its way any more."""
        if all_of_them:
            until(lambda: self.counts.in_flight == 0, "the end of the wire")
        numbers = []
        while True:
            try:
                numbers.append(int.from_bytes(self._receiver.recv(_SIZE), "big"))
            except BlockingIOError:
                return numbers


def test_nothing_is_lost_or_changed_on_a_wire_that_is_only_long() -> None:
    with Wan(Link(delay=0.05), Link(delay=0.02)) as wan, Datagrams(wan) as there, Datagrams(wan, "bob") as back:
        for datagrams, delay in ((there, 0.05), (back, 0.02)):
            start = time.monotonic()
            datagrams.send(range(50))
            assert datagrams.arrived() == list(range(50))
            assert time.monotonic() - start >= delay
            counts = datagrams.counts
            assert (counts.packets, counts.size) == (counts.delivered, counts.delivered_size) == (50, 50 * _SIZE)
            assert (counts.unread, counts.unstored, counts.refused) == (0, 0, 0)


def test_ipv6_takes_the_same_way() -> None:
    with Wan(Link(delay=0.01), ipv6=True) as wan, Datagrams(wan, version=6) as datagrams:
        datagrams.send(range(20))
        assert datagrams.arrived() == list(range(20))


def _survivors(seed: int, loss: float, count: int) -> list[int]:
    with Wan(Link(loss=loss), seed=seed) as wan, Datagrams(wan) as datagrams:
        datagrams.send(range(count))
        numbers = datagrams.arrived()
        assert datagrams.counts.lost == count - len(numbers)
        return numbers


def test_the_seed_tells_which_packets_are_lost() -> None:
    count, loss = 4_000, 0.1
    first = _survivors(1, loss, count)
    deviation = (count * loss * (1 - loss)) ** 0.5
    assert abs(count - len(first) - count * loss) < 5 * deviation
    assert _survivors(1, loss, count) == first
    assert _survivors(2, loss, count) != first
    assert set(_survivors(1, 2 * loss, count)) < set(first), "more loss takes more, and spares nothing that less takes"


def test_the_two_directions_lose_by_themselves() -> None:
    with Wan(Link(loss=0.5)) as wan, Datagrams(wan) as there, Datagrams(wan, "bob") as back:
        for datagrams in (there, back):
            datagrams.send(range(200))
        assert there.arrived() != back.arrived()


def test_the_rate_is_kept() -> None:
    rate, count = 4e6, 200
    with Wan(Link(rate=rate, queue=2 * count * _SIZE), Link()) as wan, Datagrams(wan) as datagrams:
        start = time.monotonic()
        datagrams.send(range(count))
        assert datagrams.arrived() == list(range(count))
        assert time.monotonic() - start >= count * _SIZE * 8 / rate
        assert 0 < datagrams.counts.longest_queue <= count * _SIZE


def test_what_finds_the_queue_full_is_dropped() -> None:
    with Wan(_SECOND_IN_THE_QUEUE) as wan, Datagrams(wan) as datagrams:
        datagrams.send(range(100))
        numbers = datagrams.arrived()
        assert numbers[:20] == list(range(20)), "there was room for these"
        counts = datagrams.counts
        assert counts.overflowed == 100 - len(numbers)
        assert counts.overflowed > 0
        assert 19 * _SIZE < counts.longest_queue <= 20 * _SIZE


def test_a_queue_that_nobody_sized_holds_a_bandwidth_delay_product_or_twenty_milliseconds() -> None:
    for delay, size in ((0.05, 125_000), (0.0, 25_000)):
        with Wan(Link(delay=delay, rate=10e6)) as wan, Datagrams(wan) as datagrams:
            datagrams.send(range(600))
            datagrams.arrived()
            assert size - _SIZE < datagrams.counts.longest_queue <= size


def test_jitter_keeps_the_order_unless_it_is_to_reorder() -> None:
    arrived = []
    for reorder in (False, True):
        link = Link(delay=0.03, jitter=0.03, reorder=reorder)
        with Wan(link) as wan, Datagrams(wan) as datagrams:
            datagrams.send(range(200))
            arrived.append(datagrams.arrived())
    assert arrived[0] == list(range(200))
    assert arrived[1] != sorted(arrived[1])
    assert sorted(arrived[1]) == list(range(200))


def test_jitter_spreads_the_delays_that_the_kernel_sees() -> None:
    """Real packets, 1 ms apart and closer, with the times at which the kernels of both hosts had them."""
    delay, jitter = 0.03, 0.02
    with Wan(Link(delay=delay, jitter=jitter), seed=3) as wan, Datagrams(wan) as datagrams:
        datagrams.stamp()
        took = datagrams.delays(1000, 0.001)
        assert len(took) == 1000
        assert min(took) > delay - jitter
        low, *_, high = quantiles(took, n=10)
        assert high - low > jitter, "of 1.6 times for what is spread evenly"


def _policed(load: float, count: int) -> None:
    """Real packets at so many times a policer's rate: what gets through has its rate, the rest is dropped."""
    police, burst = 8e6, 20 * _SIZE
    with Wan(Link(delay=0.01, police=police, burst=burst), Link()) as wan, Datagrams(wan) as datagrams:
        datagrams.pace(load * police)
        start = time.monotonic()
        datagrams.send(range(count))
        spent = time.monotonic() - start
        numbers, counts = datagrams.arrived(), datagrams.counts
    assert numbers == sorted(numbers)
    assert counts.policed == count - len(numbers)
    assert counts.overflowed == counts.lost == 0
    assert len(numbers) * _SIZE <= burst + police / 8 * spent
    assert len(numbers) >= count / max(load, 1) - 2, "and no less, if the kernel sends at that rate or slower"


def test_a_policer_keeps_real_traffic_to_its_rate_and_drops_what_exceeds_it() -> None:
    _policed(2.0, 3000)


def test_a_policer_lets_through_what_is_below_its_rate() -> None:
    _policed(0.5, 500)


@pytest.mark.slow
def test_a_policer_is_the_same_on_a_busy_machine() -> None:
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        _policed(2.0, 3000)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def test_a_bucket_that_holds_no_packet_is_refused() -> None:
    with pytest.raises(ValueError, match="into the bucket"), Wan(Link(police=1e6, burst=1000)):
        pass


def test_nothing_gets_through_a_cut_and_everything_afterwards() -> None:
    with Wan(Link(delay=1.0)) as wan, Datagrams(wan) as datagrams:
        datagrams.send([1])
        with wan.cut():
            datagrams.send([2])
            assert datagrams.arrived() == [], "nor does what was on the way"
            assert datagrams.counts.severed == 2
        wan.set(Link())
        datagrams.send([3])
        assert datagrams.arrived() == [3]


def test_what_waits_leaves_at_the_new_rate() -> None:
    with Wan(Link(rate=800, queue=100 * _SIZE)) as wan, Datagrams(wan) as datagrams:
        datagrams.send(range(50))  # the last one would come in eight minutes
        assert datagrams.arrived(all_of_them=False) == []
        wan.set(Link(rate=10e6))
        assert datagrams.arrived() == list(range(50))
        wan.set(Link(rate=800, queue=100 * _SIZE))
        datagrams.send(range(5))
        wan.set(Link())
        datagrams.send([5])
        assert datagrams.arrived() == list(range(6)), "the order stays, without a limit, too"


def test_a_run_that_the_emulator_disturbed_is_told() -> None:
    well = dict(zip(Counts.__dataclass_fields__, [1000] * 15, strict=False)) | {"unstored": 0, "late_1ms": 30}
    assert Counts(**well).doubt == ""
    assert "outran" in Counts(**well | {"unread": 1}).doubt
    assert "outran" in Counts(**well | {"unstored": 1}).doubt
    assert "late" in Counts(**well | {"late_1ms": 31}).doubt


@pytest.mark.parametrize(
    "wrong",
    [{"delay": -1}, {"loss": 1.1}, {"queue": -1}, {"rate": -1}, {"jitter": -0.1}, {"police": -1}, {"burst": -1}],
)
def test_a_link_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="no such link"):
        Link(**wrong)  # type: ignore[arg-type]


def _namespaces(wan: Wan) -> list[Path]:
    return [Path("/run/netns", wan.wrapper(name)[-1]) for name in NAMES]


def test_nothing_is_left() -> None:
    files = len(os.listdir("/proc/self/fd"))
    with Wan(Link()) as wan:
        places = _namespaces(wan)
        assert all(place.exists() for place in places)
    assert not any(place.exists() for place in places)
    assert len(os.listdir("/proc/self/fd")) <= files
    with pytest.raises(EmulatorError):
        wan.set(Link())


def test_nothing_is_left_of_what_failed() -> None:
    wan = Wan(Link(rate=1e6, queue=1))
    with pytest.raises(ValueError, match="no packet fits"):
        wan.__enter__()
    assert not any(place.exists() for place in _namespaces(wan))
    wan = Wan(Link())
    with pytest.raises(KeyError), wan:
        raise KeyError
    assert not any(place.exists() for place in _namespaces(wan))

"""Real sockets on loopback, and what they say when they cannot send or receive."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from p2pal.lanes.udp.addresses import Address
from p2pal.lanes.udp.packet import Batch, Buffer, Kind
from p2pal.lanes.udp.ports import MOST_ERRORS, READS, BatchPort, Port, SinglePort, open_port
from p2pal.lanes.udp.sockets import open_socket

LOOPBACK = "127.0.0.1"


class Owner:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.received: list[tuple[bytes, int, float | None]] = []
        self.changed = asyncio.Event()

    def port_received(self, index: int, data: bytes, ip: str, port: int, segment: int, received: float | None) -> None:
        assert ip in {LOOPBACK, "::1"}
        assert port > 0
        self.received.append((data, segment, received))

    def port_drained(self) -> None:
        self._note("drained")

    def port_writable(self) -> None:
        self._note("writable")

    def port_too_large(self, size: int) -> None:
        self._note(("too large", size))

    def port_unreachable(self, address: Address) -> None:
        self._note(("unreachable", address))

    def port_lost(self, index: int) -> None:
        self._note(("lost", index))

    def _note(self, what: object) -> None:
        self.heard.append(what)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def datagrams(self) -> list[bytes]:
        """Return what came, apart again."""
        return [
            data[at : at + (segment or len(data))]
            for data, segment, _ in self.received
            for at in range(0, len(data), segment or len(data) or 1)
        ]


class Refusing(socket.socket):
    """A real socket that fails as it is told before it does what it is told."""

    failures: Iterator[int | None] = iter(())

    def _fail(self) -> None:
        code = next(self.failures, None)
        if code is not None:
            raise OSError(code, "planned")

    def sendmsg(self, *arguments: Any) -> int:
        self._fail()
        return super().sendmsg(*arguments)

    def recvmsg_into(self, *arguments: Any) -> Any:
        self._fail()
        return super().recvmsg_into(*arguments)


def refusing(*failures: int | None) -> Refusing:
    opened = Refusing(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.bind((LOOPBACK, 0))
    opened.failures = iter(failures)
    return opened


def batch(to: socket.socket, count: int = 1, size: int = 100) -> Batch:
    ip, port = to.getsockname()[:2]
    buffers: list[Buffer] = [bytes([index % 251]) * size for index in range(count)]
    return Batch(ip, port, 0, buffers, size if count > 1 else 0, count * size)


def run(body: Callable[[Owner, Owner], Awaitable[None]]) -> None:
    async def main() -> None:
        await body(Owner(), Owner())

    asyncio.run(main())


@pytest.mark.parametrize("ip", [LOOPBACK, "::1"])
@pytest.mark.parametrize(("batches", "watched"), [(True, True), (False, True), (True, False)])
def test_datagrams_go_there_whole(ip: str, batches: bool, watched: bool) -> None:
    async def body(mine: Owner, theirs: Owner) -> None:
        one, two = open_socket(ip), open_socket(ip)
        ports: list[Port] = [
            await open_port(index, opened, owner, batches=batches, watched=watched)
            for index, (opened, owner) in enumerate(((one, mine), (two, theirs)))
        ]
        for sent in (batch(two), batch(two, 40), batch(two, 1, 40_000), batch(two, 1, 40_000), batch(two, 3)):
            assert ports[0].send(sent) is None
            before = len(theirs.datagrams())
            count = -(-sent.size // (sent.segment or sent.size))
            await theirs.until(lambda before=before, count=count: len(theirs.datagrams()) == before + count)  # type: ignore[misc]
            assert theirs.datagrams()[before:] == list(map(bytes, sent.buffers))
        for port in ports:
            assert isinstance(port, BatchPort if watched else SinglePort)
            port.close()
            port.close()

    run(body)


@pytest.mark.skipif(sys.platform != "linux", reason="UDP_SEGMENT is Linux's")
def test_where_the_kernel_takes_no_segments_they_go_singly() -> None:
    async def body(mine: Owner, theirs: Owner) -> None:
        one, two = open_socket(LOOPBACK), open_socket(LOOPBACK)
        sender, receiver = await open_port(0, one, mine), await open_port(0, two, theirs)
        assert isinstance(sender, BatchPort)
        assert sender.send(batch(two, 3)) is None
        assert sender.segments
        assert sender.send(batch(two, 500, 60)) is None  # more than any kernel takes: EINVAL
        assert not sender.segments
        await theirs.until(lambda: len(theirs.datagrams()) == 503)
        sender.close()
        receiver.close()

    run(body)


@pytest.mark.skipif(sys.platform != "linux", reason="UDP_SEGMENT is Linux's")
@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL])
def test_segments_stay_where_datagrams_do_not_go_singly_either(code: int) -> None:
    async def body(mine: Owner, theirs: Owner) -> None:
        two = open_socket(LOOPBACK)
        # A path that carries less than before: older kernels say EINVAL of the batch, and EMSGSIZE of each datagram.
        port = BatchPort(0, refusing(code, *[errno.EMSGSIZE] * 3), mine, asyncio.get_running_loop(), batches=True)
        assert port.send(batch(two, 3)) is None
        assert mine.heard == [("too large", 100)] * 3
        assert port.segments
        port.close()
        two.close()

    run(body)


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS])
@pytest.mark.parametrize("batches", [True, False])
def test_what_finds_no_room_is_given_back_and_the_owner_hears_once(code: int, batches: bool) -> None:
    async def body(mine: Owner, theirs: Owner) -> None:
        two = open_socket(LOOPBACK)
        receiver = await open_port(0, two, theirs)
        failures = [code] if batches and sys.platform == "linux" else [None, code]
        port = BatchPort(0, refusing(*failures), mine, asyncio.get_running_loop(), batches=batches)
        rest = port.send(batch(two, 3))
        assert rest is not None
        left = 3 - len(failures) + 1
        assert [bytes(buffer)[:1] for buffer in rest.buffers] == [bytes([index]) for index in range(3 - left, 3)]
        assert rest.size == 100 * left
        await mine.until(lambda: "writable" in mine.heard)
        assert port.send(rest) is None
        await theirs.until(lambda: len(theirs.datagrams()) == 3)
        assert mine.heard.count("writable") == 1
        assert port.segments == (batches and sys.platform == "linux")
        port.close()
        receiver.close()

    run(body)


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EINVAL])
def test_the_owner_hears_that_there_is_no_way(code: int) -> None:
    async def body(mine: Owner, theirs: Owner) -> None:
        two = open_socket(LOOPBACK)
        port = BatchPort(7, refusing(code), mine, asyncio.get_running_loop(), batches=False)
        assert port.send(batch(two)) is None
        sent = batch(two)
        assert mine.heard == [("unreachable", Address(sent.ip, sent.port, 7))]
        port.close()
        two.close()

    run(body)


def test_what_is_refused_elsewhere_is_a_loss_and_no_more() -> None:
    async def body(mine: Owner, theirs: Owner) -> None:
        two = open_socket(LOOPBACK)
        failures = [errno.ECONNREFUSED, errno.EPERM]
        port = BatchPort(7, refusing(*failures), mine, asyncio.get_running_loop(), batches=False)
        for _ in failures:
            assert port.send(batch(two)) is None
        assert mine.heard == []
        port.close()
        two.close()

    run(body)


def test_a_datagram_that_no_path_carries_is_told() -> None:
    async def body(mine: Owner, theirs: Owner) -> None:
        one, two = open_socket(LOOPBACK), open_socket(LOOPBACK)
        for watched in (True, False):
            port = await open_port(0, one.dup(), mine, watched=watched)
            assert port.send(batch(two, 1, 65_600)) is None
            await mine.until(lambda: ("too large", 65_600) in mine.heard)
            mine.heard.clear()
            port.close()
        one.close()
        two.close()

    run(body)


def test_reads_that_fail_do_not_end_the_port_unless_all_do() -> None:
    async def body(mine: Owner, theirs: Owner) -> None:
        one = open_socket(LOOPBACK)
        some = refusing(*[errno.ECONNREFUSED] * (MOST_ERRORS - 1))
        port = BatchPort(1, some, mine, asyncio.get_running_loop(), batches=False)
        one.sendto(b"hello", some.getsockname())
        await mine.until(lambda: bool(mine.received))
        dead = refusing(*[errno.ENETDOWN] * (MOST_ERRORS + 1))
        other = BatchPort(2, dead, theirs, asyncio.get_running_loop(), batches=False)
        one.sendto(b"hello", dead.getsockname())
        await theirs.until(lambda: ("lost", 2) in theirs.heard)
        assert ("lost", 1) not in mine.heard
        assert not asyncio.get_running_loop().remove_reader(dead)  # nothing wakes the loop up for it any more
        for each in (port, other):
            each.close()
        one.close()

    run(body)


def test_what_waits_can_be_read_without_the_loop() -> None:
    async def body(mine: Owner, theirs: Owner) -> None:
        one, two = open_socket(LOOPBACK), open_socket(LOOPBACK)
        port = BatchPort(0, two, theirs, asyncio.get_running_loop(), batches=False)
        for _ in range(READS + 1):
            one.sendto(b"x", two.getsockname())
        assert port.poll()
        assert not port.poll()
        assert len(theirs.received) == READS + 1
        assert theirs.heard == []
        assert not port.poll()
        port.close()
        one.close()

    run(body)


def test_data_that_waits_is_read_together_and_nothing_else_is() -> None:
    async def body(mine: Owner, theirs: Owner) -> None:
        one, other, two = (open_socket(LOOPBACK) for _ in range(3))
        port = BatchPort(0, two, theirs, asyncio.get_running_loop(), batches=False)
        data = [bytes([Kind.DATA, index]) + bytes(98) for index in range(10)]
        sealed = [bytes([Kind.ACK, index]) + bytes(98) for index in range(3)]
        large = bytes([Kind.DATA]) + bytes(50_000)
        sent = [*data[:4], data[4][:50], data[5], *sealed, data[6], large, large, data[7], b"", data[8]]
        for datagram in sent:
            one.sendto(datagram, two.getsockname())
        other.sendto(data[9], two.getsockname())
        while port.poll():
            pass
        assert theirs.datagrams() == [each for each in sent if each] + [data[9]]
        sizes = [(len(each), segment) for each, segment, _ in theirs.received]
        assert sizes[:3] == [(450, 100), (100, 0), (100, 0)]
        assert sizes[-1] == (100, 0)  # it came from somebody else
        port.close()
        one.close()
        other.close()

    run(body)


def test_a_train_ends_where_the_buffer_does() -> None:
    async def body(mine: Owner, theirs: Owner) -> None:
        one, two = open_socket(LOOPBACK), open_socket(LOOPBACK)
        port = BatchPort(0, two, theirs, asyncio.get_running_loop(), batches=False)
        data = [bytes([Kind.DATA, index]) + bytes(29_998) for index in range(3)] + [bytes([Kind.DATA]) + bytes(65_000)]
        for datagram in data:
            one.sendto(datagram, two.getsockname())
        while port.poll():
            pass
        assert theirs.datagrams() == data
        assert all(len(each) <= 65_535 for each, _, _ in theirs.received)
        port.close()
        one.close()

    run(body)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's time is read on Linux")
def test_the_time_is_that_of_arrival_however_late_the_loop_is() -> None:
    async def body(mine: Owner, theirs: Owner) -> None:
        one, two = open_socket(LOOPBACK), open_socket(LOOPBACK)
        loop = asyncio.get_running_loop()
        port = BatchPort(0, two, theirs, loop, batches=False)
        began = loop.time()
        one.sendto(b"x", two.getsockname())
        sent = loop.time()
        while loop.time() < sent + 0.2:
            pass
        assert not port.poll()
        (_, _, received) = theirs.received[0]
        assert received is not None
        assert began - 0.01 <= received <= sent + 0.1
        port.close()
        one.close()

    run(body)


class FrozenLoop(asyncio.SelectorEventLoop):
    """A real loop whose clock goes on only when it is told."""

    now = 100.0

    def time(self) -> float:
        return self.now


async def turns(count: int = 50) -> None:
    """Let the loop look at its sockets a few times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def keep_busy(owner: Owner, send: Callable[[int], None]) -> None:
    """Send a datagram, and another at once: the socket rests then."""
    for count in (1, 2):
        send(1)
        await owner.until(lambda count=count: owner.heard.count("drained") == count)  # type: ignore[misc]


def resting(body: Callable[[Owner, BatchPort, Callable[[int], None], FrozenLoop], Awaitable[None]]) -> None:
    """Run a test with a port that rests a millisecond, and with what sends datagrams of 100 bytes to it."""
    loop = FrozenLoop()

    async def main() -> None:
        owner, one, two = Owner(), open_socket(LOOPBACK), open_socket(LOOPBACK)
        port = BatchPort(0, two, owner, loop, batches=False)
        port.rest = 0.001

        def send(count: int) -> None:
            for _ in range(count):
                one.sendto(bytes([Kind.DATA]) * 100, two.getsockname())

        await body(owner, port, send, loop)
        port.close()
        one.close()

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_what_comes_while_a_busy_socket_rests_is_handed_over_together() -> None:
    async def body(owner: Owner, port: BatchPort, send: Callable[[int], None], loop: FrozenLoop) -> None:
        await keep_busy(owner, send)
        send(5)
        await turns()
        assert len(owner.received) == 2
        loop.now += 0.001
        await owner.until(lambda: owner.heard.count("drained") == 3)
        assert [len(data) for data, _, _ in owner.received] == [100, 100, 500]

    resting(body)


def test_a_socket_that_nothing_came_to_is_watched_again() -> None:
    async def body(owner: Owner, port: BatchPort, send: Callable[[int], None], loop: FrozenLoop) -> None:
        await keep_busy(owner, send)
        loop.now += 0.001
        await turns()
        assert owner.heard.count("drained") == 2
        send(1)
        await owner.until(lambda: owner.heard.count("drained") == 3)

    resting(body)


def test_a_socket_rests_less_the_more_comes() -> None:
    async def body(owner: Owner, port: BatchPort, send: Callable[[int], None], loop: FrozenLoop) -> None:
        send(1)
        await owner.until(lambda: owner.heard.count("drained") == 1)
        send(20)
        await owner.until(lambda: len(owner.datagrams()) == 21)
        before = len(owner.datagrams())
        send(1)
        loop.now += 0.0005
        await turns()
        assert len(owner.datagrams()) == before, "2,000 bytes are few"
        loop.now += 0.0005
        await owner.until(lambda: len(owner.datagrams()) == before + 1)

    resting(body)


def test_a_port_that_is_closed_while_it_rests_hears_nothing_more() -> None:
    async def body(owner: Owner, port: BatchPort, send: Callable[[int], None], loop: FrozenLoop) -> None:
        await keep_busy(owner, send)
        send(1)
        port.close()
        loop.now += 1.0
        await turns()
        assert len(owner.datagrams()) == 2

    resting(body)

"""A wire between two TUN devices with delay, rate, queue, policer, loss and jitter: the program of ``wire.c``.

It runs as a process, before all others of the machine where it may, since the kernel of many machines has no netem.
Nothing of it stays: the program is compiled for each run of Python, and ends when nobody holds its control socket.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.network.namespaces import NetworkError

_SOURCES: Final = tuple(Path(__file__).with_name(name) for name in ("wire.c", "link.c"))
_COMPILER: Final = "cc"
_FLAGS: Final = ("-O2", "-std=c11", "-Wall", "-Wextra", "-Werror")
_TIMEOUT: Final = 10.0
"""Seconds for an answer, or for the end."""

_ANSWER: Final = 4096
_NS: Final = 1_000_000_000
_LATE: Final = 0.03
"""The share of packets that may be late by more than 1 ms in a run that is to be trusted."""


class EmulatorError(NetworkError):
    """The emulator cannot be made, or failed."""


@dataclass(frozen=True, slots=True)
class Link:
    """What one direction of a wire is like.

    Attributes:
        delay: Seconds that a packet takes.
        jitter: Seconds by which it comes sooner or later, at most; never before it was sent. All packets of a moment
            share it, and keep their order; a moment is twice as long as the jitter.
        loss: The share of packets that are lost on the way, at random: 0.01 is one in a hundred.
        rate: Bits per second, of whole IP packets; 0: as fast as can be.
        queue: Bytes that wait before the rate's limit, at most; what finds no room is dropped. None: one
            bandwidth-delay product of the round trip, but at least 20 ms of the rate and two packets.
        police: Bits per second that a policer lets through, of whole IP packets; what exceeds them is dropped, before
            it comes to the queue. 0: there is no policer.
        burst: Bytes that the policer lets through at once, after a silence: the size of its bucket of tokens.
        reorder: Jitter is drawn for each packet, and lets them overtake each other.
        cut: Nothing arrives, not even what is on the way.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    rate: float = 0.0
    queue: int | None = None
    police: float = 0.0
    burst: int = 64_000
    reorder: bool = False
    cut: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ValueError: If something is negative, or more than everything is to be lost.
        """
        least = min(self.delay, self.jitter, self.loss, self.rate, self.queue or 0, self.police, self.burst)
        if least < 0 or self.loss > 1:
            raise ValueError(f"there is no such link: {self}")


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the packets of one direction since the start; sizes are bytes of IP.

    Attributes:
        packets: How many the wire took.
        size: Their bytes.
        delivered: How many it handed over.
        delivered_size: Their bytes.
        lost: Lost by :attr:`Link.loss`.
        overflowed: Dropped at a full queue.
        policed: Dropped by the policer.
        severed: Gone while the wire was cut.
        unstored: Dropped because the emulator had no memory for them.
        refused: Not taken by the device at the end.
        in_flight: On the wire just now.
        longest_queue: The most bytes that waited at once.
        late: Seconds by which they were late on average, by the emulator's own fault.
        late_most: Seconds by which one was late at most.
        late_1ms: How many were late by more than 1 ms.
        unread: Dropped by the device at the beginning, because the sender outran the emulator.
    """

    packets: int
    size: int
    delivered: int
    delivered_size: int
    lost: int
    overflowed: int
    policed: int
    severed: int
    unstored: int
    refused: int
    in_flight: int
    longest_queue: int
    late: float
    late_most: float
    late_1ms: int
    unread: int = 0

    @property
    def doubt(self) -> str:
        """Why figures that were taken over this wire are not to be trusted, or nothing."""
        if self.unread or self.unstored:
            return f"the sender outran the emulator by {self.unread + self.unstored} packets"
        if self.late_1ms > _LATE * self.delivered:
            return f"{self.late_1ms} of {self.delivered} packets were late by more than 1 ms"
        return ""


@functools.cache
def compiled() -> Path:
    """Compile the program, once for this run of Python, and return where it is.

    Raises:
        EmulatorError: If there is no compiler, or it refuses.
    """
    folder = tempfile.mkdtemp(prefix="p2pal-wire-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = Path(folder, "wire")
    try:
        command = (_COMPILER, *_FLAGS, "-o", str(program), *map(str, _SOURCES))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise EmulatorError(f"there is no C compiler ({_COMPILER})") from error
    if done.returncode != 0:
        raise EmulatorError(f"the emulator does not compile:\n{done.stderr}")
    return program


def request(direction: int, link: Link) -> str:
    """Return what makes a direction like that, in the words of the program."""
    times = f"{nanoseconds(link.delay)} {nanoseconds(link.jitter)}"
    limits = f"{link.loss:.17g} {link.rate:.17g} {link.queue or 0} {link.police:.17g} {link.burst}"
    return f"set {direction} {times} {limits} {link.reorder:d} {link.cut:d}"


def nanoseconds(seconds: float) -> int:
    """Return how many these are, as the program counts them."""
    return round(seconds * _NS)


class Wire:
    """The running program.

    Args:
        one: The descriptor of a TUN device.
        other: That of the other one. Both stay open at the caller's, too.
        seed: Which packets are lost depends on it, and on their number in their direction.

    Raises:
        EmulatorError: If there is no program.
    """

    def __init__(self, one: int, other: int, seed: int) -> None:
        program = compiled()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_TIMEOUT)
        with theirs:
            descriptors = (one, other, theirs.fileno())
            self._process = subprocess.Popen(
                [program, *map(str, descriptors), str(seed)],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                start_new_session=True,  # a terminal's Ctrl-C is for those who use it
            )

    def set(self, direction: int, link: Link) -> None:
        """Make a direction like that from now on: 0 from the first device to the other one, 1 back.

        Raises:
            EmulatorError: If it cannot be like that, or the program ended.
        """
        answer = self._ask(request(direction, link))
        if answer != "ok":
            raise EmulatorError(f"the emulator's answer to {link}: {answer}")

    def counts(self) -> tuple[Counts, Counts]:
        """Return what happened so far, there and back.

        Raises:
            EmulatorError: If the program ended.
        """
        there, back = self._ask("stats").splitlines()
        return _counts(there), _counts(back)

    def close(self) -> None:
        """End the program."""
        self._control.close()
        try:
            self._process.wait(_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, request: str) -> str:
        try:
            self._control.send(request.encode())
            answer = self._control.recv(_ANSWER)
        except OSError as error:
            raise EmulatorError(f"the emulator does not answer: {error}") from error
        if not answer:
            raise EmulatorError("the emulator ended")
        return answer.decode()


def _counts(line: str) -> Counts:
    values = {name: int(value) for name, _, value in (word.partition("=") for word in line.split())}
    out = values["out"]
    return Counts(
        packets=values["in"],
        size=values["in_bytes"],
        delivered=out,
        delivered_size=values["out_bytes"],
        lost=values["lost"],
        overflowed=values["overflowed"],
        policed=values["policed"],
        severed=values["severed"],
        unstored=values["unstored"],
        refused=values["refused"],
        in_flight=values["in_flight"],
        longest_queue=values["longest_queue"],
        late=values["late_ns"] / _NS / out if out else 0.0,
        late_most=values["late_max_ns"] / _NS,
        late_1ms=values["late_1ms"],
    )

"""One end of a datagram lane, as a machine: datagrams in and out, messages in and out. Pure.

After any call, send what :meth:`DatagramLane.datagrams` yields, drain :meth:`DatagramLane.events`, and arm one timer at
:meth:`DatagramLane.next_timeout`::

    lane.receive_datagram(data, Address(ip, port, socket_index), now)
    for batch in lane.datagrams(now):
        sendmsg(...)                    # stop iterating where the socket would block
    for event in lane.events():
        ...

A lane is reliable and ordered until it ends. Memory is bounded: what is sent by the window, what waits to be sent by
:data:`~p2pal.lanes.base.BUFFER_LIMIT` and one message as long as :meth:`DatagramLane.budget` is heeded, and what
arrived out of order by the window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator
from enum import Enum
from typing import Final

from p2pal.errors import ProtocolError
from p2pal.lanes.address_zones import ANYWHERE, Zones
from p2pal.lanes.base import BUFFER_LIMIT
from p2pal.lanes.udp.acks import NEVER, AckTracker
from p2pal.lanes.udp.addresses import Address, DatagramCandidate, is_ipv6, is_loopback
from p2pal.lanes.udp.budget import ProbeBudget
from p2pal.lanes.udp.connectivity import Connectivity
from p2pal.lanes.udp.data_packet import read_data
from p2pal.lanes.udp.entropy import Entropy
from p2pal.lanes.udp.events import (
    Closed,
    LaneEvent,
    Message,
    Opened,
    PathInUse,
    PathSelected,
    ReflexiveFound,
    Resumed,
    Stalled,
    Writable,
)
from p2pal.lanes.udp.packet import (
    PROBE_BYTES,
    SEALED_OVERHEAD,
    AnswerFields,
    BadPacket,
    Batch,
    Buffer,
    Kind,
    ProbeFields,
    decode_ack,
    decode_answer,
    decode_probe,
    encode_ack,
    encode_answer,
    encode_probe,
    read_header,
)
from p2pal.lanes.udp.reflexive import Reflexive, is_stun
from p2pal.lanes.udp.seal import LaneSecrets, PacketOpener, PacketSealer
from p2pal.lanes.udp.sender import DatagramSender
from p2pal.lanes.udp.stall import StallDetector
from p2pal.lanes.udp.stream import MAX_MESSAGE, WINDOW, ReceiveStream

CONNECT_TIMEOUT: Final = 15.0
"""Seconds that a path is looked for."""
SILENCE: Final = 30.0
"""Seconds without anything genuine after which the lane is over; the session notices silence long before."""
CLOSES: Final = 3
"""Times that the end is told, as nothing acknowledges it."""
SUSPICIOUS_PTOS: Final = 2
"""Probe timeouts in a row after which other paths are tried."""
MOST_PTOS: Final = 20
"""Probe timeouts in a row after which the lane is over, some 45 seconds: a lane that acknowledges nothing is of no use,
however well its probes are answered."""
MAX_EARLY: Final = 1 << 20
"""Bytes of messages that are kept before the lane is open. A peer whose lane is open hears nothing till then, and sends
a few dozen datagrams. What is beyond this is passed over, and comes again."""
EARLY_COST: Final = 128
"""Bytes that each of them counts for beside its own: what Python takes for the smallest."""
MTU_WORTH: Final = 128 * 1024
"""Bytes that have to be sent before larger datagrams are tried: a few messages do not need them."""

LARGE_RATE: Final = 12_500_000
"""Bytes per second from which on the largest message is through in some 20 ms: it holds up nothing that anybody would
notice. On a path whose rate is not known yet a small one is there sooner."""


class _State(Enum):
    CONNECTING = 0
    OPEN = 1
    CLOSING = 2  # told our listener, and not the peer yet
    CLOSED = 3


_OPEN: Final = _State.OPEN  # looked up for each datagram
_DATA: Final = int(Kind.DATA)


class DatagramLane:
    """One end.

    Args:
        lane_id: The number that the leader gave the lane.
        secrets: Its keys and tags.
        leads: Whether we nominate paths: the sender of the files does.
        seed: 32 random bytes.
        now: The time in seconds, on the clock of every later ``now``.
        zones: Where the peer may be.
        broadcast: Addresses that mean everybody in a network of this machine.
        budget: The session's, of probes to addresses that do not answer; None for one of its own.
        window: Bytes that may be on the way or wait for a gap to be filled; the same at both ends.

    Attributes:
        id: Its number.
        path: The path in use, None before it opened.
        rejected: Datagrams that were passed over, because the peer cannot have sent them.
    """

    max_message = MAX_MESSAGE

    __slots__ = (
        "_ack_number", "_acks", "_closes", "_connect_by", "_connectivity", "_early", "_early_bytes", "_entropy",
        "_events", "_full", "_inbound", "_local_ips", "_mtu_nonces", "_opener", "_receive_tag", "_reflexive",
        "_sealer", "_sender", "_stall", "_state", "id", "path", "rejected",
    )  # fmt: skip

    def __init__(
        self,
        lane_id: int,
        secrets: LaneSecrets,
        *,
        leads: bool,
        seed: bytes,
        now: float,
        zones: Zones = ANYWHERE,
        broadcast: Container[str] = (),
        budget: ProbeBudget | None = None,
        window: int = WINDOW,
    ) -> None:
        self.id = lane_id
        self.path: PathInUse | None = None
        self.rejected = 0
        self._entropy = Entropy(seed)
        self._sealer = PacketSealer(secrets.seal_key, secrets.send_tag)
        self._opener = PacketOpener(secrets.open_key)
        self._receive_tag = secrets.receive_tag
        self._sender = DatagramSender(secrets.send_tag, self._entropy, now, window)
        self._inbound = ReceiveStream(window)
        self._acks = AckTracker()
        self._ack_number = -1
        self._connectivity = Connectivity(self._entropy, leads=leads, zones=zones, broadcast=broadcast, budget=budget)
        self._reflexive = Reflexive(self._entropy)
        self._local_ips: dict[int, str] = {}
        self._mtu_nonces: dict[bytes, int] = {}
        self._events: deque[LaneEvent] = deque()
        self._early: list[Message] = []
        self._early_bytes = 0
        self._state = _State.CONNECTING
        self._connect_by = now + CONNECT_TIMEOUT
        self._closes = 0
        self._full = False
        self._stall = StallDetector()

    # Paths

    def add_local(self, index: int, ip: str, port: int, now: float) -> None:
        """One more of our sockets, bound to this address.

        Raises:
            ValueError: If there are as many as a lane has, or the index is taken.
        """
        self._connectivity.add_local(index, ip, port, now)
        self._local_ips[index] = ip
        self._reflexive.add_socket(index, ip, port, now)

    def ask(self, servers: Iterable[tuple[str, int]], now: float) -> None:
        """Ask these STUN servers, IP addresses and ports, how they see our sockets."""
        self._reflexive.add_servers(servers, now)

    def remove_local(self, index: int, now: float) -> None:
        """One of our sockets is gone."""
        self._connectivity.remove_local(index)
        self._local_ips.pop(index, None)
        self._search(now)
        if not self._local_ips and self._state is _State.OPEN:
            self._end("every socket of the lane is gone", tell=False)

    def add_remote(self, candidate: DatagramCandidate, now: float) -> bool:
        """The peer told a candidate; return whether it is used."""
        return self._connectivity.add_remote(candidate, now)

    def on_unreachable(self, address: Address, now: float) -> None:
        """The system knows no way there: if that is the path in use, others are tried."""
        if self.path is not None and self.path[1:4] == address:
            self._search(now)

    def _search(self, now: float) -> None:
        """The path in use is in trouble: try all others, and find out where a NAT has put our sockets."""
        self._connectivity.search(now)
        self._reflexive.ask_again(now)

    def on_too_large(self, size: int, now: float) -> None:
        """The system refused a datagram of this size (EMSGSIZE)."""
        if self._sender.mtu.on_too_large(size, now):
            self._sender.resize()

    # Messages

    def send(self, message: Buffer) -> None:
        """Queue one message; dropped if the lane is not open.

        Raises:
            ValueError: If it is empty or larger than :attr:`max_message`.
        """
        if self._state is _OPEN:
            self._sender.stream.write(message)
            self._full = self._full or self._sender.stream.unsent > BUFFER_LIMIT // 2

    def budget(self) -> int:
        """Bytes that it takes now without more than :data:`~p2pal.lanes.base.BUFFER_LIMIT` waiting."""
        return BUFFER_LIMIT - self._sender.stream.unsent if self._state is _OPEN else 0

    @property
    def likes_large(self) -> bool:
        """Whether large messages suit the path in use: it has shown to be fast, or stays on this machine."""
        path = self.path
        return path is not None and (path.loopback or self._sender.congestion.rate >= LARGE_RATE)

    def close(self) -> None:
        """End it: what has not arrived is given up, and the peer is told."""
        self._end("closed here")

    def events(self) -> Iterator[LaneEvent]:
        """Yield what happened, each once."""
        while self._events:
            yield self._events.popleft()

    @property
    def over(self) -> bool:
        """Whether nothing more comes from it, and it need not be driven any more."""
        return self._state is _State.CLOSED

    @property
    def stalled(self) -> bool:
        """Whether nothing is acknowledged for a while."""
        return self._stall.stalled

    @property
    def sender(self) -> DatagramSender:
        """The sending half, for figures."""
        return self._sender

    def _end(self, reason: str, *, tell: bool = True, broken: bool = False) -> None:
        if self._state in {_State.CLOSING, _State.CLOSED}:
            return
        tell = tell and self.path is not None
        self._state = _State.CLOSING if tell else _State.CLOSED
        self._closes = CLOSES if tell else 0
        self._events.append(Closed(reason, broken))

    # Datagrams in

    def receive_datagram(
        self, data: Buffer, source: Address, now: float, segment: int = 0, received: float | None = None
    ) -> None:
        """Take a datagram, or several that the system received together. What the peer did not send is passed over.

        Args:
            data: The datagrams, one after another. Keep them as they are: messages are views of them until joined.
            source: Where they came from.
            now: The time.
            segment: The size of each but the last, in bytes (UDP_GRO); 0 if there is one.
            received: When the kernel received them, if it tells, on the clock of ``now``.
        """
        if self._state is not _OPEN and self._state is not _State.CONNECTING:
            return
        arrived = now if received is None else min(received, now)
        try:
            if segment and segment < len(data):
                self._receive_many(memoryview(data), source, now, segment, arrived)
            elif data and is_stun(data[0]):
                self._receive_stun(bytes(data), source)
            elif data and data[0] == _DATA:
                self._receive_data(data, source, now, 0, arrived)
            else:
                self._receive_sealed(data, source, now, arrived)
        except BadPacket:
            self.rejected += 1
        except ProtocolError as error:
            self._end(error.message, broken=True)

    def _receive_many(self, view: memoryview, source: Address, now: float, segment: int, arrived: float) -> None:
        taken = self._receive_data(view, source, now, segment, arrived)
        if taken * segment >= len(view):
            return
        for at in range(0, len(view), segment):
            if view[at] != _DATA:
                try:
                    self._receive_sealed(view[at : at + segment], source, now, arrived)
                except BadPacket:
                    self.rejected += 1

    def _receive_data(self, data: Buffer, source: Address, now: float, segment: int, arrived: float) -> int:
        """Take what is DATA; return how many datagrams that was."""
        runs = read_data(data, segment, self._receive_tag)
        if not runs:
            self.rejected += 1
            return 0
        stream = self._inbound
        taken = 0
        if self._early_bytes >= MAX_EARLY and self._state is _State.CONNECTING:
            self.rejected += 1
            return 0
        for run in runs:
            taken += run.packets
            if not stream.can_take(run.offset, run.size):
                continue
            messages = stream.receive(run.offset, run.payloads, run.size, len(data))
            self._acks.on_packets(run.number, run.packets, run.size, stream.holes, now, arrived, asked=run.ask)
            if messages and self._state is _OPEN:
                self._events.extend(map(Message, messages))
            elif messages:
                # The peer's path may be valid before ours is: nothing is heard of a lane before it is open.
                self._early.extend(map(Message, messages))
                self._early_bytes += sum(map(len, messages)) + EARLY_COST * len(messages)
        path = self.path
        if path is None or source.port != path.port or source.ip != path.ip or source.local != path.local:
            self._connectivity.on_tagged(source, now)
        return taken

    def _receive_sealed(self, data: Buffer, source: Address, now: float, arrived: float) -> None:
        header = read_header(data)
        if header.tag != self._receive_tag or header.kind == Kind.DATA:
            raise BadPacket("a datagram is of another lane")
        inside = self._opener.open(header, data)
        match header.kind:
            case Kind.ACK:
                self._connectivity.on_genuine(source, now)
                if header.number > self._ack_number:
                    self._ack_number = header.number
                    if self._sender.on_ack(decode_ack(inside), now, arrived) and self._stall.on_acked(now):
                        self._events.append(Resumed())
                    self._look_writable()
            case Kind.PROBE:
                self._connectivity.handle_probe(decode_probe(inside), source, now)
                self._look_at_path(now)
            case Kind.ANSWER:
                self._receive_answer(decode_answer(inside), source, arrived)
            case Kind.CLOSE:
                self._end("the other side closed the lane", tell=False)

    def _receive_stun(self, data: bytes, source: Address) -> None:
        found = self._reflexive.receive(data, source)
        if found is None:
            raise BadPacket("nobody asked for this answer")
        self._events.append(ReflexiveFound(found))

    def _receive_answer(self, answer: AnswerFields, source: Address, now: float) -> None:
        size = self._mtu_nonces.pop(answer.nonce, 0)
        if size:
            if self._sender.mtu.on_answer(size, now):
                self._sender.resize()
        elif self._connectivity.handle_answer(answer, source, now):
            self._look_at_path(now)

    def _look_at_path(self, now: float) -> None:
        pair = self._connectivity.active
        if pair is None:
            return
        address, before = pair.address, self.path
        punched = self._connectivity.is_punched(pair)
        loopback = is_loopback(address.ip) or address.ip in self._local_ips.values()
        path = PathInUse(punched, *address, pair.rtt, loopback)
        if before is not None and before[:4] == path[:4]:
            return
        self.path = path
        if before is None or (before.ip, before.local) != (path.ip, path.local):
            dead = before is not None and not self._connectivity.is_valid(Address(*before[1:4]), now)
            self._mtu_nonces.clear()
            self._sender.use_path(now, pair.rtt, ipv6=is_ipv6(address.ip), loopback=loopback, dead=dead)
        if self._state is _State.CONNECTING:
            self._state = _State.OPEN
            self._events.append(Opened(path))
            self._events.extend(self._early)
            self._early.clear()
            self._early_bytes = 0
        else:
            self._events.append(PathSelected(path))

    def _look_writable(self) -> None:
        if self._full and self._sender.stream.unsent <= BUFFER_LIMIT // 2:
            self._full = False
            self._events.append(Writable())

    # Datagrams out

    def datagrams(self, now: float) -> Iterator[Batch]:
        """Yield what leaves now, each once. What was yielded counts as sent; more may follow as the pacer allows."""
        if self._state is _State.CLOSED:
            return
        if self._state is _State.CLOSING:
            yield from self._closing()
            return
        for address, fields in self._connectivity.outputs(now):
            if isinstance(fields, ProbeFields):
                yield self._sealed(address, Kind.PROBE, encode_probe(fields))
            else:
                yield self._sealed(address, Kind.ANSWER, encode_answer(fields))
        for address, request in self._reflexive.outputs(now):
            yield Batch(*address, (request,), 0, len(request))
        path = self.path
        if path is None or self._state is not _OPEN:
            return
        address = Address(path.ip, path.port, path.local)
        if self._acks.due_at <= now:
            yield self._sealed(address, Kind.ACK, encode_ack(self._acks.take(self._inbound, now)))
        size = self._mtu_probe(now)
        if size:
            probe = ProbeFields(self._entropy.nonce())
            self._mtu_nonces[probe.nonce] = size
            yield self._sealed(address, Kind.PROBE, encode_probe(probe, size - SEALED_OVERHEAD))
        yield from self._data(address, now)

    def _data(self, address: Address, now: float) -> Iterator[Batch]:
        next_batch = self._sender.next_batch
        ip, port, local = address
        try:
            while (found := next_batch(now)) is not None:
                yield Batch(ip, port, local, found.buffers, found.segment, found.size)
        except ProtocolError as error:
            self._end(error.message)
        self._look_writable()

    def _mtu_probe(self, now: float) -> int:
        if self._sender.stream.end < MTU_WORTH or self._sender.idle:
            return 0
        if len(self._mtu_nonces) > 2 * CLOSES:
            del self._mtu_nonces[next(iter(self._mtu_nonces))]
        return self._sender.mtu.probe(now, self._sender.loss.rtt.smoothed)

    def _sealed(self, address: Address, kind: Kind, inside: bytes) -> Batch:
        datagram = self._sealer.seal(kind, inside)
        return Batch(*address, (datagram,), 0, len(datagram))

    def _closing(self) -> Iterator[Batch]:
        """Tell the peer several times at once, as nothing acknowledges it; if all are lost, silence tells it."""
        while self._closes and self.path is not None:
            self._closes -= 1
            yield self._sealed(Address(*self.path[1:4]), Kind.CLOSE, b"\0")
        self._state = _State.CLOSED

    # Time

    def next_timeout(self) -> float | None:
        """Return when :meth:`handle_timeout` and :meth:`datagrams` are due; None if never."""
        state = self._state
        if state is _OPEN:
            sender = self._sender
            at = min(
                self._connectivity.next_timeout(),
                self._reflexive.next_timeout(),
                self._acks.due_at,
                sender.next_timeout(),
                self._connectivity.heard + SILENCE,
                self._connectivity.withdrawn_at,
                self._stall.due_at,
            )
            if sender.stream.end >= MTU_WORTH and not sender.idle:
                at = min(at, sender.mtu.next_timeout())
            return at
        if state is _State.CONNECTING:
            return min(self._connect_by, self._connectivity.next_timeout(), self._reflexive.next_timeout())
        return -NEVER if state is _State.CLOSING else None

    def handle_timeout(self, now: float) -> None:
        """Do what fell due; early and late calls do no harm. :meth:`datagrams` does the rest."""
        if self._state is _State.CONNECTING and now >= self._connect_by:
            self._end("no path was found", tell=False)
        elif self._state is _State.OPEN:
            if now >= self._connectivity.heard + SILENCE:
                self._end("nothing came from the other side")
            elif now >= self._connectivity.withdrawn_at:
                # The address may be somebody else's by now, and acknowledgements may come from anywhere (RFC 7675).
                self._end("the path in use does not answer any more")
            elif self._sender.handle_timeout(now):
                self._quiet(now)
            if self._stall.take_due(now):
                self._events.append(Stalled())

    def _quiet(self, now: float) -> None:
        """Nothing came back for a probe timeout."""
        loss = self._sender.loss
        if loss.pto_count >= MOST_PTOS:
            self._end("nothing is acknowledged")
            return
        if loss.pto_count >= SUSPICIOUS_PTOS:
            self._search(now)
        self._stall.on_quiet(loss.rtt.pto, loss.pto_count, now)


LEAST_DATAGRAM: Final = PROBE_BYTES + SEALED_OVERHEAD
"""Bytes of a probe and of its answer."""

"""The readers of what a datagram lane hears: every packet, and a whole lane whose peer seals what it likes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from p2pal.errors import ProtocolError
from p2pal.lanes.udp import data_packet, packet
from p2pal.lanes.udp.addresses import Address, CandidateKind, DatagramCandidate
from p2pal.lanes.udp.events import Closed
from p2pal.lanes.udp.lane import DatagramLane
from p2pal.lanes.udp.packet import AckFields, AnswerFields, Kind, ProbeFields
from p2pal.lanes.udp.seal import LaneSecrets, PacketSealer

_LEFT, _RIGHT = (LaneSecrets(bytes([one]) * 32, bytes([two]) * 32, one, two) for one, two in ((1, 2), (2, 1)))
_TAG: Final = _RIGHT.send_tag
_WINDOW: Final = 1 << 20
_KINDS: Final = tuple(Kind)


def data(given: bytes) -> bool:
    """DATA; the first two bytes are the size of the datagrams that came together."""
    runs = data_packet.read_data(given[2:], int.from_bytes(given[:2], "big"), _TAG)
    for run in runs:
        size = len(run.payloads[0])
        headers = data_packet.data_headers(run.number, _TAG, run.offset, size, run.packets, ask=run.ask)
        again = b"".join(bytes(part) for pair in zip(headers, run.payloads, strict=True) for part in pair)
        read = data_packet.read_data(again, size + data_packet.DATA_HEADER, _TAG)
        assert [each[:3] + each[4:5] for each in read] == [run[:3] + run[4:5]]
    return bool(runs)


def _batch(*, ask: bool) -> bytes:
    headers = data_packet.data_headers(5, _TAG, 1000, 20, 3, ask=ask)
    return b"\0\x2c" + b"".join(bytes(header) + b"payload " * 2 + b"here" for header in headers)[:-6]


BATCHES: Final = [_batch(ask=False), _batch(ask=True), b"\0\0" + _batch(ask=True)[2:46]]


def round_trip(decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]) -> Callable[[bytes], bool]:
    """Return the target of one of the insides of what is sealed."""

    def run(given: bytes) -> bool:
        try:
            fields = decode(given)
        except ProtocolError:
            return False
        if isinstance(fields, AckFields):  # microseconds there, and seconds here
            fields = fields._replace(received=0.0, delay=0.0)
        assert decode(encode(fields)) == fields
        return True

    return run


def header(given: bytes) -> bool:
    """The first 16 bytes."""
    try:
        read = packet.read_header(given)
    except packet.BadPacket:
        return False
    assert packet.COMMON.pack(packet.first_word(Kind(read.kind), read.number), read.tag) == given[: packet.COMMON.size]
    return True


ACK: Final = packet.encode_ack(AckFields(1.5, 0.001, 900, [(5, 7), (9, 12)], [(1000, 1100)]))
PROBE: Final = packet.encode_probe(ProbeFields(bytes(16), nominated=True), 100)
ANSWERS: Final = [packet.encode_answer(AnswerFields(bytes(16), ip, 9)) for ip in ("192.0.2.1", "2001:db8::1")]


def _opened() -> DatagramLane:
    """Return a lane with a path, and some bytes on the way."""
    lanes = [
        DatagramLane(1, secrets, leads=secrets is _LEFT, seed=bytes(32), now=1.0, window=_WINDOW)
        for secrets in (_LEFT, _RIGHT)
    ]
    for lane, mine, theirs in zip(lanes, ("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1"), strict=True):
        lane.add_local(0, mine, 1, 1.0)
        lane.add_remote(DatagramCandidate(CandidateKind.HOST, theirs, 1), 1.0)
    for now in (1.0, 1.1, 1.2):
        for lane, other, source in ((lanes[0], lanes[1], "10.0.0.1"), (lanes[1], lanes[0], "10.0.0.2")):
            for batch in list(lane.datagrams(now)):
                other.receive_datagram(b"".join(batch.buffers), Address(source, 1, 0), now, batch.segment)
    lane = lanes[0]
    assert lane.path is not None
    lane.send(bytes(5000))
    assert list(lane.datagrams(1.3))
    return lane


def lane(given: bytes) -> bool:
    """A whole lane. Each piece is a kind, a length of two bytes and as much: sealed as the peer seals, but for DATA."""
    one, sealer = _opened(), PacketSealer(_RIGHT.seal_key, _TAG)
    sealer._count = 1000  # what the opening used
    source, now, taken = Address("10.0.0.2", 1, 0), 1.3, 0
    while len(given) > 3:
        kind, size = _KINDS[given[0] % len(_KINDS)], int.from_bytes(given[1:3], "big")
        segment = given[0] // len(_KINDS)  # as if several had come together
        inside, given = given[3 : 3 + size], given[3 + size :]
        if kind is Kind.DATA:
            datagram = bytes([kind]) + inside[:7].rjust(7, b"\0") + _TAG.to_bytes(8, "big") + inside[7:]
        else:
            datagram = sealer.seal(kind, inside)
        rejected = one.rejected
        now += 0.01
        one.receive_datagram(datagram, source, now, segment)
        one.handle_timeout(now)
        assert sum(batch.size for batch in one.datagrams(now)) < _WINDOW
        taken += one.rejected == rejected
    broken = [event for event in one.events() if isinstance(event, Closed) and event.broken]
    assert one._inbound.held <= _WINDOW
    return taken > 0 and not broken


def _piece(kind: Kind, inside: bytes) -> bytes:
    return bytes([_KINDS.index(kind)]) + len(inside).to_bytes(2, "big") + inside


_FIRST: Final = _piece(Kind.DATA, bytes(7) + bytes(8) + b"\0\0\0\x03abc")
LANES: Final = [
    _FIRST + _piece(Kind.DATA, b"\x80".ljust(7, b"\0") + (9).to_bytes(8, "big") + b"later"),
    _piece(Kind.ACK, packet.encode_ack(AckFields(1.5, 0.001, 5004, [(0, 1)], []))) + _FIRST,
    _piece(Kind.PROBE, PROBE) + _piece(Kind.ANSWER, ANSWERS[0]) + _piece(Kind.CLOSE, b"\0"),
]

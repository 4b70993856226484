"""What is fuzzed: every reader of bytes that a peer, a server, a client or a file may have made up.

A target takes bytes. It fails by any exception that the reader does not document, and by a round trip that does not
hold: what was read is written and read again, and is the same. Add a target by adding an entry to :data:`TARGETS`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
from tests.fuzz import datagrams

from p2pal.checkpoint import codec
from p2pal.checkpoint import records as checkpoint_records
from p2pal.checkpoint.replay import ReceiveState, SendState
from p2pal.cli.text import balanced, json_ascii, safe
from p2pal.crypto import codes
from p2pal.crypto.keys import Direction, SessionSecret
from p2pal.crypto.pake import ReceiverPake, SenderPake
from p2pal.crypto.seal import BadSeal, LaneOpener, LaneSealer, MailboxOpener, MailboxSealer
from p2pal.disk.fs.names import check_link, check_path, free_name, is_part_name
from p2pal.errors import CheckpointError, MistypedCode, P2palError, ProtocolError, VersionMismatch, WrongCode
from p2pal.lanes.address_zones import zone_of
from p2pal.lanes.candidate_filter import Destinations
from p2pal.lanes.ice_candidates import MAX_COST, parse_candidate, with_relay_transport
from p2pal.lanes.turn.stream import AnswerStream, Referral, opens_as_turn
from p2pal.lanes.udp import packet
from p2pal.proxies import UnusableProxy, is_excepted, parse_proxy
from p2pal.rendezvous.http_errors import HttpAnswer, refusal
from p2pal.rendezvous.transport import retry_after
from p2pal.server import addresses, tokens
from p2pal.server.http import origins
from p2pal.server.state import Denied
from p2pal.units import parse_duration, parse_size
from p2pal.wire import frames, rendezvous, signal, transfer
from p2pal.wire.ice_urls import canonical_url, parse_stun_url, parse_turn_url

SECRET: Final = SessionSecret(bytes(range(32)))
ID: Final = "a" * 26
RENDEZVOUS: Final = "0" * 32
TRUSTED: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("10.0.0.0/8"))


class Target(NamedTuple):
    """One reader.

    Attributes:
        run: Reads bytes, and says whether it took them.
        seeds: What it takes: mutation begins there.
    """

    run: Callable[[bytes], bool]
    seeds: Sequence[bytes]


def text_of(data: bytes) -> str:
    """Return any text there is for some bytes, with lone surrogates where they are none."""
    return data.decode("utf-8", "surrogateescape")


# What peers tell each other


def _frame(data: bytes) -> bool:
    try:
        frame = frames.decode(data)
    except ProtocolError:
        return False
    if isinstance(frame, frames.Ack):  # delays are microseconds there, and seconds here
        frame = frame._replace(lanes=[each._replace(delay=0.0) for each in frame.lanes])
    assert frames.decode(frames.encode(frame)) == frame
    return True


FRAMES: Final = [
    frames.encode(each)
    for each in (
        frames.Data(7, memoryview(b"payload")),
        frames.Ack(3, 900, [(5, 7), (9, 12)], [frames.LaneAck(1, 44, 0.001), frames.LaneAck(2, 5, 0.5)]),
        frames.Ping(1),
        frames.Pong(2),
        frames.Close(1, "goodbye"),
    )
]


def _records(data: bytes) -> bool:
    read: list[transfer.Record] = []
    with contextlib.suppress(ProtocolError):
        read.extend(transfer.decode_payload(data))
    written = b"".join(bytes(part) for record in read for part in transfer.encode_record(record))
    if not written:
        return False
    assert list(transfer.decode_payload(written)) == read
    return True


OFFERS: Final[Sequence[Sequence[transfer.Record]]] = (
    [
        transfer.OfferBegin(bytes(16), False, b""),
        transfer.OfferPart(0, [transfer.Entry(b"a/b", transfer.EntryKind.FILE, 3, 1, 0o644, b"")]),
        transfer.OfferEnd(1, 1, 3, bytes(32)),
    ],
    [transfer.Accept(bytes(32)), transfer.Chunk(0, 0, memoryview(b"abc"))],
    [transfer.PieceDone(0, 0, bytes(32)), transfer.FileDone(0, bytes(32)), transfer.AllSent()],
    [
        transfer.Verdicts([transfer.Verdict(0, True)]),
        transfer.Complete(1, 0),
        transfer.Abort(transfer.Reason.OTHER, "why"),
    ],
)
RECORDS: Final = [
    b"".join(bytes(part) for record in records for part in transfer.encode_record(record)) for records in OFFERS
]


def _pake(data: bytes) -> bool:
    try:
        message = signal.decode_pake(data)
    except (ProtocolError, VersionMismatch):
        return False
    assert signal.decode_pake(signal.encode(message)) == message
    return True


PAKE: Final = [
    signal.encode(each)
    for each in (
        signal.PakeElement(bytes(33)),
        signal.PakeAnswer(bytes(33), bytes(32)),
        signal.PakeConfirm(bytes(32)),
        signal.PakeReject("wrong-code"),
    )
]


def _element(data: bytes) -> bool:
    """The key exchange itself: an element and a confirmation of anybody's."""
    sender = SenderPake(b"zebra-luna", RENDEZVOUS, 1)
    with contextlib.suppress(WrongCode):
        sender.finish(data[:33], data[33:65])
    receiver = ReceiverPake(b"zebra-luna", RENDEZVOUS, 1)
    with contextlib.suppress(WrongCode):
        receiver.answer(data[:33])
    return True


def _signal(data: bytes) -> bool:
    try:
        message = signal.decode_signal(data)
    except ProtocolError:
        return False
    assert signal.decode_signal(signal.encode(message)) == message
    return True


SDP: Final = (
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=msid-semantic: WMS\r\n"
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n"
    "a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=ice-options:trickle\r\na=fingerprint:sha-256 "
    + ":".join(["AB"] * 32)
    + "\r\n"
    "a=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n"
)
LINE: Final = (
    "candidate:1 1 udp 2122260223 192.0.2.1 41000 typ host generation 0 ufrag abcd network-id 1 network-cost 10"
)
SIGNALS: Final = [
    signal.encode(each)
    for each in (
        signal.Hello(65536, 1 << 20),
        signal.Offer(1, 1, SDP, 0),
        signal.Answer(1, SDP),
        signal.Candidate(1, LINE),
        signal.Retry(1, "silent"),
        signal.Fresh(bytes(16)),
        signal.Bye("peer"),
    )
]


def _lane(data: bytes) -> bool:
    sealed = LaneSealer(bytes(32)).seal(b"frame")
    opener = LaneOpener(bytes(32))
    try:
        assert opener.open(data) == b"frame"
        assert data == sealed
    except BadSeal:
        assert data != sealed
    return True


def _mailbox(data: bytes) -> bool:
    opener = MailboxOpener(SECRET, 1, Direction.TO_SENDER, 2)
    index = data[0] if data else 0
    try:
        opened = opener.open(index, data[1:])
    except BadSeal:
        return False
    assert (index, data[1:]) == MailboxSealer(SECRET, 1, Direction.TO_SENDER, 2).seal(opened)
    return True


# What the signaling server and its clients tell each other


def _json(decoder: msgspec.json.Decoder[Any]) -> Callable[[bytes], bool]:
    def run(data: bytes) -> bool:
        try:
            message = decoder.decode(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return False
        assert decoder.decode(rendezvous.encoder.encode(message)) == message
        for servers in (getattr(message, name, ()) for name in ("servers", "ice_servers")):
            for server in rendezvous.usable_ice_servers(servers):
                for url in server.urls:
                    _ice_url(url.encode())
        return True

    return run


CLIENT: Final = [
    rendezvous.encoder.encode(each)
    for each in (
        rendezvous.ClientHello("token" * 4, {1: 2}, 3),
        rendezvous.Append(0, b"body", 1),
        rendezvous.ClientAccept(1),
        rendezvous.Release(1, "busy"),
        rendezvous.AskIce(),
    )
]
SERVERS: Final = [rendezvous.IceServer(["stun:example.org", "turns:[2001:db8::1]:443?transport=tcp"], "user", "pass")]
SERVER: Final = [
    rendezvous.encoder.encode(each)
    for each in (
        rendezvous.Welcome(rendezvous.State.READY, 300.0, 1),
        rendezvous.LogMessage(1, 0, b"body"),
        rendezvous.StateChanged(rendezvous.State.ACTIVE, 1.0, 1),
        rendezvous.Ice(SERVERS),
        rendezvous.Error("limit", "later", 1),
    )
]
ANSWERS: Final = [
    rendezvous.encoder.encode(each)
    for each in (
        rendezvous.Created(ID, 47, "t" * 43, 300.0, SERVERS),
        rendezvous.Joined(ID, 1, "t" * 43, 300.0, SERVERS),
        rendezvous.Met(0, "t" * 43, 300.0, SERVERS),
        rendezvous.TransferInfo(ID, 47, rendezvous.State.READY, 1.0, 1),
        rendezvous.ErrorBody(rendezvous.ErrorDetail("ttl", "no", 1.0, 2.0)),
    )
]


def _http(data: bytes) -> bool:
    kinds = (rendezvous.Created, rendezvous.Joined, rendezvous.Met, rendezvous.TransferInfo, rendezvous.ErrorBody)
    taken = [_json(msgspec.json.Decoder(kind))(data) for kind in kinds]
    for status in (200, 302, 400, 404, 407, 409, 410, 413, 429, 500, 503):
        error = refusal(HttpAnswer(status, data))
        assert isinstance(error, P2palError)
        assert "\n" not in safe(error.message)
    return any(taken)


def _headers(data: bytes) -> bool:
    text = text_of(data)
    found = addresses.client_address("127.0.0.1", [text], TRUSTED)
    assert found == str(ipaddress.ip_address(found))
    addresses.group(text)
    origins.allowed(text, "example.org", {"https://example.org"})
    with contextlib.suppress(Denied):
        who = tokens.parse(text)
        assert tokens.assemble(*who) == text or str(who[1]) != text.split(".")[1]
    seconds = retry_after({"Retry-After": text})
    assert seconds is None or 0 <= seconds <= 86_400
    return True


# Paths


def _candidate(data: bytes) -> bool:
    line = text_of(data)
    found = parse_candidate(line)
    if found is None:
        return False
    assert 0 <= found.port < 65536
    assert 0 <= found.cost <= MAX_COST
    ipaddress.ip_address(found.address)
    if Destinations().generation().takes(found, 0.0):
        assert zone_of(found.address) is not None
        assert found.protocol == "tcp" or found.port >= 1024
        assert not found.dialled
    again = parse_candidate(with_relay_transport(line, "tls"))
    assert again is None or again.relay_transport == "tls"
    return True


def _ice_url(data: bytes) -> bool:
    url = text_of(data)
    for found in (parse_stun_url(url), parse_turn_url(url)):
        if found is not None:
            assert 0 < found.port < 65536
            assert canonical_url(canonical_url(url)) == canonical_url(url)
    zone_of(url)
    return True


def _turn(data: bytes) -> bool:
    """However a stream is cut, the same goes on."""
    if len(data) >= 8:
        opens_as_turn(data[:8])
    ends = []
    for size in (len(data) or 1, 1, 7):
        stream, passed, referred = AnswerStream(), b"", False
        try:
            for start in range(0, len(data), size):
                passed += stream.feed(data[start : start + size])
        except Referral:
            referred = True
        assert data.startswith(passed)
        ends.append((b"" if referred else passed, referred))
    assert ends[0] == ends[1] == ends[2]
    return True


def _stun(data: bytes) -> bool:
    from p2pal.doctor.stun_probe import _endpoint, _parse

    message = _parse(data)
    if message is None:
        return False
    _endpoint(message, "XOR-MAPPED-ADDRESS", "MAPPED-ADDRESS")
    return True


# Files, names, and what people type


def _checkpoint(data: bytes) -> bool:
    try:
        records = list(codec.decode(data))
    except CheckpointError:
        return False
    written = codec.MAGIC + b"".join(map(codec.encode, records))
    assert list(codec.decode(written)) == records
    header = records[0]
    assert isinstance(header, checkpoint_records.CheckpointHeader)
    state = ReceiveState(header) if header.role == "receive" else SendState(header)
    for record in records[1:]:
        state.apply(record)
    if isinstance(state, ReceiveState):
        assert state.claimed_bytes >= 0
        assert all(0 <= index < header.entries for index in state.claims)
    return True


def _header(role: Literal["send", "receive"]) -> checkpoint_records.CheckpointHeader:
    target = checkpoint_records.Target(b"/tmp", (1, 2)) if role == "receive" else None
    many = (ID, bytes(16), bytes(32), 1.0, 60.0, bytes(32), bytes(32), 3, 3, 3 << 20, [b"top"], 0)
    return checkpoint_records.CheckpointHeader(checkpoint_records.VERSION, role, *many, target=target)


def _file(*records: checkpoint_records.CheckpointRecord) -> bytes:
    return codec.MAGIC + b"".join(map(codec.encode, records))


CHECKPOINTS: Final = [
    _file(
        _header("receive"),
        checkpoint_records.Places([checkpoint_records.PlaceRecord(b"top", b"top (1)", "NEW")]),
        checkpoint_records.SessionBegins(),
        checkpoint_records.Done([(0, 1)]),
        checkpoint_records.Declined([(1, 2)]),
    ),
    _file(
        _header("send"),
        checkpoint_records.Tops([checkpoint_records.TopRecord(b"top", b"/home/top", True)]),
        checkpoint_records.Leaves(0, 0, bytes(32), 5.0),
    ),
]


def _code(data: bytes) -> bool:
    text = text_of(data)
    with contextlib.suppress(MistypedCode):
        parsed = codes.parse(text)
        assert codes.parse(str(parsed.code)).code == parsed.code
    codes.complete(text)
    for read in (parse_size, parse_duration):
        with contextlib.suppress(ValueError):
            assert read(text) >= 0
    return True


def _name(data: bytes) -> bool:
    for windows in (False, True):
        if check_path(data, windows=windows) is None:
            assert not data.startswith(b"/")
            assert not {b"", b".", b".."} & set(data.split(b"/"))
            check_link(b"top/link", data, windows=windows)
    if check_link(b"top/link", data, windows=False) is None:
        assert not data.startswith((b"/", b"../.."))
    part = data.replace(b"/", b"").replace(b"\0", b"")[:255]
    if part not in (b"", b".", b".."):
        free = free_name({part}.__contains__, part)
        assert free != part
        assert len(free) <= 255
        assert b"/" not in free
    is_part_name(data)
    return True


def _screen(data: bytes) -> bool:
    text = text_of(data)
    for limit in (0, 3, 20, 200):
        shown = safe(text, limit)
        assert len(shown) <= limit
        assert balanced(shown) == shown
        assert not any(char < " " or "\x7f" <= char < "\xa0" for char in shown)
    assert json.loads(json_ascii(json.dumps(text, ensure_ascii=False))) == text
    return True


def _proxy(data: bytes) -> bool:
    text = text_of(data)
    with contextlib.suppress(UnusableProxy):
        proxy = parse_proxy(text)
        assert 0 < proxy.port < 65536
        assert "@" not in str(proxy)
    is_excepted(text, "example.org", 443)
    return True


STUN_ANSWER: Final = bytes.fromhex("0101000c2112a442") + b"transaction." + bytes.fromhex("002000080001a147e112a643")
TURN_REFUSAL: Final = bytes.fromhex("011300082112a442") + b"transaction." + bytes.fromhex("0009000400000300")

TARGETS: Final[dict[str, Target]] = {
    "frame": Target(_frame, FRAMES),
    "records": Target(_records, RECORDS),
    "pake": Target(_pake, PAKE),
    "element": Target(_element, [bytes(65), b"\x01" + bytes(64)]),
    "signal": Target(_signal, SIGNALS),
    "lane-seal": Target(_lane, [LaneSealer(bytes(32)).seal(b"frame")]),
    "mailbox-seal": Target(_mailbox, [b"\x02" + MailboxSealer(SECRET, 1, Direction.TO_SENDER, 2).seal(b"message")[1]]),
    "client-message": Target(_json(rendezvous.client_decoder), CLIENT),
    "server-message": Target(_json(rendezvous.server_decoder), SERVER),
    "http-answer": Target(_http, ANSWERS),
    "headers": Target(
        _headers, [b"192.0.2.1, 10.0.0.1", b"[2001:db8::1]:99, 127.0.0.1", b"https://example.org", b"60"]
    ),
    "candidate": Target(
        _candidate, [LINE.encode(), LINE.replace("udp", "tcp").replace("host", "host tcptype active").encode()]
    ),
    "ice-url": Target(_ice_url, [b"stun:example.org:3478", b"turns:[2001:db8::1]:443?transport=tcp"]),
    "turn-stream": Target(_turn, [TURN_REFUSAL + b"\x40\x01\x00\x03abc\x00" + STUN_ANSWER]),
    "stun": Target(_stun, [STUN_ANSWER]),
    "datagram-header": Target(datagrams.header, [b"\xd1".ljust(16, b"\0")]),
    "datagram-data": Target(datagrams.data, datagrams.BATCHES),
    "datagram-ack": Target(datagrams.round_trip(packet.decode_ack, packet.encode_ack), [datagrams.ACK]),
    "datagram-probe": Target(datagrams.round_trip(packet.decode_probe, packet.encode_probe), [datagrams.PROBE]),
    "datagram-answer": Target(datagrams.round_trip(packet.decode_answer, packet.encode_answer), datagrams.ANSWERS),
    "datagram-lane": Target(datagrams.lane, datagrams.LANES),
    "checkpoint": Target(_checkpoint, CHECKPOINTS),
    "code": Target(_code, [b"zebra-luna-47", "p2pal recv zébra luna 47".encode(), b"1h30m", b"2.5MiB"]),
    "name": Target(_name, [b"top/a/b.tar.gz", b"../x", b"C:\\con", b".p2pal-abcd2345-0.part"]),
    "screen": Target(_screen, ["תמונה/صورة e\u0301 \u202e \x1b[2J.png".encode(), "क्\u200dष 👩".encode()]),
    "proxy": Target(_proxy, [b"socks5h://user:secret@127.0.0.1:1080", b"10.0.0.0/8, .example.org:443"]),
}

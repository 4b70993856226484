"""The transfer's records: every kind survives the way there and back; malformed ones are the peer's fault."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from p2pal.errors import ProtocolError
from p2pal.wire import transfer as wire
from p2pal.wire.transfer import Entry, EntryKind, Reason, Record, Verdict

RECORDS: list[Record] = [
    wire.Chunk(2**32 - 1, wire.MAX_FILE_SIZE, b"data"),
    wire.OfferBegin(bytes(16), True),
    wire.OfferBegin(bytes(16), True, bytes(32)),
    wire.OfferPart(
        3, [Entry(b"a/\xff", EntryKind.LINK, target=b"x"), Entry(b"b", EntryKind.FILE, 2**63 - 1, 0o777, -(2**62))]
    ),
    wire.OfferEnd(5, 4, 3, bytes(32), 2),
    wire.Proof(),
    wire.Proof(bytes(32)),
    wire.Accept(bytes(32)),
    wire.Accept(bytes(32), bytes(32)),
    wire.Want([(0, 5), (7, 9)], [wire.WantPieces(6, [(0, 2)], 2**24 - 1), wire.WantPieces(9, [])], last=False),
    wire.PieceDone(1, 2**40, bytes(32)),
    wire.FileDone(1, bytes(32)),
    wire.FileFailed(1, Reason.CHANGED, "text"),
    wire.AllSent(4),
    wire.PieceAgain(1, 2),
    wire.Verdicts([Verdict(1, True), Verdict(2, False, Reason.DISK, "full")]),
    wire.Complete(1, 2),
    wire.Hold(True),
    wire.Hold(False, Reason.OTHER),
    wire.Abort(Reason.BATCH, ""),
]


def encode(record: Record) -> bytes:
    return b"".join(wire.encode_record(record))


def raw(number: int, body: bytes) -> bytes:
    return bytes((number,)) + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_survives(record: Record) -> None:
    assert list(wire.decode_payload(encode(record))) == [record]


def test_a_payload_is_a_run_of_records() -> None:
    assert list(wire.decode_payload(b"".join(map(encode, RECORDS)))) == RECORDS


def test_chunk_data_are_views_both_ways() -> None:
    data = memoryview(bytes(100))
    assert wire.encode_record(wire.Chunk(1, 0, data))[1] is data
    payload = encode(wire.Chunk(1, 0, data))
    (chunk,) = wire.decode_payload(payload)
    assert isinstance(chunk, wire.Chunk)
    assert isinstance(chunk.data, memoryview)
    assert chunk.data.obj is payload


def test_the_overheads_are_what_they_say() -> None:
    assert len(encode(wire.Chunk(1, 2, b"x"))) == wire.CHUNK_OVERHEAD + 1
    assert wire.chunk_header(1, 2, 1) + b"x" == encode(wire.Chunk(1, 2, b"x"))
    longest = Verdict(wire.MAX_ENTRIES, False, Reason.BATCH, "\U0001f600" * wire.MAX_TEXT)
    assert len(encode(wire.Verdicts([longest]))) <= wire.MIN_PAYLOAD


def test_chunks_compare_by_what_they_hold() -> None:
    chunk = wire.Chunk(1, 2, b"x")
    assert chunk == wire.Chunk(1, 2, memoryview(b"x"))
    assert chunk != wire.Chunk(1, 3, b"x")
    assert chunk != "x"
    assert repr(chunk) == "Chunk(entry=1, offset=2, 1 bytes)"


def test_unknown_fields_at_the_end_are_ignored() -> None:
    body = msgspec.msgpack.encode([1, 2, 3, "later"])
    assert list(wire.decode_payload(raw(0x22, body))) == [wire.Complete(1, 2, 3)]


def test_who_does_not_count_what_is_durable_may_leave_it_out() -> None:
    for number, record in ((0x22, wire.Complete(1, 2)), (0x23, wire.Hold(True))):
        body = msgspec.msgpack.encode([1, 2] if number == 0x22 else [True])
        assert list(wire.decode_payload(raw(number, body))) == [record]


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\x22", raw(0x22, b"")[:4], raw(0x22, msgspec.msgpack.encode([1, 2]))[:-1], raw(0x22, b"\xc1"),
        raw(0x7F, b"\x90"), raw(0x10, bytes(12)), raw(0x10, bytes(4) + b"\xff" * 8 + b"x"), b"\x10\xff\xff\xff\xffx",
        raw(0x22, msgspec.msgpack.encode([-1, 0])), raw(0x22, msgspec.msgpack.encode([wire.MAX_ENTRIES + 1, 0])),
        raw(0x12, msgspec.msgpack.encode([0, bytes(31)])), raw(0x04, msgspec.msgpack.encode([bytes(33)])),
        raw(0x04, msgspec.msgpack.encode([bytes(32), bytes(31)])), raw(0x23, msgspec.msgpack.encode([1])),
        raw(0x01, msgspec.msgpack.encode([bytes(16), True, b"x"])),
        raw(0x06, msgspec.msgpack.encode([bytes(31)])), raw(0x06, msgspec.msgpack.encode(["x" * 32])),
        raw(0x05, msgspec.msgpack.encode([[], [(0, [(0, 1)], 2**24)]])),
        raw(0x05, msgspec.msgpack.encode([[], [(0, [(0, 1)] * 1025)]])),
        raw(0x05, msgspec.msgpack.encode([[], [(0, [])] * 1025])),
        raw(0x2F, msgspec.msgpack.encode([99, ""])), raw(0x2F, msgspec.msgpack.encode([1, "x" * 301])),
        raw(0x05, msgspec.msgpack.encode([[(0, 1)] * 1025, []])), raw(0x21, msgspec.msgpack.encode([[]])),
        raw(0x02, msgspec.msgpack.encode([0, [[b"", 0]]])), raw(0x02, msgspec.msgpack.encode([0, [[b"a", 3]]])),
        raw(0x02, msgspec.msgpack.encode([0, [[b"a", 0, 2**63]]])), raw(0x02, msgspec.msgpack.encode([0, [["a", 0]]])),
        raw(0x02, msgspec.msgpack.encode([0, [[b"a", 0, 1, 0o4755]]])), raw(0x02, msgspec.msgpack.encode([0, []])),
    ],
)  # fmt: skip
def test_malformed_payloads_are_the_peers_fault(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(wire.decode_payload(payload))


def test_records_before_a_malformed_one_are_given() -> None:
    records = wire.decode_payload(encode(wire.AllSent()) + b"\x00")
    assert next(records) == wire.AllSent()
    with pytest.raises(ProtocolError):
        next(records)


def test_names_are_bytes_and_texts_are_made_to_fit() -> None:
    assert Entry(b"\xff.txt", EntryKind.FILE).name == "\udcff.txt"
    assert wire.clean_text("\udcff" + "x" * 400) == "?" + "x" * 299


@pytest.mark.parametrize(("path", "text"), [(b"a/b", "a/b"), ("ü".encode(), "ü"), (b"\xff/a", "\udcff/a")])
def test_every_path_is_text_and_comes_back(path: bytes, text: str) -> None:
    assert wire.name_text(path) == wire.Entry(path, wire.EntryKind.FILE).name == text
    assert text.encode("utf-8", "surrogateescape") == path


@pytest.mark.parametrize("length", [1, 16, 31, 33])
def test_a_proof_has_32_bytes_or_none(length: int) -> None:
    makers: list[Callable[[bytes], Record]] = [
        lambda proof: wire.OfferBegin(bytes(16), False, proof),
        wire.Proof,
        lambda proof: wire.Accept(bytes(32), proof),
    ]
    for make in makers:
        with pytest.raises(ValueError, match="proof"):
            make(bytes(length))

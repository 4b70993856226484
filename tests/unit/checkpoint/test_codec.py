"""The checkpoint's codec: what is written is read; what is damaged, foreign or newer is told apart."""

from __future__ import annotations

import math
import struct

import msgspec
import pytest
from tests.unit.transfer.records import (
    MIB,
    begun,
    checkpoint,
    entries_of,
    finishing,
    frame,
    header,
    leaves,
    listing,
)

from p2pal.checkpoint.codec import (
    LEAVES,
    LISTING,
    MAGIC,
    MAX_LISTED,
    MAX_RECORD,
    NewerVersion,
    decode,
    encode,
    scan,
)
from p2pal.checkpoint.records import (
    Arrived,
    CheckpointRecord,
    Claimed,
    Declined,
    Done,
    Dropped,
    Finishings,
    Leaves,
    Listing,
    Made,
    PlaceRecord,
    Places,
    SessionBegins,
    Stopped,
    TopRecord,
    Tops,
)
from p2pal.errors import CheckpointError

EVERY: list[CheckpointRecord] = [
    Places([PlaceRecord(b"top", b"top (1)", "MERGE"), PlaceRecord(b"a", b"a", "REPLACE", (2**64 - 1, 3), -5)]),
    Tops([TopRecord(b"top", b"/home/top", True)]),
    listing(0, entries_of(3)),
    SessionBegins(),
    begun(1),
    Claimed(1, 0, leaves(1, 2), 2, 77),
    Finishings([finishing(1), finishing(2, replaces=(4, 5))]),
    Done([(1, 2), (5, 9)]),
    Dropped(3),
    Declined([(0, 1)]),
    Made(b"top", (6, 7)),
    Stopped(1, (7, 70), MIB, 1, -1),
    Leaves(1, 4, leaves(9), 1000.25),
    Arrived(10, 2),
]


def test_every_record_is_read_as_it_was_written() -> None:
    for first in (header("receive"), header("send")):
        assert list(decode(checkpoint(first, *EVERY))) == [first, *EVERY]


def test_a_checkpoint_begins_with_its_name() -> None:
    assert checkpoint(header()).startswith(b"p2pal-cp")
    for foreign in (b"", b"p2pal", b"x" * 100, b"\0" * 8 + encode(header())):
        with pytest.raises(CheckpointError, match="no checkpoint"):
            list(decode(foreign))


def test_a_newer_version_is_told_whatever_else_it_holds() -> None:
    body = msgspec.msgpack.encode([1, 2, {"anything": True}])
    with pytest.raises(NewerVersion, match="newer p2pal") as caught:
        list(decode(MAGIC + frame(body)))
    assert "update" in caught.value.hint


@pytest.mark.parametrize(
    "body",
    [
        msgspec.msgpack.encode([1, 1]),
        msgspec.msgpack.encode([1, 0, "receive"]),
        msgspec.msgpack.encode([1, "1"]),
        msgspec.msgpack.encode(Dropped(1)),
        b"\xc1",
        b"\x91" * 2000,
    ],
)
def test_a_checkpoint_whose_first_record_is_no_header_is_damaged(body: bytes) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        list(decode(MAGIC + frame(body)))


@pytest.mark.parametrize(
    "change",
    [
        {"created": math.nan},
        {"created": math.inf},
        {"created": -1.0},
        {"ttl": math.nan},
        {"ttl": -1.0},
        {"ttl": math.inf},
        {"target": None},
        {"role": "send"},
        {"id": "A" * 26},
        {"id": "../../../etc/passwd2345672"},
        {"transfer_id": b"short"},
        {"entries": 2**63},
        {"version": 0},
    ],
)
def test_a_header_that_says_what_cannot_be_is_damaged(change: dict[str, object]) -> None:
    wrong = msgspec.structs.replace(header(), **change)
    with pytest.raises(CheckpointError, match="damaged"):
        list(decode(checkpoint(wrong, *EVERY)))


@pytest.mark.parametrize(
    "bad",
    [
        header(),  # only the first is one
        Leaves(1, 0, leaves(1), math.nan),
        Leaves(1, 0, leaves(1), 1e300),
        Leaves(1, 0, leaves(1), math.inf),
        Dropped(-1),
        Dropped(2**40),
        Finishings([msgspec.structs.replace(finishing(1), digest=b"short")]),
    ],
)
def test_what_follows_a_bad_record_is_left_out(bad: CheckpointRecord) -> None:
    data = checkpoint(header(), Dropped(1), bad, Dropped(2))
    assert list(decode(data)) == [header(), Dropped(1)]


def test_a_record_of_an_unknown_kind_ends_it() -> None:
    data = checkpoint(header()) + frame(msgspec.msgpack.encode([99, 1])) + encode(Dropped(2))
    assert list(decode(data)) == [header()]


def test_a_length_that_cannot_be_is_not_believed() -> None:
    for length in (0, MAX_RECORD + 1, 2**32 - 1):
        data = checkpoint(header()) + struct.pack("!II", length, 0) + encode(Dropped(2))
        assert list(decode(data)) == [header()]


def test_what_cannot_be_read_again_is_not_written() -> None:
    for record in (Leaves(1, 0, bytes(MAX_RECORD), 0.0), Listing(0, b"", [(0, 0, 0)] * (MAX_LISTED + 1))):
        with pytest.raises(ValueError, match="too large"):
            encode(record)
    encode(Leaves(1, 0, bytes(MAX_RECORD - 64), 0.0))


def test_scan_says_where_each_record_ends_and_skips() -> None:
    data = checkpoint(header(), EVERY[2], EVERY[-2], Dropped(1))
    view = memoryview(data)
    found = list(scan(lambda count, offset: view[offset : offset + count], skip=frozenset((LISTING, LEAVES))))
    assert [record for _, record in found] == [header(), None, None, Dropped(1)]
    assert found[-1][0] == len(data)
    parts = [[], EVERY[2:3], [EVERY[2], EVERY[-2]], [EVERY[2], EVERY[-2], Dropped(1)]]
    assert [end for end, _ in found] == [len(checkpoint(header(), *records)) for records in parts]


def test_a_skipped_record_is_checked_unless_it_is_not_even_read() -> None:
    data = bytearray(checkpoint(header(), EVERY[2], Dropped(1)))
    data[len(checkpoint(header())) + 20] ^= 1
    reads: list[tuple[int, int]] = []

    def read(count: int, offset: int) -> bytes:
        reads.append((offset, count))
        return bytes(data[offset : offset + count])

    skip = frozenset((LISTING,))
    assert [record for _, record in scan(read, skip=skip)] == [header()]
    assert [record for _, record in scan(read, skip=skip, unchecked=True)] == [header(), None, Dropped(1)]


def test_the_resume_key_is_not_shown() -> None:
    assert "kkk" not in repr(header())

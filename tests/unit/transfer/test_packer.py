"""Packing: order, limits, full payloads, no copies."""

from __future__ import annotations

import pytest

from p2pal.transfer.packer import PayloadQueue
from p2pal.wire.transfer import (
    CHUNK_OVERHEAD,
    MIN_PAYLOAD,
    AllSent,
    Chunk,
    FileDone,
    Record,
    decode_payload,
    encode_record,
)

LIMIT = 63 * 1024 + CHUNK_OVERHEAD


def drain(queue: PayloadQueue) -> list[list[Record]]:
    payloads = []
    while (taken := queue.take()) is not None:
        data = b"".join(taken[0])
        assert len(data) <= queue.limit
        payloads.append(list(decode_payload(data)))
    assert queue.backlog == 0
    return payloads


def test_nothing_gives_nothing() -> None:
    assert PayloadQueue(LIMIT).take() is None


def test_a_limit_that_fits_no_record_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        PayloadQueue(MIN_PAYLOAD - 1)


def test_a_record_that_fits_no_payload_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        PayloadQueue(MIN_PAYLOAD).add_encoded(bytes(MIN_PAYLOAD + 1))


def test_a_long_block_fills_payload_after_payload() -> None:
    queue = PayloadQueue(LIMIT)
    data = bytes(range(256)) * 4096
    queue.add_block(7, 0, data, again=False)
    assert queue.backlog == len(data)
    payloads = drain(queue)
    chunks = [record for payload in payloads for record in payload]
    assert all(isinstance(each, Chunk) and each.entry == 7 for each in chunks)
    assert [len(each.data) for each in chunks if isinstance(each, Chunk)][:-1] == [63 * 1024] * 16
    assert b"".join(each.data for each in chunks if isinstance(each, Chunk)) == data


def test_payloads_become_larger_and_smaller_again_and_records_keep_to_the_limit() -> None:
    queue = PayloadQueue(MIN_PAYLOAD)
    data = bytes(range(256)) * 2048
    queue.add_block(3, 0, data, again=False)
    chunks: list[Record] = []
    for full in (LIMIT, 3 * LIMIT, MIN_PAYLOAD):
        queue.full = full
        taken = queue.take()
        assert taken is not None
        payload = b"".join(taken[0])
        assert len(payload) == full
        chunks += list(decode_payload(payload))
    queue.full = 4 * LIMIT
    while (taken := queue.take()) is not None:
        chunks += list(decode_payload(b"".join(taken[0])))
    assert b"".join(each.data for each in chunks if isinstance(each, Chunk)) == data
    with pytest.raises(ValueError, match="does not fit"):
        queue.add_encoded(bytes(MIN_PAYLOAD + 1))


def test_chunks_are_views_of_the_block() -> None:
    queue = PayloadQueue(LIMIT)
    data = bytes(1 << 20)
    queue.add_block(0, 0, data, again=False)
    taken = queue.take()
    assert taken is not None
    view = taken[0][1]
    assert isinstance(view, memoryview)
    assert view.obj is data


def test_small_files_share_a_payload_in_order() -> None:
    queue = PayloadQueue(LIMIT)
    expected: list[Record] = []
    for index in range(30):
        data = b"%d" % index * 50
        queue.add_block(index, 0, data, again=False)
        queue.add(FileDone(index, bytes(32)))
        expected += [Chunk(index, 0, data), FileDone(index, bytes(32))]
    assert drain(queue) == [expected]


def test_little_room_is_left_rather_than_filled_with_a_crumb() -> None:
    queue = PayloadQueue(LIMIT)
    queue.add_block(0, 0, bytes(LIMIT - 2000), again=False)
    queue.add_block(1, 0, bytes(3000), again=False)
    assert [len(payload) for payload in drain(queue)] == [1, 1]


def test_a_block_right_after_records_of_a_small_payload_still_moves() -> None:
    queue = PayloadQueue(MIN_PAYLOAD)
    queue.add(AllSent())
    queue.add_block(1, 0, bytes(20_000), again=False)
    assert len(drain(queue)) == 6


def test_progress_counts_first_passages_only() -> None:
    queue = PayloadQueue(LIMIT)
    queue.add_block(1, 0, bytes(10), again=False)
    queue.add_block(2, 0, bytes(20), again=True)
    taken = queue.take()
    assert taken is not None
    assert taken[1] == [(1, 10)]


def test_blocks_of_muted_entries_are_dropped_and_their_records_stay() -> None:
    queue = PayloadQueue(LIMIT)
    queue.add_block(1, 0, bytes(10), again=False)
    queue.add(FileDone(1, bytes(32)))
    taken = queue.take({1})
    assert taken is not None
    assert b"".join(taken[0]) == b"".join(encode_record(FileDone(1, bytes(32))))
    assert queue.backlog == 0


def test_what_is_cleared_does_not_leave() -> None:
    queue = PayloadQueue(LIMIT)
    queue.add(AllSent())
    queue.add_block(1, 0, bytes(10), again=False)
    queue.clear()
    assert drain(queue) == []

"""What follows from a checkpoint's records, and what does not."""

from __future__ import annotations

import pytest
from tests.unit.transfer.records import MIB, begun, finishing, header, leaf, leaves

from p2pal.checkpoint import replay
from p2pal.checkpoint.records import (
    Arrived,
    Begun,
    CheckpointHeader,
    CheckpointRecord,
    Claim,
    Claimed,
    Declined,
    Done,
    Dropped,
    Finishings,
    Leaves,
    Made,
    PlaceRecord,
    Places,
    SessionBegins,
    Stopped,
    TopRecord,
    Tops,
    Unclaimed,
)
from p2pal.checkpoint.replay import ReceiveState, SendState
from p2pal.ranges import RangeSet

PART = (7, 70)
STOPPED = Stopped(1, PART, MIB, 1, 1)


def received(*records: CheckpointRecord, first: CheckpointHeader | None = None) -> ReceiveState:
    state = ReceiveState(first or header())
    for record in records:
        state.apply(record)
    return state


def sent(*records: CheckpointRecord) -> SendState:
    state = SendState(header("send"))
    for record in records:
        state.apply(record)
    return state


def test_claims_of_a_file_add_up_and_the_last_head_counts() -> None:
    state = received(begun(1), Claimed(1, 0, leaves(10), 1, 5), Claimed(1, 1, leaves(11), 2, 9))
    assert state.claims == {1: Claim(PART, {0: leaf(10), 1: leaf(11)}, 2, 9)}
    assert state.claimed_bytes == 2 * MIB + 9
    assert received(begun(1), Claimed(1, 0, b"", 0, 7), Claimed(1, 0, leaves(1))).claims[1].head == 0


def test_a_claim_is_trusted_after_a_clean_stop_only() -> None:
    claimed: list[CheckpointRecord] = [begun(1), Claimed(1, 0, leaves(1))]
    assert received(*claimed, STOPPED).claims[1].trusted
    assert not received(*claimed, Stopped(1, (7, 71), MIB, 1, 1)).claims[1].trusted
    assert not received(*claimed, STOPPED, SessionBegins()).claims[1].trusted
    assert not received(*claimed, STOPPED, Claimed(1, 1, leaves(1))).claims[1].trusted
    assert not received(*claimed, STOPPED, begun(1)).claims[1].trusted
    assert received(*claimed, SessionBegins(), STOPPED).claims[1].trusted
    assert not received(Stopped(2, PART, 1, 1, 1)).stopped


@pytest.mark.parametrize(
    "claim",
    [
        Claimed(1, 0, b"x" * 31),
        Claimed(1, 0, leaves(1, 2, 3, 4)),
        Claimed(1, 2**62, leaves(1)),
        Claimed(2, 0, leaves(1)),
        Claimed(1, 0, b"", 3, 1),
        Claimed(1, 0, b"", 0, MIB),
        Claimed(1, 0, b"", 2, MIB // 2),
    ],
)
def test_a_claim_that_cannot_be_is_left_out(claim: Claimed) -> None:
    assert received(begun(1, size=2 * MIB + MIB // 2), claim).claims == {}


def test_a_head_in_a_piece_that_is_there_says_nothing() -> None:
    assert received(begun(1), Claimed(1, 0, leaves(1), 0, 5)).claims[1].head == 0


def test_a_file_of_one_piece_claims_nothing() -> None:
    state = received(begun(1, size=MIB), Claimed(1, 0, leaves(1)))
    assert state.claims == {}
    assert set(state.begun) == {1}


def test_another_part_file_makes_old_claims_void() -> None:
    state = received(begun(1), Claimed(1, 0, leaves(1)), begun(1, part=(7, 71)))
    assert state.claims == {}
    assert state.begun[1].part == (7, 71)


def test_the_same_part_file_keeps_what_a_new_size_leaves_true() -> None:
    before: list[CheckpointRecord] = [begun(1, size=2 * MIB + 5), Claimed(1, 0, leaves(1, 2, 3))]
    assert received(*before, begun(1, size=4 * MIB)).claims[1].leaves == {0: leaf(1), 1: leaf(2)}
    assert received(*before, begun(1, size=MIB)).claims == {}  # of one piece
    assert received(*before, begun(1, size=MIB + 5)).claims[1].leaves == {0: leaf(1)}
    assert received(*before, begun(1, size=2 * MIB + 5)).claims[1].leaves == {0: leaf(1), 1: leaf(2), 2: leaf(3)}
    assert received(*before, begun(1, size=2 << 30)).claims == {}  # its pieces have another size


def test_a_claim_that_is_taken_back_is_none_and_nothing_is_trusted_then() -> None:
    claimed: list[CheckpointRecord] = [begun(1), Claimed(1, 0, leaves(1, 2), 2, 5)]
    state = received(*claimed, STOPPED, Unclaimed(1, 1, 2))
    assert state.claims == {1: Claim(PART, {0: leaf(1)}, 2, 5)}
    assert received(*claimed, Unclaimed(1, 0, 2**62), Claimed(1, 1, leaves(3))).claims == {1: Claim(PART, {1: leaf(3)})}
    assert received(*claimed, Unclaimed(1, 2, 1), Unclaimed(2, 0, 9)).claims == received(*claimed).claims


def test_a_finished_file_is_done_and_its_digest_is_known() -> None:
    state = received(begun(1), begun(2), Finishings([finishing(1), finishing(2)]), Done([(0, 2)]))
    assert list(state.done) == [(0, 2)]
    assert state.placed.get(1) == (3 * MIB, 5, finishing(1).digest)
    assert state.placed.get(0) is state.placed.get(2) is None
    assert set(state.finishing) == set(state.begun) == {2}
    assert (state.done_files, state.done_bytes) == (1, 3 * MIB)


def test_a_file_that_begins_again_is_not_done_any_more() -> None:
    state = received(begun(1), Finishings([finishing(1)]), Done([(1, 2)]), begun(1, part=(7, 71)))
    assert not state.done
    assert state.placed.get(1) == (3 * MIB, 5, finishing(1).digest)  # it stands there until another takes its name
    assert not state.finishing
    assert (state.done_files, state.done_bytes) == (0, 0)


def test_finishing_names_the_part_file_that_was_begun() -> None:
    assert not received(begun(1), Finishings([finishing(1, part=(7, 71))])).finishing
    assert not received(begun(1), Finishings([finishing(1)]), begun(1)).finishing


def test_a_dropped_part_file_leaves_nothing() -> None:
    state = received(begun(1), Claimed(1, 0, leaves(1)), Finishings([finishing(1)]), STOPPED, Dropped(1))
    assert not any((state.begun, state.claims, state.finishing, state.stopped))


def test_no_entry_beyond_the_last_is_believed() -> None:
    small = header(entries=3)
    state = received(
        begun(3), Finishings([finishing(3)]), Done([(2, 1000), (7, 9), (2, 1)]), Declined([(1, 10**7)]), first=small
    )
    assert not any((state.begun, state.finishing))
    assert list(state.done) == [(2, 3)]
    assert list(state.declined) == [(1, 3)]


def test_the_rest_is_kept_as_it_is_said() -> None:
    places = [PlaceRecord(b"a", b"a", "NEW"), PlaceRecord(b"b", b"b (1)", "NEW")]
    state = received(Places(places[:1]), Places(places[1:]), Made(b"a", (1, 2)))
    assert state.places == {b"a": places[0], b"b": places[1]}
    assert state.made == {b"a": (1, 2)}


def test_records_of_the_other_side_are_passed_over() -> None:
    assert received(Leaves(1, 0, leaves(1), 1.0), Tops([])).begun == {}
    assert sent(begun(1), Done([(0, 1)])).leaves == {}


def test_leaves_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_LEAVES", 3)
    state = received(begun(1, size=9 * MIB), Claimed(1, 0, leaves(1, 2)), begun(2), Claimed(2, 0, leaves(3, 4)))
    assert {index: set(claim.leaves) for index, claim in state.claims.items()} == {1: {0, 1}, 2: {0}}
    state.apply(Dropped(1))
    state.apply(Claimed(2, 1, leaves(4)))
    assert set(state.claims[2].leaves) == {0, 1}
    state.apply(Unclaimed(2, 0, 1))
    state.apply(Claimed(2, 2, leaves(5)))
    assert set(state.claims[2].leaves) == {1, 2}
    sender = sent(Leaves(1, 0, leaves(1, 2), 1.0), Leaves(2, 0, leaves(1, 2), 1.0), Leaves(3, 0, leaves(1), 1.0))
    assert {index: set(known) for index, known in sender.leaves.items()} == {1: {0, 1}, 3: {0}}


def test_the_sender_knows_leaves_and_since_when() -> None:
    state = sent(Leaves(1, 0, leaves(1), 20.0), Leaves(1, 5, leaves(2), 10.0), Leaves(1, 0, b"x", 1.0))
    assert state.leaves == {1: {0: leaf(1), 5: leaf(2)}}
    assert state.leaves_at == {1: 10.0}
    assert not sent(Leaves(100, 0, leaves(1), 1.0)).leaves


def test_the_sender_knows_what_it_was_given_and_how_far_it_is() -> None:
    tops = [TopRecord(b"a", b"/a", False), TopRecord(b"b", b"/b", True)]
    state = sent(Tops(tops[:1]), Tops(tops[1:]), Arrived(5, 1), Arrived(9, 2))
    assert state.tops == tops
    assert (state.done, state.files) == (9, 2)


def test_many_files_done_at_once_and_one_by_one_are_the_same() -> None:
    begin: list[CheckpointRecord] = [Begun(n, (1, n), 10, 0, b"top/%d" % n) for n in range(50)]
    finish = Finishings([finishing(n, part=(1, n)) for n in range(50)])
    at_once = received(*begin, finish, Done([(0, 50)]))
    one_by_one = received(*begin, finish, *[Done([(n, n + 1)]) for n in reversed(range(50))])
    assert at_once.done == one_by_one.done == RangeSet([(0, 50)])
    assert [at_once.placed.get(n) for n in range(50)] == [one_by_one.placed.get(n) for n in range(50)]
    assert at_once.done_bytes == one_by_one.done_bytes == 500

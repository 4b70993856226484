from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transfer.records import MIB, header

from p2pal.checkpoint.durable import DurableCount
from p2pal.checkpoint.records import Begun, CheckpointRecord, Claimed, Done, Dropped, Finishing, Finishings, Unclaimed
from p2pal.checkpoint.replay import ReceiveState

ENTRIES = 4
LEAF = bytes(32)


def figures(state: ReceiveState) -> tuple[int, int]:
    """What the list shows."""
    return state.done_bytes + state.claimed_bytes, state.done_files


@st.composite
def histories(draw: st.DrawFn) -> list[CheckpointRecord]:
    """Records as a receiver writes them: of files that have begun, and of pieces that they have."""
    begun: dict[int, Begun] = {}
    found: list[CheckpointRecord] = []
    for _ in range(draw(st.integers(0, 25))):
        index = draw(st.integers(0, ENTRIES - 1))
        file = begun.get(index)
        if file is None:
            size = draw(st.sampled_from([0, 5, MIB, MIB + 1, 3 * MIB, 5 * MIB - 7]))
            part = (1, draw(st.integers(1, 3)))
            begun[index] = Begun(index, part, size, 0, b"x")
            found.append(begun[index])
            continue
        pieces = -(-file.size // MIB)
        what = draw(st.sampled_from(["claim", "claim", "revoke", "done", "drop", "again"]))
        if what == "claim" and pieces > 1:
            first = draw(st.integers(0, pieces - 1))
            count = draw(st.integers(0, pieces - first))
            piece = draw(st.integers(0, pieces - 1))
            head = draw(st.integers(0, min(MIB, file.size - piece * MIB) - 1))
            found.append(Claimed(index, first, LEAF * count, piece, head))
        elif what == "revoke":
            found.append(Unclaimed(index, draw(st.integers(0, 2)), draw(st.integers(3, 6))))
        elif what == "done":
            found += [Finishings([Finishing(index, file.part, LEAF)]), Done([(index, index + 1)])]
            del begun[index]
            if draw(st.booleans()):
                break
        elif what == "drop":
            found.append(Dropped(index))
            del begun[index]
        elif what == "again":
            begun[index] = Begun(index, file.part, draw(st.sampled_from([5, 3 * MIB, 4 * MIB])), 1, b"x")
            found.append(begun[index])
    return found


def once(records: list[CheckpointRecord]) -> list[CheckpointRecord]:
    """Without files that begin again after they were done: that takes another session."""
    done: set[int] = set()
    found = []
    for record in records:
        if isinstance(record, Begun) and record.index in done:
            break
        if isinstance(record, Done):
            done.update(start for start, _ in record.ranges)
        found.append(record)
    return found


@given(histories(), st.integers(0, 30))
@settings(max_examples=200, deadline=None)
def test_it_counts_what_the_list_shows_whenever_the_session_began(records: list[CheckpointRecord], cut: int) -> None:
    """As they are written, and after a resume at any record."""
    earlier, later = records[:cut], once(records[cut:])
    state = ReceiveState(header(entries=ENTRIES))
    for record in earlier:
        state.apply(record)
    count = DurableCount(state)
    listed = ReceiveState(header(entries=ENTRIES))
    for record in earlier:
        listed.apply(record)
    assert (count.bytes, count.files) == figures(listed)
    for record in later:
        count.apply(record)
        listed.apply(record)
        assert (count.bytes, count.files) == figures(listed)


def test_the_last_piece_counts_with_its_own_length() -> None:
    count = DurableCount()
    count.apply(Begun(0, (1, 1), MIB + 10, 0, b"x"))
    count.apply(Claimed(0, 1, LEAF))
    assert count.bytes == 10
    count.apply(Claimed(0, 0, b"", 0, 100))
    assert count.bytes == 110
    count.apply(Claimed(0, 0, LEAF))
    assert count.bytes == MIB + 10

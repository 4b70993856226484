"""The transfer, for any tree, cut, interleaving and garbage."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim.disk import Link, Tree
from tests.sim.stages import (
    claim,
    offering_sender,
    payload,
    receiver_in,
    records_of,
    resuming_receiver,
    resuming_sender,
    sender_in,
)
from tests.sim.transfers import RECEIVER_PROOF, SENDER_PROOF, Transfer, after, recut_randomly

from p2pal.errors import ProtocolError
from p2pal.transfer.packer import PayloadQueue
from p2pal.transfer.states import ReceiverState, SenderState
from p2pal.wire import transfer as wire
from p2pal.wire.pieces import LeafHasher, leaf, piece_count, piece_size
from p2pal.wire.transfer import (
    MAX_FILE_SIZE,
    MIN_PAYLOAD,
    Chunk,
    Entry,
    EntryKind,
    Reason,
    Record,
    decode_payload,
    encode_record,
)

MIB = 1 << 20

contents = st.one_of(
    st.none(),
    st.builds(Link, st.binary(min_size=1, max_size=20).filter(lambda target: b"\0" not in target)),
    st.binary(max_size=100),
    st.builds(
        lambda seed, size: random.Random(seed).randbytes(size),
        st.integers(0, 9),
        st.one_of(st.integers(0, 200_000), st.sampled_from([MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 1])),
    ),
)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Return a tree of up to ten entries, parents first."""
    tree: dict[bytes, bytes | Link | None] = {}
    directories = [b""]
    for number in range(draw(st.integers(0, 10))):
        path = draw(st.sampled_from(directories)) + b"%d\xff" % number
        tree[path] = draw(contents)
        if tree[path] is None:
            directories.append(path + b"/")
    return tree


@settings(max_examples=60, deadline=None)
@given(
    tree=trees(), seed=st.integers(0, 2**32), limit=st.sampled_from([MIN_PAYLOAD, 20_000, 64_529]),
    block=st.sampled_from([5000, 65_536, MIB]),
)  # fmt: skip
def test_any_cut_and_any_interleaving_delivers_the_same_tree(tree: Tree, seed: int, limit: int, block: int) -> None:
    rng = random.Random(seed)
    transfer = Transfer(tree, limit=limit, block=block, prompt=rng.random() < 0.5)
    transfer.recut = recut_randomly(rng)
    transfer.run(rng)
    assert transfer.sink.tree == tree
    assert transfer.succeeded() == transfer.succeeded(sender=True) == set(tree)
    assert transfer.sender.done
    assert transfer.receiver.done


@settings(max_examples=80, deadline=None)
@given(tree=trees(), seed=st.integers(0, 2**32), skip_errors=st.booleans())
def test_whatever_fails_both_sides_agree_and_no_wrong_file_stands(tree: Tree, seed: int, skip_errors: bool) -> None:
    rng = random.Random(seed)
    transfer = Transfer(tree, block=rng.choice((50_000, MIB)), skip_errors=skip_errors)
    paths = list(tree)
    files = [path for path, content in tree.items() if isinstance(content, bytes)]
    if files:
        transfer.source.unreadable = {rng.choice(files): rng.randrange(3)} if rng.random() < 0.4 else {}
        transfer.source.unrepairable = {rng.choice(files)} if rng.random() < 0.4 else set()
    if paths and rng.random() < 0.4:
        transfer.sink.failing[rng.choice(paths)] = rng.choice((Reason.PERMISSION, Reason.DISK))
    odds = rng.choice((0, 0.02, 0.3))
    transfer.sink.damage = lambda path, offset, data: bytes(len(data)) if rng.random() < odds else data
    turns = iter(range(10**9))
    stop_after = rng.choice((10**9, rng.randrange(1, 60)))
    transfer.run(rng, until=lambda: next(turns) >= stop_after)
    if stop_after < 10**9:
        rng.choice((transfer.sender, transfer.receiver)).cancel(Reason.CANCELLED, "", transfer.now)
        transfer.resume(rng)
    assert transfer.sender.done
    assert transfer.receiver.done
    assert transfer.succeeded() == transfer.succeeded(sender=True) == set(transfer.sink.tree)
    assert all(transfer.sink.tree[path] == tree[path] for path in transfer.sink.tree)
    assert not transfer.sink.open
    sent, received = transfer.finished()
    assert sent.ok == received.ok


@settings(max_examples=40, deadline=None)
@given(
    tree=trees(), seed=st.integers(0, 2**32), sessions=st.integers(1, 3), lose=st.sampled_from([0.0, 0.3, 1.0]),
    block=st.sampled_from([65_536, MIB]),
)  # fmt: skip
def test_however_often_it_is_cut_it_arrives_and_nothing_that_stands_is_sent_again(
    tree: Tree, seed: int, sessions: int, lose: float, block: int
) -> None:
    rng = random.Random(seed)
    transfer = Transfer(tree, block=block)
    for _ in range(sessions):
        transfer.run(rng, until=after(rng.randrange(1, 30)))
        if rng.random() < 0.7:
            rng.choice((transfer.sender, transfer.receiver)).cancel(Reason.CANCELLED, "", transfer.now)
            transfer.resume(rng)
        transfer = transfer.again(rng, lose=lose)
        transfer.recut = recut_randomly(rng)
        transfer.source.known = rng.choice(((), tree))
    transfer.run(rng)
    assert transfer.sink.tree == tree
    assert transfer.sender.done
    assert transfer.receiver.done
    assert transfer.resume_from is not None
    assert not any(index in transfer.resume_from.done for index in transfer.bytes_sent())
    assert transfer.started() == transfer.started(sender=True)
    assert transfer.succeeded() == transfer.succeeded(sender=True)


indices = st.one_of(st.integers(0, 4), st.sampled_from([wire.MAX_ENTRIES, 2**31]))
sizes = st.one_of(st.integers(0, 5), st.sampled_from([MIB, 2**31, 2**63 - 1]))
digests = st.sampled_from([bytes(32), b"\xff" * 32])
proofs = st.sampled_from([b"", bytes(32), SENDER_PROOF, RECEIVER_PROOF])
ranges = st.lists(st.tuples(indices, indices), max_size=3)
wanted = st.lists(
    st.builds(wire.WantPieces, indices, st.lists(st.tuples(sizes, sizes), max_size=3), st.integers(0, 2**24 - 1)),
    max_size=2,
)
verdicts = st.lists(st.builds(wire.Verdict, indices, st.booleans()), min_size=1, max_size=3)
records: st.SearchStrategy[Record] = st.one_of(
    st.builds(Chunk, indices, sizes, st.binary(min_size=1, max_size=10)),
    st.builds(wire.PieceDone, indices, sizes, digests),
    st.builds(wire.FileDone, indices, digests),
    st.builds(wire.FileFailed, indices, st.sampled_from(Reason), st.text(max_size=5)),
    st.builds(wire.AllSent, indices),
    st.builds(wire.PieceAgain, indices, sizes),
    st.builds(wire.Complete, indices, indices),
    st.builds(wire.OfferEnd, indices, indices, sizes, digests),
    st.builds(wire.OfferBegin, st.just(bytes(16)), st.booleans(), proofs),
    st.builds(wire.Proof, proofs),
    st.builds(wire.Accept, digests, proofs),
    st.builds(wire.Want, ranges, wanted, st.booleans()),
    st.builds(wire.Hold, st.booleans()),
    st.builds(wire.Verdicts, verdicts),
)


@settings(max_examples=60, deadline=None)
@given(given_records=st.lists(records, max_size=8), resuming=st.booleans())
@pytest.mark.parametrize("state", ReceiverState)
def test_a_receiver_only_ever_blames_the_peer(
    state: ReceiverState, given_records: list[Record], resuming: bool
) -> None:
    receiver = receiver_in(state, resuming=resuming)
    try:
        for record in given_records:
            receiver.handle_payload(payload(record), 2)
    except ProtocolError:
        receiver.cancel(Reason.OTHER, "", 3)
    list(receiver.ops())
    list(receiver.events())
    list(receiver.outputs())


@settings(max_examples=60, deadline=None)
@given(given_records=st.lists(records, max_size=8))
def test_who_resumes_only_ever_blames_the_peer(given_records: list[Record]) -> None:
    entries = [Entry(b"%d" % number, EntryKind.FILE, 3 * MIB) for number in range(4)]
    machines = (
        resuming_sender(entries),
        resuming_receiver(entries, {0: claim(0), 2: claim(1, piece=0, head=5), 3: claim(0, 1, 2)}),
    )
    for machine in machines:
        try:
            for record in given_records:
                machine.handle_payload(payload(record), 2)
        except ProtocolError:
            machine.cancel(Reason.OTHER, "", 3)
        list(machine.events())
        list(machine.outputs())


@settings(max_examples=60, deadline=None)
@given(given_records=st.lists(records, max_size=8), resuming=st.booleans())
@pytest.mark.parametrize("state", SenderState)
def test_a_sender_only_ever_blames_the_peer(state: SenderState, given_records: list[Record], resuming: bool) -> None:
    sender = sender_in(state, resuming=resuming)
    try:
        for record in given_records:
            sender.handle_payload(payload(record), 2)
    except ProtocolError:
        sender.cancel(Reason.OTHER, "", 3)
    list(sender.jobs())
    list(sender.events())
    list(sender.outputs())


@settings(max_examples=100, deadline=None)
@given(given_records=st.lists(st.one_of(st.builds(wire.Proof, proofs), records), max_size=4))
def test_whatever_is_said_to_a_pinned_sender_only_the_proof_makes_it_offer(given_records: list[Record]) -> None:
    sender = offering_sender([Entry(b"secret", EntryKind.FILE, 1)], pinned=True)
    said = records_of(sender)
    try:
        for record in given_records:
            sender.handle_payload(payload(record), 2)
            said += records_of(sender)
    except ProtocolError:
        sender.cancel(Reason.OTHER, "", 3)
    said += records_of(sender)
    proven = bool(given_records) and given_records[0] == wire.Proof(RECEIVER_PROOF)
    assert any(isinstance(each, wire.OfferPart | wire.OfferEnd) for each in said) is proven
    assert list(sender.jobs()) == []


@settings(max_examples=300, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda number, body: bytes((number,)) + len(body).to_bytes(4, "big") + body,
            st.sampled_from([1, 2, 3, 4, 5, 6, 0x10, 0x11, 0x12, 0x13, 0x14, 0x20, 0x21, 0x22, 0x23, 0x2F]),
            st.binary(max_size=60),
        ),
    )
)
def test_hostile_bytes_only_give_protocol_errors(data: bytes) -> None:
    try:
        found = list(decode_payload(data))
    except ProtocolError:
        return
    again = b"".join(b"".join(encode_record(record)) for record in found)
    assert list(decode_payload(again)) == found


@settings(max_examples=100, deadline=None)
@given(
    limit=st.integers(MIN_PAYLOAD, 70_000),
    blocks=st.lists(st.tuples(st.integers(1, 150_000), st.booleans()), max_size=12),
)
def test_packing_keeps_order_and_limit(limit: int, blocks: list[tuple[int, bool]]) -> None:
    queue = PayloadQueue(limit)
    for index, (size, closed) in enumerate(blocks):
        queue.add_block(index, 0, bytes(size), again=False)
        if closed:
            queue.add(wire.FileDone(index, bytes(32)))
    position: dict[int, int] = {}
    ended: list[int] = []
    while (taken := queue.take()) is not None:
        data = b"".join(taken[0])
        assert len(data) <= limit
        for record in decode_payload(data):
            if isinstance(record, Chunk):
                assert record.offset == position.get(record.entry, 0)
                position[record.entry] = record.offset + len(record.data)
                assert not ended or ended[-1] < record.entry
            else:
                assert isinstance(record, wire.FileDone)
                ended.append(record.entry)
    assert position == {index: size for index, (size, _) in enumerate(blocks)}
    assert ended == [index for index, (_, closed) in enumerate(blocks) if closed]
    assert queue.backlog == 0


@given(size=st.integers(0, MAX_FILE_SIZE))
def test_pieces_cover_the_file(size: int) -> None:
    each = piece_size(size)
    count = piece_count(size, each)
    assert (count - 1) * each < size <= count * each or size == count == 0
    assert piece_size(max(0, size - 1)) <= each


@given(blocks=st.lists(st.binary(max_size=50)))
def test_any_cut_of_a_piece_has_the_same_leaf(blocks: list[bytes]) -> None:
    hasher = LeafHasher()
    for block in blocks:
        hasher.update(block)
    assert hasher.digest() == leaf(b"".join(blocks))

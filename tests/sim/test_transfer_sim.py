"""A whole sender and a whole receiver over an ordered pipe, with disks in memory that fail and damage as told."""

from __future__ import annotations

import random

import pytest
from tests.sim.disk import Link, Tree
from tests.sim.transfers import LIMIT, SENDER_PROOF, TRANSFER_ID, Transfer, after, recut_randomly

from p2pal.transfer import events
from p2pal.transfer.read_queue import MAX_JOBS
from p2pal.transfer.states import ReceiverState, SenderState
from p2pal.wire import transfer as wire
from p2pal.wire.pieces import MAX_UNJUDGED
from p2pal.wire.transfer import Reason

MIB = 1 << 20


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


TREE: Tree = {
    b"one": content(1, 10),
    b"top": None,
    b"top/empty": b"",
    b"top/a": content(2, 3 * MIB + 5),
    b"top/deep": None,
    b"top/deep/b": content(3, 2 * MIB),
    b"top/deep/link": Link(b"../a"),
    b"top/hollow": None,
    b"top/z\xff": content(4, 100_000),
    b"last": content(5, 1),
}


def check_success(transfer: Transfer, tree: Tree) -> None:
    assert transfer.sink.tree == dict(tree)
    assert transfer.sender.done
    assert transfer.receiver.done
    sent, received = transfer.finished()
    assert (sent.ok, sent.failed) == (received.ok, received.failed) == (len(tree), 0)
    assert transfer.succeeded() == transfer.succeeded(sender=True) == set(tree)
    for happened in (transfer.sender_events, transfer.receiver_events):
        moved = sum(each.count for each in happened if isinstance(each, events.BytesMoved))
        assert moved == sum(len(each) for each in tree.values() if isinstance(each, bytes))
    digests = [{e.index: e.digest for e in each if isinstance(e, events.EntryFinished)}
               for each in (transfer.sender_events, transfer.receiver_events)]  # fmt: skip
    assert digests[0] == digests[1]


@pytest.mark.parametrize("prompt", [True, False])
def test_a_tree_arrives_whole(prompt: bool) -> None:
    transfer = Transfer(TREE, prompt=prompt)
    transfer.run()
    check_success(transfer, TREE)
    assert sent_seconds(transfer) > 0


def sent_seconds(transfer: Transfer) -> float:
    return transfer.finished()[0].seconds


@pytest.mark.parametrize("seed", range(12))
def test_a_tree_arrives_whole_in_any_order_of_work_and_any_cut_of_payloads(seed: int) -> None:
    rng = random.Random(seed)
    transfer = Transfer(TREE, limit=rng.choice((4096, 20_000, 64_529)), block=rng.choice((10_000, MIB)))
    transfer.recut = recut_randomly(rng)
    transfer.run(rng)
    check_success(transfer, TREE)


@pytest.mark.parametrize("seed", range(6))
def test_pieces_that_the_disk_damages_once_are_repaired(seed: int) -> None:
    rng = random.Random(seed)
    damaged: set[tuple[bytes, int]] = set()

    def damage(path: bytes, offset: int, data: bytes) -> bytes:
        spot = (path, offset // MIB)
        if spot in damaged or rng.random() < 0.8:
            return data
        damaged.add(spot)
        return bytes([data[0] ^ 1]) + data[1:]

    transfer = Transfer(TREE)
    transfer.sink.damage = damage
    transfer.run(rng)
    assert damaged
    check_success(transfer, TREE)


@pytest.mark.parametrize("seed", range(8))
def test_pieces_that_are_written_to_after_they_were_sent_travel_again(seed: int) -> None:
    rng = random.Random(seed)
    old, now = {**TREE, b"top/c": content(7, 5 * MIB)}, {}
    for path in (b"top/a", b"top/deep/b", b"top/c"):
        data = bytearray(old[path])  # type: ignore[arg-type]
        for piece in rng.sample(range(len(data) // MIB), rng.randrange(3)):
            data[piece * MIB + 7] ^= 1
        now[path] = bytes(data)
    damaged: set[tuple[bytes, int]] = set()

    def damage(path: bytes, offset: int, data: bytes) -> bytes:
        spot = (path, offset // MIB)
        if seed % 2 or spot in damaged or rng.random() < 0.95:
            return data
        damaged.add(spot)
        return bytes([data[0] ^ 1]) + data[1:]

    transfer = Transfer(old)
    transfer.source.written = dict(now)
    transfer.sink.damage = damage
    transfer.run(rng)
    check_success(transfer, {**old, **now})
    compared = [each.index for each in transfer.sender_events if isinstance(each, events.EntryCompared)]
    assert [transfer.sender.manifest[index].path for index in compared] == sorted(now, key=list(old).index)
    twice = sum(transfer.bytes_sent().values()) - sum(len(each) for each in old.values() if isinstance(each, bytes))
    differ = {
        (path, piece) for path, data in now.items() for piece in range(len(data) // MIB)
        if data[piece * MIB + 7] != old[path][piece * MIB + 7]  # type: ignore[index]
    }  # fmt: skip
    assert twice <= len(differ | damaged) * MIB
    if seed % 2:
        assert twice == len(differ) * MIB


@pytest.mark.parametrize("seed", range(6))
def test_a_source_that_is_written_to_while_a_transfer_goes_on(seed: int) -> None:
    rng = random.Random(seed)
    transfer = Transfer({b"a": content(1, 6 * MIB + 5)})
    transfer.run_to(rng.randrange(1, 5))
    transfer.sender.cancel(Reason.CANCELLED, "", transfer.now)
    transfer.resume(rng)
    again = transfer.again(rng)
    now = bytearray(content(1, 6 * MIB + 5))
    for piece in rng.sample(range(7), 3):
        now[piece * MIB] ^= 1
    again.source.written = {b"a": bytes(now)}
    again.source.known = {b"a"} if seed % 2 else ()
    again.run(rng)
    assert again.sink.tree == {b"a": bytes(now)}
    assert again.succeeded() == {b"a"}


@pytest.mark.parametrize("path", [b"one", b"top/a"])
def test_a_piece_that_the_disk_damages_twice_fails_its_file_alone(path: bytes) -> None:
    transfer = Transfer(TREE, skip_errors=True)
    transfer.sink.damage = lambda where, offset, data: bytes(len(data)) if where == path and not offset else data
    transfer.run()
    assert transfer.failures() == transfer.failures(sender=True) == {path: Reason.VERIFY}
    assert transfer.sink.tree == {each: data for each, data in TREE.items() if each != path}
    assert not transfer.sink.open
    assert [(each.ok, each.failed) for each in transfer.finished()] == [(9, 1), (9, 1)]


@pytest.mark.parametrize("path", [b"one", b"top/a"])
def test_a_repair_that_cannot_be_read_fails_its_file_alone(path: bytes) -> None:
    transfer = Transfer(TREE, skip_errors=True)
    transfer.source.unrepairable = {path}
    transfer.sink.damage = lambda where, offset, data: bytes(len(data)) if where == path and not offset else data
    transfer.run()
    assert transfer.failures() == transfer.failures(sender=True) == {path: Reason.READ}
    assert transfer.sink.tree == {each: data for each, data in TREE.items() if each != path}
    assert transfer.sender.done
    assert transfer.receiver.done


@pytest.mark.parametrize("blocks", [0, 1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_with_skip_errors_the_unreadable_is_left_out(blocks: int, seed: int) -> None:
    transfer = Transfer(TREE, skip_errors=True)
    transfer.source.unreadable = {b"top/a": blocks, b"one": min(blocks, 1)}
    transfer.run(random.Random(seed))
    assert set(transfer.failures()) == set(transfer.failures(sender=True)) == {b"top/a", b"one"}
    assert transfer.sink.tree == {each: data for each, data in TREE.items() if each not in (b"top/a", b"one")}
    assert not transfer.sink.open
    assert transfer.sender.done
    assert transfer.receiver.done


def test_without_skip_errors_the_unreadable_stops_the_batch_and_complete_files_stay() -> None:
    transfer = Transfer(TREE)
    transfer.source.unreadable = {b"top/deep/b": 1}
    transfer.run()
    kept = {path: data for path, data in TREE.items() if path in (b"one", b"top", b"top/empty", b"top/a", b"top/deep")}
    assert transfer.sink.tree == kept
    assert transfer.sink.sealed
    assert transfer.failures() == transfer.failures(sender=True) == {b"top/deep/b": Reason.READ}
    assert transfer.succeeded() == transfer.succeeded(sender=True) == set(kept)
    for happened in (transfer.sender_events, transfer.receiver_events):
        assert [each.reason for each in happened if isinstance(each, events.Aborted)] == [Reason.BATCH]
    assert transfer.sender.done
    assert transfer.receiver.done


@pytest.mark.parametrize("skip_errors", [False, True])
@pytest.mark.parametrize("where", ["begin", "finish"])
@pytest.mark.parametrize("seed", range(3))
def test_what_the_target_cannot_take_fails_there(skip_errors: bool, where: str, seed: int) -> None:
    transfer = Transfer(TREE, skip_errors=skip_errors)
    failing = transfer.sink.failing if where == "begin" else transfer.sink.fail_at_finish
    failing[b"top/a"] = Reason.PERMISSION
    transfer.run(random.Random(seed))
    assert transfer.failures() == transfer.failures(sender=True) == {b"top/a": Reason.PERMISSION}
    if skip_errors:
        assert transfer.sink.tree == {each: data for each, data in TREE.items() if each != b"top/a"}
    assert transfer.succeeded() == transfer.succeeded(sender=True)
    assert set(transfer.sink.tree) == transfer.succeeded()
    assert not transfer.sink.open
    assert transfer.sender.done
    assert transfer.receiver.done


def test_a_full_disk_stops_everything_even_with_skip_errors() -> None:
    transfer = Transfer(TREE, skip_errors=True)
    transfer.sink.failing[b"top/a"] = Reason.DISK
    transfer.run()
    stopped = [each for each in transfer.sender_events if isinstance(each, events.Aborted)]
    assert [(each.reason, each.by_peer) for each in stopped] == [(Reason.DISK, True)]
    assert transfer.sender.done
    assert transfer.receiver.done
    assert set(transfer.sink.tree) == transfer.succeeded() == transfer.succeeded(sender=True)
    assert b"top/a" not in transfer.sink.tree


def test_what_is_declined_never_travels() -> None:
    transfer = Transfer(TREE)
    transfer.skip = {3, 4, 5, 6}
    transfer.run()
    assert set(transfer.sink.tree) == set(TREE) - {b"top/a", b"top/deep", b"top/deep/b", b"top/deep/link"}
    assert set(transfer.failures(sender=True).values()) == {Reason.DECLINED}
    assert transfer.failures(sender=True) == transfer.failures()
    assert sum(map(len, transfer.payloads)) < MIB
    assert transfer.finished()[0].failed == 4


def test_a_person_says_no() -> None:
    transfer = Transfer(TREE)
    transfer.consent = False
    transfer.run()
    assert transfer.sink.tree == {}
    for happened, by_peer in ((transfer.sender_events, True), (transfer.receiver_events, False)):
        assert [each for each in happened if isinstance(each, events.Aborted)] == [
            events.Aborted(Reason.DECLINED, "no", by_peer)
        ]
    assert transfer.sender.done
    assert transfer.receiver.done


@pytest.mark.parametrize("side", ["sender", "receiver"])
@pytest.mark.parametrize("seed", range(5))
def test_either_side_may_stop_at_any_time(side: str, seed: int) -> None:
    rng = random.Random(seed)
    stop_after = rng.randrange(1, 40)
    turns = iter(range(1000))
    transfer = Transfer(TREE, limit=8000, block=50_000)
    transfer.run(rng, until=lambda: next(turns) >= stop_after)
    getattr(transfer, side).cancel(Reason.CANCELLED, "stopped", transfer.now)
    transfer.resume(rng)
    assert transfer.receiver.done
    assert transfer.sender.done
    assert not transfer.sink.open
    assert transfer.succeeded() == transfer.succeeded(sender=True)
    assert all(transfer.sink.tree[path] == TREE[path] for path in transfer.succeeded())
    assert set(transfer.sink.tree) == transfer.succeeded()


def test_a_stopped_sender_does_not_wait_for_ever() -> None:
    transfer = Transfer(TREE)
    transfer.run(until=lambda: transfer.sender.state is SenderState.SENDING)
    transfer.sender.cancel(Reason.CANCELLED, "", transfer.now)
    transfer.send()
    due = transfer.sender.next_timeout()
    assert due is not None
    transfer.sender.handle_timeout(due - 0.1)
    assert transfer.sender.state is SenderState.STOPPED
    transfer.sender.handle_timeout(due)
    assert transfer.sender.done


def test_ten_thousand_small_files_share_payloads_and_are_read_a_few_at_a_time() -> None:
    tree: Tree = {b"d": None, **{b"d/%d" % number: b"%1024d" % number for number in range(10_000)}}
    transfer = Transfer(tree)
    transfer.run()
    check_success(transfer, tree)
    assert transfer.most_jobs <= MAX_JOBS
    assert len(transfer.payloads) < 10_000 / 30


def test_no_file_is_begun_while_too_many_await_their_verdict() -> None:
    tree: Tree = {b"%d" % number: b"" for number in range(MAX_UNJUDGED + 1000)}
    transfer = Transfer(tree)
    movers = [transfer.walk, transfer.send, transfer.read, transfer.receive, transfer.reply]
    transfer.sender.start(0)
    while True in [mover() for mover in movers]:
        pass
    begun = sum(isinstance(each, events.EntryStarted) for each in transfer.sender_events)
    assert MAX_UNJUDGED <= begun <= MAX_UNJUDGED + MAX_JOBS
    transfer.resume()
    check_success(transfer, tree)


def test_an_empty_offer_and_one_of_directories_alone() -> None:
    trees: list[Tree] = [{}, {b"a": None, b"a/b": None, b"a/l": Link(b"b")}]
    for tree in trees:
        transfer = Transfer(tree)
        transfer.run()
        check_success(transfer, tree)
        assert transfer.receiver.state is ReceiverState.ENDED


# Cut, and gone on with


def cut(rng: random.Random, transfer: Transfer) -> None:
    """Let it run for a while; then a person stops one side, or both, or a machine is killed."""
    transfer.run(rng, until=after(rng.choice((rng.randrange(1, 12), rng.randrange(1, 40)))))
    how = rng.choice(("sender", "receiver", "both", "killed"))
    if how in ("sender", "both"):
        transfer.sender.cancel(Reason.CANCELLED, "", transfer.now)
    if how in ("receiver", "both"):
        transfer.receiver.cancel(Reason.CANCELLED, "", transfer.now)
    if how != "killed":
        transfer.resume(rng)
        assert not transfer.sink.open


def check_economy(transfer: Transfer) -> None:
    """What stood was not sent, and of what the disk claimed nothing came but repairs."""
    resume = transfer.resume_from
    assert resume is not None
    sent = transfer.bytes_sent()
    assert not any(index in resume.done for index in sent)
    manifest = transfer.sender.manifest
    started = transfer.started()
    assert transfer.started(sender=True) == started
    moved = [
        sum(each.count for each in happened if isinstance(each, events.BytesMoved))
        for happened in (transfer.sender_events, transfer.receiver_events)
    ]
    assert moved == [manifest.total - started.done] * 2
    again = sum(isinstance(op, wire.PieceAgain) for op in transfer.replies())
    assert sum(sent.values()) <= moved[0] + again * MIB


@pytest.mark.parametrize("seed", range(40))
def test_a_transfer_that_is_cut_again_and_again_goes_on_until_it_is_done(seed: int) -> None:
    rng = random.Random(seed)
    transfer = Transfer(TREE, limit=rng.choice((20_000, LIMIT)), block=rng.choice((50_000, MIB)))
    cut(rng, transfer)
    sent = 0
    for last in (False, False, True):
        sent += sum(transfer.bytes_sent().values())
        transfer = transfer.again(rng, lose=rng.choice((0.0, 0.3)))
        transfer.recut = recut_randomly(rng)
        transfer.source.known = rng.choice(((), TREE))
        if last:
            transfer.run(rng)
        else:
            cut(rng, transfer)
    check_resumed(transfer, TREE)
    assert sent + sum(transfer.bytes_sent().values()) < 4 * sum(
        len(each) for each in TREE.values() if isinstance(each, bytes)
    )


def check_resumed(transfer: Transfer, tree: Tree) -> None:
    assert transfer.sink.tree == dict(tree)
    assert transfer.sender.done
    assert transfer.receiver.done
    assert transfer.sender.resumed
    sent, received = transfer.finished()
    assert (sent.ok, sent.failed) == (received.ok, received.failed) == (len(tree), 0)
    assert transfer.succeeded() == transfer.succeeded(sender=True)
    check_economy(transfer)


@pytest.mark.parametrize("seed", range(20))
def test_what_was_verified_and_durable_is_never_sent_again(seed: int) -> None:
    rng = random.Random(seed)
    transfer = Transfer(TREE)
    cut(rng, transfer)
    again = transfer.again(rng, lose=0.0)
    again.run(rng)
    check_resumed(again, TREE)
    assert again.resume_from is not None
    claims = again.resume_from.claims
    for index, count in again.bytes_sent().items():
        size = again.sender.manifest[index].size
        there = sum(min(MIB, size - piece * MIB) for piece in claims[index].leaves) if index in claims else 0
        assert count <= size - (there if size > MIB else 0)


BIG: Tree = {b"same": content(1, 3 * MIB), b"changed": content(2, 5 * MIB + 77), b"next": content(3, 2 * MIB)}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_damage_to_what_was_there_is_found_and_only_that_is_repaired(seed: int, known: bool) -> None:
    rng = random.Random(seed)
    transfer = Transfer(BIG)
    transfer.run_to(4)
    again = transfer.again(rng, lose=0.0)
    again.source.known = BIG if known else ()
    assert again.resume_from is not None
    (claim,) = (claim for claim in again.resume_from.claims.values() if claim.leaves)
    damaged = set() if claim.trusted else set(rng.sample(sorted(claim.leaves), k=2))
    for number in damaged:
        again.sink.kept[1].pieces[number][5] ^= 1
    again.run(rng)
    check_resumed(again, BIG)
    asked = {each.piece for each in again.replies() if isinstance(each, wire.PieceAgain)}
    assert asked - {claim.piece} == damaged


def change(rng: random.Random, data: bytes) -> bytes:
    """Return it shorter, longer or as long, with a few pieces that differ."""
    changed = bytearray(data[: rng.choice((len(data), len(data), 3 * MIB, 2 * MIB + 5, 100))])
    if rng.random() < 0.3:
        changed += content(4, 2 * MIB + 9)
    for number in rng.sample(range(len(changed) // MIB), k=min(2, len(changed) // MIB)):
        changed[number * MIB] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("seed", range(30))
def test_of_a_source_that_changed_only_what_differs_travels(seed: int) -> None:
    rng = random.Random(seed)
    transfer = Transfer(BIG)
    transfer.run_to(rng.randint(1, 5))
    before = BIG[b"changed"]
    assert isinstance(before, bytes)
    after = change(rng, before)
    new: Tree = {**BIG, b"changed": after}
    again = transfer.again(rng, new, lose=0.0)
    again.source.known = {b"same", b"next"}
    again.run(rng)
    check_resumed(again, new)
    assert again.resume_from is not None
    claim = again.resume_from.claims.get(1)
    there = 0
    if claim is not None and len(after) > MIB:
        for piece in (slice(number * MIB, (number + 1) * MIB) for number in claim.leaves):
            there += len(after[piece]) if before[piece] == after[piece] else 0
    # The piece of which only the head was there comes twice if the source changed in that head.
    assert len(after) - there - MIB <= again.bytes_sent()[1] <= len(after) - there + MIB * bool(claim and claim.head)


def test_a_sender_that_knows_its_leaves_does_not_hide_that_they_changed() -> None:
    tree: Tree = {b"a": content(1, 4 * MIB)}
    transfer = Transfer(tree)
    transfer.run_to(3)
    changed: Tree = {b"a": content(2, 4 * MIB)}
    again = transfer.again(random.Random(1), changed, lose=0.0)
    again.source.known = changed
    again.run()
    check_resumed(again, changed)


def test_a_full_disk_is_heard_of_at_the_other_end() -> None:
    transfer = Transfer(TREE)
    transfer.run_to(2)
    for held in (True, False):
        transfer.receiver.hold(held, transfer.now)
        transfer.answer()
        transfer.reply()
        transfer.send(1)
    transfer.resume()
    check_success(transfer, TREE)
    assert [each.held for each in transfer.sender_events if isinstance(each, events.Held)] == [True, False]


def test_a_stranger_gets_what_a_person_admits_from_the_start() -> None:
    transfer = Transfer(TREE, pinned=True)
    transfer.run()
    assert transfer.sender_events == [events.ProofMissing()]
    assert transfer.receiver_events == [events.ProofWanted()]
    assert len(transfer.payloads) == 1
    assert list(wire.decode_payload(transfer.payloads[0])) == [wire.OfferBegin(TRANSFER_ID, False, SENDER_PROOF)]
    transfer.sender.admit(transfer.now)
    transfer.resume()
    check_success(transfer, TREE)
    assert not transfer.sender.resumed


@pytest.mark.parametrize("seed", range(10))
def test_who_had_the_session_before_needs_nobody_to_admit_it(seed: int) -> None:
    rng = random.Random(seed)
    transfer = Transfer(TREE)
    cut(rng, transfer)
    sink, resume = transfer.sink.reopened(rng, transfer.sender.manifest, 0.0)
    again = Transfer(TREE, sink=sink, resume=resume, pinned=True)
    again.run(rng)
    check_resumed(again, TREE)
    assert again.sender_events[0] == events.Proven()


def test_ten_thousand_small_files_that_stand_cost_no_events_and_few_payloads() -> None:
    tree: Tree = {b"d": None, **{b"d/%d" % number: b"%1024d" % number for number in range(10_000)}}
    transfer = Transfer(tree)
    transfer.sender.start(0)
    while len(transfer.sink.tree) < 5000:
        moved = [mover(500) for mover in transfer.movers]
        assert True in moved
    again = transfer.again(random.Random(1))
    again.run()
    check_resumed(again, tree)
    assert again.started().files >= 4999
    assert len(again.payloads) < 5000 / 30 + 20

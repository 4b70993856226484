"""A checkpoint goes only when every entry was delivered or given up by a person, whatever fails and whoever stops.

Both machines run over disks in memory, in any order of their steps. Each session may fail files at either side, and be
stopped at any moment; then the next one goes on with what the checkpoints of before allow.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.properties.test_transfer import trees
from tests.sim.disk import Tree
from tests.sim.transfers import Transfer, after

from p2pal.transfer import events
from p2pal.transfer.events import Finished, TransferEvent
from p2pal.transfer.retention import Fate, fate, is_settled
from p2pal.wire.transfer import Reason

MIB = 1 << 20
_REASONS = (Reason.PERMISSION, Reason.EXISTS, Reason.NAME, Reason.OTHER, Reason.DISK)


@dataclass
class Misfortune:
    """What goes wrong in one session.

    Attributes:
        unreadable: Files that fail at the source, and after how many blocks.
        failing: Entries that fail when they are begun or made.
        at_finish: Files that fail when they are to get their names.
        stop: After how many turns somebody stops it; None for never.
        given_up: Files that a person leaves out for good.
    """

    unreadable: dict[bytes, int] = field(default_factory=dict)
    failing: dict[bytes, Reason] = field(default_factory=dict)
    at_finish: dict[bytes, Reason] = field(default_factory=dict)
    stop: int | None = None
    given_up: frozenset[bytes] = frozenset()


def misfortune(rng: random.Random, tree: Tree) -> Misfortune:
    paths = list(tree)
    files = [path for path, content in tree.items() if isinstance(content, bytes)]
    made = Misfortune(stop=rng.randrange(1, 60) if rng.random() < 0.4 else None)
    for path in files:
        if rng.random() < 0.3:
            made.unreadable[path] = rng.randrange(4)
        if rng.random() < 0.2:
            made.at_finish[path] = rng.choice(_REASONS)
    for path in paths:
        if rng.random() < 0.15:
            made.failing[path] = rng.choice(_REASONS)
    if files and rng.random() < 0.2:
        made.given_up = frozenset((rng.choice(files),))
    return made


def end(happened: list[TransferEvent]) -> Finished | None:
    return next((each for each in happened if isinstance(each, Finished)), None)


def run(transfer: Transfer, rng: random.Random, wrong: Misfortune) -> tuple[Fate, Fate]:
    """Run one session with its misfortunes; return what becomes of the sender's and of the receiver's checkpoint."""
    transfer.source.unreadable = wrong.unreadable
    transfer.source.given_up = {*transfer.source.given_up, *wrong.given_up}
    transfer.sink.failing = wrong.failing
    transfer.sink.fail_at_finish = wrong.at_finish
    transfer.run(rng, until=after(10**9 if wrong.stop is None else wrong.stop))
    if wrong.stop is not None:
        if rng.random() < 0.3:  # nobody says anything any more: both were killed, or the line was cut
            return fates(transfer)
        rng.choice((transfer.sender, transfer.receiver)).cancel(Reason.CANCELLED, "", transfer.now)
        transfer.resume(rng)
    return fates(transfer)


def fates(transfer: Transfer) -> tuple[Fate, Fate]:
    count = len(transfer.sender.manifest)
    sender = fate(count, end(transfer.sender_events), told=True)
    # A sender whose machine has ended closes the session; what it still kept it says by not being settled.
    told = sender is Fate.SETTLED
    return sender, fate(len(transfer.receiver.manifest), end(transfer.receiver_events), told=told)


def settled_rightly(transfer: Transfer, tree: Tree, given_up: set[bytes]) -> bool:
    """Whether every entry was delivered as it is, or given up."""
    stands = transfer.sink.tree
    return all(path in given_up or (path in stands and stands[path] == content) for path, content in tree.items())


@settings(max_examples=150, deadline=None)
@given(tree=trees(), seed=st.integers(0, 2**32), skip_errors=st.booleans(), lose=st.sampled_from([0.0, 0.3]))
def test_a_checkpoint_goes_only_when_every_entry_is_settled(
    tree: Tree, seed: int, skip_errors: bool, lose: float
) -> None:
    rng = random.Random(seed)
    transfer = Transfer(tree, block=rng.choice((65_536, MIB)), skip_errors=skip_errors)
    given_up: set[bytes] = set()
    for _ in range(rng.randrange(1, 5)):
        wrong = misfortune(rng, tree)
        given_up |= wrong.given_up
        sender, receiver = run(transfer, rng, wrong)
        if sender is Fate.SETTLED or receiver is not Fate.OPEN:
            assert settled_rightly(transfer, tree, given_up)
        if sender is Fate.SETTLED:
            assert receiver is Fate.SETTLED, "the sender's is gone, and the receiver's tells a person to go on"
            return
        if receiver is Fate.SETTLED:
            raise AssertionError("the receiver's is gone, and the sender's is not: all would be sent again")
        if not any(isinstance(each, events.Started) for each in transfer.sender_events):
            return  # there is nothing that both of them know
        transfer = again(transfer, rng, tree, lose)
    if tree:
        assert run(transfer, rng, Misfortune()) == (Fate.SETTLED, Fate.SETTLED)
        assert settled_rightly(transfer, tree, given_up)
        assert not set(transfer.sink.kept), "unfinished files stay for ever"


def again(transfer: Transfer, rng: random.Random, tree: Tree, lose: float) -> Transfer:
    """Return the next session: who goes on skips what fails, and what was given up stays so at both sides."""
    made = transfer.again(rng, tree, lose=lose)
    made.source.given_up = transfer.source.given_up
    return made


@settings(max_examples=60, deadline=None)
@given(tree=trees(), seed=st.integers(0, 2**32))
def test_what_arrived_of_a_file_that_failed_is_not_sent_again(tree: Tree, seed: int) -> None:
    rng = random.Random(seed)
    files = [path for path, content in tree.items() if isinstance(content, bytes)]
    transfer = Transfer(tree, block=MIB, skip_errors=True)
    run(transfer, rng, Misfortune(unreadable={path: rng.randrange(4) for path in files}))
    following = again(transfer, rng, tree, 0.0)
    assert following.resume_from is not None
    claimed = following.resume_from.claims
    run(following, rng, Misfortune())
    sent = following.bytes_sent()
    for index, claim in claimed.items():
        kept = following.sender.manifest[index].size - sum(
            len(transfer.sink.kept[index].pieces[number]) for number in claim.leaves
        )
        assert sent.get(index, 0) <= kept
    assert following.sink.tree == tree


@given(
    entries=st.integers(1, 6), ok=st.integers(0, 6), failed=st.integers(0, 6), given_up=st.integers(0, 6),
    told=st.booleans(),
)  # fmt: skip
def test_the_one_place_that_decides(entries: int, ok: int, failed: int, given_up: int, told: bool) -> None:
    finished = Finished(ok, failed, 0, 0, 0, 1.0, given_up)
    what = fate(entries, finished, told=told)
    assert (what is Fate.OPEN) is (ok + given_up != entries) is (not is_settled(entries, finished))
    assert what is not Fate.SETTLED or told
    assert fate(entries, None, told=told) is Fate.OPEN

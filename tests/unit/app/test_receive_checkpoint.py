"""The receiver's checkpoint: what it remembers before it agrees, and whom it goes on with."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.trees import MIB, content, leftovers, tree_equal, write
from tests.unit.app.kit import (
    ENTRIES,
    FIRST,
    HALF,
    ID,
    KEY,
    LARGE,
    TOTAL,
    TRANSCRIPT,
    Gate,
    Place,
    follow,
    hearing,
    never,
    only_id,
    peer_of,
    run,
)

from p2pal.app import events, receive_session
from p2pal.app.events import Event
from p2pal.app.options import Decision, ReceiveOptions
from p2pal.app.receive_checkpoint import OTHER_OFFER, UNKNOWN, Recalled, find, recall, remember
from p2pal.app.send import _Send
from p2pal.app.transfer import Transfer
from p2pal.checkpoint.records import Begun, Claimed, Done, Finishing, Finishings
from p2pal.crypto.keys import TransferEnd as Side
from p2pal.crypto.keys import checkpoint_id, resume_proof
from p2pal.disk.checkpoints.store import Checkpoints
from p2pal.disk.sink.placement import plan
from p2pal.errors import CheckpointError, DiskError, PeerError, PeerLost, Refused
from p2pal.peer import peer as peer_module
from p2pal.role import Role
from p2pal.transfer.receiver import Receiver
from p2pal.wire.pieces import file_digest, leaf
from p2pal.wire.transfer import Entry, EntryKind


@pytest.fixture
def options(tmp_path: Path) -> ReceiveOptions:
    return ReceiveOptions(home=tmp_path / "home", checkpoint_ttl=60.0)


def remembered(out: Path, options: ReceiveOptions, names: list[tuple[bytes, EntryKind]] | None = None) -> str:
    """Remember a transfer into ``out`` of which the small file and a third of the big one are there; its id."""
    placement = plan(out, names or [(b"tree", EntryKind.DIRECTORY)])
    placement.resolve(overwrite=False)
    machine = hearing(proof=b"")
    journal, tag, problem = remember(machine, placement, KEY, options)
    assert journal is not None
    assert (tag, problem) == (journal.id[:8], "")
    small = write(out / "tree" / "a", "abc").stat()
    ours = small.st_dev, small.st_ino
    part = write(out / "tree" / f".p2pal-{tag}-2.part", content(MIB))
    status = part.stat()
    journal.write(
        Begun(1, ours, 3, 6, b"tree/a"),
        Finishings([Finishing(1, ours, file_digest(3, MIB, [leaf(b"abc")]))]),
        Done([(0, 2)]),
        Begun(2, (status.st_dev, status.st_ino), 3 * MIB, 7, b"tree/big"),
        Claimed(2, 0, leaf(content(MIB))),
    )
    journal.close()
    return journal.id


def nothing() -> None:
    raise AssertionError("the disk is not full")


def look(machine: Receiver, options: ReceiveOptions, disk_full: Callable[[], None] = nothing) -> Recalled | str:
    """Look for what the sender goes on with, and at the disk."""
    known = find(machine, TRANSCRIPT, options)
    return UNKNOWN if known is None else recall(*known, machine, options, disk_full)


def found(machine: Receiver, options: ReceiveOptions) -> Recalled:
    recalled = look(machine, options)
    assert isinstance(recalled, Recalled), recalled
    recalled.journal.close()
    return recalled


def test_what_is_remembered_is_durable_and_locked_before_the_answer(out: Path, options: ReceiveOptions) -> None:
    placement = plan(out, [(b"tree", EntryKind.DIRECTORY)])
    placement.resolve(overwrite=False)
    machine = hearing()
    journal, _, _ = remember(machine, placement, KEY, options)
    assert journal is not None
    assert journal.id == checkpoint_id(KEY, ID)
    with pytest.raises(CheckpointError, match="is using this transfer"):
        Checkpoints(options.home).open(journal.id, "receive")
    journal.close()
    opened = Checkpoints(options.home).open(journal.id, "receive")
    header = opened.header
    opened.journal.close()
    assert (header.transfer_id, header.resume_key, header.ttl) == (ID, KEY, 60.0)
    assert (header.entries, header.files, header.total) == (3, 2, 3 * MIB + 3)
    assert (header.digest, header.shape) == (machine.manifest.digest(), machine.manifest.shape())
    assert (header.names, header.more, header.skip_errors) == ([b"tree"], 0, True)
    assert header.target is not None
    assert header.target.root == os.fsencode(out)
    assert header.target.identity == (out.stat().st_dev, out.stat().st_ino)


def test_where_nothing_can_be_kept_the_transfer_is_not_refused(tmp_path: Path, out: Path) -> None:
    write(tmp_path / "file", "x")
    placement = plan(out, [(b"tree", EntryKind.DIRECTORY)])
    placement.resolve(overwrite=False)
    journal, tag, problem = remember(hearing(), placement, KEY, ReceiveOptions(home=tmp_path / "file"))
    assert journal is None
    assert tag == checkpoint_id(KEY, ID)[:8]
    assert problem


def test_the_one_who_proves_it_goes_on_where_it_was(out: Path, options: ReceiveOptions) -> None:
    ident = remembered(out, options)
    recalled = found(hearing(), options)
    assert recalled.header.id == ident
    assert recalled.proof == resume_proof(KEY, Side.RECEIVER, TRANSCRIPT)
    assert (recalled.root, recalled.renamed, recalled.restarts) == (out, {}, [])
    assert list(recalled.resume.done) == [(1, 2)]  # a directory is found when it is to be made
    assert recalled.resume.claims[2].leaves == {0: leaf(content(MIB))}


@pytest.mark.parametrize(
    "machine",
    [
        lambda: hearing(proof=b"x" * 32),
        lambda: hearing(proof=resume_proof(KEY, Side.RECEIVER, TRANSCRIPT)),
        lambda: hearing(proof=resume_proof(KEY, Side.SENDER, b"o" * 32)),
        lambda: hearing(transfer_id=b"o" * 16),
    ],
    ids=["none", "of the other side", "of another session", "of another transfer"],
)
@pytest.mark.parametrize("in_use", [False, True])
def test_who_cannot_prove_it_learns_nothing(
    out: Path, options: ReceiveOptions, machine: Callable[[], Receiver], in_use: bool
) -> None:
    ident = remembered(out, options)
    opened = Checkpoints(options.home).open(ident, "receive") if in_use else None
    assert look(machine(), options) == UNKNOWN
    if opened is not None:
        opened.journal.close()


def test_one_that_is_in_use_is_told_to_whom_it_belongs(out: Path, options: ReceiveOptions) -> None:
    opened = Checkpoints(options.home).open(remembered(out, options), "receive")
    with pytest.raises(CheckpointError, match="is using this transfer"):
        look(hearing(), options)
    opened.journal.close()
    found(hearing(), options)


OTHERS = {
    "another name": (*ENTRIES[:2], Entry(b"tree/bag", EntryKind.FILE, 3 * MIB, 0o644, 7, b"")),
    "one more": (*ENTRIES, Entry(b"tree/c", EntryKind.FILE, 1, 0o644, 7, b"")),
    "one less": ENTRIES[:2],
    "another kind": (*ENTRIES[:2], Entry(b"tree/big", EntryKind.LINK, 0, 0o777, 7, b"a")),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_what_was_not_agreed_to_is_another_offer_and_touches_nothing(
    out: Path, options: ReceiveOptions, other: tuple[Entry, ...]
) -> None:
    ident = remembered(out, options)
    path = Checkpoints(options.home).path / f"{ident}.receive"
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert look(hearing(other), options) == OTHER_OFFER
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_files_that_changed_in_place_are_still_what_was_agreed_to(out: Path, options: ReceiveOptions) -> None:
    remembered(out, options)
    changed = (*ENTRIES[:2], Entry(b"tree/big", EntryKind.FILE, 3 * MIB + 5, 0o600, 99, b""))
    assert found(hearing(changed), options).resume.claims[2].leaves == {0: leaf(content(MIB))}


def test_what_is_gone_starts_over_alone(out: Path, options: ReceiveOptions) -> None:
    ident = remembered(out, options)
    (out / "tree" / f".p2pal-{ident[:8]}-2.part").unlink()
    recalled = found(hearing(), options)
    assert [name for name, _ in recalled.restarts] == ["tree/big"]
    assert list(recalled.resume.done) == [(1, 2)]
    assert recalled.resume.claims == {}


@pytest.mark.parametrize("how", ["relative", "a link", "with dots", "of the tree"])
def test_the_same_directory_under_another_path_is_the_same(
    tmp_path: Path, out: Path, options: ReceiveOptions, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered(out, options)
    (tmp_path / "link").symlink_to(out)
    monkeypatch.chdir(tmp_path)
    path = {
        "relative": Path("out"),
        "a link": tmp_path / "link",
        "with dots": out / ".." / "out",
        "of the tree": out / "tree",
    }[how]
    recalled = found(hearing(), replace(options, out=path))
    assert recalled.root == (tmp_path / "link" if how == "a link" else out)
    assert recalled.restarts == []


def test_a_directory_that_was_moved_is_found_where_it_is_given(
    tmp_path: Path, out: Path, options: ReceiveOptions
) -> None:
    remembered(out, options)
    out.rename(tmp_path / "moved")
    with pytest.raises(DiskError):
        look(hearing(), options)
    out.mkdir()
    with pytest.raises(DiskError):
        look(hearing(), options)
    assert found(hearing(), replace(options, out=tmp_path / "moved")).root == tmp_path / "moved"


def test_a_directory_that_was_made_anew_is_gone_on_in_where_a_person_names_it(
    tmp_path: Path, out: Path, options: ReceiveOptions
) -> None:
    remembered(out, options)
    out.rename(tmp_path / "away")  # removed, its inode could be the new one's
    named = replace(options, out=out)
    with pytest.raises(DiskError):
        look(hearing(), named)
    out.mkdir()
    with pytest.raises(DiskError, match="name this one to begin anew in it"):
        look(hearing(), options)
    (out / "theirs").write_bytes(b"1")
    with pytest.raises(DiskError, match="another directory than before"):
        look(hearing(), named)
    (out / "theirs").unlink()
    assert found(hearing(), named).root == out
    found(hearing(), options)  # that it is this one now is remembered


def test_a_link_in_the_place_of_the_directory_is_not_that_one_made_anew(
    tmp_path: Path, out: Path, options: ReceiveOptions
) -> None:
    remembered(out, options)
    out.rename(tmp_path / "away")  # removed, its inode could be the new one's
    (tmp_path / "elsewhere").mkdir()
    out.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DiskError, match="another directory than before"):
        look(hearing(), replace(options, out=out))


@pytest.mark.parametrize("where", [".", "elsewhere", "missing", "out/other"])
def test_another_directory_is_refused_and_both_ways_out_are_told(
    tmp_path: Path, out: Path, options: ReceiveOptions, where: str
) -> None:
    ident = remembered(out, options)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(CheckpointError) as caught:
        look(hearing(), replace(options, out=tmp_path / where))
    assert str(out) in caught.value.message
    assert "leave -out away" in caught.value.hint
    assert f"p2pal checkpoint delete {ident[:8]}" in caught.value.hint
    found(hearing(), options)  # nobody keeps it


def test_a_rest_that_does_not_fit_is_refused_before_anything_changes(out: Path, options: ReceiveOptions) -> None:
    ident = remembered(out, options)
    path = Checkpoints(options.home).path / f"{ident}.receive"
    before = path.read_bytes()
    full: list[bool] = []
    huge = (*ENTRIES[:2], Entry(b"tree/big", EntryKind.FILE, 1 << 60, 0o644, 7, b""))
    with pytest.raises(DiskError):
        look(hearing(huge), options, lambda: full.append(True))
    assert full == [True]
    assert path.read_bytes() == before
    found(hearing(), options)


# With both sides


def test_a_single_file_goes_on_under_the_name_that_was_chosen(tmp_path: Path, out: Path, gate: Gate) -> None:
    source = write(tmp_path / "report.pdf", content(LARGE))

    async def going_on(there: Place) -> None:
        await there.stopped(gate, source, out=out / "chosen")
        ident = only_id(there)
        assert os.listdir(out) == [f".p2pal-{ident[:8]}-0.part"]
        refused, other = await there.both(
            there.send(resume=ident), lambda code: there.receive(code, tmp_path / "another", decide=never)
        )
        assert isinstance(other.error, CheckpointError)
        assert "leave -out away" in other.only(events.Failure).hint
        assert isinstance(refused.error, PeerError)
        assert refused.only(events.Saved).id == ident
        again, rest = await there.both(
            there.send(resume=ident), lambda code: there.receive(code, out / "chosen", decide=never)
        )
        assert again.error is rest.error is None
        assert rest.only(events.Resuming).done >= HALF // 2
        assert there.kept() == ([], [])

    run(going_on, tmp_path)
    assert tree_equal(source, out / "chosen")
    assert [path.name for path in out.iterdir()] == ["chosen"]


@pytest.mark.parametrize("role", ["send", "receive"])
def test_a_checkpoint_that_is_in_use_is_left_alone(
    tmp_path: Path, out: Path, tree: Path, gate: Gate, role: Role
) -> None:
    async def sharing(there: Place) -> None:
        await there.stopped(gate, tree, out=out)
        ident = only_id(there)
        taken = Checkpoints(there.homes[role]).open(ident, role)
        if role == "send":
            ended = await follow(there.send(resume=ident))
            assert isinstance(ended.error, CheckpointError)
            assert ended.kinds == [events.Failure]
        else:
            sent, ended = await there.both(there.send(resume=ident), lambda code: there.receive(code, None))
            assert isinstance(ended.error, CheckpointError)
            assert isinstance(sent.error, PeerError)
        assert "is using this transfer" in ended.only(events.Failure).message
        taken.journal.close()
        again, rest = await there.both(there.send(resume=ident), lambda code: there.receive(code, None))
        assert again.error is rest.error is None

    run(sharing, tmp_path)
    assert tree_equal(tree, out / "tree")


def test_a_transfer_that_neither_has_any_more_begins_anew_with_consent(
    tmp_path: Path, out: Path, tree: Path, gate: Gate
) -> None:
    asked: list[int] = []

    async def agree(offer: events.Offered, existing: list[str]) -> Decision:
        asked.append(offer.total)
        return Decision(accept=True)

    async def beginning(there: Place) -> None:
        await there.stopped(gate, tree, out=out)
        ident = only_id(there)
        Checkpoints(there.homes["receive"]).remove(ident)
        assert leftovers(out) == []
        sent, received = await there.both(there.send(resume=ident), lambda code: there.receive(code, out, decide=agree))
        assert sent.error is received.error is None
        assert received.only(events.StartingOver) == events.StartingOver(reason=UNKNOWN)
        assert sent.only(events.StartingOver).reason == "the other side has nothing of this transfer"
        assert events.Resuming not in sent.kinds + received.kinds
        # What the sender had of the old one stays until somebody removes it.
        assert [kept.id for kept in there.checkpoints("send")] == [ident]

    run(beginning, tmp_path)
    assert asked == [TOTAL]
    # The directory of before was not this transfer's to write into.
    assert tree_equal(tree, out / "tree (1)")


def test_a_receiver_that_does_not_know_that_the_sender_knows_keeps_its_checkpoint(
    tmp_path: Path, out: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_module, "LAST_WORD", 0.5)
    monkeypatch.setattr(receive_session, "CLOSE_WAIT", 0.1)

    def die_at_the_end(event: Event, transfer: Transfer) -> None:
        """The sender ends, as a kill ends it, in the moment in which all has arrived."""
        if isinstance(event, events.Accepted):
            assert isinstance(transfer, _Send)
            session = transfer._current
            assert session is not None

            async def die(peer: object) -> None:
                assert transfer._log.journal is not None
                transfer._log.journal.close()
                peer_of(transfer)._signaling.send = lambda message: None  # type: ignore[method-assign]
                peer_of(transfer).abandon(PeerLost("killed"))

            session._close = die  # type: ignore[method-assign]

    async def dying(there: Place) -> None:
        _, received = await there.both(there.send(tree), lambda code: there.receive(code, out), on_sent=die_at_the_end)
        assert received.error is None
        assert events.Saved not in received.kinds
        ident = only_id(there)
        assert tree_equal(tree, out / "tree")
        before = (out / "tree" / "large").stat()
        again, rest = await there.both(there.send(resume=ident), lambda code: there.receive(code, None, decide=never))
        assert again.error is rest.error is None
        for ended in (again, rest):
            assert (ended.only(events.Resuming).files, ended.only(events.Resuming).done) == (2, TOTAL)
            assert ended.all(events.FileDelivered) == []
            assert ended.only(events.Summary).total == 0
        assert (out / "tree" / "large").stat() == before
        assert there.kept() == ([], [])

    run(dying, tmp_path)


def test_damage_is_found_by_verifying_and_repaired(tmp_path: Path, out: Path, tree: Path, gate: Gate) -> None:
    async def verifying(there: Place) -> None:
        await there.stopped(gate, tree, out=out)
        write(out / "tree" / "a first one", b"x" * FIRST)
        again, rest = await there.both(
            there.send(resume=only_id(there)), lambda code: there.receive(code, None, verify=True)
        )
        assert again.error is rest.error is None
        assert [event.name for event in rest.all(events.StartingOver)] == ["tree/a first one"]
        assert rest.only(events.Resuming).files == 0

    run(verifying, tmp_path)
    assert tree_equal(tree, out / "tree")
    assert leftovers(out) == []


@pytest.mark.parametrize("accept", [True, False])
def test_a_transfer_that_has_grown_is_asked_about_once_more(
    tmp_path: Path, out: Path, tree: Path, gate: Gate, accept: bool
) -> None:
    asked: list[int] = []

    async def decide(offer: events.Offered, existing: list[str]) -> Decision:
        assert existing == []
        asked.append(offer.total)
        return Decision(accept=accept)

    async def growing(there: Place) -> None:
        await there.stopped(gate, tree, out=out)
        with (tree / "large").open("ab") as file:
            file.write(b"and more")
        sent, received = await there.both(
            there.send(resume=only_id(there)), lambda code: there.receive(code, None, decide=decide)
        )
        assert asked == [received.only(events.Offered).total]
        if accept:
            assert sent.error is received.error is None
            assert tree_equal(tree, out / "tree")
        else:
            assert isinstance(received.error, Refused)
            assert isinstance(sent.error, Refused)
            # Nothing is lost: both can still go on.
            assert [len(side) for side in there.kept()] == [1, 1]
            assert received.only(events.Saved).done > 0

    run(growing, tmp_path)

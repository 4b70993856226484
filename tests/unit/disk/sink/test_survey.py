from __future__ import annotations

import os
import random
from pathlib import Path

import msgspec
import pytest
from tests.unit.disk.disk import MTIME, digest_of, directory_entry, file_entry, link_entry, part_files, snapshot
from tests.unit.disk.sessions import PIECE, TAG, Kept

from p2pal.checkpoint.records import CheckpointRecord, Done, Finishing, Finishings, Resume
from p2pal.disk.checkpoints.journal import Journal
from p2pal.disk.fs.handle_directory import HandleDirectory
from p2pal.disk.sink import survey, targets
from p2pal.disk.sink.placement import Policy
from p2pal.errors import DiskError
from p2pal.transfer import ops
from p2pal.wire.pieces import leaf
from p2pal.wire.transfer import Reason

DATA = random.Random(1).randbytes(2 * PIECE + 1000)
SMALL = b"small"
BIG = file_entry(b"big", DATA)


def part_of(kept: Kept, index: int = 0) -> Path:
    return kept.out / f".p2pal-{TAG}-{index}.part"


def half_arrived(path: Path) -> Kept:
    """The first piece and some of the second are here, and all was stopped well."""
    kept = Kept(path, [BIG])
    kept.begin(0)
    kept.piece(0, 0, DATA)
    kept.do(ops.Write(0, PIECE, DATA[PIECE : PIECE + 5000]))
    assert kept.stop() == []
    return kept


def complete(kept: Kept, resume: Resume) -> None:
    claim = resume.claims[0]
    kept.begin(0, claim)
    for number in range(3):
        if number not in claim.leaves:
            kept.piece(0, number, DATA, start=claim.head if claim.piece == number else 0)
    kept.finish(0, DATA)
    kept.until_looked_through()
    kept.seal()
    assert kept.done == {0}
    assert snapshot(kept.out) == {b"big": DATA}
    kept.stop()


def test_after_a_clean_stop_nothing_is_read_again(tmp_path: Path) -> None:
    kept = half_arrived(tmp_path)
    resume, starts_over = kept.look()
    claim = resume.claims[0]
    assert starts_over == []
    assert claim.trusted
    assert claim.leaves == {0: leaf(DATA[:PIECE])}
    assert (claim.piece, claim.head) == (1, 5000)
    complete(kept, resume)


def test_after_a_kill_pieces_are_looked_at_again(tmp_path: Path) -> None:
    kept = half_arrived_and_killed(tmp_path)
    resume, _ = kept.look()
    assert not resume.claims[0].trusted
    complete(kept, resume)


def half_arrived_and_killed(path: Path) -> Kept:
    kept = half_arrived(path)
    resume, _ = kept.look()
    kept.begin(0, resume.claims[0])
    kept.kill()
    return kept


@pytest.mark.parametrize("late", [False, True])
def test_a_piece_that_was_edited_is_found_and_repaired(tmp_path: Path, late: bool) -> None:
    kept = half_arrived(tmp_path)
    with part_of(kept).open("r+b") as part:
        part.seek(100)
        part.write(b"edited")
    resume, _ = kept.look()
    claim = resume.claims[0]
    assert not claim.trusted
    kept.begin(0, claim)
    if not late:
        kept.until_looked_through()
    kept.piece(0, 1, DATA, start=claim.head)
    kept.piece(0, 2, DATA)
    kept.finish(0, DATA)
    kept.until_looked_through()
    assert kept.results == [ops.PieceBad(0, 0), ops.DigestBad(0)]
    kept.do(ops.ResetPiece(0, 0))
    kept.piece(0, 0, DATA)
    kept.finish(0, DATA)
    kept.seal()
    assert kept.done == {0}
    assert snapshot(kept.out) == {b"big": DATA}
    kept.stop()


def test_a_claim_that_was_refuted_is_not_believed_after_the_next_clean_stop(tmp_path: Path) -> None:
    kept = half_arrived(tmp_path)
    with part_of(kept).open("r+b") as part:
        part.write(b"edited")
    resume, _ = kept.look()
    kept.begin(0, resume.claims[0])
    kept.until_looked_through()
    assert kept.results == [ops.PieceBad(0, 0)]
    kept.do(ops.ResetPiece(0, 0), ops.Write(0, 0, DATA[:10]))
    kept.stop()
    resume, _ = kept.look()
    claim = resume.claims[0]
    assert claim.trusted
    assert claim.leaves == {}
    assert (claim.piece, claim.head) == (0, 10)
    complete(kept, resume)


def test_what_was_not_looked_through_is_not_trusted_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = half_arrived_and_killed(tmp_path)
    resume, _ = kept.look()
    monkeypatch.setattr("p2pal.disk.sink.rehash.Rehash.run", lambda self, _: os.close(self._fd))
    monkeypatch.setattr("p2pal.disk.sink.verification.Verifying.look", lambda _: [])
    kept.begin(0, resume.claims[0])
    kept.stop()
    monkeypatch.undo()
    resume, _ = kept.look()
    assert not resume.claims[0].trusted
    complete(kept, resume)


@pytest.mark.parametrize("damage", ["removed", "cut", "replaced", "linked", "named twice"])
def test_a_part_file_that_is_not_the_one_left_starts_over(tmp_path: Path, damage: str) -> None:
    kept = half_arrived(tmp_path)
    part = part_of(kept)
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    expected = survey.PART_REPLACED
    match damage:
        case "removed":
            part.unlink()
            expected = survey.PART_GONE
        case "cut":
            os.truncate(part, PIECE - 1)
            expected = survey.PART_SHORT
        case "replaced":
            part.rename(tmp_path / "moved")
            part.write_bytes(DATA)
        case "linked":
            part.rename(tmp_path / "moved")
            part.symlink_to(other)
        case _:
            os.link(part, tmp_path / "second")
    resume, starts_over = kept.look()
    assert resume.claims == {}
    assert starts_over == [(0, expected)]
    kept.begin(0)
    for number in range(3):
        kept.piece(0, number, DATA)
    kept.finish(0, DATA)
    kept.seal()
    assert (kept.out / "big").read_bytes() == DATA
    assert other.read_bytes() == b"precious"
    assert (damage in {"replaced", "linked"}) is bool(part_files(kept.out))
    kept.stop()


def test_a_part_file_that_is_replaced_after_the_look_fails(tmp_path: Path) -> None:
    kept = half_arrived(tmp_path)
    resume, _ = kept.look()
    part = part_of(kept)
    part.rename(tmp_path / "moved")
    part.write_bytes(DATA)
    (result,) = kept.begin(0, resume.claims[0])
    assert result == ops.WriteFailed(0, Reason.OTHER, "the unfinished file was replaced")
    kept.stop()
    assert part.read_bytes() == DATA


@pytest.mark.parametrize(("change", "leaves"), [(-500, {0}), (500, {0}), (-PIECE, {0}), (3 * PIECE, {0})])
def test_a_file_that_has_another_size_now_keeps_whole_pieces(tmp_path: Path, change: int, leaves: set[int]) -> None:
    kept = Kept(tmp_path, [BIG])
    kept.begin(0)
    kept.piece(0, 0, DATA)
    kept.piece(0, 2, DATA)
    kept.stop()
    data = (DATA + bytes(4 * PIECE))[: len(DATA) + change]
    resume, starts_over = kept.look([file_entry(b"big", data)])
    assert starts_over == []
    assert set(resume.claims[0].leaves) == leaves
    kept.begin(0, resume.claims[0])
    for number in range(1, -(-len(data) // PIECE)):
        kept.piece(0, number, data)
    kept.finish(0, data)
    kept.until_looked_through()
    kept.seal()
    assert snapshot(kept.out) == {b"big": data}
    kept.stop()


@pytest.mark.parametrize("size", [10, 5 << 30])
def test_a_file_of_quite_another_size_starts_over(tmp_path: Path, size: int) -> None:
    kept = half_arrived(tmp_path)
    entry = type(BIG)(b"big", BIG.kind, size, BIG.mode, BIG.mtime_ns)
    resume, starts_over = kept.look([entry])
    assert resume.claims == {}
    assert starts_over == [(0, survey.OTHER_SIZE)]
    kept.stop()


TREE = [directory_entry(b"top"), file_entry(b"top/a", SMALL), file_entry(b"top/b", SMALL), link_entry(b"top/l", b"a")]


def whole_tree(path: Path) -> Kept:
    kept = Kept(path, TREE)
    kept.do(ops.MakeDirectory(0, TREE[0]))
    kept.file(1, SMALL)
    kept.file(2, SMALL)
    kept.do(ops.MakeLink(3, TREE[3]))
    kept.seal()
    kept.stop()
    return kept


def test_what_is_done_is_done(tmp_path: Path) -> None:
    kept = whole_tree(tmp_path)
    resume, starts_over = kept.look(verify=True)
    assert list(resume.done) == [(1, 4)]
    assert starts_over == []
    kept.do(ops.MakeDirectory(0, TREE[0]))
    assert kept.seal() == [ops.EntryDone(0), ops.Sealed()]
    kept.stop()


def test_what_is_no_longer_there_starts_over(tmp_path: Path) -> None:
    kept = whole_tree(tmp_path)
    (kept.out / "top" / "a").unlink()
    (kept.out / "top" / "l").unlink()
    (kept.out / "top" / "l").symlink_to("elsewhere")
    resume, starts_over = kept.look()
    assert list(resume.done) == [(2, 3)]
    assert starts_over == [(1, survey.GONE), (3, survey.OTHER_LINK)]
    kept.do(ops.MakeDirectory(0, TREE[0]))
    kept.file(1, SMALL)
    kept.seal()
    assert (kept.out / "top" / "a").read_bytes() == SMALL
    kept.stop()


def test_verifying_finds_what_was_edited_and_may_replace_it(tmp_path: Path) -> None:
    kept = whole_tree(tmp_path)
    (kept.out / "top" / "a").write_bytes(b"edits")
    assert kept.look()[1] == []
    kept.stop()
    resume, starts_over = kept.look(verify=True)
    assert starts_over == [(1, survey.WRONG)]
    assert list(resume.done) == [(2, 4)]
    kept.do(ops.MakeDirectory(0, TREE[0]))
    kept.file(1, SMALL)
    kept.seal()
    assert (kept.out / "top" / "a").read_bytes() == SMALL
    kept.stop()


NEWER = b"newer!"
TREE_NOW = [TREE[0], msgspec.structs.replace(file_entry(b"top/a", NEWER), mtime_ns=MTIME + 5), *TREE[2:]]


def test_a_file_that_was_changed_at_the_source_is_sent_again_and_takes_the_place_of_the_older(tmp_path: Path) -> None:
    kept = whole_tree(tmp_path)
    for stopped in (True, False):  # the second time the older one stands there still, and another part file is begun
        resume, starts_over = kept.look(TREE_NOW)
        assert list(resume.done) == [(2, 4)]
        assert starts_over == ([(1, survey.CHANGED)] if stopped else [])
        kept.do(ops.MakeDirectory(0, TREE_NOW[0]))
        kept.begin(1)
        if stopped:
            kept.stop()
    kept.do(ops.Write(1, 0, NEWER))
    kept.finish(1, NEWER)
    kept.seal()
    assert kept.done == {0, 1}
    assert (kept.out / "top" / "a").read_bytes() == NEWER
    assert part_files(kept.out) == []
    kept.stop()
    resume, starts_over = kept.look()
    assert list(resume.done) == [(1, 4)]
    assert starts_over == []
    kept.stop()


@pytest.mark.parametrize("change", ["size", "time"])
def test_any_change_at_the_source_counts(tmp_path: Path, change: str) -> None:
    kept = whole_tree(tmp_path)
    now = msgspec.structs.replace(TREE[1], size=6) if change == "size" else TREE_NOW[1]
    assert kept.look([TREE[0], now, *TREE[2:]])[1] == [(1, survey.CHANGED)]
    kept.stop()


@pytest.mark.parametrize("edit", ["content", "time", "kind"])
@pytest.mark.parametrize("changed", [True, False])
def test_what_a_person_made_of_a_file_is_not_replaced(tmp_path: Path, edit: str, changed: bool) -> None:
    kept = whole_tree(tmp_path)
    path = kept.out / "top" / "a"
    if edit == "content":
        path.write_bytes(b"mine!")
    elif edit == "time":
        os.utime(path, ns=(MTIME, MTIME + 1))
    else:
        path.unlink()
        path.mkdir()
    before = snapshot(kept.out)
    resume, starts_over = kept.look(TREE_NOW if changed else TREE)
    kept.do(ops.MakeDirectory(0, TREE[0]))
    if not changed and edit != "kind":
        assert list(resume.done) == [(1, 4)]
        assert starts_over == []
    else:
        assert starts_over == [(1, survey.REPLACED if edit == "kind" else survey.CHANGED_BOTH)]
        assert 1 not in resume.done
        sent = NEWER if changed else SMALL
        kept.file(1, sent)
        kept.seal()
        assert 1 in kept.done
        assert ops.EntryRenamed(1, b"a (1)") in kept.results
        before[b"top/a (1)"] = sent
    assert snapshot(kept.out) == before
    kept.stop()
    if 1 not in resume.done:  # where it stands now is remembered
        again, starts_over = kept.look(TREE_NOW if changed else TREE)
        assert 1 in again.done
        assert starts_over == []
        kept.stop()


def test_an_edit_while_the_newer_file_arrives_is_not_lost(tmp_path: Path) -> None:
    kept = whole_tree(tmp_path)
    kept.look(TREE_NOW)
    kept.do(ops.MakeDirectory(0, TREE_NOW[0]))
    kept.begin(1)
    kept.do(ops.Write(1, 0, NEWER))
    (kept.out / "top" / "a").write_bytes(b"mine!")
    kept.finish(1, NEWER)
    kept.seal()
    assert kept.done == {0, 1}
    assert (kept.out / "top" / "a").read_bytes() == b"mine!"
    assert (kept.out / "top" / "a (1)").read_bytes() == NEWER
    kept.stop()


def test_a_file_that_got_its_name_unnoted_and_was_then_changed_at_the_source_is_sent_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path, TREE[:2])
    kept.do(ops.MakeDirectory(0, TREE[0]))
    kept.begin(1)
    kept.do(ops.Write(1, 0, SMALL))
    now = (kept.out / "top" / f".p2pal-{TAG}-1.part").stat()
    announced = Finishings([Finishing(1, (now.st_dev, now.st_ino), bytes(32))])
    kept.journal.write(announced, durable=True)
    copy = kept.journal.path.read_bytes()
    kept.finish(1, SMALL)
    kept.seal()
    kept.stop()
    kept.journal.path.write_bytes(copy)
    resume, starts_over = kept.look(TREE_NOW[:2])
    assert not resume.done
    assert starts_over == [(1, survey.CHANGED)]
    kept.stop()


def test_reading_again_lets_an_edited_file_be_replaced_also_after_another_stop(tmp_path: Path) -> None:
    kept = whole_tree(tmp_path)
    (kept.out / "top" / "a").write_bytes(b"edits")
    assert kept.look(TREE_NOW, verify=True)[1] == [(1, survey.WRONG)]
    kept.do(ops.MakeDirectory(0, TREE[0]))
    kept.begin(1)
    kept.stop()
    assert kept.look(TREE_NOW, verify=True)[1] == []
    kept.do(ops.MakeDirectory(0, TREE[0]))
    kept.file(1, NEWER)
    kept.seal()
    assert (kept.out / "top" / "a").read_bytes() == NEWER
    kept.stop()


def test_many_changed_pieces_cost_a_few_bytes_each(tmp_path: Path) -> None:
    kept = half_arrived(tmp_path)
    resume, _ = kept.look()
    kept.begin(0, resume.claims[0])
    before = kept.journal.path.stat().st_size
    assert kept.do(ops.CheckPiece(0, 0, bytes(32))) == [ops.PieceBad(0, 0)]
    assert kept.journal.path.stat().st_size - before < 32
    kept.stop()


def test_what_a_stop_said_is_not_believed_twice_though_the_checkpoint_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = half_arrived(tmp_path)
    before = kept.journal.path.read_bytes()
    monkeypatch.setattr(Journal, "sync", lambda _: False)
    resume, _ = kept.look()
    assert resume.claims[0].trusted
    kept.begin(0, resume.claims[0])
    kept.sink.close()
    kept.journal.close()
    monkeypatch.undo()
    kept.journal.path.write_bytes(before)  # the power goes, and that the session began with it
    resume, _ = kept.look()
    assert not resume.claims[0].trusted
    complete(kept, resume)


def test_what_is_not_gone_on_with_is_not_claimed(tmp_path: Path) -> None:
    """The machine may ask for more than is lacking: what is written again is not claimed meanwhile."""
    kept = half_arrived(tmp_path)
    resume, _ = kept.look()
    claim = resume.claims[0]
    assert claim.trusted
    kept.begin(0, msgspec.structs.replace(claim, leaves={}))
    kept.do(ops.Write(0, 0, b"something else"))
    kept.stop()
    resume, _ = kept.look()
    assert resume.claims[0].leaves == {}
    kept.stop()


def test_verifying_replaces_nothing_that_came_later(tmp_path: Path) -> None:
    kept = whole_tree(tmp_path)
    path = kept.out / "top" / "a"
    path.write_bytes(b"edits")
    kept.look(verify=True)
    path.write_bytes(b"more edits")
    kept.do(ops.MakeDirectory(0, TREE[0]))
    kept.file(1, SMALL)
    kept.seal()
    assert path.read_bytes() == b"more edits"
    assert path.with_name("a (1)").read_bytes() == SMALL
    kept.stop()


def test_a_file_that_got_its_name_and_was_not_noted_is_done(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    old = tmp_path / "out" / "x"
    old.write_bytes(b"old")
    was = old.stat()
    entry = file_entry(b"x", SMALL)
    kept = Kept(tmp_path, [entry], overwrite=True)
    kept.begin(0)
    kept.do(ops.Write(0, 0, SMALL))
    part = part_of(kept)
    os.utime(part, ns=(entry.mtime_ns, entry.mtime_ns))  # as it is before it gets its name
    now = part.stat()
    kept.journal.write(
        Finishings([Finishing(0, (now.st_dev, now.st_ino), bytes(32), (was.st_dev, was.st_ino))]), durable=True
    )
    copy = kept.journal.path.read_bytes()
    between = tmp_path / "between"
    old.rename(between)  # as an exchange of names that was stopped before its end
    part.rename(old)
    between.rename(part)
    kept.stop()
    kept.journal.path.write_bytes(copy)
    resume, starts_over = kept.look()
    assert list(resume.done) == [(0, 1)]
    assert starts_over == []
    assert snapshot(kept.out) == {b"x": SMALL}
    assert list(kept.state.done) == [(0, 1)] if kept.state else False
    kept.stop()
    assert kept.look()[0].done.total == 1
    kept.stop()


def test_new_names_stay_those_of_the_first_session(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "top").mkdir()
    kept = Kept(tmp_path, TREE)
    kept.do(ops.MakeDirectory(0, TREE[0]))
    kept.file(1, SMALL)
    kept.stop()
    kept.look()
    assert kept.placement.renamed == {"top": "top (1)"}
    kept.do(ops.MakeDirectory(0, TREE[0]))
    kept.file(2, SMALL)
    kept.seal()
    assert snapshot(kept.out) == {b"top": None, b"top (1)": None, b"top (1)/a": SMALL, b"top (1)/b": SMALL}
    kept.stop()


def test_another_root_is_an_error(tmp_path: Path) -> None:
    kept = half_arrived(tmp_path)
    kept.out.rename(tmp_path / "moved")
    with pytest.raises(DiskError, match="not there"):
        kept.look()
    kept.journal.close()
    kept.out.mkdir()
    with pytest.raises(DiskError, match="another directory"):
        kept.look()
    kept.journal.close()
    kept.out.rmdir()
    kept.out = tmp_path / "moved"
    complete(kept, kept.look()[0])


def test_directories_made_in_a_merge_get_their_mode_in_the_end(tmp_path: Path) -> None:
    entries = [directory_entry(b"top", 0o750), directory_entry(b"top/old", 0o750), directory_entry(b"top/new", 0o750)]
    (tmp_path / "out" / "top" / "old").mkdir(parents=True, mode=0o755)
    kept = Kept(tmp_path, entries, overwrite=True)
    consent = kept.placement.consent_ns
    kept.do(*(ops.MakeDirectory(index, entry) for index, entry in enumerate(entries)))
    kept.stop()
    kept.look()
    assert kept.placement.consent_ns == consent
    assert consent
    assert kept.placement.place(b"top").policy is Policy.MERGE  # type: ignore[union-attr]
    kept.do(*(ops.MakeDirectory(index, entry) for index, entry in enumerate(entries)))
    kept.seal()
    assert (kept.out / "top" / "new").stat().st_mode & 0o777 == 0o750
    assert (kept.out / "top" / "old").stat().st_mode & 0o777 == 0o755
    kept.stop()


@pytest.mark.parametrize("recorded", [True, False])
def test_only_directories_of_ours_are_gone_on_with(tmp_path: Path, recorded: bool) -> None:
    kept = Kept(tmp_path, TREE)
    if recorded:
        kept.do(ops.MakeDirectory(0, TREE[0]))
    else:
        (kept.out / "top").mkdir()
    kept.stop()
    kept.look()
    (kept.out / "top" / "foreign").write_bytes(b"1")
    results = kept.do(ops.MakeDirectory(0, TREE[0]))
    assert [type(result) for result in results] == ([] if recorded else [ops.EntryRenamed])
    kept.stop()
    assert os.listdir(kept.out / ("top" if recorded else "top (1)")) == (["foreign"] if recorded else [])


def test_a_link_that_was_being_replaced_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out" / "top").mkdir(parents=True)
    (tmp_path / "out" / "top" / "l").symlink_to("before")
    entries = [directory_entry(b"top"), link_entry(b"top/l", b"a")]
    kept = Kept(tmp_path, entries, overwrite=True)
    kept.do(ops.MakeDirectory(0, entries[0]), ops.MakeLink(1, entries[1]))

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(targets, "settle_name", kill)
        with pytest.raises(Killed):
            kept.seal()
    kept.stop()
    assert part_files(kept.out)
    kept.look()
    kept.do(ops.MakeDirectory(0, entries[0]), ops.MakeLink(1, entries[1]))
    kept.seal()
    assert snapshot(kept.out) == {b"top": None, b"top/l": b"-> a"}
    kept.stop()


def test_what_the_checkpoint_says_of_other_entries_is_passed_over(tmp_path: Path) -> None:
    kept = Kept(tmp_path, [*TREE, BIG])
    kept.journal.write(Done([(0, 1), (4, 5)]), Finishings([Finishing(0, (1, 1), bytes(32))]))
    kept.stop()
    resume, starts_over = kept.look(TREE[:1])
    assert not resume.done
    assert starts_over == []
    kept.stop()


def test_a_claim_that_the_sender_refutes_is_not_believed_again(tmp_path: Path) -> None:
    """The source changed: what is here is as it was, but it is not what is wanted now."""
    kept = half_arrived(tmp_path)
    resume, _ = kept.look()
    kept.begin(0, resume.claims[0])
    assert kept.do(ops.CheckPiece(0, 0, bytes(32))) == [ops.PieceBad(0, 0)]
    kept.stop()
    resume, _ = kept.look()
    assert resume.claims == {}
    kept.stop()


def test_the_checkpoint_hears_of_a_batch_before_the_first_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path, [file_entry(b"a", SMALL), file_entry(b"b", SMALL)])
    log: list[str] = []
    write, rename = type(kept.journal).write, HandleDirectory.rename_new

    def note(journal: Journal, *records: CheckpointRecord, durable: bool = False) -> bool:
        log.extend(f"{type(record).__name__}{' durable' * durable}" for record in records)
        return write(journal, *records, durable=durable)

    def note_rename(directory: HandleDirectory, source: bytes, target: bytes) -> None:
        log.append("rename")
        rename(directory, source, target)

    monkeypatch.setattr(Journal, "write", note)
    monkeypatch.setattr(HandleDirectory, "rename_new", note_rename)
    monkeypatch.setattr(HandleDirectory, "sync", lambda _: log.append("sync"))
    kept.begin(0)
    kept.begin(1)
    for index in (0, 1):
        kept.do(ops.Write(index, 0, SMALL))
    kept.sink.execute(ops.Finish(0, digest_of(SMALL)))
    kept.sink.execute(ops.Finish(1, digest_of(SMALL)))
    kept.seal()
    assert log == ["Begun", "Begun", "Finishings durable", "rename", "rename", "sync", "Done"]
    kept.stop()

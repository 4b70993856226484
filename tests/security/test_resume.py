"""Going on with a transfer: who was not there gets nothing of it, and what was tampered with meanwhile harms nobody."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.e2e.trees import content, leftovers, snapshot, tree_equal, write
from tests.security.hostile import PATIENCE, Hostile, hostile_sender, offer, payload
from tests.unit.app.kit import FIRST, HALF, LARGE, Place, Running, follow, gated, only_id, place, run, vanish

from p2pal.app import events
from p2pal.app.options import ReceiveOptions
from p2pal.app.receive_checkpoint import UNKNOWN
from p2pal.checkpoint.records import Begun, CheckpointHeader, Claimed, Places
from p2pal.checkpoint.replay import ReceiveState
from p2pal.crypto import codes
from p2pal.crypto.keys import TransferEnd as Side
from p2pal.crypto.keys import resume_proof
from p2pal.disk.checkpoints.store import Checkpoints
from p2pal.errors import CheckpointError, CodeUnknown, DiskError, P2palError, PeerError
from p2pal.peer.key_exchange import meet_sender
from p2pal.rendezvous.client import RendezvousClient
from p2pal.role import Role
from p2pal.wire import transfer as wire
from p2pal.wire.transfer import Entry, EntryKind, Reason

OTHER = b"o" * 32


@dataclass
class Kept:
    """A transfer that was stopped when half of it was there, as an attacker knows it who has read both checkpoints."""

    there: Place
    tree: Path
    out: Path
    id: str
    header: CheckpointHeader
    entries: list[Entry]

    @property
    def key(self) -> bytes:
        return self.header.resume_key

    def path(self, role: Role) -> Path:
        return Checkpoints(self.there.homes[role]).path / f"{self.id}.{role}"

    def bytes_of(self, role: Role) -> bytes:
        return self.path(role).read_bytes()

    @property
    def part(self) -> Path:
        (found,) = leftovers(self.out)
        return Path(found)

    @property
    def receiving(self) -> ReceiveOptions:
        return ReceiveOptions(out=self.out, home=self.there.homes["receive"])


@asynccontextmanager
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    """Stop a transfer in the middle."""
    tree, out = tmp_path / "tree", tmp_path / "out"
    write(tree / "a first one", content(FIRST))
    write(tree / "large", content(LARGE))
    out.mkdir()
    async with place(tmp_path) as there:
        with gated(HALF) as gate:
            await there.stopped(gate, tree, out=out)
        ident = only_id(there)
        opened = Checkpoints(there.homes["send"]).open(ident, "send")
        entries = [entry for entry, _ in opened.listing()]
        opened.journal.close()
        yield Kept(there, tree, out, ident, opened.header, entries)


async def heard(hostile: Hostile, kind: type[wire.Record]) -> wire.Record:
    """Wait for the first record of a kind."""
    await hostile.until(lambda: any(isinstance(record, kind) for record in hostile.records))
    return next(record for record in hostile.records if isinstance(record, kind))


# Who quotes a transfer's id to a receiver


PROOFS: dict[str, Callable[[Kept, bytes], bytes]] = {
    "invented": lambda kept, transcript: OTHER,
    "of another session": lambda kept, transcript: resume_proof(kept.key, Side.SENDER, OTHER),
    "of the receiver": lambda kept, transcript: resume_proof(kept.key, Side.RECEIVER, transcript),
    "of another transfer": lambda kept, transcript: resume_proof(OTHER, Side.SENDER, transcript),
}


@pytest.mark.parametrize("proof", PROOFS.values(), ids=PROOFS.keys())
async def test_a_stranger_who_quotes_the_id_learns_nothing_and_touches_nothing(
    tmp_path: Path, proof: Callable[[Kept, bytes], bytes]
) -> None:
    async with kept(tmp_path) as mine:
        before, part = mine.bytes_of("receive"), mine.part.read_bytes()
        answers = []
        # Whether there is such a transfer, and whether somebody works on it, must look the same.
        for transfer_id, in_use in (
            (mine.header.transfer_id, False),
            (mine.header.transfer_id, True),
            (OTHER[:16], False),
        ):
            opened = Checkpoints(mine.there.homes["receive"]).open(mine.id, "receive") if in_use else None
            async with hostile_sender(mine.out, options=mine.receiving) as (honest, hostile):
                hostile.stream(sender=True)
                await honest.until(events.Connected)
                hostile.say(offer(mine.entries, transfer_id=transfer_id, proof=proof(mine, hostile.peer.transcript)))
                await heard(hostile, wire.Want)
                answers.append(hostile.records)
                over = await honest.until(events.StartingOver)
                assert over == events.StartingOver(reason=UNKNOWN)
                # It is a new transfer like any other, into a directory of its own.
                accepted = await honest.until(events.Accepted)
                assert isinstance(accepted, events.Accepted)
                assert list(accepted.renamed) == ["tree"]
            if opened is not None:
                opened.journal.close()
        assert answers[0] == answers[1] == answers[2]
        (said, accept, want) = answers[0]
        assert said == wire.Proof(b"")
        assert isinstance(accept, wire.Accept)
        assert accept.proof == b""
        assert want == wire.Want([(0, len(mine.entries))], [])
        assert mine.bytes_of("receive") == before
        assert mine.part.read_bytes() == part


async def test_the_true_sender_may_not_offer_something_else_under_an_old_consent(tmp_path: Path) -> None:
    """Who has the proof goes on with what was agreed to; another offer is asked about, and gets a place of its own."""
    async with kept(tmp_path) as mine:
        before, part = mine.bytes_of("receive"), mine.part.read_bytes()
        forged = [*mine.entries, Entry(b"tree/.profile", EntryKind.FILE, 6, 0o755, 0, b"")]
        async with hostile_sender(mine.out, options=mine.receiving) as (honest, hostile):
            hostile.stream(sender=True)
            await honest.until(events.Connected)
            proof = resume_proof(mine.key, Side.SENDER, hostile.peer.transcript)
            hostile.say(offer(forged, transfer_id=mine.header.transfer_id, proof=proof))
            assert isinstance(await honest.until(events.StartingOver), events.StartingOver)
            accepted = await honest.until(events.Accepted)
            assert isinstance(accepted, events.Accepted)
            assert list(accepted.renamed) == ["tree"]
            assert events.Resuming not in [type(event) for event in honest.told]
        assert mine.bytes_of("receive") == before
        assert mine.part.read_bytes() == part


# Who has the code, but was not there


@asynccontextmanager
async def overhearing(there: Place, code: str) -> AsyncIterator[Hostile]:
    """Someone who overheard the code joins, and does as they like from then on."""
    parsed = codes.parse(code).code
    async with RendezvousClient(there.connect.server) as client:
        joined = await client.join(parsed.slot)
        mailbox = client.mailbox("receive", joined.token)
        tender = asyncio.create_task(mailbox.run())
        hostile = Hostile()
        try:
            async with asyncio.timeout(PATIENCE):
                hostile.introduction = await meet_sender(
                    mailbox, codes.password(parsed), joined.rendezvous_id, joined.attempt
                )
            hostile.stream(sender=False)
            yield hostile
        finally:
            run = getattr(hostile, "run", None)
            if run is not None:
                run.cancel()
                await asyncio.gather(run, return_exceptions=True)
            await mailbox.close()
            await asyncio.gather(tender, return_exceptions=True)


def test_while_the_session_runs_nobody_else_gets_in_and_nothing_is_guessed(tmp_path: Path) -> None:
    file = write(tmp_path / "file", content(LARGE))
    (tmp_path / "out").mkdir()

    async def overheard(there: Place) -> None:
        with gated(HALF) as gate:
            sent = Running(there.send(file))
            code = (await sent.until(events.Code)).code
            first = Running(there.receive(code, tmp_path / "out"))
            await first.until(events.Progress, lambda event: event.done >= HALF)
            with pytest.raises(CodeUnknown):
                async with overhearing(there, code):
                    raise AssertionError("the key exchange was completed")
            gate.open()
            assert (await first.end()).error is (await sent.end()).error is None
            assert {events.Unproven, events.WrongGuess, events.Resuming}.isdisjoint(sent.ended.kinds)

    run(overheard, tmp_path)
    assert tree_equal(file, tmp_path / "out" / "file")


ANSWERS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda theirs: b"",
    "invented": lambda theirs: OTHER,
    "reflected": lambda theirs: theirs,
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_who_overheard_the_code_gets_not_even_a_name_while_the_session_waits(
    tmp_path: Path, answer: Callable[[bytes], bytes]
) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    write(tree / "a first one", content(FIRST))
    write(tree / "large", content(LARGE))
    out.mkdir()

    async def overheard(there: Place) -> None:
        with gated(HALF) as gate:
            sent = Running(there.send(tree))
            code = (await sent.until(events.Code)).code
            first = Running(there.receive(code, out))
            await first.until(events.FileDelivered)  # what is not on the disk when it vanishes is not known later
            await vanish(first)
            async with overhearing(there, code) as hostile:
                begin = await heard(hostile, wire.OfferBegin)
                assert isinstance(begin, wire.OfferBegin)
                hostile.say(payload(wire.Proof(answer(begin.proof))))
                abort = await heard(hostile, wire.Abort)
                assert isinstance(abort, wire.Abort)
                assert abort.reason is Reason.DECLINED
                assert {type(record) for record in hostile.records} == {wire.OfferBegin, wire.Abort}
            await sent.until(events.Unproven)
            gate.open()
            again = await follow(there.receive(code, None))
            assert again.error is (await sent.end()).error is None
            assert again.only(events.Resuming).files == 1

    run(overheard, tmp_path)
    assert tree_equal(tree, out / "tree")


@pytest.mark.parametrize("how", ["reflected", "replayed", "of another key"])
async def test_a_proof_that_is_not_the_receivers_of_this_session_resumes_nothing(tmp_path: Path, how: str) -> None:
    async with kept(tmp_path) as mine:
        before = mine.bytes_of("send")
        sent = Running(mine.there.send(resume=mine.id))
        code = (await sent.until(events.Code)).code
        async with overhearing(mine.there, code) as hostile:
            begin = await heard(hostile, wire.OfferBegin)
            assert isinstance(begin, wire.OfferBegin)
            assert begin.proof == resume_proof(mine.key, Side.SENDER, hostile.peer.transcript)
            proof = {
                "reflected": begin.proof,
                "replayed": resume_proof(mine.key, Side.RECEIVER, OTHER),
                "of another key": resume_proof(OTHER, Side.RECEIVER, hostile.peer.transcript),
            }[how]
            hostile.say(payload(wire.Proof(proof)))
            end = await heard(hostile, wire.OfferEnd)
            assert isinstance(end, wire.OfferEnd)
            # Pieces are for the receiver of before; what it may have is learned from nobody else.
            wanted = [wire.WantPieces(2, [(1, 2)])]
            hostile.say(payload(wire.Accept(end.digest, proof), wire.Want([(0, 2)], wanted)))
            ended = await sent.end()
        assert isinstance(ended.error, PeerError)
        assert events.Resuming not in ended.kinds
        assert not any(isinstance(record, wire.Chunk) for record in hostile.records)
        assert mine.bytes_of("send") == before


# Checkpoints that were tampered with


async def test_forged_claims_end_in_the_right_file(tmp_path: Path) -> None:
    """A claim with the wrong digest, on bytes that are not there: read, found wrong, and sent."""
    async with kept(tmp_path) as mine:
        status = mine.part.stat()
        opened = Checkpoints(mine.there.homes["receive"]).open(mine.id, "receive")
        large = mine.entries[2]
        opened.journal.write(
            Begun(2, (status.st_dev, status.st_ino), large.size, large.mtime_ns, large.path),
            Claimed(2, 0, OTHER * 5, 5, 1000),
        )
        opened.journal.close()
        with mine.part.open("r+b") as file:
            file.truncate(large.size)
        again, rest = await mine.there.both(
            mine.there.send(resume=mine.id), lambda code: mine.there.receive(code, None)
        )
        assert again.error is rest.error is None
        assert tree_equal(mine.tree, mine.out / "tree")
        assert leftovers(mine.out) == []


@pytest.mark.parametrize("name", [b"../outside", b"..", b"/tmp/outside", b"a/b", b"."])
async def test_an_edited_place_does_not_lead_out_of_the_target(tmp_path: Path, name: bytes) -> None:
    async with kept(tmp_path) as mine:
        opened = Checkpoints(mine.there.homes["receive"]).open(mine.id, "receive")
        assert isinstance(opened.state, ReceiveState)
        (where,) = opened.state.places.values()
        opened.journal.write(Places([replace(where, name=name)]))
        opened.journal.close()
        outside = {path: snapshot(path) for path in (tmp_path / "tree", tmp_path / "sender")}
        listed = sorted(os.listdir(tmp_path))
        _, rest = await mine.there.both(mine.there.send(resume=mine.id), lambda code: mine.there.receive(code, None))
        assert rest.error is not None or tree_equal(mine.tree, mine.out / "tree")
        assert sorted(os.listdir(tmp_path)) == listed
        assert snapshot(tmp_path / "tree") == outside[tmp_path / "tree"]


@pytest.mark.parametrize("role", ["send", "receive"])
async def test_a_checkpoint_under_the_name_of_another_is_not_used(tmp_path: Path, role: Role) -> None:
    async with kept(tmp_path) as mine:
        other = mine.path(role).with_name(f"{'a' * 26}.{role}")
        mine.path(role).rename(other)
        before = other.read_bytes()
        if role == "send":
            ended = await follow(mine.there.send(resume="a" * 8))
            assert isinstance(ended.error, CheckpointError)
            assert ended.kinds == [events.Failure]
        else:
            sent, received = await mine.there.both(
                mine.there.send(resume=mine.id), lambda code: mine.there.receive(code, mine.out)
            )
            assert sent.error is received.error is None
            assert received.only(events.StartingOver).reason == UNKNOWN
            assert tree_equal(mine.tree, mine.out / "tree (1)")
        assert other.read_bytes() == before


# Links between two sessions


def link_the_part(mine: Kept, victim: Path) -> None:
    part = mine.part
    part.unlink()
    part.symlink_to(victim / "file")


def hard_link_the_part(mine: Kept, victim: Path) -> None:
    part = mine.part
    part.unlink()
    os.link(victim / "file", part)


def link_the_directory(mine: Kept, victim: Path) -> None:
    (mine.out / "tree").rename(victim / "moved")
    (mine.out / "tree").symlink_to(victim)


def link_the_final_name(mine: Kept, victim: Path) -> None:
    (mine.out / "tree" / "large").symlink_to(victim / "file")


def link_what_is_done(mine: Kept, victim: Path) -> None:
    (mine.out / "tree" / "a first one").unlink()
    (mine.out / "tree" / "a first one").symlink_to(victim / "file")


def link_the_root(mine: Kept, victim: Path) -> None:
    mine.out.rename(victim.parent / "aside")
    mine.out.symlink_to(victim)


def arrived_beside(mine: Kept, victim: Path) -> None:
    """All has arrived. What somebody else put there may still stand there, whatever its name: it is not ours."""
    for name in ("a first one", "large"):
        places = [mine.out / top / each for top in ("tree", "tree (1)") for each in (name, f"{name} (1)")]
        real = [path for path in places if path.is_file() and not path.is_symlink() and not path.parent.is_symlink()]
        assert [path for path in real if tree_equal(mine.tree / name, path)]
    for stays in map(Path, leftovers(mine.out)):
        assert stays.is_symlink() or stays.samefile(victim / "file")


SWAPS = [
    link_the_part, hard_link_the_part, link_the_directory, link_the_final_name, link_what_is_done, link_the_root,
]  # fmt: skip


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("swap", SWAPS)
async def test_links_that_were_swapped_in_between_two_sessions_are_not_followed(
    tmp_path: Path, swap: Callable[[Kept, Path], None], verify: bool
) -> None:
    victim = tmp_path / "victim"
    write(victim / "file", "precious")
    async with kept(tmp_path) as mine:
        swap(mine, victim)
        before = snapshot(victim)
        _, rest = await mine.there.both(
            mine.there.send(resume=mine.id), lambda code: mine.there.receive(code, None, verify=verify)
        )
        assert snapshot(victim) == before
        if rest.error is None:
            arrived_beside(mine, victim)
        else:  # what could not be written is told, or why nothing can be
            assert isinstance(rest.error, P2palError)
            assert rest.all(events.FileNotDelivered) or isinstance(rest.error, DiskError)
        assert (mine.tree / "large").read_bytes() == content(LARGE)

"""The receiver's checkpoint: made before it agrees, found again when the sender proves that it knows the transfer."""

from __future__ import annotations

import contextlib
import hmac
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from p2pal.app.options import ReceiveOptions
from p2pal.app.send_checkpoint import SHOWN, make_header
from p2pal.checkpoint.records import CheckpointHeader, CheckpointRecord, PlaceRecord, Places, Resume, Rooted, Target
from p2pal.checkpoint.replay import ReceiveState
from p2pal.crypto.keys import TransferEnd, checkpoint_id, resume_proof
from p2pal.disk.checkpoints.journal import Journal
from p2pal.disk.checkpoints.store import Checkpoints, OpenedCheckpoint
from p2pal.disk.fs.names import TAG
from p2pal.disk.fs.rename import identity_from
from p2pal.disk.sink.placement import Placement
from p2pal.disk.sink.sink import Sink
from p2pal.disk.sink.survey import survey
from p2pal.errors import CheckpointError, DiskError
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.receiver import Receiver
from p2pal.wire.pieces import piece_size

UNKNOWN = "nothing of the transfer that the other side goes on with is here"
OTHER_OFFER = "the other side offers something else than before"
PLACES = 256
"""Places in one record."""


def remember(
    machine: Receiver, placement: Placement, resume_key: bytes, options: ReceiveOptions
) -> tuple[Journal | None, str, str]:
    """Make the checkpoint, durably, before the sender hears yes. Blocks.

    Returns:
        The checkpoint, or None if it cannot be kept; the tag of unfinished files; why it cannot be kept.

    Raises:
        DiskError: If the directory that is written into cannot be made or used.
    """
    manifest = machine.manifest
    tag = checkpoint_id(resume_key, machine.transfer_id)[:TAG]
    target = placement.target(tag)
    places = placement.records()
    header = make_header(
        "receive",
        manifest,
        [place.top for place in places],
        transfer_id=machine.transfer_id,
        resume_key=resume_key,
        ttl=options.checkpoint_ttl,
        shape=manifest.shape(),
        skip_errors=machine.skip_errors,
        target=target,
    )
    try:
        return Checkpoints(options.home).create(header, _places(places)), tag, ""
    except CheckpointError as error:
        return None, tag, error.message


def _places(places: list[PlaceRecord]) -> Iterator[CheckpointRecord]:
    for first in range(0, len(places), PLACES):
        yield Places(places[first : first + PLACES])


@dataclass
class Recalled:
    """An earlier transfer that goes on.

    Attributes:
        header: Its header.
        journal: Its checkpoint; ours alone until it is closed.
        resume: Where the machine goes on.
        proof: Ours.
        restarts: Files that start over, and why.
        done: Bytes that are here.
    """

    header: CheckpointHeader
    journal: Journal
    resume: Resume
    proof: bytes
    restarts: list[tuple[str, str]]
    done: int
    _placement: Placement
    _state: ReceiveState

    @property
    def root(self) -> Path:
        """The directory that is written into."""
        return self._placement.root

    @property
    def moved_to(self) -> Path | None:
        """The directory that is written into, if it has another name than the checkpoint says."""
        target = self.header.target
        root = self._placement.root
        return None if target is not None and os.fsencode(root) == target.root else root

    @property
    def renamed(self) -> dict[str, str]:
        """The offered top-level names that differ from those on disk, with the latter."""
        return self._placement.renamed

    def open_sink(self) -> Sink:
        """Open the disk. Blocks."""
        return Sink(self._placement, self.header.id[:TAG], journal=self.journal, resume=self._state)


def find(machine: Receiver, transcript: bytes, options: ReceiveOptions) -> tuple[CheckpointHeader, bytes] | None:
    """Find the transfer that the sender proves to know, and make our proof. Blocks.

    Nothing is opened: who only quotes a transfer's id learns nothing of it, not even that it is in use.

    Args:
        machine: It has the sender's proof.
        transcript: The session's, which the proofs are bound to.
        options: Where checkpoints are kept.
    """
    for header in Checkpoints(options.home).offered(machine.transfer_id):
        if hmac.compare_digest(resume_proof(header.resume_key, TransferEnd.SENDER, transcript), machine.offered_proof):
            return header, resume_proof(header.resume_key, TransferEnd.RECEIVER, transcript)
    return None


def recall(
    header: CheckpointHeader, proof: bytes, machine: Receiver, options: ReceiveOptions, disk_full: Callable[[], None]
) -> Recalled | str:
    """Open the transfer that goes on, and look what of it is on the disk. Blocks.

    Args:
        header: The transfer.
        proof: Ours.
        machine: It has the whole offer.
        options: Where to, and whether all is read again.
        disk_full: Called if what is lacking does not fit.

    Returns:
        The transfer, or why it cannot be gone on with.

    Raises:
        CheckpointError: If it is in use, or ``options.out`` is another place than before.
        DiskError: If the directory of before cannot be used, or what is lacking does not fit.
    """
    if not _same_offer(header, machine.manifest):
        return OTHER_OFFER
    opened = Checkpoints(options.home).open(header.id, "receive")
    try:
        return _survey(opened, machine, proof, options, disk_full)
    except BaseException:
        opened.journal.close()
        raise


def _same_offer(header: CheckpointHeader, manifest: Manifest) -> bool:
    """Whether this is what was agreed to: files may have changed in place, nothing else."""
    return header.digest == manifest.digest() or header.shape == manifest.shape()


def _survey(
    opened: OpenedCheckpoint, machine: Receiver, proof: bytes, options: ReceiveOptions, disk_full: Callable[[], None]
) -> Recalled:
    header, state, manifest = opened.header, opened.state, machine.manifest
    if header.target is None or not isinstance(state, ReceiveState) or state.root is None:
        raise CheckpointError("the checkpoint is damaged: it does not say where to", hint=_delete_hint(header))
    root = _root(header, header.target, state, options.out)
    anew = options.out is not None and os.fsencode(root) == header.target.root
    placement = Placement.restored(root, state.root, state.places, header.target.consent_ns, anew=anew)
    resume, restarts = survey(
        state, placement, manifest, header.id[:TAG], verify=options.verify, journal=opened.journal
    )
    try:
        done = _bytes_here(resume, manifest)
        placement.check_space(max(0, manifest.total - done))
    except DiskError:
        disk_full()
        raise
    if placement.root_identity not in (None, state.root):
        opened.journal.write(Rooted(placement.root_identity), *_places(placement.records()))
    opened.begin()
    named = [(manifest[index].name, reason) for index, reason in restarts]
    return Recalled(header, opened.journal, resume, proof, named, done, placement, state)


def _bytes_here(resume: Resume, manifest: Manifest) -> int:
    complete = sum(manifest[index].size for start, stop in resume.done for index in range(start, stop))
    for index, claim in resume.claims.items():
        entry = manifest[index]
        complete += min(entry.size, len(claim.leaves) * piece_size(entry.size) + claim.head)
    return complete


def _root(header: CheckpointHeader, target: Target, state: ReceiveState, out: Path | None) -> Path:
    """Return the directory to go on in: that of before, or the same one under the name that is given now.

    Raises:
        CheckpointError: If another place is given.
    """
    before = Path(os.fsdecode(target.root))
    if out is None:
        return before
    names = {place.name for place in state.places.values()}
    for root, is_out in ((out, True), (out.parent, names == {os.fsencode(out.name)})):
        with contextlib.suppress(OSError):
            found = os.stat(root)
            if is_out and identity_from(found) == state.root:
                return Path(os.path.abspath(root))
            if is_out and Path(os.path.abspath(root)) == before:
                return before  # whether that was made anew is found out when it is opened
    raise CheckpointError(
        f"this transfer is written into {before}",
        hint=f"leave -out away to go on there, or start over: {_delete_command(header)} and recv again",
    )


def _delete_command(header: CheckpointHeader) -> str:
    return f"'p2pal checkpoint delete {header.id[:SHOWN]}'"


def _delete_hint(header: CheckpointHeader) -> str:
    return f"{_delete_command(header)} removes it; then start over"

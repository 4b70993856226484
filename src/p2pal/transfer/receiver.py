"""The receiving side of a transfer: payloads in, operations for the disk out. Pure; see :mod:`p2pal.transfer.states`.

The shell gives it what the peer says, what a person decides and what the sink answers; after each input it drains
:meth:`Receiver.ops` into the sink, :meth:`Receiver.outputs` into the session, and :meth:`Receiver.events`. It waits for
nothing but the peer and the disk and so has no timer.

The stream must be exactly the wanted files, one after another by index, each byte once and in order; everything else is
the sender's fault. What is remembered is one byte for each entry, and a few hundred for each file that the disk has not
answered for: at most :data:`~p2pal.wire.pieces.MAX_UNJUDGED`, and the sender's read-ahead on top. A transfer that
goes on from an earlier session also has what that one left of its unfinished files, until each is begun.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from p2pal.checkpoint.records import Resume
from p2pal.errors import ProtocolError
from p2pal.transfer import events
from p2pal.transfer import ops as sink
from p2pal.transfer.events import TransferEvent
from p2pal.transfer.incoming_file import ArrivingFile
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.missing import Lacking, Part
from p2pal.transfer.offer import OfferReader
from p2pal.transfer.packer import BlockData
from p2pal.transfer.states import RECEIVER, ReceiverState, check_call, check_record
from p2pal.transfer.tally import Tally
from p2pal.transfer.verdicts import Replies
from p2pal.transfer.write_queue import BEGUN, JUDGED, KIND, OK, WANTED, OpQueue
from p2pal.wire import transfer as wire
from p2pal.wire.pieces import MAX_REPAIRS, MAX_UNJUDGED
from p2pal.wire.transfer import EntryKind, Reason

_WANTED_FILE: Final = bytes((EntryKind.FILE | WANTED,))
_WANT: Final = bytes(each | WANTED if each <= KIND else each for each in range(256))

_State = ReceiverState
_OVER: Final = frozenset((_State.SEALING, _State.STOPPED, _State.ENDED))
_FLOWING: Final = frozenset((_State.RECEIVING, _State.CLOSING, _State.SEALING))


class Receiver:
    """The receiver's machine. Its clock is any that only moves forward; times are seconds.

    Args:
        payload_limit: The largest payload in bytes.
        manifest: Empty; gets the offered entries.
        now: The time.

    Attributes:
        manifest: The entries so far.
        skip_errors: Whether one failed entry leaves the others alone; the sender says so.
        transfer_id: Which transfer it is, 16 bytes.
        offered_proof: By which the sender claims to go on with it, 32 bytes, or none; :meth:`prove` must answer it.
    """

    def __init__(
        self,
        *,
        payload_limit: int,
        manifest: Manifest,
        now: float,  # noqa: ARG002 - one shape for every machine
    ) -> None:
        self.manifest = manifest
        self.skip_errors = False
        self.transfer_id = b""
        self.offered_proof = b""
        self._proof_due = False
        self._proven = False  # this side's proof has been queued
        self._state = _State.WAITING
        self._out = Replies(payload_limit)
        self._events: deque[TransferEvent] = deque()
        self._status = bytearray()
        self._ops = OpQueue(manifest, self._status)
        self._offer: OfferReader | None = OfferReader(manifest, self._status)
        self._next = 0  # no wanted file below is still to come
        self._current: ArrivingFile | None = None
        self._files: dict[int, ArrivingFile] = {}  # begun and not judged, or with repairs to come
        self._parts: dict[int, Part] = {}  # what an earlier session left of files that are not begun
        self._live = 0  # those of them that are not judged
        self._answered = 0  # directories and links that the sink answered for
        self._sealing = False
        self._repairs = 0
        self._held = False
        self._failures_told = 0
        self._moved = 0
        self._tally = Tally()
        self._durable: int | None = None

    # What the shell asks

    @property
    def state(self) -> ReceiverState:
        """Where the machine is."""
        return self._state

    @property
    def backlog(self) -> int:
        """Memory, in bytes, of the operations that wait; the shell takes no payload in while it is much."""
        return self._ops.backlog

    @property
    def done(self) -> bool:
        """Nothing more will come in or go out."""
        return self._state is _State.ENDED and not self._out.backlog

    def events(self) -> Iterator[TransferEvent]:
        """Yield what happened since the last time."""
        while self._events:
            yield self._events.popleft()

    def outputs(self) -> Iterator[list[BlockData]]:
        """Yield payloads for the session, each a list of buffers to be joined; draw only while it takes them."""
        while (payload := self._out.take()) is not None:
            yield payload

    def ops(self) -> Iterator[sink.SinkOp]:
        """Yield what the sink shall do, in order."""
        while (op := self._ops.take()) is not None:
            yield op

    # What a person decides, and the checkpoint

    def prove(self, proof: bytes, now: float) -> None:  # noqa: ARG002 - one shape for every input
        """Answer :class:`~p2pal.transfer.events.ProofWanted`, once, before :meth:`accept`.

        Args:
            proof: This side's proof that it was there, 32 bytes; empty if it was not, or the sender's is wrong.
            now: The time.

        Raises:
            RuntimeError: If no proof is wanted, or any more.
            ValueError: If it has another length.
        """
        check_call(RECEIVER[self._state], "prove")
        answer = wire.Proof(proof)
        if self._state is _State.ENDED:
            return
        if not self._proof_due:
            raise RuntimeError("no proof is wanted")
        self._proof_due = False
        self._proven = bool(proof)
        self._out.add(answer)

    def accept(
        self, now: float, *, skip: Collection[int] = (), resume: Resume | None = None, proof: bytes = b""
    ) -> None:
        """Consent to exactly the offer that :class:`~p2pal.transfer.events.OfferComplete` told of.

        Args:
            now: The time.
            skip: Entries to be left out and reported as declined; a directory's contents are named one by one.
            resume: Where an earlier session of this transfer stopped, which the sender proved to know.
            proof: This side's proof that it was there, 32 bytes.

        Raises:
            RuntimeError: If a proof is wanted that :meth:`prove` has not given.
            ValueError: If an entry to be skipped was not offered, or something is to go on without a proof, here and
                there.
        """
        check_call(RECEIVER[self._state], "accept")
        skipped = sorted(set(skip))
        if skipped and not 0 <= skipped[0] <= skipped[-1] < len(self._status):
            raise ValueError("no such entry to skip")
        if self._state is _State.ENDED:
            return
        if self._proof_due:
            raise RuntimeError("the proof comes first")
        if resume is not None and not (proof and self._proven):
            raise ValueError("nothing can go on without a proof")
        self._state = _State.RECEIVING
        self._tally.began = now
        lacking = Lacking(self.manifest, self._status, skipped, resume, self._out.max_ranges)
        self._parts = lacking.parts
        self._events.append(events.Started(resume is not None, lacking.files, lacking.bytes))
        self._status[:] = self._status.translate(_WANT)
        self._out.add(wire.Accept(self.manifest.digest(), proof))
        for start, stop in lacking.done:
            for index in range(start, stop):
                self._note_end(index, None, "")
        self._out.flush()
        self._out.want(lacking.wants())
        for start, stop in lacking.declined:
            for index in range(start, stop):
                self._judge(index, Reason.DECLINED, "")
        self._out.flush()

    def refuse(self, reason: Reason, text: str, now: float) -> None:
        """Say no to the offer, also before it is complete."""
        check_call(RECEIVER[self._state], "refuse")
        self._stop(reason, text, now)

    # What the peer says

    def handle_payload(self, payload: bytes | memoryview, now: float) -> None:
        """Take one payload from the peer; it must not change afterwards, since operations hold views of it.

        Raises:
            ProtocolError: If it holds what the protocol does not allow here. :meth:`cancel` then ends the machine.
        """
        if self._state is _State.ENDED:
            return
        for record in wire.decode_payload(payload):
            check_record(RECEIVER[self._state], type(record))
            if self._state is _State.STOPPED or (self._state is _State.SEALING and type(record) is wire.Abort):
                continue  # what was under way when it happened; or too late to matter
            if type(record) is wire.Chunk:
                self._on_chunk(record)
            elif type(record) is wire.FileDone:
                self._on_file_done(record)
            else:
                self._on_record(record, now)
                if self.state is _State.ENDED:
                    return
        self._report_moved()
        self._settle()
        self._out.flush()

    def _on_record(self, record: wire.Record, now: float) -> None:
        match record:
            case wire.PieceDone():
                self._on_piece_done(record)
            case wire.FileFailed():
                self._on_file_failed(record, now)
            case wire.OfferBegin():
                self.offered_proof = record.proof
                self.skip_errors = record.skip_errors
                self.transfer_id = record.transfer_id
                self._state = _State.OFFERING
                if record.proof:
                    self._proof_due = True
                    self._events.append(events.ProofWanted())
            case wire.OfferPart() if self._offer is not None:
                self._offer.add(record)
            case wire.OfferEnd() if self._offer is not None:
                complete = self._offer.end(record)
                self._tally.left_out = record.left_out
                self._offer = None
                self._events.append(complete)
                self._state = _State.OFFERED
            case wire.AllSent():
                self._on_all_sent(record)
            case wire.Abort():
                self._stop(record.reason, record.text, now, by_peer=True)

    def _begin(self, index: int) -> ArrivingFile:
        """Begin the next wanted file, which must be this one."""
        self._check_turn(index)
        if self._live >= 2 * MAX_UNJUDGED:
            raise ProtocolError("the other side does not wait for verdicts")
        self._ops.make_directories(index)
        entry = self.manifest[index]
        part = self._parts.pop(index, None) if self._parts else None
        if part is None:
            file = ArrivingFile(index, entry.size)
        else:
            file = ArrivingFile(index, entry.size, part.wanted, part.head)
        self._status[index] |= BEGUN
        self._files[index] = self._current = file
        self._live += 1
        self._ops.add(sink.Begin(index, entry, file.piece_size, None if part is None else part.claim))
        self._events.append(events.EntryStarted(index, 0 if part is None else part.done))
        return file

    def _check_turn(self, index: int) -> None:
        if self._current is not None or self._status.find(_WANTED_FILE, self._next) != index:
            raise ProtocolError("the other side sent a file that was not asked for, or not in its turn")

    def _on_chunk(self, chunk: wire.Chunk) -> None:
        file = self._current
        if file is None or file.index != chunk.entry:
            known = self._files.get(chunk.entry)
            if known is not None:
                self._on_repair_chunk(known, chunk)
                return
            file = self._begin(chunk.entry)
        if file.dead:
            return
        file.chunk(chunk)
        self._ops.write(sink.Write(chunk.entry, chunk.offset, chunk.data))
        self._moved += len(chunk.data)

    def _on_repair_chunk(self, file: ArrivingFile, chunk: wire.Chunk) -> None:
        file.repair_chunk(chunk)
        if not file.dead:
            self._ops.write(sink.Write(chunk.entry, chunk.offset, chunk.data))

    def _on_piece_done(self, done: wire.PieceDone) -> None:
        file = self._current
        if done.entry in self._parts:  # a file of which only the digest is wanted
            file = self._begin(done.entry)
        if file is not None and file.index == done.entry:
            if not file.dead and file.piece_done(done.piece):
                self._ops.add(sink.CheckPiece(done.entry, done.piece, done.leaf))
            return
        file = self._files.get(done.entry)
        if file is None:
            raise ProtocolError("the other side sent a piece that was not asked for")
        file.repair_done(done.piece)
        if file.dead:
            self._forget(file)
            return
        if file.pieces > 1:
            self._ops.add(sink.CheckPiece(done.entry, done.piece, done.leaf))
        self._finish(file)

    def _on_file_done(self, done: wire.FileDone) -> None:
        file = self._current
        if file is None or file.index != done.entry:
            file = self._begin(done.entry)
        if file.dead:
            self._close(file)
            return
        file.file_done(done.digest)
        self._close(file)
        self._finish(file)

    def _close(self, file: ArrivingFile) -> None:
        """The file's first passage is over."""
        self._report_moved()
        self._current = None
        self._next = file.index + 1
        self._forget(file)

    def _finish(self, file: ArrivingFile) -> None:
        """Have the file verified and finished, once everything of it is there."""
        if file.digest is not None and not file.finishing and not file.repairing:
            file.finishing, file.repaired = True, False
            self._ops.add(sink.Finish(file.index, file.digest))

    def _on_file_failed(self, failed: wire.FileFailed, now: float) -> None:
        index = failed.entry
        current, file = self._current, self._files.get(index)
        self._failures_told += self._state is _State.RECEIVING
        if current is not None and current.index == index:
            if not current.dead:
                self._lay_aside(current, failed.reason, failed.text)
            self._close(current)
        elif file is not None and file.repairing:
            if not file.dead:
                self._lay_aside(file, failed.reason, failed.text)
            del self._files[index]
        elif (
            file is None and index < len(self._status) and self._status[index] & (BEGUN | JUDGED | OK) == BEGUN | JUDGED
        ):
            return  # it had failed here before
        else:
            self._check_turn(index)
            self._parts.pop(index, None)
            if failed.reason is Reason.DECLINED:  # what an earlier session left of it may go
                self._ops.add(sink.Discard(index, given_up=True))
            self._judge(index, failed.reason, failed.text)
            self._next = index + 1
        if not self.skip_errors and failed.reason is not Reason.DECLINED:
            self._stop(Reason.BATCH, "", now)

    def _on_all_sent(self, record: wire.AllSent) -> None:
        if self._current is not None or self._status.find(_WANTED_FILE, self._next) >= 0:
            raise ProtocolError("the other side ended before every file was sent")
        if record.failed != self._failures_told:
            raise ProtocolError("the other side's totals are not those of its files")
        self._state = _State.CLOSING
        self._ops.make_directories(len(self._status))

    def _report_moved(self) -> None:
        if self._moved and self._current is not None:
            self._events.append(events.BytesMoved(self._current.index, self._moved))
        self._moved = 0

    # What the disk answers

    def handle_results(self, results: Iterable[sink.SinkResult], now: float) -> None:
        """Take the sink's answers, in the order of each file's operations.

        Raises:
            RuntimeError: If it says that all is sealed but has not answered for every entry: a bug in the sink.
        """
        for result in results:
            if self._state is _State.ENDED:
                return
            if isinstance(result, sink.EntryDone):
                self._on_entry_done(result.index)
            elif isinstance(result, sink.WriteFailed):
                self._on_entry_failed(result, now)
            elif isinstance(result, sink.EntryRenamed):
                self._events.append(events.EntryNamed(result.index, result.name))
            elif isinstance(result, sink.Sealed):
                self._on_sealed(now)
            elif (file := self._files.get(result.index)) is not None and not file.dead:
                if isinstance(result, sink.PieceBad):
                    self._ask_again(file, result.piece, now)
                else:
                    self._on_digest_bad(file, now)
        self._settle()
        self._out.flush()

    def _on_entry_done(self, index: int) -> None:
        if self._status[index] & KIND != EntryKind.FILE:
            self._answered += 1
            self._judge(index)
            return
        file = self._files.get(index)
        if file is None or file.dead:
            return  # given up meanwhile
        self._live -= 1
        del self._files[index]
        self._judge(index, digest=file.digest or b"")

    def _on_entry_failed(self, failed: sink.WriteFailed, now: float) -> None:
        if self._status[failed.index] & KIND != EntryKind.FILE:
            self._answered += 1
            self._judge(failed.index, failed.reason, failed.text)
        else:
            file = self._files.get(failed.index)
            if file is None or file.dead:
                return
            self._bury(file, failed.reason, failed.text)
        self._after_failure(failed.reason, now, failed.text)

    def _ask_again(self, file: ArrivingFile, piece: int, now: float) -> None:
        if self._state is _State.STOPPED:
            self._suspend(file)
            return
        if file.may_be_said_twice(piece):
            return
        if self._repairs >= MAX_REPAIRS or not file.ask_again(piece):
            self._lay_aside(file, Reason.VERIFY, "")  # its other pieces are right
            self._after_failure(Reason.VERIFY, now)
            return
        self._repairs += 1
        self._ops.add(sink.ResetPiece(file.index, piece))
        self._out.add(wire.PieceAgain(file.index, piece))

    def _on_digest_bad(self, file: ArrivingFile, now: float) -> None:
        file.finishing = False
        if self._state is _State.STOPPED:
            self._suspend(file)
        elif file.repairing:
            return  # that is why; it is finished again when they are here
        elif file.repaired:
            self._finish(file)
        elif file.pieces == 1:
            self._ask_again(file, 0, now)
        elif unchecked := file.unchecked():  # the sender knew their leaves and did not say them
            for piece in unchecked:
                if not file.dead:
                    self._ask_again(file, piece, now)
        else:  # every piece is what the sender says, and the whole is not: none of them can be believed
            self._ops.add(sink.Discard(file.index))
            self._bury(file, Reason.VERIFY, "")
            self._after_failure(Reason.VERIFY, now)

    def _lay_aside(self, file: ArrivingFile, reason: Reason, text: str) -> None:
        """Fail a file, and keep what is here of it for another session, unless a person gave it up."""
        given_up = reason is Reason.DECLINED
        self._ops.add(sink.Discard(file.index, given_up=True) if given_up else sink.Suspend(file.index))
        self._bury(file, reason, text)

    def _suspend(self, file: ArrivingFile) -> None:
        """Keep what is here of a file for another session; it gets no verdict in this one."""
        self._ops.add(sink.Suspend(file.index))
        self._live -= 1
        file.dead = True
        self._forget(file)

    def _bury(self, file: ArrivingFile, reason: Reason, text: str) -> None:
        self._live -= 1
        file.dead = True
        self._judge(file.index, reason, text)
        self._forget(file)

    def _forget(self, file: ArrivingFile) -> None:
        """Drop a dead file of which nothing more will come."""
        if file.dead and not file.repairing and file is not self._current:
            self._files.pop(file.index, None)

    def _judge(self, index: int, reason: Reason | None = None, text: str = "", digest: bytes = b"") -> None:
        """Say, once for each entry, how it ended; without a reason it ended well."""
        self._note_end(index, reason, text)
        if reason is None:
            self._events.append(events.EntryFinished(index, digest))
        else:
            self._events.append(events.EntryFailed(index, reason, text))

    def _note_end(self, index: int, reason: Reason | None, text: str) -> None:
        self._status[index] |= JUDGED | OK if reason is None else JUDGED
        self._tally.add(self._status[index] & KIND == EntryKind.FILE, reason)
        self._out.judge(index, reason, text)

    def hold(self, held: bool, now: float) -> None:  # noqa: ARG002 - one shape for every input
        """The disk can take nothing for now, or can again: tell the sender. Ignored when nothing flows."""
        if held is not self._held and self._state in _FLOWING:
            self._held = held
            self._out.add(wire.Hold(held))

    def note_durable(self, count: int | None) -> None:
        """Take how many bytes of the transfer are durable by now; None where nobody counts. Said with the next word."""
        self._durable = count

    def tell_durable(self, now: float) -> None:  # noqa: ARG002 - one shape for every input
        """Tell the sender what :meth:`note_durable` was given, for its screen. Ignored when nothing flows."""
        if self._durable is not None and self._state in _FLOWING:
            self._out.add(wire.Hold(self._held, durable=self._durable))

    def _after_failure(self, reason: Reason, now: float, text: str = "") -> None:
        if reason is Reason.DISK:
            self._stop(Reason.DISK, text, now)
        elif not self.skip_errors:
            self._stop(Reason.BATCH, "", now)

    # The end

    def _settle(self) -> None:
        """Seal once every file is judged."""
        if self._live or self._sealing or self._state not in (_State.CLOSING, _State.STOPPED):
            return
        if self._state is _State.CLOSING:
            self._ops.make_links()
            self._state = _State.SEALING
        self._sealing = True
        settled = self._tally.failed == self._tally.given_up
        self._ops.add(sink.Seal(final=self._state is not _State.STOPPED, settled=settled))

    def _on_sealed(self, now: float) -> None:
        unanswered = self._state is not _State.STOPPED and self._answered < self._ops.handed
        if not self._sealing or unanswered:
            raise RuntimeError("the sink sealed before it answered for every entry")
        self._out.flush()
        self._out.add(wire.Complete(self._tally.ok, self._tally.failed, self._durable))
        self._end(now)

    def cancel(self, reason: Reason, text: str, now: float) -> None:
        """Stop the transfer; what is complete stays, and the rest is kept for another session if the disk can."""
        self._stop(reason, text, now)

    def _stop(self, reason: Reason, text: str, now: float, *, by_peer: bool = False) -> None:
        if self._state in _OVER:
            return  # too late: every file is judged already
        if not by_peer:
            self._out.flush()
            self._out.add(wire.Abort(reason, wire.clean_text(text)))
        self._report_moved()
        self._events.append(events.Aborted(reason, text, by_peer))
        if self._tally.began is None:
            self._offer = None
            self._end(now)
            return
        self._state = _State.STOPPED
        self._current = None
        self._parts.clear()
        unfinished = [file for file in self._files.values() if not file.dead and not file.finishing]
        if reason is Reason.DISK and not by_peer:  # otherwise what arrived is worth writing: it is not sent again
            self._ops.drop({file.index for file in unfinished})
        for file in unfinished:
            self._suspend(file)
        self._settle()

    def _end(self, now: float) -> None:
        self._state = _State.ENDED
        self._events.append(self._tally.finished(now))

"""The sending side of a transfer: entries and file blocks in, payloads out. Pure; see :mod:`p2pal.transfer.states`.

The shell gives it what the walk lists, what the peer says and what the source reads; after each input it drains
:meth:`Sender.outputs` while the session takes payloads, then :meth:`Sender.jobs` into the source, then
:meth:`Sender.events`. Jobs are made as earlier ones end, within the limits of :mod:`p2pal.transfer.read_queue`, so that
a million files cost no million jobs; and no file is begun while :data:`~p2pal.wire.pieces.MAX_UNJUDGED` others await
the receiver's verdict, so that what is remembered of those is bounded too. Any other entry costs one byte.

A transfer goes on from an earlier session if the receiver's proof is the expected one and its consent repeats it
(:attr:`Sender.resumed`). Then it may say that files stand at its end already, and want pieces of others.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from p2pal.errors import ProtocolError, UsageError
from p2pal.transfer import events, ops
from p2pal.transfer.events import TransferEvent
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.packer import BlockData, PayloadQueue
from p2pal.transfer.read_queue import BEGUN, CLOSED, FAILED, JUDGED, KIND, WANTED, Flight, Reading
from p2pal.transfer.states import SENDER, SenderState, check_call, check_record
from p2pal.transfer.tally import Tally
from p2pal.wire import transfer as wire
from p2pal.wire.pieces import MAX_UNJUDGED
from p2pal.wire.transfer import Entry, EntryKind, Reason

SETTLE_TIME: Final = 5.0
"""Seconds that a stopped sender waits for the receiver's last verdicts, from the last sign of it on."""

_ENTRY_OVERHEAD: Final = 64  # of an OfferPart with one entry, beside its path and target; rounded up

_State = SenderState
_FLOWING: Final = frozenset((_State.SENDING, _State.SENT))
_OVER: Final = frozenset((_State.STOPPED, _State.ENDED))


class Sender:
    """The sender's machine. Its clock is any that only moves forward; times are seconds.

    Args:
        transfer_id: 16 random bytes, new for each transfer.
        payload_limit: The largest payload in bytes until :meth:`fill_payloads` says otherwise; a full chunk of file
            bytes fills one.
        skip_errors: What cannot be read is left out; otherwise it stops the batch.
        manifest: Empty; gets the entries.
        now: The time.
        proof: To go on with an earlier transfer, this side's proof that it was there; 32 bytes.
        expected: The proof that the receiver of that transfer has, 32 bytes. Another, or none: a new transfer.
        pinned: The code was used before, and only who used it then gets the offer unasked: to anyone else no entry is
            named before :meth:`admit`, and :meth:`cancel` refuses. Needs ``proof``, at the latest by :meth:`prove`.

    Attributes:
        manifest: The entries so far.
        proven: The receiver has answered with the expected proof.
        resumed: Both sides go on with an earlier transfer; not before the receiver has accepted.
    """

    def __init__(
        self,
        transfer_id: bytes,
        *,
        payload_limit: int,
        skip_errors: bool,
        manifest: Manifest,
        now: float,  # noqa: ARG002 - one shape for every machine
        proof: bytes = b"",
        expected: bytes = b"",
        pinned: bool = False,
    ) -> None:
        self.manifest = manifest
        self.proven = False
        self.resumed = False
        self._proof = proof
        self._expected = expected
        self._pinned = pinned  # the offer must not leave yet
        self._proof_due = False
        self._transfer_id = transfer_id
        self._skip_errors = skip_errors
        self._state = _State.WAITING
        self._out = PayloadQueue(payload_limit)
        self._events: deque[TransferEvent] = deque()
        self._status = bytearray()
        self._reading = Reading(manifest, self._status)
        self._offered = 0  # entries that are in the queue or gone
        self._listed = False  # no more will come
        self._muted: set[int] = set()  # given up by the receiver in mid-flight: their bytes need not leave
        self._digests: dict[int, bytes] = {}  # of closed files that await their verdict
        self._sent_failed = 0
        self._judged = 0
        self._files_there = 0  # at the receiver, when files begin to flow; and the bytes of those
        self._bytes_there = 0
        self._held = False
        self._tally = Tally()
        self._deadline: float | None = None
        self._on_way = float("inf")  # when the deadline came last

    # What the shell asks

    @property
    def state(self) -> SenderState:
        """Where the machine is."""
        return self._state

    @property
    def backlog(self) -> int:
        """Bytes that wait for the session; the shell reads no further while they are many."""
        return self._out.backlog

    @property
    def done(self) -> bool:
        """Nothing more will come in or go out."""
        return self._state is _State.ENDED and not self._out.backlog

    def events(self) -> Iterator[TransferEvent]:
        """Yield what happened since the last time."""
        while self._events:
            yield self._events.popleft()

    def jobs(self) -> Iterator[ops.ReadJob]:
        """Yield what the source shall read now, in order; results must come in the same order."""
        while self._reading.ready:
            yield self._reading.ready.popleft()

    def outputs(self) -> Iterator[list[BlockData]]:
        """Yield payloads for the session, each a list of buffers to be joined; draw only while it takes them."""
        while True:
            if self._state is _State.OFFERING and not self._pinned and not self._out.backlog:
                self._offer_more()
            self._fill()
            taken = self._out.take(self._muted)
            if taken is None:
                return
            payload, moved = taken
            for index, count in moved:
                self._events.append(events.BytesMoved(index, count))
            yield payload

    def fill_payloads(self, limit: int) -> None:
        """Let payloads from now on have so many bytes, but never fewer than the constructor was told.

        Nothing else depends on it: pieces, digests and what a transfer that goes on needs are those of the file.
        """
        self._out.full = max(limit, self._out.limit)

    def next_timeout(self) -> float | None:
        """Return when :meth:`handle_timeout` is due, or None."""
        return self._deadline

    def handle_timeout(self, now: float, on_way: int = 0) -> None:
        """Stop waiting for a peer that says no more.

        Args:
            now: The time.
            on_way: Bytes that the session was given and that are not known to have arrived. While they become fewer,
                what the peer shall judge is still under way.
        """
        if self._deadline is None or now < self._deadline:
            return
        if self._out.backlog:  # not even its files have left: the wait begins when they have
            self._deadline = now + SETTLE_TIME
        elif 0 < on_way < self._on_way:  # a slow line: the abort is behind a mebibyte of them
            self._on_way = on_way
            self._deadline = now + SETTLE_TIME
        else:
            self._end(now)

    # The offer

    def prove(self, proof: bytes, expected: bytes) -> None:
        """Go on with an earlier transfer: as the arguments of the constructor, for who learns them only now."""
        check_call(SENDER[self._state], "start")
        self._proof, self._expected = proof, expected

    @property
    def listed(self) -> bool:
        """The list of entries is complete."""
        return self._listed

    def successor(self, now: float, *, pinned: bool) -> Sender:
        """Return a machine that makes the same offer to someone else who joined with the same code.

        Raises:
            RuntimeError: If this one's offer is not complete.
        """
        if not self._listed:
            raise RuntimeError("the offer is not complete")
        limit, skip = self._out.limit, self._skip_errors
        made = Sender(
            self._transfer_id, payload_limit=limit, skip_errors=skip, manifest=self.manifest, now=now, pinned=pinned
        )
        made._status.extend(each & KIND for each in self._status)
        made._listed = True
        made._tally.left_out = self._tally.left_out
        return made

    def start(self, now: float) -> None:  # noqa: ARG002 - one shape for every input
        """The peer is there: let the offer out, or what comes before it if this machine is pinned.

        Raises:
            RuntimeError: If it is pinned and has no proof: there is nothing that the other side could answer.
        """
        check_call(SENDER[self._state], "start")
        if self._pinned and not self._proof:
            raise RuntimeError("a pinned sender needs a proof")
        self._state = _State.OFFERING
        self._proof_due = bool(self._proof)
        self._out.add(wire.OfferBegin(self._transfer_id, self._skip_errors, self._proof))

    def add_entries(self, entries: Iterable[Entry], now: float) -> None:  # noqa: ARG002 - one shape for every input
        """Add what the walk found, parents before their children. Entries get their indices in this order.

        Raises:
            UsageError: If there are more entries or bytes than one transfer can carry, or a path and its link target
                are longer together than a payload.
        """
        check_call(SENDER[self._state], "add")
        longest = self._out.limit - _ENTRY_OVERHEAD
        for entry in entries:
            if self._state in _OVER:
                return
            if len(entry.path) + len(entry.target) > longest:
                raise UsageError("a path is too long for this -chunk-size", hint="use a larger -chunk-size")
            try:
                self.manifest.append(entry)
            except ValueError as error:
                message = f"one transfer carries {error}"
                raise UsageError(message, hint="send it in several parts, or pack it first") from error
            self._status.append(entry.kind)

    def add_failure(self, name: str, reason: Reason, text: str, now: float) -> None:
        """Note what the walk could not list; without ``skip_errors`` it stops the batch."""
        check_call(SENDER[self._state], "add")
        if self._state in _OVER:
            return
        self._tally.left_out += 1
        self._events.append(events.EntryFailed(None, reason, text, name))
        if not self._skip_errors:
            self._stop(Reason.BATCH, "", now)

    def finish_offer(self, now: float) -> None:  # noqa: ARG002 - one shape for every input
        """The walk is complete."""
        check_call(SENDER[self._state], "finish")
        self._listed = True

    def _offer_more(self) -> None:
        manifest, first = self.manifest, self._offered
        if first < len(manifest):
            room = self._out.limit - wire.RECORD_HEADER - 16
            count, entries = manifest.encoded(first, wire.MAX_PART_ENTRIES, room)
            self._out.add_encoded(wire.offer_part(first, count, entries))
            self._offered += count
        elif self._listed:
            self._state = _State.OFFERED
            self._out.add(
                wire.OfferEnd(len(manifest), manifest.files, manifest.total, manifest.digest(), self._tally.left_out)
            )

    # What the peer says

    def handle_payload(self, payload: bytes | memoryview, now: float) -> None:
        """Take one payload from the peer.

        Raises:
            ProtocolError: If it holds what the protocol does not allow here. :meth:`cancel` then ends the machine.
        """
        if self._state is _State.ENDED:
            return
        if self._deadline is not None:
            self._deadline = now + SETTLE_TIME
        for record in wire.decode_payload(payload):
            check_record(SENDER[self._state], type(record))
            self._on_record(record, now)
            if self.state is _State.ENDED:
                return
        self._fill()

    def _on_record(self, record: wire.Record, now: float) -> None:
        match record:
            case wire.Verdicts():
                self._on_verdicts(record)
            case wire.Complete():
                self._on_complete(record, now)
            case wire.Abort():
                self._stop(record.reason, record.text, now, by_peer=True)
            case wire.Proof() if self._state is not _State.STOPPED:
                self._on_proof(record)
            case wire.Accept():
                self._on_accept(record, now)
            case wire.Want() if self._state is _State.AGREED:
                self._on_want(record)
            case wire.PieceAgain() if self._state in _FLOWING:
                self._reading.want_again(record.entry, record.piece)
            case wire.Hold():
                self._on_hold(record)

    def _on_proof(self, record: wire.Proof) -> None:
        if not self._proof_due:
            raise ProtocolError("the other side proved what it was not asked for, or twice")
        self._proof_due = False
        if self._is_expected(record.proof):
            self.proven = True
            self._pinned = False
            self._events.append(events.Proven())
        elif self._pinned:
            self._events.append(events.ProofMissing())

    def _is_expected(self, proof: bytes) -> bool:
        return bool(self._expected) and hmac.compare_digest(proof, self._expected)

    def admit(self, now: float) -> None:  # noqa: ARG002 - one shape for every input
        """Let the one who proved nothing have the offer: what :class:`~p2pal.transfer.events.ProofMissing` asks for."""
        check_call(SENDER[self._state], "admit")
        self._pinned = False

    def _on_accept(self, record: wire.Accept, now: float) -> None:
        if self._proof_due:
            raise ProtocolError("the other side consented before it answered with a proof")
        if record.digest != self.manifest.digest():
            raise ProtocolError("the other side consented to another offer than this one")
        self._state = _State.AGREED
        self._tally.began = now
        self.resumed = self.proven and self._is_expected(record.proof)

    def _on_want(self, record: wire.Want) -> None:
        self._reading.want(record, resumed=self.resumed)
        if record.last:
            self._state = _State.SENDING
            there = self._bytes_there + self._reading.there
            self._events.append(events.Started(self.resumed, self._files_there, there))

    def _on_hold(self, record: wire.Hold) -> None:
        self._on_durable(record.durable)
        if record.held is not self._held and self._state is not _State.STOPPED:
            self._held = record.held
            self._events.append(events.Held(record.held, record.reason))

    def _on_durable(self, count: int | None) -> None:
        if count is not None:
            self._events.append(events.Durable(min(count, self.manifest.total)))

    def _on_verdicts(self, record: wire.Verdicts) -> None:
        status = self._status
        for verdict in record.verdicts:
            index = verdict.entry
            if index >= len(status) or status[index] & JUDGED:
                raise ProtocolError("the other side judged an entry twice, or one that was not offered")
            was = status[index]
            is_file = was & KIND == EntryKind.FILE
            if verdict.ok:
                if is_file and was & (CLOSED | FAILED) != CLOSED and (not self.resumed or was & WANTED):
                    raise ProtocolError("the other side claims a file that it was not sent")
                self._tally.add(is_file, None)
                if self.resumed and self._state is _State.AGREED:
                    self._files_there += is_file
                    self._bytes_there += self.manifest[index].size
                else:
                    self._events.append(events.EntryFinished(index, self._digests.pop(index, b"")))
            else:
                self._digests.pop(index, None)
                if was & (BEGUN | CLOSED | FAILED) == BEGUN:
                    self._muted.add(index)
                if not was & FAILED:
                    self._fail(index, verdict.reason, verdict.text)
            status[index] |= JUDGED
            self._judged += 1

    def _on_complete(self, record: wire.Complete, now: float) -> None:
        counts = (self._tally.ok, self._tally.failed)
        if self._state is _State.SENT and (self._judged < len(self._status) or (record.ok, record.failed) != counts):
            raise ProtocolError("the other side's totals are not those of its verdicts")
        self._on_durable(record.durable)
        self._end(now)

    # What the source read

    def handle_source(self, results: Iterable[ops.SourceResult], now: float) -> None:
        """Take what the source read, in the order of the jobs.

        Raises:
            RuntimeError: If it is not what the jobs asked for: a bug in the source.
        """
        for result in results:
            if self._state not in _FLOWING:
                return
            flight = self._reading.flights[0] if self._reading.flights else None
            if flight is None or flight.job.index != result.index:
                raise RuntimeError("the source answered another job")
            if not flight.started:
                flight.started = True
                if not flight.job.again:
                    there = 0 if flight.job.wanted is None else flight.job.entry.size - flight.left
                    self._events.append(events.EntryStarted(result.index, there))
            if isinstance(result, ops.BlockRead):
                self._on_block(flight, result)
            elif isinstance(result, ops.PieceRead):
                self._on_piece(flight, result)
            elif isinstance(result, ops.FileRead):
                self._on_file(flight, result)
            elif isinstance(result, ops.PieceReread):
                self._on_comparing(flight)
            else:
                self._on_failed(flight, result, now)
        self._fill()

    def _on_block(self, flight: Flight, block: ops.BlockRead) -> None:
        count = len(block.data)
        flight.take_block(block.offset, count)
        self._reading.owed -= count
        if block.index not in self._muted:
            self._out.add_block(block.index, block.offset, block.data, flight.job.again)

    def _on_piece(self, flight: Flight, piece: ops.PieceRead) -> None:
        flight.take_piece(piece.piece)
        job = flight.job
        if job.again or (job.stop > 1 and job.index not in self._muted):
            self._out.add(wire.PieceDone(piece.index, piece.piece, piece.leaf))

    def _on_comparing(self, flight: Flight) -> None:
        if not flight.compared:
            flight.compared = True
            self._events.append(events.EntryCompared(flight.job.index))

    def _on_file(self, flight: Flight, read: ops.FileRead) -> None:
        if flight.left:
            raise RuntimeError("the source ended a file early")
        index = read.index
        self._reading.flights.popleft()
        if flight.job.again:
            return
        if index in self._muted:  # failed at the receiver long ago; this only lets the order of files go on
            self._close_failed(index, Reason.OTHER, "")
        else:
            self._out.add(wire.FileDone(index, read.digest))
            self._status[index] |= CLOSED
            self._digests[index] = read.digest

    def _on_failed(self, flight: Flight, failed: ops.ReadFailed, now: float) -> None:
        index = failed.index
        self._reading.flights.popleft()
        self._reading.owed -= flight.left
        status = self._status[index]
        if status & FAILED:
            return  # a second repair of a file that the first one failed
        if not status & JUDGED:
            self._fail(index, failed.reason, failed.text)
        self._close_failed(index, failed.reason, failed.text)
        if not status & JUDGED and not self._skip_errors and failed.reason is not Reason.DECLINED:
            self._stop(Reason.BATCH, "", now, keep=True)

    def _close_failed(self, index: int, reason: Reason, text: str) -> None:
        self._digests.pop(index, None)
        self._status[index] |= FAILED
        self._sent_failed += 1
        self._out.add(wire.FileFailed(index, reason, wire.clean_text(text)))

    def _fail(self, index: int, reason: Reason, text: str) -> None:
        self._tally.add(self._status[index] & KIND == EntryKind.FILE, reason)
        self._events.append(events.EntryFailed(index, reason, text))

    def _fill(self) -> None:
        """Make jobs up to the limits; close the stream once the last file is closed."""
        if self._state not in _FLOWING:
            return
        self._reading.fill(self._out.backlog, files=len(self._digests) < MAX_UNJUDGED)
        if self._state is _State.SENDING and self._reading.exhausted:
            self._state = _State.SENT
            self._out.add(wire.AllSent(self._sent_failed))

    # The end

    def cancel(self, reason: Reason, text: str, now: float) -> None:
        """Stop the transfer; what the receiver has complete stays."""
        self._stop(reason, text, now)

    def _stop(self, reason: Reason, text: str, now: float, *, by_peer: bool = False, keep: bool = False) -> None:
        """Abort. ``keep`` lets what is queued leave first: files that are complete arrive as such."""
        if self._state in _OVER:
            return
        if not keep:
            self._out.clear()
        if not by_peer and self._state is not _State.WAITING:
            self._out.add(wire.Abort(reason, wire.clean_text(text)))
        self._reading.clear()
        self._events.append(events.Aborted(reason, text, by_peer))
        if self._tally.began is None:
            self._end(now)
        else:
            self._state = _State.STOPPED
            self._deadline = now + SETTLE_TIME

    def _end(self, now: float) -> None:
        self._state = _State.ENDED
        self._deadline = None
        self._events.append(self._tally.finished(now))

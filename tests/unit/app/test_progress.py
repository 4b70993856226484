from __future__ import annotations

from msgspec.structs import replace

from p2pal.app.events import AnyEvent, Comparing, FileDelivered, FileNotDelivered, Progress, Summary
from p2pal.app.progress import Tracker
from p2pal.errors import Interrupted, PartialFailure, Refused
from p2pal.transfer.events import (
    Aborted,
    BytesMoved,
    Durable,
    EntryCompared,
    EntryFailed,
    EntryFinished,
    EntryStarted,
    Finished,
)
from p2pal.transfer.manifest import Manifest
from p2pal.transfer.retention import Fate
from p2pal.wire.transfer import Entry, EntryKind, Reason


def make() -> tuple[Tracker, list[AnyEvent]]:
    manifest = Manifest()
    manifest.append(Entry(b"tree", EntryKind.DIRECTORY, 0, 0o755, 0, b""))
    manifest.append(Entry(b"tree/a", EntryKind.FILE, 1000, 0o644, 0, b""))
    manifest.append(Entry(b"tree/\xff", EntryKind.FILE, 500, 0o644, 0, b""))
    manifest.append(Entry(b"tree/link", EntryKind.LINK, 0, 0o777, 0, b"a"))
    events: list[AnyEvent] = []
    tracker = Tracker("send", manifest, events.append, 0.0)
    tracker.begin(100.0)
    return tracker, events


def progress(events: list[AnyEvent]) -> Progress:
    assert isinstance(events[-1], Progress)
    return events[-1]


def test_bytes_are_counted_for_the_file_and_for_all() -> None:
    tracker, events = make()
    tracker.handle(EntryStarted(1))
    tracker.handle(BytesMoved(1, 600))
    tracker.progress(101.0)
    assert progress(events) == Progress(
        done=600, total=1500, files_done=0, files_failed=0, files=2, rate=600.0, eta=1.5,
        name="tree/a", file_done=600, file_size=1000,
    )  # fmt: skip


def test_what_is_on_its_way_has_not_arrived() -> None:
    tracker, events = make()
    tracker.handle(EntryStarted(1))
    tracker.handle(BytesMoved(1, 600))
    tracker.progress(101.0, in_flight=9999)
    assert (progress(events).done, progress(events).file_done) == (0, 0)
    tracker.progress(102.0, in_flight=250)
    assert (progress(events).done, progress(events).file_done) == (350, 350)


def test_what_arrived_is_not_taken_back_by_a_record_on_its_way() -> None:
    tracker, events = make()
    tracker.handle(EntryStarted(1))
    tracker.handle(BytesMoved(1, 600))
    tracker.progress(101.0, in_flight=250)
    tracker.progress(102.0, in_flight=267)
    assert progress(events).done == 350


def test_the_next_file_starts_from_nothing() -> None:
    tracker, events = make()
    tracker.handle(EntryStarted(1))
    tracker.handle(BytesMoved(1, 1000))
    tracker.handle(EntryStarted(2))
    tracker.handle(BytesMoved(1, 50))  # a repair of the one before
    tracker.handle(BytesMoved(2, 10))
    tracker.progress(101.0)
    assert progress(events).done == 1060
    assert (progress(events).name, progress(events).file_done) == ("tree/\udcff", 10)


def test_only_files_are_reported_as_files() -> None:
    tracker, events = make()
    for index, digest in ((0, b""), (1, b"\xab"), (3, b"")):
        tracker.handle(EntryFinished(index, digest))
    assert events == [FileDelivered(name="tree/a", size=1000, digest="ab")]


def test_a_file_that_is_read_again_is_named() -> None:
    tracker, events = make()
    tracker.handle(EntryCompared(1))
    assert events == [Comparing(name="tree/a")]


def test_failures_have_names_and_words() -> None:
    tracker, events = make()
    tracker.handle(EntryFailed(1, Reason.READ, "Input/output error"))
    tracker.handle(EntryFailed(None, Reason.READ, "", "tree/fifo"))
    assert events == [
        FileNotDelivered(name="tree/a", reason="could not be read: Input/output error"),
        FileNotDelivered(name="tree/fifo", reason="could not be read"),
    ]
    tracker.progress(101.0)
    assert progress(events).files_failed == 2


def test_nothing_new_is_not_told_again_once_the_rate_is_known_to_be_zero() -> None:
    tracker, events = make()
    tracker.progress(101.0)
    tracker.progress(102.0)
    assert len(events) == 1


def test_a_summary_ends_what_ran() -> None:
    tracker, events = make()
    tracker.handle(BytesMoved(1, 1500))
    tracker.handle(Finished(ok=4, failed=0, files_ok=2, files_failed=0, left_out=0, seconds=3.0))
    assert tracker.conclude("direct, host udp") is None  # the farewell took two seconds: nothing moved then
    assert progress(events[:-1]).done == 1500
    assert events[-1] == Summary(
        role="send", ok=True, files=2, failed=0, total=1500, seconds=3.0, rate=500.0, path="direct, host udp",
        done=1500, size=1500,
    )  # fmt: skip


def test_a_failure_is_in_the_summary_and_raised() -> None:
    tracker, events = make()
    tracker.handle(EntryFailed(1, Reason.READ, ""))
    tracker.handle(Finished(ok=3, failed=1, files_ok=1, files_failed=1, left_out=0, seconds=3.0))
    assert isinstance(tracker.conclude(""), PartialFailure)
    assert isinstance(events[-1], Summary)
    assert (events[-1].ok, events[-1].files, events[-1].failed) == (False, 1, 1)


def test_what_never_ran_has_no_summary() -> None:
    tracker, events = make()
    tracker.handle(Aborted(Reason.DECLINED, "", True))
    tracker.handle(Finished(ok=0, failed=0, files_ok=0, files_failed=0, left_out=0, seconds=0.0))
    assert isinstance(tracker.conclude(""), Refused)
    assert events == []


def test_what_was_there_before_counts_as_arrived_but_not_for_the_rate() -> None:
    tracker, events = make()
    tracker.begin(200.0, files=1, done=1000)
    tracker.handle(EntryStarted(2, 300))  # so much of it is there, and in the thousand
    tracker.handle(BytesMoved(2, 100))
    assert (tracker.durable, tracker.total, tracker.files_done) == (1000, 1500, 1)
    tracker.progress(201.0)
    assert progress(events) == Progress(
        done=1100, total=1500, files_done=1, files_failed=0, files=2, rate=100.0, eta=4.0,
        name="tree/\udcff", file_done=400, file_size=500,
    )  # fmt: skip


def test_what_is_on_its_way_is_not_taken_from_what_was_there_before() -> None:
    tracker, events = make()
    tracker.begin(200.0, files=1, done=1000)
    tracker.handle(EntryStarted(2))
    tracker.handle(BytesMoved(2, 100))
    tracker.progress(201.0, in_flight=9999)
    assert (progress(events).done, progress(events).file_done) == (1000, 0)
    tracker.progress(202.0, in_flight=40)
    assert (progress(events).done, tracker.durable) == (1060, 1000)


def test_a_summary_tells_what_moved_in_this_session() -> None:
    tracker, events = make()
    tracker.begin(200.0, files=1, done=1000)
    tracker.handle(BytesMoved(2, 500))
    tracker.handle(EntryFinished(2, b"\xab"))
    tracker.handle(Finished(ok=4, failed=0, files_ok=2, files_failed=0, left_out=0, seconds=2.0))
    assert tracker.conclude("") is None
    last, summary = events[-2:]
    assert isinstance(last, Progress)
    assert (last.done, last.files_done) == (1500, 2)
    assert isinstance(summary, Summary)
    assert (summary.total, summary.rate, summary.files) == (500, 250.0, 2)


def test_what_was_not_durable_when_it_was_stopped_is_not_claimed() -> None:
    tracker, events = make()
    tracker.handle(EntryStarted(1))
    tracker.handle(BytesMoved(1, 900))
    tracker.progress(101.0, in_flight=300)
    assert progress(events).done == 600
    tracker.handle(Aborted(Reason.CANCELLED, "", False))
    tracker.handle(Durable(512))
    tracker.handle(Finished(ok=1, failed=0, files_ok=0, files_failed=0, left_out=0, seconds=2.0))
    assert isinstance(tracker.conclude(""), Interrupted)
    last, summary = events[-2:]
    assert isinstance(last, Progress)
    assert isinstance(summary, Summary)
    assert (last.done, summary.total, summary.done, summary.size, summary.stopped) == (512, 512, 512, 1500, True)
    tracker.settle(tracker.durable)
    assert events[-1] is summary  # that was said


def test_what_is_durable_is_what_the_receiver_says_or_its_verdicts() -> None:
    tracker, _ = make()
    tracker.handle(EntryStarted(1))
    tracker.handle(BytesMoved(1, 1000))
    assert tracker.durable == 0
    tracker.handle(Durable(700))
    assert tracker.durable == 700
    tracker.handle(EntryFinished(1, b""))
    assert tracker.durable == 1000
    tracker.handle(EntryStarted(2))
    tracker.handle(BytesMoved(2, 400))
    tracker.handle(Durable(1300))
    tracker.handle(EntryFailed(2, Reason.CHANGED, ""))
    assert tracker.durable == 1000  # until the receiver says that it keeps what came of it
    tracker.handle(Durable(1200))
    assert tracker.durable == 1200
    tracker.handle(Durable(9999))
    assert tracker.durable == 1500


def test_bytes_of_a_file_that_failed_do_not_count_as_arrived() -> None:
    tracker, events = make()
    tracker.handle(EntryStarted(1))
    tracker.handle(BytesMoved(1, 600))
    tracker.progress(101.0)
    assert progress(events).done == 600
    tracker.handle(EntryFailed(1, Reason.READ, ""))
    tracker.handle(EntryStarted(2))
    tracker.handle(BytesMoved(2, 10))
    tracker.progress(102.0)
    assert (progress(events).done, progress(events).files_failed) == (10, 1)


def test_who_is_stopped_when_all_has_arrived_has_it_all_the_same() -> None:
    tracker, events = make()
    tracker.handle(BytesMoved(1, 1500))
    tracker.handle(Aborted(Reason.CANCELLED, "", False))
    tracker.handle(Finished(ok=4, failed=0, files_ok=2, files_failed=0, left_out=0, seconds=2.0))
    assert tracker.conclude("") is None
    summary = events[-1]
    assert isinstance(summary, Summary)
    assert (summary.ok, summary.stopped, summary.done) == (True, False, 1500)


def test_only_what_was_delivered_or_given_up_is_settled() -> None:
    finished = Finished(ok=4, failed=0, files_ok=2, files_failed=0, left_out=0, seconds=2.0)
    tracker, _ = make()
    assert not tracker.settled
    tracker.handle(finished)
    assert tracker.settled
    assert (tracker.fate(), tracker.fate(told=False)) == (Fate.SETTLED, Fate.UNTOLD)
    tracker.handle(Aborted(Reason.CANCELLED, "", True))
    assert tracker.settled  # stopped when all had arrived
    tracker.handle(replace(finished, ok=3, failed=1))
    assert tracker.fate() is Fate.OPEN
    assert tracker.failed == 1
    tracker.handle(replace(finished, ok=3, failed=1, given_up=1))
    assert tracker.fate() is Fate.SETTLED
    assert tracker.failed == 0
    refused, _ = make()
    refused.handle(replace(finished, ok=0, seconds=0.0))  # it never ran
    assert not refused.settled

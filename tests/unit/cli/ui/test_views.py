from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from tests.unit.cli.kit import CODE, FILE, TREE, Screen, Script, progress, summary

from p2pal.app import events
from p2pal.cli import logs
from p2pal.cli.commands.transfer_run import drive, reporting
from p2pal.cli.signals import Stop
from p2pal.cli.ui.views import JsonView, QuietView, ReceiverView, SenderView, View, offer_lines
from p2pal.errors import PartialFailure, PeerLost


async def play(
    view: View, screen: Screen, script: Sequence[events.Event | None], error: BaseException | None = None
) -> None:
    with reporting(view):
        await drive(Script(script, error), view, screen.board, Stop())


@pytest.mark.parametrize("role", ["send", "receive"])
async def test_a_server_that_was_lost_is_not_one_that_is_not_ready(role: str) -> None:
    screen = Screen()
    away = [events.Waiting(what="server", seconds=20.0), events.Waiting(what="")]
    view: View = SenderView(screen.writer, screen.board, 300.0)
    if role == "receive":
        view = ReceiverView(screen.writer, screen.board, Path())
    await play(view, screen, [*away, CODE if role == "send" else events.Joining(), *away])
    assert [line for line in screen.err if "server" in line or line == "Going on"] == [
        "The signaling server is not ready; waiting up to 0:20",
        "Going on",
        "The signaling server does not answer; waiting up to 0:20",
        "Going on",
    ]


ONE = events.Listed(names=["report.pdf"], files=1, entries=1, total=2_300_000)
MANY = events.Listed(names=["report.pdf", "photos", "c", "d", "e"], files=1204, entries=1300, total=2_300_000_000)


@pytest.mark.parametrize("count", [1, 2, 6, 9])
async def test_further_addresses_follow_the_first_as_far_as_there_is_room(count: int) -> None:
    commands = tuple(f"p2pal recv -server http://192.0.2.{number}:5 zebra-luna-47" for number in range(count))
    code = msgspec.structs.replace(CODE, command=commands[0], commands=commands)

    screen, quiet = Screen(), Screen()
    await play(SenderView(screen.writer, screen.board, 300.0), screen, [code])
    await play(QuietView(quiet.writer, quiet.writer, "send", command=True), quiet, [code])
    further = ["If that address is not reached from there:", *(f"  {each}" for each in commands[1:6])]
    more = [f"  and at {count - 6} more: --json names them all"] if count > 6 else []
    assert screen.out == [
        "Join code: zebra-luna-47",
        f"On the other machine: {commands[0]}",
        *(further if count > 1 else ()),
        *more,
    ]
    assert quiet.out == [commands[0]], "a script types one"


async def test_sender_from_start_to_end() -> None:
    screen = Screen()
    script = [
        ONE,
        CODE,
        events.WrongGuess(left=2),
        events.PeerJoined(),
        events.Connected(path="direct, host udp"),
        events.Accepted(files=1, total=2_300_000, renamed={}),
        progress(1_150_000),
        events.Connected(path="relayed, turn tcp"),
        events.Connected(path="relayed, turn tcp"),
        progress(2_300_000),
        events.FileDelivered(name="report.pdf", size=2_300_000, digest="00"),
        summary("send"),
    ]
    await play(SenderView(screen.writer, screen.board, 300.0), screen, script)
    assert screen.out == [
        "Join code: zebra-luna-47",
        "On the other machine: p2pal recv zebra-luna-47",
        "Sending file: report.pdf (1 file, 2.3 MB) — TTL: 5m",
        "Sent: report.pdf (1 file, 2.3 MB) 100% — SHA-256 verified",
        "1 file in 1.2 s at 1.9 MB/s, direct, host udp",
    ]
    assert screen.err == [
        "Waiting for the other machine…",
        "Someone tried to join with another code (2 more tries left)",
        "Connected: direct, host udp",
        "Waiting for the other side to accept…",
        "0% of 2.3 MB, 1 file",
        "50%, 1.1 MB of 2.3 MB, 1.0 MB/s, 0:01 left, 0 of 1 file, direct, host udp",
        "Path: relayed, turn tcp",
        "100%, 2.3 MB of 2.3 MB, 1.0 MB/s, 0:01 left, 0 of 1 file, relayed, turn tcp",
    ]


async def test_sender_says_names_as_people_do() -> None:
    screen = Screen()
    view = SenderView(screen.writer, screen.board, 5400.0, {"photos"})
    view.listing(MANY)
    await play(view, screen, [CODE, MANY])
    assert screen.out[0] == "Sending: report.pdf, photos/ and 3 more (1,204 files, 2.3 GB) — TTL: 1h30m"
    assert len(screen.out) == 3


async def test_last_wrong_guess_and_another_version() -> None:
    screen = Screen()
    script = [events.WrongGuess(left=0), events.WrongGuess(left=1, reason="version")]
    await play(SenderView(screen.writer, screen.board, 300.0), screen, script)
    assert screen.err == [
        "Someone tried to join with another code (no more tries)",
        "Someone tried to join with another version of p2pal (1 more try left)",
    ]


async def test_failures_are_listed_bounded() -> None:
    screen = Screen()
    failed = [events.FileNotDelivered(name=f"f{index}", reason="could not be read") for index in range(30)]
    script = [events.Accepted(files=32, total=9, renamed={}), *failed, summary("send", ok=False, files=2, failed=30)]
    with pytest.raises(PartialFailure):
        await play(SenderView(screen.writer, screen.board, 300.0), screen, script, PartialFailure("30 failed"))
    assert screen.out == ["Sent 2 of 32 files, 30 failed"]
    assert screen.err[1:3] == ["failed: f0: could not be read", "failed: f1: could not be read"]
    assert len(screen.err) == 1 + 20 + 1
    assert screen.err[-1] == "failed: 10 more files; --json names all"


async def test_receiver_from_start_to_end(tmp_path: Path) -> None:
    screen = Screen()
    script = [
        events.Joining(),
        events.PeerJoined(),
        events.Connected(path="direct, host udp"),
        events.Offered(tops=[FILE], more=0, files=1, entries=1, total=2_300_000),
        events.Accepted(files=1, total=2_300_000, renamed={"report.pdf": "report (1).pdf"}),
        progress(2_300_000),
        summary("receive"),
    ]
    await play(ReceiverView(screen.writer, screen.board, tmp_path), screen, script)
    assert screen.out == [
        "Receiving: report.pdf (2.3 MB)",
        "100% — SHA-256 verified",
        f"Saved: {tmp_path}/report (1).pdf",
        "1 file in 1.2 s at 1.9 MB/s, direct, host udp",
    ]
    assert screen.err[:3] == [
        "Joining…",
        "Connected: direct, host udp",
        "report.pdf exists already: saving as report (1).pdf",
    ]


@pytest.mark.parametrize(
    ("tops", "renamed", "out", "place"),
    [
        ([FILE], {}, ".", "./report.pdf"),
        ([FILE], {"report.pdf": "report.pdf"}, ".", "./report.pdf"),
        ([FILE], {}, "new.pdf", "./new.pdf"),
        ([FILE], {"report.pdf": "new.pdf"}, "new.pdf", "./new.pdf"),
        ([FILE], {"report.pdf": "new (1).pdf"}, "new.pdf", "./new (1).pdf"),
        ([TREE], {"photos": "photos (1)"}, ".", "./photos (1)"),
        ([FILE, TREE], {}, ".", "."),
    ],
)
def test_receiver_says_where_it_is(
    tmp_path: Path, tops: list[events.Top], renamed: dict[str, str], out: str, place: str
) -> None:
    screen = Screen()
    view = ReceiverView(screen.writer, screen.board, tmp_path / out)
    view.show(events.Offered(tops=tops, more=0, files=1, entries=1, total=1))
    view.show(events.Accepted(files=1, total=1, renamed=renamed))
    view.show(summary("receive"))
    assert screen.out[2] == f"Saved: {tmp_path / place}"


async def test_receiver_of_a_tree(tmp_path: Path) -> None:
    screen = Screen()
    offer = events.Offered(tops=[FILE, TREE], more=3, files=1204, entries=1300, total=2_300_000_000)
    script = [
        offer,
        events.Accepted(files=1204, total=2_300_000_000, renamed={}),
        summary("receive", ok=False, files=3, failed=1),
    ]
    await play(ReceiverView(screen.writer, screen.board, tmp_path), screen, script)
    assert screen.out[0] == "Receiving: report.pdf, photos/ and 3 more (1,204 files, 2.3 GB)"
    assert screen.out[1] == "Received 3 of 4 files, 1 failed"


def test_an_offer_is_listed_bounded() -> None:
    link = events.Top(name="latest", kind="link", files=0, size=0)
    offer = events.Offered(tops=[FILE, TREE, link, *[FILE] * 30], more=7, files=1204, entries=1300, total=2_300_000_000)
    lines = offer_lines(offer)
    assert lines[:4] == [
        "Offered: 1,204 files, 2.3 GB",
        "  report.pdf (2.3 MB)",
        "  photos/ (1,203 files, 2.3 GB)",
        "  latest (link)",
    ]
    assert len(lines) == 22
    assert lines[-1] == "  and 20 more"


async def test_reconnecting_is_on_screen() -> None:
    screen = Screen()
    script = [
        events.Reconnecting(attempt=1, attempts=3, delay=1.5),
        events.Connected(path="direct, punched"),
        events.Silence(seconds=3.0),
        events.Silence(seconds=0.0),
        events.Reconnecting(attempt=2, attempts=3, delay=1.5),
        events.Reconnected(),
    ]
    with pytest.raises(PeerLost):
        await play(SenderView(screen.writer, screen.board, 300.0), screen, script, PeerLost("gone"))
    assert screen.err[-7:] == [
        "No connection yet, trying again (1/3)",
        "Connected: direct, punched",
        "Waiting for the other side to accept…",
        "No sign of the other side for 3.0 s…",
        "The other side is back",
        "Connection lost, reconnecting (2/3)",
        "Reconnected",
    ]


async def test_quiet_is_the_code_alone() -> None:
    screen = Screen()
    await play(
        QuietView(screen.writer, screen.errors, "send"),
        screen,
        [ONE, CODE, events.Connected(path="x"), summary("send")],
    )
    assert screen.out == ["zebra-luna-47"]


async def test_json_is_every_event_and_the_error_once() -> None:
    for extra in ([], [events.Failure(code="peer-lost", message="gone", hint="", exit_code=5)]):
        screen = Screen()
        with pytest.raises(PeerLost):
            await play(JsonView(screen.writer), screen, [ONE, CODE, *extra], PeerLost("gone", hint=""))
        lines = [json.loads(line) for line in screen.out]
        assert [line["event"] for line in lines] == ["listed", "code", "error"]
        assert lines[-1] == {"event": "error", "code": "peer-lost", "message": "gone", "hint": "", "exit_code": 5}


async def test_json_tells_of_errors_that_nobody_expected() -> None:
    screen = Screen()
    with pytest.raises(ZeroDivisionError):
        await play(JsonView(screen.writer), screen, [], ZeroDivisionError())
    assert json.loads(screen.out[0])["code"] == "internal"


async def test_the_code_is_kept_out_of_logs_once_it_is_known() -> None:
    screen = Screen()
    await play(QuietView(screen.writer, screen.errors, "send"), screen, [CODE])
    assert logs.redact("zebra-luna-47 zebra-luna") == "[hidden] [hidden]"


def test_hidden_names_are_offered_in_sight() -> None:
    tops = [events.Top(f"photo-{number}.jpg", "file", 1, 1) for number in range(40)]
    offer = events.Offered([*tops, events.Top(".ssh", "directory", 1, 1)], 0, 41, 42, 41)
    assert ".ssh/" in offer_lines(offer)[1]
    assert offer_lines(offer)[-1] == "  and 21 more"


async def test_a_transfer_stopped_before_any_file_was_complete_claims_none() -> None:
    for role, view in (("send", SenderView), ("receive", ReceiverView)):
        screen = Screen()
        stopped = events.Summary(
            role=role,  # type: ignore[arg-type]
            ok=False, files=0, failed=0, total=144_000_000, seconds=1.3, rate=1e8, path="direct, host udp",
        )  # fmt: skip
        made = view(screen.writer, screen.board, 300.0 if role == "send" else Path("."))  # type: ignore[arg-type]
        with pytest.raises(PeerLost):
            await play(made, screen, [stopped], PeerLost("gone"))
        assert screen.out == ["Stopped after 144.0 MB; no file is complete"]


async def test_quiet_with_a_server_of_its_own_is_the_whole_command() -> None:
    screen = Screen()
    await play(QuietView(screen.writer, screen.errors, "send", command=True), screen, [ONE, CODE])
    assert screen.out == ["p2pal recv zebra-luna-47"]


RESUMING = events.Resuming(id="k7x2m2qa", files=1, done=920_000, total=2_300_000)
SAVED = events.Saved(id="k7x2m2qa" + "a" * 18, command="p2pal send --resume k7x2m2qa", done=966_000, total=2_300_000)


async def test_a_sender_goes_on_and_is_stopped() -> None:
    screen = Screen()
    script = [
        CODE,
        ONE,
        events.Connected(path="direct, host udp"),
        RESUMING,
        events.Accepted(files=1, total=2_300_000, renamed={}),
        progress(966_000),
        events.Unsaved(reason="the disk is full"),
        events.Waiting(what="peer-disk", seconds=600.0),
        events.Waiting(what="peer-disk", seconds=599.0),
        events.Waiting(what=""),
        events.Waiting(what="peer"),
        events.Reconnected(),
        events.Waiting(what=""),
        events.Waiting(what="peer"),
        events.StartingOver(reason="it changed", name="report.pdf"),
        summary("send", ok=False, files=0),
        SAVED,
    ]
    with pytest.raises(PeerLost):
        await play(SenderView(screen.writer, screen.board, 300.0), screen, script, PeerLost("gone", hint=""))
    assert screen.out[2:] == [
        "Sending file: report.pdf (1 file, 2.3 MB) — TTL: 5m",
        "Stopped after 2.3 MB; no file is complete",
    ]
    assert screen.err[3:] == [
        "Resuming: 920.0 kB of 2.3 MB are there already (1 of 1 file)",
        "40% of 2.3 MB, 1 file",
        "If this transfer stops, it cannot go on later:",
        "  the disk is full",
        "The other side's disk is full; waiting up to 10:00",
        "Going on",
        "The other side is offline; waiting",
        "If it was stopped: the same recv command there goes on",
        "Reconnected",
        "The other side is offline; waiting",
        "If it was stopped: the same recv command there goes on",
        "report.pdf starts over: it changed",
        "42%, 966.0 kB of 2.3 MB, 1.0 MB/s, -:-- left, 0 of 1 file, direct, host udp",
        "Saved at 42%. To go on:",
        "p2pal send --resume k7x2m2qa",
    ]


@pytest.mark.parametrize("accepted", [True, False])
def test_a_receiver_goes_on_where_it_was_and_says_where_that_is(tmp_path: Path, accepted: bool) -> None:
    screen = Screen()
    view = ReceiverView(screen.writer, screen.board, tmp_path / "here")
    view.show(events.Offered(tops=[FILE], more=0, files=1, entries=1, total=2_300_000))
    view.show(events.Resuming(id="k7x2m2qa", files=0, done=4, total=2_300_000, where=str(tmp_path / "there")))
    if accepted:
        view.show(events.Accepted(files=1, total=2_300_000, renamed={"report.pdf": "report (1).pdf"}))
    view.show(summary("receive"))
    view.close(None)
    name = "report (1).pdf" if accepted else "report.pdf"
    assert screen.out == [
        "Receiving: report.pdf (2.3 MB)",
        "100% — SHA-256 verified",
        f"Saved: {tmp_path}/there/{name}",
        "1 file in 1.2 s at 1.9 MB/s, direct, host udp",
    ]
    assert screen.err == ["Resuming: 4 bytes of 2.3 MB are here already", "0% of 2.3 MB, 1 file"]


def test_a_receiver_without_an_offer_still_says_what_comes(tmp_path: Path) -> None:
    screen = Screen()
    view = ReceiverView(screen.writer, screen.board, tmp_path)
    view.show(RESUMING)
    assert screen.out == ["Receiving: 2.3 MB"]
    assert screen.err[-1] == "40% of 2.3 MB"


async def test_a_receiver_is_told_what_both_sides_type() -> None:
    screen = Screen()
    saved = events.Saved(id=SAVED.id, command="p2pal recv NEWCODE", done=1, total=2)
    stopped = summary("receive", ok=False, files=2)
    with pytest.raises(PeerLost):
        await play(ReceiverView(screen.writer, screen.board, Path()), screen, [stopped, saved], PeerLost("gone"))
    assert screen.out[0] == "Stopped after 2.3 MB; 2 files are complete"
    assert screen.err == [
        "Saved at 50%. To go on, the sender types, as on its screen:",
        "p2pal send --resume k7x2m2qa",
        "and then here, with the new code:",
        "p2pal recv NEWCODE",
    ]


async def test_quiet_tells_how_to_go_on_with_the_error() -> None:
    screen = Screen()
    with pytest.raises(PeerLost):
        await play(QuietView(screen.writer, screen.errors, "send"), screen, [CODE, SAVED], PeerLost("gone"))
    assert screen.out == ["zebra-luna-47"]
    assert screen.err == ["Saved at 42%. To go on:", "p2pal send --resume k7x2m2qa"]


@pytest.mark.parametrize("asking", [True, False])
def test_who_cannot_prove_to_be_the_receiver_is_refused_aloud_where_nobody_is_asked(asking: bool) -> None:
    screen = Screen()
    SenderView(screen.writer, screen.board, 300.0, asking=asking).show(events.Unproven())
    refused = [
        "Someone who knows the code, but is not the one from before,",
        "wants the files from the start, in the place of the other",
        "and was refused: there is nobody to ask",
    ]
    assert screen.err == ([] if asking else refused)


async def test_attempts_without_end_are_counted() -> None:
    screen = Screen()
    script = [events.Connected(path="x"), events.Reconnecting(attempt=7, attempts=None, delay=1.0)]
    await play(SenderView(screen.writer, screen.board, 300.0), screen, script)
    assert screen.err[-1] == "Connection lost, reconnecting (7)"

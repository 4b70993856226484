"""What ``bench/wan.py`` measures, and what it makes of it; and one run of each kind of flow over a real link."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from tests.e2e.kit import until
from tests.network.namespaces import namespaces
from tests.network.needs import need_emulator

from processes import BenchError, Workbench
from socket_buffers import limited, most
from table import Row
from wan import measure, parse
from wan_cells import HOGS, QUICK, WHOLE, Cell, Plan
from wan_flows import arrived
from wan_limits import jain, judge
from wan_report import Report
from wan_runs import Result, Runner, Traffic

CLEAN: Final = Cell("clean", 100, 50)
NOTHING: Final = Traffic(1000, 0, 0, 0)


def result(flow: str, mbit: float, **more: object) -> Result:
    """What came of a flow of 30 s that nothing disturbed."""
    made = Result(flow, 30.0, mbit, mbit, NOTHING, NOTHING, 0.0, "", [])
    return replace(made, **more)  # type: ignore[arg-type]


def rows(cell: Cell, *results: Result, quiet: tuple[Result, ...] = ()) -> list[Row]:
    return judge(cell, WHOLE, "p2pal", results, quiet)


def test_the_whole_matrix_has_every_link_that_is_promised() -> None:
    cells = WHOLE.cells
    clean = {(cell.mbit, cell.rtt) for cell in cells if cell.kind == "clean"}
    assert clean == {(mbit, rtt) for mbit in (10, 100, 500) for rtt in (1, 20, 50, 100, 200)}
    lossy = {(cell.loss, cell.rtt) for cell in cells if cell.kind == "lossy"}
    assert lossy == {(loss, rtt) for loss in (0.1, 1, 2) for rtt in (20, 50, 100, 200)}
    assert {(cell.rtt, cell.queue) for cell in cells if cell.kind == "shallow"} == {(50, 0.25), (100, 0.25)}
    assert {(cell.rtt, cell.police, cell.burst) for cell in cells if cell.police} == {(50, 50, 64000), (100, 50, 64000)}
    rivals = {(cell.rival, cell.order) for cell in cells if cell.kind == "beside"}
    assert rivals == {(rival, order) for rival in ("cubic", "bbr") for order in ("first", "second")}
    assert {cell.flows for cell in cells if cell.kind == "flows"} == {2, 8, 20}
    busy = {cell.quiet for cell in cells if cell.hogs == HOGS}
    assert busy == {cell for cell in cells if cell.kind in {"clean", "lossy"}}
    assert len({str(cell) for cell in cells}) == len(cells), "their names differ"
    assert {WHOLE.repetitions_of(cell) for cell in cells if cell.kind == "lossy"} == {5}
    assert {WHOLE.seconds_of(cell) for cell in cells if cell.rival} == {60.0}


def test_a_queue_holds_one_bandwidth_delay_product_of_twenty_milliseconds_at_least() -> None:
    assert CLEAN.there.queue == 625_000
    assert Cell("clean", 100, 1).there.queue == 250_000
    assert Cell("shallow", 100, 50, queue=0.25).there.queue == 156_250
    assert Cell("shallow", 10, 1, queue=0.25).there.queue == 3_000, "two packets fit into every queue"


def test_acknowledgements_meet_no_policer() -> None:
    cell = Cell("policer", 100, 50, police=50)
    assert (cell.there.police, cell.back.police, cell.rate) == (50e6, 0, 50)
    assert Cell("lossy", 100, 50, loss=2).back.loss == 0.02, "but they are lost as well"


def test_how_long_it_takes_follows_from_what_is_measured() -> None:
    assert 240 < QUICK.duration < 300
    assert 7_200 < WHOLE.duration < 9_000
    assert replace(WHOLE, kinds=("flows",), flows=(2,), seconds=30.0).duration == 35
    assert replace(WHOLE, kinds=("busy",)).duration > replace(WHOLE, kinds=("flows",)).duration


def test_cubic_is_measured_once_where_packets_are_lost() -> None:
    cell = Cell("lossy", 100, 50, loss=1)
    assert [WHOLE.streams_of(cell, number) for number in range(2)] == [["cubic", "bbr"], ["bbr"]]
    assert replace(WHOLE, against=("cubic",)).streams_of(cell, 1) == ["cubic"]
    assert WHOLE.streams_of(Cell("beside", 100, 50, rival="bbr"), 0) == []


def test_the_command_line_chooses_cells() -> None:
    _, plan = parse(["--only", "clean", "lossy", "--rtt", "30", "--mbit", "50", "--loss", "3", "--seconds", "5"])
    assert plan.cells == [Cell("clean", 50, 30), Cell("lossy", 50, 30, loss=3)]
    assert plan.seconds == 5.0
    args, plan = parse(["--whole", "--lane", "udp", "--lane", "webrtc", "--against"])
    assert (args.lane, plan) == (["udp", "webrtc"], replace(WHOLE, against=[]))
    assert parse([])[1] == QUICK


def test_bytes_are_counted_between_what_is_told() -> None:
    points = [(1.0, 0), (2.0, 1000), (4.0, 2000)]
    assert [arrived(points, at) for at in (0.0, 1.0, 1.5, 2.0, 3.0, 4.0)] == [0, 0, 500, 1000, 1500, 2000]
    with pytest.raises(BenchError):
        arrived(points, 4.1)


def test_a_clean_link_is_compared_with_the_better_stream_and_overrun_is_told() -> None:
    tcp = result("cubic", 80), result("bbr", 90, first=60)
    first, whole, lost = rows(CLEAN, result("p2pal", 86, first=70, later=Traffic(1000, 0, 12, 0)), *tcp)
    assert (first.ratio, first.ok) == ("0.88", True), "of CUBIC's 80 at first"
    assert (whole.ratio, whole.limit, whole.ok) == ("0.96", ">= 0.95", True)
    assert (lost.p2pal, lost.ok) == ("1.20%", False)


def test_a_lossy_link_counts_the_median_against_the_rate_less_the_loss_and_tcp() -> None:
    cell = Cell("lossy", 100, 50, loss=2)
    mine = [result("p2pal", mbit) for mbit in (10, 89, 90, 91, 95)]
    by_rate, by_tcp = rows(cell, *mine, result("cubic", 3), result("bbr", 94))
    assert (by_rate.ratio, by_rate.ok) == ("0.92", True)
    assert (by_tcp.ratio, by_tcp.ok) == ("0.96", False)
    assert "median of 5" in by_rate.what


def test_a_policer_is_judged_by_its_rate_and_by_what_is_dropped() -> None:
    cell = Cell("policer", 100, 50, police=50)
    rate, lost = rows(cell, result("p2pal", 43, whole=Traffic(1000, 0, 0, 50)), result("cubic", 40))
    assert (rate.ratio, rate.ok, rate.against) == ("0.86", True, "rate 50.0, CUBIC 40.0")
    assert (lost.p2pal, lost.ok) == ("5.00%", False)


@pytest.mark.parametrize(("mine", "ok"), [(24.9, False), (25.1, True), (74.9, True), (75.1, False)])
def test_neither_of_two_streams_may_starve(mine: float, ok: bool) -> None:
    (row,) = rows(Cell("beside", 100, 50, rival="bbr"), result("bbr", 100 - mine), result("p2pal", mine))
    assert row.ok is ok


def test_transfers_share_a_link() -> None:
    cell = Cell("flows", 100, 50, flows=4)
    index, lost = rows(cell, *[result("p2pal", mbit) for mbit in (40, 20, 20, 10)])
    assert (index.ratio, index.ok, lost.ok) == ("0.81", True, True)
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([0, 0]) == 1


def test_busy_processes_are_compared_with_the_quiet_figure() -> None:
    cell = Cell("busy", 100, 50, hogs=HOGS)
    assert cell.quiet == CLEAN
    (row,) = rows(cell, result("p2pal", 70), quiet=(result("p2pal", 90), result("cubic", 95)))
    assert (row.ratio, row.ok) == ("0.78", False)


def test_what_was_disturbed_or_short_has_no_verdict() -> None:
    for mine in (result("p2pal", 99, doubt="other programs"), result("p2pal", 99, seconds=10.0)):
        told = rows(CLEAN, mine, result("cubic", 80))
        assert [row.ok for row in told] == [None] * 3
        assert all(("doubtful" in row.limit) == bool(mine.doubt) for row in told)


def test_every_kind_of_flow_runs_over_a_real_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_emulator()
    plan = Plan(kinds=("clean",), rtt={"clean": (10,)}, mbit={"clean": (20,)}, seconds=1.0, first=0.5)
    for bare in (False, True):
        told = tmp_path / f"{bare}.jsonl"
        with Workbench(tmp_path) as bench, Report(told) as report:
            runner = Runner(bench, bare=bare)
            report.begin(runner.ours, [])
            table = measure(bench, plan, runner, report)
        assert [row.ok for row in table] == [None] * 3, (table, capsys.readouterr().err)
        head, *flows = map(json.loads, told.read_text(encoding="utf-8").splitlines())
        assert (head["bench"], head["ours"]) == ("wan", runner.ours)
        assert [flow["flow"] for flow in flows] == [runner.ours, "cubic", "bbr"]
        for flow in flows:
            assert 0 < flow["mbit"] <= 20
            assert flow["cell"]["rtt"] == 10
            counts = [count for _, count in flow["points"]]
            assert counts == sorted(counts)
            assert flow["whole"]["packets"] >= flow["later"]["packets"] > 0


def test_a_run_that_something_disturbed_is_doubtful_and_measured_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need_emulator()
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        with Workbench(tmp_path) as bench:
            (told,) = Runner(bench, again=1).run(Cell("clean", 20, 10), "cubic", 1.0, 0.5)
    finally:
        for process in others:
            process.kill()
            process.wait()
    assert told.doubt
    assert "once more (1 of 1)" in capsys.readouterr().err


def test_a_benchmark_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    need_emulator()
    script = Path(__file__).parents[2] / "bench/wan.py"
    argv = [sys.executable, str(script), "--only", "clean", "--rtt", "10", "--dir", str(tmp_path), "--bare"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        until(lambda: bool(own(process.pid)), "a host of the benchmark")
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert own(process.pid) == []
    assert os.listdir(tmp_path) == []


def test_the_limit_of_sockets_is_what_it_was_before() -> None:
    need_emulator()  # nobody but root may change it
    before = most()
    with pytest.raises(KeyError), limited(before):
        raise KeyError
    with limited(None):
        assert most() == before


def own(pid: int) -> list[str]:
    """The namespaces of a process' own."""
    return [name for name in namespaces() if name.startswith(f"p2pal-{pid}-")]


def test_a_flow_that_fails_is_told_and_the_next_one_runs(tmp_path: Path) -> None:
    need_emulator()
    plan = Plan(kinds=("clean",), rtt={"clean": (10,)}, mbit={"clean": (20,)}, seconds=0.5, against=())
    with Workbench(tmp_path) as bench:
        (row,) = measure(bench, plan, Runner(bench, lanes=["no-such-lane"]))
    assert row.ok is False
    assert "failed" in row.p2pal


def test_transfers_run_beside_each_other_and_beside_tcp(tmp_path: Path) -> None:
    need_emulator()
    axes: dict[str, object] = {"rtt": {"beside": (10,), "flows": (10,)}, "mbit": {"beside": (20,), "flows": (20,)}}
    plan = replace(Plan(kinds=("beside", "flows"), rivals=("cubic",), flows=(2,), seconds=0.5), **axes)  # type: ignore[arg-type]
    with Workbench(tmp_path) as bench:
        table = measure(bench, plan, Runner(bench))
    assert len(table) == 4
    assert not [row for row in table if "failed" in row.p2pal]
    assert sum(row.ratio != "" for row in table) == 3

"""Tables and pictures of what ``bench/wan.py`` measured, from files that it wrote."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

import draw
import wan_tables
from processes import BenchError
from wan_cells import HOGS, Cell
from wan_read import load
from wan_report import Report
from wan_runs import Result, Traffic

PAGE: Final = Path(__file__).parents[2] / "docs/performance.md"
SVG: Final = "{http://www.w3.org/2000/svg}"
CLEAN: Final = Cell("clean", 100, 50)
LOSSY: Final = Cell("lossy", 100, 50, loss=1)


def result(flow: str, mbit: float, *, dropped: int = 0, doubt: str = "", seconds: float = 30.0) -> Result:
    """A flow of a steady rate, over a link that dropped so many of a thousand packets."""
    traffic = Traffic(1000, 0, dropped, 0)
    points = [(step / 5, int(mbit * 1e6 / 8 * step / 5)) for step in range(int(seconds * 5) + 6)]
    return Result(flow, seconds, mbit, mbit * 0.9, traffic, traffic, 0.01, doubt, points)


def written(path: Path, *flows: tuple[Cell, Result, int]) -> Path:
    """A file of the benchmark, as it writes it; what is there stays."""
    with Report(path) as report:
        report.begin("p2pal", [])
        for cell, flow, repetition in flows:
            report.write(cell, flow, repetition)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    flows: list[tuple[Cell, Result, int]] = []
    for cell, mine, cubic, bbr in ((CLEAN, 90, 94, 95), (LOSSY, 80, 3, 88), (replace(CLEAN, rtt=1), 99, 97, 98)):
        flows += [(cell, result(n, m), 0) for n, m in (("p2pal", mine), ("cubic", cubic), ("bbr", bbr))]
    flows += [(LOSSY, result("p2pal", mbit), number) for number, mbit in ((1, 90), (2, 86))]
    policed = Cell("policer", 100, 50, police=50)
    flows += [(policed, result("p2pal", 45, dropped=60), 0), (policed, result("bbr", 46), 0)]
    rival = Cell("beside", 100, 50, rival="bbr")
    flows += [(rival, result("bbr", 76, dropped=3), 0), (rival, result("p2pal", 20, dropped=3), 0)]
    flows += [(Cell("flows", 100, 50, flows=3), result("p2pal", mbit), 0) for mbit in (40, 30, 25)]
    flows += [(Cell("busy", 100, 50, hogs=HOGS), result("p2pal", 60, doubt="other programs"), 0)]
    return written(tmp_path / "wan.jsonl", *flows)


def test_what_is_read_is_what_was_written(source: Path) -> None:
    measured = load(source)
    assert measured.ours == "p2pal"
    assert measured.of(CLEAN) == [result("p2pal", 90), result("cubic", 94), result("bbr", 95)]
    assert [flow.mbit for flow in measured.of(LOSSY) if flow.flow == "p2pal"] == [80, 90, 86]
    assert len(measured.of(Cell("flows", 100, 50, flows=3))) == 3, "several at once are several"


def test_what_was_measured_again_replaces_what_was_there(source: Path) -> None:
    many = Cell("flows", 100, 50, flows=3)
    again = [(many, result("p2pal", mbit), 0) for mbit in (31, 32, 33)]
    measured = load(written(source, (CLEAN, result("p2pal", 95), 0), *again))
    assert [flow.mbit for flow in measured.of(CLEAN)] == [94, 95, 95]
    assert [flow.mbit for flow in measured.of(many)] == [31, 32, 33]


@pytest.mark.parametrize("line", ["", "nonsense", "[]", "{}", '{"cell":{"kind":"clean"}}'])
def test_a_file_of_something_else_is_refused(tmp_path: Path, line: str) -> None:
    other = tmp_path / "other"
    other.write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 1 was not written by wan\.py"):
        load(other)


def test_tables_tell_the_ratio_and_what_is_missed(source: Path) -> None:
    made = wan_tables.tables(load(source))
    assert made["clean"][2:] == [
        "| rate | 1 ms | 50 ms |",
        "|---|---|---|",
        "| 100 Mbit/s | 99 of 98: 1.01 | **90 of 95: 0.95** |",
    ]
    assert made["lossy"][-1] == "| 1 % lost | **86 of 88: 0.98** |", "0.98 of TCP, but less than 0.90 of 99"
    assert made["narrow"][-1].endswith("| 45 of 50: 0.90 | 46: 0.92 | **6.0%** |")
    assert made["beside"][-1].endswith("| **20%** | 76% | 0.3% |")
    assert made["flows"][-1].endswith("| 25 to 40 Mbit/s | 0.96 | 0.0% |")
    assert made["busy"][-1].endswith("8 busy processes ? | **60 of 90: 0.67** |")
    assert made["run"][0].startswith("Measured 20")


def test_the_page_has_a_place_for_every_table_and_is_filled_again_and_again(source: Path) -> None:
    page, made = PAGE.read_text(encoding="utf-8"), wan_tables.tables(load(source))
    assert sorted(place[2] for place in wan_tables.PLACE.finditer(page)) == sorted(made)
    filled = wan_tables.fill(page, made)
    assert all("\n".join(told) in filled for told in made.values())
    assert wan_tables.fill(filled, made) == filled
    nothing: dict[str, list[str]] = {name: [] for name in made}
    assert wan_tables.fill(wan_tables.fill(filled, nothing), nothing) == wan_tables.fill(page, nothing)


def run(monkeypatch: pytest.MonkeyPatch, module: str, *args: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", [module, *map(str, args)])
    code: int = {"draw": draw.main, "wan_tables": wan_tables.main}[module]()
    return code


def test_commands_fill_pages_and_draw_pictures(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, picture = tmp_path / "page.md", tmp_path / "img" / "picture.svg"
    page.write_text("before\n<!-- wan: busy -->\n<!-- /wan: busy -->\nafter\n", encoding="utf-8")
    assert run(monkeypatch, "wan_tables", source, "--fill", page) == 0
    assert "**60 of 90: 0.67**" in page.read_text(encoding="utf-8")
    assert run(monkeypatch, "wan_tables", source) == 0
    assert "0.3%" in capsys.readouterr().out
    for args in (["matrix"], ["goodput", "--rtt", "50", "--loss", "1"]):
        what, *more = args
        assert run(monkeypatch, "draw", what, source, picture, *more) == 0
        assert picture.read_text(encoding="utf-8").startswith("<svg")
    assert run(monkeypatch, "draw", "goodput", source, picture, "--rtt", "7") == 1
    assert "RTT 7 ms was not measured" in capsys.readouterr().err


def places(drawn: str) -> tuple[list[float], list[tuple[float, float]]]:
    """A picture's size, and where its words and lines begin and end; the width of letters is a guess."""
    root = ET.fromstring(drawn)
    size = [float(root.attrib[side]) for side in ("width", "height")]
    found = [
        tuple(map(float, point.split(",")))
        for line in root.iter(f"{SVG}polyline")
        for point in line.attrib["points"].split()
    ]
    for text in root.iter(f"{SVG}text"):
        x, y, width = (
            float(text.attrib["x"]),
            float(text.attrib["y"]),
            0.62 * float(text.attrib["font-size"]) * len(text.text or ""),
        )
        start = {"start": x, "middle": x - width / 2, "end": x - width}[text.attrib["text-anchor"]]
        found += [(start, y), (start + width, y)]
    return size, [(x, y) for x, y in found]


def test_pictures_are_whole_and_have_colours_for_light_and_dark_pages(source: Path) -> None:
    measured = load(source)
    makers: tuple[Callable[..., str], ...] = (
        partial(draw.matrix, measured, 100),
        partial(draw.goodput, measured, LOSSY),
    )
    for make in makers:
        automatic, light, dark = make(), make(theme="light"), make(theme="dark")
        (width, height), found = places(automatic)
        assert [point for point in found if not (0 <= point[0] <= width and 0 <= point[1] <= height)] == []
        assert "prefers-color-scheme: dark" in automatic
        assert "prefers-color-scheme" not in light + dark
        assert "#ffffff; stroke" in light
        assert "#0d1117; stroke" in dark
        for drawn in (light, dark):
            colours = dict(re.findall(r"\.(?:f-)?(\w+) \{ fill: (#\w+);", drawn))
            for role in ("ink", "quiet", "first", "second", "third"):
                assert contrast(colours[role], colours["ground"]) >= 4.5, (role, "WCAG 2.2, 1.4.3")
            for ink, ground in zip(*inks(drawn), strict=True):
                assert contrast(ink, ground) >= 4.5


def inks(drawn: str) -> tuple[list[str], list[str]]:
    """The colours of words in boxes, and of those boxes."""
    root = ET.fromstring(drawn)
    words = [text.attrib["fill"] for text in root.iter(f"{SVG}text") if "fill" in text.attrib]
    return words, [box.attrib["fill"] for box in root.iter(f"{SVG}rect") if box.attrib.get("rx") == "3"]


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_band_of_the_matrix_is_readable() -> None:
    for colour in draw.BANDS:
        assert contrast("#ffffff" if colour in draw.DARK_BANDS else "#101418", colour) >= 4.5, colour


def test_a_picture_tells_what_was_measured(source: Path) -> None:
    measured = load(source)
    matrix, goodput = draw.matrix(measured, 100), draw.goodput(measured, LOSSY)
    assert ">87<" in matrix, "86 of 99"
    assert "?" not in matrix + goodput
    assert "TCP BBR 88" in goodput
    assert "p2pal 86" in goodput, "the median run"
    assert ET.fromstring(goodput).find(f"{SVG}title") is not None
    with pytest.raises(BenchError):
        draw.matrix(measured, 7)
    measured = load(written(source, (LOSSY, result("p2pal", 90, doubt="other programs"), 0)))
    assert ">91?<" in draw.matrix(measured, 100), "the median of 90, 90 and 86 is told with a question mark"


def test_a_curve_begins_at_nothing_and_has_the_mean_of_the_time_before() -> None:
    line = draw.curve([(0.0, 0), (1.0, 125_000), (2.0, 125_000), (3.0, 375_000)], 3.0)
    assert line[0] == (0.0, 0.0)
    assert dict(line)[1.0] == pytest.approx(1.0)
    assert dict(line)[2.0] == pytest.approx(0.0)
    assert dict(line)[3.0] == pytest.approx(2.0)


@pytest.mark.parametrize("heights", [[50.0, 50.0, 50.0], [10.0, 12.0, 90.0], [3.0]])
def test_labels_do_not_cover_each_other(heights: Sequence[float]) -> None:
    moved = sorted(draw.apart(heights, 17))
    assert all(other - one >= 17 for one, other in pairwise(moved))

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.disk.disk import as_nobody, public_directory, walk_of

from p2pal.disk.source.report import MAX_NAMES, FindingKind, Findings, SourceFinding
from p2pal.disk.source.source import Source
from p2pal.disk.source.walk import WalkFailed
from p2pal.wire.transfer import MAX_MTIME_NS, Reason

FAR = 9_500_000_000  # the year 2271, in seconds


def found_in(*paths: Path, skip_errors: bool = True) -> tuple[list[str], list[SourceFinding], list[WalkFailed]]:
    """Return the names that are offered, what a person is told, and what failed."""
    source = Source([*paths], recursive=True, skip_errors=skip_errors)
    entries, failures = walk_of(source)
    return [entry.name for entry in entries], list(source.findings), failures


def test_of_an_ordinary_tree_there_is_nothing_to_say(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "d").mkdir(parents=True)
    (top / "d" / "x").write_bytes(b"1")
    (top / "d" / "up").symlink_to("../d/x")
    (top / "hollow").symlink_to("nothing")
    names, findings, failures = found_in(top, top / "d" / "x")
    assert names == ["top", "top/d", "top/d/up", "top/d/x", "top/hollow", "x"]
    assert (findings, failures) == ([], [])


def test_names_of_ours_are_left_out_and_counted(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / ".p2pal-abcd2345-7.part").mkdir(parents=True)
    (top / ".p2pal-abcd2345-7.part" / "x").write_bytes(b"1")
    (top / ".p2pal-abcd2345-0.part").write_bytes(b"1")
    (top / "x").write_bytes(b"1")
    names, findings, failures = found_in(top, skip_errors=False)
    assert names == ["top", "top/x"]
    assert failures == []
    assert findings == [
        SourceFinding(
            FindingKind.RESERVED_NAME,
            left_out=True,
            count=2,
            names=["top/.p2pal-abcd2345-0.part", "top/.p2pal-abcd2345-7.part"],
        )
    ]


def test_links_that_lead_out_are_told(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    for name, target in (("absolute", "/etc"), ("up", "../x"), ("detour", "a/../.."), ("fine", "./a/b")):
        (top / name).symlink_to(target)
    names, findings, _ = found_in(top)
    assert len(names) == 5
    assert findings == [
        SourceFinding(FindingKind.OUTWARD_LINK, count=3, names=["top/absolute", "top/detour", "top/up"]),
    ]


@pytest.mark.parametrize("skip_errors", [True, False])
def test_a_file_that_may_not_be_read_is_told_or_stops_the_batch(skip_errors: bool) -> None:
    with public_directory() as path:
        top = path / "top"
        top.mkdir()
        for name, mode in (("closed", 0o200), ("open", 0o644), ("owner's", 0o600)):
            (top / name).write_bytes(b"1")
            (top / name).chmod(mode)
        top.chmod(0o755)
        with as_nobody():
            names, findings, failures = found_in(top, skip_errors=skip_errors)
    closed = ["top/closed", "top/owner's"]
    if skip_errors:
        assert names == ["top", "top/closed", "top/open", "top/owner's"]
        assert findings == [SourceFinding(FindingKind.UNREADABLE, count=2, names=closed)]
        assert failures == []
    else:
        assert names == ["top", "top/open"]
        assert failures == [WalkFailed(name, Reason.READ, "Permission denied") for name in closed]
        assert findings == []


def test_dates_that_cannot_travel_are_told(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    dates = {"far": FAR * 10**9, "2262": MAX_MTIME_NS, "2200": 7_258_118_400 * 10**9 + 1, "1901": -(2**31) * 10**9 + 7}
    kept = {}
    for name, mtime_ns in dates.items():
        (top / name).write_bytes(b"1")
        os.utime(top / name, ns=(0, mtime_ns))
        kept[f"top/{name}"] = (top / name).stat().st_mtime_ns  # some file systems know fewer years
    source = Source([top], recursive=True)
    entries, _ = walk_of(source)
    assert {entry.name: entry.mtime_ns for entry in entries[1:]} == {
        name: min(mtime_ns, MAX_MTIME_NS) for name, mtime_ns in kept.items()
    }
    beyond = [name for name, mtime_ns in kept.items() if mtime_ns > MAX_MTIME_NS]
    assert list(source.findings) == ([SourceFinding(FindingKind.DATE, count=1, names=beyond)] if beyond else [])


def test_of_many_only_the_first_are_named() -> None:
    findings = Findings()
    for number in range(MAX_NAMES + 5):
        findings.add(FindingKind.FILE_SYSTEM, b"%d" % number, left_out=True)
    findings.add(FindingKind.RESERVED_NAME, b"\xff", left_out=True)
    findings.add(FindingKind.DATE, b"x")
    assert [(each.kind, each.count, len(each.names)) for each in findings] == [
        (FindingKind.RESERVED_NAME, 1, 1),
        (FindingKind.FILE_SYSTEM, MAX_NAMES + 5, MAX_NAMES),
        (FindingKind.DATE, 1, 1),
    ]
    assert findings.left_out == MAX_NAMES + 6

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.cli.ui.progress_bars import cells
from p2pal.cli.ui.table import Column, lay_out, terminal_width

COLUMNS = [
    Column("ID", ["a", "bb"]),
    Column("AGE", ["5 d", "12 min"], right=True, drop=1),
    Column("WHAT", ["short", "a long name that can be shortened"], shrink=10),
]


def test_everything_is_there_where_there_is_room() -> None:
    assert lay_out(COLUMNS, None) == [
        "ID     AGE  WHAT",
        "a      5 d  short",
        "bb  12 min  a long name that can be shortened",
    ]
    assert lay_out(COLUMNS, 200) == lay_out(COLUMNS, None)


def test_long_columns_are_shortened_then_what_matters_least_goes() -> None:
    assert lay_out(COLUMNS, 24) == ["ID     AGE  WHAT", "a      5 d  short", "bb  12 min  a long…tened"]
    assert all(cells(line) <= 24 for line in lay_out(COLUMNS, 24))
    assert lay_out(COLUMNS, 20)[0] == "ID  WHAT"
    assert lay_out(COLUMNS, 20)[2].startswith("bb  a long")


@given(
    st.lists(st.tuples(st.text("ab 写é", max_size=40), st.text("xy", max_size=9)), min_size=1, max_size=5),
    st.integers(20, 120),
)
@settings(max_examples=100, deadline=None)
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, str]], width: int) -> None:
    columns = [
        Column("WIDE", [row[0] for row in rows], shrink=8),
        Column("NARROW", [row[1] for row in rows], right=True, drop=1),
        Column("MORE", [row[0] for row in rows], shrink=8, drop=2),
    ]
    lines = lay_out(columns, width)
    assert len(lines) == len(rows) + 1
    assert max(map(cells, lines)) <= width


def test_the_width_of_what_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal_width() is None
    monkeypatch.setenv("COLUMNS", "77")
    assert terminal_width() == 77

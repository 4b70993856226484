from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.cli.text import balanced, broken, json_ascii, names, safe, shorten

DANGEROUS = [
    "\x1b",
    "\x00",
    "\x07",
    "\x08",
    "\n",
    "\r",
    "\t",
    "\x7f",
    "\x85",
    "\x9b",
    "\xad",
    "\u061c",
    "\u200b",
    "\u200d",
    "\u200e",
    "\u202e",
    "\u2028",
    "\u2029",
    "\u2066",
    "\u2069",
    "\ufeff",
    "\u3164",
    "\ud800",
    "\udcff",
    "\U000e0041",
]


@pytest.mark.parametrize("char", DANGEROUS, ids=ascii)
def test_dangerous_characters_become_visible_escapes(char: str) -> None:
    shown = safe(f"a{char}b")
    assert char not in shown
    assert shown.startswith("a\\")
    assert shown.endswith("b")
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("exe\u202egpj", "exe\\u202egpj"),
        ("caf\udce9", "caf\\xe9"),
        ("\ud83d", "\\ud83d"),
        ("tag\U000e0041", "tag\\U000e0041"),
    ],
)
def test_escapes_are_spelled_as_in_python(text: str, shown: str) -> None:
    assert safe(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "report.pdf",
        "Größe №1.txt",
        "写真 2024.jpg",
        "отчёт.pdf",
        "हिन्दी फ़ाइल.txt",
        "क्‍ष.txt",
        "ที่นี่.txt",
        "བསྒྲུབས་.txt",
        "e\u0301.txt",
        "한국어.txt",
        "1️⃣ 👧.png",
        "❤️.txt",
        "a\u3000b",
        "9.00\u202fAM.png",
        "",
    ],
)
def test_names_in_any_script_stay_as_they_are(text: str) -> None:
    assert safe(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("צילום.png", "<צילום.png>"),
        ("صورة 2024.png", "<صورة 2024.png>"),
        ("می\u200cخواهم.txt", "<می\u200cخواهم.txt>"),
        ("שָׁלוֹם.txt", "<שָׁלוֹם.txt>"),
        ("a/ב/ג.txt", "a/<ב>/<ג.txt>"),
        ("/" * 3 + "א/" * 9, "<" + "/" * 3 + "א/" * 9 + ">"),
        ("א\u202e", "<א\\u202e>"),
        ("א\u2069b", "<א\\u2069b>"),
    ],
)
def test_what_is_written_from_right_to_left_is_isolated(text: str, shown: str) -> None:
    shown = shown.replace("<", "\u2066").replace(">", "\u2069")
    assert safe(text) == shown
    assert safe(text, isolate=False).isprintable()
    assert not any(unicodedata.bidirectional(char) in {"R", "AL"} for char in safe(text, isolate=False))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a" + "\u0301" * 6, "a" + "\u0301" * 4 + "\\u0301" * 2),
        ("\u0301a", "\\u0301a"),
        (" \u0301", " \\u0301"),
        ("x\ufe0f\ufe0f", "x\ufe0f\\ufe0f"),
        ("\ufe0f", "\\ufe0f"),
        ("\u2800.exe", "\\u2800.exe"),
        ("\ufffc", "\\ufffc"),
        ("a\u2003b", "a\\u2003b"),
        ("a" + " " * 18 + "b", "a" + " " * 16 + "\\x20\\x20b"),
        ("a\u200cb", "a\\u200cb"),
        ("\u200dא", "\u2066\\u200dא\u2069"),
        ("👨\u200d", "👨\\u200d"),
    ],
)
def test_what_covers_or_hides_is_spelled(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_an_isolate_that_goes_on_in_the_next_line_begins_anew() -> None:
    lines = ["a \u2066א", "ב", "ג\u2069 d", "e"]
    assert list(broken(lines)) == ["a \u2066א\u2069", "\u2066ב\u2069", "\u2066ג\u2069 d", "e"]


def test_a_cut_leaves_no_mark_without_its_letter() -> None:
    assert shorten("abcdefgh" + "e\u0301", 4) == "ab…"


@pytest.mark.parametrize("limit", range(12))
def test_a_limit_counts_the_isolates(limit: int) -> None:
    shown = safe("אבגדה/אבגדה/x", limit)
    assert len(shown) <= limit
    assert balanced(shown) == shown


@given(st.text("ab\u2066\u2069", max_size=12))
def test_what_was_cut_is_balanced(text: str) -> None:
    shown, depth = balanced(text), 0
    for char in shown:
        depth += (char == "\u2066") - (char == "\u2069")
        assert depth >= 0
    assert depth == 0
    assert [char for char in shown if char in "ab"] == [char for char in text if char in "ab"]


def test_long_text_loses_its_middle_and_keeps_the_extension() -> None:
    shown = safe("x" * 10_000 + ".pdf", 20)
    assert len(shown) == 20
    assert shown.endswith(".pdf")
    assert "…" in shown


@pytest.mark.parametrize(("limit", "shown"), [(-1, ""), (0, ""), (1, "…"), (2, "a…"), (3, "a…f"), (6, "abcdef")])
def test_shorten(limit: int, shown: str) -> None:
    assert shorten("abcdef", limit) == shown


@given(st.text(st.characters(), max_size=80), st.integers(0, 90))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_is_bounded_and_harmless(text: str, limit: int) -> None:
    shown = safe(text, limit)
    assert len(shown) <= limit
    assert balanced(shown) == shown
    kept = shown.replace("\u2066", "").replace("\u2069", "")
    joiners = [char for char in kept if char in "\u200c\u200d"]
    assert len(joiners) <= text.count("\u200c") + text.count("\u200d")
    forbidden = {"Cc", "Cf", "Cs", "Zl", "Zp", "Cn"}
    assert not [char for char in kept if unicodedata.category(char) in forbidden and char not in joiners]
    shown.encode()


def test_json_escapes_every_format_and_control_character_there_is() -> None:
    dangerous = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    every = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in dangerous]
    assert len(every) > 2000
    assert [char for char in every if json_ascii(char) == char] == []


@given(st.text(st.characters(), max_size=40))
@settings(max_examples=200, deadline=None)
def test_json_keeps_its_value_and_loses_its_power(text: str) -> None:
    line = json_ascii(json.dumps({text: text}, ensure_ascii=False))
    assert json.loads(line) == {text: text}
    assert safe(line, len(line)) == line or not line.isprintable() or " " * 17 in line
    assert not [char for char in line if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]


@pytest.mark.parametrize(
    ("items", "more", "said"),
    [
        ([], 0, ""),
        (["a"], 0, "a"),
        (["a", "b"], 0, "a and b"),
        (["a", "b", "c"], 0, "a, b and c"),
        (["report.pdf", "photos/", "c", "d", "e"], 0, "report.pdf, photos/ and 3 more"),
        (["a", "b"], 1200, "a, b and 1,200 more"),
        (["a\n"], 0, "a\\n"),
    ],
)
def test_names_are_said_as_people_say_them(items: list[str], more: int, said: str) -> None:
    assert names(items, more=more) == said

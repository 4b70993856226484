r"""A pattern that ends in ``$`` lets a newline through behind what it was to check: none of ours may.

Python's ``$`` also matches before a newline at the end of the text. ``\Z``, or ``fullmatch``, does not.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import msgspec
import pytest

import p2pal
from p2pal.checkpoint.records import CheckpointHeader
from p2pal.wire import rendezvous as wire

SOURCES = Path(p2pal.__file__).parent
FUNCTIONS = {"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
OF_ANOTHER_LANGUAGE = {"openapi.py"}
"""JSON Schema's patterns are ECMAScript's: there ``$`` is the very end, and ``\\Z`` the letter Z."""


def ends_loosely(pattern: str | bytes, flags: int = 0) -> bool:
    """Whether ``$`` stands in the pattern as an anchor, wherever it is nested."""
    from re import _constants, _parser

    def walk(items: object) -> Iterator[object]:
        if isinstance(items, (tuple, list, _parser.SubPattern)):
            for each in items:
                yield each
                yield from walk(each)

    return any(each is _constants.AT_END for each in walk(_parser.parse(pattern, flags)))


def compiled() -> dict[str, re.Pattern[str] | re.Pattern[bytes]]:
    """Every pattern that a module of ours keeps, by its name."""
    found: dict[str, re.Pattern[str] | re.Pattern[bytes]] = {}
    for info in pkgutil.walk_packages(p2pal.__path__, "p2pal."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                found[f"{info.name}.{name}"] = value
    return found


def literal() -> dict[str, str | bytes]:
    """Every pattern that stands in a call to ``re``, or in the ``pattern=`` of a message's type, by its place."""
    found: dict[str, str | bytes] = {}
    for path in sorted(SOURCES.rglob("*.py")):
        if path.name in OF_ANOTHER_LANGUAGE:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            named = [each.value for each in node.keywords if each.arg == "pattern"]
            called = isinstance(node.func, ast.Attribute) and node.func.attr in FUNCTIONS
            if called and isinstance(node.func.value, ast.Name) and node.func.value.id == "re":  # type: ignore[attr-defined]
                named += node.args[:1]
            for each in named:
                if isinstance(each, ast.Constant) and isinstance(each.value, str | bytes):
                    found[f"{path.relative_to(SOURCES)}:{each.lineno}"] = each.value
    return found


def test_the_check_itself() -> None:
    assert ends_loosely("^[a-z]+$")
    assert ends_loosely("(?:a|(b$))")
    assert ends_loosely(rb"a*$")
    assert not ends_loosely(r"\$")
    assert not ends_loosely("[$]")
    assert not ends_loosely(r"^a\Z")


def test_no_pattern_lets_a_newline_through_at_its_end() -> None:
    patterns = compiled()
    assert len(patterns) > 25
    loose = [name for name, pattern in patterns.items() if ends_loosely(pattern.pattern, pattern.flags & ~re.UNICODE)]
    texts = literal()
    assert len(texts) > 25
    assert loose + [place for place, pattern in texts.items() if ends_loosely(pattern)] == []


@pytest.mark.parametrize("newline", ["\n", "\r", "\n\n", "\u2028"])
def test_what_a_server_or_a_checkpoint_names_has_no_newline_behind(newline: str) -> None:
    good = "a" * 26
    for kind in (wire.Id, wire.MeetingId, wire.ReasonWord, get_type_hints(CheckpointHeader, include_extras=True)["id"]):
        assert msgspec.convert(good, kind) == good
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(good + newline, kind)

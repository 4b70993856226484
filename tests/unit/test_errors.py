from __future__ import annotations

import re
from pathlib import Path

from p2pal import errors
from p2pal.errors import P2palError, ProtocolError, first_error


def drawn(kind: type[P2palError], depth: int = 0) -> list[tuple[int, str, int]]:
    """The tree of the errors: depth, name and exit code of each, in the order in which they are defined."""
    below = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [(depth, kind.__name__, kind.exit_code), *(line for child in below for line in drawn(child, depth + 1))]


def test_the_tree_that_is_drawn_is_that_of_the_classes() -> None:
    lines = re.findall(r"^    ([│├└─ ]*)(\w+) +(\d+) ", errors.__doc__ or "", re.MULTILINE)
    tree = [(len(prefix) // 4, name, int(code)) for prefix, name, code in lines]
    assert sorted(tree) == sorted(drawn(P2palError)[1:])


def test_our_own_error_is_chosen_out_of_a_group() -> None:
    ours, other = ProtocolError("x"), ValueError()
    assert first_error(BaseExceptionGroup("", [other, BaseExceptionGroup("", [ours])])) is ours
    assert first_error(BaseExceptionGroup("", [other, KeyError()])) is other


def test_the_rooms_of_texts_are_those_that_are_named() -> None:
    """Whoever looks for the text of an error finds every module that has some for several causes."""
    package = Path(errors.__file__).parent
    rooms = {".".join(each.relative_to(package.parent).with_suffix("").parts) for each in package.rglob("*_errors.py")}
    assert set(re.findall(r":mod:`(p2pal\.\S+_errors)`", errors.__doc__ or "")) == rooms

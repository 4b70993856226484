"""The id of a checkpoint on the command line: its shape, and its completion from the names of files alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import takewhile
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from p2pal.cli.options import quoted
from p2pal.disk.checkpoints.ids import CHECKPOINT_FILE, ID_PREFIX, usual_home
from p2pal.errors import P2palError, UsageError

SHOWN: Final = 8
"""Characters of an id that a person sees, unless more are needed to tell it from others."""


def shortened(ids: Iterable[str]) -> dict[str, str]:
    """Return for each id its first characters, eight or as many more as tell it from all the others."""
    ordered = sorted(set(ids))
    short: dict[str, str] = {}
    for index, each in enumerate(ordered):
        beside = [*ordered[max(index - 1, 0) : index], *ordered[index + 1 : index + 2]]
        alike = max((_common(each, other) for other in beside), default=0)
        short[each] = each[: max(SHOWN, alike + 1)]
    return short


def _common(one: str, other: str) -> int:
    """Count the characters with which both begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def stored(role: str | None = None) -> list[str]:
    """Return the ids of the checkpoints of this role, or of both, that are there. No file is opened."""
    from p2pal.cli import config

    try:
        home = config.home() or usual_home()
        names = os.listdir(os.path.join(home, "checkpoints"))
    except (OSError, RuntimeError, P2palError):
        return []
    found = [match for name in names if (match := CHECKPOINT_FILE.fullmatch(name))]
    return sorted({match.group(1) for match in found if role in {None, match.group(2)}})


class CheckpointId(click.ParamType[str]):
    """An id of a checkpoint, or how it begins.

    Args:
        role: ``send`` or ``receive``, to complete the ids of these alone; None for both.
    """

    name = "id"

    def __init__(self, role: str | None = None) -> None:
        self._role = role

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> str:
        """Return it in lower case; refuse what can be none."""
        text = str(value).strip().lower()
        if not ID_PREFIX.fullmatch(text):
            raise UsageError(
                f"{quoted(str(value))} is no id of a checkpoint", hint="'p2pal checkpoint list' shows the ids"
            )
        return text

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[Any]]:
        """Complete what is there."""
        short = shortened(stored(self._role))
        begun = incomplete.lower()
        return [CompletionItem(short[each] if len(begun) <= len(short[each]) else each) for each in short
                if each.startswith(begun)]  # fmt: skip

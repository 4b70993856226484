"""The public names: all there, and none of them loaded before it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import p2pal


@pytest.mark.parametrize("name", p2pal.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(p2pal, name) is not None


def test_events_and_decisions_need_no_other_import() -> None:
    from p2pal import Decision, events

    assert events.Event is p2pal.Event
    assert issubclass(events.Code, p2pal.Event)
    assert p2pal.events is events
    assert Decision(accept=True) == p2pal.Decision(accept=True, replace=False)


def test_other_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="'p2pal' has no attribute 'sned'"):
        p2pal.sned  # noqa: B018


def test_importing_it_loads_nothing() -> None:
    script = "import sys, p2pal; print([name for name in sys.modules if name.startswith(('p2pal.', 'msgspec'))])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['p2pal._version']"

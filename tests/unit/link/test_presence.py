from __future__ import annotations

import pytest

from p2pal.link.presence import FLAP, Presence


def test_both_are_there_at_first() -> None:
    presence = Presence()
    assert presence.both
    assert not presence.is_away(1e6)
    assert presence.tell_at() is None
    assert not presence.look(1e6, matters=True)


@pytest.mark.parametrize(
    ("here", "there", "what"), [(False, True, "network"), (True, False, "peer"), (False, False, "network")]
)
def test_an_absence_is_told_once_it_is_no_flap(here: bool, there: bool, what: str) -> None:
    presence = Presence()
    assert presence.on_change(here, there, 10.0) is None
    assert not presence.both
    assert presence.tell_at() == 10.0 + FLAP
    assert not presence.look(10.0 + FLAP / 2, matters=True)
    assert not presence.is_away(10.0 + FLAP / 2)
    assert presence.look(10.0 + FLAP, matters=True)
    assert presence.told == what
    assert presence.is_away(10.0 + FLAP)
    assert presence.tell_at() is None
    assert not presence.look(11.0 + FLAP, matters=True)
    assert presence.on_change(True, True, 30.0) == 20.0
    assert presence.look(30.0, matters=True)
    assert presence.told == ""


def test_the_time_counts_from_the_first_side_to_the_last() -> None:
    presence = Presence()
    assert presence.on_change(False, True, 10.0) is None
    assert presence.on_change(False, False, 12.0) is None
    assert presence.on_change(True, False, 14.0) is None
    assert presence.look(14.0, matters=True)
    assert presence.told == "peer"
    assert presence.on_change(True, True, 15.0) == 5.0
    assert presence.on_change(True, True, 16.0) is None


def test_what_does_not_matter_is_not_told() -> None:
    presence = Presence()
    presence.on_change(False, True, 10.0)
    assert not presence.look(20.0, matters=False)
    assert presence.look(20.0, matters=True)
    assert presence.look(21.0, matters=False)
    assert presence.told == ""

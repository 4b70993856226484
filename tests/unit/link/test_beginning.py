from __future__ import annotations

from p2pal.link.beginning import Beginning


def test_only_the_time_together_counts() -> None:
    beginning = Beginning(16.0, 60.0)
    assert beginning.ends_at is None
    beginning.start(100.0)
    assert beginning.ends_at == 116.0
    beginning.on_presence(False, 110.0)
    beginning.on_presence(False, 115.0)
    assert beginning.ends_at == 170.0
    beginning.on_presence(True, 130.0)
    assert beginning.ends_at == 136.0
    beginning.on_presence(False, 131.0)
    assert beginning.ends_at == 171.0
    beginning.on_presence(True, 171.0)
    assert beginning.ends_at == 176.0


def test_who_is_offline_before_the_start_counts_from_then() -> None:
    beginning = Beginning(16.0, 60.0)
    beginning.on_presence(False, 1.0)
    beginning.start(5.0)
    assert beginning.ends_at == 65.0


def test_once_the_link_stands_it_matters_no_more() -> None:
    beginning = Beginning(16.0)
    beginning.start(0.0)
    beginning.stop()
    beginning.on_presence(False, 1.0)
    assert beginning.ends_at is None


def test_there_may_be_no_end() -> None:
    beginning = Beginning(None)
    beginning.start(0.0)
    beginning.on_presence(False, 1.0)
    assert beginning.ends_at is None

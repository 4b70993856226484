from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.app import events
from p2pal.app.event_throttle import BOUNDED_BY_THEMSELVES, BURST, INTERVAL, LIMITED, EventThrottle
from p2pal.app.events import AnyEvent, Progress, Reconnected, Silence, Waiting

FULL, FREE = Waiting(what="peer-disk", seconds=1.0), Waiting(what="")
PROGRESS = Progress(done=1, total=2, files_done=0, files_failed=0, files=1, rate=0.0, eta=None)


def test_every_kind_of_event_is_one_of_the_two() -> None:
    """A new kind needs the decision: can somebody else bring it about again and again?"""
    assert set(events.Event.__subclasses__()) == BOUNDED_BY_THEMSELVES | LIMITED
    assert not BOUNDED_BY_THEMSELVES & LIMITED


def toggled(throttle: EventThrottle, times: int, now: float) -> list[AnyEvent]:
    return [told for n in range(times) for told in throttle.handle((FULL, FREE)[n % 2], now)]


def test_what_was_said_last_is_told_in_its_time() -> None:
    throttle = EventThrottle()
    assert toggled(throttle, BURST, 5.0) == [FULL, FREE] * (BURST // 2)
    assert toggled(throttle, 1001, 5.0) == []  # ends with FULL
    due = throttle.next_timeout()
    assert due == 5.0 + INTERVAL
    assert throttle.handle_timeout(due - 0.1) == []
    assert throttle.handle_timeout(due) == [FULL]
    assert throttle.next_timeout() is None


def test_what_is_as_it_was_said_is_not_said_again() -> None:
    throttle = EventThrottle()
    toggled(throttle, BURST, 5.0)  # ends with FREE
    assert toggled(throttle, 1000, 5.0) == []
    assert throttle.next_timeout() is None


def test_kinds_are_held_back_by_themselves_and_the_rest_passes() -> None:
    throttle = EventThrottle()
    toggled(throttle, BURST + 1, 5.0)
    assert throttle.handle(Silence(seconds=1.0), 5.0) == [Silence(seconds=1.0)]
    assert throttle.handle(Reconnected(), 5.0) == [Reconnected()]
    for _ in range(1000):
        assert throttle.handle(PROGRESS, 6.0) == [PROGRESS]
    assert throttle.handle(PROGRESS, 5.0 + INTERVAL) == [FULL, PROGRESS]


@given(st.lists(st.tuples(st.sampled_from([FULL, FREE, Silence(seconds=2.0), Silence(seconds=0.0), PROGRESS]),
                          st.floats(0, 5)), max_size=200))  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_in_the_end_the_last_of_each_kind_was_told(script: list[tuple[AnyEvent, float]]) -> None:
    throttle, now, told, last = EventThrottle(), 0.0, [], {}
    for event, step in script:
        now += step
        last[type(event)] = event
        told += throttle.handle(event, now)
        waiting = sum(isinstance(each, Waiting) for each in told)
        assert waiting <= BURST + now / INTERVAL + 1e-6
    while (due := throttle.next_timeout()) is not None:
        now = max(now, due)
        told += throttle.handle_timeout(now)
    for kind, event in last.items():
        assert [each for each in told if type(each) is kind][-1] == event

"""The parameters of congestion control (:mod:`p2pal.lanes.udp.congestion`), all of them, with their units."""

from __future__ import annotations

from typing import Final

INITIAL_PACKETS: Final = 32
"""Packets on the way before anything is known (paced over a round trip)."""
MIN_PACKETS: Final = 4
"""Packets that may be on the way whatever the model says."""

LEAST_RATE: Final = 2000.0
"""Bytes per second that may leave whatever the model says: a packet has to tell of better times."""

STARTUP_GAIN: Final = 2.77
"""Of the pacing rate while the path's rate is looked for: doubles what is delivered in each round trip."""
DRAIN_GAIN: Final = 0.5
DOWN_GAIN: Final = 0.9
UP_GAIN: Final = 1.25
WINDOW_GAIN: Final = 1.6
"""Bandwidth-delay products that may be on the way: what others need to find room in a queue of one."""
STARTUP_WINDOW_GAIN: Final = 2.0
UP_WINDOW_GAIN: Final = 2.25
PACING_MARGIN: Final = 0.01
"""By how much less than the modelled rate is sent, so that queues empty by themselves."""

FULL_GROWTH: Final = 1.25
"""Growth of the rate in one round trip that shows that the path is not full."""
FULL_ROUNDS: Final = 3
"""Round trips without such growth after which it is."""
DELAY_GROWTH: Final = 1.5
"""Growth of the rate below which a queue ends the start-up."""
DELAY_RATIO: Final = 0.25
"""Of the least round trip: delay of a whole round that is a queue."""
LEAST_DELAY: Final = 0.004
"""Seconds of delay that are none."""

LOSS_THRESHOLD: Final = 0.03
"""Loss beyond the path's own that is too much."""
STARTUP_LOSS: Final = 0.10
"""Loss in one round trip that ends the start-up."""
MAX_FLOOR: Final = 0.025
"""Loss that may be taken for the path's own."""
FLOOR_PACKETS: Final = 500
"""Packets after which half of what the path's own loss is taken for comes from them."""
BETA: Final = 0.7
"""What is left of a bound after a round trip of too much loss, unless more was delivered."""
CUT_SHARE: Final = 0.95
"""Of the rate that was delivered in such a round trip: a bucket refills and a queue empties below what they carry."""
SETTLE_ROUNDS: Final = 2
"""Round trips from a cut to the first in which all that arrives left after it."""
CALM_ROUNDS: Final = 2
"""Round trips with no queue of our own after which a queue is others'."""
STANDING_ROUNDS: Final = 2
"""Round trips in a row in which it has to stand: what a busy machine sends late leaves at once, and is a queue for one
of them."""
FULL_QUEUE_RATIO: Final = 0.5
"""Of the least round trip: a delay of a whole round trip that a queue has when it is about to overflow."""
COMPETE_GAIN: Final = 1.2
"""Of the window, in each round trip, that is paced beside others: the window is the bound, not the pacer."""
CHECK_WAIT: Final = (3.0, 5.0)
"""Seconds from one look at whether others still fill the queue to the next."""
SHARED_TIME: Final = 10.0
"""Seconds for which others are expected back."""
ALONE_TIME: Final = 30.0
"""Seconds for which the rate counts that the path had for us alone."""
LARGE_SHARE: Final = 0.5
"""Of that rate: with more than it the window does not grow, with a little more it gives way by more."""
OVERFLOW_LOSS: Final = 0.01
"""Loss beyond the path's own that gives way to others though no queue shows."""
WINDOW_BETA: Final = 0.75
LARGE_WINDOW_BETA: Final = 0.6
YIELD_BETA: Final = 0.99
"""What is left of the window when a queue overflowed; with a large share; and with one in each round trip without."""
CUBIC: Final = 0.4
"""Packets per cubic second by which it grows back (RFC 9438, section 5)."""
RENO_GROWTH: Final = 0.5
"""Packets by which a round trip lets it grow at least."""
SPREAD_GAIN: Final = 1.25
"""By how much it grows in a round trip while the queue that others had filled is empty."""
HIGH_RTT_ROUNDS: Final = 16
"""Round trips over which the longest ones are remembered."""
QUIET_ROUNDS: Final = 3
"""Round trips after which it shows what giving way brought."""
FRUITLESS_ROUNDS: Final = 12
"""Round trips without loss that giving way should bring."""
FRUITLESS_CUTS: Final = 3
"""Times in a row without that after which the others do not care for loss."""
FIRM_TIME: Final = (8.0, 12.0)
"""Seconds for which the window stands firm then."""
FIRM_LOSS: Final = 0.05
"""Loss, over :data:`LOSS_ROUNDS` round trips, that makes it give way all the same."""
MOST_FIRM_LOSS: Final = 0.15
"""Loss that ends it: this is a crowd, and not one flow that does not care."""
FIRM_SHARE: Final = 0.3
"""Of the rate that the path had for us alone: what may stand firm."""
FIRM_GROWTH: Final = 1.2
"""By how much it may grow meanwhile: they take what a loss frees, and give back what is held."""
FIRM_BETA: Final = 0.85
"""What is left of the window meanwhile if too much is lost."""
RESTORE_BETA: Final = 0.8
"""By how much less the window goes back to next time."""
LOSS_ROUNDS: Final = 8

PROBE_WAIT: Final = (1.5, 2.5)
"""Seconds from one look for more to the next, drawn anew each time so that flows do not move in step."""
MOST_BACKOFF: Final = 4
"""Times as long as that is waited after looks that found nothing but loss."""
UP_GROWTH: Final = 1.08
"""Growth of the rate in one round trip that makes a look go on, even where others lose by it: a flow with a small share
grows by more than one with a large share, so that shares draw near."""
UP_ROUNDS: Final = 8
"""Round trips that one look lasts at most if the application holds us back."""
MOST_DOWN_ROUNDS: Final = 3
"""Round trips that less is sent to empty the queue: what is left then is not ours."""

MIN_RTT_WINDOW: Final = 10.0
"""Seconds that the least round trip is believed."""
PROBE_RTT_TIME: Final = 0.2
"""Seconds for which little is on the way, to see the least round trip again."""
PROBE_RTT_GAIN: Final = 0.5
AGGREGATION_ROUNDS: Final = 10
MOST_AGGREGATION: Final = 0.1
"""Seconds of the path's rate that may be acknowledged at once beyond what was expected."""
BURST_TIME: Final = 0.001
"""Seconds of the paced rate that one batch holds at most."""
RECENT_ROUNDS: Final = 10
"""Round trips whose best rate counts as the rate of late."""

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
RIVAL_WINDOW_GAIN: Final = 2.5
"""The same beside others that let the queue overflow all the time."""
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
WINDOW_BETA: Final = 0.75
"""What is left of what was on the way when a queue overflowed."""
CUBIC: Final = 0.4
"""Packets per cubic second by which it grows back (RFC 9438, section 5)."""
QUEUE_RATIO: Final = 0.5
"""Of the least round trip: delay of a whole round with which loss is that of a queue which overflows."""
QUIET_ROUNDS: Final = 4
"""Round trips without it after which an overflow is a new one."""
LOUD_ROUNDS: Final = 12
"""Of the last :data:`RIVAL_ROUNDS` round trips: overflows in so many, though we made room, are a rival's."""
RIVAL_ROUNDS: Final = 24
LEAST_WINDOW_GAIN: Final = 1.1
"""Bandwidth-delay products that may be on the way after any number of overflows."""

PROBE_WAIT: Final = (1.5, 2.5)
"""Seconds from one look for more to the next, drawn anew each time so that flows do not move in step."""
MOST_BACKOFF: Final = 4
"""Times as long as that is waited after looks that found nothing but loss."""
QUEUE_BACKOFF: Final = 2
"""The same after looks that found a queue that others fill."""
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

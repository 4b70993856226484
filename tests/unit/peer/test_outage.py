from __future__ import annotations

from collections.abc import Sequence

import pytest

from p2pal.link.actions import LinkUp, Retrying, WaitingFor
from p2pal.peer.events import LinkBack, LinkSilent, PeerEvent
from p2pal.peer.outage import Outages

Happened = LinkSilent | Retrying | WaitingFor | LinkUp

FIRST, AGAIN = LinkUp(1), LinkUp(2)
SILENT, HEARD = LinkSilent(3.0), LinkSilent(0.0)
AWAY, HERE = WaitingFor("network", 600.0), WaitingFor("", 500.0)
RETRY = Retrying(1, None, 0.0)


@pytest.mark.parametrize(
    ("happened", "told"),
    [
        pytest.param([RETRY, FIRST], [RETRY], id="the first link is no repair"),
        pytest.param(
            [FIRST, SILENT, RETRY, AGAIN, AGAIN], [SILENT, RETRY, HEARD, LinkBack()], id="each outage ends once"
        ),
        pytest.param(
            [FIRST, AWAY, HERE, AGAIN], [AWAY, HERE, LinkBack()], id="that the link is back is told after a wait"
        ),
        pytest.param([FIRST, SILENT, FIRST], [SILENT, HEARD], id="a silence that ended by itself is no repair"),
    ],
)
def test_each_outage_is_told_from_its_first_sign_to_its_end(
    happened: Sequence[Happened], told: Sequence[PeerEvent]
) -> None:
    outages = Outages()
    assert [each for event in happened for each in outages.told(event)] == told

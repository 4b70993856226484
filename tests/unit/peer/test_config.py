"""What follows from how a side connects."""

from __future__ import annotations

import pytest

from p2pal.lanes.ice_servers import RelayUse
from p2pal.lanes.webrtc.factory import WebRtcFactory
from p2pal.peer.config import PeerConfig


@pytest.mark.parametrize(
    ("relay", "max_retries", "improves"),
    [
        (RelayUse.ALLOWED, 3, True),
        (RelayUse.ALLOWED, None, True),
        (RelayUse.NEVER, 3, True),
        (RelayUse.ONLY, 3, False),
        (RelayUse.ALLOWED, 0, False),
    ],
)
def test_when_better_paths_are_looked_for(relay: RelayUse, max_retries: int | None, improves: bool) -> None:
    config = PeerConfig(sender=True, max_payload=1, connections=WebRtcFactory(), relay=relay, max_retries=max_retries)
    assert config.improves is improves

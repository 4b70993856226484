"""p2pal as a hostile side that knows the code: it tells of the addresses in a file, one to a line, and of no other.

Usage: ``misleading.py FILE PYTHON -m p2pal ARGS``. It connects to nothing itself: the other side
goes on trying.
"""

from __future__ import annotations

import sys
from pathlib import Path

from p2pal.cli.main import main
from p2pal.lanes.webrtc.connection import WebRtcConnection
from p2pal.link.offer_answer import Exchange
from p2pal.wire.signal import Candidate

lines, sys.argv[1:] = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines(), sys.argv[5:]
_describe = Exchange.describe


def _mislead(self: Exchange, sdp: str) -> None:
    _describe(self, sdp)
    for line in lines:
        self.say(Candidate(self.generation, line, "0", 0))


async def _pass_over(self: WebRtcConnection, candidate: Candidate) -> None:
    """The other side's candidates are not used."""


Exchange.describe = _mislead  # type: ignore[method-assign]
Exchange.local_candidate = lambda self, candidate: None  # type: ignore[method-assign]
WebRtcConnection.add_candidate = _pass_over  # type: ignore[method-assign]
main()

"""How much a stranger can have printed: a peer before and after consent, a server, and the engine that quotes them."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.isolation import need

from p2pal.app import events
from p2pal.app.event_throttle import BURST, LIMITED
from p2pal.app.transfer import Transfer
from p2pal.cli.streams import Writer
from p2pal.cli.ui.progress_lines import Plain
from p2pal.cli.ui.views import MAX_FAILURES, JsonView, QuietView, ReceiverView, SenderView, View, present
from p2pal.errors import P2palError
from p2pal.server import logs

FLOOD = 20_000
"""Times that a stranger says each thing."""


def flood() -> list[events.Event]:
    """Everything that a peer or a server can bring about again and again."""
    found: list[events.Event] = []
    for turn in range(FLOOD):
        found += [
            events.Waiting(what="peer-disk" if turn % 2 else "", seconds=1.0),  # a peer toggles Hold
            events.WrongGuess(left=3, reason="version"),  # a server announces joiners of another version
            events.Silence(seconds=float(turn % 2)),
            events.Reconnecting(attempt=turn, attempts=None, delay=0.0),
            events.Reconnected(),
            events.Connected(path=f"direct, host udp {turn}"),
            events.Unproven(),
            events.Unsaved(reason=f"{turn}"),
        ]
    assert {type(event) for event in found} == LIMITED
    return found


class Flooded(Transfer):
    """A transfer in which strangers say a lot."""

    async def _work(self) -> P2palError | None:
        for event in flood():
            self._emit(event)  # type: ignore[arg-type]
        return None

    async def _keep(self) -> None:
        return None

    def _stop(self) -> bool:
        return False


@pytest.mark.parametrize("name", ["sender", "receiver", "json", "quiet"])
async def test_what_others_bring_about_is_bounded_on_every_view(name: str, tmp_path: Path) -> None:
    out = io.StringIO()
    writer = Writer(out)
    board = Plain(writer, lambda: 0.0)
    views: dict[str, View] = {
        "sender": SenderView(writer, board, 300.0),
        "receiver": ReceiverView(writer, board, tmp_path),
        "json": JsonView(writer),
        "quiet": QuietView(writer, writer, "send"),
    }
    async with Flooded() as transfer:
        await present(transfer, views[name])
    views[name].close(None)
    lines = out.getvalue().count("\n")
    assert lines <= 4 * BURST * len(LIMITED)
    assert (lines > 0) is (name != "quiet")


def test_names_that_start_over_are_bounded(tmp_path: Path) -> None:
    out = io.StringIO()
    view = ReceiverView(Writer(out), Plain(Writer(out), lambda: 0.0), tmp_path)
    for number in range(FLOOD):
        view.show(events.StartingOver(reason="it changed", name=f"{number}"))
    assert out.getvalue().count("\n") == MAX_FAILURES + 1


@pytest.fixture
def own_log() -> Iterator[None]:
    before = logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate
    yield
    logs.configure("text")  # by the system's clock again
    logs.LOGGER.handlers[:], logs.LOGGER.level, logs.LOGGER.propagate = before


@pytest.mark.usefixtures("own_log")
def test_the_log_of_the_server_is_bounded() -> None:
    now = [0.0]
    out = io.StringIO()
    logs.configure("text", out, logging.INFO, clock=lambda: now[0])
    for _ in range(FLOOD):
        logs.log("joined")
    assert out.getvalue().count("\n") == logs.LINES_AT_ONCE
    logs.log("created")  # another event is not concerned
    now[0] = 1.0
    logs.log("joined")
    assert out.getvalue().splitlines()[-1].endswith(f"left_out={FLOOD - logs.LINES_AT_ONCE}")


ENGINE = """
import asyncio, os, sys
from p2pal.cli import streams
if sys.argv[1] == "ours":
    streams.take_stderr()
import webrtc

async def main():
    a, b = webrtc.RTCPeerConnection(), webrtc.RTCPeerConnection()
    a.create_data_channel("p2pal", webrtc.RTCDataChannelInit(negotiated=True, id=0))
    sdp = (await a.create_offer()).sdp
    for bad in (sdp.replace("a=mid:0", "a=mid:EVIL"), sdp.replace("BUNDLE 0", "BUNDLE EVIL")):
        try:
            await b.set_remote_description(webrtc.RTCSessionDescriptionInit(type="offer", sdp=bad))
        except webrtc.PythonWebRTCExceptionBase:
            print("refused")
    a.close()
    b.close()

asyncio.run(main())
os.write(2, b"a C library\\n")
sys.stderr.write("p2pal\\n")
"""


@pytest.mark.parametrize("whose", ["ours", "everybody's"])
def test_the_engine_cannot_write_a_peers_text_to_the_terminal(whose: str) -> None:
    """Its log quotes what a peer sent, and goes to descriptor 2: that one leads nowhere."""
    ran = subprocess.run(
        [*need("--net"), sys.executable, "-c", ENGINE, whose], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout == "refused\nrefused\n"
    if whose == "ours":
        assert ran.stderr == "p2pal\n"
    else:  # so it is worth while
        assert "EVIL" in ran.stderr


@pytest.mark.parametrize("command", ["send", "recv", "doctor"])
def test_the_commands_that_load_the_engine_have_the_terminal_for_themselves(command: str, tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        f"sys.argv = ['p2pal', {command!r}, '--no-such-flag']\n"
        "from p2pal.cli.main import main\n"
        "code = main()\n"
        "os.write(2, b'a C library\\n')\n"
        "sys.exit(code)\n"
    )
    env = os.environ | {"P2PAL_HOME": str(tmp_path), "P2PAL_ONLY_LOOPBACK": "1"}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=env)
    assert ran.returncode == 2
    assert ran.stderr.startswith("p2pal: ")
    assert "a C library" not in ran.stderr

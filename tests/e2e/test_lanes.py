"""Which kind of lane carries a transfer, as its users choose it, and what a lane lives through."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.e2e.conftest import Start
from tests.e2e.kit import Commands, Gate
from tests.e2e.trees import MIB, content, write

SIZE = 48 * MIB
"""More than is on the way to a receiver at once."""


@pytest.mark.parametrize("chooses", ["send", "recv", "both"])
@pytest.mark.parametrize("kind", ["udp", "webrtc"])
def test_one_side_is_enough_to_choose_the_kind(
    sender: Start, receiver: Start, tmp_path: Path, out: Path, kind: str, chooses: str
) -> None:
    source = write(tmp_path / "big", content(SIZE))
    sent = sender(source, "--json", *(("-lane", kind) if chooses != "recv" else ()))
    received = receiver(sent.code(), "-out", out, "--json", *(("-lane", kind) if chooses != "send" else ()))
    assert (received.wait(), sent.wait()) == (0, 0)
    assert (out / "big").read_bytes() == source.read_bytes()
    for side in (sent, received):
        lanes = {event["lane"] for event in side.events if event["event"] == "path"}
        assert lanes == {kind}
        assert "reconnecting" not in side.kinds


def test_sides_without_a_kind_in_common_say_so(sender: Start, receiver: Start, tmp_path: Path, out: Path) -> None:
    sent = sender(write(tmp_path / "file", "content"), "-lane", "udp")
    received = receiver(sent.code(), "-out", out, "-lane", "webrtc")
    assert (received.wait(), sent.wait()) == (5, 5)
    hint = "leave out -lane, or --relay-only, on one of the sides"
    assert f"p2pal: this side uses udp lanes, the other one webrtc lanes; {hint}\n" in sent.err
    assert f"p2pal: this side uses webrtc lanes, the other one udp lanes; {hint}\n" in received.err


@pytest.mark.parametrize("command", ["send", "recv"])
def test_a_kind_that_does_not_exist(commands: Commands, tmp_path: Path, command: str) -> None:
    ended = commands.run(command, "-lane", "quic", write(tmp_path / "file", "content"))
    assert ended.wait() == 2
    assert "-lane takes auto, udp or webrtc, not 'quic'" in ended.err


def test_relays_need_the_engine(commands: Commands, tmp_path: Path) -> None:
    ended = commands.run("send", "-lane", "udp", "--relay-only", write(tmp_path / "file", "content"))
    assert ended.wait() == 2
    assert "--relay-only and -lane udp exclude each other" in ended.err


@pytest.mark.parametrize("kind", ["udp", "auto"])
@pytest.mark.parametrize("stopped", ["send", "recv"])
def test_a_side_that_stands_still_for_a_while_goes_on(
    sender: Start, receiver: Start, tmp_path: Path, out: Path, stopped: str, kind: str
) -> None:
    source = write(tmp_path / "big", content(SIZE))
    gate = Gate(tmp_path / "gate")
    sent = sender(source, "--json", "-lane", kind)
    received = receiver(sent.code(), "-out", out, "--json", "-lane", kind, env=gate.environment)
    gate.allow(3 * MIB)
    received.moved(2 * MIB)
    one, other = (sent, received) if stopped == "send" else (received, sent)
    one.signal(signal.SIGSTOP)
    other.event("silence")  # it misses the other one
    gate.open()
    one.signal(signal.SIGCONT)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert (out / "big").read_bytes() == source.read_bytes()

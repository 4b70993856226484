"""Attacks on WebRTC itself: a peer with the words that is hostile, a server that hands out nonsense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs
from tests.contract.lane_pairs import Signaling, connect
from tests.contract.test_lane import Ear
from tests.security.hostile import hostile_sender

from p2pal.cli.exit import describe
from p2pal.errors import ProtocolError
from p2pal.lanes.ice_servers import IceServerConfig
from p2pal.lanes.webrtc.connection import WebRtcConnection, allow_loopback
from p2pal.wire.rendezvous import IceServer as Offered
from p2pal.wire.rendezvous import usable_ice_servers
from p2pal.wire.signal import Candidate, Offer, SignalMessage

NONSENSE = [
    IceServerConfig(("stun:[[[",)),
    IceServerConfig(("stun:%%%",)),
    IceServerConfig(("stun::::::",)),
    IceServerConfig(("stun:a:99999",)),
    IceServerConfig(("turn:no.credentials",)),
    IceServerConfig(("turn:a:b?transport=udp",), "user", "password"),
]


def make(*servers: IceServerConfig) -> WebRtcConnection:
    allow_loopback()
    return WebRtcConnection(1, 1, Signaling(Ear()), servers, only_loopback=True)


@pytest.mark.parametrize("server", NONSENSE, ids=lambda server: server.urls[0])
async def test_an_ice_server_that_the_engine_refuses_is_passed_over(server: IceServerConfig) -> None:
    offered = usable_ice_servers([Offered(list(server.urls), server.username, server.credential)])
    assert offered, "the engine, not our own check, is asked here"
    connection = make(server, IceServerConfig(("stun:127.0.0.1:9",)))
    assert "webrtc-datachannel" in await connection.offer()
    connection.close()


CANDIDATES = [
    "candidate:1 1 udp 1 127.0.0.1 ² typ host",
    "candidate:1 1 udp 1 127.0.0.1 " + "9" * 400 + " typ host",
    "candidate:1 1 udp 99999999999999999999 127.0.0.1 70000 typ host",
    "candidate:" + "x" * 500,
    "\x00\x1b[2J",
    "candidate:1 1 udp 1 :: 9 typ host tcptype",
]


@pytest.mark.parametrize("candidate", CANDIDATES)
@pytest.mark.parametrize("only_loopback", [True, False])
async def test_a_candidate_that_is_nonsense_is_passed_over(candidate: str, only_loopback: bool) -> None:
    allow_loopback()
    connection = WebRtcConnection(1, 1, Signaling(Ear()), only_loopback=only_loopback)
    await connection.offer()
    await connection.add_candidate(Candidate(1, candidate))
    connection.close()


@pytest.mark.parametrize("media", ["audio 9 UDP/TLS/RTP/SAVPF 111", "video 9 UDP/TLS/RTP/SAVPF 96"])
@pytest.mark.parametrize("instead", [True, False])
async def test_a_description_with_other_media_is_refused_before_the_engine_sees_it(media: str, instead: bool) -> None:
    caller, called = make(), make()
    sdp = await caller.offer()
    at = sdp.index("m=application")
    hostile = sdp[:at] + f"m={media}\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\n" + ("" if instead else sdp[at:])
    with pytest.raises(ProtocolError):
        await called.answer(hostile)
    with pytest.raises(ProtocolError):
        await caller.accept(hostile)
    for connection in (caller, called):
        connection.close()


LATE = {
    "no role leaves a connection": lambda sdp: sdp.replace("a=setup:actpass", "a=setup:holdconn"),
    "a second role takes back the first": lambda sdp: sdp.replace("a=mid:0", "a=setup:holdconn\r\na=mid:0"),
    "a fingerprint is too short": lambda sdp: f"{sdp}a=fingerprint:sha-1 00:11\r\n",
    "a fingerprint of no kind that is known": lambda sdp: sdp.replace("a=fingerprint:sha-256", "a=fingerprint:md6"),
}
"""What the engine takes at first, and refuses when it makes its answer."""


@pytest.mark.parametrize("change", LATE.values(), ids=LATE)
async def test_a_description_that_the_engine_refuses_late_is_the_other_sides_fault(
    change: Callable[[str], str],
) -> None:
    caller, called = make(), make()
    hostile = change(sdp := await caller.offer())
    assert hostile != sdp
    with pytest.raises(ProtocolError):
        await called.answer(hostile)
    for connection in (caller, called):
        connection.close()


@pytest.mark.parametrize("change", LATE.values(), ids=LATE)
async def test_a_receiver_that_is_sent_one_ends_with_the_exit_code_of_a_broken_protocol(
    change: Callable[[str], str], tmp_path: Path
) -> None:
    async with hostile_sender(tmp_path) as (honest, hostile):
        hostile.stream(sender=True)
        mail = hostile.peer._signaling.send

        def send(message: SignalMessage) -> None:
            mail(structs.replace(message, sdp=change(message.sdp)) if isinstance(message, Offer) else message)

        hostile.peer._signaling.send = send  # type: ignore[method-assign]
        error = await honest.end()
    assert isinstance(error, ProtocolError), error
    assert describe(error).exit_code == 5


async def test_a_second_channel_ends_the_lane_and_fills_no_memory() -> None:
    left, right = Ear(), Ear()
    a, _ = await connect(left, right)
    await left.until(lambda: "opened" in left.heard)
    await right.until(lambda: "opened" in right.heard)
    a._pc.create_data_channel("another")
    await right.until(lambda: "closed" in right.heard)

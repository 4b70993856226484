from __future__ import annotations

import msgspec
import pytest

from p2pal.wire import rendezvous as wire

CLIENT: list[wire.ClientMessage] = [
    wire.ClientHello("t" * 32, {1: 0, 7: 512}),
    wire.Append(3, b"\x00\xff body", 2),
    wire.ClientAccept(1),
    wire.Release(1, "wrong-code"),
    wire.ClientComplete(),
    wire.Leave(),
    wire.AskIce(),
]
SERVER: list[wire.ServerMessage] = [
    wire.Welcome(wire.State.READY, 12.5, 1),
    wire.Served(4),
    wire.LogMessage(1, 0, b"\x00\xff"),
    wire.Appended(1, 0),
    wire.Released(1, "silent"),
    wire.StateChanged(wire.State.ACTIVE, 60.0, 1),
    wire.PeerPresence(online=True),
    wire.Ice([wire.IceServer(["turn:h:1"], "u", "p")]),
    wire.Error("gap", "text", 1),
]


@pytest.mark.parametrize("message", CLIENT, ids=lambda m: type(m).__name__)
def test_client_messages_survive_the_wire(message: wire.ClientMessage) -> None:
    assert wire.client_decoder.decode(wire.encoder.encode(message)) == message


@pytest.mark.parametrize("message", SERVER, ids=lambda m: type(m).__name__)
def test_server_messages_survive_the_wire(message: wire.ServerMessage) -> None:
    assert wire.server_decoder.decode(wire.encoder.encode(message)) == message


def test_bodies_are_base64_and_kinds_are_under_type() -> None:
    fields = msgspec.json.decode(wire.encoder.encode(wire.Append(0, b"\xff\xfe", 1)))
    assert fields == {"type": "append", "index": 0, "body": "//4=", "attempt": 1}


def test_the_largest_body_fits_the_largest_frame() -> None:
    largest = wire.LogMessage(2**31 - 1, wire.MAX_MESSAGES - 1, bytes(wire.MAX_BODY))
    assert len(wire.encoder.encode(largest)) <= wire.MAX_FRAME


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"type":"nothing"}',
        b'{"type":"welcome"}',
        b'{"type":"append","index":-1,"body":""}',
        b'{"type":"append","index":512,"body":""}',
        b'{"type":"append","index":0,"body":"*"}',
        b'{"type":"append","index":0,"body":5}',
        b'{"type":"accept","attempt":0}',
        b'{"type":"accept","attempt":1e99}',
        b'{"type":"release","attempt":1,"reason":"\\u001b[2J"}',
        b'{"type":"release","attempt":1,"reason":"' + b"a" * 41 + b'"}',
        b'{"type":"hello","token":"short"}',
        b'{"type":"hello","token":"' + b"t" * 32 + b'","cursors":{"0":1}}',
        b'{"type":"hello","token":"' + b"t" * 32 + b'","cursors":{"1":513}}',
    ],
)
def test_what_a_client_may_not_send(text: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        wire.client_decoder.decode(text)


def test_a_server_message_with_too_large_a_body_is_refused() -> None:
    with pytest.raises(msgspec.MsgspecError):
        wire.server_decoder.decode(wire.encoder.encode(wire.LogMessage(1, 0, bytes(wire.MAX_BODY + 1))))


def test_secrets_are_not_in_representations() -> None:
    secret = "s" * 32
    shown = [
        wire.ClientHello(secret),
        wire.Created("i" * 32, 1, secret, 1.0),
        wire.Joined("i" * 32, 1, secret, 1.0),
        wire.IceServer(["turn:h"], "user", secret),
    ]
    assert secret not in repr(shown)


def test_only_known_ice_urls_are_taken_and_at_most_eight() -> None:
    offered = [
        wire.IceServer(["stun:a.example:3478", "http://evil", "file:///etc/passwd", "turn:x y", "turn:h\x1b"]),
        wire.IceServer(["javascript:1"]),
        wire.IceServer(["turns:[::1]:5349?transport=tcp"], "u", "p"),
        wire.IceServer(["turn:h?transport=sctp"], "u", "p"),
        wire.IceServer([f"turn:h{n}" for n in range(20)], "u", "p"),
        wire.IceServer(["stun:late"]),
    ]
    taken = wire.usable_ice_servers(offered)
    assert taken[0] == wire.IceServer(["stun:a.example:3478"])
    assert taken[1] == wire.IceServer(["turns:[::1]:5349?transport=tcp"], "u", "p")
    assert taken[2].urls == [f"turn:h{n}" for n in range(6)]
    assert len(taken) == 3

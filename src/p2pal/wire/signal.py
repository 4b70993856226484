"""What the peers tell each other through the mailbox. The server carries it and reads none of it.

The first messages of each log are the key exchange (:class:`PakeElement` and so on) and are clear, because no
key exists yet; they hold nothing that helps to guess the words. Every later message is sealed
(:mod:`p2pal.crypto.seal`). All are MessagePack maps with a ``t`` tag; unknown fields are ignored, unknown
tags are a protocol error.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from p2pal.errors import ProtocolError, VersionMismatch

PROTOCOL_VERSION: Final = 1
MAX_SDP: Final = 16 * 1024
MAX_CANDIDATE: Final = 512
MAX_WINDOW: Final = 64 << 20
"""Bytes: a sender keeps as much as the window until it is acknowledged, so no receiver may ask for more."""

MAX_LANES: Final = 8
"""Kinds of lanes that one side names."""

DATAGRAM_LANES: Final = 1 << 30
"""Datagram lanes are numbered from the one after this on; those below are the engine's."""

MAX_UDP_CANDIDATES: Final = 8
"""Addresses in one message."""

SILENT: Final = "silent"
BETTER: Final = "better"
NONCE_BYTES: Final = 16

_Nonce = Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
_Element = Annotated[bytes, msgspec.Meta(min_length=33, max_length=33)]
_Confirmation = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_Generation = Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
_LaneId = Annotated[int, msgspec.Meta(ge=1, le=DATAGRAM_LANES)]
_Sdp = Annotated[str, msgspec.Meta(max_length=MAX_SDP)]
_DatagramLane = Annotated[int, msgspec.Meta(gt=DATAGRAM_LANES, lt=2**31)]
_LaneKind = Annotated[str, msgspec.Meta(min_length=1, max_length=16)]
_ShortText = Annotated[str, msgspec.Meta(max_length=200)]


class PakeElement(msgspec.Struct, frozen=True, tag_field="t", tag="pake-a"):
    """Sender to receiver, index 0: the protocol version and the SPAKE2 element."""

    element: _Element
    version: int = PROTOCOL_VERSION


class PakeAnswer(msgspec.Struct, frozen=True, tag_field="t", tag="pake-b"):
    """Receiver to sender, index 0: its element and its proof that it knows the words."""

    element: _Element
    confirmation: _Confirmation
    version: int = PROTOCOL_VERSION


class PakeConfirm(msgspec.Struct, frozen=True, tag_field="t", tag="pake-c"):
    """Sender to receiver, index 1: the sender's proof, sent only after the receiver's was right."""

    confirmation: _Confirmation


class PakeReject(msgspec.Struct, frozen=True, tag_field="t", tag="pake-x"):
    """Either side: the exchange ended here. ``reason`` is ``wrong-code``, ``version``, or (sender) ``closed``."""

    reason: _ShortText
    version: int = PROTOCOL_VERSION


class UdpCandidate(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=False):
    """An address at which the sockets of a datagram lane may be reached: a host's own, or how a STUN server sees it."""

    kind: Literal["host", "srflx"]
    ip: Annotated[str, msgspec.Meta(min_length=2, max_length=45)]
    port: Annotated[int, msgspec.Meta(ge=1, lt=2**16)]


_UdpCandidates = Annotated[tuple[UdpCandidate, ...], msgspec.Meta(max_length=MAX_UDP_CANDIDATES)]


class UdpCandidates(msgspec.Struct, frozen=True, tag_field="t", tag="udp"):
    """Either way: one side of a datagram lane, and where it may be reached.

    The leader's first one of a lane begins it, the follower answers with its own; more candidates of the same lane may
    follow. ``nonce`` is the same in all that one side says of a lane: its keys come from both sides' nonces.
    """

    lane: _DatagramLane
    nonce: _Nonce
    candidates: _UdpCandidates = ()

    def __repr__(self) -> str:
        return f"UdpCandidates(lane={self.lane}, candidates={self.candidates!r})"


class Hello(msgspec.Struct, frozen=True, tag_field="t", tag="hello", omit_defaults=True):
    """First sealed message each way: what this side can do. Frame sizes are bytes of a session frame.

    ``relay`` says what relays may carry for this side: everything where nothing else works, ``only`` or ``never``.
    ``lanes`` are the kinds of lanes that it can use; unknown ones are passed over. A side with datagram lanes says with
    ``udp`` where the first one may reach it.
    """

    max_frame: Annotated[int, msgspec.Meta(ge=1024, le=262_144)]
    window: Annotated[int, msgspec.Meta(ge=262_144, le=MAX_WINDOW)]
    relay: Literal["allowed", "only", "never"] = "allowed"
    lanes: Annotated[tuple[_LaneKind, ...], msgspec.Meta(max_length=MAX_LANES)] = ("webrtc",)
    udp: UdpCandidates | None = None


class Offer(msgspec.Struct, frozen=True, tag_field="t", tag="offer", omit_defaults=True):
    """Leader to follower: a generation, the lane it will carry, and the SDP offer (RFC 8829).

    ``beside`` is the generation that stays in use until the leader drops one of the two; this one is then made
    without relays, because a better path may be there. 0 for a generation that is in use once its lane is open.
    """

    generation: _Generation
    lane: _LaneId
    sdp: _Sdp
    beside: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0


class Answer(msgspec.Struct, frozen=True, tag_field="t", tag="answer"):
    """Follower to leader: the SDP answer to that generation's offer."""

    generation: _Generation
    sdp: _Sdp


class Candidate(msgspec.Struct, frozen=True, tag_field="t", tag="candidate"):
    """Either way: one ICE candidate (RFC 8838); an empty string ends the candidates."""

    generation: _Generation
    candidate: Annotated[str, msgspec.Meta(max_length=MAX_CANDIDATE)]
    mid: Annotated[str, msgspec.Meta(max_length=32)] = "0"
    mline: Annotated[int, msgspec.Meta(ge=0, lt=32)] = 0


class Retry(msgspec.Struct, frozen=True, tag_field="t", tag="retry"):
    """Follower to leader: this generation failed here; please start the next one.

    A ``reason`` of :data:`SILENT` says that a lane still stands, but nothing comes over it: it stays until the next
    one opens. With :data:`BETTER` nothing failed: a better path may be there. Generation 0 says that none was
    tried yet: a datagram lane carried the session so far.
    """

    generation: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
    reason: _ShortText = ""


class Fresh(msgspec.Struct, frozen=True, tag_field="t", tag="fresh"):
    """Either way, first sealed message where the peers meet again: the clear bytes with which the other's log began.

    Who can quote them has seen this log, now: what follows is no recording of an earlier one.
    """

    nonce: _Nonce


class Bye(msgspec.Struct, frozen=True, tag_field="t", tag="bye"):
    """Either way: this side ends. ``code`` is one of the error codes of :mod:`p2pal.errors`."""

    code: Annotated[str, msgspec.Meta(max_length=40)]


PakeMessage = PakeElement | PakeAnswer | PakeConfirm | PakeReject
SignalMessage = Hello | Offer | Answer | Candidate | UdpCandidates | Retry | Fresh | Bye

_encoder = msgspec.msgpack.Encoder()
_pake_decoder: msgspec.msgpack.Decoder[PakeMessage] = msgspec.msgpack.Decoder(PakeMessage)
_signal_decoder: msgspec.msgpack.Decoder[SignalMessage] = msgspec.msgpack.Decoder(SignalMessage)
_version_decoder = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])

_UNDECODABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
"""What msgspec raises for hostile bytes: besides its own errors, nesting too deep for it and text that is no UTF-8."""


def encode(message: PakeMessage | SignalMessage) -> bytes:
    """Return the message as MessagePack."""
    return _encoder.encode(message)


def decode_pake(data: bytes) -> PakeMessage:
    """Return a clear key-exchange message.

    Raises:
        VersionMismatch: If it states another protocol version, whatever else it holds.
        ProtocolError: If it is no such message.
    """
    try:
        fields = _version_decoder.decode(data)
        version = msgspec.msgpack.decode(fields.get("version", b"\x01"))
    except _UNDECODABLE as error:
        raise ProtocolError("the other side sent a malformed key-exchange message") from error
    if isinstance(version, int) and version != PROTOCOL_VERSION:
        message = "the other side speaks another version of the protocol"
        raise VersionMismatch(message)
    try:
        return _pake_decoder.decode(data)
    except _UNDECODABLE as error:
        raise ProtocolError("the other side sent a malformed key-exchange message") from error


def decode_signal(data: bytes) -> SignalMessage:
    """Return an opened mailbox message.

    Raises:
        ProtocolError: If it is no such message.
    """
    try:
        return _signal_decoder.decode(data)
    except _UNDECODABLE as error:
        raise ProtocolError("the other side sent a malformed signaling message") from error

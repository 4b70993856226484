"""What the parts of a peer tell the one above them: plain data, drained in order."""

from __future__ import annotations

import msgspec

from p2pal.lanes.paths import LaneKind
from p2pal.link.actions import GaveUp, LinkUp, Retrying, WaitingFor
from p2pal.wire.signal import SignalMessage

# The link


class PathFound(msgspec.Struct, frozen=True):
    """This path is in use, another one than before.

    Attributes:
        path: Its words.
        lane: The kind of lane that takes it, ``udp`` or ``webrtc``.
    """

    path: str
    lane: LaneKind = "webrtc"


class LinkSilent(msgspec.Struct, frozen=True):
    """Something is due from the other side over the lane in use, and nothing came for so long (seconds).

    To the owner of a peer 0 says that it is heard again.
    """

    seconds: float


class LinkLost(msgspec.Struct, frozen=True):
    """The last lane closed."""


class LinkFailed(msgspec.Struct, frozen=True):
    """The link cannot go on: the other side broke the rules, or this side can do nothing more."""

    error: BaseException


LinkEvent = LinkUp | Retrying | WaitingFor | GaveUp | PathFound | LinkSilent | LinkLost | LinkFailed

# Signaling


class Said(msgspec.Struct, frozen=True):
    """The other side said something."""

    message: SignalMessage


class Online(msgspec.Struct, frozen=True):
    """Whether each side reaches the mailbox's server, as far as this one knows."""

    here: bool
    there: bool


class Moved(msgspec.Struct, frozen=True):
    """Both sides met at another place; what was on its way between them at the old one is lost."""


class HomeLeft(msgspec.Struct, frozen=True):
    """The code's mailbox is not read here any more; it may live on."""


class MailboxLost(msgspec.Struct, frozen=True):
    """The mailbox ended, or with ``released`` our attempt in it, before the link ever stood."""

    released: bool


class SignalingFailed(msgspec.Struct, frozen=True):
    """The other side broke the protocol."""

    error: Exception


SignalingEvent = Said | Online | Moved | HomeLeft | MailboxLost | SignalingFailed

# The peer


class LinkBack(msgspec.Struct, frozen=True):
    """The link that had failed, or was silent, works again."""


class MailboxFree(msgspec.Struct, frozen=True):
    """Sender: the code's mailbox is not needed any more, and can serve others. The session goes on elsewhere."""


class ClosedByPeer(msgspec.Struct, frozen=True):
    """The other side closed the session; all is well with code 0."""

    code: int
    reason: str


PeerEvent = PathFound | Retrying | LinkBack | WaitingFor | LinkSilent | MailboxFree | ClosedByPeer

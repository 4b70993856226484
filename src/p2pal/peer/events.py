"""What the parts of a peer tell the one above them: plain data, drained in order."""

from __future__ import annotations

from dataclasses import dataclass

from p2pal.lanes.paths import LaneKind
from p2pal.link.actions import GaveUp, LinkUp, Retrying, WaitingFor
from p2pal.wire.signal import SignalMessage

# The link


@dataclass(frozen=True, slots=True)
class PathFound:
    """This path is in use, another one than before.

    Attributes:
        path: Its words.
        lane: The kind of lane that takes it, ``udp`` or ``webrtc``.
    """

    path: str
    lane: LaneKind = "webrtc"


@dataclass(frozen=True, slots=True)
class LinkSilent:
    """Something is due from the other side over the lane in use, and nothing came for so long (seconds).

    To the owner of a peer 0 says that it is heard again.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The last lane closed."""


@dataclass(frozen=True, slots=True)
class LinkFailed:
    """The link cannot go on: the other side broke the rules, or this side can do nothing more."""

    error: BaseException


LinkEvent = LinkUp | Retrying | WaitingFor | GaveUp | PathFound | LinkSilent | LinkLost | LinkFailed

# Signaling


@dataclass(frozen=True, slots=True)
class Said:
    """The other side said something."""

    message: SignalMessage


@dataclass(frozen=True, slots=True)
class Online:
    """Whether each side reaches the mailbox's server, as far as this one knows."""

    here: bool
    there: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """Both sides met at another place; what was on its way between them at the old one is lost."""


@dataclass(frozen=True, slots=True)
class HomeLeft:
    """The code's mailbox is not read here any more; it may live on."""


@dataclass(frozen=True, slots=True)
class MailboxLost:
    """The mailbox ended, or with ``released`` our attempt in it, before the link ever stood."""

    released: bool


@dataclass(frozen=True, slots=True)
class SignalingFailed:
    """The other side broke the protocol."""

    error: Exception


SignalingEvent = Said | Online | Moved | HomeLeft | MailboxLost | SignalingFailed

# The peer


@dataclass(frozen=True, slots=True)
class LinkBack:
    """The link that had failed, or was silent, works again."""


@dataclass(frozen=True, slots=True)
class MailboxFree:
    """Sender: the code's mailbox is not needed any more, and can serve others. The session goes on elsewhere."""


@dataclass(frozen=True, slots=True)
class ClosedByPeer:
    """The other side closed the session; all is well with code 0."""

    code: int
    reason: str


PeerEvent = PathFound | Retrying | LinkBack | WaitingFor | LinkSilent | MailboxFree | ClosedByPeer

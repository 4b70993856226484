"""What happens during a transfer, as plain data: the API's event stream, and ``--json`` line by line.

Every event encodes to one JSON object with its kind under ``event``. Sizes are bytes, times seconds. Names are as
the peer sent them; whoever shows them on a terminal makes them safe first (:mod:`p2pal.cli.text`).
"""

from __future__ import annotations

import shlex
from typing import Literal

import msgspec

from p2pal.app.options import DEFAULT_SERVER
from p2pal.lanes.paths import LaneKind
from p2pal.role import Role


class Event(msgspec.Struct, frozen=True, tag_field="event"):
    """The base of all events."""


class Finding(msgspec.Struct, frozen=True):
    """Something that a person should know of what is sent.

    Attributes:
        kind: ``excluded``: a name that a pattern leaves out. ``reserved-name``: a name that p2pal gives to unfinished
            files. ``file-system``: a directory where another file system is mounted. ``outward-link``: a link that
            leads out of its tree; the receiver will not make it. ``unreadable``: a file that may not be read.
            ``date``: a modification time that cannot travel.
        count: How often.
        names: The first ones.
        left_out: They are not sent, on purpose.
    """

    kind: Literal["excluded", "reserved-name", "file-system", "outward-link", "unreadable", "date"]
    count: int
    names: list[str]
    left_out: bool = False


class Listed(Event, frozen=True, tag="listed"):
    """Sender: the walk is complete; this is what will be sent, and what was found on the way."""

    names: list[str]
    files: int
    entries: int
    total: int
    findings: list[Finding] = []


class Code(Event, frozen=True, tag="code"):
    """Sender: the join code is valid from now on, for ``ttl`` seconds. ``command`` is for the other machine.

    With ``--serve`` there may be several addresses, one of which the other machine reaches: ``servers`` and
    ``commands`` are all of them, best first.
    """

    code: str
    ttl: float
    server: str
    command: str
    servers: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


def recv_command(code: str, server: str) -> str:
    """Return what to type on the other machine."""
    return f"p2pal recv{_server_flag(server)} {code}"


def resume_command(role: Role, shown_id: str, server: str) -> str:
    """Return what to type to go on with a transfer; a receiver needs the code that the sender will have then."""
    if role == "receive":
        return recv_command("NEWCODE", server)
    return f"p2pal send --resume {shown_id}{_server_flag(server)}"


def _server_flag(server: str) -> str:
    return "" if server == DEFAULT_SERVER else f" -server {shlex.quote(server)}"


class Joining(Event, frozen=True, tag="joining"):
    """Receiver: the transfer exists; the key exchange starts, or waits for its turn."""


class WrongGuess(Event, frozen=True, tag="wrong-guess"):
    """Sender: someone joined with other words or another version; ``left`` more wrong codes close the transfer."""

    left: int
    reason: Literal["wrong-code", "version"] = "wrong-code"


class PeerJoined(Event, frozen=True, tag="peer"):
    """Both sides proved that they know the words."""


class Connected(Event, frozen=True, tag="path"):
    """A path is in use, for example ``direct, udp``, by this kind of lane; comes again when the path changes."""

    path: str
    lane: LaneKind = "webrtc"


class Reconnecting(Event, frozen=True, tag="reconnecting"):
    """The connection failed; attempt ``attempt`` of ``attempts`` (None: no end) starts after ``delay`` seconds."""

    attempt: int
    attempts: int | None
    delay: float


class Reconnected(Event, frozen=True, tag="reconnected"):
    """The connection that had failed stands again; nothing was lost."""


class Silence(Event, frozen=True, tag="silence"):
    """Something is due from the other side and nothing came for ``seconds``; 0 says that it is heard again."""

    seconds: float


class Waiting(Event, frozen=True, tag="waiting"):
    """Nothing moves until something comes back.

    After ``seconds`` more this side gives up and saves a checkpoint, or never (None). ``what`` is ``network`` (this
    side reaches no server), ``peer`` (the other side does not), ``disk`` (this side's is full), ``peer-disk`` (the
    other's is), ``server`` (it does not answer, or that it is not ready, and there is nothing to save yet); an empty
    ``what`` says that it goes on.
    """

    what: Literal["network", "peer", "disk", "peer-disk", "server", ""]
    seconds: float | None = 0.0


class Resuming(Event, frozen=True, tag="resuming"):
    """Both sides proved that they go on with an earlier transfer; ``files`` and ``done`` bytes are there already.

    ``changed`` files are not as they were when the transfer began. ``where`` is the directory that the receiver writes
    into: the one from before unless the person named another; empty at the sender.
    """

    id: str
    files: int
    done: int
    total: int
    changed: int = 0
    where: str = ""


class StartingOver(Event, frozen=True, tag="starting-over"):
    """This transfer is not gone on with, or one file of it (``name``); why, in a few words."""

    reason: str
    name: str = ""


class Missing(Event, frozen=True, tag="missing"):
    """Sender: these files of a transfer that goes on cannot be sent now; ``more`` counts those beyond ``names``.

    Their checkpoint stays until they were sent, or a person gave them up.
    """

    names: list[str]
    more: int = 0


class Saved(Event, frozen=True, tag="saved"):
    """The end for now: a checkpoint is kept. ``command`` goes on; for a receiver, with the sender's new code.

    ``done`` bytes of ``total`` are durable and verified at the receiver, as ``p2pal checkpoint list`` says.
    ``failed`` entries failed in a session that otherwise came to its end, and can still be had.
    """

    id: str
    command: str
    done: int
    total: int
    failed: int = 0


class Unsaved(Event, frozen=True, tag="unsaved"):
    """No checkpoint can be kept, and why, in a few words: if this transfer is interrupted it cannot be gone on with."""

    reason: str


class Unproven(Event, frozen=True, tag="unproven"):
    """Sender: someone who knows the code, but not from the transfer that runs, wants it from the start."""


class Top(msgspec.Struct, frozen=True):
    """One top-level entry of an offer: what a person is asked about."""

    name: str
    kind: Literal["file", "directory", "link"]
    files: int
    size: int


class Offered(Event, frozen=True, tag="offer"):
    """Receiver: what the sender offers. ``tops`` are the first top-level entries, ``more`` counts the others."""

    tops: list[Top]
    more: int
    files: int
    entries: int
    total: int


class Accepted(Event, frozen=True, tag="accepted"):
    """The receiver agreed; files flow from now on. ``renamed`` maps offered top-level names to others on disk."""

    files: int
    total: int
    renamed: dict[str, str]


class Progress(Event, frozen=True, tag="progress"):
    """How far it is; at most a few times a second.

    Attributes:
        done: Bytes of the whole transfer that arrived (sender: that the receiver acknowledged), without those of files
            that failed. In the last one, and in :class:`Saved` and :class:`Summary`, it is what is durable and verified
            at the receiver, the same on both sides; after a connection that was lost each says what it knows.
        files_done: Files that ended well.
        files_failed: Files that failed or were skipped.
        rate: Bytes per second, smoothed.
        eta: Seconds left at that rate, or None while unknown.
        name: The file in work, or None.
        file_done: Bytes of it that arrived.
        file_size: Its size.
    """

    done: int
    total: int
    files_done: int
    files_failed: int
    files: int
    rate: float
    eta: float | None
    name: str | None = None
    file_done: int = 0
    file_size: int = 0


class Comparing(Event, frozen=True, tag="comparing"):
    """Sender: this file may have changed while it was sent; it is read again, and what differs is sent again."""

    name: str


class FileDelivered(Event, frozen=True, tag="file"):
    """One file (not a directory or link) is durable at the receiver and verified. ``digest`` is hex."""

    name: str
    size: int
    digest: str


class SavedAs(Event, frozen=True, tag="saved-as"):
    """Receiver: this entry stands under another name than was meant, because something else had come to stand there.

    ``saved_as`` is its path in the transfer, with that name; the directories in it have the names of the offer.
    """

    name: str
    saved_as: str


class FileNotDelivered(Event, frozen=True, tag="file-failed"):
    """One entry was skipped or failed; ``reason`` is a short text."""

    name: str
    reason: str


class Summary(Event, frozen=True, tag="summary"):
    """The end of a transfer that ran. ``ok`` is true when every file arrived.

    ``seconds`` run from consent until the last file was durable and told of; ``rate`` is bytes per second over them.

    Attributes:
        files: Files that stand at the receiver, and
        failed: entries that do not, those included that the sender left out as far as this side knows their names.
        total: Bytes that this session brought,
        done: bytes that are durable and verified at the receiver, and
        size: bytes of the whole transfer.
        left_out: Entries that the sender could not list and did not offer.
        stopped: Somebody or something ended it before its end.
        passed_over: Names that the sender left out on purpose (see :class:`Finding`); they are no failures.
        renamed: Receiver: entries of this session that stand under other names than were meant (:class:`SavedAs`).
    """

    role: Role
    ok: bool
    files: int
    failed: int
    total: int
    seconds: float
    rate: float
    path: str
    done: int = 0
    size: int = 0
    left_out: int = 0
    stopped: bool = False
    passed_over: int = 0
    renamed: int = 0


class Failure(Event, frozen=True, tag="error"):
    """The end of a transfer that did not go through; ``code`` and ``exit_code`` are those of the error."""

    code: str
    message: str
    hint: str
    exit_code: int


AnyEvent = (
    Listed | Code | Joining | WrongGuess | PeerJoined | Connected | Reconnecting | Reconnected | Silence | Waiting
    | Offered | Accepted | Resuming | Missing | StartingOver | Unproven | Unsaved | Progress | Comparing | FileDelivered
    | SavedAs | FileNotDelivered | Saved | Summary | Failure
)  # fmt: skip

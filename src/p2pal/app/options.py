"""What a caller may choose: plain, validated settings shared by the Python API and the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from p2pal.disk.checkpoints.ids import DEFAULT_TTL
from p2pal.errors import UsageError
from p2pal.hosts import is_loopback
from p2pal.lanes.ice_servers import RelayUse
from p2pal.wire.ice_urls import is_stun_url, is_turn_url

DEFAULT_SERVER: Final = "http://localhost:8080"
DEFAULT_STUN: Final = "stun:stun.l.google.com:19302"
DEFAULT_WAIT: Final = 600.0
LANES: Final = ("udp", "webrtc")
"""The kinds of lanes there are."""
MIN_CHUNK_KIB: Final = 4
SMALL_CHUNK_KIB: Final = 63
"""With its headers it fits a message of 64 KiB."""
MAX_CHUNK_KIB: Final = 255
"""The engine's largest message is 256 KiB; a frame adds its headers and a 16-byte tag to the chunk."""

MAX_TURN_USER: Final = 508
"""Bytes of a TURN user name that the engine takes."""


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """How to reach the server and the peer.

    Attributes:
        server: The signaling server's URL (http or https), perhaps with user name and password.
        stun: STUN server URLs, used instead of those that the signaling server names. The default is used where it
            names none; empty for its alone, None for none at all.
        turn: TURN server URLs, used instead of those that the signaling server names; they need ``turn_user`` and
            ``turn_pass``.
        turn_user: The TURN user name.
        turn_pass: The TURN password.
        relay: What TURN servers may carry, on either side: ``ALLOWED`` where nothing else works, ``ONLY`` so that the
            other side learns no address of this machine, or ``NEVER``.
        max_retries: Connection attempts that may fail in a row while both sides reach the server; None for no end.
        retry_backoff: Seconds before the first retry; doubles each time, with jitter.
        wait: Seconds that a transfer waits for what is gone (the network, the other side, space on the disk) before
            it saves a checkpoint and ends. With ``max_retries`` of None the network and the other side are waited for
            without end.
        lanes: The kinds of lanes to use, ``udp`` and ``webrtc``; datagrams hide no address, so none are used with
            ``relay`` of ``ONLY``.
        only_loopback: Exchange loopback addresses only; for tests and demos on one machine.
        own_server: The server runs in this process, for others to reach: that it is on a loopback address for us says
            nothing about where they are.

    Raises:
        UsageError: If a value cannot be used. It repeats no URL: passwords get into those.
    """

    server: str = field(default=DEFAULT_SERVER, repr=False)
    stun: tuple[str, ...] | None = (DEFAULT_STUN,)
    turn: tuple[str, ...] = ()
    turn_user: str = ""
    turn_pass: str = field(default="", repr=False)
    relay: RelayUse = RelayUse.ALLOWED
    max_retries: int | None = 3
    retry_backoff: float = 1.0
    wait: float = DEFAULT_WAIT
    lanes: tuple[str, ...] = LANES
    only_loopback: bool = False
    own_server: bool = False

    @property
    def shown_server(self) -> str:
        """The server's URL without user name and password: those are not for the other machine, and for no screen."""
        parts = urlsplit(self.server)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def on_this_machine(self) -> bool:
        """Whether the server is on a loopback address: then the peer may be on this machine, without a network."""
        return self.only_loopback or (not self.own_server and is_loopback(urlsplit(self.server).hostname or ""))

    @property
    def tries_datagrams(self) -> bool:
        """Whether datagram lanes are tried: if not, the engine is sure to be needed."""
        return "udp" in self.lanes and self.relay is not RelayUse.ONLY

    def __post_init__(self) -> None:
        try:
            host = urlsplit(self.server).hostname
        except ValueError:
            host = None
        if not host or not self.server.startswith(("http://", "https://")):
            raise UsageError("the server must be an http:// or https:// URL")
        if self.max_retries is not None and self.max_retries < 0:
            raise UsageError("-max-retries cannot be negative")
        if self.retry_backoff < 0:
            raise UsageError("-retry-backoff cannot be negative")
        if self.wait < 0:
            raise UsageError("--wait cannot be negative")
        if not all(is_stun_url(url) for url in self.stun or ()):
            raise UsageError(
                "-stun takes a STUN URL",
                hint="write -stun stun:HOST:PORT, or stuns: for TLS, or -stun none; the port may be left out",
            )
        if not all(is_turn_url(url) for url in self.turn):
            raise UsageError(
                "-turn takes a TURN URL, without user name and password",
                hint="write -turn turn:HOST:PORT, or turns: for TLS; ?transport=udp or ?transport=tcp may follow",
            )
        if self.turn and not (self.turn_user and self.turn_pass):
            raise UsageError(
                "-turn needs credentials", hint="give -turn-user and -turn-pass, or set $TURN_USER and $TURN_PASS"
            )
        if self.turn and self.relay is RelayUse.NEVER:
            raise UsageError("-turn and --no-relay exclude each other")
        if self.turn and len(self.turn_user.encode("utf-8", "replace")) > MAX_TURN_USER:
            raise UsageError("-turn-user is too long")
        self._check_lanes()

    def _check_lanes(self) -> None:
        if not self.lanes or not set(self.lanes) <= set(LANES):
            raise UsageError("-lane takes auto, udp or webrtc", hint="write -lane auto")
        if self.relay is RelayUse.ONLY and "webrtc" not in self.lanes:
            raise UsageError("--relay-only and -lane udp exclude each other", hint="only WebRTC lanes use relays")


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How to send.

    Attributes:
        ttl: Seconds that the code waits for a receiver.
        recursive: Directories may be sent.
        skip_errors: A file that cannot be read is left out; without it the batch stops.
        one_file_system: A directory where another file system is mounted is sent without its contents.
        listed: Further names, relative to the current directory, which keep the directories that they have.
        exclude: Patterns of gitignore(5); what they fit is left out.
        git: What the ``.gitignore`` files of a tree name is left out as well.
        chunk_kib: File bytes in one message, in KiB; None for what suits the lane in use,
            :data:`SMALL_CHUNK_KIB` or :data:`MAX_CHUNK_KIB`.
        words: Words in the join code.
        home: Where checkpoints are kept (in its ``checkpoints`` directory); None for ``~/.p2pal``.
        checkpoint_ttl: Seconds that a checkpoint is kept after its last use.
    """

    ttl: float = 300.0
    recursive: bool = False
    skip_errors: bool = False
    one_file_system: bool = False
    listed: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    git: bool = False
    chunk_kib: int | None = None
    words: int = 2
    home: Path | None = None
    checkpoint_ttl: float = DEFAULT_TTL

    def __post_init__(self) -> None:
        if self.chunk_kib is not None and not MIN_CHUNK_KIB <= self.chunk_kib <= MAX_CHUNK_KIB:
            message = f"-chunk-size must be from {MIN_CHUNK_KIB} to {MAX_CHUNK_KIB} (KiB)"
            raise UsageError(message)
        if not 2 <= self.words <= 8:
            raise UsageError("--words must be from 2 to 8")


@dataclass(frozen=True, slots=True)
class ReceiveOptions:
    """How to receive.

    Attributes:
        out: A directory to write into, or the path that a single file or tree shall have; None for the current
            directory, or where a transfer that goes on was written to before.
        overwrite: Existing files may be replaced.
        verify: When a transfer goes on, read and check all that is there already, and have what is damaged sent again.
        home: Where checkpoints are kept (in its ``checkpoints`` directory); None for ``~/.p2pal``.
        checkpoint_ttl: Seconds that a checkpoint is kept after its last use.
    """

    out: Path | None = None
    overwrite: bool = False
    verify: bool = False
    home: Path | None = None
    checkpoint_ttl: float = DEFAULT_TTL


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's answer to an offer.

    Attributes:
        accept: Whether anything is written at all.
        replace: Existing files of these names may be replaced; otherwise new ones stand beside them.
    """

    accept: bool
    replace: bool = False

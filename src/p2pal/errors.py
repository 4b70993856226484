"""Every error a user can meet: whose fault it is, what to say, and how the process ends.

The tree, with exit codes::

    P2palError
    ├── UsageError                 2    the command line, or a setting, is wrong
    ├── ServerError                3    the signaling server
    │   ├── ServerUnreachable      3      no connection, or the connection was lost for good
    │   └── ServerRefused          3      it answered, but not with what was asked for (5xx, nonsense, limits)
    ├── CodeError                  4    the join code
    │   ├── CodeUnknown            4      no such transfer, or it is over
    │   ├── CodeExpired            4      its time ran out
    │   ├── MistypedCode           4      not a join code, or a word that is on no list; nothing was sent
    │   ├── WrongCode              4      the words differ: the key exchange failed
    │   └── VersionMismatch        4      the other side speaks another protocol version
    ├── PeerError                  5    the other machine
    │   ├── PeerLost               5      it went away
    │   ├── ConnectionImpossible   5      no path between the two machines
    │   │   └── NoRelay            5      nothing but relays may be used, and none is known
    │   └── ProtocolError          5      it sent what the protocol does not allow
    ├── Refused                    6    a person said no, on either side
    ├── DiskError                  7    the local disk: full, read-only, not permitted
    │   └── CheckpointError        7      a checkpoint that is missing, damaged, in use, or not this transfer's
    ├── VerificationFailed         8    what arrived is not what was sent
    ├── OutputError                1    what a command is for cannot be written
    ├── PartialFailure             1    some files failed or were skipped; the others are complete
    └── Interrupted              130    Ctrl-C or SIGTERM

Here are the classes, and the usual hint of each. The text of an error stands where it is raised, unless several causes
share the way there. Then it is in a module of its own, whose name ends in ``errors``:

- :mod:`p2pal.app.transfer_errors`: how a transfer ended, and why a file failed;
- :mod:`p2pal.rendezvous.http_errors`, :mod:`p2pal.rendezvous.connect_errors`: what the signaling server answered, and
  why it was not reached;
- :mod:`p2pal.disk.fs.os_errors`: what the system says of a file.

Why a host is not reached is in :mod:`p2pal.connect_failure` in words that are the same everywhere; the line that the
process ends with is put together in :mod:`p2pal.cli.exit`.

A message is one line that says what happened; ``hint`` is one line that says what to do next. Neither holds
a secret (the words of a code, a token, a key), nor raw text from the peer or the server.
"""

from __future__ import annotations

from typing import ClassVar, Final

EXIT_OK: Final = 0


class P2palError(Exception):
    """The base of every error that p2pal raises on purpose.

    Args:
        message: What happened, one line, without a trailing full stop.
        hint: What to do next, one line; the class has a default.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(P2palError):
    """The command line or a setting is wrong."""

    exit_code = 2
    code = "usage"


class ServerError(P2palError):
    """The signaling server could not be used."""

    exit_code = 3
    code = "server"


class ServerUnreachable(ServerError):
    """No connection to the signaling server, or it was lost for good."""

    code = "server-unreachable"
    default_hint = "check the -server address and your network, or start one with 'p2pal server'"


class ServerRefused(ServerError):
    """The server answered, but not with what was asked for."""

    code = "server-refused"
    default_hint = "try again in a moment, or use another -server"


class CodeError(P2palError):
    """The join code cannot be used."""

    exit_code = 4
    code = "code"


class CodeUnknown(CodeError):
    """No such transfer on this server, or it is over."""

    code = "code-unknown"
    default_hint = "check the number at the end of the code and the -server address"


class CodeExpired(CodeError):
    """The transfer's time ran out before both sides met."""

    code = "code-expired"
    default_hint = "send again, with a longer -ttl if needed"


class MistypedCode(CodeError):
    """What was typed is no join code: its shape is wrong, or a word is not in the list."""

    code = "code-mistyped"
    default_hint = "a code looks like zebra-luna-47; ask the sender to read it again"


class WrongCode(CodeError):
    """The key exchange failed: the two sides have different words."""

    code = "code-wrong"
    default_hint = "check the words of the code and try again"


class VersionMismatch(CodeError):
    """The other side speaks another version of the protocol."""

    code = "version"
    default_hint = "update p2pal on both machines"


class PeerError(P2palError):
    """The other machine, or the way to it, failed."""

    exit_code = 5
    code = "peer"


class PeerLost(PeerError):
    """The other side went away and did not come back."""

    code = "peer-lost"
    default_hint = "send again with a new code"


class ConnectionImpossible(PeerError):
    """No network path between the two machines was found."""

    code = "no-path"
    default_hint = "a TURN server (-turn) gets through networks that block direct connections"


class NoRelay(ConnectionImpossible):
    """Nothing but relays may be used, and none is known."""

    code = "no-relay"
    default_hint = "name one with -turn, -turn-user and -turn-pass, or use a signaling server that offers one"


class ProtocolError(PeerError):
    """The peer sent something that the protocol does not allow."""

    code = "protocol"
    default_hint = "update p2pal on both machines; if it happens again, report it"


class Refused(P2palError):
    """A person said no, here or on the other side."""

    exit_code = 6
    code = "refused"


class DiskError(P2palError):
    """The local disk: full, read-only or not permitted."""

    exit_code = 7
    code = "disk"
    default_hint = "free some space or choose another directory with -out"


class CheckpointError(DiskError):
    """A checkpoint cannot be used: missing, damaged, in use by another process, of a newer version, not ours."""

    code = "checkpoint"
    default_hint = "'p2pal checkpoint list' shows those there are"


class VerificationFailed(P2palError):
    """What arrived does not have the digest of what was sent, twice."""

    exit_code = 8
    code = "verification"
    default_hint = "the damaged file was not kept; send it again"


class OutputError(P2palError):
    """Standard output takes nothing, and what was to be written there is what the command is for."""

    code = "output"
    default_hint = "check where the output of p2pal goes"


class PartialFailure(P2palError):
    """Some files failed or were skipped; those reported as done are complete."""

    exit_code = 1
    code = "partial"


class Interrupted(P2palError):
    """The user stopped the program (SIGINT, SIGTERM)."""

    exit_code = 130
    code = "interrupted"


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what went wrong out of a task group: an error of ours before any other."""
    leaves: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(reversed(error.exceptions))
        else:
            leaves.append(error)
    return next((error for error in leaves if isinstance(error, P2palError)), leaves[0])

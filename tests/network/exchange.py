"""A transfer from Alice to Bob whose network is worked on while it runs."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.e2e.kit import Command
from tests.network.lab import HOSTS, Lab
from tests.network.wiring import PORT, Host

SIZE: Final = 64 << 20
"""Bytes of the file."""
RATE: Final = 16
"""Mbit/s towards Bob until :meth:`Exchange.finish`: the file would take half a minute."""
ON_THE_WAY: Final = 256 << 10
"""Bytes that a link at :data:`RATE` may hold, its queue and the sockets included."""
PATIENCE: Final = 60.0
"""Seconds that a link may take to come back once the network is well: the longest pause between tries, and a try."""


class Exchange:
    """The three commands and what they said.

    Args:
        lab: The network.
        folder: An empty directory for everything.
        flags: How both sides connect, beside ``-server``.
        settings: How the server runs, beside ``--port``.
        server_wrapper: A program and its arguments that run the server's command.
    """

    def __init__(
        self,
        lab: Lab,
        folder: Path,
        *,
        flags: Sequence[str] = ("-stun", "none"),
        settings: Sequence[str] = (),
        server_wrapper: Sequence[str] = (),
    ) -> None:
        self._lab = lab
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._flags, self._settings, self._server_wrapper = flags, settings, server_wrapper
        self._started: list[Command] = []
        self._source = folder / "data.bin"
        self._out = folder / "out"
        self.sender: Command
        self.receiver: Command
        self.server: Command

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for command in self._started:
            command.end()
        if not self.well:
            for command in self._started:
                print(command.said)
        for path in (self._source, self._out / self._source.name):
            path.unlink(missing_ok=True)

    @property
    def well(self) -> bool:
        """Both sides ended with exit code 0."""
        return (
            len(self._started) >= len(HOSTS) and self.sender.process.returncode == 0 == self.receiver.process.returncode
        )

    def _run(self, host: Host, *args: str | Path, wrapper: Sequence[str] = ()) -> Command:
        folder = self._folder / f"{len(self._started)}-{host}"
        command = self._lab.run(host, *args, folder=folder, wrapper=wrapper)
        self._started.append(command)
        return command

    def serve(self) -> None:
        """Start the signaling server, which remembers nothing of an earlier one."""
        command = ("server", "--port", str(PORT), *self._settings)
        self.server = self._run("server", *command, wrapper=self._server_wrapper)
        self.server.says(r"port=\d+")

    def start(self) -> None:
        """Start everything, and wait until the file flows."""
        self._source.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
        self._out.mkdir()
        self._lab.throttle("bob", RATE)
        self.serve()
        connection = ("-server", self._lab.url, *self._flags, "--json")
        self.sender = self._run("alice", "send", *connection, self._source)
        code = self.sender.code()
        self.receiver = self._run("bob", "recv", *connection, "-y", "-out", self._out, code)
        self.flows(1 << 20)

    def done(self, command: Command) -> int:
        """How many bytes arrived, as one side shows it."""
        return max((event["done"] for event in command.events if event["event"] == "progress"), default=0)

    def flows(self, count: int) -> None:
        """Wait until that many more bytes arrived."""
        goal = self.done(self.receiver) + count
        self.receiver.await_(lambda: self.done(self.receiver) >= goal, f"{goal} bytes arrived", PATIENCE)
        assert goal < SIZE, "the file is too small for this test"

    def told(self, command: Command, *kinds: str) -> list[dict[str, Any]]:
        """The events of these kinds that one side told so far."""
        return [event for event in command.events if event["event"] in kinds]

    @property
    def paths(self) -> list[list[str]]:
        """What each side told of its paths so far, in order; the sender first."""
        return [[event["path"] for event in self.told(side, "path")] for side in (self.sender, self.receiver)]

    def takes(self, words: str) -> None:
        """Wait until both sides take a path with these words."""
        for side in (self.sender, self.receiver):
            side.await_(lambda: all(told[-1:] == [words] for told in self.paths), f"{words} on both sides", PATIENCE)

    def resumes(self) -> float:
        """Wait until more arrives than what is on the way, and return how many seconds that took."""
        began = time.monotonic()
        self.flows(ON_THE_WAY)
        return time.monotonic() - began

    def unbroken(self) -> None:
        """Nobody was told of any trouble."""
        for command in (self.sender, self.receiver):
            assert self.told(command, "reconnecting", "reconnected", "waiting", "silence") == [], command.said

    def reconnects(self) -> None:
        """Wait until both sides told that they reconnect, and that they are connected again."""
        for command in (self.sender, self.receiver):
            command.await_(lambda: self.told(command, "reconnected"), "a new connection", PATIENCE)  # noqa: B023
            kinds = [event["event"] for event in self.told(command, "reconnecting", "reconnected")]
            assert kinds[0] == "reconnecting"
            assert kinds[-1] == "reconnected"

    def notices(self) -> None:
        """Both sides told the person that nothing came, or that they reconnect."""
        for command in (self.sender, self.receiver):
            trouble = ("reconnecting", "silence", "waiting")
            command.await_(lambda: self.told(command, *trouble), "a word of the trouble")  # noqa: B023

    def finish(self) -> None:
        """Let everything through, and check that both sides ended well, and that nothing began anew.

        Whatever trouble was told is also told to be over.
        """
        self._lab.unthrottle("bob")
        assert (self.sender.wait(PATIENCE), self.receiver.wait(PATIENCE)) == (0, 0)
        assert (self._out / self._source.name).read_bytes() == self._source.read_bytes()
        assert [path.name for path in self._out.iterdir()] == [self._source.name], "nothing else was left behind"
        assert len(self.told(self.receiver, "offer")) == 1
        for command in (self.sender, self.receiver):
            assert len(self.told(command, "accepted")) == 1
            assert len(self.told(command, "peer")) <= 1
            assert self.told(command, "resuming", "starting-over", "saved", "error") == []
            assert self._troubles(command) == [], command.said
            done = [event["done"] for event in self.told(command, "progress")]
            back = [(one, other) for one, other in pairwise(done) if other < one]
            assert back == [], f"progress went back\n{command.said}"

    def _troubles(self, command: Command) -> list[dict[str, Any]]:
        """What one side told of trouble, and did not tell to be over."""
        link = self.told(command, "reconnecting", "waiting", "reconnected")[-1:]
        silence = self.told(command, "silence")[-1:]
        return [event for event in link if event["event"] != "reconnected" and event.get("what") != ""] + [
            event for event in silence if event["seconds"]
        ]

"""A real TURN server (coturn) with settings of its own, for the length of a ``with`` block.

It keeps everything in one directory, knows no user but those of time-limited credentials, and ends with the block.
"""

from __future__ import annotations

import ipaddress
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import pytest
from tests.e2e.kit import until

REALM: Final = "relay.test"
TLS_PORT: Final = 5349
WEB_PORT: Final = 443
_COMMAND_TIMEOUT: Final = 20.0


class Coturn:
    """The TURN server.

    Args:
        folder: An empty directory for everything.
        secret: What its credentials are made with.
        address: Where it listens and relays.
        port: Its port, for UDP and TCP.
        also: Further addresses where it listens. It relays at the first of each family alone; with two of a family it
            tells what a NAT does (RFC 5780).
        web: Listen on port 443 as well, the TCP port that firewalls leave open.
        certificate: Files with a certificate and its key: TLS then works at :data:`TLS_PORT` and wherever TCP does.
        wrapper: A program and its arguments that run a command on its host.
        more: Further lines of its settings.
    """

    def __init__(
        self,
        folder: Path,
        secret: str,
        *,
        address: str = "127.0.0.1",
        port: int = 3478,
        also: Sequence[str] = (),
        web: bool = False,
        certificate: tuple[Path, Path] | None = None,
        wrapper: Sequence[str] = (),
        more: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True)
        self.address, self.port = address, port
        self._wrapper = list(wrapper)
        self._folder = folder
        listening = [address, *also]
        relaying = {ipaddress.ip_address(each).version: each for each in reversed(listening)}.values()
        settings = [
            *(f"listening-ip={each}" for each in listening),
            *(f"relay-ip={each}" for each in relaying),
            *(f"aux-server={_bracketed(each)}:{WEB_PORT}" for each in relaying if web),
            f"listening-port={port}",
            f"tls-listening-port={TLS_PORT}",
            f"realm={REALM}",
            "use-auth-secret",
            f"static-auth-secret={secret}",
            "fingerprint",
            "no-cli",
            *((f"cert={certificate[0]}", f"pkey={certificate[1]}") if certificate else ("no-tls",)),
            "no-dtls",
            "no-multicast-peers",
            "verbose",
            "simple-log",
            f"log-file={folder / 'log'}",
            f"pidfile={folder / 'pid'}",
            f"userdb={folder / 'users'}",
            *more,
        ]
        self._settings = folder / "settings"
        self._settings.write_text("".join(f"{line}\n" for line in settings))

    def __enter__(self) -> Self:
        with (self._folder / "out").open("wb") as out:
            self._process = subprocess.Popen(
                [*self._wrapper, "turnserver", "-c", str(self._settings)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self._folder,
                start_new_session=True,
            )
        try:
            until(self._listens, "coturn to listen")
            until(self._answers, "an answer of coturn")
        except BaseException:
            print(self.log)
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()

    def _listens(self) -> bool:
        if self._process.poll() is not None:
            pytest.fail(f"coturn ended\n{self.log}", pytrace=False)
        return f"UDP listener opened on: {self.address}:{self.port}" in self.log

    def _answers(self) -> bool:
        try:  # it asks once, and waits for ever if that is lost
            return self._run("turnutils_stunclient", "-p", str(self.port), self.address, seconds=5.0).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def _run(self, *command: str, seconds: float = _COMMAND_TIMEOUT) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._wrapper, *command], capture_output=True, text=True, timeout=seconds, check=False)

    @property
    def url(self) -> str:
        """Its TURN URL."""
        return f"turn:{self.address}:{self.port}"

    @property
    def log(self) -> str:
        """What it logged so far."""
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else (self._folder / "out").read_text(errors="replace")

    @property
    def allocations(self) -> list[str]:
        """The user names of the allocations that it granted so far, in order, names with several included."""
        return re.findall(r": new, realm=<[^>]*>, username=<([^>]*)>", self.log)

    @property
    def refusals(self) -> list[str]:
        """The user names of the requests that it refused so far for their credentials."""
        return re.findall(r"Cannot find credentials of user <([^>]*)>", self.log)

    def relays(self, username: str, password: str, *, tcp: bool = False) -> bool:
        """Whether this credential gets an allocation that packets go through, there and back."""
        packets = ("-y", "-c", "-n", "1", "-m", "1", *(("-t",) if tcp else ()))
        who = ("-p", str(self.port), "-u", username, "-w", password, self.address)
        done = self._run("turnutils_uclient", *packets, *who)
        said = done.stdout + done.stderr
        if done.returncode:
            assert "Cannot complete Allocation" in said, said
            return False
        assert re.search(r"Total lost packets 0 ", said), said
        return True


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address

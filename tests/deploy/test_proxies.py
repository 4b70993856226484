"""Caddy and nginx, with the shipped files, in front of a real server: what they pass on, and as whose."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from tests.certificates import write_certificate
from tests.deploy.kit import ROOT, listens, program, read, replaced, running
from tests.e2e.kit import Commands, Server, environment
from tests.ports import free_port
from yarl import URL

PROXIES = ("caddy", "caddy-compose", "nginx")


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A server that believes a proxy, and lets one address open two transfers."""
    server = Server(folder, "--trusted-proxy", "127.0.0.1", "--create-rate", "2/1h")
    try:
        yield server
    finally:
        server.end()


@contextmanager
def proxy(kind: str, ports: Sequence[int], folder: Path) -> Iterator[str]:
    """Run a proxy in front of servers; gives its URL."""
    start = {"caddy": caddy, "caddy-compose": caddy_of_compose, "nginx": nginx}[kind]
    with start(ports, folder) as url:
        yield url


@contextmanager
def caddy(ports: Sequence[int], folder: Path) -> Iterator[str]:
    # The port that everybody's Caddy takes orders on could be taken.
    text = only_loopback(read("deploy/Caddyfile"), "\tadmin off\n")
    with caddy_with(text, folder, " ".join(f"127.0.0.1:{port}" for port in ports)) as url:
        yield url


@contextmanager
def caddy_of_compose(ports: Sequence[int], folder: Path) -> Iterator[str]:
    changes = {"name server\n": "name localhost\n", "port 8080\n": f"port {ports[0]}\n", "8079": str(free_port())}
    with caddy_with(replaced(only_loopback(read("deploy/compose/Caddyfile")), changes), folder) as url:
        yield url


def only_loopback(text: str, more: str = "") -> str:
    """The Caddyfile with a further global option."""
    before, brace, rest = text.partition("{\n")
    return f"{before}{brace}\tdefault_bind 127.0.0.1\n{more}{rest}"


@contextmanager
def caddy_with(text: str, folder: Path, instances: str = "") -> Iterator[str]:
    binary = program("caddy")
    port = free_port()
    file = folder / "Caddyfile"
    file.write_text(text)
    env = {
        "SITE": f"http://127.0.0.1:{port}",
        "INSTANCES": instances,
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    command = [binary, "run", "--config", str(file), "--adapter", "caddyfile"]
    with running(command, lambda: listens(port), folder / "log", env):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def nginx(ports: Sequence[int], folder: Path) -> Iterator[str]:
    binary = program("nginx")
    plain, port = free_port(), free_port()
    site = replaced(
        "".join(line for line in read("deploy/nginx.conf").splitlines(True) if "listen [::]" not in line),
        {
            "listen 80;": f"listen 127.0.0.1:{plain};",
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "127.0.0.1:8080": f"127.0.0.1:{ports[0]}",
            "/etc/letsencrypt/live/p2pal.example.org/fullchain.pem": str(folder / "cert.pem"),
            "/etc/letsencrypt/live/p2pal.example.org/privkey.pem": str(folder / "key.pem"),
        },
    )
    (folder / "site.conf").write_text(site)
    temporary = "".join(
        f"    {each}_temp_path {folder}/{each};\n" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\n{temporary}    include {folder}/site.conf;\n}}\n"
    )
    write_certificate(folder / "cert.pem", folder / "key.pem", "127.0.0.1")
    command = [binary, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    with running(command, lambda: listens(port) and listens(plain), folder / "log"):
        yield f"https://127.0.0.1:{port}"


class Client:
    """A client at one address of loopback."""

    def __init__(self, url: str, folder: Path, address: str) -> None:
        self._url = url
        tls = ssl.create_default_context(cafile=str(folder / "cert.pem")) if url.startswith("https") else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, local_addr=(address, 0)),
            timeout=aiohttp.ClientTimeout(total=30),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, path: str) -> int:
        async with self._session.get(URL(self._url + path, encoded=True), allow_redirects=False) as answer:
            return answer.status

    async def create(self, **headers: str) -> tuple[int, Any]:
        async with self._session.post(f"{self._url}/api/transfer", json={"ttl": 60}, headers=headers) as answer:
            return answer.status, await answer.json()

    async def post(self, size: int) -> int:
        async with self._session.post(f"{self._url}/api/transfer", data=b" " * size) as answer:
            return answer.status

    async def hello(self, token: str) -> Any:
        async with self._session.ws_connect(f"{self._url}/api/ws") as socket:
            await socket.send_json({"type": "hello", "token": token, "cursors": {}})
            return await socket.receive_json(timeout=30)


@pytest.mark.parametrize("kind", PROXIES)
def test_what_a_proxy_passes_on(kind: str, tmp_path: Path) -> None:
    async def ask(url: str) -> None:
        async with Client(url, tmp_path, "127.0.0.2") as client:
            assert [await client.get(path) for path in ("/healthz", "/readyz")] == [200, 200]
            hidden = ("/metrics", "/", "/api/../metrics", "/api/%2e%2e/metrics", "//metrics", "/healthz/../metrics")
            for path in hidden:
                assert await client.get(path) in (400, 404), path
            assert await client.post(10_000) == 413

            # One address is one, whatever it claims; another address is another.
            claimed = {"X-Forwarded-For": "203.0.113.9"}
            status, created = await client.create()
            assert status == 201
            welcome = await client.hello(created["token"])
            assert (welcome["type"], welcome["state"]) == ("welcome", "pending")
            assert (await client.create(**claimed))[0] == 201
            status, refused = await client.create(**{"X-Forwarded-For": "203.0.113.10"})
            assert (status, refused["error"]["code"]) == (429, "too-often")
        async with Client(url, tmp_path, "127.0.0.3") as other:
            assert (await other.create())[0] == 201

    with serving(tmp_path / "server") as server:
        with proxy(kind, [server.port], tmp_path) as url:
            asyncio.run(ask(url))
        assert "proxy-not-trusted" not in server.err


@pytest.mark.parametrize("kind", ["caddy", "nginx"])
def test_a_transfer_is_arranged_through_a_proxy(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "report.pdf"
    file.write_bytes(bytes(range(256)) * 400)
    with serving(tmp_path / "server") as server, proxy(kind, [server.port], tmp_path) as url:
        trusting = environment(SSL_CERT_FILE=str(tmp_path / "cert.pem")) if url.startswith("https") else environment()
        with Commands(url, tmp_path / "runs") as commands:
            sender = commands.send("-q", file, env=trusting)
            receiver = commands.receive("-out", tmp_path / "arrived", sender.code(), env=trusting)
            assert (receiver.wait(), sender.wait()) == (0, 0)
    assert (tmp_path / "arrived").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("file", ["deploy/Caddyfile", "deploy/compose/Caddyfile"])
def test_caddy_takes_the_file_with_a_name_of_its_own(file: str, tmp_path: Path) -> None:
    command = [program("caddy"), "validate", "--config", str(ROOT / file), "--adapter", "caddyfile"]
    env = environment(SITE="https://p2pal.example.org", XDG_DATA_HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    checked = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "not formatted" not in checked.stderr


def test_caddy_finds_an_instance_that_is_left(tmp_path: Path) -> None:
    async def ask(url: str, gone: Server) -> None:
        async with Client(url, tmp_path, "127.0.0.1") as client:
            assert await client.get("/readyz") == 200
            gone.end()
            assert {await client.get("/readyz") for _ in range(8)} == {200}

    with (
        serving(tmp_path / "one") as one,
        serving(tmp_path / "two") as two,
        caddy([one.port, two.port], tmp_path) as url,
    ):
        asyncio.run(ask(url, two))


def test_the_name_of_the_server_is_redirected_to_tls(tmp_path: Path) -> None:
    async def ask(url: str) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, headers={"Host": "p2pal.example.org"}, allow_redirects=False) as answer,
        ):
            assert answer.status == 308
            return answer.headers["Location"]

    with serving(tmp_path / "server") as server, nginx([server.port], tmp_path):
        site = (tmp_path / "site.conf").read_text()
        port = site.partition("listen 127.0.0.1:")[2].partition(";")[0]
        assert asyncio.run(ask(f"http://127.0.0.1:{port}/healthz")) == "https://p2pal.example.org/healthz"

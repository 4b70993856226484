"""Sessions with a signaling server, directly and through real proxies."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from tests.certificates import write_certificate
from tests.proxies import NAME, VARIABLES, TestProxy, proxy
from tests.unit.rendezvous.test_mailbox import expect
from tests.unit.server.kit import odd_server, serving
from tests.unit.server.test_tls import running

from p2pal.doctor import server_probe
from p2pal.doctor.server_probe import check_server
from p2pal.errors import P2palError, ServerRefused, ServerUnreachable
from p2pal.rendezvous import events as e
from p2pal.rendezvous import http, mailbox
from p2pal.rendezvous.client import RendezvousClient
from p2pal.server.config import ServerConfig

SOURCE = Path(http.__file__).parent.parent


@pytest.fixture(autouse=True)
def resolved(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """No proxy but the test's, and no name that leaves this machine: those that were looked up."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    asked: list[str] = []
    resolve = socket.getaddrinfo

    def ask(host: str, *arguments: object, **named: object) -> object:
        if re.search("[a-z]", str(host)):
            asked.append(host)
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return resolve(host, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    yield asked
    assert NAME not in asked


def name(monkeypatch: pytest.MonkeyPatch, scheme: str, near: TestProxy, login: str = "") -> str:
    """Have the environment name a proxy, and return it as it is shown."""
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://{login}127.0.0.1:{near.port}")
    return f"{scheme.lower()}://127.0.0.1:{near.port}"


def kind(scheme: str) -> str:
    return "http" if scheme.lower() == "http" else "socks"


@pytest.mark.parametrize("scheme", ["http", "HTTP", "socks5h", "SOCKS5", "socks4a"])
async def test_everything_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """Requests, both sides' WebSockets, and the doctor's check; the proxy alone looks the name up."""

    async with serving() as kit, proxy(kind(scheme)) as near:
        shown = name(monkeypatch, scheme, near)
        url = f"http://{NAME}:{kit.server.port}"
        async with RendezvousClient(url) as client:
            created = await client.create(60)
            joined = await client.join(created.slot)
            sides = client.mailbox("send", created.token), client.mailbox("receive", joined.token)
            runs = [asyncio.create_task(side.run()) for side in sides]
            await expect(sides[0], e.AttemptServed)
            for side, run in zip(sides, runs, strict=True):
                await side.close()
                await run
            await client.delete(created.rendezvous_id, created.token)
        found = await check_server(url)
        assert (found.problem, found.socket_problem, found.proxy) == (None, None, shown)
        assert set(near.asked) == {(NAME, kit.server.port)}


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_login_in_the_proxys_url(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    async with serving() as kit, proxy(kind(scheme), login="me:p@ss/w") as near:
        url = f"http://{NAME}:{kit.server.port}"
        name(monkeypatch, scheme, near, "me:p%40ss%2Fw@")
        async with RendezvousClient(url) as client:
            await client.create(60)
        shown = name(monkeypatch, scheme, near, "me:wrong@")
        async with RendezvousClient(url) as client:
            with pytest.raises(ServerUnreachable) as caught:
                await client.create(60)
    assert ": the proxy wants another user name and password" in caught.value.message
    assert f"the proxy {shown} of $ALL_PROXY" in caught.value.hint
    assert "wrong" not in str(caught.value) + caught.value.hint


async def test_tls_through_socks_is_checked_as_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_certificate(cert, key, NAME)
    config = ServerConfig(port=0, drain=0.2, tls_cert=str(cert), tls_key=str(key))

    async with running(config) as server, proxy("socks") as near:
        name(monkeypatch, "socks5h", near)
        url = f"https://{NAME}:{server.port}"
        async with RendezvousClient(url) as client:
            with pytest.raises(ServerUnreachable, match="its TLS certificate is not trusted"):
                await client.create(60)
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        async with RendezvousClient(url) as client:
            created = await client.create(60)
            box = client.mailbox("send", created.token)
            run = asyncio.create_task(box.run())
            await expect(box, e.StateReported)
            await box.close()
            await run
        async with RendezvousClient(f"https://other.test:{server.port}") as client:
            with pytest.raises(ServerUnreachable, match="its TLS certificate is for another name"):
                await client.create(60)
        async with serving() as kit, RendezvousClient(f"https://{NAME}:{kit.server.port}") as client:
            with pytest.raises(ServerUnreachable, match="it does not speak TLS"):
                await client.create(60)


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize(
    ("scheme", "refusal", "said"),
    [
        ("http", 407, "the proxy wants another user name and password"),
        ("http", 403, "the proxy refused the connection"),
        ("http", 503, "the proxy does not reach it"),
        ("socks5h", 2, "the proxy refused the connection"),
        ("socks5h", 4, "the proxy does not reach it"),
        ("socks5h", 5, "the proxy does not reach it"),
    ],
)
async def test_what_a_proxy_refuses_is_not_blamed_on_the_server(
    monkeypatch: pytest.MonkeyPatch, scheme: str, refusal: int, said: str, secure: bool
) -> None:
    async with proxy(kind(scheme), refusal=refusal) as near:
        shown = name(monkeypatch, scheme, near)
        url = f"http{'s' if secure else ''}://{NAME}:1"
        async with RendezvousClient(url, not_ready=0.0) as client:
            with pytest.raises(P2palError) as caught:
                await client.create(60)
        found = await check_server(url)
        assert found.problem is not None
    for told in (f"{caught.value.message}; {caught.value.hint}", f"{found.problem.cause}; {found.problem.hint}"):
        assert f"the proxy {shown} of $ALL_PROXY" in told
        # In clear, an answer may be the server's as well as the proxy's.
        if scheme != "http" or secure or refusal == 407:
            assert said in told


async def test_a_proxy_that_is_away_silent_or_unknown(monkeypatch: pytest.MonkeyPatch, resolved: list[str]) -> None:
    async def tell(named: str, url: str) -> str:
        monkeypatch.setenv("ALL_PROXY", named)
        async with RendezvousClient(url) as client:
            with pytest.raises(ServerUnreachable) as caught:
                await client.create(60)
        assert f"the proxy {named} of $ALL_PROXY" in caught.value.hint
        return caught.value.message.rpartition(": ")[2]

    async with proxy("http", silent=True) as connecting, proxy("socks", silent=True) as socks:
        urls = (f"http://{NAME}:1", f"https://{NAME}:1")
        for url in urls:
            for scheme in ("http", "socks5h"):
                assert await tell(f"{scheme}://127.0.0.1:1", url) == "the proxy does not answer"
                assert await tell(f"{scheme}://proxy.test:1", url) == "the proxy's name does not resolve"
        monkeypatch.setattr(http, "CONNECT_TIMEOUT", 0.1)
        monkeypatch.setattr(http, "SOCKS_TIMEOUT", 0.1)
        for url in urls:
            assert await tell(f"socks5h://127.0.0.1:{socks.port}", url) == "the proxy does not answer"
        assert await tell(f"http://127.0.0.1:{connecting.port}", f"https://{NAME}:1") == "the proxy does not answer"
    assert set(resolved) == {"proxy.test"}


def test_a_proxy_that_speaks_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def odd() -> None:
        async with odd_server(answer) as other:
            port = int(other.rpartition(":")[2])
            for scheme in ("http", "socks5h"):
                monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{port}")
                async with RendezvousClient(f"http://{NAME}:1") as client:
                    with pytest.raises(P2palError) as caught:
                        await client.create(60)
                assert f"the proxy {scheme}://127.0.0.1:{port} of $ALL_PROXY" in caught.value.hint

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    asyncio.run(odd())


async def test_a_websocket_that_a_proxy_does_not_pass_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as kit, proxy("http", refusal=404) as near:
        created = await kit.create()
        shown = name(monkeypatch, "http", near)
        async with RendezvousClient(f"http://{NAME}:{kit.server.port}") as client:
            for refusal, patience, said in ((404, None, "has no p2pal mailbox"), (407, 0.0, "another user name")):
                near.refusal = refusal
                with pytest.raises((ServerRefused, ServerUnreachable), match=said) as caught:
                    await client.mailbox("send", created.token, patience=patience).run()
                assert shown in caught.value.hint


async def test_what_is_sent_asks_for_nothing_compressed() -> None:
    asked: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Accept-Encoding"))
        assert "Sec-WebSocket-Extensions" not in request.headers
        return web.Response(status=404)

    async with odd_server(answer) as url, RendezvousClient(url) as client:
        with pytest.raises(P2palError):
            await client.create(60)
        with pytest.raises(P2palError):
            await client.mailbox("send", "token").run()
    assert asked == ["identity"] * 2


@pytest.mark.parametrize("given", ["{}/p2pal", "{}/p2pal/", "{}/p2pal/?x=1"])
async def test_a_path_before_the_servers_own(given: str) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=404)

    async with odd_server(answer) as url, RendezvousClient(given.format(url.upper())) as client:
        with pytest.raises(P2palError):
            await client.create(60)
        with pytest.raises(P2palError):
            await client.mailbox("send", "token").run()
    assert asked == ["/p2pal/api/transfer", "/p2pal/api/ws"]


async def test_a_server_at_an_ipv6_address() -> None:
    async with running(ServerConfig(host="", port=0, drain=0.2)) as server:
        if socket.AF_INET6 not in server.families:
            pytest.skip("there is no IPv6 here")
        async with RendezvousClient(f"HTTP://[::1]:{server.port}/") as client:
            created = await client.create(60)
            box = client.mailbox("send", created.token)
            run = asyncio.create_task(box.run())
            await expect(box, e.StateReported)
            await box.close()
            await run


def test_no_other_place_makes_a_session() -> None:
    """What holds for every request is said once."""
    makers = [
        path for path in SOURCE.rglob("*.py") if re.search(r"ClientSession\(|aiohttp\.request\(", path.read_text())
    ]
    assert makers == [Path(http.__file__)]
    users = {Path(module.__file__ or "").name for module in (server_probe, mailbox)}
    connecting = {
        path.name for path in SOURCE.rglob("*.py") if re.search(r"\.ws_connect\(|open_session\(", path.read_text())
    }
    assert connecting == users | {"client.py", "http.py"}

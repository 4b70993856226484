from __future__ import annotations

import aiohttp
import pytest
from tests.unit.server.kit import Kit, serving

from p2pal.rate_limit import Rate
from p2pal.server.config import AddressLimits, ServerConfig
from p2pal.server.http.origins import allowed

PAGE = "https://files.example"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://p2pal.example", "p2pal.example"),
        ("http://p2pal.example", "P2PAL.example"),
        ("https://p2pal.example", "p2pal.example:443"),
        ("https://p2pal.example:8443", "p2pal.example:8443"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("https://files.example", "p2pal.example"),
        ("HTTPS://Files.example", ""),
    ],
)
def test_named_origins_and_the_servers_own_are_allowed(origin: str, host: str) -> None:
    assert allowed(origin, host, {PAGE})


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "p2pal.example"),
        ("https://p2pal.example.evil", "p2pal.example"),
        ("https://evil.example", "p2pal.example, evil.example"),
        ("https://p2pal.example:8443", "p2pal.example"),
        ("https://p2pal.example", "p2pal.example:80"),
        ("https://files.example:8443", "p2pal.example"),
        ("https://sub.files.example", "p2pal.example"),
        ("chrome-extension://p2pal.example", "p2pal.example"),
        ("null", "p2pal.example"),
        ("null", ""),
        ("", ""),
        ("https://", ""),
        ("https://p2pal.example/", "p2pal.example"),
        ("https://user@p2pal.example", "p2pal.example"),
    ],
)
def test_others_are_not(origin: str, host: str) -> None:
    assert not allowed(origin, host, {PAGE})


@pytest.mark.parametrize(
    "origin", ["", "*", "x", "https://a\r\nb", "https://a, https://b", "https://ä", "h://" + "a" * 300]
)
def test_nonsense_is_not_allowed_even_where_all_are(origin: str) -> None:
    assert not allowed(origin, origin, {"*"})


def test_a_star_allows_all() -> None:
    assert allowed("https://evil.example", "p2pal.example", {"*"})
    assert allowed("null", "p2pal.example", {"*"})


def config(*origins: str) -> ServerConfig:
    return ServerConfig(port=0, drain=0.2, origins=origins, addresses=AddressLimits(joins=Rate(1, 60.0)))


async def ask(kit: Kit, method: str, path: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
    async with kit.session.request(method, kit.server.url + path, headers=headers, data=b'{"slot": 99999}') as response:
        await response.read()
        return response


async def test_pages_can_read_answers_and_refusals() -> None:
    async with serving(config(PAGE + "/", "https://other.example")) as kit:
        for status in (404, 429):
            response = await ask(kit, "POST", "/api/join", {"Origin": PAGE})
            assert response.status == status
            assert response.headers["Access-Control-Allow-Origin"] == PAGE
            assert response.headers["Access-Control-Expose-Headers"] == "Retry-After, X-Request-ID"
            assert response.headers["Vary"] == "Origin"
            assert "Access-Control-Allow-Credentials" not in response.headers
        assert (await ask(kit, "GET", "/nowhere", {"Origin": PAGE})).headers["Access-Control-Allow-Origin"] == PAGE


async def test_a_preflight_says_what_is_allowed() -> None:
    async with serving(config(PAGE)) as kit:
        asked = {"Origin": PAGE, "Access-Control-Request-Method": "DELETE"}
        for path in ("/api/transfer", "/api/transfer/x", "/api/join"):
            response = await ask(kit, "OPTIONS", path, asked)
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == PAGE
            assert response.headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE"
            assert response.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
            assert int(response.headers["Access-Control-Max-Age"]) > 0
        assert (await ask(kit, "OPTIONS", "/api/join", {"Origin": PAGE})).status == 405
        assert (await ask(kit, "OPTIONS", "/healthz", asked)).status == 405
        refused = await ask(kit, "OPTIONS", "/api/join", {**asked, "Origin": "https://evil.example"})
        assert refused.status == 403
        assert "Access-Control-Allow-Origin" not in refused.headers


async def test_clients_that_are_no_browser_and_pages_of_the_server_itself_are_served() -> None:
    async with serving(config()) as kit:
        assert "Access-Control-Allow-Origin" not in (await ask(kit, "GET", "/healthz", {})).headers
        own = {"Origin": f"https://127.0.0.1:{kit.server.port}"}
        assert (await ask(kit, "GET", "/healthz", own)).status == 200
        async with kit.session.ws_connect(kit.server.url + "/api/ws", headers=own):
            pass


async def test_sockets_of_named_origins_are_opened() -> None:
    async with (
        serving(config(PAGE)) as kit,
        kit.session.ws_connect(kit.server.url + "/api/ws", origin=PAGE) as ws,
    ):
        assert not ws.closed

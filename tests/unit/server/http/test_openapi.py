from __future__ import annotations

from typing import Any

import aiohttp
import msgspec
import pytest
from tests.unit.server.kit import Kit, serving

from p2pal.rate_limit import Rate
from p2pal.server.config import AddressLimits, Limits, ServerConfig
from p2pal.server.http.app import create_app
from p2pal.server.http.openapi import document
from p2pal.server.state import DENIALS


def test_every_route_is_described_and_nothing_else() -> None:
    described = {(method.upper(), path) for path, item in _paths().items() for method in item if method != "parameters"}
    routes = {
        (route.method, route.resource.canonical)
        for route in create_app(ServerConfig()).router.routes()
        if route.resource is not None
    }
    assert routes == described


def test_the_description_names_only_what_is_in_it() -> None:
    whole = document(ServerConfig())

    def references(value: object) -> list[str]:
        if isinstance(value, list):
            return [found for each in value for found in references(each)]
        if isinstance(value, dict):
            return [str(value["$ref"])] if "$ref" in value else references(list(value.values()))
        return []

    found = references(whole)
    for reference in found:
        assert reference.startswith("#/")
        place: Any = whole
        for key in reference[2:].split("/"):
            place = place[key]
    assert {f"#/components/schemas/{name}" for name in whole["components"]["schemas"]} <= {*found}


def test_the_times_are_those_of_this_server() -> None:
    schemas = document(ServerConfig(min_ttl=5, max_ttl=50))["components"]["schemas"]
    ttl = schemas["CreateRequest"]["properties"]["ttl"]
    assert (ttl["minimum"], ttl["maximum"]) == (5, 50)


def test_every_refusal_that_http_knows_is_described() -> None:
    only_over_a_socket = {
        "unknown-attempt", "released", "not-served", "wrong-state", "gap", "conflict", "cursor", "log-full"
    }  # fmt: skip
    described = {code for item in _paths().values() for operation in item.values() for code in _codes(operation)}
    assert {code for code in DENIALS if code not in only_over_a_socket} <= described
    assert not only_over_a_socket & described


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = document(ServerConfig())["paths"]
    return paths


def _codes(operation: object, status: str = "") -> list[str]:
    if not isinstance(operation, dict):
        return []
    found: list[str] = []
    for name, answer in operation["responses"].items():
        if int(name) >= 400 and status in ("", name):
            parts = answer["content"]["application/json"]["schema"]["allOf"]
            found += parts[1]["properties"]["error"]["properties"]["code"]["enum"]
    return found


async def _check(kit: Kit, method: str, path: str, body: object = None, origin: str = "") -> str:
    """Ask, and return the code of the refusal, which must be described with its status and headers."""
    pattern = path if path in _paths() else "/api/transfer/{id}"
    operation = _paths()[pattern][method.lower()]
    data = None if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
    headers = {"Origin": origin} if origin else {}
    async with kit.session.request(method, kit.server.url + path, data=data, headers=headers) as response:
        code = str((await response.json())["error"]["code"])
        assert code in _codes(operation, str(response.status))
        for header in operation["responses"][str(response.status)]["headers"]:
            assert header in response.headers
        return code


async def test_refusals_are_those_that_are_described() -> None:
    config = ServerConfig(
        port=0, max_request=100, addresses=AddressLimits(joins=Rate(1, 60.0), open_transfers=1), limits=Limits()
    )
    async with serving(config) as kit:
        assert await _check(kit, "POST", "/api/transfer", {"ttl": 60}, "https://elsewhere.example") == "origin"
        assert await _check(kit, "GET", "/healthz", origin="https://elsewhere.example") == "origin"
        assert await _check(kit, "POST", "/api/transfer", {"ttl": 60, "version": 7}) == "version"
        assert await _check(kit, "POST", "/api/transfer", {"ttl": 0.1}) == "ttl"
        assert await _check(kit, "POST", "/api/transfer", b"x" * 101) == "too-large"
        created = await kit.create()
        assert await _check(kit, "POST", "/api/transfer", {"ttl": 60}) == "too-many-open"
        meeting = {"rendezvous_id": "a2" * 13, "role": "send"}
        assert await _check(kit, "POST", "/api/meet", meeting) == "too-many-open"
        assert await _check(kit, "POST", "/api/join", {"slot": created.slot + 1}) == "unknown"
        assert await _check(kit, "POST", "/api/join", {"slot": created.slot}) == "too-often"
        assert await _check(kit, "GET", f"/api/transfer/{created.rendezvous_id}") == "unauthorised"
        assert await _check(kit, "GET", "/api/ws") == "websocket-expected"


async def test_a_full_server_and_a_socket_too_many_are_described() -> None:
    async with serving(ServerConfig(port=0, max_transfers=0, addresses=AddressLimits(sockets=1))) as kit:
        assert await _check(kit, "POST", "/api/transfer", {"ttl": 60}) == "full"
        first = await kit.socket()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await kit.socket()
        assert refused.value.status == 429
        assert not first.ws.closed
        assert "too-many-sockets" in _codes(_paths()["/api/ws"]["get"], "429")


async def test_the_description_is_served() -> None:
    config = ServerConfig(port=0, min_ttl=5)
    async with serving(config) as kit:
        assert await kit.request("GET", "/openapi.json") == (200, document(config))
        assert await kit.request("GET", "/openapi.json") == (200, document(config))

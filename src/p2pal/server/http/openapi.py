"""The description of the HTTP side for programs: OpenAPI 3.1, with the schemas of the structs that go over the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from p2pal._version import __version__
from p2pal.server.config import ServerConfig
from p2pal.server.state import DENIALS
from p2pal.wire import rendezvous as wire

Json = dict[str, Any]

OWN_CODES: Final[dict[str, int]] = {
    "malformed": 400,
    "websocket-expected": 400,
    "timeout": 408,
    "internal": 500,
    "no-metrics": 501,
}
"""Errors that are not refusals of a command, with their status."""

_STRUCTS: Final = (
    wire.CreateRequest,
    wire.Created,
    wire.JoinRequest,
    wire.Joined,
    wire.MeetRequest,
    wire.Met,
    wire.TransferInfo,
    wire.ErrorBody,
)
_BEGIN: Final = ("malformed", "version", "origin", "timeout", "unavailable", "stopping")
_LOOK: Final = ("unauthorised", "forbidden", "origin", "unknown", "unavailable")
_ALWAYS: Final = ("encoding", "too-large", "head-too-large", "too-often", "too-many-sockets", "internal")
_SEE: Final = "See docs/protocol.md of the source."


def document(config: ServerConfig) -> Json:
    """Return the description of a server that runs like this."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "p2pal signaling server",
            "version": __version__,
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": f"Introduces two peers and relays what they tell each other, sealed. {_SEE}",
        },
        "servers": [{"url": "/"}],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(config),
            "headers": _HEADERS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The sender's token of this transfer."}
            },
        },
    }


def _paths() -> Json:
    look = {
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": _ID, "description": "rendezvous_id"}]
    }
    security: Json = {"security": [{"token": []}]}
    return {
        "/api/transfer": {
            "post": _operation(
                "create",
                "Open a transfer.",
                {"201": _answer("The transfer, its slot and the sender's token.", "Created", links=_LINKS)},
                (*_BEGIN, "ttl", "too-many-open", "full"),
                body="CreateRequest",
            )
        },
        "/api/join": {
            "post": _operation(
                "join",
                "Open an attempt on the transfer with this slot.",
                {"201": _answer("The attempt and its token.", "Joined")},
                (*_BEGIN, "unknown", "expired", "over", "queue-full"),
                body="JoinRequest",
            )
        },
        "/api/meet": {
            "post": _operation(
                "meet",
                "Create or join a meeting, whose id only the two peers can derive.",
                {"201": _answer("A token; every earlier one of that side is void.", "Met")},
                (*_BEGIN, "unknown", "too-many-open", "full"),
                body="MeetRequest",
            )
        },
        "/api/transfer/{id}": look
        | {
            "get": security
            | _operation("look", "Where the transfer stands.", {"200": _answer("Its state.", "TransferInfo")}, _LOOK),
            "delete": security
            | _operation("delete", "Abort the transfer.", {"204": _answer("It is over.")}, (*_LOOK, "over", "expired")),
        },
        "/api/ws": {
            "get": _operation(
                "mailbox",
                "The mailbox, as a WebSocket (RFC 6455).",
                {"101": _answer("The WebSocket; the client's first message is its hello.")},
                ("websocket-expected", "origin", "stopping"),
                description=f"JSON text messages both ways; the token goes in the first one. {_SEE}",
            )
        },
        "/healthz": {
            "get": _operation("health", "Whether the process answers.", {"200": _status("ok")}, ("origin",)),
            "head": _operation("health_head", "Whether the process answers.", {"200": _answer("It does.")}, ()),
        },
        "/readyz": {
            "get": _operation(
                "ready",
                "Whether this instance can serve: its store can be reached and it is not stopping.",
                {"200": _status("ready")},
                ("origin", "unavailable", "stopping"),
            )
        },
        "/metrics": {
            "get": _operation(
                "metrics",
                "Counts and times of this instance, for Prometheus.",
                {
                    "200": _answer("The metrics.")
                    | {"content": {kind: {"schema": {"type": "string"}} for kind in _EXPOSITIONS}}
                },
                ("origin", "no-metrics"),
            )
        },
        "/openapi.json": {
            "get": _operation(
                "openapi",
                "This document.",
                {"200": _answer("It.") | {"content": {_JSON: {"schema": {"type": "object"}}}}},
                ("origin",),
            )
        },
    }


def _operation(
    name: str, summary: str, answers: Json, errors: Sequence[str], *, body: str = "", description: str = ""
) -> Json:
    """Return one operation: its answers, and its errors by their status."""
    operation: Json = {"operationId": name, "summary": summary}
    if description:
        operation["description"] = description
    if body:
        content = {_JSON: {"schema": _ref(body)}}
        operation["requestBody"] = {"required": True, "content": content}
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys((*errors, *_ALWAYS)):
        by_status.setdefault(DENIALS[code][0] if code in DENIALS else OWN_CODES[code], []).append(code)
    failures = {str(status): _failure(status, by_status[status]) for status in sorted(by_status)}
    return operation | {"responses": answers | failures}


def _answer(text: str, schema: str = "", *, links: Json | None = None) -> Json:
    answer: Json = {"description": text, "headers": _headers("X-Request-ID")}
    if schema:
        answer["content"] = {_JSON: {"schema": _ref(schema)}}
    if links:
        answer["links"] = links
    return answer


def _status(word: str) -> Json:
    schema = {"type": "object", "properties": {"status": {"const": word}}, "required": ["status"]}
    return _answer("It does.") | {"content": {_JSON: {"schema": schema}}}


def _failure(status: int, codes: Sequence[str]) -> Json:
    names = ["X-Request-ID"]
    if status in (429, 503):
        names.append("Retry-After")
    if status == 401:
        names.append("WWW-Authenticate")
    detail = {"properties": {"error": {"properties": {"code": {"enum": sorted(codes)}}}}}
    return {
        "description": "; ".join(DENIALS[code][1] if code in DENIALS else code for code in codes),
        "headers": _headers(*names),
        "content": {_JSON: {"schema": {"allOf": [_ref("ErrorBody"), detail]}}},
    }


def _schemas(config: ServerConfig) -> Json:
    """Return the schemas of the structs, narrowed to what this server takes."""
    _, schemas = msgspec.json.schema_components(_STRUCTS, ref_template="#/components/schemas/{name}")
    create, meet = schemas["CreateRequest"]["properties"], schemas["MeetRequest"]["properties"]
    create["ttl"] = {"type": "number", "minimum": config.min_ttl, "maximum": config.max_ttl}
    meet["rendezvous_id"]["pattern"] = "^[a-z2-7]{26}$"  # JSON Schema's patterns are ECMAScript's, without \Z
    for name in ("CreateRequest", "JoinRequest", "MeetRequest"):
        schemas[name]["properties"]["version"] = {"const": wire.VERSION, "default": wire.VERSION}
    return schemas


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


_JSON: Final = "application/json"
_EXPOSITIONS: Final = ("text/plain", "application/openmetrics-text")
_ID: Final = {"type": "string", "minLength": 16, "maxLength": 64, "pattern": "^[A-Za-z0-9_-]+$"}
_HEADERS: Final[Json] = {
    "X-Request-ID": {
        "description": "Names the request in the server's log. A client may propose one of [A-Za-z0-9._-]{1,64}.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "Retry-After": {
        "description": "Seconds after which the same may be allowed.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}},
}
_LINKS: Final[Json] = {
    "join": {"operationId": "join", "requestBody": {"slot": "$response.body#/slot"}},
    "look": {"operationId": "look", "parameters": {"id": "$response.body#/rendezvous_id"}},
    "delete": {"operationId": "delete", "parameters": {"id": "$response.body#/rendezvous_id"}},
}

"""What Schemathesis cannot know by itself: whose token a transfer's is, and one thing that JSON Schema cannot say."""

from __future__ import annotations

from typing import Any

import schemathesis

_tokens: dict[str, str] = {}


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Write whole numbers without a fraction: to JSON Schema 7.0 is an integer too, to the server it is none."""
    if isinstance(body, dict):
        for key, value in body.items():
            if isinstance(value, float) and value.is_integer():
                body[key] = int(value)
    return body


@schemathesis.hook
def after_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], response: schemathesis.Response
) -> None:
    """Remember the tokens of transfers that were created."""
    if case.operation.path == "/api/transfer" and response.status_code == 201:
        created = response.json()
        _tokens[created["rendezvous_id"]] = created["token"]


@schemathesis.auth(refresh_interval=None)
class Token:
    """The token of the transfer that a request names."""

    def get(self, case: schemathesis.Case[Any], context: schemathesis.AuthContext) -> str:
        return _tokens.get(case.path_parameters.get("id", ""), "none of any transfer")

    def set(self, case: schemathesis.Case[Any], data: str, context: schemathesis.AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {data}"

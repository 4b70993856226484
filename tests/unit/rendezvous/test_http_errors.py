from __future__ import annotations

import pytest

from p2pal import errors
from p2pal.rendezvous.http_errors import HttpAnswer, refusal
from p2pal.server.state import DENIALS


def answer(status: int, code: str, after: float | None = None) -> HttpAnswer:
    return HttpAnswer(status, f'{{"error":{{"code":"{code}","message":"\\u001b[2J"}}}}'.encode(), after)


@pytest.mark.parametrize(
    ("status", "code", "after", "told"),
    [
        (429, "too-often", 12.0, "the signaling server is asked too often from this address; try again in 12 s"),
        (429, "too-often", 0.0, "the signaling server is asked too often from this address; try again in 1 s"),
        (429, "too-often", 600.0, "the signaling server is asked too often from this address; try again in 10 min"),
        (429, "too-often", 86_400.0, "the signaling server is asked too often from this address; try again in 24 h"),
        (
            429,
            "too-many-open",
            5.0,
            "too many transfers are open from this address; end one of them, or try again later",
        ),
        (429, "too-many-sockets", 5.0, "too many connections are open from this address; try again in 5 s"),
        (429, "queue-full", 5.0, "too many receivers are waiting for this transfer; try again in 5 s"),
        (429, "of-tomorrow", 5.0, "the signaling server is asked too often; try again in 5 s"),
        (429, "too-often", None, "the signaling server is asked too often from this address; try again in a moment"),
        (503, "full", 5.0, "the signaling server is full; try again in 5 s, or use another -server"),
        (503, "unavailable", 5.0, "the signaling server is not ready (HTTP 503); try again in 5 s"),
        (503, "stopping", None, "the signaling server is not ready (HTTP 503); try again in a moment"),
    ],
)
def test_what_goes_by_is_told_with_the_time(status: int, code: str, after: float | None, told: str) -> None:
    error = refusal(answer(status, code, after))
    assert type(error) is errors.ServerRefused
    assert str(error) == told


def test_how_long_it_was_tried() -> None:
    error = refusal(HttpAnswer(502, b"<html>Bad Gateway"), waited=30.2)
    assert error.message == "the signaling server was not ready for 30 s (HTTP 502)"


@pytest.mark.parametrize(
    ("said", "ready"),
    [
        (answer(503, "unavailable"), False),
        (answer(503, "stopping"), False),
        (answer(503, "of-tomorrow"), False),
        (HttpAnswer(502, b""), False),
        (HttpAnswer(503, b"\xff"), False),
        (HttpAnswer(504, b"<html>"), False),
        (answer(503, "full"), True),
        (answer(500, "internal"), True),
        (answer(429, "too-often"), True),
        (HttpAnswer(201, b"{}"), True),
    ],
)
def test_who_is_asked_again(said: HttpAnswer, ready: bool) -> None:
    assert said.not_ready is not ready


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ('"min":1,"max":600', "the signaling server allows a -ttl from 1s to 10m; choose another -ttl"),
        (
            '"min":0.5,"max":604800.0,"unit":"s"',
            "the signaling server allows a -ttl from 0.5s to 7d; choose another -ttl",
        ),
        ('"min":1', "the signaling server does not allow this -ttl; choose another -ttl"),
        ('"min":5,"max":2', "the signaling server does not allow this -ttl; choose another -ttl"),
        ('"min":0,"max":0', "the signaling server does not allow this -ttl; choose another -ttl"),
    ],
)
def test_which_ttl_is_allowed(limits: str, told: str) -> None:
    error = refusal(HttpAnswer(400, f'{{"error":{{"code":"ttl",{limits}}}}}'.encode()))
    assert type(error) is errors.ServerRefused
    assert str(error) == told


@pytest.mark.parametrize(
    "limits", ['"min":-1,"max":5', '"min":1,"max":1e300', '"min":"1","max":"\\u001b[2J"', '"max":[]']
)
def test_limits_that_are_none_are_not_told(limits: str) -> None:
    error = refusal(HttpAnswer(400, f'{{"error":{{"code":"ttl",{limits}}}}}'.encode()))
    assert type(error) is errors.ServerRefused
    assert "-ttl" not in str(error)


@pytest.mark.parametrize(
    "said",
    [
        b"<center>The plain HTTP request was sent to HTTPS port</center>",
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    ],
)
def test_a_proxy_that_wants_tls(said: bytes) -> None:
    told = "what answers at the server's address speaks TLS; write https:// in the -server address"
    assert str(refusal(HttpAnswer(400, said))) == told
    assert "TLS" not in str(refusal(HttpAnswer(404, said)))


@pytest.mark.parametrize("code", DENIALS)
def test_every_denial_of_the_server_has_a_text_of_ours(code: str) -> None:
    error = refusal(answer(DENIALS[code][0], code, 5.0))
    assert isinstance(error, errors.ServerError | errors.CodeError)
    assert "\x1b" not in str(error)
    assert "no p2pal signaling server" not in str(error)

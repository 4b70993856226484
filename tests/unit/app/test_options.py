from __future__ import annotations

import pytest

from p2pal.app.options import MAX_CHUNK_KIB, MIN_CHUNK_KIB, ConnectOptions, SendOptions
from p2pal.errors import UsageError
from p2pal.lanes.webrtc import MAX_MESSAGE
from p2pal.wire.frames import DATA_HEADER
from p2pal.wire.transfer import CHUNK_OVERHEAD


@pytest.mark.parametrize(
    "settings",
    [
        {"server": "example.org"},
        {"server": "http://"},
        {"server": "http://["},
        {"max_retries": -1},
        {"retry_backoff": -0.1},
    ],
)
def test_what_cannot_work_is_refused_at_once(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        ConnectOptions(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{"chunk_kib": 3}, {"chunk_kib": 256}, {"words": 1}, {"words": 9}])
def test_the_ranges_are_kept(settings: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"must be from \d+ to \d+"):
        SendOptions(**settings)  # type: ignore[arg-type]


def test_the_largest_chunk_fits_the_engines_largest_message() -> None:
    SendOptions(chunk_kib=MIN_CHUNK_KIB)
    assert SendOptions(chunk_kib=MAX_CHUNK_KIB).chunk_kib * 1024 + CHUNK_OVERHEAD + DATA_HEADER + 16 <= MAX_MESSAGE


@pytest.mark.parametrize(
    ("server", "shown"),
    [
        ("http://localhost:8080", "http://localhost:8080"),
        ("https://example.org/sub", "https://example.org/sub"),
        ("https://ann@example.org/sub", "https://example.org/sub"),
        ("https://ann:p%40ss@[::1]:9/", "https://[::1]:9/"),
        ("https://ann:p@ss@example.org", "https://example.org"),
    ],
)
def test_the_servers_address_is_shown_without_user_and_password(server: str, shown: str) -> None:
    assert ConnectOptions(server=server).shown_server == shown


@pytest.mark.parametrize(
    ("server", "here"),
    [
        ("http://localhost:8080", True),
        ("http://127.0.0.1:9", True),
        ("http://127.7.7.7", True),
        ("http://[::1]:8080", True),
        ("https://example.org", False),
        ("http://192.0.2.7:8080", False),
        ("http://localhost.example.org", False),
    ],
)
def test_a_server_on_this_machine_is_known(server: str, here: bool) -> None:
    assert ConnectOptions(server=server).on_this_machine is here
    assert ConnectOptions(server=server, only_loopback=True).on_this_machine

from __future__ import annotations

import ipaddress
import socket

import aiohttp
import pytest
from tests.unit.cli.kit import CODE, on_loop

from p2pal.app.events import Saved
from p2pal.cli import serve
from p2pal.cli.serve import Address
from p2pal.errors import ServerError, UsageError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", Address("0.0.0.0", 0)),
        (":9000", Address("0.0.0.0", 9000)),
        ("192.0.2.5:9000", Address("192.0.2.5", 9000)),
        ("[::1]:0", Address("::1", 0)),
        ("localhost:80", Address("localhost", 80)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert serve.parse_address(text, only_loopback=False) == address


def test_only_loopback_listens_there() -> None:
    assert serve.parse_address("", only_loopback=True) == Address("127.0.0.1", 0)


@pytest.mark.parametrize("text", ["9000", "host", "host:", "host:99999", "host:-1", "host:٣", "h:123456"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--serve takes HOST:PORT"):
        serve.parse_address(text, only_loopback=False)


def test_an_address_for_the_other_machine_is_found_without_a_network() -> None:
    ipaddress.ip_address(serve.lan_address())


@pytest.mark.parametrize(
    ("address", "local", "public"),
    [
        (Address("127.0.0.1", 0), "http://127.0.0.1:5", "http://127.0.0.1:5"),
        (Address("::1", 0), "http://[::1]:5", "http://[::1]:5"),
        (Address("0.0.0.0", 0), "http://127.0.0.1:5", None),
        (Address("::", 0), "http://[::1]:5", None),
    ],
)
def test_urls(address: Address, local: str, public: str | None) -> None:
    served = serve.published(address, 5)
    assert served.local == local
    assert served.public == (public or serve.url(serve.lan_address(), 5))


def test_the_command_for_the_other_machine() -> None:
    changed = serve.for_the_other_machine(CODE, serve.Served("http://127.0.0.1:5", "http://192.0.2.5:5"))
    assert changed.command == "p2pal recv -server http://192.0.2.5:5 zebra-luna-47"
    assert changed.server == "http://192.0.2.5:5"
    assert changed.code == CODE.code


@on_loop
async def test_the_server_runs_for_the_length_of_the_block() -> None:
    async with (
        serve.serving(Address("127.0.0.1", 0)) as served,
        aiohttp.ClientSession() as client,
        client.get(served.local + "/healthz") as answer,
    ):
        assert answer.status == 200
    with socket.socket() as probe:
        port = int(served.local.rpartition(":")[2])
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@on_loop
async def test_a_port_in_use_is_exit_3() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServerError, match=r"port \d+ is in use; choose another with --serve=HOST:PORT"):
            async with serve.serving(Address("127.0.0.1", taken.getsockname()[1])):
                pass


@on_loop
async def test_an_address_of_another_machine_is_exit_2() -> None:
    with pytest.raises(UsageError, match=r"'192\.0\.2\.77' is no address of this machine"):
        async with serve.serving(Address("192.0.2.77", 0)):
            pass


def test_what_goes_on_later_names_no_address_of_today() -> None:
    saved = Saved(id="k" * 26, command="p2pal send --resume kkkkkkkk -server http://127.0.0.1:4711", done=1, total=2)
    assert serve.for_later(saved).command == "p2pal send --resume kkkkkkkk --serve"

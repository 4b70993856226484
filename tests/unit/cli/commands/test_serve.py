from __future__ import annotations

import contextlib
import socket

import aiohttp
import pytest
from tests.unit.cli.kit import CODE

from p2pal.app.events import Saved
from p2pal.cli.commands import serve
from p2pal.cli.commands.serve import ListenAddress
from p2pal.errors import ServerError, UsageError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", ListenAddress("", 0)),
        (":9000", ListenAddress("", 9000)),
        ("*:9000", ListenAddress("", 9000)),
        ("0.0.0.0:9000", ListenAddress("0.0.0.0", 9000)),
        ("[::]:9000", ListenAddress("::", 9000)),
        ("192.0.2.5:9000", ListenAddress("192.0.2.5", 9000)),
        ("[::1]:0", ListenAddress("::1", 0)),
        ("localhost:80", ListenAddress("localhost", 80)),
    ],
)
def test_addresses(text: str, address: ListenAddress) -> None:
    assert serve.parse_address(text, only_loopback=False) == address


def test_only_loopback_listens_there() -> None:
    assert serve.parse_address("", only_loopback=True) == ListenAddress("127.0.0.1", 0)


@pytest.mark.parametrize("text", ["9000", "host", "host:", "host:99999", "host:-1", "host:٣", "h:123456"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--serve takes HOST:PORT"):
        serve.parse_address(text, only_loopback=False)


BOTH = {socket.AF_INET, socket.AF_INET6}
OWN = ("192.168.77.4", "fd00:77::4", "10.5.0.2")


@pytest.mark.parametrize(
    ("address", "families", "own", "local", "public"),
    [
        (ListenAddress("127.0.0.1", 0), {socket.AF_INET}, (), "http://127.0.0.1:5", ["http://127.0.0.1:5"]),
        (ListenAddress("::1", 0), {socket.AF_INET6}, (), "http://[::1]:5", ["http://[::1]:5"]),
        (ListenAddress("fe80::1%eth0", 0), {socket.AF_INET6}, (), "http://[fe80::1%25eth0]:5", ["http://[fe80::1%25eth0]:5"]),
        (ListenAddress("server.test", 0), BOTH, OWN, "http://server.test:5", ["http://server.test:5"]),
        (ListenAddress("", 0), BOTH, OWN, "http://127.0.0.1:5",
         ["http://192.168.77.4:5", "http://[fd00:77::4]:5", "http://10.5.0.2:5"]),
        (ListenAddress("", 0), {socket.AF_INET}, OWN, "http://127.0.0.1:5", ["http://192.168.77.4:5", "http://10.5.0.2:5"]),
        (ListenAddress("", 0), {socket.AF_INET6}, OWN, "http://[::1]:5", ["http://[fd00:77::4]:5"]),
        (ListenAddress("0.0.0.0", 0), {socket.AF_INET}, OWN, "http://127.0.0.1:5",
         ["http://192.168.77.4:5", "http://10.5.0.2:5"]),
        (ListenAddress("::", 0), {socket.AF_INET6}, OWN, "http://[::1]:5", ["http://[fd00:77::4]:5"]),
    ],
)  # fmt: skip
def test_urls(address: ListenAddress, families: set[int], own: tuple[str, ...], local: str, public: list[str]) -> None:
    assert serve.published(address, 5, families, own) == serve.RunningServer(local, tuple(public))


def test_a_machine_on_no_network_is_told() -> None:
    assert serve.published(ListenAddress("", 0), 5, BOTH, ()) == serve.RunningServer(
        "http://127.0.0.1:5", ("http://127.0.0.1:5",), alone=True
    )
    assert not serve.published(ListenAddress("127.0.0.1", 0), 5, {socket.AF_INET}, ()).alone, "who asks for it knows it"


def test_the_commands_for_the_other_machine() -> None:
    served = serve.RunningServer("http://127.0.0.1:5", ("http://192.0.2.1:5", "http://[fd00::1]:5"))
    changed = serve.for_the_other_machine(CODE, served)
    assert changed.command == "p2pal recv -server http://192.0.2.1:5 zebra-luna-47"
    assert changed.server == "http://192.0.2.1:5"
    assert changed.servers == served.public
    assert changed.commands == (changed.command, "p2pal recv -server 'http://[fd00::1]:5' zebra-luna-47")
    assert changed.code == CODE.code


async def test_every_address_of_this_machine_answers() -> None:
    async with serve.serving(ListenAddress("", 0)) as served, aiohttp.ClientSession() as client:
        port = served.local.rpartition(":")[2]
        loopback = [f"http://127.0.0.1:{port}"]
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            loopback.append(f"http://[::1]:{port}")
        assert all(each.endswith(f":{port}") for each in served.public)
        for url in loopback:
            async with client.get(f"{url}/healthz") as answer:
                assert answer.status == 200


async def test_the_server_runs_for_the_length_of_the_block() -> None:
    async with (
        serve.serving(ListenAddress("127.0.0.1", 0)) as served,
        aiohttp.ClientSession() as client,
        client.get(served.local + "/healthz") as answer,
    ):
        assert answer.status == 200
    with socket.socket() as probe:
        port = int(served.local.rpartition(":")[2])
        assert probe.connect_ex(("127.0.0.1", port)) != 0


async def test_a_port_in_use_is_exit_3() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServerError, match=r"port \d+ is in use; choose another with --serve=HOST:PORT"):
            async with serve.serving(ListenAddress("127.0.0.1", taken.getsockname()[1])):
                pass


async def test_an_address_of_another_machine_is_exit_2() -> None:
    with pytest.raises(UsageError, match=r"'192\.0\.2\.77' is no address of this machine"):
        async with serve.serving(ListenAddress("192.0.2.77", 0)):
            pass


def test_what_goes_on_later_names_no_address_of_today() -> None:
    saved = Saved(id="k" * 26, command="p2pal send --resume kkkkkkkk -server http://127.0.0.1:4711", done=1, total=2)
    assert serve.for_later(saved).command == "p2pal send --resume kkkkkkkk --serve"

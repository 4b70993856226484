"""Sockets that listen on every address of a host, on one port."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from p2pal.server.http.listening_sockets import bind, bound_socket


@pytest.fixture
def bound() -> Iterator[list[socket.socket]]:
    made: list[socket.socket] = []
    yield made
    for each in made:
        each.close()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_everywhere_is_both_families_on_one_port(bound: list[socket.socket]) -> None:
    bound += bind("", 0)
    families = [socket.AF_INET, socket.AF_INET6] if has_ipv6() else [socket.AF_INET]
    assert [each.family for each in bound] == families
    assert len({each.getsockname()[1] for each in bound}) == 1
    for each in bound[1:]:
        assert each.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_hosts(bound: list[socket.socket], host: str) -> None:
    bound += bind(host, 0)
    assert len({each.getsockname()[1] for each in bound}) == 1


@pytest.mark.parametrize("lacks", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_machine_without_ipv6(bound: list[socket.socket], lacks: int) -> None:
    def make(family: socket.AddressFamily, place: tuple[object, ...]) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(lacks, "none")
        return bound_socket(family, place)

    bound += bind("", 0, open_socket=make)
    assert [each.family for each in bound] == [socket.AF_INET]


def test_a_machine_without_any() -> None:
    def make(_family: socket.AddressFamily, _place: tuple[object, ...]) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "none")

    with pytest.raises(OSError, match="none"):
        bind("", 0, open_socket=make)


def test_another_port_is_chosen_where_one_family_has_it_already(bound: list[socket.socket]) -> None:
    taken = [True, True, False]
    made: list[socket.socket] = []

    def make(family: socket.AddressFamily, place: tuple[object, ...]) -> socket.socket:
        if family == socket.AF_INET6 and taken.pop(0):
            raise OSError(errno.EADDRINUSE, "taken")
        each = bound_socket(family, place) if family == socket.AF_INET else socket.socket()
        made.append(each)
        return each

    bound += bind("", 0, open_socket=make)
    assert made[-2:] == bound
    assert all(each.fileno() == -1 for each in made[:-2]), "what was tried before is closed"


def test_a_port_that_is_named_and_taken_is_an_error(bound: list[socket.socket]) -> None:
    bound += bind("127.0.0.1", 0)
    bound[0].listen()
    for host in ("127.0.0.1", ""):
        with pytest.raises(OSError, match="in use"):
            bind(host, bound[0].getsockname()[1])


def test_an_address_that_is_not_here() -> None:
    with pytest.raises(OSError, match="assign"):
        bind("192.0.2.77", 0)

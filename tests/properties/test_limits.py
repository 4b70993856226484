"""What the limits promise for any input: no allowance is exceeded, and nobody names an address for somebody else."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.rate_limit import Rate, spend
from p2pal.server.addresses import client_address, group
from p2pal.server.http.origins import allowed

TRUSTED: tuple[IPv4Network, ...] = (IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"))


@settings(deadline=None, max_examples=300)
@given(
    count=st.integers(1, 50),
    seconds=st.floats(0.01, 1000),
    start=st.floats(0, 1e6),
    pauses=st.lists(st.floats(0, 100) | st.just(0.0), max_size=200),
)
def test_no_address_gets_more_than_its_rate(count: int, seconds: float, start: float, pauses: list[float]) -> None:
    rate = Rate(count, seconds)
    whole, now = 0.0, start
    taken: list[float] = []
    for pause in pauses:
        now += pause
        whole, wait = spend(whole, now, rate)
        if wait == 0:
            taken.append(now)
        else:
            assert 0 < wait <= seconds / count + 1e-6
            assert spend(whole, now + wait + 1e-6, rate)[1] == 0, "after the time that was named it may"
    for first, since in enumerate(taken):  # from any moment on, not only from the beginning
        elapsed = now - since
        assert len(taken) - first <= count + elapsed / seconds * count + 1e-3


def _hop(address: IPv4Address, style: int) -> str:
    return (str(address), f"{address}:80", f"[::ffff:{address}]:80", f" {address}\t")[style]


addresses = st.builds(IPv4Address, st.integers(0, 2**32 - 1))
proxies = st.builds(lambda n: IPv4Address((10 << 24) + n), st.integers(0, 2**24 - 1))
strangers = addresses.filter(lambda address: not any(address in network for network in TRUSTED))
texts = st.text(max_size=30) | st.builds(_hop, addresses | proxies, st.integers(0, 3))


@settings(deadline=None, max_examples=300)
@given(
    invented=st.lists(texts, max_size=6),
    client=strangers,
    chain=st.lists(proxies, min_size=1, max_size=6),
    styles=st.lists(st.integers(0, 3), min_size=7, max_size=7),
    cut=st.integers(0, 12),
)
def test_nobody_left_of_an_untrusted_hop_is_believed(
    invented: list[str], client: IPv4Address, chain: list[IPv4Address], styles: list[int], cut: int
) -> None:
    hops = [*invented, *(_hop(address, style) for address, style in zip([client, *chain[1:]], styles, strict=False))]
    forwarded = [", ".join(hops[:cut]), ", ".join(hops[cut:])] if 0 < cut < len(hops) else [", ".join(hops)]
    assert client_address(str(chain[0]), forwarded, TRUSTED) == str(client)


@settings(deadline=None, max_examples=300)
@given(peer=strangers | st.just(None), forwarded=st.lists(st.text() | texts, max_size=4))
def test_without_a_trusted_peer_the_header_says_nothing(peer: IPv4Address | None, forwarded: list[str]) -> None:
    text = "" if peer is None else str(peer)
    assert client_address(text, forwarded, TRUSTED) == text


@settings(deadline=None, max_examples=500)
@given(forwarded=st.lists(st.text(alphabet="0123456789abcdef:.[]%, \t") | st.text(), max_size=4))
def test_whatever_a_header_says_an_address_comes_out(forwarded: list[str]) -> None:
    found = client_address("10.0.0.1", forwarded, TRUSTED)
    assert str(ip_address(found)) == found
    named = group(found)
    assert group(found) == named
    assert ip_address(found) in ip_network(named)


@settings(deadline=None, max_examples=300)
@given(origin=st.text() | st.from_regex(r"\A[a-z]+://[^/]*\Z"), host=st.text())
def test_an_origin_is_allowed_by_name_or_as_the_servers_own(origin: str, host: str) -> None:
    if allowed(origin, host, frozenset()):
        assert origin.lower().partition("://")[2].split(":")[0] == host.lower().split(":")[0]
    if allowed(origin, host, frozenset({"*"})):
        assert origin.isascii()
        assert origin.isprintable()
        assert len(origin) < 300

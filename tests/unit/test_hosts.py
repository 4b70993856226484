"""Where a host is, and the way there."""

from __future__ import annotations

import pytest

from p2pal.hosts import is_loopback, proxy_for


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.example.org", "192.0.2.1", "2001:db8::1", "0.0.0.0", "127.0.0.1.example.org"]
)
def test_others(host: str) -> None:
    assert not is_loopback(host)


def test_the_proxy_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    assert proxy_for("https", "example.org") is None
    monkeypatch.setenv("all_proxy", "socks5://proxy.test:1080")
    assert proxy_for("https", "example.org") == "socks5://proxy.test:1080"
    monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
    assert proxy_for("https", "example.org") == "http://proxy.test:3128"
    assert proxy_for("http", "example.org") == "socks5://proxy.test:1080"
    monkeypatch.setenv("no_proxy", "example.org")
    assert proxy_for("https", "example.org") is None
    assert proxy_for("https", "other.org") == "http://proxy.test:3128"
    assert proxy_for("https", "127.0.0.1") is None

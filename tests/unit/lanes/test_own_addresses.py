"""Which of this machine's addresses another machine is likely to reach."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pal.lanes.own_addresses import LinkKind, OwnAddress, kind_of, rank

LAN = OwnAddress("192.168.77.4", 24, "eth0")
LAN6 = OwnAddress("fd00:77::4", 64, "eth0")
PUBLIC6 = OwnAddress("2001:db8::4", 64, "eth0")
CABLE = OwnAddress("169.254.3.4", 16, "eth1")
VPN = OwnAddress("10.5.0.2", 32, "v1")
TAILNET = OwnAddress("100.100.1.2", 32, "tailscale0")
DOCKER = OwnAddress("172.17.0.1", 16, "docker0")


def ranked(*found: OwnAddress, sources: tuple[str, ...] = ()) -> list[str]:
    return [own.address for own in rank(found, sources)]


@pytest.mark.parametrize(
    ("found", "sources", "expected"),
    [
        pytest.param([LAN], [LAN], [LAN], id="a network with a default route"),
        pytest.param([LAN6], [LAN6], [LAN6], id="IPv6 only"),
        pytest.param([LAN], [], [LAN], id="a network without a default route"),
        pytest.param([CABLE], [], [CABLE], id="a cable between two machines"),
        pytest.param([LAN6, LAN], [LAN6], [LAN, LAN6], id="a default route for IPv6 only"),
        pytest.param([VPN, LAN], [VPN], [LAN, VPN], id="a tunnel that takes all traffic"),
        pytest.param([DOCKER, TAILNET, CABLE, LAN6, LAN], [LAN, LAN6], [LAN, LAN6, CABLE, TAILNET, DOCKER], id="all"),
        pytest.param([DOCKER], [], [DOCKER], id="containers and nothing else"),
        pytest.param([], [], [], id="nothing"),
    ],
)
def test_the_best_comes_first(found: list[OwnAddress], sources: list[OwnAddress], expected: list[OwnAddress]) -> None:
    assert rank(found, [each.address for each in sources]) == tuple(expected)
    assert rank(reversed(found), [each.address for each in sources]) == tuple(expected), "whatever the system's order"


def test_the_network_that_leads_out_comes_before_one_that_does_not() -> None:
    other = OwnAddress("192.168.5.1", 24, "usb0")
    assert ranked(other, LAN, LAN6, sources=(LAN6.address,)) == [LAN.address, LAN6.address, other.address]


def test_the_address_that_the_system_itself_uses_comes_first() -> None:
    older = OwnAddress("2001:db8::5", 64, "eth0")
    assert ranked(PUBLIC6, older, sources=("2001:db8::5",)) == ["2001:db8::5", "2001:db8::4"]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "0.0.0.0", "::", "fe80::1", "fe80::1%eth0", "224.0.0.1", "ff02::1", "192.0.0.4", "2002::1",
     "2001:0:1::1", "::ffff:192.0.2.1", "fec0::1", "no address", ""],
)  # fmt: skip
def test_what_no_other_machine_can_use_is_left_out(address: str) -> None:
    assert ranked(OwnAddress(address, 24, "eth0"), LAN) == [LAN.address]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (LinkKind.NETWORK,
         ["eth0", "en0", "enp3s0", "wlan0", "wlp2s0", "br0", "vmbr0", "br-lan", "bond0", "v0", "usb0", "bridge0",
          "Ethernet 2", "Wi-Fi", "Local Area Connection", "wwan0", "eth0.10", "tunnelhouse", "", "\u00e9th"]),
        (LinkKind.TUNNEL,
         ["tun0", "tap1", "utun4", "wg0", "wg-home1", "ppp0", "tailscale0", "Tailscale", "ztabcdef12", "nordlynx0",
          "WireGuard Tunnel", "TAP-Windows Adapter V9", "OpenVPN Wintun", "Cisco AnyConnect Virtual Miniport", "My VPN",
          "ipsec0", "sit0", "ip6tnl0", "gre0"]),
        (LinkKind.VIRTUAL,
         ["docker0", "docker_gwbridge", "br-0123456789ab", "virbr0", "vnet3", "veth12ab34c", "lxcbr0", "lxdbr0",
          "incusbr0", "podman0", "cni0", "cni-podman0", "flannel.1", "cali0123", "vmnet8", "vboxnet0", "bridge100",
          "vEthernet (WSL)", "VirtualBox Host-Only Ethernet Adapter", "VMware Network Adapter VMnet8"]),
    ],
)  # fmt: skip
def test_names_of_interfaces(kind: LinkKind, names: list[str]) -> None:
    assert {name: kind_of(OwnAddress("192.0.2.1", 24, name)) for name in names} == dict.fromkeys(names, kind)


def test_a_network_of_one_address_is_a_tunnels_but_not_one_of_dhcpv6() -> None:
    assert kind_of(OwnAddress("192.0.2.1", 32, "eth0")) is LinkKind.TUNNEL
    assert kind_of(OwnAddress("2001:db8::1", 128, "eth0")) is LinkKind.NETWORK
    assert kind_of(OwnAddress("192.0.2.1", 24, "corp", tunnel=True)) is LinkKind.TUNNEL


addresses = st.builds(
    OwnAddress,
    st.ip_addresses().map(str) | st.text(max_size=8),
    st.integers(0, 128),
    st.sampled_from(["eth0", "eth1", "tun0", "docker0"]),
    st.booleans(),
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(addresses, max_size=12), st.lists(st.ip_addresses().map(str), max_size=2))
def test_every_order_is_the_same_and_kinds_stay_together(found: list[OwnAddress], sources: list[str]) -> None:
    order = rank(found, sources)
    assert len({own.address for own in order}) == len(order)
    assert [kind_of(own) for own in order] == sorted(kind_of(own) for own in order)
    for own in order:
        assert not ipaddress.ip_address(own.address).is_loopback

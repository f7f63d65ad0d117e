"""Whether a peer's address lies in networks that the settings name."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]


def networks_of(names: Sequence[str]) -> Networks:
    """Networks as the settings write them, which were checked when they were read."""
    return [ipaddress.ip_network(name) for name in names]


def peer_address(text: str | None) -> Address | None:
    """The address of a connection's other end; None where it has none (a Unix socket)."""
    try:
        address = ipaddress.ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def within(networks: Networks, address: Address | None) -> bool:
    """Whether one of the networks holds the address."""
    return address is not None and any(address in network for network in networks)


def place_of(address: Address | None) -> str:
    """What one caller can hardly have many of: an IPv4 address, the /64 of an IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)

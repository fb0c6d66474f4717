"""Which addresses an upstream may have."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal

Reach = Literal["public", "private", "loopback"]


class ForbiddenAddress(OSError):
    """An upstream's name leads to where its configuration does not allow to go."""


def reach_of(host: str, *, allow_private: bool) -> Reach:
    """Return how near an upstream may be: its own configuration says so, never what a name happens to resolve to."""
    if allow_private:
        return "private"
    if host == "localhost" or host.endswith(".localhost"):
        return "loopback"
    address = literal(host)
    return "loopback" if address is not None and address.is_loopback else "public"


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """Return a host that is an address, without what would disguise it; None for a name."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def vet(host: str, address: str, reach: Reach) -> None:
    """Return when an address may be connected to. Raises ForbiddenAddress with a sentence."""
    found = literal(address)
    if found is None:
        raise ForbiddenAddress(f"{host} resolves to {address}, which is no address")
    if reach == "private":
        return
    if reach == "loopback":
        if not found.is_loopback:
            raise ForbiddenAddress(f"{host} is to be this machine, but resolves to {found}")
        return
    if not found.is_global or found.is_multicast:
        raise ForbiddenAddress(
            f"{host} resolves to {found}, which is not on the public internet; set allow_private = true for the source "
            "when that is right"
        )

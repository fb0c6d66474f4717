"""Which addresses an upstream may have, and which hosts a URL may name. Pure: nothing is looked up."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal
from urllib.parse import SplitResult, urlsplit

# public: the internet alone. loopback: this machine alone. sandbox: either. private: anywhere.
Reach = Literal["public", "loopback", "sandbox", "private"]

# Of IPv6 only global unicast is the internet, and of that not what stands for something else: IANA's protocol
# assignments (Teredo among them), 6to4 and documentation. NAT64's prefixes lie outside of it.
# https://www.iana.org/assignments/iana-ipv6-special-registry
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_REALLY = tuple(IPv6Network(one) for one in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
# What Python counts as global although it is not the internet: protocol assignments, the old 6to4 relays, and the
# address under which Azure answers its own machines. https://www.iana.org/assignments/iana-ipv4-special-registry
_NOT_REALLY_4 = tuple(IPv4Network(one) for one in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"))

# Names under which clouds hand out a machine's credentials. What they resolve to is refused as well.
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})

_A_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.ASCII | re.IGNORECASE)
_A_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.ASCII)


class ForbiddenAddress(OSError):
    """A name or a URL leads to where the configuration does not allow to go."""


def reach_of(host: str, *, allow_private: bool) -> Reach:
    """Return how near an upstream may be: its own configuration says so, never what a name happens to resolve to."""
    if allow_private:
        return "private"
    return "loopback" if _is_this_machine(host) else "public"


def reach_of_files(host: str, *, allow_private: bool) -> Reach:
    """Return how near the output files of an upstream at `host` may be: those of a sandbox may lie on this machine."""
    near = reach_of(host, allow_private=allow_private)
    return "sandbox" if near == "loopback" else near


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
    if reach == "private" or (reach == "sandbox" and found.is_loopback):
        return
    if reach == "loopback":
        if not found.is_loopback:
            raise ForbiddenAddress(f"{host} is to be this machine, but resolves to {found}")
        return
    if not _on_the_internet(found):
        raise ForbiddenAddress(
            f"{host} resolves to {found}, which is not on the public internet; set allow_private = true for the source "
            "when that is right"
        )


def vet_host(host: str, reach: Reach) -> None:
    """Return when a URL's host, in lower case, may be asked for. Raises ForbiddenAddress with a sentence.

    A number in another spelling than `127.0.0.1` (`2130706433`, `0x7f.1`, `0177.0.0.1`, `127.1`) is refused whatever
    the reach: parsers disagree about these, and no upstream needs one.
    """
    address = literal(host) if "%" not in host else None
    if address is not None:
        vet(host, str(address), reach)
        return
    if not _A_NAME.fullmatch(host) or len(host) > 254:
        raise ForbiddenAddress("the host is neither a name in ASCII nor an address")
    name = host.removesuffix(".")
    if _A_NUMBER.fullmatch(name.rpartition(".")[2]):
        raise ForbiddenAddress(f"{host} is an address in an ambiguous spelling; write it as four decimal numbers")
    if reach == "public" and _is_this_machine(name):
        raise ForbiddenAddress(f"{host} is this machine, which is not on the public internet")
    if reach != "private" and name in _METADATA_NAMES:
        raise ForbiddenAddress(f"{host} is where a cloud keeps its machines' credentials")


def vet_file_url(url: str, reach: Reach) -> SplitResult:
    """Return the parts of a URL that a file may be fetched from. Raises ForbiddenAddress with a sentence without it.

    Without TLS only within one's own network, or on this machine where a sandbox may be.
    """
    if not url.isascii() or not url.isprintable() or re.search(r'[\s\\"<>^`{|}]', url):
        raise ForbiddenAddress("the URL holds characters that no URL has")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ForbiddenAddress("the URL cannot be read") from None
    host = parts.hostname or ""
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise ForbiddenAddress("the URL holds a user or a password")
    if port == 0 or not host:
        raise ForbiddenAddress("the URL names no host, or no port that there is")
    vet_host(host, reach)
    near = reach == "private" or (reach in ("sandbox", "loopback") and _is_this_machine(host))
    if parts.scheme != "https" and not (parts.scheme == "http" and near):
        raise ForbiddenAddress("the URL is not https")
    return parts


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = literal(host)
    return address is not None and address.is_loopback


def _on_the_internet(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        return address in _GLOBAL_UNICAST and not any(address in one for one in _NOT_REALLY)
    if any(address in one for one in _NOT_REALLY_4):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved

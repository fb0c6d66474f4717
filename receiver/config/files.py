"""At which addresses a source's output files may lie: nobody is sent, and nothing is fetched, anywhere else (R17)."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from receiver.addresses import ForbiddenAddress, Reach, vet_host
from receiver.config.sources import SourceConfig
from receiver.config.urls import is_loopback


def files_lie_at(source: SourceConfig, url: SplitResult) -> bool:
    """Whether the provider's files lie at this URL: over https at the hosts it says, or where `base_url` points.

    A `base_url` on this machine is a sandbox: there, any port of this machine, and http, will do. Where the provider
    says no hosts, any on the internet will do; private ones only with `allow_private`.
    """
    host = url.hostname or ""
    base = urlsplit(source.base_url or "")
    at_base = host == base.hostname or (is_loopback(host) and is_loopback(base.hostname or ""))
    if url.scheme == "http":
        return at_base and base.scheme == "http"
    if url.scheme != "https":
        return False
    suffixes = source.habits.blob_hosts
    if suffixes:
        return at_base or any(host == one or host.endswith(f".{one}") for one in suffixes)
    return at_base or _permitted(host, "private" if source.allow_private else "public")


def _permitted(host: str, reach: Reach) -> bool:
    try:
        vet_host(host, reach)
    except ForbiddenAddress:
        return False
    return True

"""Which URLs a configuration may name, and what of them may be shown."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

_SQLITE_WORDS = 'write "sqlite:///hookledger.db" (relative) or "sqlite:////var/lib/hookledger/hookledger.db"'
_POSTGRES_WORDS = 'write "postgresql://user@host/database"'


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine by its very spelling; nothing is looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(host: str) -> bool:
    """Whether a host is this machine, a private address, or a name without a dot (which no public name is)."""
    if is_loopback(host):
        return True
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host


def web_url(value: str, *, what: str) -> str:
    """Return an http(s) URL without its last slash. Raises ValueError when it has credentials, a query or no host."""
    example = f'{what} such as "https://hooks.example.com"'
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError(f"must be {example}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\x00-\x1f\x7f\\]", value):
        raise ValueError(f"must be {example}")
    if port == 0:
        raise ValueError("its port must be between 1 and 65535")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password; credentials have settings of their own")
    if parts.query or parts.fragment or value.endswith(("?", "#")):
        raise ValueError("must end with the path: no query and no fragment")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def database_url(value: str) -> str:
    """Return a database URL of the two kinds we serve. Raises ValueError that says what to write instead."""
    scheme = value.partition("://")[0] if "://" in value else ""
    if scheme == "sqlite":
        return _sqlite_url(value)
    if scheme == "postgresql":
        return _postgresql_url(value)
    if scheme == "postgres" or scheme.startswith("postgresql+"):
        raise ValueError(f"{_POSTGRES_WORDS}: the scheme is postgresql, and the driver is ours to choose")
    raise ValueError(f"must be SQLite or PostgreSQL: {_SQLITE_WORDS}, or {_POSTGRES_WORDS}")


def _sqlite_url(value: str) -> str:
    path = value.removeprefix("sqlite://")
    if ":memory:" in path or path in ("", "/"):
        raise ValueError(f"must be a file, because receiver and reconciler meet in it: {_SQLITE_WORDS}")
    if not path.startswith("/") or "?" in path or "\x00" in path:
        raise ValueError(f"is not an SQLite file: {_SQLITE_WORDS}")
    return value


def _postgresql_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError(f"is not a PostgreSQL address: {_POSTGRES_WORDS}") from None
    if "@" in parts.path or "@" in parts.query:
        raise ValueError("has a password with / or ? or @ in it; write them as %2F, %3F and %40")
    if len(parts.path) < 2:
        raise ValueError(f"names no database: {_POSTGRES_WORDS}")
    if not parts.hostname and "host=" not in parts.query:
        raise ValueError(f"names no host: {_POSTGRES_WORDS}")
    if "password=" in parts.query:
        raise ValueError("must hold its password before the @, not in the query")
    return value


def sqlite_file(value: str) -> Path | None:
    """Return where the file of a database URL is or is to be, None for PostgreSQL."""
    return Path(value.removeprefix("sqlite:///")) if value.startswith("sqlite:") else None


def database_url_public(value: str) -> str:
    """Return a database URL that may be shown: as it is, without the password."""
    parts = urlsplit(value)
    if parts.password is None:
        return value
    user, _, place = parts.netloc.rpartition("@")
    return urlunsplit(SplitResult(parts.scheme, f"{user.partition(':')[0]}@{place}", parts.path, parts.query, ""))


def database_passwords(value: str) -> frozenset[str]:
    """Return the password in a database URL, as written and as meant."""
    password = urlsplit(value).password
    return frozenset({password, unquote(password)}) if password else frozenset()

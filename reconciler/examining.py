"""What `hookledger doctor` finds on this machine and in the ledger: settings, database, clock, tokens, undone work."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import disk_usage
from typing import Literal
from urllib.parse import urlsplit

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.config import Config
from receiver.config.sources import SourceConfig
from receiver.config.urls import is_loopback, sqlite_file
from receiver.ledger import migrate, overview, queries, tokens
from receiver.ledger.database import Database, LedgerError
from receiver.ledger.database import now as database_now
from receiver.ledger.engines import sqlite_version
from receiver.ledger.records import Trust
from receiver.ledger.schema import metadata
from receiver.shelves import ShelfTrouble, shelf_of

Severity = Literal["ok", "warning", "problem"]

# The ledger tells instants apart by 2 s (R4), which two clocks must not use up between them.
CLOCKS_APART = timedelta(seconds=2)
_ROOM, _LAST_ROOM = 2**30, 64 * 2**20  # bytes on the disk of an SQLite ledger
_LEFT_UNDONE = timedelta(minutes=5)
_LONG_TOLERANCE = timedelta(minutes=15)
_PAUSED = {
    "credentials": ("upstream refuses its key", "put the right api_key into its configuration"),
    "unreachable": ("upstream does not answer", "see whether upstream is down; it is probed"),
    "brake": (
        "upstream suddenly knows too few of its workflows",
        "see whether api_key and base_url are of the right account; if upstream has really forgotten them, set"
        " sources.{source}.brake = 1 and restart",
    ),
}
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_LACKING = text(
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND c.relname = ANY(:names)"
    " AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')) ORDER BY 1"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what it is about, how it is, and what to do when it is not well."""

    severity: Severity
    about: str
    said: str
    do: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """Return it as `doctor --json` prints it."""
        return {"severity": self.severity, "about": self.about, "said": self.said, "do": self.do}


def examine_settings(config: Config) -> list[Finding]:
    """Look at the configuration itself: is there anything to do, who may read it, how much do deliveries prove."""
    if not config.sources:
        return [Finding("problem", "configuration", "there are no sources", config.advice())]
    where = str(config.file) if config.file else "no file; the environment alone"
    named = ", ".join(f"{name} ({source.provider})" for name, source in sorted(config.sources.items()))
    found = [Finding("ok", "configuration", f"{where}: {named}")]
    if config.file is not None and _open_to_others(config.file) and _holds_secrets(config, config.file):
        do = f"chmod 600 {config.file}, or keep secrets in files of their own (`api_key_file`)"
        found.append(Finding("warning", "configuration", f"{config.file} holds secrets and others may read it", do))
    for name, source in sorted(config.sources.items()):
        found += _weak_points(name, source)
    return found + list(_shared_tokens(config))


def _weak_points(name: str, source: SourceConfig) -> Iterator[Finding]:
    about, trust = f"trust of {name}", source.trust
    if trust is Trust.HINT:
        do = "add a hook_token and register the address that `hookledger url` then prints"
        if Trust.SIGNED in source.habits.trusts:
            do = "have upstream sign its deliveries and add signing_secrets"
        yield Finding("warning", about, "deliveries prove nothing: each only makes us ask", do)
    elif trust is Trust.TOKEN and Trust.SIGNED in source.habits.trusts:
        do = "have upstream sign its deliveries and add signing_secrets: then endings need no look to be believed"
        yield Finding("warning", about, "deliveries prove only that their sender knows the address", do)
    else:
        yield Finding("ok", about, {Trust.SIGNED: "deliveries are signed", Trust.NONE: "polled only"}.get(
            trust, "the secret is in the address, which is the most this upstream offers"
        ))  # fmt: skip
    if trust is Trust.SIGNED and source.tolerance > _LONG_TOLERANCE:
        do = "set tolerance back to 5m and see to the clocks"
        yield Finding("warning", about, "a signature stays good for long, so a recorded delivery can be replayed", do)
    base = urlsplit(source.base_url or "")
    if source.allow_private and base.scheme == "http" and not is_loopback(base.hostname or ""):
        do = "use https, or make sure that nobody else is in that network"
        yield Finding("warning", about, "the API key travels without TLS", do)


def _shared_tokens(config: Config) -> Iterator[Finding]:
    owners: dict[str, list[str]] = {}
    for name, source in sorted(config.sources.items()):
        for token in source.account(name).hook_tokens:
            owners.setdefault(token, []).append(name)
    for names in owners.values():
        if len(names) > 1:
            said = f"{' and '.join(names)} share a hook_token: who learns one address can speak for all of them"
            yield Finding("warning", "trust", said, "give each source a hook_token of its own")


def _open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & _OTHERS)


def _holds_secrets(config: Config, path: Path) -> bool:
    content = path.read_text(encoding="utf-8", errors="replace")
    return any(secret in content for secret in config.secret_values())


async def examine_shelf(config: Config) -> list[Finding]:
    """Put a file where copies of outputs go, and take it away again."""
    shelf = shelf_of(config.collect)
    if shelf is None or not any(source.collect for source in config.sources.values()):
        return []
    file, place = shelf.unfinished / "doctor.part", "doctor/doctor/probe"
    try:
        shelf.unfinished.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_bytes(b"hookledger doctor")
        await shelf.keep(file, place, "application/octet-stream")
        await shelf.remove(place)
    except OSError as error:
        do = f"let the user hookledger runs as write to {shelf.unfinished}"
        return [Finding("problem", "copies", f"cannot write to {shelf.unfinished}: {error.strerror}", do)]
    except ShelfTrouble as error:
        return [
            Finding("problem", "copies", str(error), "see to collect.folder, or to the bucket, its address and keys")
        ]
    return [Finding("ok", "copies", "outputs can be kept")]


async def examine_database(config: Config) -> list[Finding]:
    """Look into the ledger without changing it: can it be had, is its schema ours, whose clock is right."""
    path = sqlite_file(config.database.url)
    if path is not None and not path.exists():
        if not path.absolute().parent.is_dir():
            do = f"make the folder, or set database.url; it is {config.database_url_public()}"
            return [Finding("problem", "database", f"the folder of {path} does not exist", do)]
        return [Finding("warning", "database", f"{path} is not there yet", "`hookledger serve` makes it")]
    try:
        database = await Database.open(config.database.url)
    except LedgerError as error:
        do = f"start it, or set database.url; it is {config.database_url_public()}"
        return [Finding("problem", "database", str(error), do)]
    try:
        return [*await _kind(database, path), *await _contents(database, config)]
    except LedgerError as error:
        return [Finding("problem", "database", str(error), "see that it stays reachable")]
    finally:
        await database.close()


async def _kind(database: Database, path: Path | None) -> list[Finding]:
    async with database.read() as connection:
        if path is None:
            version = (await connection.exec_driver_sql("SHOW server_version")).scalar_one()
            lacking = (await connection.execute(_LACKING, {"names": sorted(metadata.tables)})).scalars().all()
            found = [Finding("ok", "database", f"{database.name}: PostgreSQL {version}")]
            if lacking:
                do = "GRANT SELECT, INSERT, UPDATE, DELETE on them to the user in database.url"
                found.append(Finding("problem", "database", f"no right to use {', '.join(lacking)}", do))
            return found
        mode = (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one()
    version = ".".join(map(str, sqlite_version()))
    found = [Finding("ok", "database", f"{path}: SQLite {version}, journal mode {mode}")]
    if mode != "wal":
        do = "put it on a local disk: a write-ahead log needs shared memory, which network file systems lack"
        found.append(Finding("problem", "database", f"journal mode is {mode}", do))
    found.append(disk_finding(path.parent, disk_usage(path.parent).free))
    if _open_to_others(path):
        do = f"chmod 600 {path}: it holds prompts, which are personal data"
        found.append(Finding("warning", "database", "other users of this machine may read it", do))
    return found


def disk_finding(folder: Path, free: int) -> Finding:
    """Return what it means that so many bytes are free where the ledger lies."""
    said = f"{free / 2**20:.0f} MiB are free in {folder}"
    if free >= _ROOM:
        return Finding("ok", "disk", said)
    do = "make room, or shorten `retention` and `hookledger prune`: when it is full, deliveries are refused"
    return Finding("problem" if free < _LAST_ROOM else "warning", "disk", said, do)


async def _contents(database: Database, config: Config) -> list[Finding]:
    try:
        await migrate.ensure_current(database)
    except LedgerError as error:
        return [Finding("problem", "schema", str(error), "run `hookledger db upgrade` with the newest version")]
    async with database.read() as connection:
        return [
            Finding("ok", "schema", f"at {migrate.head()}"),
            await _clock(connection),
            await _tokens(connection),
            *await _work(connection, config),
            await _attention(connection),
        ]


async def _clock(connection: AsyncConnection) -> Finding:
    before = datetime.now(UTC)
    theirs = await database_now(connection)
    ours = before + (datetime.now(UTC) - before) / 2
    return clock_finding(theirs - ours)


def clock_finding(apart: timedelta) -> Finding:
    """Return what it means that the database's clock is so far ahead of this machine's."""
    seconds = f"{abs(apart).total_seconds():.1f} s {'ahead of' if apart > timedelta(0) else 'behind'} this machine's"
    if abs(apart) <= CLOCKS_APART:
        return Finding("ok", "clock", "the database's clock and this machine's agree")
    do = "let NTP (chrony, systemd-timesyncd) set both clocks"
    return Finding("problem", "clock", f"the database's clock is {seconds}", do)


async def _tokens(connection: AsyncConnection) -> Finding:
    if await tokens.any_valid(connection):
        count = sum(token.revoked_at is None for token in await tokens.listing(connection))
        return Finding("ok", "tokens", f"{count} API token{'s' if count > 1 else ''}")
    do = "hookledger token create NAME --scope read"
    return Finding("problem", "tokens", "there is no API token, so nobody can ask", do)


async def _attention(connection: AsyncConnection) -> Finding:
    found = await overview.attention_by_kind(connection, 0)
    waiting = {kind: group["open"] - group["acknowledged"] for kind, group in sorted(found.items())}
    named = ", ".join(f"{kind} ({count})" for kind, count in waiting.items() if count)
    if named:
        return Finding("warning", "attention", f"a person should look: {named}", "hookledger attention")
    return Finding("ok", "attention", "nothing waits for a person")


async def _work(connection: AsyncConnection, config: Config) -> Iterable[Finding]:
    now = await database_now(connection)
    late: dict[str, int] = {}
    for (source, _), count in (await queries.due_checks(connection, now - _LEFT_UNDONE)).items():
        if source in config.sources:
            late[source] = late.get(source, 0) + count
    found = []
    states = await queries.source_states(connection)
    for source, state in sorted(states.items()):
        if state["paused_because"] is not None and source in config.sources:
            late.pop(source, None)
            why, do = _PAUSED.get(state["paused_because"], _PAUSED["credentials"])
            said = f"{source} is paused ({state['paused_because']}): {why}"
            found.append(Finding("problem", "reconciler", said, do.format(source=source)))
    if late:
        named = ", ".join(f"{count} of {source}" for source, count in sorted(late.items()))
        do = "run `hookledger serve`, or `hookledger reconcile` from cron"
        found.append(Finding("problem", "reconciler", f"looks overdue by more than 5 minutes: {named}", do))
    return found or [Finding("ok", "reconciler", "no look is overdue")]

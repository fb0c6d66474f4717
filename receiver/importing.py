"""`import`: deliveries out of an archive, by the same door as those that come in, each as old as it says it is.

An archive is JSON Lines: `{"received_at", "headers": {…}, "body" or "body_base64", "query" or "url"}`. What was
imported before is a duplicate; a line that cannot be taken is reported by its number and holds up no other.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson
from sqlalchemy.exc import SQLAlchemyError

from receiver.config import Config
from receiver.ledger import queries
from receiver.ledger.apply import apply
from receiver.ledger.database import Database, now
from receiver.ledger.entries import Entry
from receiver.ledger.records import JsonObject, Trust
from receiver.providers import PROVIDERS
from receiver.providers.base import BadSignature, Inbound, KeysUnavailable, Provider
from receiver.providers.instants import instant
from receiver.reading import delivery_entry

BATCH = 100
_FIELDS = frozenset({"received_at", "headers", "body", "body_base64", "query", "url"})
_AHEAD = timedelta(minutes=5)

KeptHeaders = Callable[[Mapping[str, str], tuple[str, ...]], dict[str, str]]
QueryOf = Callable[[bytes], Mapping[str, str]]


class BadLine(ValueError):
    """A line of an archive cannot be taken; the message says why."""


@dataclass(frozen=True, slots=True)
class Failed:
    """One line that was not taken."""

    line: int
    problem: str


class Import:
    """One archive on its way into one source. `counts` fill by outcome while `failures` is read.

    `kept_headers` and `query_of` are the receiver's own, `vouched` says that whoever imports answers for deliveries
    whose URL, and so whose token, the archive does not hold.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        source: str,
        *,
        kept_headers: KeptHeaders,
        query_of: QueryOf,
        vouched: bool = False,
        providers: Mapping[str, Provider] = PROVIDERS,
    ) -> None:
        """Raises ConfigError for a source that is not configured."""
        self.counts: Counter[str] = Counter()
        self._database, self._source = database, source
        self._provider = providers[config.source(source).provider]
        self._account, self._policy = config.account(source), config.policy(source)
        self._largest = config.server.max_body
        self._kept_headers, self._query_of, self._vouched = kept_headers, query_of, vouched
        self._keys: JsonObject | None = None

    async def failures(self, lines: Iterable[bytes]) -> AsyncIterator[Failed]:
        """Take in an archive, batch by batch, and yield the lines that were not taken.

        Raises LedgerError when the database cannot be had; what was committed by then stays, and is a duplicate the
        next time.
        """
        async with self._database.read() as connection:
            state = (await queries.source_states(connection)).get(self._source)
        self._keys = state["keys"] if state is not None else None
        batch: list[tuple[int, Entry]] = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            self.counts["lines"] += 1
            try:
                batch.append((number, self._entry(line)))
            except BadLine as error:
                self.counts["failed"] += 1
                yield Failed(number, str(error))
            if len(batch) == BATCH:
                async for failed in self._put(batch):
                    yield failed
                batch = []
        async for failed in self._put(batch):
            yield failed

    async def _put(self, batch: list[tuple[int, Entry]]) -> AsyncIterator[Failed]:
        try:
            outcomes = await self._apply([entry for _, entry in batch])
        except SQLAlchemyError as error:
            if len(batch) == 1:
                self.counts["failed"] += 1
                yield Failed(batch[0][0], f"the ledger could not take it: {type(error).__name__}")
                return
            for one in batch:  # one of them cannot be written: each for itself, then
                async for failed in self._put([one]):
                    yield failed
            return
        for (number, _), outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                self.counts["failed"] += 1
                yield Failed(number, "beyond the source's hint_quota; import it again in an hour")
            else:
                self.counts[outcome] += 1

    async def _apply(self, entries: list[Entry]) -> list[str | None]:
        if not entries:
            return []
        async with self._database.write() as connection:
            results = await apply(connection, entries, await now(connection))
        return [None if one.over_quota else str(one.outcome) for one in results]

    def _entry(self, line: bytes) -> Entry:
        inbound = self._inbound(line)
        if not (self._vouched and self._account.trust is Trust.TOKEN):
            try:
                self._provider.verify(inbound, self._account, self._keys)
            except BadSignature as error:
                raise BadLine(f"not believed: {error}") from None
            except KeysUnavailable:
                raise BadLine("the signer's keys are not known; import it once the source has fetched them") from None
        kept = self._kept_headers(inbound.headers, self._provider.habits.identity_headers)
        return delivery_entry(self._source, self._provider, self._account, self._policy, inbound, kept)

    def _inbound(self, line: bytes) -> Inbound:
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise BadLine("it is not JSON") from None
        if not isinstance(told, dict):
            raise BadLine("it is not a JSON object")
        unknown = sorted(told.keys() - _FIELDS)
        if unknown:
            raise BadLine(f"there is no field {unknown[0][:40]!r}; there are {', '.join(sorted(_FIELDS))}")
        at = instant(told.get("received_at"))
        if at is None or at > datetime.now(UTC) + _AHEAD:
            raise BadLine('received_at must be an instant that is past, such as "2026-01-21T22:21:26Z"')
        body = _body(told)
        if len(body) > self._largest:
            raise BadLine(f"the body is larger than {self._largest} bytes (server.max_body)")
        headers = {name.lower(): value for name, value in _texts(told, "headers").items()}
        return Inbound(headers, self._query(told), body, at)

    def _query(self, told: JsonObject) -> Mapping[str, str]:
        url = told.get("url")
        if url is None:
            query = told.get("query")
            return self._parsed(query.removeprefix("?")) if isinstance(query, str) else _texts(told, "query")
        if not isinstance(url, str) or "query" in told:
            raise BadLine("url must be a text, and stands instead of query")
        return self._parsed(urlsplit(url).query)

    def _parsed(self, query: str) -> Mapping[str, str]:
        return self._query_of(query.encode("utf-8", "surrogatepass"))


def _body(told: JsonObject) -> bytes:
    plain, coded = told.get("body"), told.get("body_base64")
    if isinstance(plain, str) and coded is None:
        return plain.encode("utf-8", "surrogatepass")
    if isinstance(coded, str) and plain is None:
        try:
            return base64.b64decode(coded, validate=True)
        except binascii.Error:
            raise BadLine("body_base64 is not base64") from None
    raise BadLine("there must be a body, as text as it was sent, or a body_base64")


def _texts(told: JsonObject, name: str) -> dict[str, str]:
    found: Any = told.get(name) or {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise BadLine(f'{name} must be an object of texts, such as {{"content-type": "application/json"}}')
    return dict(found)

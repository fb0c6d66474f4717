"""`verify`: does what is stored still hold? Each body its hash, each delivery its dedupe key and its signature."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.config import Config
from receiver.ledger import bulk, history, queries
from receiver.ledger.database import Database
from receiver.ledger.evidence import dedupe_key
from receiver.ledger.history import Row
from receiver.ledger.records import EvidenceKind, JsonObject, Trust
from receiver.ledger.tables import delivery_keys, evidence
from receiver.providers import PROVIDERS
from receiver.providers.base import BadSignature, Inbound, KeysUnavailable, Provider
from receiver.reading import telling
from receiver.rereading import POISON

_AT_ONCE = 300


@dataclass(frozen=True, slots=True)
class Failure:
    """One row of evidence that does not hold, and why."""

    evidence: str
    source: str
    workflow: str | None
    problem: str

    def as_json(self) -> JsonObject:
        """Return it as JSON data."""
        return {"evidence": self.evidence, "source": self.source, "workflow": self.workflow, "problem": self.problem}


class Verify:
    """One check of some sources' evidence. `counts` fill while `failures` is read.

    `rows`, `bodies`, `keys` and `signatures` are what was checked, `pruned` bodies that are not there any more,
    `unchecked` signatures that could not be checked, `failed` what did not hold.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        sources: Iterable[str] | None = None,
        since: datetime | None = None,
        providers: Mapping[str, Provider] = PROVIDERS,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._config, self._database, self._providers = config, database, providers
        self._sources = None if sources is None else sorted(set(sources))
        self._since = since

    async def failures(self) -> AsyncIterator[Failure]:
        """Yield what does not hold, oldest first. Reads only."""
        after = ""
        async with self._database.read() as connection:
            states = await queries.source_states(connection)
        published = {name: row["keys"] for name, row in states.items()}
        while True:
            async with self._database.read() as connection:
                rows = await self._next(connection, after)
                held = await history.rows_by_id(connection, [row["same_as"] for row in rows if row["same_as"]])
                wanted = {row["id"]: key for row in rows if (key := self._key(row)) is not None}
                kept = await _kept(connection, wanted, {row["id"]: row["source"] for row in rows})
            if not rows:
                return
            after = rows[-1]["id"]
            for row in rows:
                self.counts["rows"] += 1
                problems = [*self._hash(row, held), *self._in_place(row, wanted, kept), *self._proof(row, published)]
                for problem in problems:
                    self.counts["failed"] += 1
                    yield Failure(row["id"], row["source"], row["workflow_id"], problem)

    async def _next(self, connection: AsyncConnection, after: str) -> list[Row]:
        query = select(evidence).where(evidence.c.id > after)
        if self._sources is not None:
            query = query.where(evidence.c.source.in_(self._sources))
        if self._since is not None:
            query = query.where(evidence.c.recorded_at >= self._since)
        return list((await connection.execute(query.order_by(evidence.c.id).limit(_AT_ONCE))).mappings())

    def _hash(self, row: Row, held: Mapping[str, Row]) -> Iterable[str]:
        if row["body_sha256"] is None:
            return
        if row["same_as"] is not None:
            holder = held.get(row["same_as"])
            if holder is None:
                yield "the evidence that holds its body is not there"
            elif holder["body_sha256"] != row["body_sha256"]:
                yield "the evidence that holds its body has another hash"
        elif row["body"] is None:
            self.counts["pruned"] += 1
        else:
            self.counts["bodies"] += 1
            if sha256(bytes(row["body"])).hexdigest() != row["body_sha256"]:
                yield "its body is not what its hash says"

    def _key(self, row: Row) -> str | None:
        """Return the dedupe key a delivery must have; None where that cannot be told."""
        if row["kind"] != EvidenceKind.DELIVERY or row["body"] is None or row["source"] not in self._config.sources:
            return None
        if (row["problem"] or "").startswith(POISON):
            return None  # of those, less may have been kept than the key was made of
        provider = self._providers[self._config.sources[row["source"]].provider]
        return dedupe_key(row["identity"] or "", telling(provider, row["headers"] or {}), bytes(row["body"]))[0]

    def _in_place(self, row: Row, wanted: Mapping[str, str], kept: Mapping[str, str]) -> Iterable[str]:
        if row["id"] not in wanted:
            return
        self.counts["keys"] += 1
        if row["id"] not in kept:
            yield "no dedupe key is made of what it holds"
        elif kept[row["id"]] != row["id"]:
            yield "its dedupe key belongs to other evidence"

    def _proof(self, row: Row, published: Mapping[str, Any]) -> Iterable[str]:
        signed = row["kind"] == EvidenceKind.DELIVERY and row["trust"] == Trust.SIGNED
        if not signed or row["body"] is None or row["source"] not in self._config.sources:
            return
        provider = self._providers[self._config.sources[row["source"]].provider]
        # The token of the URL is never kept, so it cannot be checked again.
        account = replace(self._config.account(row["source"]), trust=Trust.SIGNED, hook_tokens=())
        inbound = Inbound(row["headers"] or {}, {}, bytes(row["body"]), row["sent_at"])
        try:
            provider.verify(inbound, account, published.get(row["source"]))
        except BadSignature as error:
            self.counts["signatures"] += 1
            yield f"its signature: {error}"
        except KeysUnavailable:
            self.counts["unchecked"] += 1
        else:
            self.counts["signatures"] += 1


async def _kept(connection: AsyncConnection, wanted: Mapping[str, str], sources: Mapping[str, str]) -> dict[str, str]:
    """Return, per evidence, whose the key is that it must have; absent where there is no such key."""
    pairs = sorted({(sources[name], key) for name, key in wanted.items()})
    rows = await bulk.by_keys(connection, delivery_keys, ("source", "key"), pairs)
    holders = {(row["source"], row["key"]): row["evidence"] for row in rows}
    return {name: holders[sources[name], key] for name, key in wanted.items() if (sources[name], key) in holders}

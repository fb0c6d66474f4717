"""Settled workflows asked about again, a few at a time: does upstream still say what the ledger says?

The answer enters by the ledger's one door, so that it repairs what the rules allow (R7) and records what it disputes
(R12): a confirmed ending is never moved by an audit. How much had drifted is a figure per source.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.config import Config
from receiver.ledger import chores, store
from receiver.ledger.apply import apply
from receiver.ledger.chores import Chore
from receiver.ledger.database import Database, now
from receiver.ledger.entries import Entry
from receiver.ledger.nodes import WorkflowState
from receiver.ledger.passlog import noted
from receiver.ledger.records import EvidenceKind, JsonObject, Reading
from receiver.ledger.states import TERMINAL
from receiver.ledger.tables import workflows
from receiver.ledger.views import View, differences, view
from receiver.logs import log_event, without_query
from receiver.providers import PROVIDERS
from receiver.providers.base import CredentialsRefused, Provider, ProviderError, Response, UpstreamGone
from receiver.reading import ASKED, AUDITED
from receiver.redaction import Redactor
from reconciler.claiming import holder_name
from reconciler.clock import LedgerClock
from reconciler.refetch import KEPT_HEADERS
from reconciler.source import Source
from reconciler.transport import ElsewhereRefused
from reconciler.unhurried import Stopped, Unhurried

KIND = "audit"
SAMPLE = 20
SETTLED = timedelta(minutes=10)  # what ended later than this ago may still be on its way to being settled
WITHIN = timedelta(days=7)  # upstreams forget: what is older says more about their retention than about the ledger
# What changes with every look and says nothing about drift: clocks of ours, links, what merging remembers.
_PASSING = frozenset(
    {
        "asked_at", "look_sent_at", "look_date", "status_seen_at", "status_at", "url", "url_seen_at", "url_expires_at",
        "url_confirmed", "confirmed_at", "alive_since", "news_at", "vanished_at",
    }
)  # fmt: skip
_EXPIRY = re.compile("expir(es|ation|y)", re.IGNORECASE)  # `urlExpiresAt` inside an output that is kept as it came
_INSTANTS, _AT_LEAST = 8, 50  # how many instants are drawn, and how many workflows are taken in after each
_W = workflows.c


@dataclass(slots=True)
class AuditReport:
    """What one audit of one source found.

    `asked` workflows were asked about; `same` were as the ledger has them, `filled` told more than it had (and now it
    has that), `contradicted` named another ending than the confirmed one, `moved` were taken up again by upstream (R10)
    or had children settled, `gone` are not known upstream any more, `failed` did not answer. `drifted` lists the ones
    that were not the same.
    """

    source: str
    counts: Counter[str] = field(default_factory=Counter)
    drifted: list[JsonObject] = field(default_factory=list)
    outcome: str = "done"
    message: str = ""

    @property
    def drift(self) -> float | None:
        """The share of answers that were not as the ledger has it; None when nobody answered."""
        answered = sum(self.counts[word] for word in ("same", *_DRIFTED))
        return sum(self.counts[word] for word in _DRIFTED) / answered if answered else None

    def figures(self) -> JsonObject:
        """Return what is kept of it: counts and the drift."""
        return {**{word: self.counts[word] for word in _WORDS}, "drift": self.drift, "message": self.message}

    def as_json(self) -> JsonObject:
        """Return the report as JSON data."""
        return {"source": self.source, "outcome": self.outcome, **self.figures(), "drifted": self.drifted}


_DRIFTED = ("filled", "contradicted", "moved")
_WORDS = ("asked", "same", *_DRIFTED, "gone", "failed")


async def audit(
    config: Config,
    database: Database,
    redactor: Redactor,
    name: str,
    *,
    sample: int = SAMPLE,
    within: timedelta = WITHIN,
    settled: timedelta = SETTLED,
    every: timedelta | None = None,
    stop: asyncio.Event | None = None,
    providers: Mapping[str, Provider] = PROVIDERS,
    seed: int | None = None,
) -> AuditReport | None:
    """Ask about a sample of the workflows first seen `within` this time that ended at least `settled` ago; None when
    `every` says not yet.

    Raises ConfigError, LedgerError and SQLAlchemyError.
    """
    source = Source.of(config, name, LedgerClock(), providers)
    holder, report = holder_name(), AuditReport(name)
    async with database.write() as connection:
        at = await now(connection)
        source.clock.set(at)
        chore = await chores.take(connection, KIND, name, holder, at, every)
    if chore is None:
        report.outcome = "elsewhere"
        return None if every is not None else report
    async with database.read() as connection:
        keys = await picked(connection, name, sample, at - within, at - settled, Random(seed))  # noqa: S311
    work = _Run(database, redactor, source, report, chore, Unhurried(database, source, holder, stop))
    async with source.transport, noted(database, KIND, holder) as record:
        try:
            await work.all(keys)
        finally:
            record.counts.update(report.counts)
            record.outcome = report.outcome
    return report


async def picked(
    connection: AsyncConnection, source: str, sample: int, since: datetime, until: datetime, random: Random
) -> list[str]:
    """Return the ids of some settled workflows that were first seen in a window.

    They are drawn from those that follow a few instants, drawn at random too: no ledger is too large for that, and of a
    small one all have their chance.
    """
    settled = (_W.source == source, _W.confirmed_at.is_not(None), _W.finished_at <= until)
    found: set[str] = set()
    for after in [since, *(since + (until - since) * random.random() for _ in range(_INSTANTS))]:
        for status in sorted(TERMINAL):
            query = select(_W.id).where(*settled, _W.status == status, _W.first_seen_at >= after)
            rows = await connection.execute(query.order_by(_W.first_seen_at, _W.pk).limit(max(sample, _AT_LEAST)))
            found.update(rows.scalars())
    return random.sample(sorted(found), min(sample, len(found)))


@dataclass(slots=True)
class _Run:
    database: Database
    redactor: Redactor
    source: Source
    report: AuditReport
    chore: Chore
    upstream: Unhurried

    async def all(self, ids: list[str]) -> None:
        """Ask about each, one after the other."""
        report = self.report
        try:
            for workflow_id in ids:
                await self._one(workflow_id)
        except Stopped:
            report.outcome = "stopped"
        except (CredentialsRefused, ElsewhereRefused) as error:
            report.outcome, report.message = "upstream", self.redactor.text(str(error))
        except BaseException:
            report.outcome = "broken"
            raise
        finally:
            async with self.database.write() as connection:
                at = await now(connection)
                await self.chore.end(connection, report.outcome, None, report.figures(), at)

    async def _one(self, workflow_id: str) -> None:
        report, source, key = self.report, self.source, (self.source.name, workflow_id)
        async with self.database.write() as connection:
            await self.chore.keep(connection, None, await now(connection))
            known = (await store.load(connection, [key])).get(key)
        if known is None:
            return  # forgotten meanwhile
        try:
            locator = known.about.get("locator") or {}
            request = source.provider.status_request(workflow_id, source.account, locator)
            report.counts["asked"] += 1
            response, reading = await self.upstream.ask(
                request, lambda response: source.provider.read_status(workflow_id, response, source.account)
            )
            await self._take_in(workflow_id, response, reading)
        except UpstreamGone:
            report.counts["gone"] += 1
        except CredentialsRefused:
            report.counts["failed"] += 1
            raise
        except (ProviderError, SQLAlchemyError) as error:
            report.counts["failed"] += 1
            log_event("audit-failed", level="warning", source=source.name, id=workflow_id, error=error)

    async def _take_in(self, workflow_id: str, response: Response, reading: Reading) -> None:
        """Put the answer in and say what it changed, under the workflow's lock."""
        source, key = self.source, (self.source.name, workflow_id)
        entry = Entry(source.name, source.policy, EvidenceKind.FETCH, response.sent_at, workflow_id, reading)
        entry.http_status, entry.http_date, entry.body = response.status, response.date, response.body
        entry.body_sha256 = sha256(response.body).hexdigest()
        entry.headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        entry.headers[ASKED] = AUDITED
        async with self.database.write() as connection:
            before = (await store.lock(connection, [key])).get(key)
            if before is None:
                return  # forgotten meanwhile: an audit brings nobody back
            was = _lasting(before)
            (result,) = await apply(connection, [entry], await now(connection))
        assert result.state is not None
        assert result.merged is not None
        changed = [one["what"] for one in differences(was, _lasting(result.state))]
        word = (
            "contradicted"
            if _disputes(reading, result.state)
            else "moved"
            if result.merged.moved
            else "filled"
            if changed
            else "same"
        )
        self.report.counts[word] += 1
        if word != "same":
            self.report.drifted.append({"id": workflow_id, "how": word, "what": changed, "evidence": result.evidence})


def _disputes(reading: Reading, state: WorkflowState) -> bool:
    """Whether an answer still names another status than the ledger, after it was taken in."""
    nodes = {(one.level, one.key): one.status for one in [state.node, *state.children()]}
    seen = ((nodes.get((one.level, one.key)), one.status) for one in reading.observations)
    return any(theirs is not None and ours is not None and ours is not theirs for ours, theirs in seen)


def _lasting(state: WorkflowState) -> View:
    """Return what of a workflow is to stay as it is once it has settled."""
    found = view(state, [], {})
    return {
        what: {name: _unsigned(v) for name, v in values.items() if name not in _PASSING and name[:7] != "stamps."}
        for what, values in found.items()
    }


def _unsigned(value: Any) -> Any:
    """Return a value without what upstream makes anew for each answer: the signatures of URLs, and when they end."""
    if isinstance(value, dict):
        return {name: _unsigned(one) for name, one in value.items() if not _EXPIRY.search(name)}
    if isinstance(value, list):
        return [_unsigned(one) for one in value]
    return without_query(value) if isinstance(value, str) and value.startswith(("http://", "https://")) else value

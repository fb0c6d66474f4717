"""The ledger derived again from its evidence with today's code, and what is done about the differences.

A change of provider code is tried on archived payloads before it ships: `replay` says what it would make of them, and
changes nothing. Two doors change something. `apply_again` puts one delivery in once more, as if it had been understood
when it came. `correct` writes what the evidence says today over what the ledger says, even over a confirmed ending: the
one other door of R2, behind a permit for that transaction alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.config import Config
from receiver.deriving import Derived, compared, derive, derived
from receiver.ledger import attention, audit, history
from receiver.ledger.apply import apply
from receiver.ledger.correcting import corrections, note_corrections, overwrite, recount
from receiver.ledger.database import Database, now
from receiver.ledger.entries import Entry, Result
from receiver.ledger.history import Past, Row
from receiver.ledger.records import EvidenceKind, JsonObject, Reading
from receiver.ledger.store import Key
from receiver.providers import PROVIDERS
from receiver.providers.base import Provider
from receiver.rereading import REPLAYED, NotReplayable, Rereader, refers_to

_AT_ONCE = 200  # workflows in one reading


@dataclass(frozen=True, slots=True)
class Difference:
    """One workflow whose evidence says something else today. `pk` is None when the ledger does not know it yet."""

    source: str
    id: str
    pk: int | None
    differences: list[JsonObject]
    late: Sequence[Row] = ()  # its deliveries that nobody could read when they came


@dataclass(slots=True)
class ReplayReport:
    """What a replay found: how many workflows and pieces of evidence it read, why some could not be replayed."""

    workflows: int = 0
    evidence: int = 0
    different: int = 0
    corrected: int = 0
    not_replayable: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> JsonObject:
        """Return the report as JSON data."""
        return {
            "workflows": self.workflows,
            "evidence": self.evidence,
            "different": self.different,
            "corrected": self.corrected,
            "not_replayable": sum(self.not_replayable.values()),
            "why_not": dict(sorted(self.not_replayable.items())),
        }


class Replay:
    """One replay of some sources' workflows. `report` fills while `differences` is read."""

    def __init__(
        self,
        config: Config,
        database: Database,
        sources: Iterable[str] | None = None,
        ids: Sequence[str] | None = None,
        providers: Mapping[str, Provider] = PROVIDERS,
        *,
        known_only: bool = False,
    ) -> None:
        """`known_only` leaves out the deliveries that belong to no workflow yet: all of them would have to be read.
        Raises ConfigError for a source that is not configured."""
        names = sorted(config.sources if sources is None else set(sources))
        self.report = ReplayReport()
        self._database = database
        self._ids = ids
        self._known_only = known_only
        self._readers = {name: Rereader(config, name, providers) for name in names}
        self._late: dict[Key, list[Row]] = {}

    async def differences(self) -> AsyncIterator[Difference]:
        """Yield each workflow that evidence makes something else of today, in the order they became known.

        Reads only. Each workflow is seen as of one instant; deliveries may come in meanwhile.
        """
        if not self._known_only:
            await self._gather_late()
        after = 0
        while True:
            async with self._database.read() as connection:
                keys = await history.keys_after(connection, self._readers, after, _AT_ONCE, self._ids)
                pasts = await history.load(connection, [key for _, key in keys])
                held = await history.rows_by_id(connection, _wanted(pasts))
            if not keys:
                break
            after = keys[-1][0]
            for past in pasts:
                found = self._compare(past, held, self._late.pop((past.state.source, past.state.id), []))
                if found is not None:
                    yield found
        for (source, workflow_id), rows in sorted(self._late.items()):
            yield self._unknown(source, workflow_id, rows)

    def _compare(self, past: Past, held: Mapping[str, Row], late: Sequence[Row]) -> Difference | None:
        self.report.workflows += 1
        self.report.evidence += len(past.rows)
        source, workflow_id = past.state.source, past.state.id
        try:
            differs = compared(past, derive(self._readers[source], past, held, late))
        except NotReplayable as why:
            self.report.not_replayable[str(why)] += 1
            return None
        if not differs:
            return None
        self.report.different += 1
        return Difference(source, workflow_id, past.state.pk, differs, late)

    def _unknown(self, source: str, workflow_id: str, rows: Sequence[Row]) -> Difference:
        """A workflow nobody knew of, because its deliveries could not be read when they came."""
        self.report.workflows += 1
        self.report.different += 1
        self.report.evidence += len(rows)
        found = derived(self._readers[source], source, workflow_id, [], {}, rows)
        told = {"what": "workflow", "stored": None, "derived": {"status": str(found.state.node.status)}}
        return Difference(source, workflow_id, None, [told], rows)

    async def _gather_late(self) -> None:
        """Find the deliveries that could not be read when they came and can be read today."""
        after = ""
        while True:
            async with self._database.read() as connection:
                rows = await history.unattached(connection, self._readers, after, _AT_ONCE)
            if not rows:
                return
            after = rows[-1]["id"]
            for row in rows:
                try:
                    entry = self._readers[row["source"]].read(row, None).entry
                except NotReplayable:
                    continue
                if entry is not None and entry.workflow_id and (self._ids is None or entry.workflow_id in self._ids):
                    self._late.setdefault((row["source"], entry.workflow_id), []).append(row)

    async def correct(self, found: Difference, who: str) -> bool:
        """Make one workflow what its evidence says today, in the name of `who`; returns False when there was nothing
        left to correct.

        Its deliveries that nobody could read are put in first. All of it is one transaction under the workflow's lock.
        Raises NotReplayable when evidence went missing meanwhile.
        """
        reader, key = self._readers[found.source], (found.source, found.id)
        async with self._database.write() as connection:
            at = await now(connection)
            late = await _unapplied(connection, key, found.late)
            for row in late:
                await _put_again(connection, reader.delivery(row), row, at)
            pasts = await history.load(connection, [key], lock=True)
            if not pasts:
                return False  # forgotten meanwhile
            again = derive(reader, pasts[0], await history.rows_by_id(connection, _wanted(pasts)))
            differs = compared(pasts[0], again)
            if differs:
                await _overwrite(connection, reader, pasts[0], again, [one["what"] for one in differs], at, who)
        self.report.corrected += bool(differs or late)
        return bool(differs or late)


async def _overwrite(
    connection: AsyncConnection, reader: Rereader, past: Past, again: Derived, what: list[str], at: datetime, who: str
) -> None:
    await overwrite(connection, past, again.state, again.over, again.earlier)
    told = {REPLAYED: {"differences": what}}
    name = past.state.id
    decided = Entry(
        past.state.source, reader.policy, EvidenceKind.DECISION, at, name, Reading(name), decision=told
    )  # fmt: skip
    (result,) = await apply(connection, [decided], at)  # numbers the decision, and plans the next look anew
    assert result.state is not None
    moves = corrections(past, again.state, result.evidence, at)
    await note_corrections(connection, result.state, moves)
    await recount(connection, past, again.state, len(moves), reader.policy.retry_horizon, at)
    await audit.note(connection, who, "correct", at, source=past.state.source, subject=name, details={"what": what})


def _wanted(pasts: Iterable[Past]) -> set[str]:
    """Return the ids of the evidence that these workflows' evidence refers to."""
    return {name for past in pasts for row in past.rows if (name := refers_to(row)) is not None}


async def _unapplied(connection: AsyncConnection, key: Key, late: Sequence[Row]) -> list[Row]:
    """Return those of a workflow's late deliveries that were not applied again meanwhile."""
    if not late:
        return []
    pasts = await history.load(connection, [key], lock=True)
    known = _wanted(pasts)
    return [row for row in late if row["id"] not in known]


async def _put_again(connection: AsyncConnection, entry: Entry, row: Row, at: datetime) -> Result:
    """Put a delivery in as if it came now, as old as it is; what it says is kept as a decision that refers to it."""
    entry.again, entry.key = row["id"], None
    (result,) = await apply(connection, [entry], at)
    await attention.close(connection, "delivery", row["source"], row["id"], ["unreadable"], at)
    return result


class CannotApply(ValueError):
    """A piece of evidence cannot be applied again; the message says why."""


class UnknownEvidence(CannotApply):
    """There is no evidence of that id."""


async def apply_again(
    config: Config,
    database: Database,
    evidence_id: str,
    providers: Mapping[str, Provider] = PROVIDERS,
    *,
    who: str | None = None,
) -> Result:
    """Read a delivery with today's code and put it in once more: for one that could not be read when it came.

    It is as old as when it was received, and proves what it proved then. `who` (a token's name) is written down with
    it, in the same transaction. Raises UnknownEvidence, CannotApply when it is
    no delivery, is not kept whole, or cannot be read today either, LedgerError and SQLAlchemyError.
    """
    async with database.write() as connection:
        row = (await history.rows_by_id(connection, [evidence_id])).get(evidence_id)
        if row is None:
            raise UnknownEvidence(f"no evidence is named {evidence_id[:64]!r}")
        if row["kind"] != EvidenceKind.DELIVERY:
            raise CannotApply(f"it is a {row['kind']}; only deliveries can be applied again")
        if row["source"] not in config.sources:
            raise CannotApply(f"its source {row['source']!r} is not configured any more")
        try:
            entry = Rereader(config, row["source"], providers).delivery(row)
        except NotReplayable as why:
            raise CannotApply(str(why)) from None
        if entry.reading is None or not entry.workflow_id:
            raise CannotApply(f"it cannot be read today either: {entry.problem or 'it names no workflow'}")
        at = await now(connection)
        result = await _put_again(connection, entry, row, at)
        if who is not None:
            workflow = result.state.id if result.state is not None else None
            told: JsonObject = {"workflow": workflow, "outcome": str(result.outcome)}
            await audit.note(connection, who, "replay", at, source=row["source"], subject=evidence_id, details=told)
        return result

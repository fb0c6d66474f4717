"""A batch worked out from memory and committed by one statement, which first sees whether memory was right.

For deliveries of workflows that this process wrote last, which is nearly all of them: what `apply` asks of PostgreSQL
in eight round trips is known already. Each copy is held to what the database holds, under the lock on its workflow;
where anything is otherwise nothing at all is written, and the batch goes the usual way.

What is compared: the version of each workflow, or that it is not there yet; the transaction that wrote its check last;
that nothing of it is open for a person to see; the evidence each dedupe key stands for, or that the key is new; the
clock. Whatever changes under a workflow's lock gives it a new version, so what the statement reads besides the locked
row is as of that version, even if it had to wait for the lock. What only a step-by-step batch can do (hints, looks,
decisions, what cannot be read, attention to raise, runs to end) is left to it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import orjson
from sqlalchemy.exc import DBAPIError

from receiver.ledger import checks, evidence, figures
from receiver.ledger.batch import Batch, gather, outcome_of, plan
from receiver.ledger.checks import Check
from receiver.ledger.database import Database, DatabaseUnavailable
from receiver.ledger.entries import Entry, Result
from receiver.ledger.evidence import Known
from receiver.ledger.faults import HELD, data_at_fault, sqlstate
from receiver.ledger.line import Line
from receiver.ledger.merge import new_state
from receiver.ledger.nodes import WorkflowState
from receiver.ledger.recent import LARGEST, Copy, Key, Recent
from receiver.ledger.records import EvidenceKind
from receiver.ledger.rows import settled
from receiver.ledger.taking import first_via
from receiver.ledger.together import Together

NUMBERS = 500  # of workflows to come, taken at once; those left at the end are never used
SIT_OUT = 255  # batches at most that go the usual way after memory was wrong again and again

_NUMBERS = (
    "SELECT clock_timestamp(), nextval(pg_get_serial_sequence('workflows', 'pk')) FROM generate_series(1, $1::integer)"
)
# Two seconds is how far our reckoning of the database's clock may be off, which is its reading at the last commit and
# what has passed here since.
_GUARD = """k AS MATERIALIZED (
  SELECT j ->> 0 AS source, j ->> 1 AS id, (j ->> 2)::bigint AS pk, (j ->> 3)::bigint AS version,
    (j ->> 4)::xid AS written_by FROM jsonb_array_elements($1::jsonb) AS j
), q AS MATERIALIZED (
  SELECT j ->> 0 AS source, j ->> 1 AS key, j ->> 2 AS evidence, j ->> 3 AS identity
  FROM jsonb_array_elements($2::jsonb) AS j
), locked AS MATERIALIZED (
  SELECT t.pk = k.pk AND t.version = k.version AS same FROM k JOIN workflows t ON t.source = k.source AND t.id = k.id
  ORDER BY t.source, t.id FOR UPDATE OF t
), guard AS MATERIALIZED (
  SELECT (SELECT count(*) = $3::integer AND count(*) FILTER (WHERE same) = $3::integer FROM locked)
    AND NOT EXISTS (SELECT 1 FROM k LEFT JOIN checks c ON c.source = k.source AND c.id = k.id
      WHERE c.xmin IS DISTINCT FROM k.written_by)
    AND NOT EXISTS (SELECT 1 FROM k JOIN attention a ON a.workflow = k.pk WHERE a.closed_at IS NULL)
    AND NOT EXISTS (SELECT 1 FROM q LEFT JOIN delivery_keys d ON d.source = q.source AND d.key = q.key
      WHERE d.evidence IS DISTINCT FROM q.evidence)
    AND NOT EXISTS (SELECT 1 FROM q JOIN delivery_keys d ON d.source = q.source AND d.identity = q.identity
      WHERE q.evidence IS NULL AND d.key <> q.key)
    AND abs(extract(epoch FROM clock_timestamp() - $4::timestamptz)) < 2 AS ok
)"""
_HOLDS = "(SELECT ok FROM guard)"
_FIRST = "guard.ok, clock_timestamp()"


class _NotThisWay(Exception):
    """This batch needs what only the usual way can do."""


class Ahead:
    """Commits batches by memory alone. Belongs to one event loop, works on one batch at a time."""

    def __init__(self, database: Database, recent: Recent) -> None:
        self._line = Line(database) if database.dialect == "postgresql" else None
        self._recent = recent
        self._numbers: deque[int] = deque()
        self.clock: tuple[datetime, float] | None = None  # what the database said, and when that was, monotonic
        self.sits_out = self._distrust = 0
        self.committed = self.mistaken = 0  # batches

    def apart(self, entries: Sequence[Entry]) -> set[int]:
        """Return the places of entries that must go the usual way and would take the others with them; none of them if
        all must."""
        if self._line is None or self.sits_out:
            return set()
        lacks = self._recent.lacks
        found = {n for n, one in enumerate(entries) if not _simple(one) or lacks((one.source, one.workflow_id or ""))}
        return found if len(found) < len(entries) else set()

    async def commit(self, entries: Sequence[Entry]) -> list[Result] | None:
        """Apply a batch and commit it; returns one result per entry, or None when it must go the usual way.

        Then nothing was changed. The caller has `recent` keep what was committed. Raises CommitInDoubt, and
        SQLAlchemy's error where the database is in trouble and another way would fare no better.
        """
        if self._line is None or not all(map(_simple, entries)):
            return None
        if self.sits_out:
            self.sits_out -= 1
            return None
        try:
            return await self._try(self._line, entries)
        except _NotThisWay:
            return None
        except DatabaseUnavailable:
            self._mistaken()
            return None
        except DBAPIError as error:
            if not data_at_fault(error, "postgresql") and sqlstate(error) != HELD:
                raise
            self._mistaken()
            return None

    async def close(self) -> None:
        """Give the connection back; it opens again when it is needed."""
        if self._line is not None:
            await self._line.close()

    def _mistaken(self) -> None:
        """Go the usual way for a while: where others write the same workflows, memory is wrong each time."""
        self.mistaken += 1
        self._distrust = min(2 * self._distrust + 1, SIT_OUT)
        self.sits_out = self._distrust

    async def _try(self, line: Line, entries: Sequence[Entry]) -> list[Result]:
        names = {(entry.source, entry.workflow_id or "") for entry in entries}
        copies = self._recent.take_whole(names)
        if any(copy.check is None for copy in copies.values()):
            self._recent.put_back(copies)
            raise _NotThisWay
        if self.clock is None or len(self._numbers) < len(names) - len(copies):
            await self._ask(line)
        batch = self._begin(entries, copies)
        policies = {(entry.source, entry.workflow_id or ""): entry.policy for entry in entries}
        before = figures.marks(batch.states, batch.created)
        claimed, ids = self._recognise(entries, batch)
        results = [outcome_of(batch, entry, ids.get(n)) for n, entry in enumerate(entries)]
        plan(batch, policies)
        if batch.raised or batch.closed or any(map(_unusual, batch.states.values())):
            raise _NotThisWay
        if not all(batch.states[key].node.dirty for key in batch.created):
            raise _NotThisWay  # it cannot be new, if what came of it came before
        changed = figures.of_batch(entries, results, batch.states, before, policies, batch.now)
        guard = _guard(batch, claimed)  # before what is gathered counts versions up
        out = Together("postgresql", _HOLDS)
        evidence.add_keys(out, claimed, batch.known_keys, batch.now)
        gather(out, batch, changed, batch.created)
        await self._send(line, out, batch, guard)
        return results

    async def _ask(self, line: Line) -> None:
        """Read the database's clock, and take numbers for workflows to come."""
        for now, number in await line.fetch(_NUMBERS, (NUMBERS,)):
            self._numbers.append(number)
            self.clock = (now.astimezone(UTC), time.monotonic())

    def _begin(self, entries: Sequence[Entry], copies: Mapping[Key, Copy]) -> Batch:
        """Return a batch as it is once everything is locked: with copies, and what nobody has heard of before."""
        assert self.clock is not None
        said, at = self.clock
        batch = Batch(said + timedelta(seconds=time.monotonic() - at))
        for entry in entries:
            key = (entry.source, entry.workflow_id or "")
            if key in batch.states:
                continue
            copy = copies.get(key)
            if copy is not None:
                assert copy.state is not None
                assert copy.check is not None
                batch.states[key], batch.checks[key] = copy.state, copy.check
                continue
            state = new_state(*key, batch.now, first_via(entry))
            state.pk = self._numbers.popleft()
            settled(state)
            batch.states[key], batch.checks[key] = state, Check(*key, written_by=0)
            batch.created.add(key)
        return batch

    def _recognise(self, entries: Sequence[Entry], batch: Batch) -> tuple[list[tuple[Entry, str, int]], dict[int, str]]:
        """Foresee which dedupe keys are new (R13); returns each key once, with its id and how often it is in the batch,
        and per place the evidence id of what is new."""
        first: dict[Key, int] = {}
        times: dict[Key, int] = {}
        ids: dict[int, str] = {}
        identities: dict[Key, Key] = {}
        for n, entry in enumerate(entries):
            key = (entry.source, entry.key or "")
            times[key] = times.get(key, 0) + 1
            if key in first:
                continue
            first[key] = n
            known = self._recent.met(key)
            if known is None:
                ids[n] = evidence.new_id()
                known = Known(ids[n], min(entry.at, batch.now), True)
                if entry.identity and identities.setdefault((entry.source, entry.identity), key) != key:
                    raise _NotThisWay  # the same identity with other bytes is to be flagged
            batch.known_keys[key] = known
        return [(entries[n], ids.get(n, ""), times[key]) for key, n in first.items()], ids

    async def _send(self, line: Line, out: Together, batch: Batch, given: Sequence[object]) -> None:
        """Have everything written if memory was right. Raises _NotThisWay when it was not."""
        rows = await line.fetch(*out.whole(_GUARD, given, _FIRST))
        ok, now = rows[0][:2]
        self.clock = (now.astimezone(UTC), time.monotonic())
        if not ok:
            self._mistaken()
            raise _NotThisWay
        self._distrust //= 2
        self.committed += 1
        checks.learn(batch.checks, [row[2:] for row in rows if row[3:] and row[3] is not None])
        self._recent.offer(batch.checks, batch.known_keys)


def _simple(entry: Entry) -> bool:
    """Whether an entry is a believed delivery that was understood and names its workflow, of a source whose files are
    not copied, and of no more than is remembered of one."""
    return (
        entry.kind is EvidenceKind.DELIVERY
        and bool(entry.workflow_id)  # else it is to be found by its ref
        and entry.reading is not None
        and entry.creates
        and entry.key is not None
        and not entry.policy.collect
        and entry.look is None
        and entry.told is None
        and entry.weight <= LARGEST
    )


def _unusual(state: WorkflowState) -> bool:
    """Whether there is something to write that takes more than one statement."""
    return bool(state.past or state.dropped_blobs or state.relabelled)


def _guard(batch: Batch, claimed: Sequence[tuple[Entry, str, int]]) -> list[object]:
    """Return what the guard is given: what must be true of workflows and of keys, and the clock."""
    names: list[tuple[object, ...]] = []
    for key, state in sorted(batch.states.items()):
        if key in batch.created:
            names.append((*key, None, None, None))
        else:
            names.append((*key, state.pk, state.version, batch.checks[key].written_by or None))
    keys = []
    for entry, _, _ in claimed:
        known = batch.known_keys[entry.source, entry.key or ""]
        keys.append((entry.source, entry.key, None if known.new else known.evidence, entry.identity))
    there = len(batch.states) - len(batch.created)
    return [orjson.dumps(names).decode(), orjson.dumps(keys).decode(), there, batch.now]

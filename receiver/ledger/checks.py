"""The rows that say what is to be looked at: loading, writing, wanting, claiming (R14, R15)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, any_, case, func, literal, literal_column, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import bulk
from receiver.ledger.entries import Look
from receiver.ledger.schedule import Due, Memory
from receiver.ledger.tables import checks
from receiver.ledger.together import Together

Key = tuple[str, str]

_MEMORY = ("hinted_at", "doubted_at", "retry_at", "attempts", "looks", "misses", "hints")
_COLUMNS = (
    "source", "id", "workflow", "reasons", "lane", "due_at", *_MEMORY, "last_error", "seen_sha256", "seen_evidence",
    "fence",
)  # fmt: skip


@dataclass(slots=True)
class Check:
    """One check as a batch works on it. `memory` feeds the plan; `finish` says that its look is over.

    `written_by` is the number of the transaction that wrote its row, by which whoever keeps a copy can see whether it
    is still true: 0 when there is no row, None when that is not known, as ever on SQLite.
    """

    source: str
    id: str
    memory: Memory = field(default_factory=Memory)
    workflow: int | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    due_at: datetime | None = None
    lane: str = "standing"
    fence: int = 0
    leased_until: datetime | None = None
    last_error: str | None = None
    seen_sha256: str | None = None
    seen_evidence: str | None = None
    alone_until: datetime | None = None
    stored: bool = False
    dirty: bool = False
    finished: bool = False
    written_by: int | None = None

    def schedule(self, due: Due) -> None:
        """Take over a plan. A row that is stored already is written only when the plan gets earlier or its reasons
        change: a look that has merely been put off stays where it is, and is put off when it is claimed."""
        same_reasons = due.reasons.keys() == self.reasons.keys()
        earlier = due.at is not None and (self.due_at is None or due.at < self.due_at)
        if self.stored and same_reasons and not earlier and not self.finished and not self.dirty:
            return
        if not self.stored and due.at is None and not self.dirty:
            return
        self.reasons = {why: at.isoformat() for why, at in sorted(due.reasons.items())}
        self.due_at = due.at
        self.lane = due.lane
        self.dirty = True


async def load(connection: AsyncConnection, keys: Iterable[Key], *, lock: bool) -> dict[Key, Check]:
    """Return the check of each name, a blank one where there is none. `lock` keeps claims away from them."""
    wanted = sorted(set(keys))
    system = ("xmin",) if connection.dialect.name == "postgresql" else ()
    found = {key: Check(*key, written_by=0 if system else None) for key in wanted}
    for row in await bulk.by_keys(connection, checks, ("source", "id"), wanted, lock=lock, system=system):
        found[row["source"], row["id"]] = _check(row)
    return found


def _check(row: Mapping[str, Any]) -> Check:
    memory = Memory(wanted_at=row["wanted_at"], tried_at=row["tried_at"])
    for name in _MEMORY:
        setattr(memory, name, row[name])
    return Check(
        row["source"], row["id"], memory, row["workflow"], row["reasons"], row["due_at"], row["lane"], row["fence"],
        row["leased_until"], row["last_error"], row["seen_sha256"], row["seen_evidence"], row["alone_until"],
        stored=True, written_by=row.get("xmin"),
    )  # fmt: skip


async def overtaken(
    connection: AsyncConnection, looks: Iterable[tuple[str, str | None, Look]], now: datetime
) -> set[Key]:
    """Return the names whose look has lost its lease, or outlived it, as far as can be told without a lock.

    Asked before workflows are made: an answer that will not be applied makes none.
    """
    fences = {(source, name): look.fence for source, name, look in looks if name is not None}
    rows = await bulk.by_keys(connection, checks, ("source", "id"), sorted(fences))
    held = {
        (row["source"], row["id"]): row["fence"]
        for row in rows
        if row["leased_until"] is not None and row["leased_until"] > now
    }
    return {key for key, fence in fences.items() if held.get(key) != fence}


def save(out: Together, changed: Iterable[Check]) -> None:
    """Add the checks that changed to `out`. What others set without the workflow's lock (wanted, lease) is left alone,
    except that a finished look gives its lease back and clears the wish it has answered."""
    kept = sorted((check for check in changed if check.dirty), key=lambda check: (check.source, check.id))
    new = [_values(check) for check in kept if not check.stored]
    out.insert(checks, _COLUMNS, new, keys=("source", "id"), update=_BOTH_PLANS, telling=_TOLD)
    planned = [_updated(check, _SHARED) for check in kept if check.stored and not check.finished]
    out.update(checks, ("source", "id"), _SHARED, planned, special=_MINDING_WISHES, telling=_TOLD)
    finished = [_updated(check, _FINISHED) for check in kept if check.stored and check.finished]
    out.update(checks, ("source", "id"), _FINISHED, finished)


def learn(batch: Mapping[Key, Check], told: Iterable[Sequence[Any]]) -> None:
    """Take in what the database told of the checks that `save` wrote: whether they are now as they are here.

    Somebody may have claimed or wanted a workflow between our reading its check and our writing it.
    """
    for check in batch.values():
        if check.dirty:
            check.written_by = None
    for number, source, name, fence, wanted_at in told:
        check = batch[source, name]
        if (fence, wanted_at) == (check.fence, check.memory.wanted_at):
            check.written_by = number


def settle(check: Check) -> None:
    """Note that the database holds a check as it is now: after the commit."""
    check.stored = check.stored or check.dirty
    check.dirty = check.finished = False


def _values(check: Check) -> tuple[Any, ...]:
    memory = (getattr(check.memory, name) for name in _MEMORY)
    return (
        check.source, check.id, check.workflow, check.reasons, check.lane, check.due_at, *memory, check.last_error,
        check.seen_sha256, check.seen_evidence, check.fence,
    )  # fmt: skip


_PLACE: ColumnElement[Any] = literal_column("checks.ctid")  # PostgreSQL's name for where a row lies
_URGENCY = ("interactive", "fresh", "standing", "hints")
_TOLD = ("source", "id", "fence", "wanted_at")
_SHARED = (
    "workflow", "reasons", "hinted_at", "doubted_at", "retry_at", "looks", "misses", "hints", "last_error",
    "seen_sha256", "seen_evidence", "due_at", "lane",
)  # fmt: skip
_FINISHED = (*_SHARED, "attempts", "wanted_at", "tried_at", "leased_until", "leased_by", "alone_until")
# A wish that somebody else wrote a moment ago outlives a plan made without it.
_MINDING_WISHES = (
    ("due_at", "CASE WHEN t.wanted_at IS NOT NULL AND ({due_at} IS NULL OR t.wanted_at < {due_at})"
     " THEN t.wanted_at ELSE {due_at} END"),
    ("lane", "CASE WHEN t.wanted_at IS NOT NULL THEN 'interactive' ELSE {lane} END"),
)  # fmt: skip


# Somebody may have wanted the workflow meanwhile and made the row: both plans are kept.
_MINDED = {
    name: made.replace("t.", "checks.").format(due_at='excluded."due_at"', lane='excluded."lane"')
    for name, made in _MINDING_WISHES
}
_BOTH_PLANS = tuple(f"{name}={_MINDED[name]}" if name in _MINDED else name for name in _SHARED)


def _updated(check: Check, columns: tuple[str, ...]) -> tuple[Any, ...]:
    memory = check.memory
    given = {"leased_until": None, "leased_by": None, "wanted_at": memory.wanted_at, "tried_at": memory.tried_at}
    values = (given[name] if name in given else getattr(memory if name in _MEMORY else check, name) for name in columns)
    return (*values, check.source, check.id)


async def want(
    connection: AsyncConnection, source: str, workflow_id: str, pk: int | None, now: datetime, *, join: bool = False
) -> datetime:
    """Make a look due now: somebody waits for it. Needs no workflow lock; a finishing look sees the wish (R15).

    `join` asks for none where one that was wished for is under way, and waits for that one. Returns the instant of the
    wish that counts: `now`, or that of the one joined.
    """
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = {
        "source": source, "id": workflow_id, "workflow": pk, "reasons": {"wanted": now.isoformat()},
        "lane": "interactive", "due_at": now, "wanted_at": now, "hints": 0, "attempts": 0, "looks": 0, "misses": 0,
        "fence": 0,
    }  # fmt: skip
    mine: dict[str, Any] = {"wanted_at": now, "due_at": now, "lane": "interactive"}
    if join:
        under_way = and_(checks.c.wanted_at.is_not(None), checks.c.leased_until > now)
        mine = {
            name: case((under_way, checks.c[name]), else_=literal(value, checks.c[name].type))
            for name, value in mine.items()
        }
    statement = insert(checks).values(row).on_conflict_do_update(index_elements=["source", "id"], set_=mine)
    return (await connection.execute(statement.returning(checks.c.wanted_at))).scalar_one() or now


@dataclass(frozen=True, slots=True)
class Claim:
    """One check taken for one try: `fence` is the number its answer must still have to be applied.

    `check` is the whole row as the claim has left it, for whoever is to decide what the try is.
    """

    source: str
    id: str
    workflow: int | None
    fence: int
    lane: str
    attempts: int
    claimed_at: datetime
    leased_until: datetime
    check: Check


def wanted(now: datetime, untried_since: datetime | None) -> list[ColumnElement[bool]]:
    """Return what a check must be to be claimed: due, or open and not tried since an instant (`claim`)."""
    if untried_since is None:
        return [checks.c.due_at <= now]
    return [checks.c.due_at.is_not(None), or_(checks.c.tried_at.is_(None), checks.c.tried_at < untried_since)]


async def claim(
    connection: AsyncConnection,
    now: datetime,
    *,
    holder: str,
    lease: timedelta,
    limits: Mapping[str, int],
    lanes: Collection[str] | None = None,
    retries: bool | None = None,
    ids: Collection[str] | None = None,
    untried_since: datetime | None = None,
    alone: bool | None = None,
) -> list[Claim]:
    """Take due checks, at most `limits[source]` of each source, the most urgent lane first, the longest due first.

    `now` is the database's clock. The attempt is counted before its I/O (R14). Any number of processes may claim at
    once: none waits for another, and none gets what another holds. `retries` takes only checks whose last try, in this
    round, has failed (True), or only the others (False), to which belong those of whose try nothing was ever heard.
    `ids` takes these checks, due or not. `untried_since` takes open checks that are not due yet, if nobody has tried
    them since that instant. `alone` takes only those that a read for many does not answer for (True), or only the
    others (False).
    """
    conditions: list[ColumnElement[bool]] = []
    if retries is not None:
        attempts, error = checks.c.attempts, checks.c.last_error
        conditions.append(and_(attempts > 0, error.is_not(None)) if retries else or_(attempts == 0, error.is_(None)))
    if alone is not None:
        until = checks.c.alone_until
        conditions.append(and_(until.is_not(None), until > now) if alone else or_(until.is_(None), until <= now))
    if ids is not None:
        conditions.append(checks.c.id.in_(ids))
    else:
        conditions += wanted(now, untried_since)
    taken: list[Claim] = []
    for source, limit in sorted(limits.items()):
        left = limit
        # Lane by lane: along its index the longest due come first, however many are due in all.
        for lane in (lane for lane in _URGENCY if lanes is None or lane in lanes):
            if left > 0:
                mine = [checks.c.source == source, checks.c.lane == lane, *conditions]
                found = await _claim_some(connection, source, mine, left, now, holder, lease)
                left -= len(found)
                taken += found
    return taken


async def _claim_some(
    connection: AsyncConnection,
    source: str,
    wanted: Sequence[ColumnElement[bool]],
    limit: int,
    now: datetime,
    holder: str,
    lease: timedelta,
) -> list[Claim]:
    free = or_(checks.c.leased_until.is_(None), checks.c.leased_until <= now)
    picked = select(checks.c.id).where(*wanted, free).order_by(checks.c.due_at).limit(limit)
    these: ColumnElement[bool] = and_(checks.c.source == source, checks.c.id.in_(picked))
    if connection.dialect.name == "postgresql":
        # By their places, which nobody can change while the rows are locked: to look them up by name once more reads
        # as many pages of an index. An array is worked out once; a subquery with SKIP LOCKED may be run again, and pick
        # others then.
        places = picked.with_only_columns(_PLACE).with_for_update(skip_locked=True)
        these = any_(func.array(places.scalar_subquery())) == _PLACE
    until = now + lease
    statement = (
        update(checks)
        .where(these)
        .values(
            fence=checks.c.fence + 1,
            attempts=checks.c.attempts + 1,
            tried_at=now,
            leased_until=until,
            leased_by=holder,
        )
        .returning(*checks.c)
    )
    found = [_check(dict(row._mapping)) for row in await connection.execute(statement)]
    return [Claim(source, c.id, c.workflow, c.fence, c.lane, c.memory.attempts, now, until, c) for c in found]


async def count_waiting_hints(connection: AsyncConnection, source: str, most: int) -> int:
    """Return how many hints about unknown ids wait for a look, counting no further than `most`."""
    some = (
        select(checks.c.id)
        .where(
            checks.c.source == source,
            checks.c.lane == "hints",
            checks.c.workflow.is_(None),
            checks.c.due_at.is_not(None),
        )
        .limit(most)
    )
    return int((await connection.execute(select(func.count()).select_from(some.subquery()))).scalar_one())

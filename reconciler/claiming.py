"""Taking checks that are due, and deciding on each in the same short transaction (R14, R15)."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson
from sqlalchemy import (
    JSON,
    TableValuedAlias,
    Text,
    case,
    cast,
    column,
    delete,
    func,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import attention, bulk, checks, copies, store
from receiver.ledger.checks import Check, Claim
from receiver.ledger.nodes import WorkflowState
from receiver.ledger.policy import Policy
from receiver.ledger.recent import Recent
from receiver.ledger.tables import checks as table
from reconciler.lanes import URGENCY
from reconciler.pace import Slots
from reconciler.plan import Plan, Wait, decide

WISHES = "interactive"
HINTS = "hints"


@dataclass(frozen=True, slots=True)
class Task:
    """One claimed check, what is to be done with it, and what the ledger knew when that was decided."""

    claim: Claim
    plan: Plan
    state: WorkflowState | None
    alone: bool = False  # a request for many did not answer for it lately
    lost: bool = False  # upstream did not know it, or refused to tell of it, the last time already

    @property
    def hint(self) -> bool:
        """Whether it was claimed on the lane of hints."""
        return self.claim.lane == HINTS

    @property
    def retry(self) -> bool:
        """Whether this round has failed before."""
        return self.claim.attempts > 1


@dataclass(slots=True)
class Taken:
    """What one claim has taken of one source so far. `pooled` checks will be asked about in one request."""

    slots: Slots
    claims: list[Claim] = field(default_factory=list)
    pooled: int = 0
    pooled_hints: int = 0
    hints: int = 0
    retries: int = 0

    @property
    def requests(self) -> int:
        """How many requests that will be."""
        return len(self.claims) - self.pooled + (self.pooled > 0)

    @property
    def turns(self) -> tuple[bool | None, ...]:
        """In which order checks are taken that no request for many answers for (True), and the others (False)."""
        if self.slots.bulk == 1:
            return (None,)
        return (True, False) if self.slots.alone_first else (False, True)

    def room(self, lane: str | None, *, alone: bool | None) -> int:
        """Return how many checks of a lane may be taken; None is any that is neither limited nor favoured."""
        left = most = self.slots.total - self.requests - (0 if lane == WISHES else self.slots.kept)
        if lane == HINTS:
            # Those that come along in a request that is made anyway cost nothing.
            most = self.slots.hints - self.hints - (0 < self.pooled == self.pooled_hints)
        if alone is not False:
            return max(min(left, most), 0)
        joins = self.pooled > 0 and (lane != HINTS or self.pooled > self.pooled_hints)
        return self.slots.bulk - self.pooled if joins or min(left, most) > 0 else 0

    def add(self, claims: Sequence[Claim], *, alone: bool | None) -> None:
        """Count what was taken."""
        self.claims += claims
        hints = sum(claim.lane == HINTS for claim in claims)
        if alone is False:
            self.pooled += len(claims)
            self.pooled_hints += hints
        else:
            self.hints += hints
            self.retries += sum(claim.attempts > 1 for claim in claims)


def holder_name() -> str:
    """Return a name for this run of this process, for a person to read in `checks.leased_by`."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


async def due_lanes(
    connection: AsyncConnection, sources: Iterable[str], now: datetime, untried_since: datetime | None = None
) -> dict[str, set[str]]:
    """Return the sources that have something to claim, and on which lanes: to look before taking the write lock.

    `untried_since` is as in `checks.claim`.
    """
    c = table.c
    mine, lane = _listed(connection, sorted(sources), "mine"), _listed(connection, URGENCY, "lane")
    free = or_(c.leased_until.is_(None), c.leased_until <= now)
    # What is due takes one step into an index for each source and lane: a hundred thousand may be due.
    wanted = checks.wanted(now, untried_since)
    due = select(c.id).where(c.source == mine.c.value, c.lane == lane.c.value, *wanted, free).limit(1)
    some = due.correlate(mine, lane).scalar_subquery().is_not(None)  # EXISTS might be answered for all at once
    query = select(mine.c.value, lane.c.value).select_from(mine.join(lane, true())).where(some)
    found: dict[str, set[str]] = {}
    for source, name in await connection.execute(query):
        found.setdefault(source, set()).add(name)
    return found


def _listed(connection: AsyncConnection, words: Sequence[str], name: str) -> TableValuedAlias:
    """Return words as rows with one column, `value`: however many they are, the statement is the same."""
    told = literal(orjson.dumps(words).decode(), Text)
    if connection.dialect.name == "postgresql":
        return func.json_array_elements_text(cast(told, JSON)).table_valued(column("value", Text), name=name)
    return func.json_each(told).table_valued(column("value", Text), name=name)


async def claim_due(
    connection: AsyncConnection,
    now: datetime,
    *,
    holder: str,
    lease: timedelta,
    slots: Mapping[str, Slots],
    lanes: Mapping[str, Collection[str]] | None = None,
    untried_since: datetime | None = None,
) -> list[Claim]:
    """Claim as many checks as the slots allow, each lane its share of them and then what the others leave.

    `lanes` are those that have something due, by source; None tries them all. Work that failed before is taken first,
    as far as there is room for it.
    """
    taken = {name: Taken(one) for name, one in sorted(slots.items())}
    for name, one in taken.items():

        async def take(
            lane: str, most: int, retries: bool | None, alone: bool | None, source: str = name
        ) -> list[Claim]:
            return await checks.claim(
                connection,
                now,
                holder=holder,
                lease=lease,
                limits={source: most},
                lanes=(lane,),
                retries=retries,
                untried_since=untried_since,
                alone=alone,
            )

        busy = [lane for lane in URGENCY if lanes is None or lane in lanes.get(name, ())]
        for alone in one.turns:
            await by_turns(one, busy, take, alone=alone)
    return [claim for one in taken.values() for claim in one.claims]


_Take = Callable[[str, int, bool | None, bool | None], Awaitable[list[Claim]]]


async def by_turns(taken: Taken, lanes: Sequence[str], take: _Take, *, alone: bool | None) -> None:
    """Have `take` claim what there is room for: of each lane its share first, then what other lanes leave over."""
    shares = taken.slots.turns.split(taken.room(None, alone=alone) or taken.room(WISHES, alone=alone), lanes)
    for borrowing in (False, True):
        still: list[str] = []
        for lane in lanes:
            room = taken.room(lane, alone=alone)
            most = room if borrowing else min(room, shares.get(lane, 0))
            got = await _take_lane(taken, lane, most, take, alone=alone) if most > 0 else 0
            if room > 0 and got == most:
                still.append(lane)
        lanes = still


async def _take_lane(taken: Taken, lane: str, most: int, take: _Take, *, alone: bool | None) -> int:
    got = 0
    # One request for many takes no place from the healthy, and hints have limits of their own.
    for retries in (None,) if lane == HINTS or alone is False else (True, False):
        limit = min(most - got, taken.slots.retries - taken.retries) if retries else most - got
        if limit > 0:
            claims = await take(lane, limit, retries, alone)
            taken.add(claims, alone=alone)
            got += len(claims)
    return got


async def plan_claims(
    connection: AsyncConnection,
    claims: Sequence[Claim],
    policies: Mapping[str, Policy],
    now: datetime,
    *,
    at_once: bool = False,
    recent: Recent | None = None,
) -> list[Task]:
    """Decide on claimed checks; those that are not due after all are given back at once and are not in the answer.

    Their rows are locked by the claim, so nobody can have wanted one of them between our look and our writing. What is
    loaded of workflows is put into `recent`, so that the answers need not load it again.
    """
    found = {(claim.source, claim.id): claim.check for claim in claims}
    states = await loaded(connection, found, policies, recent)
    tasks: list[Task] = []
    waits: list[tuple[Claim, Wait]] = []
    forgotten: list[Claim] = []
    for claim in claims:
        key = (claim.source, claim.id)
        plan = decide(states.get(key), found[key].memory, now, policies[claim.source], at_once=at_once)
        if isinstance(plan, Wait) and states.get(key) is None and not plan.due.reasons:
            forgotten.append(claim)
        elif isinstance(plan, Wait):
            waits.append((claim, plan))
        else:
            until = found[key].alone_until
            lost = found[key].memory.misses > 0 or "refused" in found[key].memory.told
            tasks.append(Task(claim, plan, states.get(key), until is not None and until > now, lost))
    await _put_off(connection, waits)
    for claim, wait in waits:
        if found[claim.source, claim.id].memory.told.intersection(wait.over):
            await attention.close(connection, "workflow", claim.source, claim.id, wait.over, now)
    await _forget(connection, forgotten)
    return tasks


async def loaded(
    connection: AsyncConnection,
    found: Mapping[tuple[str, str], Check],
    policies: Mapping[str, Policy],
    recent: Recent | None = None,
) -> dict[tuple[str, str], WorkflowState]:
    """Load the workflows of checks, unlocked, and fill in each check's memory: what attention is open, and how copies
    stand where there are any to be made."""
    states = await store.load(connection, found, recent.known(found) if recent is not None else None)
    if recent is not None:
        recent.keep(states.values())
    open_kinds = await attention.open_kinds(connection, [s.pk for s in states.values() if s.pk is not None])
    copied = [(s.pk, s.run) for s in states.values() if s.pk is not None and policies[s.source].collect]
    known = await copies.of(connection, copied) if copied else {}
    for key, state in states.items():
        found[key].memory.told = frozenset(open_kinds.get(state.pk or 0, ()))
        found[key].memory.copies = known.get(state.pk or 0, {})
    return states


_GIVEN_BACK = ("attempts", "leased_until", "leased_by")
_FENCED = ("source", "id", "fence")


async def _put_off(connection: AsyncConnection, waits: Sequence[tuple[Claim, Wait]]) -> None:
    """Give back checks that are not due after all, until they are. Nothing was tried."""
    rows = [
        (
            wait.due.at,
            wait.due.lane,
            {why: at.isoformat() for why, at in sorted(wait.due.reasons.items())},
            *(claim.attempts - 1, None, None),
            *(claim.source, claim.id, claim.fence),
        )
        for claim, wait in waits
    ]
    await bulk.update(connection, table, _FENCED, ("due_at", "lane", "reasons", *_GIVEN_BACK), rows)


async def _forget(connection: AsyncConnection, claims: Iterable[Claim]) -> None:
    """Delete checks about ids that upstream did not know, and that nobody has named again since."""
    for claim in claims:
        mine = (table.c.source == claim.source, table.c.id == claim.id, table.c.fence == claim.fence)
        await connection.execute(delete(table).where(*mine, table.c.workflow.is_(None)))


async def put_back(connection: AsyncConnection, claims: Iterable[Claim]) -> None:
    """Give back checks that will not be asked about after all, due as they are."""
    rows = [(claim.attempts - 1, None, None, None, claim.source, claim.id, claim.fence) for claim in claims]
    await bulk.update(connection, table, _FENCED, (*_GIVEN_BACK, "tried_at"), rows)


async def give_back(connection: AsyncConnection, holder: str) -> None:
    """Give back every lease of a process that is about to leave; what it was trying does not count as tried."""
    await connection.execute(
        update(table)
        .where(table.c.leased_by == holder)
        .values(
            leased_until=None,
            leased_by=None,
            attempts=case((table.c.attempts > 0, table.c.attempts - 1), else_=0),
        )
    )

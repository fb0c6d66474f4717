"""Taking checks that are due, and deciding on each in the same short transaction (R14, R15)."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import case, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.ledger import attention, checks, store
from receiver.ledger.checks import Check, Claim
from receiver.ledger.nodes import WorkflowState
from receiver.ledger.policy import Policy
from receiver.ledger.schedule import LANE_OF
from receiver.ledger.tables import checks as table
from reconciler.pace import Slots
from reconciler.plan import Plan, Wait, decide

WISHES = ("interactive",)
HINTS = ("hints",)
OTHERS = tuple(sorted(set(LANE_OF.values()) - set(HINTS)))


@dataclass(frozen=True, slots=True)
class Task:
    """One claimed check, what is to be done with it, and what the ledger knew when that was decided."""

    claim: Claim
    plan: Plan
    state: WorkflowState | None
    alone: bool = False  # a request for many did not answer for it lately

    @property
    def hint(self) -> bool:
        """Whether it was claimed on the lane of hints."""
        return self.claim.lane == "hints"

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

    def room(self, most: int, *, alone: bool | None, lanes: Sequence[str]) -> int:
        """Return how many checks of these lanes may be taken, at the cost of `most` requests at most."""
        left = self.slots.total - self.requests - (0 if lanes is WISHES else self.slots.kept)
        if lanes is HINTS:
            # Those that come along in a request that is made anyway cost nothing.
            most -= self.hints + (0 < self.pooled == self.pooled_hints)
        if alone is not False:
            return min(left, most)
        joins = self.pooled > 0 and (lanes is not HINTS or self.pooled > self.pooled_hints)
        return self.slots.bulk - self.pooled if joins or min(left, most) > 0 else 0

    def add(self, claims: Sequence[Claim], *, alone: bool | None) -> None:
        """Count what was taken."""
        self.claims += claims
        hints = sum(claim.lane in HINTS for claim in claims)
        if alone is False:
            self.pooled += len(claims)
            self.pooled_hints += hints
        else:
            self.hints += hints


def holder_name() -> str:
    """Return a name for this run of this process, for a person to read in `checks.leased_by`."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


async def due_lanes(connection: AsyncConnection, sources: Iterable[str], now: datetime) -> dict[str, set[str]]:
    """Return the sources that have something to claim, and on which lanes: to look before taking the write lock."""
    free = or_(table.c.leased_until.is_(None), table.c.leased_until <= now)
    query = select(table.c.source, table.c.lane).where(table.c.source.in_(sorted(sources)), table.c.due_at <= now, free)
    found: dict[str, set[str]] = {}
    for row in await connection.execute(query.distinct()):
        found.setdefault(row.source, set()).add(row.lane)
    return found


async def claim_due(
    connection: AsyncConnection,
    now: datetime,
    *,
    holder: str,
    lease: timedelta,
    slots: Mapping[str, Slots],
    untried_since: datetime | None = None,
) -> list[Claim]:
    """Claim as many checks as the slots allow: earned hints, work that failed before, the rest, then other hints.

    Where the budget is small, what somebody waits for comes before all of them.
    """
    taken = {name: Taken(one) for name, one in sorted(slots.items())}

    async def take(most: Callable[[Slots], int], lanes: Sequence[str], retries: bool | None) -> None:
        for name, one in taken.items():
            for alone in one.turns:
                limit = one.room(most(one.slots), alone=alone, lanes=lanes)
                if limit <= 0:
                    continue
                one.add(
                    await checks.claim(
                        connection,
                        now,
                        holder=holder,
                        lease=lease,
                        limits={name: limit},
                        lanes=lanes,
                        retries=retries,
                        untried_since=untried_since,
                        alone=alone,
                    ),
                    alone=alone,
                )

    await take(lambda one: one.total if one.wishes_first else 0, WISHES, None)
    await take(lambda one: one.earned, HINTS, None)
    await take(lambda one: one.retries, OTHERS, True)
    await take(lambda one: one.total, OTHERS, False)
    await take(lambda one: one.hints, HINTS, None)
    return [claim for one in taken.values() for claim in one.claims]


async def plan_claims(
    connection: AsyncConnection,
    claims: Sequence[Claim],
    policies: Mapping[str, Policy],
    now: datetime,
    *,
    at_once: bool = False,
) -> list[Task]:
    """Decide on claimed checks; those that are not due after all are given back at once and are not in the answer.

    Their rows are locked by the claim, so nobody can have wanted one of them between our look and our writing.
    """
    names = [(claim.source, claim.id) for claim in claims]
    found, states = await loaded(connection, names)
    tasks: list[Task] = []
    for claim in claims:
        key = (claim.source, claim.id)
        plan = decide(states.get(key), found[key].memory, now, policies[claim.source], at_once=at_once)
        if isinstance(plan, Wait):
            await _put_off(connection, claim, plan)
        else:
            until = found[key].alone_until
            tasks.append(Task(claim, plan, states.get(key), until is not None and until > now))
    return tasks


async def loaded(
    connection: AsyncConnection, names: Sequence[tuple[str, str]]
) -> tuple[dict[tuple[str, str], Check], dict[tuple[str, str], WorkflowState]]:
    """Load checks with their workflows, unlocked. What attention is open is filled into each check's memory."""
    found = await checks.load(connection, names, lock=False)
    states = await store.load(connection, names)
    open_kinds = await attention.open_kinds(connection, [s.pk for s in states.values() if s.pk is not None])
    for key, state in states.items():
        found[key].memory.told = frozenset(open_kinds.get(state.pk or 0, ()))
    return found, states


async def _put_off(connection: AsyncConnection, claim: Claim, plan: Wait) -> None:
    due = plan.due
    await connection.execute(
        update(table)
        .where(table.c.source == claim.source, table.c.id == claim.id, table.c.fence == claim.fence)
        .values(
            due_at=due.at,
            lane=due.lane,
            reasons={why: at.isoformat() for why, at in sorted(due.reasons.items())},
            attempts=claim.attempts - 1,  # nothing was tried
            leased_until=None,
            leased_by=None,
        )
    )


async def put_back(connection: AsyncConnection, claims: Iterable[Claim]) -> None:
    """Give back checks that this very transaction has claimed and will not ask about, due as they are."""
    for claim in claims:
        mine = (table.c.source == claim.source, table.c.id == claim.id, table.c.fence == claim.fence)
        untried = {"attempts": claim.attempts - 1, "tried_at": None, "leased_until": None, "leased_by": None}
        await connection.execute(update(table).where(*mine).values(untried))


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

"""Taking checks that are due, and deciding on each in the same short transaction (R14, R15)."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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

HINTS = ("hints",)
OTHERS = tuple(sorted(set(LANE_OF.values()) - set(HINTS)))


@dataclass(frozen=True, slots=True)
class Task:
    """One claimed check, what is to be done with it, and what the ledger knew when that was decided."""

    claim: Claim
    plan: Plan
    state: WorkflowState | None

    @property
    def hint(self) -> bool:
        """Whether it was claimed on the lane of hints."""
        return self.claim.lane == "hints"

    @property
    def retry(self) -> bool:
        """Whether this round has failed before."""
        return self.claim.attempts > 1


def holder_name() -> str:
    """Return a name for this run of this process, for a person to read in `checks.leased_by`."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


async def due_sources(connection: AsyncConnection, sources: Iterable[str], now: datetime) -> set[str]:
    """Return the sources that have something to claim; a cheap look before taking the write lock."""
    free = or_(table.c.leased_until.is_(None), table.c.leased_until <= now)
    query = select(table.c.source).where(table.c.source.in_(sorted(sources)), table.c.due_at <= now, free).distinct()
    return set((await connection.execute(query)).scalars())


async def claim_due(
    connection: AsyncConnection,
    now: datetime,
    *,
    holder: str,
    lease: timedelta,
    slots: Mapping[str, Slots],
    untried_since: datetime | None = None,
) -> list[Claim]:
    """Claim as many checks as the slots allow: earned hints, work that failed before, the rest, then other hints."""
    taken: list[Claim] = []

    async def take(limits: Mapping[str, int], lanes: Sequence[str], retries: bool | None) -> None:
        if any(limit > 0 for limit in limits.values()):
            taken.extend(
                await checks.claim(
                    connection,
                    now,
                    holder=holder,
                    lease=lease,
                    limits=limits,
                    lanes=lanes,
                    retries=retries,
                    untried_since=untried_since,
                )
            )

    def left(source: str) -> int:
        return slots[source].total - sum(claim.source == source for claim in taken)

    def hints_left(source: str) -> int:
        return min(left(source), slots[source].hints - sum(c.source == source and c.lane == "hints" for c in taken))

    await take({name: min(left(name), one.earned) for name, one in slots.items()}, HINTS, None)
    await take({name: min(left(name), one.retries) for name, one in slots.items()}, OTHERS, True)
    await take({name: left(name) for name in slots}, OTHERS, False)
    await take({name: hints_left(name) for name in slots}, HINTS, None)
    return taken


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
            tasks.append(Task(claim, plan, states.get(key)))
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

"""What a pass would do, told without doing it: only reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import or_, select

from receiver.ledger import checks
from receiver.ledger.database import Database, now
from receiver.ledger.query_parts import stamp
from receiver.ledger.tables import checks as table
from reconciler.claiming import loaded
from reconciler.plan import GiveUp, Plan, Refetch, Relink, Wait, decide
from reconciler.source import Source

_MOST = 1000


async def planned(
    database: Database, sources: Mapping[str, Source], *, limit: int | None, open_only: bool
) -> list[dict[str, Any]]:
    """Return what is due (or not settled, with `open_only`) and what would be done with it, the longest due first.

    Each is {"source", "id", "lane", "due_at", "do", "why"}; `do` is refetch, relink or give-up. At most 1000 of them.
    """
    async with database.read() as connection:
        at = await now(connection)
        free = or_(table.c.leased_until.is_(None), table.c.leased_until <= at)
        due = table.c.due_at.is_not(None) if open_only else table.c.due_at <= at
        query = select(table.c.source, table.c.id).where(table.c.source.in_(sorted(sources)), due, free)
        rows = (await connection.execute(query.order_by(table.c.due_at).limit(_MOST))).all()
        names = [(row.source, row.id) for row in rows]
        found = await checks.load(connection, names, lock=False)
        states = await loaded(connection, found, {name: source.policy for name, source in sources.items()})
    plans: list[dict[str, Any]] = []
    for key in names:
        check = found[key]
        check.memory.attempts += 1  # as the claim would have counted it
        plan = decide(states.get(key), check.memory, at, sources[key[0]].policy, at_once=open_only)
        if not isinstance(plan, Wait) and (limit is None or len(plans) < limit):
            what, why = _told(plan)
            plans.append(
                {
                    "source": key[0],
                    "id": key[1],
                    "lane": check.lane,
                    "due_at": stamp(check.due_at),
                    "do": what,
                    "why": why,
                }
            )
    return plans


def _told(plan: Plan) -> tuple[str, str]:
    if isinstance(plan, Refetch):
        return "refetch", ", ".join(plan.reasons)
    if isinstance(plan, Relink):
        return "relink", plan.blob_id
    assert isinstance(plan, GiveUp)
    return "give-up", plan.reason

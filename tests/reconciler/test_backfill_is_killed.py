"""A backfill killed again and again in mid-list: each workflow is adopted once, and no page is listed twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import pytest
from sqlalchemy import text

from receiver.ledger.operations import chores
from receiver.ledger.tables import evidence, workflows
from tests.reconciler.test_backfill import pages
from tests.reconciler.test_commands import hookledger, start
from tests.reconciler.world import Upstream, World, document, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]

PAGES = 6


def asked(upstream: Upstream) -> list[str]:
    return [parse_qs(one.query).get("cursor", ["0"])[0] for one in upstream.seen]


async def test_a_backfill_killed_at_every_other_page_adopts_each_workflow_once(
    make_world: Callable[..., World], upstream: Upstream
) -> None:
    world = make_world(upstream.base_url)
    upstream.pause = 0.4
    found: list[list[dict[str, Any]]] = [[document(f"wf-{page}-{n}") for n in range(5)] for page in range(PAGES)]
    pages(upstream, *found)
    for page in (1, 3, 5):
        process = await start(world, "backfill", "civitai", "--since", "24h")
        try:
            await until(partial(lambda wanted: wanted in asked(upstream), str(page)), seconds=20)
        finally:
            process.kill()
            await process.communicate()
        async with world.database.write() as connection:
            await connection.execute(text("UPDATE chores SET leased_until = begun_at"))
    code, out, err = await hookledger(world, "backfill", "civitai", "--since", "24h", "--json")
    assert code == 0, err
    assert sorted({int(cursor) for cursor in asked(upstream)}) == list(range(PAGES))
    first = asked(upstream)
    assert first.count("0") <= 2, "gone on with, not begun anew; the last run lists once more what came since"
    names = sorted(row.id for row in await world.rows(workflows))
    assert names == sorted(one["id"] for page in found for one in page)
    kept = [row.workflow for row in await world.rows(evidence) if row.kind == "fetch"]
    assert len(kept) == len(set(kept)) == len(names)
    (chore,) = [row for row in await world.rows(chores) if row.kind == "backfill"]
    assert (chore.outcome, chore.progress, chore.leased_by) == ("done", None, None)
    assert out

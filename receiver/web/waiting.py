"""Work on demand: make a look due, and wait on the database until it has been made (DESIGN §4).

The receiver has no HTTP client; whichever reconciler shares the database does the asking. A short poll is the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from receiver.ledger import audit, checks, queries
from receiver.ledger.database import now as database_now
from receiver.ledger.queries import Pulse
from receiver.web.problems import Problem
from receiver.web.site import Site

POLL = 0.25  # seconds between looks at the database
Met = Callable[[Pulse, datetime], bool]
# A reconciler that has not begun by then is not there.
NO_RECONCILER = 10.0
# Whoever waits for an ending has upstream asked again this long after the last answer.
ASK_AGAIN = 5.0


def unknown_workflow(source: str, workflow_id: str) -> Problem:
    """Return the problem that nobody has heard of a workflow."""
    return Problem("unknown-workflow", f"no workflow {workflow_id[:256]!r} is known of source {source[:64]!r}")


async def pulse_of(site: Site, source: str, workflow_id: str) -> Pulse:
    """Return a workflow's pulse. Raises Problem `unknown-workflow`."""
    async with site.database.read() as connection:
        found = await queries.pulse(connection, source, workflow_id)
    if found is None:
        raise unknown_workflow(source, workflow_id)
    return found


async def wish(site: Site, source: str, workflow_id: str, pk: int, who: str | None = None) -> datetime:
    """Make a look due now; returns when, by the database's clock, which is the one that claims compare with (R14).

    `who` (a token's name) is written down as having asked for it.
    """
    async with site.database.write() as connection:
        now = await database_now(connection)
        await checks.want(connection, source, workflow_id, pk, now)
        if who is not None:
            await audit.note(connection, who, "refetch", now, source=source, subject=workflow_id)
    return now


async def wait_until(
    site: Site,
    source: str,
    workflow_id: str,
    met: Met,
    seconds: float,
    *,
    keep_asking: bool = False,
    who: str | None = None,
) -> bool:
    """Wish for a look and wait until `met`, or until the time is up, or until it is clear that nobody will look.

    `met` is given the workflow's pulse and the instant of the wish; returns whether it came true. `keep_asking` wishes
    again a while after each answer that did not bring it; `who` is written down as in `wish`. Raises Problem for a
    workflow that is unknown or forgotten meanwhile.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    pulse = await pulse_of(site, source, workflow_id)
    first = last = await wish(site, source, workflow_id, pulse.pk, who)
    answered_at: float | None = None
    while True:
        pulse = await pulse_of(site, source, workflow_id)
        if met(pulse, first):
            return True
        passed = loop.time() - began
        if site.stopping.is_set() or passed >= seconds or (passed >= NO_RECONCILER and not pulse.tried(first)):
            return False
        if keep_asking and pulse.answered(last):
            answered_at = answered_at or loop.time()
            if loop.time() - answered_at >= ASK_AGAIN:
                last, answered_at = await wish(site, source, workflow_id, pulse.pk), None
        await asyncio.sleep(min(POLL, max(seconds - passed, 0.01)))

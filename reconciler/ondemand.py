"""One look at one workflow, now, for somebody who asked for it by name."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from receiver.config import Config
from receiver.ledger import checks, store
from receiver.ledger.checks import Claim
from receiver.ledger.database import Database, now
from receiver.ledger.entries import Answer
from receiver.ledger.nodes import WorkflowState
from receiver.redaction import Redactor
from reconciler.claiming import Task, put_back
from reconciler.crew import Crew
from reconciler.passes import PassReport
from reconciler.plan import Refetch

_TURN = 0.2


@dataclass(frozen=True, slots=True)
class LookReport:
    """What came of a look on demand. `answer` is None when another reconciler had the workflow all the time.

    `status` and `terminal` are the workflow's afterwards, None when the ledger does not know it. `message` says what
    went wrong, '' when nothing did.
    """

    source: str
    id: str
    answer: Answer | None
    status: str | None
    terminal: bool | None
    message: str

    @property
    def failed(self) -> bool:
        """Whether the look brought nothing. A 404 does bring something when it settles a workflow that has ended."""
        return self.answer is not Answer.SHOWN and not (self.answer is Answer.GONE and self.terminal)


async def look_now(
    config: Config, database: Database, redactor: Redactor, source: str, workflow_id: str, *, patience: float = 10.0
) -> LookReport:
    """Look at one workflow in this process, known to the ledger or not, even while its source is paused.

    Waits up to `patience` seconds for another reconciler to let go of it; what that one finds counts as the answer.
    Raises LedgerError, and ConfigError for a source that is not configured.
    """
    report = PassReport("demand")
    async with Crew(config, database, redactor, report, [source]) as crew:
        ends = time.monotonic() + patience
        wished: datetime | None = None
        while True:
            why = "another reconciler is looking at it; it is told to"
            async with database.write() as connection:
                at = await now(connection)
                crew.clock.set(at)
                state = (await store.load(connection, [(source, workflow_id)])).get((source, workflow_id))
                known = (await checks.load(connection, [(source, workflow_id)], lock=False))[source, workflow_id]
                if wished is not None and state is not None and state.asked_at is not None and state.asked_at > wished:
                    return _report(source, workflow_id, Answer.SHOWN, state, "")
                if wished is None or known.memory.wanted_at is None:
                    await checks.want(connection, source, workflow_id, state.pk if state is not None else None, at)
                    wished = wished or at
                claims = await _claim(connection, crew, config, source, workflow_id, at)
                if claims and not await crew.claims.may_send(connection, source, crew.holder, at):
                    await put_back(connection, claims)
                    claims, why = [], "its upstream may not be asked more just now; it will be as soon as it may"
            if claims:
                break
            if time.monotonic() >= ends:
                return _report(source, workflow_id, None, state, why)
            await asyncio.sleep(_TURN)
        task = Task(claims[0], Refetch(("wanted",)), state)
        asked, result = await crew.look(task, at, probe=True)
        crew.claims.over(source, crew.holder, hint=False, sent=asked.sent)
    after = result.state if result is not None and result.state is not None else state
    message = asked.entry.problem or ""
    if result is None:
        return _report(source, workflow_id, None, after, "the answer could not be written to the ledger")
    return _report(source, workflow_id, asked.answer, after, message)


async def _claim(
    connection: AsyncConnection, crew: Crew, config: Config, source: str, workflow_id: str, at: datetime
) -> list[Claim]:
    return await checks.claim(
        connection, at, holder=crew.holder, lease=config.server.lease, limits={source: 1}, ids=[workflow_id]
    )


def _report(
    source: str, workflow_id: str, answer: Answer | None, state: WorkflowState | None, message: str
) -> LookReport:
    status = str(state.node.status) if state is not None else None
    terminal = state.node.status.terminal if state is not None else None
    return LookReport(source, workflow_id, answer, status, terminal, message)

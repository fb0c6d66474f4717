"""Many at once, a database that is slow or gone, and one delivery that would spoil a batch."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

from receiver.intake import Intake
from receiver.ledger.database import Database
from receiver.ledger.operations import rejections
from receiver.ledger.records import Level, Observation, Reading
from receiver.ledger.tables import delivery_keys, evidence, transitions, workflows
from receiver.providers.base import Account, Inbound
from receiver.providers.civitai import Civitai
from tests.web.client import Answer, ask, connect, event, head
from tests.web.conftest import Receiving, Running
from tests.web.rows import blocked, rows


async def test_the_same_delivery_50_times_at_once_is_stored_once(receiver: Running, database: Database) -> None:
    answers = await asyncio.gather(*(ask("POST", receiver.hook(), event("wf-1", "succeeded")) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert Counter(answer.json["outcome"] for answer in answers) == {"applied": 1, "duplicate": 49}
    assert len({answer.json["delivery"] for answer in answers}) == 1
    assert len(await rows(database, evidence)) == 1
    assert [row.count for row in await rows(database, delivery_keys)] == [50]
    assert len(await rows(database, transitions)) == 1


async def test_200_deliveries_at_once_for_one_workflow_are_all_kept_and_end_it_once(
    receiver: Running, database: Database
) -> None:
    bodies = [event("wf-1", "succeeded" if n == 100 else "processing", n=n) for n in range(200)]
    answers = await asyncio.gather(*(ask("POST", receiver.hook(), body) for body in bodies))
    assert {answer.status for answer in answers} == {200}
    kept = await rows(database, evidence)
    assert {bytes(row.body) for row in kept} == set(bodies)
    assert sorted(row.seq for row in kept) == list(range(1, 201))
    (workflow,) = await rows(database, workflows)
    assert workflow.status == "succeeded"
    assert len(await rows(database, transitions, to_status="succeeded")) == 1


async def test_a_commit_that_takes_too_long_is_503_and_may_be_kept_all_the_same(
    receiving: Receiving, database: Database, database_url: str
) -> None:
    async with receiving(answer_within=0.3) as running:
        async with blocked(database_url):
            answer = await asyncio.wait_for(ask("POST", running.hook(), event("wf-1", "succeeded")), 5)
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
        again = await ask("POST", running.hook(), event("wf-1", "succeeded"))
        assert (again.status, again.json["outcome"]) == (200, "duplicate")
    assert len(await rows(database, evidence)) == 1


async def test_a_database_that_is_gone_is_503_with_retry_after(receiving: Receiving, database: Database) -> None:
    away = Database(
        "postgresql://nobody@127.0.0.1:1/nowhere" if database.dialect == "postgresql" else "sqlite:////no/x"
    )
    async with receiving(on=away) as running:
        answers = await asyncio.gather(*(ask("POST", running.hook(), event(f"wf-{n}", "failed")) for n in range(5)))
    await away.close()
    assert {answer.status for answer in answers} == {503}
    assert int(answers[0].headers["retry-after"]) > 0


async def test_a_full_intake_is_503_with_retry_after_and_what_waited_is_answered(
    receiving: Receiving, database: Database, database_url: str
) -> None:
    async with receiving(intake=Intake(database, max_queue=4), answer_within=20) as running:
        async with blocked(database_url):
            tasks = [asyncio.create_task(ask("POST", running.hook(), event("wf-0", "failed")))]
            await asyncio.sleep(0.1)
            tasks += [asyncio.create_task(ask("POST", running.hook(), event(f"wf-{n}", "failed"))) for n in range(1, 9)]
            done, _ = await asyncio.wait(tasks, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0.1)
        answers = await asyncio.gather(*tasks)
    assert Counter(answer.status for answer in answers) == {200: 5, 503: 4}
    assert all("retry-after" in answer.headers for answer in answers if answer.status == 503)
    assert len(done) > 0
    assert len(await rows(database, evidence)) == 5


class _Poisonous(Civitai):
    """Reads something out of certain deliveries that no database can store."""

    def read(self, inbound: Inbound, account: Account) -> Reading:
        if b"poison" in inbound.body:
            seen = (Observation(Level.WORKFLOW), Observation(Level.STEP, "\ud800"))
            return Reading(json.loads(inbound.body)["workflowId"], seen)
        return super().read(inbound, account)


async def test_one_delivery_that_cannot_be_stored_spoils_nobody_elses(
    receiving: Receiving, database: Database, database_url: str
) -> None:
    bodies = [event(f"wf-{n}", "failed", note="poison" if n == 13 else "") for n in range(30)]
    async with receiving(providers={"civitai": _Poisonous()}, answer_within=20) as running:
        async with blocked(database_url):
            tasks = [asyncio.create_task(ask("POST", running.hook(), body)) for body in bodies]
            await asyncio.sleep(0.2)
        answers: list[Answer] = await asyncio.gather(*tasks)
        assert {answer.status for answer in answers} == {200}
        assert [n for n, answer in enumerate(answers) if answer.json["outcome"] == "quarantined"] == [13]
        again = await ask("POST", running.hook(), bodies[13])
        assert again.json == {"delivery": answers[13].json["delivery"], "outcome": "duplicate"}
    assert {bytes(row.body) for row in await rows(database, evidence)} == set(bodies)
    assert len(await rows(database, workflows)) == 29


async def test_a_hundred_clients_that_leave_disturb_no_one_who_stays(receiver: Running, database: Database) -> None:
    async def leave(n: int) -> None:
        body = event(f"left-{n}", "failed")
        _, writer = await connect(receiver.url)
        writer.write(head("POST", receiver.hook(), {"content-length": str(len(body))}) + body[: n % len(body)])
        await writer.drain()
        writer.transport.abort()

    stayed = (ask("POST", receiver.hook(), event(f"stayed-{n}", "failed")) for n in range(50))
    answers = await asyncio.gather(*stayed, *(leave(n) for n in range(100)))
    assert {answer.status for answer in answers[:50] if answer is not None} == {200}
    assert len(await rows(database, workflows)) == 50


async def test_what_is_turned_away_is_written_in_the_end_and_adds_up_over_restarts(
    receiving: Receiving, database: Database
) -> None:
    for _ in range(2):
        async with receiving() as running:
            wrong = running.hook(token="wrong-token-of-the-tests")
            answers = await asyncio.gather(*(ask("POST", wrong, event(f"wf-{n}", "failed")) for n in range(20)))
            assert {answer.status for answer in answers} == {401}
            assert await rows(database, evidence) == []
    (counted,) = await rows(database, rejections)
    assert counted.count == 40
    assert len(counted.samples) == 5

"""What a forger can do to upstreams that sign nothing: with `hint` nothing, with a leaked token nothing that stays."""

from __future__ import annotations

import json

import pytest

from receiver.ledger.entries import Entry
from receiver.ledger.evidence import dedupe_key
from receiver.ledger.policy import Policy
from receiver.ledger.records import EvidenceKind, Trust
from receiver.ledger.tables import evidence, workflows
from receiver.providers import provider_named
from receiver.providers.base import Account, Inbound
from tests.ledger.applying import HINTS, POLICY, answer, check_of, claim, claim_one, delivery, loaded, put, rows, saw
from tests.ledger.histories import at

FORGED = {
    "civitai": (
        "wf",
        {"$type": "workflow", "workflowId": "wf", "status": "failed", "timestamp": "2026-03-01T12:05:09Z"},
    ),
    "beeble": ("swx_1", {"id": "swx_1", "status": "failed", "completed_at": "2026-03-01T12:05:09Z", "error": "no"}),
    "evolink": (
        "task-unified-1757169743-8dxnm6yz",
        {"id": "task-unified-1757169743-8dxnm6yz", "created": 1757169743, "status": "failed", "progress": 0},
    ),
    "removebgvideo": ("job_1", {"event": "job.failed", "data": {"id": "job_1", "status": "failed"}}),
    "runpod": ("60902e6c-u1", {"id": "60902e6c-u1", "status": "FAILED"}),
    "luma": ("gen-1", {"id": "gen-1", "state": "failed", "generation_type": "video"}),
    "kling": ("t-1", {"task_id": "t-1", "task_status": "failed", "created_at": 1767225600000}),
}


def forged(name: str, second: float, trust: Trust, policy: Policy) -> Entry:
    """The forger's delivery as the provider reads it, in a source named `civ`."""
    provider = provider_named(name)
    body = json.dumps(FORGED[name][1]).encode()
    account = Account("civ", provider.habits.default_base_url, trust, "k" * 16, options={"endpoint": "e"})
    reading = provider.read(Inbound({"content-type": "application/json"}, {}, body, at(second)), account)
    key, digest = dedupe_key("", (), body)
    return Entry(
        "civ", policy, EvidenceKind.DELIVERY, at(second), reading.workflow_id, reading, trust,
        body=body, body_sha256=digest, key=key,
    )  # fmt: skip


async def running(database, wf: str) -> None:
    """A workflow that our own look has shown alive."""
    await put(database, delivery(1, saw("scheduled"), wf=wf, source="civ"))
    await put(database, answer(300, await claim_one(database, 300), saw("processing")))


@pytest.mark.parametrize("name", FORGED)
async def test_with_hints_a_forged_ending_changes_no_status(database, name):
    wf = FORGED[name][0]
    await running(database, wf)
    await put(database, forged(name, 310, Trust.HINT, HINTS))
    state = await loaded(database, wf)
    assert (state.node.status.value, state.node.finished_at) == ("processing", None)
    assert "hint" in (await check_of(database, wf)).reasons


async def test_a_hint_says_nothing_of_the_ref_by_which_a_workflow_is_found(database):
    """Whoever guesses an id could else have his workflow found as `order-7`, or keep its own ref from the other."""
    await running(database, "wf")
    forged_one = delivery(310, saw("succeeded"), wf="wf", trust=Trust.HINT, policy=HINTS)
    forged_one.ref = "order-7"
    await put(database, forged_one)
    assert (await loaded(database, "wf")).about.get("ref") is None
    honest = delivery(320, saw("processing"), wf="wf")
    honest.ref = "order-8"
    await put(database, honest)
    assert (await loaded(database, "wf")).about["ref"] == "order-8"


@pytest.mark.parametrize("name", FORGED)
async def test_with_a_leaked_token_a_forged_ending_does_not_survive_the_looks_that_follow(database, name):
    wf = FORGED[name][0]
    await running(database, wf)
    (result,) = await put(database, forged(name, 310, Trust.TOKEN, POLICY))
    state = await loaded(database, wf)
    assert (state.node.status.value, state.node.confirmed_at) == ("failed", None), "believed for now"
    assert result.evidence
    second = 313.0
    while (state := await loaded(database, wf)).node.status.terminal:
        assert second < 400, "two looks half a minute apart are enough"
        for one in await claim(database, second):
            await put(database, answer(second, one, saw("processing")), now=second)
        second += 2
    await put(database, delivery(450, saw("succeeded"), wf=wf, body=b"the true one"))
    one = await claim_one(database, 453)
    await put(database, answer(453, one, saw("succeeded")))
    state = await loaded(database, wf)
    assert (state.node.status.value, state.node.confirmed_at) == ("succeeded", at(453))
    assert state.node.reason is None, "what the forger told went with his ending"


@pytest.mark.race
@pytest.mark.timeout(600)
async def test_a_hundred_thousand_hints_with_made_up_ids_leave_almost_nothing(database):
    policy = Policy(Trust.HINT, hint_quota=1000)
    over = 0
    for start in range(0, 100_000, 200):
        batch = [
            delivery(1 + start / 1000, saw("succeeded"), wf=f"made-up-{n}", trust=Trust.HINT, policy=policy)
            for n in range(start, start + 200)
        ]
        over += sum(result.over_quota for result in await put(database, *batch))
    assert over == 99_000
    assert await rows(database, workflows) == []
    assert len(await rows(database, evidence)) == 1000
    taken = await claim(database, 200, limit=10_000)
    assert {one.lane for one in taken} == {"hints"}
    assert len(taken) == 1000

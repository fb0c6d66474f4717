"""The two doors that keep what replay finds: `replay --apply`, and a delivery put in once more after a code fix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from receiver.ledger.database import Database
from receiver.ledger.records import Level, Observation, Reading
from receiver.ledger.states import Status
from receiver.ledger.tables import attention, evidence, steps, transitions, workflows
from receiver.providers.base import Inbound, Unreadable
from receiver.replaying import CannotApply, UnknownEvidence, apply_again
from tests.ledger.applying import attentions, check_of, loaded, rows
from tests.ledger.test_figures import assert_exact_totals
from tests.replay.playing import SOURCE, Stage
from tests.replay.told import WORDS, Told, body_of


@pytest.fixture
def stage(database: Database, database_url: str, tmp_path: Path) -> Stage:
    return Stage.made(database, database_url, tmp_path)


def told(word: str, name: str = "wf") -> Reading:
    seen = Observation(Level.WORKFLOW, status=WORDS.get(word), word=word)
    return Reading(name, (seen, Observation(Level.STEP, "$0", status=WORDS.get(word), word=word)), snapshot=False)


class Blind(Told):
    """The same upstream, read by code that cannot read it yet."""

    def read(self, inbound: Inbound, account: object) -> Reading:
        raise Unreadable("not understood yet")


async def settled(stage: Stage, word: str = "canceled", name: str = "wf") -> None:
    await stage.put(stage.delivery(told("processing", name), 1), now=1)
    await stage.put(stage.delivery(told(word, name), 2), now=2)
    await stage.look(name, 40, told(word, name))


async def corrected(stage: Stage, other: Told) -> int:
    replay = stage.replay({"told": other})
    async for found in replay.differences():
        assert await replay.correct(found, "me")
    return replay.report.corrected


async def test_applying_corrects_even_a_confirmed_ending_and_says_so_in_the_timeline(stage: Stage) -> None:
    await settled(stage)
    await settled(stage, "succeeded", "other")
    before = await loaded(stage.database)
    assert before.node.confirmed_at is not None
    other = Told({**WORDS, "canceled": Status.FAILED})
    assert await corrected(stage, other) == 1
    state = await loaded(stage.database)
    assert (state.node.status, state.steps["$0"].status) == (Status.FAILED, Status.FAILED)
    assert state.node.confirmed_at is not None
    moves = [row for row in await rows(stage.database, transitions) if row.kind == "corrected"]
    assert {(one.level, one.from_status, one.to_status) for one in moves} == {
        ("workflow", "canceled", "failed"), ("step", "canceled", "failed"),
    }  # fmt: skip
    decided = next(row for row in await rows(stage.database, evidence) if row.id == moves[0].evidence)
    assert "workflow.status" in decided.decision["replayed"]["differences"]
    assert (decided.kind, decided.seq) == ("decision", state.evidence_seq)
    assert await stage.differences(other) == []
    assert state.version != before.version
    assert (await loaded(stage.database, "other")).node.status is Status.SUCCEEDED
    await assert_exact_totals(stage.database)


async def test_what_a_correction_opens_again_is_asked_about(stage: Stage) -> None:
    await settled(stage)
    assert (await check_of(stage.database)).due_at is None
    await corrected(stage, Told({**WORDS, "canceled": Status.PROCESSING}))
    assert (await loaded(stage.database)).node.status is Status.PROCESSING
    assert (await check_of(stage.database)).due_at is not None


async def test_without_applying_nothing_at_all_is_changed(stage: Stage) -> None:
    await settled(stage)
    tables = (workflows, steps, transitions, evidence, attention)
    before = [await rows(stage.database, table) for table in tables]
    assert len(await stage.differences(Told({**WORDS, "canceled": Status.FAILED}))) == 1
    assert [await rows(stage.database, table) for table in tables] == before


async def test_the_guard_stands_again_after_a_correction(stage: Stage) -> None:
    await settled(stage)
    await corrected(stage, Told({**WORDS, "canceled": Status.FAILED}))
    with pytest.raises(Exception, match="R2"):
        async with stage.database.write() as connection:
            await connection.execute(update(workflows).values(status="canceled"))


@pytest.mark.parametrize("tear", ["body", "row"])
async def test_what_was_pruned_is_not_replayable_and_no_difference(stage: Stage, tear: str) -> None:
    await settled(stage)
    async with stage.database.write() as connection:
        first = evidence.c.seq == 1
        if tear == "body":
            await connection.execute(update(evidence).where(first).values(body=None))
        else:
            await connection.execute(delete(evidence).where(first))
    replay = stage.replay({"told": Told({**WORDS, "canceled": Status.FAILED})})
    assert [one async for one in replay.differences()] == []
    assert sum(replay.report.not_replayable.values()) == 1


async def test_a_status_changed_by_hand_is_named(stage: Stage) -> None:
    await stage.put(stage.delivery(told("processing"), 1), now=1)
    async with stage.database.write() as connection:
        await connection.execute(update(workflows).values(status="scheduled"))
    (found,) = await stage.differences()
    assert found.differences == [{"what": "workflow.status", "stored": "scheduled", "derived": "processing"}]


async def test_deliveries_nobody_could_read_show_up_and_are_applied_once_code_can(
    stage: Stage, database_url: str, tmp_path: Path
) -> None:
    blind = Stage.made(stage.database, database_url, tmp_path, Blind())
    await blind.put(blind.received(body_of(told("succeeded")), 50), now=50)
    assert await blind.differences() == []
    await settled(stage, "succeeded", "known")
    await blind.put(blind.received(body_of(told("failed", "known")), 51), now=51)
    found = {one.id: one for one in await stage.differences()}
    assert found["wf"].pk is None
    assert found["wf"].differences == [{"what": "workflow", "stored": None, "derived": {"status": "succeeded"}}]
    assert any(one["what"] == "timeline" for one in found["known"].differences)  # it disputes a confirmed ending
    assert await corrected(stage, stage.told) == 2
    assert (await loaded(stage.database)).node.status is Status.SUCCEEDED
    assert await stage.differences() == []
    assert not [one for one in await attentions(stage.database) if one[2] == "unreadable"]


async def test_one_delivery_can_be_applied_again_as_old_as_it_is(
    stage: Stage, database_url: str, tmp_path: Path
) -> None:
    blind = Stage.made(stage.database, database_url, tmp_path, Blind())
    (kept,) = await blind.put(blind.received(body_of(told("processing")), 5, ref="order-9"), now=5)
    with pytest.raises(CannotApply, match="not understood yet"):
        await apply_again(stage.config, stage.database, kept.evidence, {"told": Blind()})
    result = await apply_again(stage.config, stage.database, kept.evidence, {"told": stage.told})
    state = await loaded(stage.database)
    assert (state.node.status, state.about["ref"]) == (Status.PROCESSING, "order-9")
    assert state.node.status_seen_at.second == 5
    decided = next(row for row in await rows(stage.database, evidence) if row.id == result.evidence)
    assert (decided.kind, decided.decision, decided.body) == ("decision", {"again": kept.evidence}, b"")
    assert await attentions(stage.database) == []
    assert await stage.differences() == []


@pytest.fixture
def again(stage: Stage) -> Callable[..., object]:
    return lambda name: apply_again(stage.config, stage.database, name, {"told": stage.told})


async def test_what_cannot_be_applied_again_says_why(stage: Stage, again: Callable[..., object]) -> None:
    await settled(stage)
    with pytest.raises(UnknownEvidence):
        await again("nobody")
    fetched = next(row.id for row in await rows(stage.database, evidence) if row.kind == "fetch")
    with pytest.raises(CannotApply, match="only deliveries"):
        await again(fetched)
    async with stage.database.write() as connection:
        await connection.execute(update(evidence).values(body=None))
    first = next(row.id for row in await rows(stage.database, evidence) if row.kind == "delivery")
    with pytest.raises(CannotApply, match="pruned"):
        await again(first)


async def test_a_hint_applied_again_still_moves_nothing(stage: Stage, database_url: str, tmp_path: Path) -> None:
    hinted = Stage.made(stage.database, database_url, tmp_path, Blind(), "hint")
    (kept,) = await hinted.put(hinted.received(body_of(told("succeeded")), 5), now=5)
    await apply_again(hinted.config, hinted.database, kept.evidence, {"told": stage.told})
    assert await loaded(stage.database) is None
    assert (await check_of(stage.database)).lane == "hints"
    assert SOURCE == "civ"


async def test_an_answer_that_was_not_believed_when_it_came_is_not_believed_later(stage: Stage) -> None:
    await stage.put(stage.delivery(told("processing"), 1), now=1)
    await stage.put(stage.delivery(told("succeeded"), 2), now=2)
    await stage.look("wf", 10, None, status=404, held=True)
    assert (await loaded(stage.database)).vanished_at is None
    assert await stage.differences() == []

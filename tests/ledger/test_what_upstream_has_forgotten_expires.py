"""`on_gone = "expire"`: three spaced 404s end a workflow, if upstream has shown another one meanwhile (R11)."""

from __future__ import annotations

from dataclasses import replace

from receiver.ledger.database import Database
from receiver.ledger.entries import Answer
from receiver.ledger.records import EvidenceKind, Level, TransitionKind
from receiver.ledger.tables import evidence, transitions
from tests.ledger.applying import (
    POLICY,
    answer,
    attentions,
    check_of,
    claim_named,
    delivery,
    loaded,
    put,
    rows,
    saw,
)

EXPIRE = replace(POLICY, expire_gone=True)
CHILD = saw("processing", Level.STEP, "$0")


async def begun(database: Database) -> None:
    await put(database, delivery(1, saw("processing"), CHILD, policy=EXPIRE))


async def shown(database: Database, second: float, wf: str = "other") -> None:
    """Let upstream show another workflow."""
    await put(database, delivery(1, saw("processing"), wf=wf, policy=EXPIRE))
    one = await claim_named(database, wf, second)
    await put(database, answer(second, one, saw("processing"), policy=EXPIRE))


async def missed(database: Database, *seconds: float) -> None:
    for second in seconds:
        one = await claim_named(database, "wf", second)
        await put(database, answer(second, one, how=Answer.GONE, policy=EXPIRE, message="404"))


async def forgotten(database: Database) -> None:
    """Three 404s, and another workflow shown between the first and the last."""
    await begun(database)
    await missed(database, 150)
    await shown(database, 160)
    await missed(database, 250, 350)


async def told(database: Database) -> list[tuple[str, str, str]]:
    state = await loaded(database)
    found = sorted((one for one in await rows(database, transitions) if one.workflow == state.pk), key=lambda r: r.seq)
    return [(one.level, one.kind, one.to_status) for one in found]


async def test_it_ends_as_expired_provisionally_with_its_children_and_nobody_is_told(database: Database) -> None:
    await forgotten(database)
    state = await loaded(database)
    assert (state.node.status, state.node.finished_via, state.node.confirmed_at) == ("expired", "inferred", None)
    assert (state.steps["$0"].status, state.steps["$0"].finished_via) == ("expired", "inferred")
    assert (await told(database))[-2:] == [("workflow", "inferred", "expired"), ("step", "inferred", "expired")]
    assert await attentions(database) == []
    assert (await check_of(database)).due_at is None
    (decided,) = [row for row in await rows(database, evidence) if row.kind == EvidenceKind.DECISION]
    assert (decided.workflow, decided.seq, set(decided.decision)) == (state.pk, state.evidence_seq, {"gone"})


async def test_two_404s_end_nothing(database: Database) -> None:
    await begun(database)
    await missed(database, 150)
    await shown(database, 160)
    await missed(database, 250)
    assert (await loaded(database)).node.status == "processing"


async def test_where_upstream_has_shown_nothing_else_since_a_person_is_told_until_it_has(database: Database) -> None:
    await shown(database, 140)  # before the first 404: the key may have expired in between
    await begun(database)
    await missed(database, 150, 250, 350)
    assert (await loaded(database)).node.status == "processing"
    assert ("workflow", "wf", "gone") in await attentions(database)
    await shown(database, 4000, "another")
    one = await claim_named(database, "wf", 5000)
    await put(database, answer(5000, one, how=Answer.GONE, policy=EXPIRE, message="404"))
    assert (await loaded(database)).node.status == "expired"
    assert [one for one in await attentions(database) if one[1] == "wf"] == []


async def test_an_answer_that_was_not_believed_shows_nothing(database: Database) -> None:
    await begun(database)
    await missed(database, 150)
    await put(database, delivery(1, saw("processing"), wf="other", policy=EXPIRE))
    one = await claim_named(database, "other", 160)
    await put(database, answer(160, one, how=Answer.HELD, policy=EXPIRE, message="404"))
    await missed(database, 250, 350)
    assert (await loaded(database)).node.status == "processing"


async def test_a_callback_that_comes_afterwards_brings_it_back(database: Database) -> None:
    await forgotten(database)
    await put(database, delivery(360, saw("processing"), body=b"later", policy=EXPIRE))
    state = await loaded(database)
    assert (state.node.status, state.node.finished_at, state.vanished_at) == ("processing", None, None)
    assert state.steps["$0"].status == "processing"
    assert TransitionKind.RETRACTED in {kind for _, kind, _ in await told(database)}
    assert (await check_of(database)).due_at is not None


async def test_a_callback_of_less_than_was_known_brings_it_back_to_what_was_known(database: Database) -> None:
    await forgotten(database)
    await put(database, delivery(360, saw("scheduled"), body=b"later", policy=EXPIRE))
    assert (await loaded(database)).node.status == "processing"


async def test_a_callback_received_before_the_last_404_does_not(database: Database) -> None:
    await forgotten(database)
    await put(database, delivery(300, saw("processing", progress=0.5), body=b"slow", policy=EXPIRE), now=400)
    assert (await loaded(database)).node.status == "expired"


async def test_an_ending_that_a_callback_names_takes_its_place_and_is_confirmed_by_a_look(database: Database) -> None:
    await forgotten(database)
    await put(database, delivery(360, saw("succeeded"), body=b"later", policy=EXPIRE))
    state = await loaded(database)
    assert (state.node.status, state.node.finished_via, state.node.confirmed_at) == ("succeeded", "delivery", None)
    assert "confirm" in (await check_of(database)).reasons
    one = await claim_named(database, "wf", 400)
    await put(database, answer(400, one, saw("succeeded"), policy=EXPIRE))
    assert (await loaded(database)).node.confirmed_at is not None


async def test_a_look_that_finds_it_alive_brings_it_back_at_once(database: Database) -> None:
    await forgotten(database)
    one = await claim_named(database, "wf", 700)
    await put(database, answer(700, one, saw("processing"), policy=EXPIRE))
    state = await loaded(database)
    assert (state.node.status, state.vanished_at) == ("processing", None)


async def test_it_may_be_forgotten_again(database: Database) -> None:
    await forgotten(database)
    await put(database, delivery(360, saw("processing"), body=b"later", policy=EXPIRE))
    await missed(database, 800, 900, 1000)
    assert (await loaded(database)).node.status == "processing"  # nothing else shown since
    await shown(database, 1010)
    one = await claim_named(database, "wf", 2000)
    await put(database, answer(2000, one, how=Answer.GONE, policy=EXPIRE, message="404"))
    assert (await loaded(database)).node.status == "expired"

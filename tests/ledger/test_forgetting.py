"""Forgetting leaves nothing of a workflow in any table, and everything of the others."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from receiver.ledger import audit
from receiver.ledger.chores import take
from receiver.ledger.collected import collected
from receiver.ledger.database import Database
from receiver.ledger.entries import Answer
from receiver.ledger.forgetting import evidence_of, forget, keys_of
from receiver.ledger.operations import saved_links
from receiver.ledger.records import BlobSeen, Level
from receiver.ledger.schema import metadata
from receiver.ledger.tables import workflows
from tests.ledger.applying import answer, claim_named, delivery, loaded, put, saw
from tests.ledger.histories import at
from tests.ledger.test_figures import assert_exact_totals

SECRET = "a cat that only we know of"
NAME = "wf-né/x".replace("/", "-")


async def everything(database: Database) -> dict[str, list[str]]:
    """Every table's rows as text, bodies included."""
    found: dict[str, list[str]] = {}
    async with database.read() as connection:
        for table in metadata.sorted_tables:
            rows = (await connection.execute(select(table))).all()
            found[table.name] = [" ".join(_text(value) for value in row) for row in rows]
    return found


def _text(value: Any) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, (bytes, memoryview)) else json.dumps(
        value, default=str, ensure_ascii=False
    )  # fmt: skip


async def lived(database: Database, name: str, prompt: str) -> None:
    """A life with everything in it: steps, jobs, files, a dispute, a look, a duplicate, attention."""
    body = json.dumps({"id": name, "prompt": prompt}, ensure_ascii=False).encode()
    blob = BlobSeen(f"{name}~0", "image", "$0", available=True, url=f"https://x.test/{name}")
    first = delivery(
        1, saw("processing", facts={"request": {"prompt": prompt}}), saw("processing", Level.STEP, "$0"),
        saw("processing", Level.JOB, f"{name}-job", "$0"), wf=name, body=body, blobs=(blob,),
    )  # fmt: skip
    first.ref, first.told = f"ref of {name}", {"context": {"team": prompt}}
    await put(database, first)
    await put(database, first)
    await put(database, delivery(2, saw("succeeded"), wf=name, body=body + b" "))
    for second, status in ((40, "succeeded"), (45, "failed")):
        claim = await claim_named(database, name, second)
        await put(database, answer(second, claim, saw(status), body=body, blobs=(blob,)))
    await put(database, delivery(50, saw("succeeded"), wf=name, body=body + b"  "))


async def forgotten(database: Database, name: str) -> dict[str, int] | None:
    async with database.read() as connection:
        known = await keys_of(connection, "civ", sorted(await evidence_of(connection, "civ", name)))
    async with database.write() as connection:
        return await forget(connection, "civ", name, known)


async def test_nothing_is_left_in_any_table_and_nothing_of_the_others_is_gone(database: Database) -> None:
    await lived(database, "other", "a dog")
    before = await everything(database)
    await lived(database, NAME, SECRET)
    await put(database, delivery(60, wf=None, body=f"not understood, but of {NAME}: {SECRET}".encode()))
    await put(database, delivery(61, wf=None, body=json.dumps({"of": NAME, "is": SECRET}).encode()))
    async with database.write() as connection:
        chore = await take(connection, "backfill", "civ", "me", at(70))
        assert chore is not None
        await chore.keep(connection, {"next": "https://x.test/?page=2#first=wf-n%C3%A9-x"}, at(70))
        pk = (await connection.execute(select(workflows.c.pk).where(workflows.c.id == NAME))).scalar_one()
        for n, place in enumerate((None, "civ/safe/0.png", "civ/safe/1.png")):
            await connection.execute(
                collected.insert().values(
                    id=f"copy-{n}", source="civ", workflow=pk, run=1, blob=f"{NAME}~{n}", state="due", queued_at=at(71),
                    tries=0, fence=0, place=place,
                )
            )  # fmt: skip
        name = "/workflows?q=wf-n%C3%A9"
        for who, subject, details in (("a", NAME, None), ("b", "x", {"workflow": NAME}), ("c", "other", None)):
            await audit.note(connection, who, "refetch", at(71), source="civ", subject=subject, details=details)
        await connection.execute(
            saved_links.insert().values(name="mine", query=f"{name}-x", created_by="me", created_at=at(71))
        )
    planted = [
        table for table, rows in (await everything(database)).items()
        if any(NAME in row or SECRET in row or "wf-n%C3%A9-x" in row for row in rows)
    ]  # fmt: skip
    there = {"workflows", "jobs", "blobs", "evidence", "checks", "attention", "chores", "audit_log", "saved_links"}
    there.add("collected")
    assert there <= set(planted)
    removed = await forgotten(database, NAME)
    assert removed is not None
    assert (removed["workflows"], removed["evidence"], removed["keys"], removed["jobs"]) == (1, 7, 5, 1)
    after = await everything(database)
    for table, rows in after.items():
        assert not [row for row in rows if NAME in row or SECRET in row or "wf-n%C3%A9-x" in row], table
    for table in ("workflows", "steps", "jobs", "blobs", "evidence", "checks", "transitions", "delivery_keys"):
        assert after[table] == before[table], table
    assert removed["copies"] == 3
    assert [row for row in after["collected"] if "civ/safe" not in row] == []
    assert len(after["collected"]) == 2  # their bytes are still to be removed
    assert sorted(row.split()[3] for row in after["audit_log"]) == ['"a"', '"b"', '"c"']  # who did something stays
    await assert_exact_totals(database)


async def test_a_later_delivery_starts_anew(database: Database) -> None:
    await lived(database, NAME, SECRET)
    await forgotten(database, NAME)
    body = json.dumps({"id": NAME, "prompt": SECRET}, ensure_ascii=False).encode()
    (result,) = await put(database, delivery(100, saw("processing"), wf=NAME, body=body))
    assert (result.created, result.outcome) == (True, "applied")
    state = await loaded(database, NAME)
    assert (state.node.first_seen_at, state.evidence_seq) == (at(100), 1)


async def test_an_answer_that_comes_after_brings_nothing_back(database: Database) -> None:
    await put(database, delivery(1, saw("processing"), wf=NAME))
    claim = await claim_named(database, NAME, 181)
    await forgotten(database, NAME)
    (result,) = await put(database, answer(182, claim, saw("succeeded"), body=SECRET.encode()))
    assert result.stale
    for how in (Answer.GONE, Answer.BUSY):
        await put(database, answer(183, claim, how=how, body=SECRET.encode()))
    assert not [row for rows in (await everything(database)).values() for row in rows if NAME in row or SECRET in row]


async def test_what_came_between_finding_and_removing_goes_too(database: Database) -> None:
    await lived(database, NAME, SECRET)
    async with database.read() as connection:
        known = await keys_of(connection, "civ", sorted(await evidence_of(connection, "civ", NAME)))
    await put(database, delivery(90, saw("failed"), wf=NAME, body=b"just now"))
    async with database.write() as connection:
        assert await forget(connection, "civ", NAME, known) is not None
    assert not (await everything(database))["delivery_keys"]


async def test_what_nobody_knows_cannot_be_forgotten(database: Database) -> None:
    assert await forgotten(database, "nobody") is None

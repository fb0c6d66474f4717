"""What a hostile or broken upstream may send: never a 5xx, never a 4xx for what is believed, always kept raw."""

from __future__ import annotations

import json
from typing import Any

import pytest

from receiver.ledger.database import Database
from receiver.ledger.tables import evidence, workflows
from tests.web.client import ask, event
from tests.web.conftest import Running
from tests.web.rows import rows

DEEP = b"[" * 10_000 + b"]" * 10_000
DIGITS = b"7" * 5000

NOT_UNDERSTOOD = {
    "empty": b"",
    "not JSON": b"<!DOCTYPE html><title>502</title>",
    "cut off": b'{"$type":"workflow","workflowId":"wf',
    "not UTF-8": b'{"$type":"workflow","workflowId":"\xff\xfe","status":"failed"}',
    "a byte order mark in UTF-16": '{"workflowId":"wf-1","status":"failed"}'.encode("utf-16"),
    "lone surrogate": rb'{"$type":"workflow","workflowId":"wf-1","status":"\ud800"}',
    "NaN": b'{"$type":"workflow","workflowId":"wf-1","status":"failed","cost":NaN}',
    "10 000 deep": b'{"workflowId":"wf-1","status":"failed","x":' + DEEP + b"}",
    "only brackets": DEEP,
    "a list": b"[]",
    "a number": DIGITS,
    "no id": b'{"$type":"workflow","status":"failed"}',
    "an id that climbs": event("../x", "failed"),
    "dots": event("..", "failed"),
    "an empty id": event("", "failed"),
    "an id of control characters": event("wf\n1", "failed"),
    "an id with NUL": event("wf\x00", "failed"),
    "an id of 257 characters": event("x" * 257, "failed"),
    "an id that is a number": b'{"$type":"workflow","workflowId":7,"status":"failed"}',
    "an id that is an object": b'{"$type":"workflow","workflowId":{},"status":"failed"}',
}


@pytest.mark.parametrize("body", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD.keys())
async def test_what_cannot_be_understood_is_kept_raw_and_answered_200(
    receiver: Running, database: Database, body: bytes
) -> None:
    answer = await ask("POST", receiver.hook(), body, content_type="application/json")
    assert (answer.status, answer.json["outcome"]) == (200, "quarantined")
    (kept,) = await rows(database, evidence, id=answer.json["delivery"])
    assert bytes(kept.body) == body
    assert kept.problem
    assert await rows(database, workflows) == []


UNDERSTOOD = {
    "NUL in a text": (event("wf-1", "failed", reason="a\x00b"), "failed"),
    "a huge number": (b'{"$type":"workflow","workflowId":"wf-1","status":"failed","x":1e308}', "failed"),
    "5 000 digits": (
        b'{"$type":"workflow","workflowId":"wf-1","status":"failed","cost":1' + b"0" * 200 + b"}",
        "failed",
    ),
    "a key twice": (b'{"$type":"workflow","workflowId":"wf-1","status":"processing","status":"failed"}', "failed"),
    "the year 1": (event("wf-1", "failed", timestamp="0001-01-01T00:00:00Z"), "failed"),
    "the year 9999": (event("wf-1", "failed", timestamp="9999-12-31T23:59:59.9999999Z"), "failed"),
    "no instant at all": (event("wf-1", "failed", timestamp="yesterday"), "failed"),
    "an unknown status": (event("wf-1", "levitating"), "unassigned"),
    "an unknown type": (b'{"$type":"weather","workflowId":"wf-1","status":"failed"}', "unassigned"),
    "an id with every odd character": (event("wf '\"%;--<é", "failed"), "failed"),
}


@pytest.mark.parametrize(("body", "status"), UNDERSTOOD.values(), ids=UNDERSTOOD.keys())
async def test_what_is_odd_but_understood_is_applied(
    receiver: Running, database: Database, body: bytes, status: str
) -> None:
    answer = await ask("POST", receiver.hook(), body)
    assert answer.status == 200
    assert answer.json["outcome"] in ("applied", "recorded")
    (workflow,) = await rows(database, workflows)
    assert workflow.status == status


HUGE_NUMBERS = {"1e400": b"1e400", "5 000 digits": DIGITS, "minus 5 000 digits": b"-" + DIGITS, "64 bits": b"9" * 20}


@pytest.mark.parametrize("number", HUGE_NUMBERS.values(), ids=HUGE_NUMBERS.keys())
@pytest.mark.parametrize("field", ["progress", "estimatedProgressRate", "cost", "timestamp", "metadata"])
async def test_numbers_without_bounds_are_kept_and_answered_200(
    receiver: Running, database: Database, number: bytes, field: str
) -> None:
    body = b'{"$type":"workflow","workflowId":"wf-1","status":"failed","' + field.encode() + b'":' + number + b"}"
    answer = await ask("POST", receiver.hook(), body)
    assert answer.status == 200
    (kept,) = await rows(database, evidence)
    assert bytes(kept.body) == body


WRONG: list[Any] = [None, True, -1, 1.5, "", "x\x00", [], [[]], {}, {"a": {"b": []}}]
FIELDS = ("$type", "status", "timestamp", "details", "name", "jobId", "stepName", "progress", "reason", "blockedReason")


async def test_wrong_types_in_every_field_are_answered_200_and_kept(receiver: Running, database: Database) -> None:
    sent = 0
    for field in FIELDS:
        for value in WRONG:
            whole = {"$type": "workflow", "workflowId": f"wf-{sent}", "status": "failed", field: value}
            answer = await ask("POST", receiver.hook(), json.dumps(whole).encode())
            assert answer.status == 200, whole
            sent += 1
    assert len(await rows(database, evidence)) == sent


async def test_wrong_types_inside_details_are_answered_200_and_kept(receiver: Running, database: Database) -> None:
    sent = 0
    for field in ("steps", "metadata", "createdAt", "startedAt", "completedAt", "output", "input", "cost", "tags"):
        for value in WRONG:
            for kind in ("workflow", "step"):
                whole = {
                    "$type": kind, "workflowId": f"wf-{sent}", "name": "$0", "status": "succeeded",
                    "details": {field: value},
                }  # fmt: skip
                answer = await ask("POST", receiver.hook(), json.dumps(whole).encode())
                assert answer.status == 200, whole
                sent += 1
    assert len(await rows(database, evidence)) == sent


@pytest.mark.parametrize("query", ["token=%ff%fe", "token=%00", "&" * 500, "token" + "=" * 300, "%", "token[]=x"])
async def test_a_hostile_query_is_merely_a_wrong_token(receiver: Running, query: str) -> None:
    answer = await ask("POST", f"{receiver.url}/hooks/civ?{query}", event("wf-1", "failed"))
    assert answer.status == 401


async def test_hostile_headers_are_no_reason_to_fail(receiver: Running, database: Database) -> None:
    answer = await ask(
        "POST",
        receiver.hook(),
        event("wf-1", "failed"),
        content_type="\xff\xfe" * 100,
        user_agent="x" * 8000,
        webhook_id="a\tb",
        x_webhook_signature="é" * 2000,
        cookie="session=1",
        x_webhook_token="secret",
    )
    assert (answer.status, answer.json["outcome"]) == (200, "applied")
    (kept,) = await rows(database, evidence)
    assert set(kept.headers) == {"content-type", "webhook-id", "x-webhook-signature"}

"""Every row of the answer table (DESIGN §8.1) over a real socket, on both databases."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from receiver.ledger.database import Database
from receiver.ledger.operations import rejections
from receiver.ledger.records import JsonObject, Reading
from receiver.ledger.tables import attention, checks, evidence, workflows
from receiver.providers.base import Account, Inbound, KeysUnavailable
from receiver.providers.civitai import Civitai
from tests.web.client import ask, connect, event, head, read_answer
from tests.web.conftest import OLD_TOKEN, Receiving, Running
from tests.web.rows import rows


async def test_a_believed_delivery_is_applied_kept_byte_for_byte_and_answered_with_its_name(
    receiver: Running, database: Database
) -> None:
    body = event("wf-1", "succeeded", note="  spaces and ünicode ")
    answer = await ask("POST", receiver.hook(ref="order-7"), body, user_agent="upstream/1", authorization="Bearer x")
    assert (answer.status, answer.json["outcome"]) == (200, "applied")
    assert answer.headers["content-type"] == "application/json"
    (kept,) = await rows(database, evidence, id=answer.json["delivery"])
    assert kept.body == body
    assert kept.body_sha256 == hashlib.sha256(body).hexdigest()
    assert kept.trust == "token"
    assert kept.headers == {"user-agent": "upstream/1", "hookledger-ref": "order-7"}
    (workflow,) = await rows(database, workflows)
    assert (workflow.source, workflow.id, workflow.status, workflow.ref) == ("civ", "wf-1", "succeeded", "order-7")
    assert workflow.confirmed_at is None


async def test_the_same_bytes_again_are_a_duplicate_with_the_first_ones_name(
    receiver: Running, database: Database
) -> None:
    first = await ask("POST", receiver.hook(), event("wf-1", "processing"))
    second = await ask("POST", receiver.hook(), event("wf-1", "processing"))
    assert second.status == 200
    assert second.json == {"delivery": first.json["delivery"], "outcome": "duplicate"}
    assert len(await rows(database, evidence)) == 1


async def test_a_late_event_is_recorded_and_moves_nothing(receiver: Running, database: Database) -> None:
    await ask("POST", receiver.hook(), event("wf-1", "succeeded"))
    late = await ask("POST", receiver.hook(), event("wf-1", "processing"))
    assert (late.status, late.json["outcome"]) == (200, "recorded")
    (workflow,) = await rows(database, workflows)
    assert workflow.status == "succeeded"
    assert len(await rows(database, evidence)) == 2


async def test_an_ending_that_disputes_another_is_recorded_and_a_look_decides(
    receiver: Running, database: Database
) -> None:
    await ask("POST", receiver.hook(), event("wf-1", "succeeded"))
    other = await ask("POST", receiver.hook(), event("wf-1", "failed"))
    assert (other.status, other.json["outcome"]) == (200, "recorded")
    (workflow,) = await rows(database, workflows)
    assert workflow.status == "succeeded"
    (check,) = await rows(database, checks)
    assert check.due_at is not None


async def test_a_delivery_to_a_hint_source_only_makes_a_look_due(receiver: Running, database: Database) -> None:
    answer = await ask("POST", receiver.hook("hinted"), event("wf-1", "succeeded"))
    assert (answer.status, answer.json["outcome"]) == (200, "hint")
    assert await rows(database, workflows) == []
    (check,) = await rows(database, checks)
    assert (check.source, check.id, check.lane) == ("hinted", "wf-1", "hints")


async def test_hints_beyond_the_quota_are_answered_429_and_not_kept(receiver: Running, database: Database) -> None:
    answers = [await ask("POST", receiver.hook("hinted"), event(f"wf-{n}", "succeeded")) for n in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert int(answers[3].headers["retry-after"]) > 0
    assert len(await rows(database, evidence)) == 3


async def test_unreadable_hints_count_against_the_quota_too(receiver: Running, database: Database) -> None:
    answers = [await ask("POST", receiver.hook("hinted"), f"rubbish {n}".encode()) for n in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[0].json["outcome"] == "quarantined"
    assert len(await rows(database, evidence)) == 3


async def test_a_believed_body_that_is_not_understood_is_quarantined_raw_with_the_problem(
    receiver: Running, database: Database
) -> None:
    answer = await ask("POST", receiver.hook(), b"<!DOCTYPE html>")
    assert (answer.status, answer.json["outcome"]) == (200, "quarantined")
    (kept,) = await rows(database, evidence, id=answer.json["delivery"])
    assert kept.body == b"<!DOCTYPE html>"
    assert "not JSON" in kept.problem
    (told,) = await rows(database, attention)
    assert (told.scope, told.subject, told.kind) == ("delivery", answer.json["delivery"], "unreadable")


@pytest.mark.parametrize("token", [None, "", "wrong-token-of-the-tests", "hook-token-of-the-tests-1x"])
async def test_a_missing_or_wrong_token_is_answered_401_and_leaves_a_count_and_a_sample_only(
    receiver: Running, receiving: Receiving, database: Database, token: str | None
) -> None:
    async with receiving() as running:
        body = event("wf-1", "succeeded")
        answer = await ask("POST", running.hook(token=token), body, x_odd="secret value", content_type="text/x")
        assert answer.status == 401
        assert answer.headers["content-type"] == "application/problem+json"
    assert await rows(database, evidence) == []
    assert await rows(database, workflows) == []
    (counted,) = await rows(database, rejections)
    assert (counted.source, counted.reason, counted.count) == ("civ", "not believed", 1)
    (sample,) = counted.samples
    assert sample["sha256"] == hashlib.sha256(body).hexdigest()
    assert sample["length"] == len(body)
    assert "x-odd" in sample["headers"]
    assert sample["detail"] == answer.json["detail"]
    assert "secret value" not in str(counted.samples)


async def test_either_of_two_tokens_is_right_while_they_rotate(receiver: Running) -> None:
    answer = await ask("POST", receiver.hook(token=OLD_TOKEN), event("wf-1", "processing"))
    assert answer.status == 200


async def test_a_source_nobody_configured_is_answered_404_and_makes_no_row_of_its_own(
    receiving: Receiving, database: Database
) -> None:
    async with receiving() as running:
        for name in ("nobody", "somebody", "%2e%2e", "CIV"):
            answer = await ask("POST", f"{running.url}/hooks/{name}?token=x", event("wf-1", "succeeded"))
            assert answer.status == 404
    (counted,) = await rows(database, rejections)
    assert (counted.source, counted.count) == ("?", 4)


async def test_a_poll_only_source_is_answered_404_under_its_own_name(receiving: Receiving, database: Database) -> None:
    async with receiving() as running:
        answer = await ask("POST", running.hook("silent"), event("wf-1", "succeeded"))
        assert answer.status == 404
    assert [row.source for row in await rows(database, rejections)] == ["silent"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_another_method_is_answered_405_with_the_one_that_is_allowed(receiver: Running, method: str) -> None:
    answer = await ask(method, receiver.hook())
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_upstreams_probe_is_answered_204_with_a_valid_token_and_405_without(
    receiver: Running, method: str
) -> None:
    assert (await ask(method, receiver.hook())).status == 204
    assert (await ask(method, receiver.hook("hinted"))).status == 204
    assert (await ask(method, receiver.hook(token="wrong-token-of-the-tests"))).status == 405
    assert (await ask(method, receiver.hook(token=None))).status == 405
    assert (await ask(method, receiver.hook("silent"))).status == 404


@pytest.mark.parametrize("path", ["/hooks/civ/", "/hooks", "/hooks/", "/hooks/civ/more", "//hooks/civ"])
async def test_an_address_beside_the_right_one_is_404_and_never_a_redirect(receiver: Running, path: str) -> None:
    assert (await ask("POST", f"{receiver.url}{path}?token=x", b"{}")).status == 404


async def test_an_announced_size_above_the_cap_is_answered_413_before_anything_is_sent(
    receiving: Receiving, database: Database
) -> None:
    async with receiving() as running:
        reader, writer = await connect(running.url)
        writer.write(head("POST", running.hook(), {"content-length": str(20 * 2**20), "expect": "100-continue"}))
        answer = await asyncio.wait_for(read_answer(reader), 5)
        writer.close()
    assert answer.status == 413
    (counted,) = await rows(database, rejections)
    assert (counted.reason, counted.samples[0]["length"]) == ("too large", 20 * 2**20)


async def test_20_mb_are_answered_413_and_the_client_gets_to_read_it(receiver: Running, database: Database) -> None:
    answer = await ask("POST", receiver.hook(), b" " * (20 * 2**20))
    assert answer.status == 413
    assert await rows(database, evidence) == []


async def test_a_body_that_grows_beyond_the_cap_in_chunks_is_answered_413(receiver: Running) -> None:
    reader, writer = await connect(receiver.url)
    writer.write(head("POST", receiver.hook(), {"transfer-encoding": "chunked"}))
    for _ in range(20):
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    answer = await read_answer(reader)
    writer.close()
    assert answer.status == 413


async def test_a_body_that_trickles_is_answered_408(receiving: Receiving, database: Database) -> None:
    async with receiving(body_timeout=0.4) as running:
        reader, writer = await connect(running.url)
        writer.write(head("POST", running.hook(), {"content-length": "1000"}))
        answering = asyncio.create_task(read_answer(reader))
        while not answering.done():
            writer.write(b" ")
            await asyncio.sleep(0.05)
        assert answering.result().status == 408
        writer.close()
    (counted,) = await rows(database, rejections)
    assert counted.reason == "too slow"
    assert 0 < counted.samples[0]["length"] < 1000


async def test_a_client_that_leaves_in_the_middle_is_counted_and_troubles_nobody(
    receiving: Receiving, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    async with receiving() as running:
        _, writer = await connect(running.url)
        writer.write(head("POST", running.hook(), {"content-length": "1000"}) + b"{")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
        assert (await ask("POST", running.hook(), event("wf-1", "processing"))).status == 200
    assert [(row.source, row.reason) for row in await rows(database, rejections)] == [("civ", "client left")]
    assert len(await rows(database, evidence)) == 1
    assert "Traceback" not in capfd.readouterr().err


async def test_a_client_that_does_not_wait_for_the_answer_has_delivered_all_the_same(
    receiver: Running, database: Database
) -> None:
    body = event("wf-1", "succeeded")
    _, writer = await connect(receiver.url)
    writer.write(head("POST", receiver.hook(), {"content-length": str(len(body))}) + body)
    await writer.drain()
    writer.transport.abort()
    async with asyncio.timeout(5):
        while not await rows(database, evidence):  # noqa: ASYNC110 - what we wait for is in the database
            await asyncio.sleep(0.01)
    (workflow,) = await rows(database, workflows)
    assert workflow.status == "succeeded"


class _NoKeys(Civitai):
    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        raise KeysUnavailable("the keys are on their way")


class _BrokenProof(Civitai):
    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        raise ZeroDivisionError


class _BrokenReader(Civitai):
    def read(self, inbound: Inbound, account: Account) -> Reading:
        raise ZeroDivisionError


async def test_keys_of_the_signer_that_cannot_be_had_are_503_with_retry_after(
    receiving: Receiving, database: Database
) -> None:
    async with receiving(providers={"civitai": _NoKeys()}) as running:
        answer = await ask("POST", running.hook(), event("wf-1", "succeeded"))
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert await rows(database, evidence) == []


async def test_a_bug_while_checking_the_proof_is_neither_belief_nor_refusal(
    receiving: Receiving, database: Database
) -> None:
    async with receiving(providers={"civitai": _BrokenProof()}) as running:
        answer = await ask("POST", running.hook(), event("wf-1", "succeeded"))
    assert answer.status == 503
    assert await rows(database, evidence) == []


async def test_a_bug_while_reading_a_believed_delivery_quarantines_it(receiving: Receiving, database: Database) -> None:
    async with receiving(providers={"civitai": _BrokenReader()}) as running:
        answer = await ask("POST", running.hook(), event("wf-1", "succeeded"))
    assert (answer.status, answer.json["outcome"]) == (200, "quarantined")
    (kept,) = await rows(database, evidence)
    assert kept.body == event("wf-1", "succeeded")
    assert "ZeroDivisionError" in kept.problem


async def test_a_large_body_is_read_like_a_small_one(receiving: Receiving, database: Database) -> None:
    # Above PARSED_ASIDE, so that it is read in a thread; the cap is 1 MiB in these tests.
    body = event("wf-1", "succeeded", details={"metadata": {"x": "y" * (2**20 - 200)}})
    async with receiving() as running:
        answer = await ask("POST", running.hook(), body)
    assert (answer.status, answer.json["outcome"]) == (200, "applied")
    (kept,) = await rows(database, evidence)
    assert kept.body == body


@pytest.mark.parametrize("ref", ["..", "a%2Fb", "x" * 257, "%00", "%ff"])
async def test_a_ref_that_is_no_id_is_ignored(receiver: Running, database: Database, ref: str) -> None:
    answer = await ask("POST", receiver.hook(ref=ref), event("wf-1", "succeeded"))
    assert answer.json["outcome"] == "applied"
    (workflow,) = await rows(database, workflows)
    assert workflow.ref is None


async def test_a_connection_is_kept_for_the_next_delivery(receiver: Running) -> None:
    reader, writer = await connect(receiver.url)
    for status in ("preparing", "processing", "succeeded"):
        body = event("wf-1", status)
        writer.write(head("POST", receiver.hook(), {"content-length": str(len(body))}) + body)
        assert (await read_answer(reader)).json["outcome"] == "applied"
    writer.close()


async def test_bytes_that_are_not_http_are_answered_400(receiver: Running) -> None:
    reader, writer = await connect(receiver.url)
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    assert (await read_answer(reader)).status == 400
    writer.close()

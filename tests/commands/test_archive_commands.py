"""`hookledger import` and `hookledger verify`."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, text

from receiver.ledger import guards
from receiver.ledger.database import Database
from receiver.ledger.operations import passes
from receiver.ledger.tables import delivery_keys, evidence
from tests.commands.conftest import HOOK_TOKEN, Command

SECRET = "whsec_" + base64.b64encode(b"the secret of the archive").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret altogether").decode()


@pytest.fixture
def signing(configuration: Path) -> None:
    """One more source, `svix`, whose deliveries are signed."""
    configuration.write_text(
        configuration.read_text()
        + f"""
        [sources.signed]
        provider = "replicate"
        signing_secrets = ["{OTHER}", "{SECRET}"]
        """
    )


def line(body: str, at: str = "2026-01-21T22:21:26Z", **more: Any) -> dict[str, Any]:
    return {"received_at": at, "headers": {"Content-Type": "application/json"}, "body": body, **more}


def event(name: str, status: str = "processing", at: str = "2026-01-21T22:21:25Z") -> str:
    return json.dumps({"$type": "workflow", "workflowId": name, "status": status, "timestamp": at})


def signed(name: str, at: datetime, secret: str = SECRET) -> dict[str, Any]:
    """A delivery as Replicate signs it (Standard Webhooks)."""
    body = json.dumps({"id": name, "status": "succeeded", "version": "v", "created_at": at.isoformat(), "input": {}})
    stamp = str(int(at.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"msg_{name}.{stamp}.{body}".encode(), hashlib.sha256).digest()
    proof = {"webhook-id": f"msg_{name}", "webhook-timestamp": stamp}
    proof["webhook-signature"] = "v1," + base64.b64encode(mac).decode()
    return {"received_at": at.isoformat(), "headers": proof, "body": body}


def archive(*lines: Any) -> str:
    return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines) + "\n"


def on(url: str, work: Any) -> Any:
    async def opened() -> Any:
        database = await Database.open(url)
        try:
            async with database.write() as connection:
                return await work(connection)
        finally:
            await database.close()

    return asyncio.run(opened())


def test_an_archive_is_taken_in_with_its_own_times_and_once(hookledger: Command, database_url: str) -> None:
    url = f"https://hooks.example.com/hooks/civ?token={HOOK_TOKEN}&ref=order-1"
    lines = archive(
        line(event("wf-1"), url=url),
        line(event("wf-1", "succeeded", "2026-01-21T22:25:00Z"), "2026-01-21T22:25:01Z", query=f"?token={HOOK_TOKEN}"),
    )
    told = hookledger("import", "civ", "-", "--json", stdin=lines).json
    assert told == {"source": "civ", "counts": {"applied": 2, "lines": 2}, "failed": []}
    shown = hookledger("show", "civ", "wf-1", "--json").json
    assert (shown["status"], shown["ref"], shown["confirmed_at"]) == ("succeeded", "order-1", None)
    assert [one["sent_at"] for one in shown["evidence"]] == ["2026-01-21T22:21:26Z", "2026-01-21T22:25:01Z"]
    assert hookledger("import", "civ", "-", stdin=lines).out == "2 duplicate, 2 lines\n"

    async def kinds(connection: Any) -> list[Any]:
        return [(row.kind, row.outcome) for row in await connection.execute(passes.select())]

    assert on(database_url, kinds) == [("import", "done")] * 2
    assert hookledger("replay").code == 0


def test_bad_lines_are_reported_by_number_and_hold_up_no_other(hookledger: Command, tmp_path: Path) -> None:
    good = {"query": {"token": HOOK_TOKEN}}
    lines = archive(
        "not json", line(event("wf-1"), **good), "[]", line(event("wf-2")), line(event("wf-3"), "soon", **good), "",
        line(event("wf-4"), bodi="x", **good), {"received_at": "2026-01-21T22:21:26Z", "body_base64": "!", **good},
        line(event("wf-5"), "2126-01-21T22:21:26Z", **good), line("not understood", **good),
        line(event("wf-6"), headers={"a": 1}, **good), line(event("wf-7"), **good),
    )  # fmt: skip
    file = tmp_path / "archive.jsonl"
    file.write_text(lines)
    done = hookledger("import", "civ", str(file))
    assert done.code == 1
    assert done.out == "2 applied, 8 failed, 11 lines, 1 quarantined\n"
    said = [one.partition(":")[0] for one in done.err.splitlines()]
    assert said == [f"line {n}" for n in (1, 3, 4, 5, 7, 8, 9, 11)]
    assert "not believed" in done.err
    assert {one["id"] for one in hookledger("list", "--json").json["items"]} == {"wf-1", "wf-7"}


def test_whoever_imports_may_vouch_for_a_token_but_for_no_signature(hookledger: Command) -> None:
    assert hookledger("import", "civ", "-", "--vouch", stdin=archive(line(event("wf")))).code == 0
    for words, said in ((["hinted", "-", "--vouch"], "--vouch"), (["polled", "-"], "takes no deliveries")):
        done = hookledger("import", *words, stdin="")
        assert (done.code, said in done.err, done.err.count("\n")) == (2, True, 1)
    assert hookledger("import", "nobody", "-", stdin="").code == 2


@pytest.mark.usefixtures("signing")
def test_signatures_are_checked_as_of_the_time_of_receipt_and_again_later(hookledger: Command) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=60)
    forged = signed("forged", long_ago) | {"body": '{"id": "forged"}'}
    stale = signed("stale", long_ago) | {"received_at": (long_ago + timedelta(hours=1)).isoformat()}
    done = hookledger("import", "signed", "-", stdin=archive(signed("p1", long_ago), forged, stale))
    assert (done.code, done.out) == (1, "1 applied, 2 failed, 3 lines\n")
    told = hookledger("verify", "--json").json
    assert told == {"counts": {"bodies": 1, "keys": 1, "rows": 1, "signatures": 1}, "failed": []}


@pytest.fixture
def filled(hookledger: Command, signing: None) -> dict[str, str]:
    """Deliveries of two sources; returns evidence by workflow."""
    assert hookledger("import", "signed", "-", stdin=archive(signed("p1", datetime.now(UTC)))).code == 0
    lines = archive(*(line(event(f"wf-{n}"), query={"token": HOOK_TOKEN}) for n in range(3)))
    assert hookledger("import", "civ", "-", stdin=lines).code == 0
    assert hookledger("track", "civ", "wf-0").code == 0
    return {one["workflow"]: one["id"] for one in hookledger("deliveries", "--json").json["items"]}


def test_what_is_kept_as_it_came_holds(hookledger: Command, filled: dict[str, str]) -> None:
    assert hookledger("verify").out == "5 rows checked (4 bodies, 4 keys, 1 signatures): 0 failed\n"
    assert hookledger("verify", "--source", "civ", "--since", "1h", "--json").json["counts"]["rows"] == 4


def test_what_was_tampered_with_is_named(hookledger: Command, filled: dict[str, str], database_url: str) -> None:
    async def tamper(connection: Any) -> None:
        await connection.run_sync(guards.remove)  # as somebody would who may do anything to the database
        changed = text("UPDATE evidence SET body = :body WHERE id = :id")
        await connection.execute(changed, {"body": b"{}", "id": filled["wf-1"]})
        await connection.execute(delete(delivery_keys).where(delivery_keys.c.evidence == filled["wf-2"]))
        hashed = evidence.update().where(evidence.c.id == filled["p1"])
        await connection.execute(hashed.values(headers={"webhook-id": "msg_other"}))
        await connection.run_sync(guards.reinstall)

    on(database_url, tamper)
    done = hookledger("verify", "--json")
    assert done.code == 1
    found: dict[str, list[str]] = {}
    for one in json.loads(done.out)["failed"]:
        found.setdefault(one["workflow"], []).append(one["problem"])
    assert found.keys() == {"wf-1", "wf-2", "p1"}
    assert "its body is not what its hash says" in found["wf-1"]
    assert found["wf-2"] == ["no dedupe key is made of what it holds"]
    assert any("signature" in problem for problem in found["p1"])
    assert "failed" in hookledger("verify").out


def test_a_secret_that_is_not_configured_any_more_cannot_prove(
    hookledger: Command, filled: dict[str, str], configuration: Path
) -> None:
    configuration.write_text(configuration.read_text().replace(f', "{SECRET}"', ""))
    done = hookledger("verify", "--source", "signed", "--json")
    assert (done.code, json.loads(done.out)["failed"][0]["workflow"]) == (1, "p1")

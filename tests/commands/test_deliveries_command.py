"""`hookledger deliveries`: evidence across workflows, and one body."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest

from receiver.ledger.database import Database
from tests.commands.conftest import HOOK_TOKEN, Command
from tests.ledger.applying import delivery, put, saw


def stored(url: str, *entries) -> None:
    async def work() -> None:
        database = await Database.open(url)
        try:
            for entry in entries:
                await put(database, entry)
        finally:
            await database.close()

    asyncio.run(work())


@pytest.fixture
def filled(database_url: str, hookledger: Command) -> None:
    """Three deliveries of `civ`, one of them not understood, one of another source, and a decision."""
    stored(
        database_url,
        delivery(1, saw("processing"), body=json.dumps({"url": f"https://x/?token={HOOK_TOKEN}"}).encode()),
        delivery(2, saw("succeeded"), wf="other"),
        delivery(3, body=b"\x1b[31m\xff", wf=None),
        delivery(4, saw("processing"), source="polled"),
    )
    assert hookledger("track", "civ", "wf").code == 0


@pytest.mark.usefixtures("filled")
def test_evidence_is_listed_newest_first_and_page_by_page(hookledger: Command) -> None:
    everything = hookledger("deliveries", "--json").json
    assert [(one["source"], one["workflow"], one["outcome"]) for one in everything["items"]] == [
        ("polled", "wf", "applied"), ("civ", None, "quarantined"), ("civ", "other", "applied"),
        ("civ", "wf", "applied"),
    ]  # fmt: skip
    for words in ([], ["--source", "civ"]):
        found, cursor = [], []
        while True:
            page = hookledger("deliveries", "--json", "--limit", "1", *words, *cursor).json
            found += [one["id"] for one in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = ["--cursor", page["next_cursor"]]
        assert found == [one["id"] for one in everything["items"] if not words or one["source"] == "civ"]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--quarantined"], 1), (["--outcome", "applied"], 3), (["--kind", "decision"], 1), (["--kind", "any"], 5),
        (["--workflow", "wf"], 2), (["--workflow", "wf", "--source", "civ", "--kind", "any"], 2),
        (["--source", "civ", "--since", "2026-03-01T12:00:02Z", "--until", "2026-03-01T12:00:03Z"], 1),
        (["--kind", "any", "--since", "1h"], 1), (["--workflow", "nobody"], 0),
    ],
)  # fmt: skip
def test_evidence_is_filtered(hookledger: Command, words: list[str], count: int) -> None:
    assert len(hookledger("deliveries", "--json", *words).json["items"]) == count
    assert ("no evidence" in hookledger("deliveries", *words).out) == (count == 0)


@pytest.mark.usefixtures("filled")
def test_a_body_is_written_byte_for_byte_without_secrets(hookledger: Command) -> None:
    listed = hookledger("deliveries", "--source", "civ", "--json").json["items"]
    named = {one["workflow"]: one["id"] for one in listed}
    assert hookledger("deliveries", "--body", named["wf"]).out == '{"url": "https://x/?token=[secret]"}'
    told = hookledger("deliveries", "--body", named["wf"], "--json").json
    assert (told["body"], told["headers"]) == ('{"url": "https://x/?token=[secret]"}', {})
    told = hookledger("deliveries", "--body", named[None], "--json").json
    assert (told["body"], base64.b64decode(told["body_base64"])) == (None, b"\x1b[31m\xff")
    assert HOOK_TOKEN not in hookledger("deliveries").out


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--body", "nobody"], 1, "no evidence is named"), (["--limit", "0"], 2, "limit must be"),
        (["--cursor", "x"], 2, "cursor"), (["--since", "soon"], 2, "--since"), (["--source", ""], 2, "source"),
    ],
)  # fmt: skip
def test_what_cannot_be_listed_is_one_clear_line(hookledger: Command, words: list[str], code: int, said: str) -> None:
    done = hookledger("deliveries", *words)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert said in done.err


def test_a_decision_has_no_body_and_that_is_said(hookledger: Command, configuration: Path) -> None:
    hookledger("track", "civ", "wf")
    (decided,) = hookledger("deliveries", "--kind", "decision", "--json").json["items"]
    done = hookledger("deliveries", "--body", decided["id"])
    assert (done.code, done.err) == (1, "hookledger: a decision has no body\n")

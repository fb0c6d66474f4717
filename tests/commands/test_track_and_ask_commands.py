"""`hookledger url`, `track`, `show` and `list`, straight on the ledger."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from receiver.ledger import learning
from receiver.ledger.database import Database
from receiver.ledger.durations import Durations
from tests.commands.conftest import HOOK_TOKEN, Command

ANSWER = {
    "id": "wf-1",
    "status": "processing",
    "createdAt": "2026-01-21T22:21:26.3320000Z",
    "steps": [
        {
            "$type": "videoGen", "name": "$0", "status": "processing", "input": {"engine": "wan", "version": "v2.6"},
            "jobs": [{"id": "job-1", "status": "scheduled"}],
        }
    ],
}  # fmt: skip


def test_the_address_to_register_holds_the_newest_token_and_the_ref(hookledger: Command) -> None:
    where = "https://hooks.example.com/base/hooks"
    assert hookledger("url", "civ").out == f"{where}/civ?token={HOOK_TOKEN}\n"
    assert hookledger("url", "civ", "--ref", "a&b ü").out == f"{where}/civ?token={HOOK_TOKEN}&ref=a%26b+%C3%BC\n"
    assert hookledger("url", "hinted").out == f"{where}/hinted\n"


@pytest.mark.parametrize(
    ("words", "said"), [(["nobody"], "civ"), (["polled"], "polled"), (["civ", "--ref", ""], "--ref")]
)
def test_an_address_that_cannot_be_is_one_clear_line(hookledger: Command, words: list[str], said: str) -> None:
    done = hookledger("url", *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err


def test_without_a_public_url_the_line_says_what_to_set(hookledger: Command, configuration: Path) -> None:
    configuration.write_text(configuration.read_text().replace("public_url", "# public_url"))
    done = hookledger("url", "civ")
    assert (done.code, done.out) == (2, "")
    assert "server.public_url" in done.err


def tracked(hookledger: Command, tmp_path: Path, *more: str) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps(ANSWER))
    assert hookledger("track", "civ", "--response", str(answer), *more).code == 0


def test_a_tracked_workflow_can_be_shown_and_listed(hookledger: Command, tmp_path: Path) -> None:
    words = ["--context", "team=a=b", "--media", "codec=h264", "--ref", "order-7"]
    tracked(hookledger, tmp_path, *words)
    shown = hookledger("show", "civ", "wf-1", "--json").json
    assert (shown["status"], shown["context"], shown["ref"]) == ("processing", {"team": "a=b"}, "order-7")
    assert (shown["source_media"], shown["submitted_at"]) == ({"codec": "h264"}, "2026-01-21T22:21:26.332000Z")
    assert [one["to"] for one in shown["transitions"]] == ["processing", "processing", "scheduled"]
    assert [one["kind"] for one in shown["evidence"]] == ["decision"]
    text = hookledger("show", "civ", "wf-1").out
    for said in ("civ/wf-1", "processing", "wan/v2.6", "job-1", "videoGen", "timeline", "order-7"):
        assert said in text
    listed = hookledger("list", "--json", "--context", "team=a=b", "--open", "--since", "1h").json
    assert [one["id"] for one in listed["items"]] == ["wf-1"]
    assert "wf-1" in hookledger("list").out
    assert "no workflows match" in hookledger("list", "--status", "failed").out


def test_tracking_twice_is_known_already_and_by_id_alone_will_do(hookledger: Command, tmp_path: Path) -> None:
    assert hookledger("track", "civ", "wf-2").out == "tracked: civ/wf-2 is unassigned\n"
    assert hookledger("track", "civ", "wf-2").out == "known already: civ/wf-2 is unassigned\n"
    assert hookledger("track", "civ", "wf-2", "--ref", "x").out == "added to: civ/wf-2 is unassigned\n"
    at = "2026-01-21T23:00:00+01:00"
    assert (
        hookledger("track", "civ", "wf-3", "--submitted-at", at, "--json").json["submitted_at"]
        == "2026-01-21T22:00:00Z"
    )
    done = hookledger("track", "civ", "--response", "-", "--json", stdin=json.dumps(ANSWER))
    assert done.json["id"] == "wf-1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["civ"], "id"),
        (["nobody", "x"], "nobody"),
        (["civ", "a/b"], "id"),
        (["civ", "x", "--response", "missing.json"], "missing.json"),
        (["civ", "x", "--request", "-"], "JSON"),
        (["civ", "x", "--context", "noequals"], "KEY=VALUE"),
        (["civ", "x", "--media", "=v"], "KEY=VALUE"),
        (["civ", "x", "--submitted-at", "soon"], "submitted_at"),
        (["civ", "x", "--ref", ""], "ref"),
    ],
)
def test_what_cannot_be_tracked_is_one_clear_line_and_changes_nothing(
    hookledger: Command, words: list[str], said: str
) -> None:
    done = hookledger("track", *words, stdin="{")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err
    assert hookledger("list", "--json").json["items"] == []


def test_what_a_provider_needs_beside_the_id_can_be_told(hookledger: Command) -> None:
    told = hookledger("track", "civ", "wf-9", "--locator", "path=videos/text2video", "--json").json
    assert told["locator"] == {"path": "videos/text2video"}
    assert hookledger("track", "civ", "wf-9", "--locator", "path").code == 2


def test_an_answer_of_another_workflow_is_refused(hookledger: Command) -> None:
    done = hookledger("track", "civ", "wf-2", "--response", "-", stdin=json.dumps(ANSWER))
    assert done.code == 2
    assert hookledger("list", "--json").json["items"] == []


@pytest.mark.parametrize("source", ["civ", "nobody"])
def test_an_unknown_workflow_is_one_clear_line_and_exit_1(hookledger: Command, source: str) -> None:
    done = hookledger("show", source, "nobody")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "nobody" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["--status", "done"], ["--limit", "0"], ["--since", "yesterday"], ["--attention", "x"], ["--context", "x"],
        ["--cursor", "x"], ["-q", ""],
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_right_is_one_clear_line(hookledger: Command, words: list[str]) -> None:
    done = hookledger("list", *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)


def test_the_next_page_is_named_and_can_be_had(hookledger: Command) -> None:
    for n in range(3):
        hookledger("track", "civ", f"wf-{n}")
    assert "more: --cursor " in hookledger("list", "--limit", "2").out
    first = hookledger("list", "--limit", "2", "--json").json
    rest = hookledger("list", "--cursor", first["next_cursor"], "--json").json
    assert [one["id"] for one in first["items"] + rest["items"]] == ["wf-2", "wf-1", "wf-0"]


def test_upstreams_texts_cannot_steer_a_terminal(hookledger: Command) -> None:
    answer = {**ANSWER, "steps": [{**ANSWER["steps"][0], "reason": "\x1b]0;title\x07\x1b[31m[bold]red"}]}  # type: ignore[dict-item]
    hookledger("track", "civ", "--response", "-", stdin=json.dumps(answer))
    text = hookledger("show", "civ", "wf-1").out
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold]red" in text


async def taught(database_url: str) -> None:
    """Let the ledger know that whatever `civ` does takes about twenty seconds."""
    known = Durations()
    for _ in range(20):
        known.add(Durations.of(20.0))
    database = await Database.open(database_url)
    try:
        async with database.write() as connection:
            await learning.write(connection, {"civ": {("", ""): known}}, datetime.now(UTC))
    finally:
        await database.close()


def test_show_says_why_the_next_look_is_when_it_is(hookledger: Command, database_url: str) -> None:
    assert hookledger("track", "civ", "wf-2").code == 0
    asyncio.run(taught(database_url))
    assert "alive now end by then" in hookledger("show", "civ", "wf-2").out
    assert "alive now end by then" in hookledger("show", "civ", "wf-2", "--json").json["check"]["because"]

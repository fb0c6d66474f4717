"""With `serve` as a user starts it: whoever speaks first, a workflow is one, and a forger has no last word."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from receiver.config import load_config
from receiver.ledger import tokens
from receiver.ledger.database import Database
from receiver.redaction import Redactor
from receiver.sandbox.civitai import RunningCivitai, running_civitai
from tests.reconciler.world import World
from tests.staging.programs import KEY, Stage
from tests.staging.upstream import image, submit
from tests.staging.waiting import until


@dataclass
class Story:
    """An upstream, a `serve` with its reconciler, and a client with a token."""

    civitai: RunningCivitai
    stage: Stage
    database: Database
    session: aiohttp.ClientSession
    token: str

    async def submit(self, *steps: dict[str, Any], called_back: bool = True) -> dict[str, Any]:
        """Submit upstream; returns its answer."""
        url = self.stage.url + self.stage.hook_path if called_back else None
        return await submit(self.session, self.civitai, *steps, hook_url=url)

    async def ask(self, workflow_id: str, more: str = "") -> Any:
        """What `/v1` says of a workflow; None when it does not know it."""
        url = f"{self.stage.url}/v1/workflows/civitai/{workflow_id}{more}"
        async with self.session.get(url, headers={"Authorization": f"Bearer {self.token}"}) as answer:
            assert answer.status in (200, 404), await answer.text()
            return await answer.json() if answer.status == 200 else None

    async def track(self, **told: Any) -> tuple[int, dict[str, Any]]:
        """Register a workflow; returns the status and the answer."""
        headers = {"Authorization": f"Bearer {self.token}"}
        told = {"source": "civitai", **told}
        async with self.session.post(f"{self.stage.url}/v1/workflows", json=told, headers=headers) as answer:
            return answer.status, await answer.json()

    async def deliver(self, body: dict[str, Any]) -> str:
        """Send a callback of our own making, with the right token; returns its outcome."""
        async with self.session.post(self.stage.url + self.stage.hook_path, data=json.dumps(body)) as answer:
            assert answer.status == 200, await answer.text()
            return str((await answer.json())["outcome"])

    async def until(self, workflow_id: str, **wanted: Any) -> dict[str, Any]:
        """Return the workflow once it is so; `terminal=True`, `status="succeeded"` and the like."""
        found: dict[str, Any] = {}

        async def so() -> bool:
            found.update(await self.ask(workflow_id) or {})
            return bool(found) and all(found[name] == value for name, value in wanted.items())

        try:
            await until(so, 15, every=0.05)
        except TimeoutError:
            raise AssertionError(f"waited for {wanted}, it is {found}") from None
        return found

    async def kinds(self, workflow_id: str) -> list[tuple[str, str]]:
        """The workflow's own transitions: (kind, to)."""
        moves = (await self.ask(workflow_id, "/transitions"))["items"]
        return [(move["kind"], move["to"]) for move in moves if move["level"] == "workflow"]


@contextlib.asynccontextmanager
async def told(database_url: str, folder: Path) -> AsyncIterator[Story]:
    """Set the stage."""
    async with contextlib.AsyncExitStack() as stack:
        civitai = await stack.enter_async_context(running_civitai(speed=20, api_key=KEY))
        source = ('deadline = "30d"', 'silence = "5m"')
        stage = Stage.made(folder, database_url, civitai.base_url, source=source)
        database = await Database.open(database_url)
        stack.push_async_callback(database.close)
        async with database.write() as connection:
            token = await tokens.create(connection, "story", "admin", datetime.now(UTC))
        program = await stack.enter_async_context(stage.running("serve", "serve"))
        await stage.until_ready(program)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Story(civitai, stage, database, session, token)


def event(workflow_id: str, status: str) -> dict[str, Any]:
    """A workflow event as upstream sends it."""
    stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"$type": "workflow", "workflowId": workflow_id, "status": status, "timestamp": stamp}


async def test_callbacks_and_registrations_meet_in_one_workflow_whichever_comes_first(
    database_url: str, tmp_path: Path
) -> None:
    async with told(database_url, tmp_path) as story:
        # Nobody registered it: its callbacks create it, with its steps and jobs.
        heard = (await story.submit(image(end="succeeded")))["id"]
        found = await story.until(heard, status="succeeded")
        assert found["first_seen_via"] == "delivery"
        assert [step["status"] for step in found["steps"]] == ["succeeded"]
        assert found["context"] is None

        # A registration that comes later adds what only we know, and takes nothing back.
        status, answer = await story.track(id=heard, context={"team": "red"}, request={"prompt": "a heron"}, ref="r-1")
        assert status == 200
        assert (answer["context"], answer["ref"], answer["status"]) == ({"team": "red"}, "r-1", "succeeded")
        assert (await story.ask(heard))["first_seen_at"] == found["first_seen_at"]
        status, answer = await story.track(id=heard, context={"shot": "7"})
        assert (status, answer["context"]) == (200, {"team": "red", "shot": "7"})

        # One that comes before the first callback is filled in by what follows.
        story.civitai.set_faults(delay=1, delay_seconds=20.0)  # the first one by a second, and with it all behind it
        submitted = await story.submit(image(end="failed", reason="blocked", blockedReason="Not that."))
        status, answer = await story.track(response=submitted, context={"team": "blue"})
        assert (status, answer["status"], answer["first_seen_via"]) == (201, "unassigned", "track")
        found = await story.until(submitted["id"], status="failed")
        assert found["context"] == {"team": "blue"}
        assert found["first_seen_via"] == "track"
        assert found["first_seen_at"] == answer["first_seen_at"]
        assert [step["status"] for step in found["steps"]] == ["failed"]
        assert {job["status"] for job in found["jobs"]} <= {"failed", "canceled"}

        # The reconciler inside confirms what a token alone does not prove.
        for name in (heard, submitted["id"]):
            await until(lambda name=name: confirmed(story, name), 15, every=0.1)  # type: ignore[misc]


async def confirmed(story: Story, workflow_id: str) -> bool:
    return (await story.ask(workflow_id))["confirmed_at"] is not None


async def test_a_forged_ending_with_a_leaked_token_is_retracted_by_the_confirming_look(
    database_url: str, tmp_path: Path
) -> None:
    async with told(database_url, tmp_path) as story:
        # Upstream says another ending: one look is enough.
        one = (await story.submit(image(hold=True), called_back=False))["id"]
        await story.deliver(event(one, "processing"))
        assert await story.deliver(event(one, "failed")) == "applied"
        story.civitai.finish(one)
        found = await story.ask(one)
        assert (found["status"], found["confirmed_at"]) == ("failed", None)
        found = await story.until(one, status="succeeded")
        assert found["confirmed_at"] is not None
        assert await story.kinds(one) == [
            ("applied", "processing"), ("applied", "failed"), ("retracted", "succeeded"),
        ]  # fmt: skip

        # Upstream says it is alive: one look may be stale, or too close to the callback to be compared with it, so the
        # ending falls with the second of two looks that lie half a minute apart.
        other = (await story.submit(image(hold=True), called_back=False))["id"]
        await story.deliver(event(other, "processing"))
        assert await story.deliver(event(other, "succeeded")) == "applied"
        for seen in range(3):
            await until(lambda more=seen: looks_exceed(story, other, more), 15, every=0.1)  # type: ignore[misc]
            found = await story.ask(other)
            if found["status"] == "processing":
                break
            assert (found["status"], found["confirmed_at"]) == ("succeeded", None)
            await half_a_minute_passes(story)
        assert seen > 0
        assert (found["status"], found["terminal"], found["finished_at"]) == ("processing", False, None)
        assert (await story.kinds(other))[-1] == ("retracted", "processing")
        assert await story.deliver(event(other, "processing")) == "recorded"

        # And its true end is taken as if nothing had happened.
        story.civitai.finish(other, "canceled")
        await story.deliver(event(other, "canceled"))
        await until(lambda: confirmed(story, other), 15, every=0.1)
        assert (await story.ask(other))["status"] == "canceled"


async def looks_exceed(story: Story, workflow_id: str, number: int) -> bool:
    """Whether more than so many answers to our own looks are kept."""
    items = (await story.ask(workflow_id, "/evidence"))["items"]
    return bool(sum(item["kind"] == "fetch" for item in items) > number)


async def half_a_minute_passes(story: Story) -> None:
    """Make all the ledger remembers older, in place of waiting."""
    config = load_config(story.stage.config, {})
    world = World(story.database, config, Redactor(config.secret_values()))
    await world.let_pass(timedelta(seconds=31))

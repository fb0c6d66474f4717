"""A failed job that is started again (R10), over HTTP: the same id, a second run, and the first one kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from receiver.ledger import tokens
from receiver.ledger.database import Database, now
from receiver.ledger.tables import past_runs
from receiver.sandbox.removebgvideo import running_removebgvideo
from tests.ledger.applying import rows
from tests.staging.programs import KEY, TOKEN, Stage, free_port
from tests.staging.waiting import until

HOOK = f"/hooks/removebgvideo?token={TOKEN}"


@pytest.mark.race
@pytest.mark.waits
@pytest.mark.timeout(180)
async def test_a_failed_job_that_is_started_again_is_a_second_run(database_url: str, tmp_path: Path) -> None:
    stage = Stage(tmp_path, database_url, free_port())
    database = await Database.open(database_url)
    async with database.write() as connection:
        token = await tokens.create(connection, "story", "admin", await now(connection))
    ask = {"Authorization": f"Bearer {token}"}
    async with running_removebgvideo(speed=8, api_key=KEY) as up, aiohttp.ClientSession() as session:
        stage.config.write_text(
            f'[database]\nurl = "{database_url}"\n[server]\nport = {stage.port}\n[sources.removebgvideo]\n'
            f'provider = "removebgvideo"\nbase_url = "{up.base_url}"\napi_key = "{KEY}"\nhook_token = "{TOKEN}"\n'
        )
        async with stage.running("serve", "serve") as program:
            await stage.until_ready(program)
            body = {
                "video_url": "https://example.com/a.mp4", "model": "pro", "bg_type": "green", "output_format": "webm",
                "webhook_url": stage.url + HOOK, "sandbox": {"hold": True},
            }  # fmt: skip
            async with session.post(f"{up.base_url}/v1/jobs", json=body, headers={"X-Api-Key": KEY}) as answer:
                job = (await answer.json())["id"]

            async def known() -> dict[str, Any]:
                async with session.get(f"{stage.url}/v1/workflows/removebgvideo/{job}", headers=ask) as answer:
                    return dict(await answer.json()) if answer.status == 200 else {"run": 0, "status": ""}

            async def first_run_failed() -> bool:
                one = await known()
                return one["status"] == "failed" and one["confirmed_at"] is not None

            async def second_run_succeeded() -> bool:
                one = await known()
                return (one["run"], one["status"]) == (2, "succeeded") and one["confirmed_at"] is not None

            async def running_again() -> bool:
                one = await known()
                return (one["run"], one["status"]) == (2, "processing")

            await until(lambda: _started(up, job), 20, every=0.1)
            up.finish(job, "failed")
            await until(first_run_failed, 30, every=0.2)
            url = f"{up.base_url}/v1/jobs/{job}/start"
            again = {"webhook_url": stage.url + HOOK, "sandbox": {"hold": True}}
            async with session.post(url, json=again, headers={"X-Api-Key": KEY}) as answer:
                assert answer.status == 200, await answer.text()
            await until(running_again, 60, every=0.2)
            up.finish(job, "succeeded")
            await until(second_run_succeeded, 60, every=0.2)
    assert [(row.run, row.status) for row in await rows(database, past_runs)] == [(1, "failed")]
    await database.close()


def _started(up: Any, job: str) -> bool:
    return any(one["id"] == job and one["canonical"] == "processing" for one in up.truth()["workflows"])

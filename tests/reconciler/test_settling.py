"""What a look settles, over real HTTP."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp

from receiver.sandbox.civitai import running_civitai
from reconciler.loop import run_pass
from tests.reconciler.world import Upstream, World, document


async def test_a_lost_callback_is_settled_by_the_next_pass(make_world: Callable[..., World]) -> None:
    async with running_civitai(speed=50, api_key="sandbox-key") as civitai:
        world = make_world(civitai.base_url)
        async with aiohttp.ClientSession() as session:
            step = {"$type": "imageGen", "input": {"prompt": "a sword"}, "metadata": {"sandbox": {"end": "succeeded"}}}
            headers = {"Authorization": f"Bearer {civitai.api_key}"}
            url = civitai.base_url + "/v2/consumer/workflows"
            async with session.post(url, json={"steps": [step]}, headers=headers) as answer:
                submitted = await answer.json()
        await world.track(submitted["id"], submitted)
        await civitai.wait_quiet()
        assert await world.status(submitted["id"]) == "unassigned"

        report = await run_pass(world.config, world.database, world.redactor)

        state = await world.known(submitted["id"])
        assert state.node.status == "succeeded"
        assert state.node.confirmed_at is not None
        assert state.node.finished_via == "look"
        assert all(blob.url_confirmed for blob in state.blobs.values())
        assert len(state.blobs) == 1
        assert (report.outcome, report.failed, report.counts["shown"]) == ("done", 0, 1)


async def test_an_answer_is_kept_as_evidence_with_its_headers_and_its_body(world: World, upstream: Upstream) -> None:
    upstream.answers["/wf"] = (200, document("wf"), {"set-cookie": "a=b", "x-request-id": "r-1"})
    await world.track("wf")
    await run_pass(world.config, world.database, world.redactor)
    (fetch,) = await world.fetches()
    assert fetch.http_status == 200
    assert fetch.headers["x-request-id"] == "r-1"
    assert "set-cookie" not in fetch.headers
    assert b'"id": "wf"' in fetch.body
    assert len(fetch.body_sha256) == 64
    assert fetch.http_date is not None

"""The demo's application: it submits workflows upstream and tells hookledger about most of them."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import aiohttp

from reconciler.demo.programs import API_KEY, DemoFailed, Stage

EVENTS = ["workflow:*", "step:*", "job:*"]
# How long the submitting takes; the workflows themselves run a few seconds each.
SPREAD = 12.0


def template(random: Random, hook_url: str | None) -> dict[str, Any]:
    """Return a submit body: images, videos, tags, or two steps of which one waits for the other."""
    prompt = random.choice(["a heron at dawn", "neon street in the rain", "an astronaut knitting"])
    image = {"$type": "imageGen", "name": "render", "input": {"engine": "flux", "model": "flux-dev", "prompt": prompt}}
    video = {"$type": "videoGen", "input": {"engine": "wan", "version": "v2.6", "prompt": prompt}}
    upscale = {**video, "name": "film", "input": {**video["input"], "source": {"$ref": "render"}}}  # type: ignore[dict-item]
    tags = {"$type": "wdTagging", "name": "tag", "input": {"mediaUrl": "https://example.com/heron.png"}}
    steps = random.choices([[image], [video], [image, upscale], [tags], [image, tags]], [5, 2, 2, 1, 1])[0]
    body: dict[str, Any] = {"steps": steps, "metadata": {"shot": random.randrange(1000)}, "tags": ["demo"]}
    if hook_url is not None:
        body["callbacks"] = [{"url": hook_url, "type": EVENTS, "detailed": random.random() < 0.5}]
    return body


async def submit_all(session: aiohttp.ClientSession, stage: Stage, count: int, seed: int) -> None:
    """Submit `count` workflows within some seconds: a sixth is never tracked, a few have no callback at all."""
    await asyncio.gather(*(_submit(session, stage, n, Random(f"{seed}-{n}"), n / count * SPREAD) for n in range(count)))


async def _submit(session: aiohttp.ClientSession, stage: Stage, n: int, random: Random, wait: float) -> None:
    await asyncio.sleep(wait)
    silent = n % 25 == 7
    body = template(random, None if silent else stage.hook_url)
    url = f"{stage.upstream}/v2/consumer/workflows"
    async with session.post(url, json=body, headers={"Authorization": f"Bearer {API_KEY}"}) as answer:
        submitted = await answer.json()
        if answer.status not in (200, 202):
            raise DemoFailed(f"the upstream answered {answer.status} to a submission: {submitted}")
    if n % 6 == 5 and not silent:
        return  # hookledger will learn of this one from its callbacks
    told = {
        "source": "civitai", "response": submitted, "request": body,
        "context": {"team": random.choice(["red", "blue"]), "shot": str(n)},
    }  # fmt: skip
    async with session.post(f"{stage.receiver}/v1/workflows", json=told, headers=bearer(stage)) as answer:
        if answer.status not in (200, 201):
            raise DemoFailed(f"hookledger answered {answer.status} to track: {await answer.text()}")


def bearer(stage: Stage) -> dict[str, str]:
    """Return the header that lets the demo ask hookledger."""
    return {"Authorization": f"Bearer {stage.token}"}

"""The demo's application: it submits workflows upstream and tells hookledger about most of them."""

from __future__ import annotations

import asyncio
from random import Random

import aiohttp

from reconciler.demo.programs import DemoFailed, Stage
from reconciler.demo.upstreams import UPSTREAMS, Upstream

# How long the submitting takes; the workflows themselves run a few seconds each.
SPREAD = 12.0
# An upstream that counts requests is asked again after this.
AGAIN = 0.7


def plan(count: int) -> list[tuple[Upstream, int]]:
    """Return how many of `count` workflows go to each upstream: at least one each, the first takes the rest."""
    others = [(one, min(max(round(count * one.share), 1), one.most)) for one in UPSTREAMS[1:]]
    return [(UPSTREAMS[0], max(count - sum(number for _, number in others), 1)), *others]


async def submit_all(session: aiohttp.ClientSession, stage: Stage, count: int, seed: int) -> None:
    """Submit `count` workflows within some seconds: a sixth is never tracked, a few have no callback at all."""
    work = []
    for upstream, number in plan(count):
        for n in range(number):
            random = Random(f"{upstream.name}-{seed}-{n}")
            work.append(_submit(session, stage, upstream, n, random, n / number * SPREAD))
    await asyncio.gather(*work)


async def _submit(
    session: aiohttp.ClientSession, stage: Stage, upstream: Upstream, n: int, random: Random, wait: float
) -> None:
    await asyncio.sleep(wait)
    silent = n % 25 == 7
    asked = upstream.submission(random, None if silent else stage.hook_urls[upstream.name])
    url = stage.upstreams[upstream.name] + asked.path
    while True:
        async with session.post(url, json=asked.body, headers=asked.headers) as answer:
            if answer.status == 429:
                await asyncio.sleep(AGAIN)
                continue
            submitted = await answer.json()
            if answer.status not in (200, 201, 202):
                raise DemoFailed(f"{upstream.name} answered {answer.status} to a submission: {submitted}")
            break
    # Civitai tells of every workflow many times; what calls back once may be lost for good unless it was tracked.
    if upstream.name == "civitai" and n % 6 == 5 and not silent:
        return
    told = {
        "source": upstream.name, "response": submitted, "request": asked.body,
        "context": {"team": random.choice(["red", "blue"]), "shot": str(n)},
    }  # fmt: skip
    async with session.post(f"{stage.receiver}/v1/workflows", json=told, headers=bearer(stage)) as answer:
        if answer.status not in (200, 201):
            raise DemoFailed(f"hookledger answered {answer.status} to track: {await answer.text()}")


def bearer(stage: Stage) -> dict[str, str]:
    """Return the header that lets the demo ask hookledger."""
    return {"Authorization": f"Bearer {stage.token}"}

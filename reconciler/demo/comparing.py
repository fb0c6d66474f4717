"""What hookledger says against what is true: every workflow, step, job and blob."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp

from reconciler.demo.programs import Stage
from reconciler.demo.submitting import bearer

JsonObject = dict[str, Any]


@dataclass
class Comparison:
    """How many of each there are in truth, and each difference as a sentence."""

    counts: Counter[str] = field(default_factory=Counter)
    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)

    def expect(self, level: str, name: str, true: JsonObject | None, ours: JsonObject | None) -> None:
        """Compare the status of one workflow, step or job."""
        if true is None or ours is None:
            missing = "hookledger" if ours is None else "upstream"
            self.differences.append(f"{level} {name}: not known to {missing}")
            return
        status = str(true.get("canonical") or true["status"])
        self.counts[level] += 1
        self.statuses.setdefault(level, Counter())[status] += 1
        if ours["status"] != status:
            self.differences.append(f"{level} {name}: {ours['status']}, in truth {status}")


async def compare(session: aiohttp.ClientSession, stage: Stage) -> Comparison:
    """Ask each upstream for the truth and hookledger for every workflow, and set one against the other."""
    found = Comparison()
    gate = asyncio.Semaphore(16)

    async def one(source: str, true: JsonObject) -> None:
        async with gate:
            ours = await _ask(session, stage, f"/v1/workflows/{source}/{quote(true['id'], safe='')}")
        _workflow(found, true, ours)
        for blob in true["blobs"]:
            async with gate:
                await _blob(session, stage, found, source, blob, ours)

    known: set[tuple[str, str]] = set()
    for source, url in stage.upstreams.items():
        async with session.get(f"{url}/_sandbox/truth") as answer:
            truth = (await answer.json())["workflows"]
        found.counts[source] = len(truth)
        known |= {(source, true["id"]) for true in truth}
        await asyncio.gather(*(one(source, true) for true in truth))
    for listed in await every_workflow(session, stage):
        if (listed["source"], listed["id"]) not in known:
            found.differences.append(f"workflow {listed['id']}: invented; {listed['source']} never had it")
    return found


def _workflow(found: Comparison, true: JsonObject, ours: JsonObject | None) -> None:
    name = true["id"]
    found.expect("workflow", name, true, ours)
    if ours is None:
        return
    found.told[str(ours["finished_via"])] += 1
    if ours["confirmed_at"] is None:
        found.differences.append(f"workflow {name}: its ending was never confirmed")
    steps = {step["name"]: step for step in true["steps"]}
    our_steps = {step["name"]: step for step in ours["steps"]}
    jobs = {job["id"]: job for step in true["steps"] for job in step["jobs"]}
    our_jobs = {job["id"]: job for job in ours["jobs"]}
    for level, there, here in (("step", steps, our_steps), ("job", jobs, our_jobs)):
        for key in sorted({*there, *here}):
            found.expect(level, f"{name} {key}", there.get(key), here.get(key))


async def _blob(
    session: aiohttp.ClientSession,
    stage: Stage,
    found: Comparison,
    source: str,
    true: JsonObject,
    ours: JsonObject | None,
) -> None:
    """A blob that is there must be served from a URL that works now, long after the one in the callback expired."""
    found.counts["blob"] += 1
    known = {blob["id"]: blob for blob in (ours or {"blobs": []})["blobs"]}
    name = f"blob {true['id']}"
    if true["id"] not in known:
        found.differences.append(f"{name}: not known to hookledger")
        return
    if bool(known[true["id"]]["available"]) != true["available"]:
        found.differences.append(f"{name}: available {known[true['id']]['available']}, in truth {true['available']}")
    if not true["available"]:
        return
    url = f"{stage.receiver}/blobs/{source}/{quote(true['id'], safe='')}"
    async with session.get(url, headers=bearer(stage), allow_redirects=False) as answer:
        target = answer.headers.get("Location")
        if answer.status != 302 or target is None:
            found.differences.append(f"{name}: /blobs answered {answer.status}")
            return
    async with session.get(target) as bytes_of_it:
        if bytes_of_it.status != 200:
            found.differences.append(f"{name}: the URL served answers {bytes_of_it.status}")
            return
        await bytes_of_it.read()
    found.counts["blob served"] += 1


async def _ask(session: aiohttp.ClientSession, stage: Stage, path: str) -> JsonObject | None:
    async with session.get(stage.receiver + path, headers=bearer(stage)) as answer:
        if answer.status == 404:
            return None
        answer.raise_for_status()
        return dict(await answer.json())


async def every_workflow(session: aiohttp.ClientSession, stage: Stage, query: str = "") -> list[JsonObject]:
    """Return all workflows hookledger lists, page by page."""
    found: list[JsonObject] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await _ask(session, stage, f"/v1/workflows?limit=200&{query}" + (f"&cursor={cursor}" if cursor else ""))
        assert page is not None
        found += page["items"]
        cursor = page["next_cursor"]
    return found

"""What is hard to show well: long names, two runs, files of every kind, many lanes, a submission long before."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from receiver.config import Config
from receiver.ledger.database import Database
from receiver.ledger.query_parts import stamp
from tests.browser.showcase import recent
from tests.web.asking import Api, Upstream, document

LONG = "wf-" + "0123456789abcdef" * 12 + "-end-of-a-very-long-id"
FILES, LOST, RERUN, LANES = "swx-files-1", "swx-lost-1", "rp-again-1", "swx-lanes-1"
EARLY, HOSTILE = "swx-early-1", "swx-<b>'&amp;"
PROSE = "A lighthouse keeper walks down to the shore before the storm, in the manner of an old engraving. " * 6


async def fill(api: Api, database: Database, config: Config, files: str) -> None:
    """Put all of it on show; `files` is where output files lie."""
    upstream = Upstream(database, config)
    await _files(api, upstream, files)
    await _rerun(api, database, config)
    await _lanes(api, upstream)
    long_ago = stamp(datetime.now(UTC) - timedelta(days=3, hours=4))
    await api.post("/v1/workflows", {"source": "civ", "id": EARLY, "submitted_at": long_ago})
    for status in ("scheduled", "processing", "succeeded"):
        await api.deliver(EARLY, status)
        await asyncio.sleep(0.05)
    context = {"team": "red", "a-label-with-a-long-name-indeed": "and " + "a-value-without-any-place-to-break-" * 3}
    told = {"source": "civ", "id": LONG, "ref": "order-" + "9" * 60, "context": context, "request": {"prompt": PROSE}}
    await api.post("/v1/workflows", told)
    await api.deliver(LONG, "processing")
    await api.post("/v1/workflows", {"source": "civ", "id": HOSTILE, "context": {"<b>": '"><i>'}})
    for n in range(30):
        await api.deliver(f"swx-more-{n:02}", ("processing", "succeeded", "failed")[n % 3])


async def _files(api: Api, upstream: Upstream, files: str) -> None:
    await api.post("/v1/workflows", {"source": "civ", "id": FILES, "context": {"team": "blue", "scene": "12"}})
    await api.deliver(FILES, "processing")
    shown = recent(document(FILES, url=f"{files}/dusk.png"))
    output = shown["steps"][0]["output"]
    ends = stamp(datetime.now(UTC) + timedelta(minutes=7))
    for name, kind, path in (
        ("second.png", "image", "dusk.png"), ("voice.wav", "audio", "tone.wav"), ("clip.mp4", "video", "film.mp4"),
        ("scene.glb", "model", "scene.glb"),
    ):  # fmt: skip
        one = {"type": kind, "id": name, "available": True, "url": f"{files}/{path}", "urlExpiresAt": ends}
        output.setdefault("images", []).append(one | ({"width": 768, "height": 1024} if kind == "image" else {}))
    output["images"] += [
        {"type": "image", "id": "blocked.jpeg", "available": False, "blockedReason": "mature"},
        {"type": "image", "id": "waiting-" + "x" * 120 + ".jpeg", "available": False},
    ]
    await upstream.settle(FILES, shown)
    lost = recent(document(LOST, url=f"{files}/dusk.png"))
    for name, path in (("played.mp4", "film.mp4"), ("lost.mp4", "lost.mp4")):
        one = {"type": "video", "id": name, "available": True, "url": f"{files}/{path}", "urlExpiresAt": ends}
        lost["steps"][0]["output"]["images"].append(one)
    await api.deliver(LOST, "processing")
    await upstream.settle(LOST, lost)


async def _rerun(api: Api, database: Database, config: Config) -> None:
    upstream = Upstream(database, config, source="runpod")
    await api.post("/v1/workflows", {"source": "runpod", "id": RERUN, "locator": {"endpoint": "e1"}})
    looks = (
        ("IN_QUEUE", 0),
        ("IN_PROGRESS", 4),
        ("FAILED", 15),
        ("IN_PROGRESS", 40),
        ("IN_PROGRESS", 75),
        ("COMPLETED", 80),
    )
    for status, ahead in looks:
        told: dict[str, Any] = {"id": RERUN, "status": status, "executionTime": 5210, "workerId": "w-1"}
        error = {"error": "CUDA out of memory"} if status == "FAILED" else {}
        await upstream.settle(RERUN, told | error, ahead=float(ahead) - 90)


async def _lanes(api: Api, upstream: Upstream) -> None:
    await api.deliver(LANES, "processing")
    shown = recent(document(LANES, "failed"))
    states = ("succeeded", "succeeded", "failed", "canceled")
    shown["steps"] = [
        {
            "$type": kind, "name": f"${n}", "status": states[n],
            "jobs": [
                {"id": f"8c3c2f0a-0c0e-4a3a-9d3e-5a1c1f0a{n}{k:03}", "status": "failed" if n == 2 and k else states[n],
                 "reason": "no_provider_available" if n == 2 and k else None}
                for k in range(1 + n)
            ],
        }
        for n, kind in enumerate(("textToImage", "imageUpscaler", "videoGen", "a-step-type-with-quite-a-long-name"))
    ]  # fmt: skip
    await upstream.settle(LANES, shown)

"""What Civitai would send in a busy minute, as bytes: workflow, step and job events, some with details, some twice.

Seeded: the same seed draws the same traffic. A mix can be sent again and again as new traffic, because every id of a
workflow or a file holds a tag of fixed width that `tagged` exchanges.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import orjson

TAG = b"RUN00000"
LIVE = 200  # workflows whose events arrive mixed with each other
DUPLICATES = 0.25  # copies per new delivery: a fifth of all deliveries
COPY_WITHIN = 50  # places after the first one
HOT = 0.03  # share of workflows whose jobs report their progress again and again
DETAILED = 0.7  # share of workflows registered with `detailed: true`

_WORDS = (
    "heron",
    "dawn",
    "neon",
    "street",
    "rain",
    "astronaut",
    "knitting",
    "copper",
    "glass",
    "river",
    "moss",
    "crane",
)


def tagged(request: bytes, number: int) -> bytes:
    """Return a request, or a body, as part of the traffic of that number (0 to 99 999). Its length stays the same."""
    return request.replace(TAG, b"RUN%05d" % number)


def bodies(seed: int, count: int, start: datetime, copies: float = DUPLICATES) -> list[bytes]:
    """Return `count` deliveries in the order in which they arrive; upstream's clock begins at `start`.

    Events of one workflow come in their order, those of some hundred workflows mixed, copies of a delivery within the
    next fifty. `copies` is how many there are per new delivery: 0 makes all new, 1 makes half of them repeat.
    """
    random = Random(seed)
    live = [_story(random, number, start) for number in range(LIVE)]
    started = LIVE
    again: list[tuple[int, bytes]] = []  # (place, body), the next on top
    out: list[bytes] = []
    while len(out) < count:
        while again and again[0][0] <= len(out):
            out.append(heapq.heappop(again)[1])
        place = random.randrange(LIVE)
        event = next(live[place], None)
        if event is None:
            live[place] = _story(random, started, start)
            started += 1
            continue
        body = orjson.dumps(event)
        if random.random() < copies:
            heapq.heappush(again, (len(out) + random.randrange(1, COPY_WITHIN), body))
        out.append(body)
    return out[:count]


def described(traffic: list[bytes]) -> str:
    """Return two sentences that say what is in a mix: kinds, sizes, copies and hot workflows, as counted in it."""
    events = [orjson.loads(body) for body in traffic]
    kinds = Counter(event["$type"] for event in events)
    per_workflow = Counter(event["workflowId"] for event in events)
    busiest = sorted(per_workflow.values(), reverse=True)
    top = sum(busiest[: max(len(busiest) // 100, 1)])
    sizes = sorted(map(len, traffic))
    low, middle, high = (sizes[int(len(sizes) * share)] for share in (0.05, 0.5, 0.95))
    whole = len(traffic)
    return (
        f"Deliveries: {_shares(kinds, whole)}; {sum('details' in one for one in events) / whole:.0%} with details;"
        f" {1 - len(set(traffic)) / whole:.0%} are copies of another. Bytes: {sum(sizes) / whole:.0f} on average,"
        f" {low} / {middle} / {high} at 5 / 50 / 95 %, {sizes[-1]} at most. {LIVE} workflows at any time,"
        f" {whole / len(per_workflow):.1f} deliveries each; the busiest 1 % of them get {top / whole:.0%} of all."
    )


def _shares(kinds: Counter[str], whole: int) -> str:
    return ", ".join(f"{count / whole:.0%} {kind}" for kind, count in kinds.most_common())


def request(target: str, body: bytes) -> bytes:
    """Return a POST as it stands on the wire, with the headers a .NET client sends."""
    head = (
        f"POST {target} HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Type: application/json; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nUser-Agent: civitai-orchestrator\r\n\r\n"
    )
    return head.encode() + body


def _story(random: Random, number: int, start: datetime) -> Iterator[dict[str, Any]]:
    """One workflow's events, from its first `processing` to its end."""
    created = start + timedelta(milliseconds=37 * number)
    workflow = f"8484131-{TAG.decode()}{number:09d}"
    detailed = random.random() < DETAILED
    reports = 60 if random.random() < HOT else random.randrange(0, 4)
    clock = _clock(created, random)
    steps = [_step(random, workflow, n) for n in range(random.choice((1, 1, 2)))]
    yield _workflow(workflow, "processing", next(clock), created, steps if detailed else None)
    for step in steps:
        job = str(_uuid(random))
        yield _step_event(workflow, step, "processing", next(clock), detailed)
        yield _job_event(workflow, step["name"], job, "scheduled", None)
        for report in range(reports):
            yield _job_event(workflow, step["name"], job, "processing", round((report + 1) / (reports + 1), 3))
        yield _job_event(workflow, step["name"], job, "succeeded", 1.0)
        ended = next(clock)
        step["status"], step["completedAt"] = "succeeded", ended
        step["output"] = {"images": [_image(random, job, created) for _ in range(random.choice((1, 2, 2, 4)))]}
        yield _step_event(workflow, step, "succeeded", ended, detailed)
    yield _workflow(workflow, "succeeded", next(clock), created, steps if detailed else None)


def _clock(at: datetime, random: Random) -> Iterator[str]:
    while True:
        at += timedelta(milliseconds=random.randrange(40, 900))
        yield _stamp(at)


def _stamp(at: datetime) -> str:
    """An instant with seven fractional digits, as upstream writes them."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "3Z"


def _uuid(random: Random) -> str:
    text = f"{random.getrandbits(128):032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _prompt(random: Random) -> str:
    return " ".join(random.choices(_WORDS, k=random.randrange(20, 150)))


def _step(random: Random, workflow: str, number: int) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "engine": "flux",
        "model": "urn:air:flux1:checkpoint:civitai:618692@691639",
        "prompt": _prompt(random),
    }
    asked |= {"width": 1024, "height": 1024, "steps": 28, "cfgScale": 3.5, "seed": random.getrandbits(31)}
    return {"name": f"${number}", "status": "processing", "metadata": {"shot": workflow}, "input": asked}


def _image(random: Random, job: str, created: datetime) -> dict[str, Any]:
    name = f"{TAG.decode()}{random.getrandbits(64):016X}.jpeg"
    until = _stamp(created + timedelta(minutes=60))
    signature = f"{random.getrandbits(256):064x}"
    return {
        "type": "image",
        "id": name,
        "available": True,
        "url": f"https://orchestration.civitai.com/v2/consumer/blobs/{name}?sig={signature}&exp={until}",
        "urlExpiresAt": until,
        "jobId": job,
        "nsfwLevel": "pg",
        "width": 1024,
        "height": 1024,
    }


def _workflow(
    workflow: str, status: str, at: str, created: datetime, steps: list[dict[str, Any]] | None
) -> dict[str, Any]:
    event: dict[str, Any] = {"$type": "workflow", "workflowId": workflow, "status": status, "timestamp": at}
    if steps is not None:
        event["details"] = {
            "createdAt": _stamp(created), "startedAt": _stamp(created + timedelta(milliseconds=30)),
            **({"completedAt": at} if status == "succeeded" else {}),
            "metadata": {"team": "red"}, "arguments": {}, "steps": [dict(step) for step in steps],
        }  # fmt: skip
    return event


def _step_event(workflow: str, step: dict[str, Any], status: str, at: str, detailed: bool) -> dict[str, Any]:
    event: dict[str, Any] = {"$type": "step", "workflowId": workflow, "name": step["name"], "status": status}
    if detailed:
        told = {key: value for key, value in step.items() if key not in ("name", "status")}
        event["details"] = {"retries": 0, "startedAt": at, "estimatedProgressRate": None, **told}
    return event


def _job_event(workflow: str, step: str, job: str, status: str, progress: float | None) -> dict[str, Any]:
    return {
        "$type": "job", "workflowId": workflow, "stepName": step, "jobId": job, "status": status,
        "progress": progress, "reason": None, "blockedReason": None, "matureContent": None,
    }  # fmt: skip

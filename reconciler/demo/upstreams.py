"""The upstreams of the demo: how each stand-in is started, configured here, and submitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

JsonObject = dict[str, Any]

API_KEY = "demo-sandbox-key"
# Seconds a signed URL of a stand-in works.
URL_TTL = 20
_EVENTS = ["workflow:*", "step:*", "job:*"]
_PROMPTS = ["a heron at dawn", "neon street in the rain", "an astronaut knitting"]
_LOST = ("--drop", "0.1", "--duplicate", "0.2", "--forge", "0.05", "--forge-ending", "0.05", "--fail", "0.08")


@dataclass(frozen=True)
class Submission:
    """One request that starts a workflow."""

    path: str
    headers: dict[str, str]
    body: JsonObject


@dataclass(frozen=True)
class Upstream:
    """One stand-in. `share` of all workflows go to it, at most `most`; `settings` are lines of its source's TOML."""

    name: str
    share: float
    most: int
    options: tuple[str, ...]
    settings: str
    submission: Callable[[Random, str | None], Submission]


def _civitai(random: Random, hook_url: str | None) -> Submission:
    """Images, videos, tags, or two steps of which one waits for the other."""
    prompt = random.choice(_PROMPTS)
    image = {"$type": "imageGen", "name": "render", "input": {"engine": "flux", "model": "flux-dev", "prompt": prompt}}
    wan = {"engine": "wan", "version": "v2.6", "prompt": prompt}
    video = {"$type": "videoGen", "input": wan}
    film = {"$type": "videoGen", "name": "film", "input": {**wan, "source": {"$ref": "render"}}}
    tags = {"$type": "wdTagging", "name": "tag", "input": {"mediaUrl": "https://example.com/heron.png"}}
    steps = random.choices([[image], [video], [image, film], [tags], [image, tags]], [5, 2, 2, 1, 1])[0]
    body: JsonObject = {"steps": steps, "metadata": {"shot": random.randrange(1000)}, "tags": ["demo"]}
    if hook_url is not None:
        body["callbacks"] = [{"url": hook_url, "type": _EVENTS, "detailed": random.random() < 0.5}]
    return Submission("/v2/consumer/workflows", {"Authorization": f"Bearer {API_KEY}"}, body)


def _beeble(random: Random, hook_url: str | None) -> Submission:
    body = {
        "generation_type": random.choice(["image", "video"]),
        "source_uri": "https://example.com/plate.mp4",
        "alpha_mode": "auto",
        "prompt": random.choice(_PROMPTS),
    }
    return Submission("/v1/switchx/generations", {"x-api-key": API_KEY}, _with(body, "callback_url", hook_url))


def _evolink(random: Random, hook_url: str | None) -> Submission:
    kind, model = random.choice([("images", "gpt-image-2"), ("videos", "happyhorse")])
    body = {"model": model, "prompt": random.choice(_PROMPTS)}
    headers = {"Authorization": f"Bearer {API_KEY}"}
    return Submission(f"/v1/{kind}/generations", headers, _with(body, "callback_url", hook_url))


def _removebgvideo(random: Random, hook_url: str | None) -> Submission:
    body = {
        "video_url": "https://example.com/clip.mp4",
        "model": random.choice(["original", "light", "pro"]),
        "bg_type": "transparent",
        "output_format": "webm",
    }
    return Submission("/v1/jobs", {"X-Api-Key": API_KEY}, _with(body, "webhook_url", hook_url))


def _with(body: JsonObject, field: str, hook_url: str | None) -> JsonObject:
    return body if hook_url is None else {**body, field: hook_url}


UPSTREAMS = (
    Upstream(
        "civitai",
        0.7,
        2000,
        (*_LOST, "--reorder", "0.05", "--delay", "0.03", "--expire", "0.02", "--cancel", "0.03", "--speed", "5"),
        'silence = "6s"',
        _civitai,
    ),
    # Its clock goes twenty times as fast, and so do the five requests a minute it grants an account.
    Upstream("beeble", 0.03, 6, (*_LOST, "--speed", "20"), 'silence = "6s"\nbudget = "5/3s"', _beeble),
    # It has no way to renew a link: those of the real one live a day.
    Upstream("evolink", 0.12, 100, (*_LOST, "--speed", "8", "--url-ttl", "3600"), 'silence = "6s"', _evolink),
    Upstream("removebgvideo", 0.15, 100, (*_LOST, "--speed", "8"), 'silence = "6s"', _removebgvideo),
)

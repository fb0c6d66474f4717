"""What a step costs and what it leaves behind when it succeeds (UPSTREAMS §1.2.2: outputs differ per step type)."""

from __future__ import annotations

from datetime import datetime

from receiver.sandbox.civitai_records import Blob, Job, Step, Workflow
from receiver.sandbox.civitai_template import StepTemplate, Template
from receiver.sandbox.faults import Chance

BLOB_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
NSFW = ("pg", "pg13", "r", "x", "xxx")
COST = {"imageGen": 4, "videoGen": 120, "echo": 1, "mediaRating": 1, "wdTagging": 1}


def quantity(step: StepTemplate) -> int:
    """How many files a step makes: `input.quantity`, 1 to 10."""
    wanted = step.input.get("quantity", 1)
    return min(max(wanted, 1), 10) if isinstance(wanted, int) else 1


def cost_of(template: Template) -> int:
    """What it takes from the account, in Buzz."""
    return sum(COST[step.type] * quantity(step) for step in template.steps)


def produce(workflow: Workflow, step: Step, job: Job, kept_until: datetime, blocked: Chance) -> list[Blob]:
    """Give the step its output; the new blobs are returned and are in `step.blobs`."""
    rng, kind = workflow.rng, step.template.type
    if kind == "echo":
        step.output = {"message": step.input.get("message", "")}
    elif kind == "mediaRating":
        step.output = {"nsfwLevel": "pg", "isBlocked": False}
    elif kind == "wdTagging":
        step.output = {"tags": {"sword": rng.random()}, "rating": {"general": rng.random()}}
    else:
        step.output = {}
        first_is_blocked = bool(step.fate.extra.get("blocked", blocked.hit(rng)))
        for number in range(quantity(step.template)):
            step.blobs.append(_blob(workflow, step, job, kept_until, first_is_blocked and number == 0))
    return step.blobs


def _blob(workflow: Workflow, step: Step, job: Job, kept_until: datetime, blocked: bool) -> Blob:
    rng, video = workflow.rng, step.template.type == "videoGen"
    key = "".join(rng.choices(BLOB_ALPHABET, k=26))
    drawn = rng.choices(NSFW, (70, 15, 7, 5, 3))[0]
    return Blob(
        id=key + (".mp4" if video else rng.choice((".jpeg", ".png"))),
        type="video" if video else "image",
        workflow=workflow.id,
        step=step.name,
        job_id=job.id,
        nsfw_level=str(step.fate.extra.get("nsfwLevel", drawn)),
        width=_size(step.input.get("width")),
        height=_size(step.input.get("height")),
        kept_until=kept_until,
        blocked_reason="Output violates the content policy." if blocked else None,
    )


def _size(wanted: object) -> int:
    return wanted if isinstance(wanted, int) and 0 < wanted < 10000 else 1024

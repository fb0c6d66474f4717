"""Civitai's deliveries, read into exact records."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from civitai_samples import (
    DETAILED_WORKFLOW_EVENT,
    IMAGE,
    IMAGE_URL,
    JOB_EVENT,
    JOB_ID,
    STEP_EVENT,
    THIN_WORKFLOW_EVENT,
    account,
    encoded,
    inbound,
)

from receiver.ledger.records import BlobSeen, Level, Observation, Reading
from receiver.ledger.states import Status
from receiver.providers import provider_named
from receiver.providers.base import Unreadable


def read(event: Any) -> Reading:
    body = event if isinstance(event, bytes) else encoded(event)
    return provider_named("civitai").read(inbound(body), account())


def test_a_detailed_workflow_event_speaks_of_the_workflow_and_of_every_step() -> None:
    at = datetime(2025, 10, 29, 21, 29, 24, 759930, tzinfo=UTC)
    tag_input = {"model": "wd14-vit.v1", "mediaUrl": "https://image.civitai.com/x/107357814.jpeg", "threshold": 0.5}
    rating_input = {"mediaUrl": "https://image.civitai.com/x"}
    assert read(DETAILED_WORKFLOW_EVENT) == Reading(
        workflow_id="0-20251029212923125",
        observations=(
            Observation(
                Level.WORKFLOW,
                status=Status.SUCCEEDED,
                word="succeeded",
                upstream_at=at,
                started_at=datetime(2025, 10, 29, 21, 29, 23, 157718, tzinfo=UTC),
                completed_at=datetime(2025, 10, 29, 21, 29, 24, 759930, tzinfo=UTC),
                submitted_at=datetime(2025, 10, 29, 21, 29, 23, 125276, tzinfo=UTC),
                facts={
                    "metadata": {},
                    "model": "wd14-vit.v1",
                    "request": {
                        "arguments": {"mediaUrl": "https://image.civitai.com/x/107357814.jpeg"},
                        "steps": [{"name": "tag", "input": tag_input}, {"name": "rating", "input": rating_input}],
                    },
                },
            ),
            Observation(
                Level.STEP,
                key="tag",
                status=Status.SUCCEEDED,
                word="succeeded",
                upstream_at=at,
                started_at=datetime(2025, 10, 29, 21, 29, 23, 157716, tzinfo=UTC),
                completed_at=datetime(2025, 10, 29, 21, 29, 24, 759925, tzinfo=UTC),
                facts={
                    "metadata": {"imageId": 1},
                    "input": tag_input,
                    "output": {"tags": {"sword": 0.9198364615440369}, "rating": {"sensitive": 0.812727689743042}},
                },
            ),
            Observation(
                Level.STEP,
                key="rating",
                status=Status.SUCCEEDED,
                word="succeeded",
                upstream_at=at,
                started_at=datetime(2025, 10, 29, 21, 29, 23, 157852, tzinfo=UTC),
                completed_at=datetime(2025, 10, 29, 21, 29, 24, 679881, tzinfo=UTC),
                facts={
                    "metadata": {"imageId": 1},
                    "input": rating_input,
                    "output": {"nsfwLevel": "pg", "isBlocked": False},
                },
            ),
        ),
    )


def test_a_thin_workflow_event_speaks_of_the_workflow_alone() -> None:
    assert read(THIN_WORKFLOW_EVENT) == Reading(
        workflow_id="wf_01HXYZ",
        observations=(
            Observation(
                Level.WORKFLOW,
                status=Status.PROCESSING,
                word="processing",
                upstream_at=datetime(2026, 4, 12, 22, 58, 14, tzinfo=UTC),
            ),
        ),
    )


def test_a_detailed_step_event_brings_its_output_files() -> None:
    assert read(STEP_EVENT) == Reading(
        workflow_id="8484131-20260121222126332",
        observations=(
            Observation(
                Level.STEP,
                key="$0",
                status=Status.SUCCEEDED,
                word="succeeded",
                started_at=datetime(2026, 1, 21, 22, 21, 27, 100000, tzinfo=UTC),
                completed_at=datetime(2026, 1, 21, 22, 21, 41, 500000, tzinfo=UTC),
                progress=1.0,
                facts={
                    "retries": 0,
                    "metadata": {},
                    "input": {"engine": "flux", "prompt": "a fox"},
                    "output": {"images": [IMAGE]},
                },
            ),
        ),
        blobs=(
            BlobSeen(
                id="QG0CWJ9MB8Y8P7FXNPDV34RY10.jpeg",
                type="image",
                step="$0",
                job=JOB_ID,
                slot="images.0",
                available=True,
                url=IMAGE_URL,
                url_expires_at=datetime(2026, 1, 21, 22, 31, 41, tzinfo=UTC),
                facts={"nsfw_level": "pg", "width": 1024, "height": 1024},
            ),
        ),
    )


def test_a_job_event_brings_the_reason_and_names_its_step() -> None:
    assert read(JOB_EVENT) == Reading(
        workflow_id="0-20260731101112131",
        observations=(
            Observation(
                Level.JOB,
                key="5f0f6e1e-5f3e-4a7e-9a83-1d8a4f5d7c2b",
                step="rating",
                status=Status.FAILED,
                word="failed",
                facts={"reason": "Response status code does not indicate success: 500 (Internal Server Error)"},
            ),
        ),
    )


@pytest.mark.parametrize("kind", ["workflow", "step", "workflowStepJob", None, 7])
def test_a_job_id_makes_a_job_event_whatever_the_type_says(kind: object) -> None:
    assert read({**JOB_EVENT, "$type": kind}).observations == read(JOB_EVENT).observations


def test_without_a_type_the_fields_decide() -> None:
    for event in (THIN_WORKFLOW_EVENT, STEP_EVENT, JOB_EVENT):
        untyped = {key: value for key, value in event.items() if key != "$type"}
        assert read(untyped) == read(event)


@pytest.mark.parametrize(
    "event",
    [
        {"$type": "workflowArchived", "workflowId": "w", "status": "succeeded"},
        {"$type": "step", "workflowId": "w", "status": "succeeded"},
        {"$type": "job", "workflowId": "w", "status": "succeeded"},
        {"workflowId": "w"},
    ],
)
def test_an_unknown_event_of_a_workflow_moves_nothing_and_asks_for_a_look(event: dict[str, Any]) -> None:
    assert read(event) == Reading(workflow_id="w", needs_look=True)


def test_a_status_of_hostile_length_is_cut_and_an_empty_one_is_none() -> None:
    assert read({**JOB_EVENT, "status": "x" * 5000}).observations[0].word == "x" * 256
    empty = read({**JOB_EVENT, "status": ""})
    assert (empty.observations[0].word, empty.needs_look) == (None, True)


@pytest.mark.parametrize("event", [THIN_WORKFLOW_EVENT, STEP_EVENT, JOB_EVENT])
def test_an_unknown_status_is_kept_as_a_word_and_asks_for_a_look(event: dict[str, Any]) -> None:
    reading = read({**event, "status": "Paused"})
    assert (reading.observations[0].status, reading.observations[0].word) == (None, "Paused")
    assert reading.needs_look


def test_an_unknown_status_of_a_step_in_the_details_asks_for_a_look_too() -> None:
    event = json.loads(DETAILED_WORKFLOW_EVENT)
    event["details"]["steps"][1]["status"] = "paused"
    reading = read(event)
    assert [found.word for found in reading.observations] == ["succeeded", "succeeded", "paused"]
    assert reading.needs_look


def test_every_status_of_the_enum_is_known_at_every_level() -> None:
    for status in Status:
        for event in (THIN_WORKFLOW_EVENT, STEP_EVENT, JOB_EVENT):
            assert read({**event, "status": status.value}).observations[0].status is status


@pytest.mark.parametrize(
    "change",
    [
        {"workflowId": None},
        {"workflowId": 5},
        {"workflowId": ""},
        {"workflowId": "../x"},
        {"workflowId": ".."},
        {"workflowId": "a\u0000b"},
        {"workflowId": "a\nb"},
        {"workflowId": "w" * 257},
        {"jobId": 5},
        {"jobId": ""},
        {"jobId": "a/b"},
        {"stepName": 5},
        {"stepName": "a/b"},
        {"status": 5},
        {"status": ["succeeded"]},
        {"status": True},
    ],
)
def test_an_id_or_a_status_that_is_not_what_it_must_be_is_unreadable(change: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read({**JOB_EVENT, **change})


@pytest.mark.parametrize("wrong", [True, 5, 1.5, "x", [], {}, [[]], {"a": 1}])
def test_optional_fields_of_the_wrong_type_are_as_good_as_absent(wrong: Any) -> None:
    step = {"name": "s", "status": "failed"}
    for field in ("startedAt", "completedAt", "metadata", "cost", "jobs"):
        step[field] = wrong
    event = {**THIN_WORKFLOW_EVENT, "timestamp": wrong, "details": {"steps": [step], "createdAt": wrong}}
    reading = read(event)
    assert [found.status for found in reading.observations] == [Status.PROCESSING, Status.FAILED]
    for found in reading.observations:
        assert found.upstream_at is None
        assert found.started_at is None
        assert found.submitted_at is None
    assert isinstance(reading.observations[1].facts.get("metadata", {}), dict)
    assert read({**STEP_EVENT, "details": wrong}).observations[0].status is Status.SUCCEEDED
    assert read({**THIN_WORKFLOW_EVENT, "details": {"steps": wrong}}).observations[0].status is Status.PROCESSING


def test_reasons_are_found_at_every_level() -> None:
    why = {"reason": "blocked", "blockedReason": "minor"}
    event = {**THIN_WORKFLOW_EVENT, **why, "details": {"steps": [{"name": "s", "status": "failed", **why}]}}
    for found in (*read(event).observations, *read({**STEP_EVENT, **why}).observations):
        assert (found.facts["reason"], found.facts["blocked_reason"]) == ("blocked", "minor")


def test_a_field_called_like_one_of_the_ledgers_own_does_not_pass_for_it() -> None:
    event = {**JOB_EVENT, "blocked_reason": {"x": 1}, "queue_position": "?", "usage": 1, "brandNew": {"y": 2}}
    facts = read(event).observations[0].facts
    assert facts == {"reason": JOB_EVENT["reason"], "brandNew": {"y": 2}}


@pytest.mark.parametrize(
    ("given", "kept"), [(0.25, 0.25), (-3, 0.0), (7, 1.0), (10**30, 1.0), ("1", None), (True, None)]
)
def test_progress_is_held_between_nought_and_one(given: object, kept: float | None) -> None:
    assert read({**JOB_EVENT, "progress": given}).observations[0].progress == kept


def test_the_preparation_of_a_step_is_found_on_the_event_and_in_its_details() -> None:
    preparation = {"resource": "urn:air:flux", "queuePosition": 2}
    bare = {"$type": "step", "workflowId": "w", "name": "$0", "status": "preparing"}
    for event in ({**bare, "preparation": preparation}, {**bare, "details": {"preparation": preparation}}):
        assert read(event).observations[0].facts == {"preparation": preparation}


def test_a_nul_character_never_reaches_a_text() -> None:
    reading = read({**JOB_EVENT, "reason": "a\u0000b", "x\u0000": ["\u0000"]})
    assert reading.observations[0].facts == {"reason": "a\ufffdb", "x\ufffd": ["\ufffd"]}


def test_a_flood_of_steps_is_refused_before_it_reaches_the_ledger() -> None:
    steps = [{"name": f"s{number}", "status": "failed"} for number in range(5001)]
    with pytest.raises(Unreadable, match="5000"):
        read({**THIN_WORKFLOW_EVENT, "details": {"steps": steps}})
    assert len(read({**THIN_WORKFLOW_EVENT, "details": {"steps": steps[:5000]}}).observations) == 5001
    jobs = [{"id": f"j{number}", "status": "failed"} for number in range(5000)]
    with pytest.raises(Unreadable, match="5000"):
        read({**THIN_WORKFLOW_EVENT, "details": {"steps": [{"name": "s", "jobs": jobs}]}})
    files = [{**IMAGE, "id": f"f{number}"} for number in range(1000)]
    with pytest.raises(Unreadable, match="output files"):
        read({**THIN_WORKFLOW_EVENT, "details": {"steps": [{"name": f"s{n}", "output": files} for n in range(6)]}})

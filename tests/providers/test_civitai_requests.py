"""What we ask Civitai, what its answers mean, and what a submitter hands in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from civitai_samples import (
    GATEWAY_PAGE,
    IMAGE,
    IMAGE_URL,
    JOB_ID,
    NOW,
    STEP_EVENT,
    SUBMIT_ANSWER,
    VALIDATION_PROBLEM,
    account,
    encoded,
    inbound,
    response,
)

from receiver.ledger.records import BlobSeen, Level, Observation, Reading
from receiver.ledger.states import Status
from receiver.providers import provider_named
from receiver.providers.base import Request, Unreadable, UpstreamBusy, UpstreamGone, UpstreamRefused

CIVITAI = provider_named("civitai")
ID = SUBMIT_ANSWER["id"]
SINCE = datetime(2026, 1, 20, 12, tzinfo=timezone(timedelta(hours=2)))

REQUEST_FACT = {"steps": [{"$type": "videoGen", "name": "$0", "input": {"engine": "wan", "version": "v2.6"}}]}
SUBMITTED = (
    Observation(
        Level.WORKFLOW,
        status=Status.UNASSIGNED,
        word="unassigned",
        submitted_at=datetime(2026, 1, 21, 22, 21, 26, 332000, tzinfo=UTC),
        facts={
            "metadata": {},
            "tags": [],
            "cost": SUBMIT_ANSWER["cost"],
            "usage": {"cost": SUBMIT_ANSWER["cost"], "transactions": SUBMIT_ANSWER["transactions"]},
            "request": REQUEST_FACT,
            "model": "wan/v2.6",
            "tips": {"civitai": 0, "creators": 0},
            "upgradeMode": "manual",
            "currencies": ["yellow"],
            "forceRefunded": False,
        },
    ),
    Observation(
        Level.STEP,
        key="$0",
        status=Status.UNASSIGNED,
        word="unassigned",
        facts={
            "type": "videoGen",
            "priority": "normal",
            "metadata": {},
            "input": {"engine": "wan", "version": "v2.6"},
        },
    ),
    Observation(
        Level.JOB,
        key=JOB_ID,
        step="$0",
        status=Status.UNASSIGNED,
        word="unassigned",
        facts={"cost": 4.0, "queue_position": {"support": "available", "precedingJobs": 12}},
    ),
)


def look(document: Any, status: int = 200) -> Reading:
    return CIVITAI.read_status(ID, response(status, encoded(document)), account())


def workflow(**fields: Any) -> dict[str, Any]:
    return {**SUBMIT_ANSWER, **fields}


def test_a_look_asks_for_mature_content_and_carries_the_key_in_a_header_only() -> None:
    request = CIVITAI.status_request(ID, account(), {})
    assert request.method == "GET"
    assert request.url == f"https://orchestration.civitai.com/v2/consumer/workflows/{ID}?hideMatureContent=false"
    assert request.headers["authorization"] == "Bearer api-secret"
    assert "api-secret" not in repr(request)


def test_an_id_stays_one_segment_of_the_url() -> None:
    for name in ("a?b=c", "a#b", "a%2Fb", "..%2f", "ä b", "$0", "a\\b", "@evil.example"):
        for request in (CIVITAI.status_request(name, account(), {}), CIVITAI.relink("w", name, account())):
            assert request is not None
            parts = urlsplit(request.url)
            assert parts.netloc == "orchestration.civitai.com"
            assert len(parts.path.removesuffix("/refresh").split("/")) == 5
            assert name not in parts.path or name.isalnum()
    for name in ("", "..", ".", "a/b", "a\nb", "w" * 257):
        with pytest.raises(Unreadable):
            CIVITAI.status_request(name, account(), {})
        with pytest.raises(Unreadable):
            CIVITAI.relink("w", name, account())


@pytest.mark.parametrize("status", [200, 202])
def test_a_look_is_a_complete_snapshot_and_the_body_decides_not_the_code(status: int) -> None:
    assert look(SUBMIT_ANSWER, status) == Reading(workflow_id=ID, observations=SUBMITTED, snapshot=True, complete=True)
    ended = look(workflow(status="failed", completedAt="2026-01-21T22:22:00Z"), status)
    assert ended.observations[0].status is Status.FAILED
    assert ended.observations[0].completed_at == datetime(2026, 1, 21, 22, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    "steps",
    [
        None,
        "steps",
        [{"name": "$0", "status": "processing"}],
        [{"name": "$0", "status": "processing", "jobs": None}],
        [{"status": "processing", "jobs": []}],
        [{"name": "$0", "status": "processing", "jobs": [{"status": "failed", "reason": "no_provider_available"}]}],
    ],
)
def test_a_snapshot_that_may_leave_steps_or_jobs_out_is_not_complete(steps: Any) -> None:
    reading = look(workflow(steps=steps))
    assert (reading.snapshot, reading.complete) == (True, False)
    assert look(workflow(steps=[{"name": "$0", "jobs": []}])).complete


def test_a_job_without_an_id_still_tells_its_step_why() -> None:
    jobs = [{"status": "failed", "reason": "no_provider_available", "blockedReason": None}]
    reading = look(workflow(steps=[{"name": "$0", "status": "failed", "jobs": jobs}]))
    assert reading.observations[1].facts == {"reason": "no_provider_available"}


def test_a_look_shows_output_files_and_what_is_missing_there_is_not_hidden() -> None:
    gone = {**IMAGE, "id": "other.jpeg", "url": None}
    reading = look(workflow(steps=[{"name": "$0", "jobs": [], "output": {"images": [IMAGE, gone]}}]))
    assert [(blob.id, blob.step, blob.hidden) for blob in reading.blobs] == [
        (IMAGE["id"], "$0", False),
        ("other.jpeg", "$0", False),
    ]


def test_deletion_and_forgetfulness_are_told() -> None:
    reading = look(workflow(ephemeral=True, deletedAt="2026-01-22T00:00:00Z"))
    assert reading.ephemeral is True
    assert reading.observations[0].facts["deleted_at"] == "2026-01-22T00:00:00Z"
    assert look(workflow(ephemeral="yes")).ephemeral is None


def test_no_reading_carries_the_callbacks_with_their_tokens() -> None:
    for reading in (look(SUBMIT_ANSWER), CIVITAI.track(SUBMIT_ANSWER, SUBMIT_ANSWER)):
        assert "hook-secret" not in repr(reading)


def test_an_answer_about_another_workflow_is_unreadable() -> None:
    for other in ("somebody-else", None, 5, ID + " "):
        with pytest.raises(Unreadable):
            look(workflow(id=other))


def test_a_gateways_page_with_a_good_status_means_try_again() -> None:
    with pytest.raises(UpstreamBusy, match="524: A timeout occurred"):
        CIVITAI.read_status(ID, response(200, GATEWAY_PAGE), account())


def test_one_file_is_renewed_by_a_post_and_its_answer_is_the_file() -> None:
    request = CIVITAI.relink(ID, IMAGE["id"], account())
    assert request is not None
    assert (request.method, request.body) == ("POST", None)
    assert request.url == f"https://orchestration.civitai.com/v2/consumer/blobs/{IMAGE['id']}/refresh"
    assert CIVITAI.read_relink(ID, response(200, encoded(IMAGE)), account()) == BlobSeen(
        id=IMAGE["id"],
        type="image",
        job=JOB_ID,
        available=True,
        url=IMAGE_URL,
        url_expires_at=datetime(2026, 1, 21, 22, 31, 41, tzinfo=UTC),
        facts={"nsfw_level": "pg", "width": 1024, "height": 1024},
    )
    with pytest.raises(UpstreamGone):
        CIVITAI.read_relink(ID, response(404, b""), account())
    with pytest.raises(Unreadable):
        CIVITAI.read_relink(ID, response(200, b'{"type":"image","available":true}'), account())


def first_page() -> Request:
    request = CIVITAI.list(SINCE, NOW, account())
    assert request is not None
    return request


def test_a_listing_names_its_window_in_utc_and_hides_nothing() -> None:
    parts = urlsplit(first_page().url)
    assert parts.path == "/v2/consumer/workflows"
    assert parse_qs(parts.query) == {
        "fromDate": ["2026-01-20T10:00:00Z"],
        "toDate": ["2026-01-21T22:30:00Z"],
        "take": ["100"],
        "hideMatureContent": ["false"],
        "ascending": ["true"],
    }


def test_pages_follow_the_cursor_within_the_same_window_until_there_is_none() -> None:
    body = {"next": "a&b=c/+", "items": [SUBMIT_ANSWER]}
    page = CIVITAI.read_list(response(200, encoded(body)), account(), first_page())
    assert page.readings == (Reading(workflow_id=ID, observations=SUBMITTED, snapshot=True, complete=True),)
    assert page.next is not None
    asked, following = parse_qs(urlsplit(first_page().url).query), parse_qs(urlsplit(page.next.url).query)
    assert following == {**asked, "cursor": ["a&b=c/+"]}
    assert page.next.headers == first_page().headers
    assert CIVITAI.read_list(response(200, encoded(body)), account(), page.next).next is None
    for end in (None, "", 5):
        last = CIVITAI.read_list(response(200, encoded({"next": end, "items": []})), account(), page.next)
        assert (last.readings, last.next) == ((), None)


def test_an_item_that_cannot_be_read_does_not_take_the_page_with_it() -> None:
    items = [{"id": "../x"}, SUBMIT_ANSWER, "text", {"id": "w", "status": 5}]
    page = CIVITAI.read_list(response(200, encoded({"items": items})), account(), first_page())
    assert ([reading.workflow_id for reading in page.readings], page.skipped) == ([ID], 3)
    with pytest.raises(Unreadable):
        CIVITAI.read_list(response(200, b"{}"), account(), first_page())


def test_a_submit_answer_counts_as_an_event_of_its_workflow() -> None:
    assert CIVITAI.track(SUBMIT_ANSWER, None) == Reading(workflow_id=ID, observations=SUBMITTED)
    assert CIVITAI.track(workflow(id=None), None).workflow_id == ""
    for answer in (workflow(id="../x"), workflow(id=5), {"id": ID, "x": "\ud800"}):
        with pytest.raises(Unreadable):
            CIVITAI.track(answer, None)
    with pytest.raises(Unreadable):
        CIVITAI.track(None, None)


def test_the_request_as_sent_is_kept_without_its_callbacks() -> None:
    template = {
        "steps": [{"$type": "imageGen", "input": {"engine": "flux", "model": "pro", "outputFormat": "png"}}],
        "callbacks": SUBMIT_ANSWER["callbacks"],
        "tags": ["team-a"],
        "metadata": {"order": 7, "nul": "\x00", "nan": float("nan")},
        "externalId": "order-7",
        "ephemeral": True,
    }
    metadata = {"order": 7, "nul": "\ufffd", "nan": None}
    request = {
        "steps": template["steps"],
        "tags": ["team-a"],
        "metadata": metadata,
        "externalId": "order-7",
        "ephemeral": True,
    }
    alone = CIVITAI.track(None, template)
    assert alone == Reading(
        workflow_id="",
        observations=(
            Observation(
                Level.WORKFLOW,
                facts={
                    "request": request,
                    "model": "flux/pro",
                    "output_format": "png",
                    "metadata": metadata,
                    "tags": ["team-a"],
                    "external_id": "order-7",
                },
            ),
        ),
        ephemeral=True,
    )
    both = CIVITAI.track(SUBMIT_ANSWER, template)
    assert both.workflow_id == ID
    assert both.observations[0].facts["request"] == request
    assert both.observations[0].facts["model"] == "wan/v2.6"
    assert both.observations[0].facts["external_id"] == "order-7"
    assert both.observations[1:] == SUBMITTED[1:]


def test_a_problem_never_repeats_the_whole_body_or_a_secret() -> None:
    with pytest.raises(UpstreamBusy) as caught:
        CIVITAI.read_status(
            ID, response(503, b'{"detail":"key api-secret, hook-secret ' + b"x" * 9000 + b'"}'), account()
        )
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 260


def test_the_probe_is_one_cheap_authenticated_read() -> None:
    (probe,) = CIVITAI.probes(account())
    assert probe.request.method == "GET"
    assert parse_qs(urlsplit(probe.request.url).query)["take"] == ["1"]
    assert probe.request.headers["authorization"] == "Bearer api-secret"


def test_there_is_no_answer_for_many_at_once() -> None:
    assert CIVITAI.bulk_status(["a", "b"], account()) is None


def test_an_event_and_a_look_say_the_same_of_the_same_step() -> None:
    """R5 rests on it: whichever comes first, the fields agree."""
    shown = look(workflow(steps=[{"name": "$0", "status": "succeeded", "jobs": [], **STEP_EVENT["details"]}]))
    told = CIVITAI.read(inbound(encoded(STEP_EVENT)), account())
    assert shown.observations[1] == told.observations[0]
    assert shown.blobs == told.blobs


def test_validation_problems_are_told_with_their_first_path() -> None:
    with pytest.raises(
        UpstreamRefused, match=r"validation errors occurred.*steps\[0\]\.input\.resolution: The value '4k'"
    ):
        CIVITAI.read_status(ID, response(400, encoded(VALIDATION_PROBLEM)), account())

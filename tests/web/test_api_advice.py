"""Advice and incident reports over HTTP: errors in every shape, the template, symptoms, where an error is from."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from receiver.config import Config, load_config
from receiver.ledger import checks
from receiver.ledger.apply import apply
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.ledger.entries import Answer as Answered
from receiver.ledger.entries import Entry, Look
from receiver.ledger.query_parts import stamp
from receiver.ledger.records import EvidenceKind, Reading
from tests.web.asking import Api, Upstream, document, make_token, path_of
from tests.web.client import Answer, ask
from tests.web.conftest import TOKEN, Running

API_KEY = "planted-api-key-of-the-tests"
# seeds/000: the template as upstream's guide has it.
TEMPLATE = {
    "incident_time": str, "job_id": str, "model": str, "output_format": str, "symptom": str, "http_status": int,
    "error_code": str, "request_id": str, "source_video_meta": dict,
}  # fmt: skip
RFC7807 = {
    "type": "https://tools.ietf.org/html/rfc9110#section-15.5.1",
    "title": "One or more validation errors occurred.",
    "status": 400,
    "errors": {"steps[0].input.resolution": ["The value '4k' is not valid for resolution."]},
}
CREDITS = {"code": "insufficient_credits", "message": "Not enough credits", "request_id": "req_123456"}
SYMPTOMS = [
    ("stays processing", "Queue backlog or large media", "Poll with backoff and set timeout guardrails"),
    ("Job STUCK for an hour", "Queue backlog or large media", "Poll with backoff and set timeout guardrails"),
    ("timeout", "Queue backlog or large media", "Poll with backoff and set timeout guardrails"),
    ("401", "Wrong key or key disabled", "Rotate key and verify environment mapping"),
    ("invalid_api_key", "Wrong key or key disabled", "Rotate key and verify environment mapping"),
    ("HTTP 402", "Account credits below required amount", "Top up credits before retry"),
    ("insufficient credits", "Account credits below required amount", "Top up credits before retry"),
    (
        "loss of fine details in hair",
        "Model/format mismatch",
        "Try original or pro, use higher source quality, avoid aggressive compression",
    ),
    (
        "detail loss",
        "Model/format mismatch",
        "Try original or pro, use higher source quality, avoid aggressive compression",
    ),
    (
        "Flickering between frames",
        "Scene complexity + unstable segmentation",
        "Use original/pro, avoid aggressive post smoothing, test on representative clips",
    ),
]


@pytest.fixture
def config(database_url: str) -> Config:
    table = {"HOOKLEDGER_DATABASE__URL": database_url}
    for source, provider in (("civ", "civitai"), ("rbv", "removebgvideo"), ("evo", "evolink")):
        table[f"HOOKLEDGER_SOURCES__{source.upper()}__PROVIDER"] = provider
        table[f"HOOKLEDGER_SOURCES__{source.upper()}__API_KEY"] = API_KEY
        table[f"HOOKLEDGER_SOURCES__{source.upper()}__HOOK_TOKEN"] = TOKEN
    return load_config(env=table)


@pytest.fixture
async def api(receiver: Running, database: Database) -> Api:
    return Api(receiver, await make_token(database, "write"))


async def advice(api: Api, **told: Any) -> Any:
    answer = await api.post("/v1/advice", told)
    assert answer.status == 200, answer.body
    return answer.json


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"http": 400, "body": RFC7807}, {"disposition": "fix_request", "fields": RFC7807["errors"]}),
        (
            {"http": 403, "body": '"You do not have enough funds"'},
            {"disposition": "fix_account", "message": "You do not have enough funds"},
        ),
        ({"http": 403, "error": "no"}, {"disposition": "fix_account", "message": "no"}),
        (
            {"http": 524, "body": "<!DOCTYPE html><html><title>524: A timeout occurred</title>"},
            {"disposition": "retry_later", "message": "524: A timeout occurred"},
        ),
        (
            {"provider": "removebgvideo", "http": 402, "body": {"error": CREDITS}},
            {"disposition": "fix_account", "code": "insufficient_credits", "request_id": "req_123456"},
        ),
        (
            {"provider": "removebgvideo", "http": 402, "body": json.dumps(CREDITS)},
            {"disposition": "fix_account", "code": "insufficient_credits", "request_id": "req_123456"},
        ),
        (
            {"provider": "removebgvideo", "http": 402, "error": CREDITS},
            {"disposition": "fix_account", "code": "insufficient_credits", "message": "Not enough credits"},
        ),
        (
            {"provider": "beeble", "http": 402, "error": {"code": "CREDIT_DEDUCTION_FAILED", "message": "x"}},
            {"disposition": "fix_account"},
        ),
        (
            {"provider": "beeble", "http": 500, "error": {"code": "CREDIT_DEDUCTION_FAILED", "message": "x"}},
            {"disposition": "retry_later"},
        ),
        (
            {"provider": "evolink", "http": 402, "body": {"error": {"code": 402, "message": "x"}}},
            {"disposition": "fix_account", "code": None},
        ),
        (
            {"provider": "evolink", "http": 200, "error": {"code": "timeout", "message": None}},
            {"disposition": "retry", "code": "timeout"},
        ),
        ({"provider": "evolink", "error": {"code": "brand_new", "message": "x"}}, {"known": False}),
        ({"http": 429, "retry_after": "17"}, {"disposition": "retry_later", "retry_after": 17.0}),
        ({"provider": "beeble", "http": 429}, {"disposition": "retry_later", "retry_after": 60}),
        ({"http": 401, "retry_after": 17}, {"disposition": "fix_account", "retry_after": None}),
    ],
)
async def test_an_error_met_at_submit_time_is_read_in_every_shape(
    api: Api, told: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = await advice(api, **{"provider": "civitai", **told})
    assert found.keys() == {
        "disposition", "text", "retry_after", "known", "code", "message", "request_id", "fields",
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert found["known"] is expected.get("known", True)
    assert found["text"]


async def test_a_date_to_retry_after_becomes_seconds(api: Api) -> None:
    past = await advice(api, provider="civitai", http=429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")
    assert past["retry_after"] == 0
    future = await advice(api, provider="civitai", http=429, retry_after="Tue, 21 Oct 2199 07:28:00 GMT")
    assert future["retry_after"] > 3600


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "nothing"), ({"provider": "civitai"}, "nothing"), ({"http": 400}, "civitai"),
        ({"http": 400, "provider": "nobody"}, "civitai"), ({"http": 400, "provider": ["civitai"]}, "civitai"),
        ({"http": "400", "provider": "civitai"}, "http"), ({"http": 99, "provider": "civitai"}, "http"),
        ({"http": True, "provider": "civitai"}, "http"), ({"http": 400, "provider": "civitai", "x": 1}, "'x'"),
        ({"http": 400, "provider": "civitai", "body": "x", "error": "x"}, "not both"),
        ({"http": 400, "provider": "civitai", "error": 7}, "error"),
        ({"http": 429, "provider": "civitai", "retry_after": "soon"}, "retry_after"),
        ({"http": 429, "provider": "civitai", "retry_after": []}, "retry_after"),
    ],
)  # fmt: skip
async def test_what_cannot_be_advised_on_is_a_problem_that_says_what_would_be_right(
    api: Api, told: dict[str, Any], said: str
) -> None:
    answer = await api.post("/v1/advice", told)
    assert (answer.status, answer.json["type"]) == (422, "/problems/bad-advice")
    assert said in answer.json["detail"]


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"null"])
async def test_a_body_that_is_no_object_is_a_bad_request(api: Api, body: bytes) -> None:
    answer = await api.post("/v1/advice", body)
    assert (answer.status, answer.json["type"]) == (400, "/problems/bad-request")


async def test_both_need_a_token(api: Api) -> None:
    nobody = Api(api.running, None)
    assert (await nobody.post("/v1/advice", {"provider": "civitai", "http": 400})).status == 401
    assert (await nobody.get(path_of("wf-1") + "/incident")).status == 401


async def test_an_error_is_answered_without_the_secrets_in_it_even_where_it_would_be_cut(api: Api) -> None:
    long = "x" * (2000 - len(API_KEY) // 2) + API_KEY
    for told in (
        {"body": f"the key {API_KEY} is wrong"},
        {"error": {"code": API_KEY, "message": API_KEY}},
        {"body": {**RFC7807, "errors": {API_KEY: [API_KEY]}}},
        {"body": json.dumps({"error": {"code": "x", "message": long}})},
    ):
        answer = await api.post("/v1/advice", {"provider": "civitai", "http": 401, **told})
        assert answer.status == 200
        assert API_KEY[:10] not in answer.body.decode()
        assert "[secret]" in answer.body.decode() or "x" * 1000 in answer.body.decode()


async def test_advice_stands_with_a_workflow_and_its_steps_in_lists_too(api: Api, database: Database) -> None:
    upstream = Upstream(database, api.running.site.config)
    shown = document("wf-1", "failed")
    shown["steps"][0]["jobs"][0]["reason"] = "no_provider_available"
    await api.deliver("wf-1", "processing")
    assert (await api.workflow("wf-1"))["advice"] is None
    await upstream.settle("wf-1", shown)
    told = await api.workflow("wf-1")
    assert told["advice"]["disposition"] == told["steps"][0]["advice"]["disposition"] == "retry_later"
    (listed,) = (await api.get("/v1/workflows")).json["items"]
    assert listed["advice"] == told["advice"]
    waited = await api.get(path_of("wf-1"), wait=1, until="terminal")
    assert waited.json["advice"] == told["advice"]


async def incident(api: Api, name: str, source: str = "rbv", **query: str) -> Any:
    answer = await api.get(path_of(name, source) + "/incident", **query)
    assert answer.status == 200, answer.body
    return answer.json


async def tracked(api: Api, name: str = "job_1", **more: Any) -> None:
    told = {
        "source": "rbv", "id": name, "context": {"team": "red"},
        "media": {"duration": "12.3", "resolution": "1920x1080", "codec": "h264", "fps": "25"},
        "request": {
            "video_url": "https://cdn.example.com/in.mp4", "model": "pro", "output_format": "webm",
            "background": {"type": "color", "value": "#fff"}, "bg_type": "custom", "composition": {"scale": 2},
            "webhook_url": api.running.hook("rbv"), "note": API_KEY,
        },
        **more,
    }  # fmt: skip
    answer = await api.post("/v1/workflows", told)
    assert answer.status == 201, answer.body


async def deliver(api: Api, event: str, job: dict[str, Any]) -> Answer:
    headers = {"x_webhook_event": event, "x_webhook_delivery_id": f"d-{event}", "content_type": "application/json"}
    answer = await ask("POST", api.running.hook("rbv"), json.dumps({"event": event, "data": job}).encode(), **headers)
    assert answer.status == 200, answer.body
    return answer


async def refused(
    database: Database, config: Config, name: str, status: int, body: bytes, source: str = "rbv", **headers: str
) -> None:
    """Have one look answered with an error, as the reconciler keeps it."""
    async with database.write() as connection:
        now = await database_now(connection)
        await checks.want(connection, source, name, None, now)
        (claim,) = await checks.claim(
            connection, now, holder="tests", lease=timedelta(seconds=60), limits={source: 1}, ids=[name]
        )
        good = status < 400
        message = "" if good else f"upstream answered {status}"
        look = Look(claim.fence, Answered.SHOWN if good else Answered.BUSY, message)
        entry = Entry(
            source, config.policy(source), EvidenceKind.FETCH, now, name, Reading(name) if good else None, look=look,
            body=body, body_sha256=sha256(body).hexdigest(), http_status=status, headers=dict(headers) or None,
            problem=look.message or None,
        )  # fmt: skip
        await apply(connection, [entry], now)


async def test_the_report_is_the_template_and_all_that_is_known_beside_it(api: Api, database: Database) -> None:
    submitted = stamp(datetime.now(UTC) - timedelta(seconds=50))
    await tracked(api, submitted_at=submitted)
    await deliver(api, "job.started", {"id": "job_1", "status": "processing"})
    body = json.dumps({"error": {"code": "internal_error", "message": "x", "request_id": "req_xxx"}}).encode()
    await refused(database, api.running.site.config, "job_1", 500, body)
    told = await incident(api, "job_1", symptom="flicker / detail loss / timeout")
    assert list(told)[: len(TEMPLATE)] == list(TEMPLATE)
    assert {name: type(told[name]) for name in TEMPLATE} == TEMPLATE
    assert [told[name] for name in list(TEMPLATE)[1:]] == [
        "job_1", "pro", "webm", "flicker / detail loss / timeout", 500, "internal_error", "req_xxx",
        {"duration_s": 12.3, "resolution": "1920x1080", "codec": "h264"},
    ]  # fmt: skip
    assert [one["symptom"].split()[0] for one in told["known_symptoms"]] == ["Job", "Loss", "Flicker"]
    assert told["background"] == {"background": {"type": "color", "value": "#fff"}, "bg_type": "custom"}
    assert told["composition"] == {"composition": {"scale": 2}}
    assert told["input_reference"] == {"video_url": "https://cdn.example.com/in.mp4"}
    assert told["request"]["model"] == "pro"
    assert (told["submitted_at"], told["context"]) == (submitted, {"team": "red"})
    assert (told["source"], told["provider"], told["status"]) == ("rbv", "removebgvideo", "processing")
    assert [one["to"] for one in told["timeline"]] == [
        one["to"] for one in (await api.get(path_of("job_1", "rbv") + "/transitions")).json["items"]
    ]
    assert [one["kind"] for one in told["evidence"]] == ["decision", "delivery", "fetch"]
    assert told["evidence"][-1]["body_sha256"] == sha256(body).hexdigest()
    (attempt,) = told["attempts"]
    assert (attempt["http_status"], attempt["error"]) == (500, "upstream answered 500")
    assert told["error_told_by"] == attempt["evidence"] == told["evidence"][-1]["id"]
    assert told["incident_time"] == attempt["sent_at"]
    assert (told["advice"], told["attention"], told["complete"]) == (None, [], True)


async def test_what_is_overdue_is_an_incident_since_then(api: Api) -> None:
    await tracked(api, submitted_at="2026-04-20T09:59:00Z")
    await deliver(api, "job.started", {"id": "job_1", "status": "processing"})
    told = await incident(api, "job_1")
    assert [one["kind"] for one in told["attention"]] == ["overdue"]
    assert told["incident_time"] == told["attention"][0]["since"] < told["reported_at"]


async def test_the_report_on_a_failed_job_tells_its_own_error_and_the_request_id_of_its_delivery(
    api: Api, database: Database
) -> None:
    await tracked(api)
    await refused(database, api.running.site.config, "job_1", 429, b"{}")
    job = {"id": "job_1", "status": "failed", "completed_at": "2026-04-20T10:00:00Z", "usage": {"credits": 7},
           "error": {"code": "timeout", "message": "it took too long", "request_id": "req_7"}}  # fmt: skip
    await deliver(api, "job.failed", job)
    told = await incident(api, "job_1")
    assert (told["http_status"], told["error_code"], told["request_id"]) == (None, "timeout", "req_7")
    assert (told["incident_time"], told["error_told_by"]) == ("2026-04-20T10:00:00Z", "workflow")
    assert (told["symptom"], told["known_symptoms"]) == (None, [])
    assert told["advice"]["disposition"] == "retry"
    assert told["usage"]["credits"] == 7


async def test_a_refusal_before_the_end_was_seen_is_no_error_of_what_ended_well(api: Api, database: Database) -> None:
    config = api.running.site.config
    upstream = Upstream(database, config)
    await api.deliver("wf-1", "processing")
    await refused(database, config, "wf-1", 503, b"<html><title>Bad gateway</title>", "civ")
    before = await incident(api, "wf-1", "civ")
    assert (before["http_status"], before["error_code"]) == (503, None)
    await upstream.settle("wf-1", document("wf-1"))
    after = await incident(api, "wf-1", "civ", symptom="flicker")
    assert [after[name] for name in ("http_status", "error_code", "request_id", "error_told_by")] == [None] * 4
    assert [one["http_status"] for one in after["attempts"]] == [200, 503]


async def test_the_request_id_may_stand_in_the_answers_headers(api: Api, database: Database) -> None:
    await api.deliver("wf-1", "processing")
    await refused(database, api.running.site.config, "wf-1", 500, b"oops", "civ", **{"x-request-id": "rq-9"})
    told = await incident(api, "wf-1", "civ")
    assert (told["http_status"], told["request_id"]) == (500, "rq-9")
    assert told["attempts"][0]["request_id"] == "rq-9"


async def test_a_failed_jobs_reason_is_the_error_code(api: Api, database: Database) -> None:
    shown = document("wf-1", "failed")
    shown["steps"][0]["jobs"][0]["reason"] = "no_provider_available"
    await api.deliver("wf-1", "processing")
    await Upstream(database, api.running.site.config).settle("wf-1", shown)
    told = await incident(api, "wf-1", "civ")
    assert (told["error_code"], told["model"], told["output_format"]) == ("no_provider_available", "flux", None)
    assert told["source_video_meta"] == {"duration_s": None, "resolution": None, "codec": None}
    assert told["advice"]["disposition"] == "retry_later"


@pytest.mark.parametrize(("said", "cause", "action"), SYMPTOMS)
async def test_each_symptom_brings_its_known_cause_and_action(api: Api, said: str, cause: str, action: str) -> None:
    await tracked(api)
    told = await incident(api, "job_1", symptom=said)
    assert told["symptom"] == said
    assert [(one["cause"], one["action"]) for one in told["known_symptoms"]] == [(cause, action)]


async def test_a_symptom_nobody_knows_is_kept_in_its_own_words(api: Api) -> None:
    await tracked(api)
    for said in ("colours are off", "14012 frames"):
        told = await incident(api, "job_1", symptom=said)
        assert (told["symptom"], told["known_symptoms"]) == (said, [])


@pytest.mark.parametrize("query", [{"symptom": ""}, {"symptom": "x" * 501}, {"symptom": "a\x07"}, {"sympton": "x"}])
async def test_a_symptom_that_cannot_be_is_a_problem(api: Api, query: dict[str, str]) -> None:
    await tracked(api)
    answer = await api.get(path_of("job_1", "rbv") + "/incident", **query)
    assert (answer.status, answer.json["type"]) == (400, "/problems/bad-filter")


async def test_nobody_reports_on_what_nobody_knows(api: Api) -> None:
    answer = await api.get(path_of("nobody") + "/incident")
    assert (answer.status, answer.json["type"]) == (404, "/problems/unknown-workflow")


async def test_no_report_holds_a_secret(api: Api, database: Database) -> None:
    await tracked(api, context={"note": API_KEY})
    body = json.dumps({"error": {"code": TOKEN, "message": API_KEY, "request_id": API_KEY}}).encode()
    await refused(database, api.running.site.config, "job_1", 500, body, **{"x-request-id": TOKEN})
    answer = await api.get(path_of("job_1", "rbv") + "/incident", symptom=f"the key {API_KEY}")
    assert answer.status == 200
    for secret in (API_KEY, TOKEN):
        assert secret not in answer.body.decode()
    assert answer.json["request"]["note"] == "[secret]"
    assert answer.json["error_code"] == answer.json["request_id"] == "[secret]"

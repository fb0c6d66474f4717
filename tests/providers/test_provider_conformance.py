"""What every provider owes, whichever upstream it knows. A provider that joins PROVIDERS adds its samples here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import beeble_samples as beeble
import civitai_samples as civitai
import evolink_samples as evolink
import fal_samples as fal
import kie_samples as kie
import kling_samples as kling
import luma_samples as luma
import openai_samples as openai
import openrouter_samples as openrouter
import orjson
import pytest
import removebgvideo_samples as removebgvideo
import replicate_samples as replicate
import runpod_samples as runpod
import runway_samples as runway
import standard_samples as standard
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.ledger.records import BlobSeen, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers import PROVIDERS
from receiver.providers.base import (
    Account,
    BadSignature,
    Inbound,
    Provider,
    ProviderError,
    Request,
    Response,
    Unreadable,
)
from receiver.providers.ids import is_id

NOW = datetime(2026, 1, 21, 22, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Samples:
    """What the suite needs to know of an upstream: bodies it delivers, the answer to a look, and who asks.

    `odd_id` is an id that tries to leave its URL and may still be asked about. `listed` is where a listing has its
    items; `bare_list` says that a list with nothing around it is one too. `open_probes` are those that need no key.
    `nameless` says that a delivery need not name its workflow.
    """

    account: Account
    events: Sequence[Mapping[str, Any]]
    workflow_id: str
    answer: Mapping[str, Any]
    blob: Mapping[str, Any]
    odd_id: str = "@evil.example:80?x#y"
    listed: str = "items"
    bare_list: bool = False
    open_probes: frozenset[str] = frozenset()
    nameless: bool = False


SAMPLES = {
    "civitai": Samples(
        account=civitai.account(tokens=("new-token", "old-token")),
        events=(
            json.loads(civitai.DETAILED_WORKFLOW_EVENT),
            civitai.THIN_WORKFLOW_EVENT,
            civitai.STEP_EVENT,
            civitai.JOB_EVENT,
        ),
        workflow_id=civitai.SUBMIT_ANSWER["id"],
        answer=civitai.SUBMIT_ANSWER,
        blob=civitai.IMAGE,
    ),
    "beeble": Samples(
        account=beeble.account(),
        events=(beeble.SUCCESS_EVENT, beeble.FAILURE_EVENT),
        workflow_id="swx_abc123",
        answer=beeble.STATUS,
        blob={},
        listed="jobs",
    ),
    "evolink": Samples(
        account=evolink.account(),
        events=(evolink.COMPLETED, evolink.FAILED),
        workflow_id=evolink.COMPLETED["id"],
        answer=evolink.COMPLETED,
        blob={},
        odd_id="task-unified-@evil.example:80?x#y",
        listed="data",
    ),
    "removebgvideo": Samples(
        account=removebgvideo.account(),
        events=(removebgvideo.ASSUMED_EVENT, removebgvideo.JOB),
        workflow_id="job_123",
        answer=removebgvideo.JOB,
        blob={},
        bare_list=True,
        open_probes=frozenset({"health", "pricing"}),
        nameless=True,
    ),
    "replicate": Samples(
        account=replicate.account(Trust.TOKEN, hook_tokens=("new-token", "old-token")),
        events=(replicate.PREDICTION, replicate.STARTING, replicate.FAILED),
        workflow_id=replicate.ID,
        answer=replicate.PREDICTION,
        blob={},
        listed="results",
    ),
    "fal": Samples(
        account=fal.account(Trust.TOKEN, hook_tokens=("new-token", "old-token")),
        events=(fal.OK_EVENT, fal.ERROR_EVENT, fal.UNWRITTEN_EVENT),
        workflow_id=fal.ID,
        answer=fal.COMPLETED,
        blob={},
    ),
    "openai": Samples(
        account=openai.account(Trust.TOKEN, hook_tokens=("new-token", "old-token")),
        events=(openai.EVENT,),
        workflow_id="batch_abc123",
        answer=openai.BATCH,
        blob={},
        odd_id="resp_@evil.example:80?x#y",
        listed="data",
    ),
    "runpod": Samples(
        account=runpod.account(),
        events=(runpod.COMPLETED, runpod.FAILED, runpod.TIMED_OUT),
        workflow_id=runpod.ID,
        answer=runpod.COMPLETED,
        blob={},
    ),
    "luma": Samples(
        account=luma.account(),
        events=(luma.COMPLETED, luma.DREAMING, luma.FAILED),
        workflow_id=luma.ID,
        answer=luma.COMPLETED,
        blob={},
        listed="generations",
    ),
    "kling": Samples(
        account=kling.account(),
        events=(kling.SUCCEED, kling.FAILED, kling.IMAGES),
        workflow_id=kling.ID,
        answer=kling.ANSWER,
        blob={},
    ),
    "kie": Samples(
        account=kie.account(),
        events=(kie.SUCCESS, kie.FAIL, kie.VEO),
        workflow_id=kie.ID,
        answer=kie.SUCCESS,
        blob={},
    ),
    "runway": Samples(
        account=runway.account(),
        events=(),
        workflow_id=runway.ID,
        answer=runway.SUCCEEDED,
        blob={},
    ),
    "openrouter": Samples(
        account=openrouter.account(Trust.TOKEN, hook_tokens=("new-token", "old-token")),
        events=(openrouter.COMPLETED_EVENT, openrouter.EXPIRED_EVENT),
        workflow_id="vid_abc",
        answer=openrouter.ANSWER,
        blob={},
    ),
    "standard-webhooks": Samples(
        account=standard.account(Trust.TOKEN, hook_tokens=("new-token", "old-token")),
        events=(standard.DONE, standard.FAILED),
        workflow_id="job_1",
        answer=standard.ANSWER,
        blob={},
    ),
}

HOSTILE = (
    *(b"", b"x", b"null", b"[]", b'"x"', b"{}", b"\xff", b"\x00", b'{"a":NaN}', b'{"a":1e400}', b'{"a":"\\ud800"}'),
    b"[" * 10_000,
    b'{"a":' * 10_000,
    b'{"a":' + b"9" * 5000 + b"}",
)


def test_every_provider_has_samples() -> None:
    assert SAMPLES.keys() == PROVIDERS.keys()


@pytest.fixture(params=sorted(PROVIDERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def provider(name: str) -> Provider:
    return PROVIDERS[name]


@pytest.fixture
def samples(name: str) -> Samples:
    return SAMPLES[name]


def inbound(body: bytes, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None) -> Inbound:
    return Inbound(headers=headers or {}, query=query or {}, body=body, received_at=NOW)


def response(status: int, body: bytes) -> Response:
    return Response(status=status, headers={}, body=body, sent_at=NOW, received_at=NOW)


def assert_sound(reading: Reading, *, id_known: bool = True) -> None:
    """A reading the ledger can take: lawful ids, aware UTC instants, bounded numbers, facts that can be stored."""
    assert is_id(reading.workflow_id) or (not id_known and reading.workflow_id == "")
    for found in (*reading.observations, *reading.blobs):
        moments = [getattr(found, field) for field in found.__dataclass_fields__ if field.endswith("_at")]
        assert all(moment is None or (moment.tzinfo is UTC and 2000 <= moment.year < 9999) for moment in moments)
        assert b"\\u0000" not in orjson.dumps(found.facts).replace(b"\\\\", b"")
    for found in reading.observations:
        assert_sound_observation(found)
    assert len({blob.id for blob in reading.blobs}) == len(reading.blobs)
    for blob in reading.blobs:
        assert is_id(blob.id)
        assert blob.job is None or is_id(blob.job)


def assert_sound_observation(found: Observation) -> None:
    assert found.key == "" if found.level == "workflow" else is_id(found.key)
    assert found.step is None or is_id(found.step)
    assert found.status is None or isinstance(found.status, Status)
    assert found.word is None or 0 < len(found.word) <= 256
    assert (found.status is None) or found.word
    assert found.progress is None or 0.0 <= found.progress <= 1.0


def test_its_habits_are_complete(provider: Provider) -> None:
    habits = provider.habits
    assert habits.poll
    assert all(wait > 0 for wait in habits.poll)
    assert timedelta(0) < habits.silence < habits.deadline
    assert habits.default_base_url.startswith("https://")
    assert Trust.NONE in habits.trusts
    assert all(header == header.lower() for header in habits.identity_headers)
    assert all(not host.startswith((".", "http")) for host in habits.blob_hosts)


def test_its_deliveries_are_read_and_name_their_workflow(provider: Provider, samples: Samples) -> None:
    for event in samples.events:
        reading = provider.read(inbound(orjson.dumps(event)), samples.account)
        assert_sound(reading)
        assert not reading.snapshot
        assert reading.observations or reading.needs_look


@pytest.mark.parametrize("trust", [Trust.TOKEN, Trust.HINT])
def test_a_token_that_is_configured_must_be_right(provider: Provider, samples: Samples, trust: Trust) -> None:
    if trust not in provider.habits.trusts:
        pytest.skip("this upstream's deliveries are not believed by token")
    account = replace(samples.account, trust=trust, hook_tokens=("new-token", "old-token"))
    body = orjson.dumps(samples.events[0])
    for token in account.hook_tokens:
        provider.verify(inbound(body, {"token": token}), account)
    for query in ({}, {"token": ""}, {"token": "wrong"}, {"token": "new-toke"}, {"token": "\udcff\x00"}):
        with pytest.raises(BadSignature) as caught:
            provider.verify(inbound(body, query), account)
        assert "new-token" not in str(caught.value)


def test_a_hint_source_without_a_token_believes_no_more_than_a_hint(provider: Provider, samples: Samples) -> None:
    if Trust.HINT not in provider.habits.trusts:
        pytest.skip("this upstream delivers nothing")
    account = replace(samples.account, trust=Trust.HINT, hook_tokens=(), signing_secrets=())
    provider.verify(inbound(orjson.dumps(samples.events[0])), account)


def test_trust_that_is_not_offered_believes_nothing(provider: Provider, samples: Samples) -> None:
    body = orjson.dumps(next(iter(samples.events), {}))
    offered = {*provider.habits.trusts} - {Trust.NONE}
    for trust in set(Trust) - offered:
        with pytest.raises(BadSignature):
            provider.verify(inbound(body, {"token": "new-token"}), replace(samples.account, trust=trust))


@pytest.mark.parametrize("body", HOSTILE)
def test_hostile_deliveries_are_unreadable(provider: Provider, samples: Samples, body: bytes) -> None:
    with pytest.raises(Unreadable):
        provider.read(inbound(body), samples.account)


@pytest.mark.parametrize("body", HOSTILE)
@pytest.mark.parametrize("status", [200, 202, 204, 301, 400, 401, 403, 404, 409, 429, 500, 524])
def test_hostile_answers_end_in_a_named_fault(provider: Provider, samples: Samples, status: int, body: bytes) -> None:
    asked = Request("GET", samples.account.base_url)
    empty_list = samples.bare_list and status == 200 and body == b"[]"
    for read in (
        lambda: provider.read_status(samples.workflow_id, response(status, body), samples.account),
        lambda: provider.read_relink(samples.workflow_id, response(status, body), samples.account),
        lambda: provider.read_bulk(response(status, body), samples.account),
        *((lambda: provider.read_list(response(status, body), samples.account, asked),) if not empty_list else ()),
    ):
        with pytest.raises(ProviderError):
            read()


def test_its_requests_go_to_the_configured_origin_with_the_key_in_a_header(
    provider: Provider, samples: Samples
) -> None:
    for base in ("http://127.0.0.1:9001", "http://127.0.0.1:9001/"):
        account = replace(samples.account, base_url=base)
        requests = [
            provider.status_request(samples.odd_id, account, {}),
            provider.bulk_status([samples.workflow_id, samples.odd_id], account),
            provider.relink("w", "?x=..%2f", account),
            provider.list(NOW - timedelta(hours=1), NOW, account),
            *(probe.request for probe in provider.probes(account) if probe.name not in samples.open_probes),
        ]
        for request in requests:
            if request is None:
                continue
            assert request.url.startswith("http://127.0.0.1:9001/")
            assert "//" not in urlsplit(request.url).path
            assert "api-secret" not in request.url + repr(request) + repr(account)
            assert any("api-secret" in value for value in request.headers.values())


MUTANTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*Status, "..", "\x00"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)


@st.composite
def mutated(draw: st.DrawFn, document: Mapping[str, Any]) -> Any:
    """A document with some of its values, at any level, replaced by anything."""
    changed = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 4))):
        node = changed
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and node[key] and draw(st.booleans()):
                node = node[key]
                continue
            node[key] = draw(MUTANTS)
            break
    return changed


@settings(max_examples=300)
@given(data=st.data(), name=st.sampled_from(sorted(PROVIDERS)))
def test_any_bytes_end_in_a_sound_reading_or_are_unreadable(data: st.DataObject, name: str) -> None:
    """Bytes, any JSON, and above all its own events with anything in any place."""
    provider, samples = PROVIDERS[name], SAMPLES[name]
    document = data.draw(st.sampled_from(samples.events or ({},)).flatmap(mutated) | MUTANTS)
    body = data.draw(st.just(json.dumps(document).encode()) | st.binary())
    try:
        reading = provider.read(inbound(body), samples.account)
    except Unreadable:
        return
    assert_sound(reading, id_known=not samples.nameless)


@settings(max_examples=300)
@given(data=st.data(), name=st.sampled_from(sorted(PROVIDERS)))
def test_any_answer_ends_in_a_sound_snapshot_or_a_named_fault(data: st.DataObject, name: str) -> None:
    provider, samples = PROVIDERS[name], SAMPLES[name]
    document = data.draw(mutated(samples.answer) | MUTANTS)
    answer = response(200, json.dumps(document).encode())
    try:
        reading = provider.read_status(samples.workflow_id, answer, samples.account)
    except ProviderError:
        pass
    else:
        assert_sound(reading)
        assert reading.snapshot
        assert reading.workflow_id == samples.workflow_id
    with suppress(Unreadable):
        assert_sound(provider.track(document if isinstance(document, dict) else None, None), id_known=False)


@settings(max_examples=200)
@given(data=st.data(), name=st.sampled_from(sorted(PROVIDERS)))
def test_any_file_and_any_page_end_in_sound_records_or_a_named_fault(data: st.DataObject, name: str) -> None:
    provider, samples = PROVIDERS[name], SAMPLES[name]
    body = json.dumps(data.draw(mutated(samples.blob))).encode()
    try:
        blob: BlobSeen = provider.read_relink(samples.workflow_id, response(200, body), samples.account)
    except ProviderError:
        pass
    else:
        assert_sound(Reading(samples.workflow_id, blobs=(blob,)))
    asked = provider.list(NOW - timedelta(days=9000), NOW + timedelta(days=9000), samples.account)
    if asked is None:
        return
    listing = {"next": data.draw(MUTANTS), samples.listed: [data.draw(mutated(samples.answer)), samples.answer]}
    try:
        page = provider.read_list(response(200, json.dumps(listing).encode()), samples.account, asked)
    except ProviderError:
        return
    assert len(page.readings) + page.skipped == 2
    for reading in page.readings:
        assert_sound(reading)
    assert page.next is None or urlsplit(page.next.url)[:3] == urlsplit(asked.url)[:3]

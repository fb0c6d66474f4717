"""Large bodies among a workflow's evidence: asked about, they cost no more than one of them at a time."""

from __future__ import annotations

import json

import pytest

from receiver.config import Config
from receiver.ledger.database import Database
from tests.web.asking import Api, Upstream, document, make_token, path_of
from tests.web.conftest import Running
from tests.web.test_api_advice import incident, refused


@pytest.fixture
async def api(receiver: Running, database: Database) -> Api:
    return Api(receiver, await make_token(database, "write"))


@pytest.fixture
def upstream(database: Database, config: Config) -> Upstream:
    return Upstream(database, config)


async def test_a_body_too_long_to_tell_an_error_is_not_looked_into(api: Api, database: Database) -> None:
    await api.deliver("wf-1", "processing")
    long = json.dumps({"error": {"code": "far_in", "message": "x" * 2**18}}).encode()
    await refused(database, api.running.site.config, "wf-1", 500, long, "civ")
    told = await incident(api, "wf-1", "civ")
    assert (told["http_status"], told["error_code"]) == (500, None)


async def test_a_document_of_megabytes_is_answered(api: Api, upstream: Upstream) -> None:
    await api.deliver("wf-1", "processing")
    await upstream.settle("wf-1", {**document("wf-1"), "metadata": {"notes": "x" * 2**21}})
    answer = await api.get(path_of("wf-1") + "/document")
    assert (answer.status, len(answer.json["metadata"]["notes"])) == (200, 2**21)

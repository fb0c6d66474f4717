"""The document tells the truth: of every route, of every answer; and each of its examples works."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from starlette.routing import Route

from receiver.config import Config, load_config
from receiver.ledger import attention
from receiver.ledger.attention import Concern
from receiver.ledger.database import Database
from receiver.ledger.database import now as database_now
from receiver.web.openapi.describing import SOURCE, WORKFLOW, Operation
from receiver.web.openapi.document import document
from receiver.web.openapi.operations import OPERATIONS
from receiver.web.openapi.reference import page
from receiver.web.problems import KINDS
from tests.web.asking import Api, Upstream, make_token
from tests.web.asking import document as upstreams
from tests.web.client import ask
from tests.web.conforming import assert_conforms
from tests.web.conftest import TOKEN, Running

URL = "https://orchestration.civitai.com/v2/consumer/blobs/x.jpeg?sig=abc"
DOCUMENTED = ("/v1/", "/blobs/", "/hooks/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/reference")


@pytest.fixture
def config(database_url: str) -> Config:
    """The source the examples speak of."""
    return load_config(env={
        "HOOKLEDGER_DATABASE__URL": database_url,
        "HOOKLEDGER_SOURCES__CIVITAI__PROVIDER": "civitai",
        "HOOKLEDGER_SOURCES__CIVITAI__HOOK_TOKEN": TOKEN,
    })  # fmt: skip


def names(operation: Operation) -> str:
    return operation.name


async def test_every_route_of_the_api_is_described_and_nothing_else(receiver: Running) -> None:
    routes = [route for route in receiver.app.routes if isinstance(route, Route)]
    found = {
        (method, route.path)
        for route in routes
        for method in (route.methods or {"POST"})
        if route.path.startswith(DOCUMENTED) and method != "HEAD"
    }
    assert found == {(one.method, one.path) for one in OPERATIONS}
    assert len({one.name for one in OPERATIONS}) == len(OPERATIONS)


async def test_every_route_wants_the_token_its_description_says(receiver: Running, database: Database) -> None:
    await make_token(database, "admin", "somebody")
    for one in OPERATIONS:
        url = receiver.url + filled(one)
        answer = await ask(one.method, url)
        assert (answer.status == 401) == (one.scope is not None or one.path.startswith("/hooks")), one.name
        assert_conforms(one.method, url, answer)


def test_every_kind_of_problem_can_be_met_somewhere() -> None:
    text = json.dumps(document())
    never = {"internal", "http", "not-found", "method-not-allowed"}
    assert {kind for kind in KINDS if f"/problems/{kind}" not in text} == never


def test_the_document_refers_to_nothing_it_does_not_hold() -> None:
    told = document()
    text = json.dumps(told)
    assert told["openapi"] == "3.1.0"
    for name in set(re.findall(r"#/components/schemas/(\w+)", text)):
        assert name in told["components"]["schemas"]
    for path, methods in told["paths"].items():
        for one in methods.values():
            placed = {p["name"] for p in one.get("parameters", ()) if p["in"] == "path"}
            assert placed == set(re.findall(r"\{(\w+)\}", path))


def filled(operation: Operation) -> str:
    """The path of an operation with the examples of its parameters in it."""
    given = {p.name: quote(str(p.example), safe="") for p in operation.parameters if p.place == "path"}
    return operation.path.format(**given)


async def world(api: Api, database: Database, config: Config) -> None:
    """What the examples speak of: a workflow with a file, of which a person should take note."""
    upstream = Upstream(database, config, source=SOURCE)
    await api.deliver(WORKFLOW, "processing", SOURCE)
    await upstream.settle(WORKFLOW, upstreams(WORKFLOW, "processing", url=URL))
    async with database.write() as connection:
        now = await database_now(connection)
        pk = (await connection.exec_driver_sql("SELECT pk FROM workflows")).scalar_one()
        await attention.raise_concerns(connection, [Concern("workflow", SOURCE, WORKFLOW, "overdue", pk)], now)


async def example_of(api: Api, operation: Operation) -> tuple[str, dict[str, Any]]:
    """The address and the query of an operation's example."""
    path = filled(operation)
    if operation.path.startswith("/v1/deliveries/"):
        newest = (await api.get("/v1/deliveries")).json["items"][-1]["id"]
        path = operation.path.format(id=newest)
    if operation.path.startswith("/v1/attention/"):
        path = operation.path.format(ref=(await api.get("/v1/attention")).json["items"][0]["ref"])
    query = {p.name: p.example for p in operation.parameters if p.place == "query" and p.example is not None}
    return path, query


@pytest.mark.parametrize("operation", OPERATIONS, ids=names)
async def test_its_example_works(receiver: Running, database: Database, config: Config, operation: Operation) -> None:
    api = Api(receiver, await make_token(database, "admin"))
    await world(api, database, config)
    path, query = await example_of(api, operation)
    if operation.path.startswith("/hooks"):
        pytest.skip("deliveries are another test's business")
    if operation.name in STREAMS:
        pytest.skip("a stream does not end; see test_stream.py")
    answer = await api.ask(operation.method, path, operation.example, **query)
    assert answer.status in operation.answers, answer.body
    assert answer.status < 400
    if operation.cached:
        query.pop("wait", None)
        answer = await api.ask(operation.method, path, **query)
        tag = answer.headers["etag"]
        url = receiver.url + path + (f"?{urlencode(query, doseq=True)}" if query else "")
        again = await ask("GET", url, authorization=f"Bearer {api.token}", if_none_match=f'"other", W/{tag}')
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        assert_conforms("GET", url, again)
        other = await ask("GET", url, authorization=f"Bearer {api.token}", if_none_match='"other"')
        assert (other.status, other.body) == (200, answer.body)


STREAMS: set[str] = {"followTransitions"}


async def test_an_etag_changes_with_what_it_stands_for(receiver: Running, database: Database) -> None:
    api = Api(receiver, await make_token(database, "read"))
    await api.deliver("wf-1", "processing", SOURCE)
    path = f"/v1/workflows/{SOURCE}/wf-1"
    first = (await api.get(path)).headers["etag"]
    await api.deliver("wf-1", "succeeded", SOURCE)
    url = receiver.url + path
    answer = await ask("GET", url, authorization=f"Bearer {api.token}", if_none_match=first)
    assert answer.status == 200
    assert answer.headers["etag"] != first
    assert answer.headers["cache-control"] == "private, no-cache"


async def test_the_document_is_given_to_anybody_and_holds_no_secret(receiver: Running) -> None:
    answer = await ask("GET", f"{receiver.url}/openapi.json")
    assert answer.status == 200
    assert answer.json == json.loads(json.dumps(document()))
    assert TOKEN not in answer.body.decode()


async def test_the_reference_page_needs_nothing_from_elsewhere_and_shows_every_operation(receiver: Running) -> None:
    answer = await ask("GET", f"{receiver.url}/reference")
    assert answer.status == 200
    text = answer.body.decode()
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert re.findall(r"(?:src|href)=\"(?!#|openapi\.json)", text) == []
    assert "<script" not in text
    for one in OPERATIONS:
        assert f'id="{one.name}"' in text
    for name in document()["components"]["schemas"]:
        assert f'id="model-{name}"' in text


def test_the_pages_policy_allows_its_own_style() -> None:
    import base64
    import hashlib

    text, policy = page()
    style = re.search(r"<style>(.*?)</style>", text.decode(), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy


@pytest.mark.parametrize("spelt", ["context.team", "context[team]"])
async def test_labels_can_be_asked_for_in_two_ways(receiver: Running, database: Database, spelt: str) -> None:
    api = Api(receiver, await make_token(database, "write"))
    for name, team in (("a", "red"), ("b", "blue")):
        await api.post("/v1/workflows", {"source": SOURCE, "id": name, "context": {"team": team}})
    found = await api.get("/v1/workflows", **{spelt: "red"})
    assert [one["id"] for one in found.json["items"]] == ["a"]


async def test_a_parameter_that_is_given_twice_is_refused(receiver: Running, database: Database) -> None:
    api = Api(receiver, await make_token(database, "read"))
    answer = await api.get("/v1/workflows", source=["a", "b"])
    assert (answer.status, answer.json["type"]) == (400, "/problems/bad-filter")
    assert (await api.get("/v1/workflows", status=["failed", "succeeded"])).status == 200

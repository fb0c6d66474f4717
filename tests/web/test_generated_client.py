"""A client that somebody else's generator makes of `/openapi.json` alone, driven against a real server.

openapi-python-client knows nothing of us: what it needs must be in the document.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from receiver.config import Config
from receiver.ledger.database import Database
from tests.web.asking import Api, Upstream, document, make_token
from tests.web.client import ask
from tests.web.conftest import Running

NAME = "client_of_hookledger"


class Generated:
    """The package that was made. `call` calls an operation by its id in the document."""

    def __init__(self, url: str, token: str) -> None:
        self.client = self.part("client").AuthenticatedClient(base_url=url, token=token)

    @staticmethod
    def part(path: str) -> Any:
        return importlib.import_module(f"{NAME}.{path}")

    async def call(self, path: str, *words: Any, **query: Any) -> Any:
        return await self.part(f"api.{path}").asyncio_detailed(*words, client=self.client, **query)


@pytest.fixture
async def package(receiver: Running, tmp_path: Path) -> None:
    """Generate the client from the document as the server gives it."""
    served = await ask("GET", f"{receiver.url}/openapi.json")
    (tmp_path / "openapi.json").write_bytes(served.body)
    made = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("openapi-python-client")), "generate", "--path", "openapi.json",
        "--meta", "none", "--output-path", str(tmp_path / NAME), cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await made.communicate()
    assert made.returncode == 0, said.decode()
    assert "Unable to" not in said.decode(), "a part of the document was left out"


@pytest.fixture
def importable(tmp_path: Path) -> Iterator[None]:
    sys.path.insert(0, str(tmp_path))
    yield
    sys.path.remove(str(tmp_path))
    for name in [one for one in sys.modules if one.partition(".")[0] == NAME]:
        del sys.modules[name]


@pytest.fixture
async def client(
    package: None, importable: None, receiver: Running, database: Database, config: Config
) -> AsyncIterator[Generated]:
    api = Api(receiver, await make_token(database, "write"))
    for n in range(5):
        await api.deliver(f"wf-{n}", "processing")
    await Upstream(database, config).settle("wf-4", document("wf-4", url="https://blobs.civitai.com/a.jpeg"))
    made = Generated(receiver.url, api.token or "")
    yield made
    await made.client.get_async_httpx_client().aclose()


async def test_every_operation_has_its_function(client: Generated, receiver: Running, tmp_path: Path) -> None:
    told = (await ask("GET", f"{receiver.url}/openapi.json")).json
    wanted = {one["operationId"] for methods in told["paths"].values() for one in methods.values()}
    made = {path.stem.replace("_", "") for path in (tmp_path / NAME / "api").rglob("*.py")}
    assert {one.lower() for one in wanted} <= made


async def test_lists_are_read_page_by_page_to_their_end(client: Generated) -> None:
    seen, cursor = [], {}
    while True:
        answer = await client.call("workflows.list_workflows", limit=2, source="civ", **cursor)
        assert answer.status_code == 200
        seen += [one.id for one in answer.parsed.items]
        if answer.parsed.next_cursor is None:
            break
        cursor = {"cursor": answer.parsed.next_cursor}
    assert seen == [f"wf-{n}" for n in (4, 3, 2, 1, 0)]
    status = client.part("models.list_workflows_status_item").ListWorkflowsStatusItem
    found = await client.call("workflows.list_workflows", status=[status.SUCCEEDED, status.FAILED])
    assert [one.id for one in found.parsed.items] == ["wf-4"]


async def test_lists_are_narrowed_by_context(client: Generated) -> None:
    made = client.part("models.track_request_context_type_0").TrackRequestContextType0
    for name, team in (("wf-8", "red"), ("wf-9", "blue")):
        labels = made.from_dict({"team": team, "of": "a=b"})
        track = client.part("models.track_request").TrackRequest(source="civ", id=name, context=labels)
        assert (await client.call("workflows.track_workflow", body=track)).status_code == 201
    found = await client.call("workflows.list_workflows", context=["team=red", "of=a=b"])
    assert [one.id for one in found.parsed.items] == ["wf-8"]


async def test_one_workflow_its_timeline_and_its_file_come_as_models(client: Generated) -> None:
    found = (await client.call("workflows.get_workflow", "civ", "wf-4")).parsed
    assert (found.id, found.terminal, found.steps[0].status) == ("wf-4", True, "succeeded")
    assert found.first_seen_at.tzinfo is not None
    moves = (await client.call("workflows.list_transitions", "civ", "wf-4")).parsed.items
    assert [one.to for one in moves if one.level == "workflow"] == ["processing", "succeeded"]
    blob = (await client.call("files.get_blob", "civ", found.blobs[0].id)).parsed
    assert blob.id == found.blobs[0].id
    sources = (await client.call("figures.list_sources")).parsed.items
    assert {one.name for one in sources} >= {"civ", "hinted"}


async def test_what_is_asked_for_and_tracked_is_done_and_what_is_wrong_is_a_problem(client: Generated) -> None:
    answer = await client.call("workflows.refetch_workflow", "civ", "wf-1")
    assert (answer.status_code, answer.parsed.id) == (202, "wf-1")
    track = client.part("models.track_request").TrackRequest(source="civ", id="wf-9")
    made = await client.call("workflows.track_workflow", body=track)
    assert (made.status_code, made.parsed.id) == (201, "wf-9")
    problem = await client.call("workflows.get_workflow", "civ", "nobody")
    assert (problem.status_code, problem.parsed.type_) == (404, "/problems/unknown-workflow")
    assert problem.parsed.detail


async def test_the_stream_is_followed_and_taken_up_again(client: Generated, receiver: Running) -> None:
    api = Api(receiver, client.client.token)
    given = client.part("api.workflows.follow_transitions")._get_kwargs
    happening = client.part("models.happening").Happening

    async def first(last: str | None) -> tuple[str, Any]:
        """The first event, as (id, model)."""
        asked = given(**({} if last is None else {"last_event_id": last}))
        fields: dict[str, str] = {}
        async with client.client.get_async_httpx_client().stream(**asked) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            if last is None:
                await api.deliver("wf-2", "succeeded")
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                fields[name] = value
                if not line and "data" in fields:
                    return fields["id"], happening.from_dict(json.loads(fields["data"]))
        raise AssertionError("the stream ended")

    async with asyncio.timeout(30):
        place, told = await first(None)
        assert (told.workflow, told.to) == ("wf-2", "succeeded")
        await api.deliver("wf-3", "succeeded")
        _, told = await first(place)
    assert told.workflow == "wf-3"

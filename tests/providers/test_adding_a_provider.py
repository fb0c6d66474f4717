"""README.md of the providers, followed to the letter for its made-up upstream: the code on that page must work."""

from __future__ import annotations

import re
import sys
import threading
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import test_provider_conformance as suite
from civitai_samples import inbound

import receiver.providers
from receiver.ledger.records import BlobSeen, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers.advice import Disposition
from receiver.providers.base import Account, Provider, UpstreamGone
from receiver.providers.jsonbody import parse_object
from receiver.providers.registry import Registry
from reconciler.transport import Transport

PAGE = (Path(receiver.providers.__file__).parent / "README.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- (?:file|sample) (\S+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def acme(tmp_path: Path) -> Iterator[Provider]:
    """The provider of the page, installed as a package with the entry point of the page."""
    for name in ("acme.py", "acme_sandbox.py"):
        (tmp_path / name).write_text(BLOCKS[name], encoding="utf-8")
    info = tmp_path / "acme-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 0.1\n", encoding="utf-8")
    ((group, points),) = tomllib.loads(BLOCKS["pyproject.toml"])["project"]["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.path.insert(0, str(tmp_path))
    yield Registry([])["acme"]
    sys.path.remove(str(tmp_path))
    for module in ("acme", "acme_sandbox"):
        sys.modules.pop(module, None)


def account(base_url: str = "https://api.acme.example") -> Account:
    return Account("mine", base_url, Trust.TOKEN, api_key="acme-key", hook_tokens=("new-token", "old-token"))


def samples() -> suite.Samples:
    event, answer = (parse_object(BLOCKS[name].encode()) for name in ("event", "answer"))
    asked = Account("mine", "https://api.acme.example", Trust.TOKEN, api_key="api-secret", hook_tokens=("new-token",))
    return suite.Samples(account=asked, events=(event,), workflow_id="r1", answer=answer, blob={})


def test_the_page_shows_everything_it_takes() -> None:
    assert set(BLOCKS) == {"event", "answer", "acme.py", "acme_sandbox.py", "pyproject.toml"}


def test_its_samples_become_exactly_these(acme: Provider) -> None:
    file = BlobSeen("r1~clip", "video", slot="clip", available=True, url="https://files.acme.example/r1.mp4")
    done = Observation(Level.WORKFLOW, status=Status.SUCCEEDED, word="done")
    assert acme.read(inbound(BLOCKS["event"].encode()), account()) == Reading("r1", (done,), (file,))
    answer = suite.response(200, BLOCKS["answer"].encode())
    error = {"code": "bad_prompt", "message": "the prompt is empty"}
    failed = Observation(Level.WORKFLOW, status=Status.FAILED, word="broken", facts={"error": error})
    assert acme.read_status("r1", answer, account()) == Reading("r1", (failed,), snapshot=True, complete=True)
    assert acme.errors.advise(None, "bad_prompt").disposition is Disposition.FIX_REQUEST


def test_it_keeps_what_all_providers_owe(acme: Provider) -> None:
    suite.test_its_habits_are_complete(acme)
    suite.test_its_deliveries_are_read_and_name_their_workflow(acme, samples())
    suite.test_a_hint_source_without_a_token_believes_no_more_than_a_hint(acme, samples())
    suite.test_trust_that_is_not_offered_believes_nothing(acme, samples())
    suite.test_its_requests_go_to_the_configured_origin_with_the_key_in_a_header(acme, samples())
    for trust in (Trust.TOKEN, Trust.HINT):
        suite.test_a_token_that_is_configured_must_be_right(acme, samples(), trust)
    for body in suite.HOSTILE:
        suite.test_hostile_deliveries_are_unreadable(acme, samples(), body)
        for status in (200, 301, 401, 404, 429, 500):
            suite.test_hostile_answers_end_in_a_named_fault(acme, samples(), status, body)


async def test_a_look_settles_a_workflow_at_its_sandbox(acme: Provider) -> None:
    from acme_sandbox import sandbox  # type: ignore[import-not-found]

    server = sandbox()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        mine = account(f"http://127.0.0.1:{server.server_port}")
        async with Transport(mine, clock=lambda: datetime.now(UTC), item=timedelta(seconds=10)) as transport:
            answer = await transport.send(acme.status_request("r7", mine, {}))
            unknown = await transport.send(acme.status_request("r7", account_without_key(mine), {}))
        assert acme.read_status("r7", answer, mine).observations[0].status is Status.FAILED
        with pytest.raises(UpstreamGone):
            acme.read_status("r7", unknown, mine)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def account_without_key(mine: Account) -> Account:
    return Account("mine", mine.base_url, Trust.TOKEN, api_key="wrong-key")

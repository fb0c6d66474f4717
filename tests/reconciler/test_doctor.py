"""`hookledger doctor`: each thing that may be wrong is found, named, and said how to mend; real sockets, databases."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from receiver.cli import main
from receiver.ledger import tokens
from receiver.ledger.attention import Concern, raise_concerns
from receiver.ledger.database import Database, now
from receiver.ledger.operations import source_state
from receiver.ledger.tables import attention, checks
from receiver.web.app import build_app
from receiver.web.server import address_of, bind, running
from reconciler.examining import clock_finding, disk_finding
from tests.reconciler.world import KEY, TOKEN, Upstream, World

MakeWorld = Callable[..., World]
SIGNING_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def call(world: World, *words: str) -> Result:
    """Run the command as a shell would, beside the event loop of the test."""
    done = await asyncio.to_thread(CliRunner().invoke, main, ["--config", str(world.config.file), "doctor", *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert KEY not in done.output
    assert TOKEN not in done.output
    return done


async def findings(world: World) -> tuple[int, dict[str, Any]]:
    """The exit code and the findings that are not `ok`, by what they are about."""
    done = await call(world, "--json")
    told = json.loads(done.stdout)
    assert told["ok"] is (done.exit_code == 0)
    for one in told["findings"]:
        assert one.keys() == {"severity", "about", "said", "do"}
        assert (one["do"] is None) is (one["severity"] == "ok"), one
    return done.exit_code, {one["about"]: one for one in told["findings"] if one["severity"] != "ok"}


@pytest.fixture
def well(make_world: MakeWorld, upstream: Upstream, database: Database) -> World:
    """A world in which nothing is wrong: the same server plays upstream and the public address."""
    upstream.answers["/v2/consumer/workflows"] = (200, {"items": [], "next": None})
    upstream.answers["/hooks/civitai"] = (204, b"")
    world = make_world(upstream.base_url, server=(f'public_url = "{upstream.base_url}"',))
    file = world.config.file
    assert file is not None
    file.chmod(0o600)
    let_read(world, 0o600)
    return world


def let_read(world: World, mode: int) -> None:
    """Set who may read the ledger's file, where it is one."""
    if world.config.database.url.startswith("sqlite:"):
        Path(world.config.database.url.removeprefix("sqlite:///")).chmod(mode)


async def make_token(world: World) -> None:
    async with world.database.write() as connection:
        await tokens.create(connection, "tests", "read", await now(connection))


async def test_where_all_is_well_it_says_so_and_exits_0(well: World, upstream: Upstream) -> None:
    await make_token(well)
    done = await call(well)
    assert done.exit_code == 0, done.output
    assert done.output.endswith("all is well\n")
    for about in ("configuration", "database", "schema", "clock", "tokens", "credentials of civitai", "public URL of"):
        assert f"ok      {about}" in done.output
    probe, registered = sorted(upstream.seen, key=lambda one: one.path, reverse=True)
    assert (probe.path, probe.headers["authorization"]) == ("/v2/consumer/workflows", f"Bearer {KEY}")
    assert (registered.method, registered.query) == ("GET", f"token={TOKEN}")
    assert "authorization" not in registered.headers


async def test_a_running_receiver_is_recognised_at_its_public_address(
    make_world: MakeWorld, upstream: Upstream
) -> None:
    upstream.answers["/v2/consumer/workflows"] = (200, {"items": []})
    sock = bind("127.0.0.1", 0)
    world = make_world(upstream.base_url, server=(f'public_url = "{address_of(sock)}"',))
    await make_token(world)
    async with running(build_app(world.config, world.database, world.redactor), sock):
        code, found = await findings(world)
        assert (code, [about for about in found if about.startswith("public")]) == (0, [])
        file = world.config.file
        assert file is not None
        file.write_text(file.read_text().replace(TOKEN, f"{TOKEN}-another"))
        code, found = await findings(world)
    assert (code, "let the proxy pass the query" in found["public URL of civitai"]["do"]) == (1, True)
    code, found = await findings(world)
    assert (code, "hookledger serve" in found["public URL of civitai"]["do"]) == (1, True)


@pytest.mark.parametrize(
    ("status", "headers", "do"),
    [
        (301, {"location": "https://elsewhere.example.com/?token=x"}, "redirect"), (404, {}, "pass /hooks/"),
        (401, {}, "query"), (405, {}, "query"), (200, {}, "serve"), (502, {}, "serve"),
    ],
)  # fmt: skip
async def test_a_public_address_that_is_not_the_receivers_is_a_problem(
    well: World, upstream: Upstream, status: int, headers: dict[str, str], do: str
) -> None:
    await make_token(well)
    upstream.answers["/hooks/civitai"] = (status, b"", headers)
    code, found = await findings(well)
    assert (code, list(found)) == (1, ["public URL of civitai"])
    assert str(status) in found["public URL of civitai"]["said"]
    assert do in found["public URL of civitai"]["do"]


@pytest.mark.parametrize(
    ("answer", "severity", "do"),
    [
        ((401, {"title": "Unauthorized"}), "problem", "token"), ((403, b'"no funds"'), "problem", "funds"),
        ((404, {}), "problem", "base_url"), ((302, b"", {"location": "x"}), "problem", "redirects"),
        ((429, {}), "warning", "again"), ((503, b"<html><title>down"), "problem", "back off"),
    ],
)  # fmt: skip
async def test_what_upstream_says_to_the_key_is_told(
    well: World, upstream: Upstream, answer: Any, severity: str, do: str
) -> None:
    await make_token(well)
    upstream.answers["/v2/consumer/workflows"] = answer
    code, found = await findings(well)
    assert (code, list(found)) == (severity == "problem", ["credentials of civitai"])
    assert (found["credentials of civitai"]["severity"], do in found["credentials of civitai"]["do"]) == (
        severity, True,
    )  # fmt: skip


async def test_an_echoed_key_is_not_printed(well: World, upstream: Upstream) -> None:
    echo = json.dumps({"title": "x" * (2000 - len(KEY)) + KEY + " and more"}).encode()  # cut before its last character
    upstream.answers["/v2/consumer/workflows"] = (401, echo)
    assert KEY[:8] not in (await call(well)).output


async def test_an_upstream_nobody_answers_at_is_a_problem(make_world: MakeWorld) -> None:
    world = make_world("http://127.0.0.1:9")
    await make_token(world)
    code, found = await findings(world)
    assert code == 1
    assert "no answer" in found["credentials of civitai"]["said"]
    assert "http://127.0.0.1:9" in found["credentials of civitai"]["do"]
    assert found["public URL"]["severity"] == "warning"


async def test_upstreams_clock_is_compared_with_ours(well: World, upstream: Upstream) -> None:
    await make_token(well)
    for skew, said in ((timedelta(minutes=7), "ahead of"), (timedelta(minutes=-7), "behind")):
        upstream.skew = skew
        code, found = await findings(well)
        assert (code, said in found["credentials of civitai"]["said"]) == (0, True)
        (seconds,) = re.findall(r"is (\d+) s", found["credentials of civitai"]["said"])
        assert 415 < int(seconds) < 425


def test_a_database_whose_clock_is_off_is_a_problem() -> None:
    assert clock_finding(timedelta(seconds=1.9)).severity == "ok"
    assert clock_finding(timedelta(seconds=2.1)).severity == "problem"
    assert "3.0 s behind" in clock_finding(timedelta(seconds=-3)).said


def test_a_disk_that_is_nearly_full_is_a_warning_and_then_a_problem() -> None:
    severities = [disk_finding(Path("/var"), free).severity for free in (2**40, 2**30 - 1, 2**26 - 1)]
    assert severities == ["ok", "warning", "problem"]


async def test_a_ledger_nobody_can_ask_or_looks_after_is_a_problem(well: World) -> None:
    await well.track("wf")
    code, found = await findings(well)
    assert (code, list(found)) == (1, ["tokens"])
    assert found["tokens"]["do"] == "hookledger token create NAME --scope read"
    await make_token(well)
    async with well.database.write() as connection:
        await connection.execute(update(checks).values(due_at=datetime.now(UTC) - timedelta(minutes=6)))
    code, found = await findings(well)
    assert (code, list(found), "1 of civitai" in found["reconciler"]["said"]) == (1, ["reconciler"], True)
    async with well.database.write() as connection:
        await connection.execute(source_state.insert().values(source="civitai", paused_because="credentials"))
    code, found = await findings(well)
    assert (code, list(found), "api_key" in found["reconciler"]["do"]) == (1, ["reconciler"], True)
    for because, do in (("unreachable", "upstream is down"), ("brake", "sources.civitai.brake = 1")):
        async with well.database.write() as connection:
            await connection.execute(source_state.update().values(paused_because=because))
        code, found = await findings(well)
        assert (code, list(found), do in found["reconciler"]["do"]) == (1, ["reconciler"], True)


async def test_weak_points_of_trust_are_warnings(make_world: MakeWorld, upstream: Upstream) -> None:
    upstream.answers["/v2/consumer/workflows"] = (200, {})
    more = [
        "[sources.hinted]", 'provider = "civitai"', 'trust = "hint"', f'base_url = "{upstream.base_url}"',
        "[sources.shared]", 'provider = "removebgvideo"', f'hook_token = "{TOKEN}"',
        f'base_url = "{upstream.base_url}"',
    ]  # fmt: skip
    world = make_world(upstream.base_url, *more)
    code, found = await findings(world)
    assert code == 1
    assert "each only makes us ask" in found["trust of hinted"]["said"]
    assert "signing_secrets" in found["trust of shared"]["do"]
    assert "civitai and shared share a hook_token" in found["trust"]["said"]
    assert {found[about]["severity"] for about in ("trust", "trust of hinted", "trust of shared")} == {"warning"}
    assert found["credentials of hinted"]["severity"] == "problem"
    assert "api_key" in found["credentials of hinted"]["do"]


async def test_an_upstream_that_is_never_asked_needs_no_key(make_world: MakeWorld, upstream: Upstream) -> None:
    upstream.answers["/v2/consumer/workflows"] = (200, {})
    described = ["[sources.acme]", 'provider = "standard-webhooks"', f'signing_secrets = ["{SIGNING_SECRET}"]']
    options = 'options = { id = "id", status = "state", statuses = { done = "succeeded" }'
    told = (await call(make_world(upstream.base_url, *described, options + " }"))).output
    assert "ok      credentials of acme: upstream is never asked" in told
    asked = [*described, f'base_url = "{upstream.base_url}"', options + ', status_url = "/{id}" }']
    told = (await call(make_world(upstream.base_url, *asked))).output
    assert "ok      credentials of acme: upstream is asked without a key" in told


async def test_what_waits_for_a_person_is_told_until_somebody_has_seen_to_it(well: World) -> None:
    await make_token(well)
    async with well.database.write() as connection:
        concern = Concern("delivery", "civitai", "d1", "unreadable")
        await raise_concerns(connection, [concern], await now(connection))
    code, found = await findings(well)
    assert (code, list(found), found["attention"]["do"]) == (0, ["attention"], "hookledger attention")
    assert "unreadable (1)" in found["attention"]["said"]
    assert (await call(well)).output.endswith("0 problems, 1 warning\n")
    async with well.database.write() as connection:
        await connection.execute(update(attention).values(acknowledged_at=await now(connection)))
    assert await findings(well) == (0, {})


async def test_a_schema_that_is_missing_is_a_problem_and_stays_missing(
    empty_database: Database, empty_database_url: str, well: World
) -> None:
    file = well.config.file
    assert file is not None
    file.write_text(file.read_text().replace(well.config.database.url, empty_database_url))
    code, found = await findings(well)
    assert code == 1
    assert "hookledger db upgrade" in found["schema"]["do"]
    code, again = await findings(well)
    assert (code, again["schema"]) == (1, found["schema"])


@pytest.mark.parametrize(
    ("url", "severity"),
    [
        ("sqlite:///{folder}/none.db", "warning"), ("sqlite:///{folder}/none/none.db", "problem"),
        ("postgresql://me:Very-Secret-Word1@127.0.0.1:9/x", "problem"),
    ],
)  # fmt: skip
async def test_a_ledger_that_is_not_there_is_told_and_not_made(
    well: World, tmp_path: Path, url: str, severity: str
) -> None:
    file = well.config.file
    assert file is not None
    file.write_text(file.read_text().replace(well.config.database.url, url.format(folder=tmp_path)))
    done = await call(well, "--json")
    (found,) = [one for one in json.loads(done.stdout)["findings"] if one["about"] == "database"]
    assert (found["severity"], done.exit_code) == (severity, severity == "problem")
    assert "Very-Secret-Word1" not in done.output
    assert not (tmp_path / "none.db").exists()


async def test_what_others_may_read_is_a_warning(well: World) -> None:
    await make_token(well)
    file = well.config.file
    assert file is not None
    file.chmod(0o644)
    code, found = await findings(well)
    assert (code, list(found), "chmod 600" in found["configuration"]["do"]) == (0, ["configuration"], True)
    file.chmod(0o600)
    let_read(well, 0o644)
    if well.database.dialect == "sqlite":
        _, found = await findings(well)
        assert (list(found), "chmod 600" in found["database"]["do"]) == (["database"], True)


async def test_no_sources_are_a_problem_and_a_wrong_setting_exits_2(well: World) -> None:
    file = well.config.file
    assert file is not None
    whole = file.read_text()
    file.write_text(whole.partition("[sources.civitai]")[0])
    done = await call(well)
    assert (done.exit_code, "add [sources.civitai]" in done.output) == (1, True)
    file.write_text(whole + "\nbudget = 7\n")
    assert (await call(well)).exit_code == 2

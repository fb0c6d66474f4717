"""`hookledger serve` as a process: how it starts, what it says first, how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from receiver.ledger.database import Database
from receiver.ledger.tables import evidence
from tests.web.client import NoAnswer, ask, connect, event, head, read_answer
from tests.web.rows import rows
from tests.web.serving import Serve, environment, run, serve


class Traffic:
    """Clients that deliver one event after another until nobody takes them any more."""

    def __init__(self, server: Serve) -> None:
        self._server = server
        self.acknowledged: list[str] = []
        self.statuses: set[int] = set()
        self.sent = 0

    async def client(self, number: int) -> None:
        for n in range(100_000):
            self.sent += 1
            try:
                answer = await ask("POST", self._server.hook, event(f"wf-{number}-{n}", "succeeded"))
            except NoAnswer:
                return
            self.statuses.add(answer.status)
            if answer.status == 200:
                self.acknowledged.append(answer.json["delivery"])


async def _stop_in_traffic(server: Serve, number: signal.Signals = signal.SIGTERM) -> tuple[Traffic, int]:
    traffic = Traffic(server)
    clients = [asyncio.create_task(traffic.client(n)) for n in range(16)]
    while len(traffic.acknowledged) < 100:  # noqa: ASYNC110 - it is another process that we wait for
        await asyncio.sleep(0.01)
    server.process.send_signal(number)
    await asyncio.wait_for(asyncio.gather(*clients), 30)
    return traffic, await server.ended()


async def _all_kept(database: Database, traffic: Traffic) -> None:
    kept = [row.id for row in await rows(database, evidence)]
    assert len(set(kept)) == len(kept)
    assert set(traffic.acknowledged) <= set(kept)
    assert len(set(traffic.acknowledged)) == len(traffic.acknowledged)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_end_in_traffic_it_answers_or_refuses_everybody_and_leaves_with_0(
    database: Database, database_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    async with serve("--no-reconciler", folder=tmp_path, **environment(database_url)) as server:
        traffic, code = await _stop_in_traffic(server, number)
    assert code == 0
    assert traffic.statuses <= {200, 503}
    await _all_kept(database, traffic)
    assert not [line for line in server.log if line["level"] == "error"]


async def _until_deaf(url: str) -> None:
    """Return once a program that was told to end has heard it: it takes nothing new."""
    while True:
        try:
            await ask("GET", f"{url}/healthz")
        except NoAnswer:
            return
        await asyncio.sleep(0.05)


async def test_a_delivery_that_is_half_sent_when_the_end_comes_is_still_taken(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    async with serve("--no-reconciler", folder=tmp_path, **environment(database_url)) as server:
        body = event("wf-1", "succeeded")
        reader, writer = await connect(server.url)
        writer.write(head("POST", server.hook, {"content-length": str(len(body))}) + body[:10])
        await writer.drain()
        await asyncio.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):  # less than a body may take
            await _until_deaf(server.url)
        with pytest.raises(NoAnswer):
            await ask("POST", server.hook, event("wf-2", "succeeded"))
        writer.write(body[10:])
        answer = await read_answer(reader)
        writer.close()
        assert answer.status == 200
        assert await server.ended() == 0
    assert [row.workflow_id for row in await rows(database, evidence)] == ["wf-1"]


async def test_the_built_in_reconciler_starts_and_ends_with_it(database_url: str, tmp_path: Path) -> None:
    async with serve(folder=tmp_path, **environment(database_url)) as server:
        assert server.log[0]["reconciler"] is True
        assert (await ask("POST", server.hook, event("wf-1", "succeeded"))).status == 200
        async with asyncio.timeout(20):
            while not server.events("fetch"):  # noqa: ASYNC110 - it is another process that we wait for
                await asyncio.sleep(0.05)
        assert (await ask("GET", f"{server.url}/healthz")).status == 200
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == 0


async def test_the_first_line_says_where_it_listens_and_what_it_serves_without_secrets(
    database_url: str, tmp_path: Path
) -> None:
    async with serve("--no-reconciler", folder=tmp_path, **environment(database_url)) as server:
        (first,) = server.events("serving")
        assert server.log[0] is first
        assert first["sources"] == ["civ"]
        assert first["address"].startswith("http://127.0.0.1:")
        assert "advice" not in first
        assert (await ask("POST", server.hook, event("wf-1", "processing"))).status == 200
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == 0
    (line,) = server.events("delivery")
    assert (line["source"], line["outcome"], line["workflow"], line["status"]) == ("civ", "applied", "wf-1", 200)
    assert line["ms"] > 0
    assert line["delivery"]
    assert "hook-token" not in str(server.log)
    assert "api-key" not in str(server.log)


async def test_without_any_configuration_it_serves_an_sqlite_file_and_says_what_to_add(tmp_path: Path) -> None:
    env = {name: value for name, value in environment("").items() if not name.startswith("HOOKLEDGER_")}
    async with serve("--no-reconciler", folder=tmp_path, **env) as server:
        assert "add [sources." in server.log[0]["advice"]
        assert (await ask("GET", f"{server.url}/readyz")).status == 200
    assert (tmp_path / "hookledger.db").exists()


async def test_an_old_postgresql_schema_is_refused_with_the_command_that_mends_it(
    empty_database_url: str, tmp_path: Path
) -> None:
    if empty_database_url.startswith("sqlite"):
        async with serve("--no-reconciler", folder=tmp_path, **environment(empty_database_url)) as server:
            assert (await ask("POST", server.hook, event("wf-1", "processing"))).status == 200
        return
    for more in ((), ("--workers", "2")):
        code, said = await run(
            "serve", "--port", "0", "--no-reconciler", *more, folder=tmp_path, **environment(empty_database_url)
        )
        assert code == 2
        assert "hookledger db upgrade" in said
        assert len(said.splitlines()) == 1


async def test_several_workers_on_sqlite_are_refused(sqlite_url: str, tmp_path: Path) -> None:
    code, said = await run("serve", "--workers", "2", folder=tmp_path, **environment(sqlite_url))
    assert code == 2
    assert "--workers needs PostgreSQL" in said
    assert len(said.splitlines()) == 1


async def test_a_port_in_use_is_one_clear_line(sqlite_url: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, said = await run("serve", "--port", port, "--no-reconciler", folder=tmp_path, **environment(sqlite_url))
    assert code == 2
    assert f"port {port}: Address already in use" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:////no/such/folder/ledger.db", "does not exist"),
        ("sqlite:////proc/version", "cannot use the SQLite file"),
        ("postgresql://nobody@127.0.0.1:1/ledger", "cannot use the PostgreSQL database"),
    ],
)
async def test_a_database_that_cannot_be_used_is_one_clear_line(tmp_path: Path, url: str, says: str) -> None:
    code, said = await run("serve", "--port", "0", "--no-reconciler", folder=tmp_path, **environment(url))
    assert code == 2
    assert says in said
    assert len(said.splitlines()) == 1


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _worker_pids(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children]


async def _workers(parent: int, number: int) -> list[int]:
    """The workers, once there are so many: the parent says that it serves before it has started them all."""
    async with asyncio.timeout(20):
        while len(found := _worker_pids(parent)) < number:  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.05)
    return found


async def test_several_workers_end_together_and_lose_nothing(postgres_url: str, tmp_path: Path) -> None:
    database = await Database.open(postgres_url)
    async with serve("--no-reconciler", "--workers", "3", folder=tmp_path, **environment(postgres_url)) as server:
        assert server.log[0]["workers"] == 3
        workers = await _workers(server.process.pid, 3)
        traffic, code = await _stop_in_traffic(server)
        assert not any(map(_alive, workers))
    assert code == 0
    await _all_kept(database, traffic)
    await database.close()


async def test_a_worker_that_is_killed_is_started_anew(postgres_url: str, tmp_path: Path) -> None:
    async with serve("--no-reconciler", "--workers", "2", folder=tmp_path, **environment(postgres_url)) as server:
        before = await _workers(server.process.pid, 2)
        os.kill(before[0], signal.SIGKILL)
        async with asyncio.timeout(20):
            while len(set(_worker_pids(server.process.pid)) - {before[0]}) < 2:  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.05)
        assert before[1] in _worker_pids(server.process.pid)
        for n in range(10):
            assert (await ask("POST", server.hook, event(f"wf-{n}", "failed"))).status == 200
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == 0
    assert [line["code"] for line in server.events("worker died")] == [-9]


async def test_workers_end_when_their_parent_is_killed(postgres_url: str, tmp_path: Path) -> None:
    async with serve("--no-reconciler", "--workers", "2", folder=tmp_path, **environment(postgres_url)) as server:
        workers = await _workers(server.process.pid, 2)
        assert (await ask("POST", server.hook, event("wf-1", "failed"))).status == 200
        server.process.kill()
        async with asyncio.timeout(20):
            while any(map(_alive, workers)):  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.05)
    with pytest.raises(NoAnswer):
        await ask("POST", server.hook, event("wf-2", "failed"))

"""How many may come in, in all and of one client, what the others hear, and what is counted."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from receiver.config.sections import ServerConfig
from receiver.ledger.database import Database
from receiver.ledger.tables import evidence
from receiver.web.door import Door, client_of
from tests.web.client import Answer, ask, connect, event, head, read_answer
from tests.web.conftest import Receiving, Running
from tests.web.rows import blocked, rows
from tests.web.serving import environment


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: none of this gets that far."""
    return sqlite_url


@asynccontextmanager
async def guests(running: Running, count: int, *, at: str = "127.0.0.1") -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connections from one address that are there and say nothing."""
    port = int(running.url.rsplit(":", 1)[1])
    pairs = [await asyncio.open_connection("127.0.0.1", port, local_addr=(at, 0)) for _ in range(count)]
    await asyncio.sleep(0.05)
    yield [reader for reader, _ in pairs]
    for _, writer in pairs:
        writer.close()
    await asyncio.sleep(0.05)


def turned_away(running: Running) -> dict[str, int]:
    return {reason: count for reason, count in running.site.door.turned_away.items() if count}


async def test_beyond_the_places_in_all_a_connection_is_503_with_retry_after_and_closed(receiving: Receiving) -> None:
    async with receiving(max_connections=3) as running:
        async with guests(running, 3):
            answers = [await ask("POST", running.hook(), event("wf-1", "failed")) for _ in range(2)]
            assert [answer.status for answer in answers] == [503, 503]
            assert int(answers[0].headers["retry-after"]) > 0
            assert answers[0].headers["connection"] == "close"
            assert running.site.door.open == 3
        assert (await ask("POST", running.hook(), event("wf-1", "failed"))).status == 200
        assert turned_away(running) == {"full": 2}


async def test_one_client_cannot_take_all_places(receiving: Receiving) -> None:
    async with receiving(max_connections_per_client=2) as running:
        async with guests(running, 2, at="127.0.0.9"), guests(running, 1, at="127.0.0.9") as refused:
            assert (await read_answer(refused[0])).status == 503
            assert (await ask("POST", running.hook(), event("wf-1", "failed"))).status == 200
        async with guests(running, 2, at="127.0.0.9"):
            assert turned_away(running) == {"client full": 1}


async def test_a_refused_request_is_read_so_that_its_answer_is_not_lost_to_a_reset(receiving: Receiving) -> None:
    async with receiving(max_connections=1) as running, guests(running, 1):
        for _ in range(20):
            reader, writer = await connect(running.url)
            writer.write(head("POST", running.hook(), {"content-length": "100000"}) + b" " * 100_000)
            await writer.drain()
            assert (await read_answer(reader)).status == 503
            assert await reader.read() == b""
            writer.close()


async def test_a_flood_of_refused_connections_is_closed_within_seconds(receiving: Receiving) -> None:
    async with receiving(max_connections=1) as running, guests(running, 1):
        async with guests(running, 400) as refused:
            async with asyncio.timeout(10):
                told = await asyncio.gather(*(reader.read() for reader in refused))
        assert {answer[:12] for answer in told} == {b"HTTP/1.1 503"}
        assert turned_away(running) == {"full": 400}


async def behind(running: Running, client: str, body: bytes = b"", **headers: str) -> Answer:
    return await ask("POST", running.hook(), body or event("wf-1", "failed"), x_forwarded_for=client, **headers)


async def test_connections_of_a_trusted_proxy_are_not_one_clients(receiving: Receiving) -> None:
    async with receiving(max_connections_per_client=2, trusted_proxies=("127.0.0.0/8",)) as running:
        async with guests(running, 5):
            assert (await behind(running, "203.0.113.1")).status == 200
        assert turned_away(running) == {}


async def test_behind_a_trusted_proxy_what_is_capped_are_one_clients_requests_under_way(
    receiving: Receiving, database: Database, database_url: str
) -> None:
    async with receiving(max_connections_per_client=2, trusted_proxies=("127.0.0.0/8",), answer_within=20) as running:
        async with blocked(database_url):
            waiting = [asyncio.create_task(behind(running, "203.0.113.1", event(f"wf-{n}", "failed"))) for n in "ab"]
            await asyncio.sleep(0.3)
            # What the client itself writes into the header comes before the address the proxy saw.
            refused = [await behind(running, f"{spoofed}203.0.113.1") for spoofed in ("", "198.51.100.7, ")]
            other = asyncio.create_task(behind(running, "203.0.113.2", event("wf-c", "failed")))
            nameless = asyncio.create_task(ask("POST", running.hook(), event("wf-d", "failed")))
            await asyncio.sleep(0.1)
        taken = await asyncio.gather(*waiting, other, nameless)
        assert [answer.status for answer in refused] == [503, 503]
        assert "connection" not in refused[0].headers, "the connection is the proxy's, and others' requests come by it"
        assert [answer.status for answer in taken] == [200] * 4
        assert (await behind(running, "203.0.113.1")).status == 200
        assert turned_away(running) == {"client full": 2}
    assert len(await rows(database, evidence)) == 5


async def _fails(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError(scope["client"])


async def test_a_request_that_ended_in_an_error_no_longer_counts_as_under_way() -> None:
    async def nothing(*_: object) -> None:
        raise AssertionError("nobody is answered")

    app = Door(ServerConfig(max_connections_per_client=1)).sharing(_fails)
    for _ in range(3):
        with pytest.raises(ValueError, match=r"203\.0\.113\.1"):
            await app({"type": "http", "client": ("203.0.113.1", 1)}, nothing, nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("nonsense", "nonsense"),
        ("non:sense", "non:sense"),
        ("", ""),
    ],
)
def test_a_client_is_an_address_or_of_ipv6_what_one_customer_gets(address: str, client: str) -> None:
    assert client_of(address) == client


async def test_when_places_run_out_nobody_may_take_their_time(receiving: Receiving) -> None:
    async with receiving(max_connections=8, body_timeout=8) as running:
        async with guests(running, 7) as silent:
            began = asyncio.get_running_loop().time()
            await asyncio.wait_for(silent[0].read(), 6)
            assert asyncio.get_running_loop().time() - began < 8
        assert turned_away(running)["silent"] >= 1


async def test_the_counters_are_among_the_metrics(receiving: Receiving) -> None:
    async with receiving(max_connections=2, metrics_public=True) as running:
        async with guests(running, 2):
            await ask("GET", f"{running.url}/metrics")
        _, writer = await connect(running.url)
        writer.write(head("POST", running.hook(), {"content-length": "10"}) + b"{")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        told = (await ask("GET", f"{running.url}/metrics")).body.decode()
    assert 'hookledger_turned_away_total{reason="full"} 1.0' in told
    assert 'hookledger_turned_away_total{reason="malformed"} 0.0' in told
    assert 'hookledger_clients_left_total{stage="body"} 1.0' in told
    assert "hookledger_connections 1.0" in told


FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
from receiver.logs import setup_logging
from receiver.redaction import Redactor
from receiver.web.files import connections_for
setup_logging(Redactor(()))
print(connections_for(1000), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "given", "left"),
    [(256, 4096, 1000, 1128), (2000, 4096, 1000, 2000), (256, 512, 384, 512), (100, 100, 16, 100)],
)
def test_the_limit_of_open_files_is_raised_or_fewer_connections_are_taken(
    soft: int, hard: int, given: int, left: int
) -> None:
    command = [sys.executable, "-c", FILES, str(soft), str(hard)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(given), str(left)]
    assert ("server.max_connections = 1000" in done.stderr) == (given != 1000)
    assert ("ulimit -Hn" in done.stderr) == (given != 1000)


def test_serve_says_at_the_start_when_it_may_not_open_enough_files(database_url: str, tmp_path: Path) -> None:
    command = 'ulimit -n 300; exec "$0" -m receiver serve --port 0 --no-reconciler'
    process = subprocess.Popen(
        ["/bin/sh", "-c", command, sys.executable],
        cwd=tmp_path, env=environment(database_url), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    said = [json.loads(process.stderr.readline()) for _ in range(2)]
    process.terminate()
    assert process.wait(20) == 0
    process.stderr.close()
    (few,) = [line for line in said if line["event"] == "few files"]
    assert (few["limit"], few["connections"]) == (300, 172)

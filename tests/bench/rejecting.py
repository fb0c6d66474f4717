"""`python -m tests.bench.rejecting`: what a request costs that is turned away, beside a delivery that is taken.

CPU of the server and of the database per request, over connections that stay open. Rounds alternate. Afterwards the
ledger must hold what was taken, and of what was turned away nothing but the counts.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import asyncpg
import orjson
from rich.console import Console
from rich.table import Table

from tests.bench import machine
from tests.bench.processes import HOOK_TOKEN, BenchFailed, Postgres, free_port, hookledger, postgres, started
from tests.bench.tables import spread

SECRET = b"signing-secret-of-the-bench-0001"
CONFIG = """\
[database]
url = "{url}"

[sources.civitai]
provider = "civitai"
api_key = "api-key-of-the-bench"
hook_token = "{token}"

[sources.replicate]
provider = "replicate"
api_key = "api-key-of-replicate"
signing_secrets = ["whsec_{secret}"]
"""
CONNECTIONS = 32
_numbers = count()


@dataclass(frozen=True)
class Kind:
    """One sort of request: how it is made, how it must be answered, and which accepted sort it is held against."""

    title: str
    make: Callable[[], bytes]
    status: int
    beside: str


def request(path: str, body: bytes, *headers: str) -> bytes:
    """One POST as it goes over the wire."""
    head = [f"POST {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def event() -> bytes:
    """A delivery of Civitai's of the usual size about a workflow of its own."""
    name = f"wf-{next(_numbers)}"
    step = {"$type": "step", "workflowId": name, "name": "$0", "status": "processing", "note": "x" * 400}
    return orjson.dumps(step)


def civitai(token: str) -> bytes:
    """A delivery with a token in its URL."""
    return request(f"/hooks/civitai?token={token}", event())


def replicate(secret: bytes) -> bytes:
    """A delivery that is signed."""
    name = f"prediction-{next(_numbers)}"
    at = datetime.now(UTC).isoformat()  # one that is overdue is another thing
    told = {"id": name, "status": "processing", "input": {"prompt": "x" * 400}, "created_at": at}
    body, stamp = orjson.dumps(told), int(time.time())
    proof = hmac.new(secret, f"{name}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signed = (f"webhook-id: {name}", f"webhook-timestamp: {stamp}",
              f"webhook-signature: v1,{base64.b64encode(proof).decode()}")  # fmt: skip
    return request("/hooks/replicate", body, *signed)


KINDS = (
    Kind("taken, by a token", lambda: civitai(HOOK_TOKEN), 200, "taken, by a token"),
    Kind("wrong token", lambda: civitai("wrong-token-wrong-token"), 401, "taken, by a token"),
    Kind("no such source", lambda: request("/hooks/nobody", event()), 404, "taken, by a token"),
    Kind("taken, signed", lambda: replicate(SECRET), 200, "taken, signed"),
    Kind("wrong signature", lambda: replicate(b"another secret"), 401, "taken, signed"),
)


async def send(port: int, requests: Sequence[bytes], status: int) -> None:
    """Send requests over one connection, which the server may close after an answer. Raises BenchFailed when one is
    answered otherwise."""
    left, begins = list(requests), f"HTTP/1.1 {status} ".encode()
    while left:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while left:
                writer.write(left[-1])
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                body = await reader.readexactly(int(length.partition(b":")[2]))
                if not head.startswith(begins):
                    raise BenchFailed(f"answered {head[:12].decode()} in place of {status}: {body[:200].decode()}")
                left.pop()
                if b"connection: close" in head.lower():
                    break
        finally:
            writer.close()


def one_round(kind: Kind, pid: int, port: int, server: Postgres, requests: int) -> float:
    """Return the CPU per request, µs, of the server and the database."""
    each = [[kind.make() for _ in range(requests // CONNECTIONS)] for _ in range(CONNECTIONS)]

    def used() -> float:
        return machine.cpu_seconds(pid) + machine.family_cpu_seconds(server.pid)

    async def all_of_them() -> None:
        await asyncio.gather(*(send(port, mine, kind.status) for mine in each))

    before = used()
    asyncio.run(all_of_them())
    return (used() - before) * 1e6 / sum(map(len, each))


async def stored(url: str) -> tuple[int, int]:
    """Return how much evidence there is, and how many rows of rejections."""
    connection = await asyncpg.connect(url)
    try:
        return tuple([await connection.fetchval(f"SELECT count(*) FROM {name}") for name in ("evidence", "rejections")])  # type: ignore[return-value]
    finally:
        await connection.close()


def main() -> int:
    """Measure, print; 1 when what is turned away costs more than what is taken, 3 when not just that was stored."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rejecting", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=8000, help="per round (default 8000)")
    given = parser.parse_args()
    found: dict[str, list[float]] = {kind.title: [] for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="hookledger-bench-") as name, postgres() as server:
        url, port = server.database("rejecting"), free_port()
        config = Path(name) / "hookledger.toml"
        config.write_text(CONFIG.format(url=url, token=HOOK_TOKEN, secret=base64.b64encode(SECRET).decode()))
        subprocess.run(hookledger(config, "db", "upgrade"), check=True, stdout=subprocess.DEVNULL)
        serve = hookledger(config, "serve", "--no-reconciler", "--port", str(port))
        try:
            with started(serve, Path(name) / "serve.log", port) as pid:
                for _ in range(given.rounds):
                    for kind in KINDS:
                        found[kind.title].append(one_round(kind, pid, port, server, given.requests))
        except BenchFailed as error:
            sys.stderr.write(f"rejecting: {error}\n")
            return 2
        kept, counted = asyncio.run(stored(url))
    taken = sum(kind.status == 200 for kind in KINDS) * given.rounds * (given.requests // CONNECTIONS * CONNECTIONS)
    return report(found, kept, counted, taken)


def report(found: Mapping[str, Sequence[float]], kept: int, counted: int, taken: int) -> int:
    """Print what was measured; return the exit code."""
    table = Table(title="What a request costs, server and database together")
    for title in ("request", "CPU, µs", "of what is taken"):
        table.add_column(title, justify="left" if title == "request" else "right")
    dear = False
    for kind in KINDS:
        ratios = [mine / theirs for mine, theirs in zip(found[kind.title], found[kind.beside], strict=True)]
        dear = dear or statistics.median(ratios) > 1.0
        table.add_row(kind.title, spread(found[kind.title]), spread(ratios, 2))
    console = Console(width=120)
    console.print(table)
    console.print(f"{taken:,} were taken, {kept:,} are stored; {counted} rows count what was turned away")
    return 3 if kept != taken else int(dear)


if __name__ == "__main__":
    sys.exit(main())

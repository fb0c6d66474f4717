"""`/healthz` of `reconcile --watch`: it fails when the loop goes silent, whatever else the process does."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import suppress

import pytest

from reconciler.healthz import Pulse, answering
from tests.reconciler.test_commands import hookledger, start
from tests.reconciler.world import World


async def asked(port: int, said: bytes = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") -> tuple[int, dict[str, object]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(said)
        if not said.endswith(b"\r\n\r\n"):
            writer.write_eof()
        async with asyncio.timeout(5):
            answer = await reader.read()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body else {}


async def test_it_is_alive_while_the_loop_turns_and_not_when_it_has_gone_silent() -> None:
    pulse = Pulse()
    async with answering("127.0.0.1", 0, pulse) as port:
        status, told = await asked(port)
        assert (status, told["status"], told["silent"]) == (200, "alive", {})
        pulse.at -= 61
        status, told = await asked(port)
        assert (status, told["status"]) == (503, "silent")
        assert told["silent"]["reconciler"] >= 61  # type: ignore[index]
        pulse.beat()
        assert (await asked(port))[0] == 200


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"HEAD /healthz HTTP/1.1\r\n\r\n", 200),
        (b"GET /healthz?x=1 HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"POST /healthz HTTP/1.1\r\n\r\n", 405),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"", 400),
        (b"x" * 20_000, 400),
    ],
)
async def test_nothing_else_is_told(said: bytes, status: int) -> None:
    async with answering("127.0.0.1", 0, Pulse()) as port:
        found, told = await asked(port, said)
        assert found == status
        assert told == {} or status == 200
        assert (await asked(port))[0] == 200


async def test_a_daemon_answers_and_one_that_is_frozen_does_not(world: World) -> None:
    process = await start(world, "reconcile", "--watch", "--healthz", "0")
    assert process.stderr is not None
    try:
        port = 0
        while not port:
            line = json.loads(await process.stderr.readline())
            port = line["port"] if line["event"] == "answering-healthz" else 0
        assert (await asked(port))[0] == 200
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await asked(port)
        process.send_signal(signal.SIGCONT)
        assert (await asked(port))[0] == 200
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.terminate()
        await process.communicate()
    assert process.returncode == 0


async def test_a_place_that_is_taken_or_cannot_be_is_one_clear_line(world: World) -> None:
    async with answering("127.0.0.1", 0, Pulse()) as port:
        for args, said in (
            (("--watch", "--healthz", str(port)), "cannot listen on 127.0.0.1"),
            (("--watch", "--healthz", "here"), "must be a port, such as 8081"),
            (("--healthz", "8081"), "a pass ends by itself"),
        ):
            code, _, err = await hookledger(world, "reconcile", *args)
            assert code == 2
            assert said in err
            assert "Traceback" not in err

"""The answer to a delivery leaves in one piece, and says what it would say in two."""

from __future__ import annotations

import asyncio
import json
import socket
import struct

import pytest

from tests.web.client import Answer, connect, event, head, read_answer
from tests.web.conftest import Running

SEGMENTS_IN = 152  # where Linux's struct tcp_info has the number of segments received that held data


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database is enough: this comes after it."""
    return sqlite_url


def request(running: Running, body: bytes, **headers: str) -> bytes:
    return head("POST", running.hook(), {"content-length": str(len(body)), **headers}) + body


def pieces(writer: asyncio.StreamWriter) -> int:
    told = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    (found,) = struct.unpack_from("I", told, SEGMENTS_IN)
    return int(found)


async def test_an_answer_is_one_piece_and_as_it_would_be_in_two(receiver: Running) -> None:
    reader, writer = await connect(receiver.url)
    for n in range(1, 4):
        writer.write(request(receiver, event(f"wf-{n}", "processing")))
        whole = await read_answer(reader)
        assert pieces(writer) == n
        assert (whole.status, whole.json["outcome"]) == (200, "applied")
    writer.write(request(receiver, event("wf-9", "processing"), connection="close"))
    apart = await read_answer(reader)
    assert _lasting(apart) == _lasting(whole)
    assert await reader.read() == b"", "whoever asks for the connection's end has it"
    writer.close()


def _lasting(answer: Answer) -> tuple[int, dict[str, str], set[str]]:
    headers = {name: value for name, value in answer.headers.items() if name not in ("connection", "date")}
    return answer.status, headers, set(json.loads(answer.body))


async def test_answers_to_pipelined_deliveries_come_whole_and_in_turn(receiver: Running) -> None:
    reader, writer = await connect(receiver.url)
    writer.write(
        b"".join(request(receiver, event("wf-1", status)) for status in ("processing", "processing", "failed"))
    )
    answers = [await read_answer(reader) for _ in range(3)]
    assert [one.json["outcome"] for one in answers] == ["applied", "duplicate", "applied"]
    assert pieces(writer) <= 3
    writer.close()

"""Fixtures of the sandbox tests: a client session and a callback receiver on a real socket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from sandbox_client import Inbox
from starlette.applications import Starlette
from starlette.routing import Route
from task_client import Box

from receiver.sandbox.serving import address_of, bind, serving


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@contextlib.asynccontextmanager
async def hooked(kept: Inbox | Box) -> AsyncIterator[None]:
    """Serve its `take` at `/hook`, and tell it where that is."""
    sock = bind("127.0.0.1", 0)
    kept.url = address_of(sock) + "/hook"
    async with serving(Starlette(routes=[Route("/hook", kept.take, methods=["POST"])]), sock):
        yield


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    kept = Inbox()
    async with hooked(kept):
        yield kept


@pytest.fixture
async def box() -> AsyncIterator[Box]:
    kept = Box()
    async with hooked(kept):
        yield kept

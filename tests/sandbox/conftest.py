"""Fixtures of the sandbox tests: a client session and a callback receiver on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from sandbox_client import Inbox
from starlette.applications import Starlette
from starlette.routing import Route

from receiver.sandbox.serving import address_of, bind, serving


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    box = Inbox()
    sock = bind("127.0.0.1", 0)
    box.url = address_of(sock) + "/hook"
    async with serving(Starlette(routes=[Route("/hook", box.take, methods=["POST"])]), sock):
        yield box

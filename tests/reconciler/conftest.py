"""Fixtures of the reconciler's tests: an upstream that answers as told, and a ledger that asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from receiver.ledger.database import Database
from receiver.redaction import Redactor
from tests.reconciler.world import Upstream, World, configured, upstream_running


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with upstream_running() as running:
        yield running


@pytest.fixture
def make_world(database: Database, database_url: str, tmp_path: Path) -> Callable[..., World]:
    """Make a world whose source is asked at an address; further lines go into its configuration."""

    def make(base_url: str, *lines: str, server: tuple[str, ...] = ()) -> World:
        config = configured(database_url, base_url, tmp_path, *lines, server=server)
        return World(database, config, Redactor(config.secret_values()))

    return make


@pytest.fixture
def world(make_world: Callable[..., World], upstream: Upstream) -> World:
    return make_world(upstream.base_url, 'deadline = "30d"')

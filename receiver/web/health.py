"""`/healthz`, `/readyz` and `/metrics`: for whoever runs this."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver import __version__
from receiver.ledger import migrate, queries, stats, tallies
from receiver.ledger.database import LedgerError
from receiver.ledger.states import Status
from receiver.web.answers import answer, clock, site_of
from receiver.web.auth import needs
from receiver.web.door import Door
from receiver.web.site import Site

STUCK = 60.0  # seconds of silence of the committer, who gives a sign at each try; no try waits for half as long
FAILURES_COUNT_FOR = 10.0  # seconds after a commit failed, when none was tried since


def routes() -> list[Route]:
    """Return the routes of health."""
    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]


async def healthz(request: Request) -> Response:
    """Alive: 200; 503 with their names when a loop has gone silent, so that whoever watches starts us anew."""
    site = site_of(request)
    silent = site.beats.silent(clock())
    quiet = _silent(site)
    if quiet > STUCK and not site.stopping.is_set():
        silent["intake"] = quiet
    # One that is no more has been silent for ever, which JSON cannot say.
    told = {name: round(seconds, 1) if math.isfinite(seconds) else None for name, seconds in silent.items()}
    status = "silent" if silent else "alive"
    return answer(site, {"status": status, "version": __version__, "silent": told}, 503 if silent else 200)


async def readyz(request: Request) -> Response:
    """Ready for traffic: the database answers, its schema is of this version, and what came last could be committed;
    503 with the reason otherwise."""
    site = site_of(request)
    problem = _commits_fail(site)
    try:
        # Whoever asks gives up soon; so a database that says nothing is one that is away.
        async with asyncio.timeout(site.config.server.answer_within.total_seconds()):
            await migrate.ensure_current(site.database)
    except TimeoutError:
        problem = "the database does not answer in time"
    except LedgerError as error:
        problem = str(error)
    except DBAPIError:
        problem = "the database does not answer as it should"
    return answer(site, {"status": "not ready" if problem else "ready", "problem": problem}, 503 if problem else 200)


def _commits_fail(site: Site) -> str | None:
    """Say so when deliveries cannot be kept although the database may be read, as on a full disk.

    Believed for a while only: with nobody sending us anything, nothing would ever show that it is over.
    """
    counters, now = site.intake.counters, time.monotonic()
    if counters.failing_since is None or now - counters.failed_at > FAILURES_COUNT_FOR:
        return None
    return f"deliveries could not be committed for {now - counters.failing_since:.0f} s"


async def metrics(request: Request) -> Response:
    """The ledger's state and this process's counters for Prometheus; needs a token unless `server.metrics_public`."""
    site = site_of(request)
    return await (_public if site.config.server.metrics_public else _guarded)(request)


async def _public(request: Request) -> Response:
    site = site_of(request)
    body = generate_latest(await _registry(site))
    return Response(site.redactor.bytes(body), headers={"content-type": CONTENT_TYPE_LATEST})


_guarded = needs("read")(_public)


async def _registry(site: Site) -> CollectorRegistry:
    """Return what there is to measure, as of now: made anew for each scrape, so that workers share nothing."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    async with site.database.read() as connection:
        totals = await tallies.totals(connection)
        due = await queries.due_checks(connection, clock())
    by_status = Gauge("hookledger_workflows", "Workflows by status", ("source", "status"), registry=registry)
    for source, counts in totals.items():
        for status, count in stats.grouped(counts, "status", Status).items():
            by_status.labels(source, status).set(count)
    opened = Gauge("hookledger_attention_open", "Reasons for a person to look", ("source", "kind"), registry=registry)
    for source, counts in totals.items():
        for kind, count in stats.grouped(counts, "attention").items():
            opened.labels(source, kind).set(count)
    waiting = Gauge(
        "hookledger_checks_due", "Workflows that are due to be looked at", ("source", "lane"), registry=registry
    )
    for (source, lane), count in due.items():
        waiting.labels(source, lane).set(count)
    counters = site.intake.counters
    for name, text, value in (
        ("queued", "Deliveries that wait for their commit", counters.queued),
        ("batches", "Transactions of deliveries committed by this process", counters.batches),
        ("committed", "Deliveries committed by this process", counters.committed),
        ("failed", "Deliveries this process answered 503", counters.failed),
        ("commit_seconds", "How long the last commit took", counters.last_commit),
        ("silent_seconds", "For how long the committer has given no sign although there is work", _silent(site)),
    ):
        Gauge(f"hookledger_intake_{name}", text, registry=registry).set(value)
    registry.register(_Doorkeeper(site.door))
    return registry


def _silent(site: Site) -> float:
    return site.intake.silent_for(time.monotonic())


class _Doorkeeper(Collector):
    """The connections of this process, and who did not get what they wanted."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("hookledger_connections", "Open connections of this process", self._door.open)
        for name, text, label, counts in (
            (
                "turned_away",
                "Connections and requests refused or closed by this process",
                "reason",
                self._door.turned_away,
            ),
            (
                "clients_left",
                "Clients that left before their answer, by how far they had come",
                "stage",
                self._door.left,
            ),
        ):
            family = CounterMetricFamily(f"hookledger_{name}", text, labels=[label])
            for value, count in sorted(counts.items()):
                family.add_metric([value], count)
            yield family

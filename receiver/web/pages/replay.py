"""Replay on the dashboard: one delivery applied again, and one workflow derived again from all its evidence."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver import __version__
from receiver.ledger import queries
from receiver.ledger.query_parts import JsonObject
from receiver.ledger.records import Outcome
from receiver.replaying import Difference, Replay
from receiver.rereading import NotReplayable
from receiver.web.answers import site_of
from receiver.web.api_deliveries import replay_now
from receiver.web.pages import said
from receiver.web.pages.deliveries import evidence_page, known_evidence
from receiver.web.pages.guarding import button, onward, page
from receiver.web.pages.nav import opened
from receiver.web.pages.rendering import render
from receiver.web.pages.words import seg
from receiver.web.pages.workflow import WORKFLOW
from receiver.web.parameters import named
from receiver.web.problems import Problem
from receiver.web.waiting import unknown_workflow

_NEWS = frozenset({Outcome.APPLIED, Outcome.HINT})


def routes() -> list[Route]:
    """Return the routes of replay."""
    return [
        Route("/evidence/{id}/replay", replay_delivery, methods=["POST"]),
        Route(f"{WORKFLOW}/replay", replay, methods=["GET"]),
        Route(f"{WORKFLOW}/replay", correct, methods=["POST"]),
    ]


@button("write")
async def replay_delivery(request: Request) -> Response:
    """Read a delivery with today's code and apply it again; go on to its workflow, or say why that cannot be."""
    site = site_of(request)
    found = await known_evidence(request)
    try:
        told = await replay_now(site, request.state.visitor.name, found)
    except Problem as problem:
        if problem.kind != "cannot-replay":
            raise
        return await evidence_page(request, found, refused=problem.detail)
    known = told["workflow"] is not None
    path = f"/workflows/{seg(told['source'])}/{seg(told['workflow'])}" if known else f"/evidence/{seg(found['id'])}"
    response = onward(request, path)
    said.say(request, response, "replayed" if Outcome(told["outcome"]) in _NEWS else "replay-nothing")
    return response


@page()
async def replay(request: Request) -> Response:
    """What today's code makes of a workflow's evidence, beside what the ledger says; changes nothing."""
    site, (source, workflow_id) = site_of(request), named(request)
    replay, differs = await _derived(request, source, workflow_id)
    async with site.database.read() as connection:
        nav = await opened(connection)
    data: JsonObject = {
        "nav": nav, "source": source, "id": workflow_id, "version": __version__, "read": replay.report.evidence,
        "differences": [] if differs is None else differs.differences,
        "why_not": next(iter(replay.report.not_replayable), None),
    }  # fmt: skip
    return render(request, "replay.html", data)


@button("admin")
async def correct(request: Request) -> Response:
    """Make the ledger say what the evidence says today: the one door that may change a confirmed ending (R2)."""
    source, workflow_id = named(request)
    replay, differs = await _derived(request, source, workflow_id)
    changed = False
    try:
        if differs is not None:
            changed = await replay.correct(differs, request.state.visitor.name)
    except NotReplayable as why:
        raise Problem("cannot-replay", str(why)) from None
    response = onward(request, f"/workflows/{seg(source)}/{seg(workflow_id)}")
    said.say(request, response, "corrected" if changed else "replay-same")
    return response


async def _derived(request: Request, source: str, workflow_id: str) -> tuple[Replay, Difference | None]:
    """Return a replay of one workflow, and what it found different. Raises Problem for what is not known."""
    site = site_of(request)
    async with site.database.read() as connection:
        row = await queries.workflow_row(connection, source, workflow_id)
    if row is None:
        raise unknown_workflow(source, workflow_id)
    if source not in site.config.sources:
        raise Problem(
            "unknown-source", f"no source is named {source[:64]!r} any more, and nothing else reads its words"
        )
    replay = Replay(site.config, site.database, [source], [workflow_id], known_only=True)
    found = [one async for one in replay.differences()]
    return replay, found[0] if found else None

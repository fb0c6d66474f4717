"""The buttons: have upstream asked, say that a person has seen to it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver import acknowledging
from receiver.ledger.database import now as database_now
from receiver.ledger.tables import ATTENTION_KINDS
from receiver.web.answers import site_of
from receiver.web.pages import said
from receiver.web.pages.forms import place
from receiver.web.pages.guarding import button, onward
from receiver.web.pages.words import seg
from receiver.web.pages.workflow import WORKFLOW
from receiver.web.parameters import named
from receiver.web.problems import Problem
from receiver.web.waiting import pulse_of, wish


def routes() -> list[Route]:
    """Return the routes of the buttons."""
    return [
        Route(f"{WORKFLOW}/refetch", refetch, methods=["POST"]),
        Route(f"{WORKFLOW}/ack", acknowledge, methods=["POST"]),
        Route("/attention/ack", acknowledge_row, methods=["POST"]),
    ]


def _back(request: Request, path: str, word: str) -> Response:
    response = onward(request, place(request.state.form.get("back"), path))
    said.say(request, response, word)
    return response


def _path(source: str, workflow_id: str) -> str:
    return f"/workflows/{seg(source)}/{seg(workflow_id)}"


def _configured(request: Request, source: str) -> None:
    if source not in site_of(request).config.sources:
        raise Problem("unknown-source", f"no source is named {source[:64]!r}")


@button("write")
async def refetch(request: Request) -> Response:
    """Have upstream asked about a workflow now."""
    site, (source, workflow_id) = site_of(request), named(request)
    _configured(request, source)
    pulse = await pulse_of(site, source, workflow_id)
    await wish(site, source, workflow_id, pulse.pk, request.state.visitor.name)
    return _back(request, _path(source, workflow_id), "asked")


@button("write")
async def acknowledge(request: Request) -> Response:
    """A person has seen to a workflow's attention of one kind."""
    site, (source, workflow_id) = site_of(request), named(request)
    kind, who = request.state.form.get("kind", ""), request.state.visitor.name
    if kind not in ATTENTION_KINDS:
        raise Problem("no-attention", f"there is no kind {kind[:40]!r}")
    _configured(request, source)
    await pulse_of(site, source, workflow_id)
    async with site.database.write() as connection:
        now = await database_now(connection)
        row = await acknowledging.acknowledge(site.config, connection, source, workflow_id, kind, who, now)
    return _back(request, _path(source, workflow_id), "gone" if row is None else "acknowledged")


@button("write")
async def acknowledge_row(request: Request) -> Response:
    """A person has seen to what is open under this name: of a source, a delivery or a workflow."""
    site, ref, who = site_of(request), request.state.form.get("ref", ""), request.state.visitor.name
    async with site.database.write() as connection:
        now = await database_now(connection)
        row = await acknowledging.acknowledge_row(site.config, connection, ref[:64], who, now)
    return _back(request, "/attention", "gone" if row is None else "acknowledged")

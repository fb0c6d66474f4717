"""Everything under `/v1`."""

from __future__ import annotations

from starlette.routing import Route

from receiver.web import api_advice, api_figures, api_steering, api_workflows


def routes() -> list[Route]:
    """Return the routes of `/v1`."""
    return [*api_workflows.routes(), *api_steering.routes(), *api_advice.routes(), *api_figures.routes()]

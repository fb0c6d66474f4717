"""Everything under `/v1`."""

from __future__ import annotations

from starlette.routing import Route

from receiver.web import (
    api_advice,
    api_attention,
    api_audit,
    api_deliveries,
    api_figures,
    api_steering,
    api_stream,
    api_workflows,
    sharing,
)


def routes() -> list[Route]:
    """Return the routes of `/v1`."""
    parts = (
        api_workflows, api_steering, api_attention, api_advice, api_deliveries, api_figures, api_audit, api_stream,
        sharing,
    )  # fmt: skip
    return [route for part in parts for route in part.routes()]

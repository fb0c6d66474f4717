"""The newest whole document upstream gave of a workflow, for the API and the pages."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from receiver.ledger import queries, trail
from receiver.ledger.trail import Document
from receiver.providers import PROVIDERS
from receiver.providers.base import ProviderError, Response
from receiver.web.parameters import PARSED_ASIDE
from receiver.web.problems import Problem
from receiver.web.site import Site
from receiver.web.waiting import unknown_workflow


async def document_of(site: Site, source: str, workflow_id: str) -> Document:
    """Return the newest answer that holds the whole workflow. Raises Problem: `unknown-workflow`, `no-document`."""
    async with site.database.read() as connection:
        row = await queries.workflow_row(connection, source, workflow_id)
        if row is None:
            raise unknown_workflow(source, workflow_id)
        async with aclosing(trail.documents(connection, row["pk"])) as found:
            async for one in found:
                told = (site, source, workflow_id, one)
                if await asyncio.to_thread(_whole, *told) if len(one.body) > PARSED_ASIDE else _whole(*told):
                    return one
    raise Problem("no-document", "upstream has not been asked about this workflow yet, or has not shown it")


def _whole(site: Site, source: str, workflow_id: str, one: Document) -> bool:
    """Whether an answer is the workflow's document; the renewal of one file's URL is an answer too."""
    if source not in site.config.sources:
        return True  # its provider is not known any more
    response = Response(one.http_status, {}, one.body, one.sent_at, one.recorded_at)
    try:
        PROVIDERS[site.config.sources[source].provider].read_status(workflow_id, response, site.config.account(source))
    except ProviderError:
        return False
    return True

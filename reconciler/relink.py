"""Giving one blob a fresh URL: the fallback when looks at its workflow bring none (R17)."""

from __future__ import annotations

from receiver.ledger.records import Reading
from receiver.providers.base import Account, Provider, Response, Unreadable


def read_relink(provider: Provider, workflow_id: str, blob_id: str, response: Response, account: Account) -> Reading:
    """Read the answer to a renewal: a reading of that blob and of nothing else, so that no status can move.

    It is no snapshot of the workflow, but it is our own look, so the URL in it is confirmed. Raises as the provider's
    `read_relink` does, and Unreadable when it is about another blob.
    """
    seen = provider.read_relink(workflow_id, response, account)
    if seen.id != blob_id:
        raise Unreadable("upstream answered with another blob than the one asked for")
    return Reading(workflow_id, blobs=(seen,))

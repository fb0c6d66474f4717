"""What many upstreams lack, for a provider to stand on: it writes out only what its own upstream has."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from receiver.ledger.records import BlobSeen, JsonObject, Reading
from receiver.providers.advice import Fault
from receiver.providers.base import Account, Page, Probe, Request, Response, Unreadable
from receiver.providers.envelopes import read_fault


class Lacking:
    """No bulk reads, no renewal of single URLs, no listing, no probes, no published keys; errors of the usual shapes.

    Each answer to a request that is never made is Unreadable.
    """

    name: str

    def bulk_status(self, workflow_ids: Sequence[str], account: Account) -> Request | None:
        """None: workflows cannot be asked for by several ids."""
        return None

    def read_bulk(self, response: Response, account: Account) -> tuple[Reading, ...]:
        """Never asked for."""
        raise Unreadable(f"{self.name} has no request that answers for many workflows")

    def relink(self, workflow_id: str, blob_id: str, account: Account) -> Request | None:
        """None: only a look tells a file's URL."""
        return None

    def read_relink(self, workflow_id: str, response: Response, account: Account) -> BlobSeen:
        """Never asked for."""
        raise Unreadable(f"{self.name} has no request that renews one file's URL")

    def list(self, since: datetime, until: datetime, account: Account) -> Request | None:
        """None: what was submitted cannot be listed."""
        return None

    def read_list(self, response: Response, account: Account, asked: Request) -> Page:
        """Never asked for."""
        raise Unreadable(f"{self.name} has no listing")

    def probes(self, account: Account) -> tuple[Probe, ...]:
        """None: no cheap read that needs nothing but the key."""
        return ()

    def read_error(self, http: int, body: bytes) -> Fault:
        """Read an error of any of the usual shapes."""
        return read_fault(body)

    def keys_request(self, account: Account) -> Request | None:
        """None: no keys are published."""
        return None

    def read_keys(self, response: Response) -> JsonObject:
        """Never asked for."""
        raise Unreadable(f"{self.name} publishes no keys")

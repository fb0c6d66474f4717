"""What every provider offers: bytes in, records out, no I/O.

A provider knows one upstream's words. It is a stateless object; everything it needs comes in as an argument. The same
instance serves every source that names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from receiver.ledger.records import BlobSeen, JsonObject, Reading, Trust
from receiver.providers.advice import ErrorTable, Fault


@dataclass(slots=True)
class Inbound:
    """A delivery as it came over the wire. Header names are lower case; values are latin-1 text, as HTTP has them.

    `query` holds the first value of each parameter of the URL it was sent to. `body` is the raw body, byte for byte.
    """

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """What a provider may know about the source it works for: where upstream is, and the secrets, never printed."""

    source: str
    base_url: str
    trust: Trust
    api_key: str | None = field(default=None, repr=False)
    hook_tokens: tuple[str, ...] = field(default=(), repr=False)
    signing_secrets: tuple[str, ...] = field(default=(), repr=False)
    tolerance: timedelta = timedelta(minutes=5)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request to make. `url` is absolute. Credentials go only to the `base_url`'s origin (transport)."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP answer. `sent_at` and `received_at` are our clock; `date` is the answer's `Date` header, upstream's.

    Of what is read out of it nothing but errors may depend on `received_at` or on headers besides `content-type`:
    evidence keeps neither, and replay must read the same.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    sent_at: datetime
    received_at: datetime
    date: datetime | None = None


class ProviderError(Exception):
    """The common parent of what can be wrong with what upstream sent. Each child names whose fault it is."""


class BadSignature(ProviderError):
    """A proof is missing, wrong or outside its time window. Not believed: answered 401."""


class KeysUnavailable(ProviderError):
    """The signer's public keys cannot be had just now. Neither believed nor disbelieved: answered 503."""


class Unreadable(ProviderError):
    """Believed but not understood: kept raw, quarantined, answered 200."""


class UpstreamGone(ProviderError):
    """Upstream answers 404 or 410: it does not know the id (R11: three times, spaced out, before anyone is told)."""


class UpstreamBusy(ProviderError):
    """Upstream answers 429, 5xx or not at all: try again later (`retry_after` seconds when it said so)."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class UpstreamRefused(ProviderError):
    """Upstream answers 400, 403 or 422: asking the same again will not help (R11: a look a day)."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class CredentialsRefused(ProviderError):
    """Upstream answers 401: the source pauses until a probe gets through (R11)."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing: a snapshot per workflow, and the request for the next page.

    `skipped` counts the items that could not be read and are not among the readings.
    """

    readings: tuple[Reading, ...]
    next: Request | None
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """One cheap read that tells `doctor` whether the account works."""

    name: str
    request: Request


@dataclass(frozen=True, slots=True)
class Habits:
    """What is known of an upstream's behaviour; a source's configuration may override the times.

    `poll` is how upstream wants fresh work polled until the first delivery: waits in seconds, the last one repeats.
    `retry_horizon` is how long upstream keeps trying to deliver one event. `identity_headers` (lower case) tell one
    delivery from another and are hashed with the body (R13); headers that change with every retry are not among them.
    `outputs_live` is for how long after its end upstream keeps a workflow's outputs where a file tells no clock itself.
    `blob_hosts` are the host suffixes its output URLs may have, () for any. `restartable` says that a finished id may
    run again (R10). `locator` names what is needed besides the id to ask again. `publishes_keys` says that deliveries
    are signed with keys upstream publishes, so that trust `signed` needs no secret of ours. `budget` is how many
    requests an account may send, written as a source's setting of that name (`5/min`); None where upstream names none.
    """

    poll: tuple[float, ...]
    silence: timedelta
    deadline: timedelta
    retry_horizon: timedelta
    default_base_url: str
    blob_hosts: tuple[str, ...] = ()
    restartable: bool = False
    locator: tuple[str, ...] = ()
    trusts: tuple[Trust, ...] = (Trust.TOKEN, Trust.HINT, Trust.NONE)
    bulk_size: int = 1
    identity_headers: tuple[str, ...] = ()
    publishes_keys: bool = False
    outputs_live: timedelta | None = None
    budget: str | None = None


class Provider(Protocol):
    """One upstream's dictionary. Errors are named by fault (above); anything else that escapes is our bug.

    `errors` is upstream's error table. A delivery whose body names no id is read into a reading with `workflow_id` '';
    the ledger then finds its workflow by the `ref` of the registered URL.
    """

    name: str
    habits: Habits
    errors: ErrorTable

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Return when every proof the account declares is there and right; raise BadSignature or KeysUnavailable.

        `keys` are the signer's public keys from source state, for providers that publish them.
        """

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Read a believed delivery. Raises Unreadable for anything that is not one of upstream's events."""

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Read what the submitter has: upstream's submit answer and/or the request sent. Raises Unreadable.

        The reading's `workflow_id` is '' when the answer names none.
        """

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Return the request that asks upstream how a workflow is."""

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read the answer to `status_request`. Raises UpstreamGone, UpstreamBusy, UpstreamRefused,
        CredentialsRefused or Unreadable."""

    def bulk_status(self, workflow_ids: Sequence[str], account: Account) -> Request | None:
        """Return one request that answers for many workflows at once, None where upstream has none."""

    def read_bulk(self, response: Response, account: Account) -> tuple[Reading, ...]:
        """Read the answer to `bulk_status`; raises like `read_status`."""

    def relink(self, workflow_id: str, blob_id: str, account: Account) -> Request | None:
        """Return the request that gives one blob a fresh URL by itself, None when only a look can."""

    def read_relink(self, workflow_id: str, response: Response, account: Account) -> BlobSeen:
        """Read the answer to `relink`; raises like `read_status`."""

    def list(self, since: datetime, until: datetime, account: Account) -> Request | None:
        """Return the request for the first page of what was submitted in the window, None where upstream cannot."""

    def read_list(self, response: Response, account: Account, asked: Request) -> Page:
        """Read one page of `list`; raises like `read_status`. `asked` is the request it answers: a cursor alone does
        not always say which window it belongs to."""

    def probes(self, account: Account) -> tuple[Probe, ...]:
        """Return the cheap reads that show whether the account works."""

    def read_error(self, http: int, body: bytes) -> Fault:
        """Read an error as upstream told it at submit time. Never raises: what cannot be read is the message."""

    def keys_request(self, account: Account) -> Request | None:
        """Return the request for the signer's public keys, None where upstream publishes none."""

    def read_keys(self, response: Response) -> JsonObject:
        """Read the answer to `keys_request` into what `verify` takes as `keys`; raises like `read_status`."""


@runtime_checkable
class Particular(Protocol):
    """A provider that asks more of a source than the settings all sources have."""

    def account_problem(self, account: Account) -> str | None:
        """Say what is wrong with a source's settings and what would be right (never a secret), None when all is well.

        Asked when the configuration is read, so that a source nobody could be believed or read for does not start.
        """

"""Any upstream that signs as Standard Webhooks says (UPSTREAMS §5.0): its fields and words are named in configuration.

What a source must say is in `standard_options`. Without `status_url` upstream is never asked: then only signed
deliveries are final, and no key is needed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from receiver.ledger.records import BlobSeen, JsonObject, Level, Observation, Reading, Trust
from receiver.providers.answers import answered
from receiver.providers.base import (
    Account,
    Habits,
    Inbound,
    Request,
    Response,
    Unreadable,
    UpstreamRefused,
)
from receiver.providers.fields import MAX_WORD
from receiver.providers.ids import checked, is_id, quoted
from receiver.providers.instants import from_unix, instant
from receiver.providers.jsonbody import parse_object
from receiver.providers.lacking import Lacking
from receiver.providers.output_urls import files_in
from receiver.providers.schemes import STANDARD_V1, STANDARD_V1A, SVIX_V1, SVIX_V1A
from receiver.providers.signing import check_proofs, delivery_id, secrets_problem
from receiver.providers.standard_options import BadOptions, Options, Path, Places, found_at, read_options
from receiver.providers.standard_webhooks_errors import ERRORS
from receiver.providers.tasks import submitted

_OK = frozenset({200, 202})
_SCHEMES = (STANDARD_V1, STANDARD_V1A, SVIX_V1, SVIX_V1A)
_HOOKS = frozenset({"webhook", "webhook_url", "webhookUrl", "callback", "callback_url", "callbackUrl", "callBackUrl"})
_IDS = ("id", "task_id", "job_id", "request_id")


class StandardWebhooks(Lacking):
    """The provider `standard-webhooks`. Stateless; implements `receiver.providers.base.Provider`.

    One address for one id is all that can be configured.
    """

    name = "standard-webhooks"
    habits = Habits(
        poll=(15, 30, 60),
        silence=timedelta(minutes=10),
        deadline=timedelta(hours=1),
        retry_horizon=timedelta(hours=24),  # the specification recommends retries over days; each upstream has its own
        default_base_url="https://base-url-not-set.invalid",  # RFC 2606: nobody is there
        trusts=(Trust.SIGNED, Trust.TOKEN, Trust.HINT, Trust.NONE),
        identity_headers=("webhook-id", "svix-id"),  # the same for every try [spec: standard-webhooks]
    )

    errors = ERRORS

    def account_problem(self, account: Account) -> str | None:
        """Say what is wrong with a source's options and what would be right, None when they are complete."""
        try:
            options = read_options(account.options)
        except BadOptions as error:
            return str(error)
        if options.status_url is not None and account.base_url == self.habits.default_base_url:
            return "options.status_url needs base_url, the address it is below"
        if options.status_url is None and account.trust is not Trust.SIGNED:
            return f'trust = "{account.trust}" needs options.status_url, because only asking upstream makes it certain'
        return secrets_problem(_SCHEMES, account)

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Check a `v1` or `v1a` signature (secrets `whsec_…`, public keys `whpk_…`) and/or the URL's token (R9)."""
        check_proofs(inbound, account, self.habits.trusts, _SCHEMES)

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Read an event by the source's options. Raises Unreadable."""
        document = parse_object(inbound.body)
        options = _options(account)
        workflow_id = checked(_scalar(found_at(document, options.event.id)), f"the id at {_named(options.event.id)}")
        found = _observed(document, options, options.event, event=True)
        return Reading(
            workflow_id,
            (found,),
            _blobs(document, workflow_id, options.event),
            identity=delivery_id(STANDARD_V1, inbound) or delivery_id(SVIX_V1, inbound),
            needs_look=found.status is None,
        )

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Take the id from a submit answer where it has a usual name, and keep the request. Raises Unreadable.

        The source's options are not at hand here, so the answer's status stays unread: a look or a delivery tells it.
        """
        kept = None if request is None else {key: value for key, value in request.items() if key not in _HOOKS}
        return submitted(answer, kept, _read_answer, lambda sent: {}, "webhook")

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Ask `status_url`. Raises UpstreamRefused when the source names none."""
        try:
            options = read_options(account.options)
        except BadOptions as error:
            raise UpstreamRefused(str(error), status=0) from None
        if options.status_url is None:
            message = "this source names no address to ask; add options.status_url, such as /v1/jobs/{id}"
            raise UpstreamRefused(message, status=0)
        headers = {"accept": "application/json"}
        if account.api_key:
            bearer = "Bearer " if options.key_header == "authorization" else ""
            headers[options.key_header] = bearer + account.api_key
        path = options.status_url.replace("{id}", quoted(workflow_id))
        return Request("GET", account.base_url.rstrip("/") + path, headers)

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read the answer by the source's options: a snapshot. One that names no id is taken to be about the one asked
        for, because some upstreams answer with nothing but the status."""
        document = answered(response, account, _OK)
        options = _options(account)
        named = _scalar(found_at(document, options.answer.id))
        if named is not None and named != workflow_id:
            raise Unreadable("upstream answered with another workflow than the one asked for")
        found = _observed(document, options, options.answer)
        if found.word is None:
            raise Unreadable(f"the answer has no status at {_named(options.answer.status)}; see options.answer")
        blobs = _blobs(document, workflow_id, options.answer)
        return Reading(workflow_id, (found,), blobs, snapshot=True, complete=True)


def _options(account: Account) -> Options:
    try:
        return read_options(account.options)
    except BadOptions as error:
        raise Unreadable(f"the source's configuration does not say how to read this: {error}") from None


def _named(path: Path) -> str:
    return f"`{'.'.join(path)}`"


def _scalar(value: Any) -> Any:
    """A whole number as text: some upstreams number their tasks."""
    return str(value) if type(value) is int else value


def _observed(document: JsonObject, options: Options, places: Places, *, event: bool = False) -> Observation:
    """What a document says at its places. The time is an event's own; an answer's is when it was sent."""
    told = found_at(document, places.status)
    if told is not None and type(told) not in (str, int):
        raise Unreadable(f"the status at {_named(places.status)} is not a text")
    status = str(told)[:MAX_WORD] or None if told is not None else None
    stamp = found_at(document, places.timestamp) if event else None
    error = {
        name: str(value)
        for name, value in (
            ("code", found_at(document, places.error_code)),
            ("message", found_at(document, places.error_message)),
        )
        if type(value) in (str, int) and value != ""
    }
    return Observation(
        Level.WORKFLOW,
        status=options.statuses.get(status) if status else None,
        word=status,
        upstream_at=instant(stamp) or from_unix(stamp),
        facts={"error": error} if error else {},
    )


def _blobs(document: JsonObject, workflow_id: str, places: Places) -> tuple[BlobSeen, ...]:
    """The URLs below each of the places; a slot begins with the place's name, so that two do not collide."""
    output: JsonObject = {}
    for path in places.urls:
        value = found_at(document, path)
        if value is not None:
            output[path[-1] if path[-1] not in output else ".".join(path)] = value
    return files_in(workflow_id, output)


def _read_answer(document: JsonObject) -> Reading:
    inner = document.get("data")
    for each in (document, inner if type(inner) is dict else {}):
        for name in _IDS:
            given = _scalar(each.get(name))
            if is_id(given):
                return Reading(given, (Observation(Level.WORKFLOW),))
    return Reading("", (Observation(Level.WORKFLOW),))

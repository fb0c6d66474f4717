"""fal.ai's queue (UPSTREAMS §5.2): one delivery at the end, signed with keys that fal publishes.

A source may name in its options `model`, the path asked about where a submit answer has not told it; `user_id`, the fal
account whose deliveries are believed (fal signs for every customer, so without it another's may reach us: they are
about ids of their own); and `jwks_url`, where the keys are.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta

from receiver.ledger.records import JsonObject, Level, Observation, Reading, Trust
from receiver.providers.advice import Fault
from receiver.providers.answers import answered
from receiver.providers.base import (
    Account,
    BadSignature,
    Habits,
    Inbound,
    Request,
    Response,
    UpstreamRefused,
)
from receiver.providers.envelopes import read_fault
from receiver.providers.fal_errors import ERRORS
from receiver.providers.fal_queue import (
    STAGES,
    app_of,
    error_of,
    is_status,
    path_of,
    read_queue,
    read_refusal,
    read_result,
    read_webhook,
)
from receiver.providers.fields import text
from receiver.providers.ids import checked, quoted
from receiver.providers.jsonbody import parse_object
from receiver.providers.jwks import published_keys
from receiver.providers.lacking import Lacking
from receiver.providers.schemes import FAL
from receiver.providers.signing import check_proofs, check_published, delivery_id
from receiver.providers.tasks import submitted, web_url
from receiver.providers.tokens import check_token

_OK = frozenset({200})
_ANSWERED = frozenset({200, 202})  # 202 while it is in the queue or in progress [doc: inference-api/queue/status]
_KEYS = "https://rest.fal.ai/.well-known/jwks.json"
_NOBODY = Account("", "", Trust.NONE)


class Fal(Lacking):
    """The provider `fal`. Stateless; implements `receiver.providers.base.Provider`.

    The queue lists nothing (fal's Platform API does, under another host) and has no read that needs the key alone.
    """

    name = "fal"
    habits = Habits(
        poll=(2, 5, 10, 30),  # not documented; requests take seconds to minutes
        silence=timedelta(minutes=2),
        deadline=timedelta(hours=1),  # "requests in the queue are never dropped" [doc: queue]
        retry_horizon=timedelta(hours=2),  # ten times over two hours [doc: webhooks]
        default_base_url="https://queue.fal.run",
        blob_hosts=("fal.media",),
        locator=("app", "ask"),
        trusts=(Trust.SIGNED, Trust.TOKEN, Trust.HINT, Trust.NONE),
        identity_headers=("x-fal-webhook-request-id",),
        publishes_keys=True,
    )

    errors = ERRORS

    def account_problem(self, account: Account) -> str | None:
        """Say which option cannot be right (`Particular`)."""
        options = account.options
        if account.signing_secrets:
            return "fal signs with keys that it publishes: leave out signing_secrets"
        if options.get("model") is not None and app_of(options["model"]) is None:
            return 'options.model must be the path of a model, such as "fal-ai/flux/dev"'
        if options.get("user_id") is not None and not text(options["user_id"]):
            return "options.user_id must be the text that fal sends as X-Fal-Webhook-User-Id"
        if options.get("jwks_url") is not None and web_url(options["jwks_url"]) is None:
            return f"options.jwks_url must be a URL, such as {_KEYS}"
        return None

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Check fal's Ed25519 signature and/or the URL's token (R9); raise BadSignature or KeysUnavailable."""
        if account.trust is not Trust.SIGNED:
            check_proofs(inbound, account, self.habits.trusts)
            return
        if account.hook_tokens:
            check_token(inbound.query, account.hook_tokens)
        check_published(FAL, inbound, keys, account.tolerance)
        user = account.options.get("user_id")
        if user is not None and inbound.headers.get(FAL.user or "") != user:
            raise BadSignature("the delivery is signed for another fal account than options.user_id names")

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Read the one event there is, the end of a request. Raises Unreadable."""
        document = parse_object(inbound.body)
        return read_webhook(document, checked(document.get("request_id"), "request_id"), delivery_id(FAL, inbound))

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Read a submit answer, whose links tell the locator, and/or the request (the model's input)."""
        reading = submitted(answer, request, _read_answer, _described, "fal_webhook")
        found = reading.observations[0]
        told, asked = found.facts.get("locator"), app_of((request or {}).get("model"))
        if told is not None or asked is None:
            return reading
        return replace(reading, observations=(replace(found, facts={**found.facts, "locator": {"app": asked}}),))

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Ask for the status until it was seen to be COMPLETED, and for the result from then on.

        Raises UpstreamRefused when nobody told which model the request is for.
        """
        app = path_of(locator.get("app")) or app_of(locator.get("model")) or app_of(account.options.get("model"))
        if app is None:
            message = "which model this request is for is not known; track it with its submit answer, or set "
            raise UpstreamRefused(message + 'options.model of the source, such as "fal-ai/flux/dev"', status=0)
        stage = locator.get("ask")
        tail = STAGES[stage] if type(stage) is str and stage in STAGES else STAGES["status"]
        headers = {"accept": "application/json"}
        if account.api_key:
            headers["authorization"] = f"Key {account.api_key}"
        path = "/".join(quoted(part) for part in app.split("/"))
        url = f"{account.base_url.rstrip('/')}/{path}/requests/{quoted(workflow_id)}{tail}"
        return Request("GET", url, headers)

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read a status, a result, or the error that a failed request has for a result: which it is, its shape tells.

        Whatever is none of them raises by fault. Any object that a 200 holds and that is no status is taken for a
        result: a model's output may have any shape, and the result is asked for only when there is one.
        """
        if response.status not in _ANSWERED:
            refusal = read_refusal(response.status, response.body, workflow_id)
            if refusal is not None:
                return refusal
        document = answered(response, account, _ANSWERED)
        if is_status(document):
            return read_queue(document, workflow_id)
        if response.status == 202 and document:  # whatever it says, it is not over
            return Reading(workflow_id, (Observation(Level.WORKFLOW),), snapshot=True)
        return read_result(document, workflow_id)

    def read_error(self, http: int, body: bytes) -> Fault:
        """Read `{"detail": [{loc, msg, type}]}` or `{"detail": str, "error_type": str}`, or a gateway's page."""
        fault = read_fault(body)
        told = error_of(body) or {}
        return Fault(told.get("code"), told.get("message") or fault.message, fault.request_id, fault.fields)

    def keys_request(self, account: Account) -> Request | None:
        """Ask for the JWKS, without our key: it is under another host than the queue."""
        return Request("GET", web_url(account.options.get("jwks_url")) or _KEYS, {"accept": "application/json"})

    def read_keys(self, response: Response) -> JsonObject:
        """Read the JWKS into what `verify` takes; raises like `read_status`."""
        return published_keys(answered(response, _NOBODY, _OK), response.received_at.astimezone(UTC))


def _read_answer(document: JsonObject) -> Reading:
    given = document.get("request_id")
    return read_queue(document, "" if given is None else checked(given, "the answer's request_id"), snapshot=False)


def _described(request: JsonObject) -> JsonObject:
    return {"model": request["model"]} if text(request.get("model")) else {}

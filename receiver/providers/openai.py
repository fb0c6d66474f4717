"""OpenAI's long-running objects (UPSTREAMS §5.3): thin signed events that name an id, and the object to ask for.

A workflow is a response, a batch, a video, a fine-tuning job or a run of an evaluation. Which of them an id is decides
where to ask: it is the locator `object`, from the event's type, the object itself or the id's prefix. A run is found
only below its evaluation, whose id no event tells: for those the locator needs `eval_id` too, from `track`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import urlencode

from receiver.ledger.records import JsonObject, Level, Observation, Reading, Trust
from receiver.providers.answers import answered
from receiver.providers.base import (
    Account,
    Habits,
    Inbound,
    Page,
    Probe,
    Request,
    Response,
    Unreadable,
    UpstreamRefused,
)
from receiver.providers.fields import word
from receiver.providers.ids import checked, is_id, quoted
from receiver.providers.instants import from_unix
from receiver.providers.jsonbody import parse_object
from receiver.providers.lacking import Lacking
from receiver.providers.openai_errors import ERRORS
from receiver.providers.openai_objects import (
    KINDS,
    STATUSES,
    described,
    kind_of,
    locator,
    read_answer,
    read_listed,
    read_object,
)
from receiver.providers.schemes import OPENAI
from receiver.providers.signing import check_proofs, delivery_id, secrets_problem
from receiver.providers.tasks import submitted
from receiver.providers.windows import paged, windowed

_OK = frozenset({200})
_PAGE = 100
_BATCHES = "/batches"


class OpenAI(Lacking):
    """The provider `openai`. Stateless; implements `receiver.providers.base.Provider`.

    Files are downloaded with the key, under an address that stays the same: nothing is to be renewed. Each hook has a
    shared secret, shown when it is made.
    """

    name = "openai"
    habits = Habits(
        poll=(5, 15, 60, 300),
        silence=timedelta(minutes=15),
        deadline=timedelta(hours=25),  # a batch has 24 h (`completion_window`)
        retry_horizon=timedelta(hours=72),  # [doc: guides/webhooks]
        default_base_url="https://api.openai.com/v1",
        blob_hosts=("openai.com",),
        locator=("object", "eval_id"),
        trusts=(Trust.SIGNED, Trust.TOKEN, Trust.HINT, Trust.NONE),
        identity_headers=("webhook-id",),  # "use the webhook-id header as an idempotency key" [doc: guides/webhooks]
    )

    errors = ERRORS

    def verify(self, inbound: Inbound, account: Account, keys: JsonObject | None = None) -> None:
        """Check the Standard Webhooks signature and/or the URL's token (R9); raise BadSignature."""
        check_proofs(inbound, account, self.habits.trusts, (OPENAI,))

    def account_problem(self, account: Account) -> str | None:
        """Say which signing secret cannot be one (`Particular`)."""
        return secrets_problem((OPENAI,), account)

    def read(self, inbound: Inbound, account: Account) -> Reading:
        """Read a thin event: `{id, object: "event", created_at, type, data: {id}}`. It always asks for a look.

        Raises Unreadable for events that are about no workflow (incoming calls, safety notices, agents).
        """
        event = parse_object(inbound.body)
        kind = word(event, "type", "the event's type")
        data = event.get("data")
        if kind is None or type(data) is not dict:
            raise Unreadable("the body is not an OpenAI event: it needs `type` and `data`")
        about = next((name for name, each in KINDS.items() if kind.startswith(each.events)), None)
        if about is None:
            raise Unreadable(f"events of the type {kind[:80]!r} are about no workflow")
        workflow_id = checked(data.get("id"), "data.id")
        said = kind.removeprefix(KINDS[about].events)
        found = Observation(
            Level.WORKFLOW,
            status=STATUSES.get(said),
            word=said or None,
            upstream_at=from_unix(event.get("created_at")),
            facts={"locator": locator(about, data)},
        )
        return Reading(workflow_id, (found,), identity=delivery_id(OPENAI, inbound), needs_look=True)

    def track(self, answer: JsonObject | None, request: JsonObject | None) -> Reading:
        """Read the object that a submission is answered with, and/or the request. Raises Unreadable."""
        return submitted(answer, request, read_answer, described, "webhook")

    def status_request(self, workflow_id: str, account: Account, locator: JsonObject) -> Request:
        """Ask for the object itself, where its kind has it. Raises UpstreamRefused when that is not known."""
        name = kind_of(locator.get("object"), workflow_id)
        if name is None:
            message = "what kind of object this id is cannot be told; track it with the locator `object`, one of "
            raise UpstreamRefused(message + ", ".join(KINDS), status=0)
        evaluation = locator.get("eval_id")
        if name == "eval.run" and not is_id(evaluation):
            raise UpstreamRefused(
                "a run is found only below its evaluation; track it with the locator `eval_id`", status=0
            )
        ids = {"id": quoted(workflow_id), "eval_id": quoted(str(evaluation)) if is_id(evaluation) else ""}
        return _get(account, KINDS[name].path.format(**ids))

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        """Read a Response, Batch, Video, FineTuningJob or eval Run: a snapshot."""
        document = answered(response, account, _OK)
        if checked(document.get("id"), "the object's id") != workflow_id:
            raise Unreadable("upstream answered with another object than the one asked for")
        return read_object(document, workflow_id, snapshot=True)

    def list(self, since: datetime, until: datetime, account: Account) -> Request | None:
        """List batches, newest first. Responses cannot be listed, and the Videos API ends in 2026."""
        return windowed(_get(account, _BATCHES, {"limit": str(_PAGE)}), since, until)

    def read_list(self, response: Response, account: Account, asked: Request) -> Page:
        """Read `{"object": "list", "data": [...], "has_more"}`; pages go on after the last id."""
        document = answered(response, account, _OK)
        data = document.get("data")
        if type(data) is not list:
            raise Unreadable("the listing has no `data`")
        last = data[-1].get("id") if data and type(data[-1]) is dict else None
        further = {"after": str(last)} if document.get("has_more") is True and is_id(last) else None
        return paged(asked, data, read_listed, further)

    def probes(self, account: Account) -> tuple[Probe, ...]:
        """One listing of one batch: it needs the key and the right to read."""
        return (Probe("list one batch", _get(account, _BATCHES, {"limit": "1"})),)


def _get(account: Account, path: str, query: dict[str, str] | None = None) -> Request:
    headers = {"accept": "application/json"}
    if account.api_key:
        headers["authorization"] = f"Bearer {account.api_key}"
    url = account.base_url.rstrip("/") + path
    return Request("GET", f"{url}?{urlencode(query)}" if query else url, headers)

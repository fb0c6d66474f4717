"""An upstream that tells whole readings: its bodies are readings written as JSON, so that any history can be played.

`words` maps its status words to ours; a test that changes the dictionary changes what evidence says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from receiver.ledger.records import BlobSeen, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from receiver.providers.advice import ErrorTable
from receiver.providers.answers import answered
from receiver.providers.base import Account, Habits, Inbound, Request, Response, Unreadable
from receiver.providers.jsonbody import parse_object
from receiver.providers.lacking import Lacking

WORDS = {str(status): status for status in Status}


def body_of(reading: Reading, mark: str = "") -> bytes:
    """A reading as this upstream would send it; `mark` makes it another delivery."""
    return json.dumps({**asdict(reading), "mark": mark}, default=lambda value: value.isoformat()).encode()


class Told(Lacking):
    """The provider `told`."""

    name = "told"
    errors = ErrorTable(())  # nothing is known of its errors
    habits = Habits(
        poll=(2, 5), silence=timedelta(minutes=2), deadline=timedelta(minutes=30), retry_horizon=timedelta(minutes=1),
        default_base_url="https://told.test", trusts=tuple(Trust), restartable=False,
    )  # fmt: skip

    def __init__(self, words: Mapping[str, Status] = WORDS, *, restartable: bool = False) -> None:
        self.words = words
        if restartable:
            self.habits = Habits(
                poll=(2, 5), silence=timedelta(minutes=2), deadline=timedelta(minutes=30),
                retry_horizon=timedelta(minutes=1), default_base_url="https://told.test", trusts=tuple(Trust),
                restartable=True,
            )  # fmt: skip

    def verify(self, inbound: Inbound, account: Account, keys: Any = None) -> None:
        """Believed."""

    def read(self, inbound: Inbound, account: Account) -> Reading:
        return self._reading(parse_object(inbound.body))

    def track(self, answer: Any, request: Any) -> Reading:
        return Reading("", (Observation(Level.WORKFLOW, facts={"request": request}),))

    def status_request(self, workflow_id: str, account: Account, locator: Any) -> Request:
        return Request("GET", f"{account.base_url}/{workflow_id}")

    def read_status(self, workflow_id: str, response: Response, account: Account) -> Reading:
        return self._reading(answered(response, account, frozenset({200})))

    def _reading(self, document: dict[str, Any]) -> Reading:
        if "workflow_id" not in document:
            raise Unreadable("it is no reading")
        seen = tuple(self._observation(one) for one in document["observations"])
        blobs = tuple(BlobSeen(**{k: _at(k, v) for k, v in one.items()}) for one in document["blobs"])
        more = {k: document[k] for k in ("workflow_id", "snapshot", "complete", "identity", "ephemeral", "needs_look")}
        return Reading(observations=seen, blobs=blobs, **more)

    def _observation(self, one: dict[str, Any]) -> Observation:
        given = {name: _at(name, value) for name, value in one.items()}
        given["level"] = Level(given["level"])
        given["status"] = self.words.get(given["word"] or "")
        return Observation(**given)


def _at(name: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if value is not None and name.endswith("_at") else value

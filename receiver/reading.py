"""How what came over the wire becomes what the ledger takes, and the marks by which it can be read again later.

Evidence keeps bodies and some headers. What else a reading depends on is kept among the headers under names of ours,
which nobody outside can send: they are on no list of headers that are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import orjson

from receiver.ledger.entries import Entry
from receiver.ledger.evidence import dedupe_key
from receiver.ledger.policy import Policy
from receiver.ledger.records import EvidenceKind, JsonObject, Level, Reading
from receiver.ledger.states import Status
from receiver.logs import log_event
from receiver.providers.base import Account, Inbound, Page, Provider, Request, Response, Unreadable
from receiver.providers.ids import is_id
from receiver.providers.jsonbody import parse

REF = "hookledger-ref"  # the `ref` of the URL a delivery was sent to
ASKED = "hookledger-asked"  # what a fetch asked for, where that was not the workflow by itself:
MANY, LISTED, RENEWAL, AUDITED = "many", "list", "renewal", "audit"
BLOB = "hookledger-blob"  # the file whose URL was to be renewed
# Which answer a part was taken out of, and where in it the part stood: evidence of one workflow does not hold what
# upstream said of the others.
PART_OF = "hookledger-part-of-sha256"
PART_AT = "hookledger-part-at"
_ID = ("id", "job_id", "jobId", "task_id", "taskId")  # what upstreams call the id in an object that is about one


def delivery_entry(
    source: str, provider: Provider, account: Account, policy: Policy, inbound: Inbound, kept: Mapping[str, str]
) -> Entry:
    """Return what goes into the ledger for a believed delivery, understood or not. `kept` are the headers to keep."""
    reading: Reading | None = None
    problem: str | None = None
    try:
        reading = provider.read(inbound, account)
    except Unreadable as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - a bug of ours, which a retry by upstream cannot mend
        log_event("read failed", level="error", error=error, source=source)
        problem = f"the provider failed to read it: {type(error).__name__}"
    identity = reading.identity if reading is not None else ""
    key, body_hash = dedupe_key(identity, telling(provider, inbound.headers), inbound.body)
    ref = inbound.query.get("ref")
    ref = ref if is_id(ref) else None
    return Entry(
        source=source,
        policy=policy,
        kind=EvidenceKind.DELIVERY,
        at=inbound.received_at,
        workflow_id=reading.workflow_id if reading is not None else None,
        reading=reading,
        trust=account.trust,
        problem=problem,
        headers=dict(kept) if ref is None else {**kept, REF: ref},
        body=inbound.body,
        body_sha256=body_hash,
        identity=identity or None,
        key=key,
        ref=ref,
    )


def telling(provider: Provider, headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the headers that tell one delivery from another (R13)."""
    return [(name, headers[name]) for name in provider.habits.identity_headers if name in headers]


def read_many(provider: Provider, response: Response, account: Account) -> dict[str, Reading]:
    """Read the answer to a request for many, by workflow; raises as the provider's `read_bulk` does."""
    return {one.workflow_id: _doubted_if_bare(one) for one in provider.read_bulk(response, account)}


def read_page(provider: Provider, response: Response, account: Account, asked: Request) -> Page:
    """Read one page of a listing; raises as the provider's `read_list` does."""
    page = provider.read_list(response, account, asked)
    return replace(page, readings=tuple(_doubted_if_bare(one) for one in page.readings))


def _doubted_if_bare(reading: Reading) -> Reading:
    """A list may leave out the files of what has succeeded (no upstream says whether it does): then a look is due."""
    ended_well = any(seen.level is Level.WORKFLOW and seen.status is Status.SUCCEEDED for seen in reading.observations)
    if ended_well and not reading.blobs:
        return replace(reading, complete=False, needs_look=True)
    return reading


def read_renewal(provider: Provider, workflow_id: str, blob_id: str, response: Response, account: Account) -> Reading:
    """Read the answer to a renewal: a reading of that blob and of nothing else, so that no status can move.

    It is no snapshot of the workflow, but it is our own look, so the URL in it is confirmed. Raises as the provider's
    `read_relink` does, and Unreadable when it is about another blob.
    """
    seen = provider.read_relink(workflow_id, response, account)
    if seen.id != blob_id:
        raise Unreadable("upstream answered with another blob than the one asked for")
    return Reading(workflow_id, blobs=(seen,))


def parts_of(body: bytes, ids: Collection[str]) -> dict[str, tuple[bytes, JsonObject]]:
    """Return the outermost object about each of these ids in a JSON answer, written again, with the mark that says
    where it stood; {} when the answer is no JSON."""
    found: dict[str, tuple[bytes, JsonObject]] = {}
    try:
        left: deque[tuple[Any, tuple[str | int, ...]]] = deque([(parse(body), ())])
    except Unreadable:
        return found
    while left:
        value, path = left.popleft()
        if type(value) is dict:
            name = next((value[key] for key in _ID if type(value.get(key)) is str and value[key] in ids), None)
            if name is not None and name not in found:
                found[name] = orjson.dumps(value), {PART_AT: orjson.dumps(path).decode()}
            left.extend((child, (*path, key)) for key, child in value.items() if isinstance(child, (dict, list)))
        elif type(value) is list:
            left.extend((child, (*path, place)) for place, child in enumerate(value) if isinstance(child, (dict, list)))
    return found


def take_part(entry: Entry, answer: bytes, part: tuple[bytes, JsonObject] | None, asked: str) -> None:
    """Give a fetch its part of an answer for many (`parts_of`), the whole where it has none, and the marks for it."""
    entry.body = answer
    entry.headers[ASKED] = asked
    if part is not None:
        entry.body, mark = part
        entry.headers |= {**mark, PART_OF: sha256(answer).hexdigest()}
    entry.body_sha256 = sha256(entry.body).hexdigest()


def whole_of(part: bytes, path: str) -> bytes:
    """Return an answer that holds a part alone, where it stood; lists have no other items. Opposite of `parts_of`."""
    whole: Any = orjson.loads(part)
    for place in reversed(orjson.loads(path)):
        whole = [whole] if isinstance(place, int) else {place: whole}
    return orjson.dumps(whole)

"""What an HTTP answer means before its body is read: by whose fault there is nothing to read (DESIGN §9)."""

from __future__ import annotations

import re
from typing import Any, NoReturn

from receiver.ledger.records import JsonObject
from receiver.providers.base import (
    Account,
    CredentialsRefused,
    Response,
    Unreadable,
    UpstreamBusy,
    UpstreamGone,
    UpstreamRefused,
)
from receiver.providers.instants import http_date
from receiver.providers.jsonbody import NotJson, as_object, parse

MAX_SAID = 200
_READ = 16_384  # of an error's body; the sentence we want stands at its beginning

_GONE = frozenset({404, 410})
# A redirect is never followed with credentials, and where it points is not what was asked for. 402 and the others say
# that the request will be no better the next time.
_REFUSED = frozenset({400, 402, 403, 405, 422})
_TITLE = re.compile(r"<title[^<>]*>([^<]{1,300})", re.IGNORECASE)
_DELTA = re.compile(r"\d{1,9}", re.ASCII)


def answered(response: Response, account: Account, statuses: frozenset[int]) -> JsonObject:
    """Return the JSON object of an answer whose status is one of `statuses`; raise by fault otherwise.

    404, 410 UpstreamGone · 401 CredentialsRefused · 400, 402, 403, 405, 422 and redirects UpstreamRefused · everything
    else, 409 ("look again"), 429, 5xx and Cloudflare's 524 among it, UpstreamBusy. A gateway's page with a good status
    is UpstreamBusy too; JSON that is no object, or is nested too deeply, Unreadable.
    """
    if response.status not in statuses:
        _raise_for(response, account)
    try:
        return as_object(parse(response.body))
    except NotJson:
        sentence = f"upstream answered {response.status} with something that is not JSON"
        raise UpstreamBusy(_with(sentence, said(response, account)), status=response.status) from None


def _raise_for(response: Response, account: Account) -> NoReturn:
    status = response.status
    sentence = _with(f"upstream answered {status}", said(response, account))
    if status in _GONE:
        raise UpstreamGone(sentence)
    if status == 401:
        raise CredentialsRefused(sentence)
    if status in _REFUSED or 300 <= status < 400:
        raise UpstreamRefused(sentence, status=status)
    raise UpstreamBusy(sentence, status=status, retry_after=retry_after(response))


def retry_after(response: Response) -> float | None:
    """Return the seconds an answer asks us to wait (`Retry-After`: seconds or an HTTP date), None when it does not say.

    A date is compared with the answer's own `Date`, upstream's clock, where it has one. Never negative.
    """
    headers = response.headers
    value = (headers.get("retry-after") or headers.get("Retry-After") or "").strip()
    if _DELTA.fullmatch(value):
        return float(value)
    until = http_date(value)
    if until is None:
        return None
    return max(0.0, (until - (response.date or response.received_at)).total_seconds())


def said(response: Response, account: Account) -> str:
    """Return what an error's body says in at most MAX_SAID characters, '' when nothing readable.

    Problem details (RFC 9457: title, detail, the first of `errors`), a bare JSON string (Civitai's 403), the title of
    an HTML page, or plain text. The account's secrets are replaced: a gateway may echo what it was sent.
    """
    head = response.body[:_READ]
    try:
        found = _of_json(parse(head))
    except Unreadable:
        found = _of_text(head.decode("utf-8", "replace"))
    for secret in (account.api_key, *account.hook_tokens, *account.signing_secrets):
        if secret:
            found = found.replace(secret, "…")
    line = " ".join("".join(char if char.isprintable() else " " for char in found[: 8 * MAX_SAID]).split())
    return line if len(line) <= MAX_SAID else line[: MAX_SAID - 1] + "…"


def _of_json(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is not dict:
        return ""
    parts = [value.get("title"), value.get("detail"), _first_error(value.get("errors"))]
    if not any(type(part) is str for part in parts):
        parts = [value.get("message"), value.get("error")]
    return ": ".join(part for part in parts if type(part) is str and part)


def _first_error(errors: Any) -> str | None:
    """The first entry of ValidationProblemDetails' `errors`: {path: [message]}."""
    if type(errors) is not dict or not errors:
        return None
    path, messages = next(iter(errors.items()))
    first = messages[0] if type(messages) is list and messages else messages
    return f"{path}: {first}" if type(first) is str else path if type(path) is str else None


def _of_text(text: str) -> str:
    if "<" in text[:256]:
        title = _TITLE.search(text)
        return title.group(1) if title else ""
    return text


def _with(sentence: str, detail: str) -> str:
    return f"{sentence}: {detail}" if detail else sentence

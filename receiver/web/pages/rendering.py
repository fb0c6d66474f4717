"""Pages out of templates: what they are given goes through the redactor, what leaves carries the headers of a page."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from receiver.config.urls import is_loopback
from receiver.ledger.query_parts import JsonObject
from receiver.web.answers import NO_PERMISSIONS, clock, site_of
from receiver.web.pages import said, wording
from receiver.web.pages.statics import address_of
from receiver.web.pages.times import after, ago, between, exact, instant_of, minute, span
from receiver.web.pages.words import paragraphs, seg
from receiver.web.site import Site
from receiver.web.visitors import Visitor

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'; img-src 'self'{files}; media-src 'self'{files}"
)
_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: with it, browsers leave the origin out of the forms that we check it on.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": NO_PERMISSIONS,
    "x-frame-options": "DENY",
    "x-robots-tag": "noindex",
}


def render(
    request: Request, template: str, data: JsonObject, *, status: int = 200, files_of: str | None = None
) -> Response:
    """Return a page. `data` is JSON data, and loses the values of known secrets; `files_of` names the source whose
    output files the page shows, which lie elsewhere."""
    site = site_of(request)
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    text = _templates().get_template(template).render(
        **site.redactor.json(data),
        visitor=visitor,
        path=request.url.path,
        now=clock(),
        said=said.heard(request),
    )  # fmt: skip
    policy = _POLICY.format(files=_file_hosts(site, files_of) if files_of is not None else "")
    headers = {**_HEADERS, "content-security-policy": policy}
    response = Response(text, status, headers, "text/html; charset=utf-8")
    said.forget(request, response)
    return response


def _file_hosts(site: Site, source: str) -> str:
    """Return where the files of a source lie, as sources of a policy: what `/blobs` may redirect to."""
    known = site.config.sources.get(source)
    if known is None:
        return ""
    suffixes = known.habits.blob_hosts
    hosts = [each for one in suffixes for each in (f"https://{one}", f"https://*.{one}")] if suffixes else ["https:"]
    base = urlsplit(known.base_url or "")
    if base.hostname:
        # A sandbox on this machine may serve its files from any port of it.
        here = is_loopback(base.hostname)
        hosts.append(f"{base.scheme}://{base.hostname}:*" if here else f"{base.scheme}://{base.netloc}")
    return "".join(f" {one}" for one in hosts)


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("receiver.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    made.globals["static"] = address_of
    made.globals["words"] = wording
    made.filters.update(when=_when, since=_since, lasted=between, exact=exact, span=span, minute=minute, after=after)
    made.filters.update(seg=seg, paragraphs=paragraphs)
    return made


@pass_context
def _when(context: Context, stamp: str | None) -> Markup:
    """Return an instant as how long ago it was (or how soon it will be), with the exact one at hand."""
    if stamp is None:
        return Markup('<span class="none">—</span>')
    at = instant_of(stamp)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(stamp, exact(stamp), ago(at, _now(context)))


@pass_context
def _since(context: Context, stamp: str) -> str:
    """Return how long it has been since an instant."""
    return between(stamp, _now(context).isoformat())


def _now(context: Context) -> datetime:
    now: Any = context["now"]
    assert isinstance(now, datetime)
    return now.astimezone(UTC)

"""What `hookledger doctor` finds on the network: do upstreams take our keys, do deliveries find their way here."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode, urlsplit

from receiver.advising import look_up
from receiver.config import Config
from receiver.config.urls import is_loopback
from receiver.ledger.records import Trust
from receiver.providers import provider_named
from receiver.providers.base import Account, Probe, Provider, ProviderError, Request, Response
from receiver.redaction import Redactor
from reconciler.examining import CLOCKS_APART, Finding
from reconciler.transport import ElsewhereRefused, Transport

PATIENCE = timedelta(seconds=10)  # for one answer
_NO_LOOP = "see where a proxy points, and that `hookledger serve` runs"


def _clock() -> datetime:
    return datetime.now(UTC)


async def examine_network(config: Config, redactor: Redactor) -> list[Finding]:
    """Ask every upstream what its provider's `probes` say, and send a GET to every address that is registered there."""
    work = [_credentials(config, name, redactor) for name in sorted(config.sources)]
    found = await asyncio.gather(*work, _public_url(config))
    return [finding for each in found for finding in each]


async def _credentials(config: Config, name: str, redactor: Redactor) -> list[Finding]:
    source, about = config.sources[name], f"credentials of {name}"
    account, provider = source.account(name), provider_named(source.provider)
    if source.api_key is None:
        return [_without_key(name, account, provider, about)]
    probes = provider.probes(account)
    if not probes:
        return [Finding("ok", about, "this upstream has nothing to probe: the first look will tell")]
    found: list[Finding] = []
    async with Transport(account, clock=_clock, item=PATIENCE, allow_private=source.allow_private) as transport:
        for probe in probes:
            found += await _probe(transport, provider, account, probe, about, redactor)
    return found


def _without_key(name: str, account: Account, provider: Provider, about: str) -> Finding:
    if not (urlsplit(provider.habits.default_base_url).hostname or "").endswith(".invalid"):
        do = f"add sources.{name}.api_key (or api_key_file)"
        return Finding("problem", about, "there is no api_key, so upstream cannot be asked", do)
    # An upstream that the configuration describes: it may need no key, or never be asked at all.
    if account.base_url == provider.habits.default_base_url:
        return Finding("ok", about, "upstream is never asked, because no address is named; signed deliveries are final")
    return Finding("ok", about, "upstream is asked without a key")


async def _probe(
    transport: Transport, provider: Provider, account: Account, probe: Probe, about: str, redactor: Redactor
) -> list[Finding]:
    try:
        response = await transport.send(probe.request)
    except (ProviderError, ElsewhereRefused) as error:
        do = f"see that {account.base_url} can be reached from here, and that base_url is right"
        return [Finding("problem", about, f"{probe.name}: {error}", do)]
    return [judge(provider, account, probe.name, response, about, redactor), *_upstream_clock(response, about)]


def judge(
    provider: Provider, account: Account, name: str, response: Response, about: str, redactor: Redactor
) -> Finding:
    """Return what an answer to a probe means."""
    status = response.status
    said = f"{name}: upstream answered {status}"
    if 200 <= status < 300:
        return Finding("ok", about, said)
    if status == 429:
        return Finding("warning", about, said, "the account's rate limit is used up just now: try again in a minute")
    if 300 <= status < 400:
        return Finding("problem", about, said, f"base_url {account.base_url} redirects: write where it leads to")
    if status == 404:
        return Finding("problem", about, said, f"see that base_url {account.base_url} is upstream's address")
    fault = provider.read_error(status, redactor.bytes(response.body))
    message = f" ({fault.message})" if fault.message else ""
    return Finding("problem", about, said + message, look_up(provider.errors, status, fault.code, fault.message).text)


def _upstream_clock(response: Response, about: str) -> list[Finding]:
    if response.date is None:
        return []
    # `Date` knows whole seconds and was written somewhere between sending and receiving.
    ahead = response.date - response.received_at
    behind = response.sent_at - response.date - timedelta(seconds=1)
    apart = max(ahead, behind, timedelta(0))
    if apart <= CLOCKS_APART:
        return []
    where = "ahead of" if ahead > behind else "behind"
    do = "let NTP set this machine's clock; signatures and orders of events are judged by it"
    return [Finding("warning", about, f"upstream's clock is {apart.total_seconds():.0f} s {where} ours", do)]


async def _public_url(config: Config) -> list[Finding]:
    spoken = [name for name, source in sorted(config.sources.items()) if source.trust is not Trust.NONE]
    if not spoken:
        return []
    url = config.server.public_url
    if url is None:
        do = "set server.public_url to what upstreams reach this receiver by, so that it can be tried"
        return [Finding("warning", "public URL", "server.public_url is not set", do)]
    found: list[Finding] = []
    if url.startswith("http:") and not is_loopback(urlsplit(url).hostname or ""):
        do = "put TLS before it: most upstreams call https addresses only, and the token is in the address"
        found.append(Finding("warning", "public URL", f"{url} is without TLS", do))
    # Where it leads is our own configuration's choice: nobody else's name is resolved here.
    account = Account("public_url", url, Trust.NONE)
    async with Transport(account, clock=_clock, item=PATIENCE, allow_private=True) as transport:
        for name in spoken:
            found.append(await _registered(config, transport, url, name))
    return found


async def _registered(config: Config, transport: Transport, url: str, name: str) -> Finding:
    about, token = f"public URL of {name}", next(iter(config.account(name).hook_tokens), None)
    query = f"?{urlencode({'token': token})}" if token else ""
    try:
        response = await transport.send(Request("GET", f"{url}/hooks/{name}{query}"))
    except (ProviderError, ElsewhereRefused) as error:
        return Finding("problem", about, f"{url}: {error}", _NO_LOOP)
    proven = token is not None or config.sources[name].trust is Trust.HINT
    return judge_public(about, f"{url}/hooks/{name}", response.status, proven=proven)


def judge_public(about: str, where: str, status: int, *, proven: bool) -> Finding:
    """Return what an answer to a GET of a registered address means: 204 is right (DESIGN §8.1).

    Without a token (`proven` False) a GET proves nothing and the receiver answers 405, which shows that it is there.
    """
    said = f"{where} answers {status}"
    if status == 204 or (status == 405 and not proven):
        return Finding("ok", about, said)
    if 300 <= status < 400:
        return Finding("problem", about, said, "register the address it redirects to: upstreams follow no redirect")
    if status in (401, 403, 405):
        do = "the token did not arrive, or is not the running receiver's: let the proxy pass the query, restart serve"
        return Finding("problem", about, said, do)
    if status == 404:
        do = "let the proxy pass /hooks/… as it is; the running receiver may not know this source: restart it"
        return Finding("problem", about, said, do)
    return Finding("problem", about, said, _NO_LOOP)

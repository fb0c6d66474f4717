"""Hostile deliveries, answers, signatures and signed URLs, straight into what reads them: faults by name only."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from receiver.ledger.records import Trust
from receiver.providers import PROVIDERS, expiry
from receiver.providers.base import BadSignature, Inbound, KeysUnavailable, ProviderError, Response
from receiver.providers.schemes import SCHEMES
from receiver.providers.signing import check_published, check_signature
from tests.fuzz import hostile
from tests.fuzz.conftest import Clock

pytestmark = pytest.mark.fuzz

NOW = datetime(2026, 1, 21, 22, 30, tzinfo=UTC)
SECRETS = ("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", "whpk_" + "A" * 43 + "=", "plain-text-secret", "new-token")
KEYS = {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}], "fetched_at": NOW.isoformat()}


def test_no_signature_header_does_more_than_fail(chance: Random) -> None:
    clock = Clock(0.08)
    for _ in clock:
        scheme = chance.choice(SCHEMES)
        names = [name for name in (scheme.signature, scheme.id, scheme.timestamp, scheme.user) if name]
        headers = {name: hostile.header(chance) for name in names if chance.random() < 0.9}
        inbound = Inbound(headers, {}, chance.randbytes(chance.randrange(50)), NOW)
        with suppress(BadSignature):
            check_signature((scheme,), inbound, SECRETS, timedelta(minutes=5), subject=hostile.text(chance))
            pytest.fail(f"{scheme.name} believed {headers}")
        with suppress(BadSignature, KeysUnavailable):
            check_published(scheme, inbound, chance.choice((KEYS, None, {}, {"keys": 1})), timedelta(minutes=5))
            pytest.fail(f"{scheme.name} believed {headers}")
    print(f"signature headers: {clock.tries}")


def test_no_body_does_more_than_to_be_unreadable(chance: Random) -> None:
    from test_provider_conformance import SAMPLES

    clock = Clock(0.2)
    for _ in clock:
        name = chance.choice(sorted(SAMPLES))
        samples, provider = SAMPLES[name], PROVIDERS[name]
        sent = hostile.body(chance, chance.choice((*samples.events, samples.answer, samples.blob)))
        account = replace(samples.account, trust=chance.choice(list(Trust)))
        inbound = Inbound({"content-type": "application/json"}, {"token": hostile.text(chance)}, sent, NOW)
        with suppress(BadSignature, KeysUnavailable):
            provider.verify(inbound, account)
        with suppress(ProviderError):
            provider.read(inbound, account)
        response = Response(chance.choice((200, 202, 400, 401, 404, 429, 500)), {}, sent, NOW, NOW)
        for read in (provider.read_status, provider.read_relink):
            with suppress(ProviderError):
                read(samples.workflow_id, response, account)
        with suppress(ProviderError):
            provider.read_bulk(response, account)
        provider.read_error(response.status, sent)
    print(f"bodies: {clock.tries}")


def test_no_address_does_more_than_to_tell_no_expiry(chance: Random) -> None:
    clock = Clock(0.06)
    for _ in clock:
        found = expiry.expires_at(hostile.address(chance))
        assert found is None or found.tzinfo is not None
        expiry.is_expiry(chance.randbytes(chance.randrange(200)), found, NOW)
    print(f"signed URLs: {clock.tries}")

"""What a source may say of itself, and what it means: proofs (R9), addresses, secrets, times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from receiver.config import ConfigError
from receiver.ledger.records import Trust

from .conftest import API_KEY, SIGNING, TOKEN, Load

Problem = Callable[..., str]
Source = Callable[..., Any]


def table(*lines: str, provider: str = "civitai", name: str = "it") -> str:
    return "\n".join([f"[sources.{name}]", f'provider = "{provider}"', *lines])


@pytest.mark.parametrize(
    ("provider", "lines", "trust"),
    [
        ("civitai", [f'hook_token = "{TOKEN}"'], Trust.TOKEN),
        ("civitai", ['trust = "hint"'], Trust.HINT),
        ("civitai", ['trust = "none"'], Trust.NONE),
        ("civitai", [f'hook_token = "{TOKEN}"', 'trust = "hint"'], Trust.HINT),
        ("signer", [f'signing_secrets = ["{SIGNING}"]'], Trust.SIGNED),
        ("signer", [f'signing_secrets = ["{SIGNING}"]', f'hook_token = "{TOKEN}"'], Trust.SIGNED),
        ("publisher", ['trust = "signed"'], Trust.SIGNED),
    ],
)
def test_trust_is_what_is_declared_else_what_the_strongest_secret_proves(
    load: Load, provider: str, lines: list[str], trust: Trust
) -> None:
    config = load(table(*lines, provider=provider))
    assert config.account("it").trust is trust
    assert config.policy("it").trust is trust


def test_a_source_that_declares_no_proof_does_not_start_and_is_told_what_to_add(problem: Problem) -> None:
    said = problem(table(f'api_key = "{API_KEY}"'))
    assert said.startswith("hookledger.toml: sources.it: does not say what its deliveries prove; add hook_token")
    assert 'trust = "hint"' in said
    assert 'trust = "none"' in said
    assert "signing_secrets" not in said  # this provider signs nothing
    assert "signing_secrets" in problem(table(provider="signer"))


@pytest.mark.parametrize(
    ("provider", "lines", "words"),
    [
        ("civitai", ['trust = "token"'], 'trust = "token" needs hook_token; make one with: python3'),
        ("signer", ['trust = "signed"'], 'trust = "signed" needs signing_secrets'),
        ("civitai", ['trust = "signed"'], 'it offers "token", "hint", "none"'),
        ("civitai", [f'signing_secrets = ["{SIGNING}"]'], 'it offers "token", "hint", "none"'),
        ("civitai", [f'hook_token = "{TOKEN}"', 'trust = "none"'], "takes no deliveries"),
        ("civitai", ['trust = "maybe"'], "'signed', 'token', 'hint' or 'none'"),
    ],
)
def test_a_trust_that_cannot_be_kept_stops_the_start(
    problem: Problem, provider: str, lines: list[str], words: str
) -> None:
    assert words in problem(table(*lines, provider=provider))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('hook_token = "short"', "16 to 256 letters"),
        ('hook_token = "1234567890123456"', "not digits alone"),
        ('hook_token = "has a space inside it"', "travels in a URL"),
        ('hook_token = "has-a-&-and-a-?-inside"', "token_urlsafe"),
        (f'hook_token = ["{TOKEN}", "short"]', "16 to 256 letters"),
        ('api_key = "short"', "at least 8 printable characters"),
        ('api_key = "with a space"', "at least 8 printable characters"),
        ('api_key = "line\\r\\nX-Injected: 1"', "at least 8 printable characters"),
        ('signing_secrets = ["short"]', "at least 16 printable"),
    ],
)
def test_a_secret_too_weak_or_malformed_is_refused_and_never_shown(problem: Problem, line: str, words: str) -> None:
    text = table(line, provider="signer")
    said = problem(text if "hook_token" in line else text + f'\nhook_token = "{TOKEN}"')
    assert words in said
    assert said.startswith("hookledger.toml: sources.it.")
    assert "= (secret): must be" in said
    assert line.split(" = ")[1].strip('[]"') not in said
    assert "Injected" not in said


@pytest.mark.parametrize("name", ["Civitai", "-a", "a b", "a.b", "ü", "a" * 65, ""])
def test_a_source_name_that_does_not_fit_a_url_is_refused(problem: Problem, name: str) -> None:
    assert "must be 1 to 64 of a-z, 0-9, - and _" in problem(table('trust = "none"', name=f'"{name}"'))


@pytest.mark.parametrize("name", ["a", "0", "a-b_c", "a" * 64])
def test_a_source_name_that_fits_a_url_is_taken(load: Load, name: str) -> None:
    assert load(table('trust = "none"', name=name)).account(name).source == name


def test_an_unknown_provider_is_refused_with_the_known_ones(problem: Problem) -> None:
    assert problem(table('trust = "none"', provider="civitay")) == (
        'hookledger.toml: sources.it.provider = "civitay": no such provider; known: civitai, publisher, signer'
    )


def test_a_source_without_a_provider_is_told_so(problem: Problem) -> None:
    assert problem('[sources.it]\ntrust = "none"') == "hookledger.toml: sources.it.provider: is missing; set it"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('on_gone = "delete"', "'flag' or 'expire'"),
        ("brake = 0", "above 0 and up to 1"),
        ("brake = true", "above 0 and up to 1"),
        ('silence = "soon"', '"soon": must be a time such as'),
        ('silence = "0"', "longer than zero"),
        ("deadline = 0", "longer than zero"),
        ('retention = "0"', "longer than zero"),
        ('tolerance = "0"', "longer than zero"),
        ('keep_fresh = "-1h"', "must be a time such as"),
        ('budget = "5"', "must be requests per time"),
        ("concurrency = 0", "greater than or equal to 1"),
        ("concurrency = true", "must be a whole number"),
        ("hint_quota = 0", "greater than or equal to 1"),
        ('allow_private = "perhaps"', "must be true or false"),
        ("options = 5", "must be a table"),
        ('silense = "2m"', "no such setting; did you mean silence?"),
        ('api_keyfile = "a"', "did you mean api_key_file?"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_its_place_and_what_would_be_right(
    problem: Problem, line: str, words: str
) -> None:
    said = problem(table('trust = "none"', line))
    assert said.startswith(f"hookledger.toml: sources.it.{line.split(' ')[0]}")
    assert words in said


@pytest.mark.parametrize(
    "url", ["https://api.example.com", "https://api.example.com:8443/v1", "http://127.0.0.1:9001", "http://[::1]:9001",
            "http://localhost:9001"],
)  # fmt: skip
def test_an_upstreams_address_is_taken_and_loses_its_last_slash(source: Source, url: str) -> None:
    assert source(f'base_url = "{url}/"').account("it").base_url == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("api.example.com", "must be upstream's address"),
        ("ftp://api.example.com", "must be upstream's address"),
        ("https://", "must be upstream's address"),
        ("https://[::1", "must be upstream's address"),
        ("https://a b", "must be upstream's address"),
        ("https://h:99999", "must be upstream's address"),
        ("https://h:0", "between 1 and 65535"),
        ("https://user:hunter2hunter2@h", "must not hold a user or password"),
        ("https://h/?key=hunter2hunter2", "no query"),
        ("https://h/#hunter2hunter2", "no fragment"),
        ("http://api.example.com", "in the clear"),
        ("http://10.0.0.1", "in the clear"),
        ("http://127.0.0.1.example.com", "in the clear"),
    ],
)
def test_an_upstreams_address_that_is_wrong_or_in_the_clear_is_refused(problem: Problem, url: str, words: str) -> None:
    said = problem(table('trust = "none"', f'base_url = "{url}"'))
    assert words in said
    assert "hunter2" not in said


def test_allow_private_lets_an_upstream_be_spoken_to_without_tls(source: Source) -> None:
    config = source('base_url = "http://orchestrator.internal"', "allow_private = true")
    assert config.account("it").base_url == "http://orchestrator.internal"


def test_without_overrides_a_source_has_its_providers_habits(source: Source) -> None:
    policy = source().policy("it")
    assert policy.silence == timedelta(minutes=7)
    assert policy.deadline == timedelta(minutes=70)
    assert policy.poll == (1, 2, 3)
    assert policy.keep_fresh == timedelta(hours=1)
    assert policy.lease == timedelta(seconds=90)
    assert source().account("it").base_url == "https://api.upstream.example"


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ('silence = "3m"', "silence", timedelta(minutes=3)),
        ('deadline = "3h"', "deadline", timedelta(hours=3)),
        ('keep_fresh = "0"', "keep_fresh", timedelta(0)),
        ("hint_quota = 5", "hint_quota", 5),
        ("warn_deletion = false", "warn_deletion", False),
        ('[server]\nlease = "3m"', "lease", timedelta(minutes=3)),
    ],
)
def test_what_a_source_sets_overrides_its_providers_habits(
    source: Source, line: str, field: str, value: object
) -> None:
    assert getattr(source(line).policy("it"), field) == value


def test_what_upstream_has_forgotten_expires_only_where_the_brake_is_on(source: Source, problem: Problem) -> None:
    lines = ('trust = "none"', 'on_gone = "expire"')
    assert source(*lines[1:]).policy("it").expire_gone
    assert "needs a brake below 1" in problem(table(*lines, "brake = 1"))


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        (f'api_key = "{API_KEY}"', "api_key", API_KEY),
        ('tolerance = "1m"', "tolerance", timedelta(minutes=1)),
        ('options = {endpoint = "e1"}', "options", {"endpoint": "e1"}),
        ('base_url = "https://other.example"', "base_url", "https://other.example"),
    ],
)
def test_what_a_source_sets_reaches_its_account(source: Source, line: str, field: str, value: object) -> None:
    assert getattr(source(line).account("it"), field) == value


@pytest.mark.parametrize(
    ("line", "field", "shown"),
    [
        ('budget = "5/min"', "budget", "5/min"),
        ("concurrency = 3", "concurrency", "3"),
        ('retention = "30d"', "retention", "30 days, 0:00:00"),
        ("allow_private = true", "allow_private", "True"),
        ("collect = false", "collect", "False"),
        ('on_gone = "flag"', "on_gone", "flag"),
        ('on_gone = "expire"', "on_gone", "expire"),
        ("brake = 0.8", "brake", "0.8"),
        ('brake = "0.25"', "brake", "0.25"),
    ],
)
def test_what_the_reconciler_reads_is_as_it_was_set(source: Source, line: str, field: str, shown: str) -> None:
    assert str(getattr(source(line).sources["it"], field)) == shown


@pytest.mark.parametrize(
    ("provider", "line", "budget"),
    [("publisher", "", "5/min"), ("publisher", 'budget = "2/s"', "2/s"), ("signer", "", "None")],
)
def test_a_budget_that_is_not_set_is_the_providers(load: Load, provider: str, line: str, budget: str) -> None:
    assert str(load(table('trust = "hint"', line, provider=provider)).sources["it"].request_budget) == budget


def test_hook_tokens_and_signing_secrets_may_be_lists_for_rotation(load: Load) -> None:
    account = load(
        table(
            f'hook_token = ["{TOKEN}", "{TOKEN}2"]', f'signing_secrets = ["{SIGNING}", "{SIGNING}2"]', provider="signer"
        )
    ).account("it")
    assert account.hook_tokens == (TOKEN, TOKEN + "2")
    assert account.signing_secrets == (SIGNING, SIGNING + "2")


def test_an_unknown_source_is_answered_with_the_known_ones(source: Source, load: Load) -> None:
    with pytest.raises(ConfigError, match="no source is named 'other'; configured: it"):
        source().account("other")
    with pytest.raises(ConfigError, match=r"add \[sources\.civitai\] to .*hookledger\.toml"):
        load().policy("other")


def test_a_configuration_with_sources_needs_no_advice(source: Source) -> None:
    assert source().advice() == ""

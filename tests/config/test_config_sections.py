"""Database and server settings, what is secret, and how mistakes are told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from receiver.config import Config

from .conftest import API_KEY, SIGNING, TOKEN, Load

Problem = Callable[..., str]

EVERYTHING = f"""
[database]
url = "postgresql://user:p%40ss-of-the-database@host/ledger"
[sources.it]
provider = "signer"
api_key = "{API_KEY}"
hook_token = ["{TOKEN}", "{TOKEN}2"]
signing_secrets = "{SIGNING}"
options = {{webhook_key = "key-in-the-options", endpoint = "not-a-secret"}}
"""


@pytest.mark.parametrize(
    "url",
    ["sqlite:///a.db", "sqlite:////var/lib/a.db", "postgresql://h/d", "postgresql://u:p@h:5433/d?ssl=require",
     "postgresql:///d?host=/run/postgresql"],
)  # fmt: skip
def test_a_database_of_the_two_kinds_is_taken(load: Load, url: str) -> None:
    assert load(f'[database]\nurl = "{url}"').database.url == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://u:hunter2hunter2@h/d", "must be SQLite or PostgreSQL"),
        ("ledger.db", "must be SQLite or PostgreSQL"),
        ("", "must be SQLite or PostgreSQL"),
        ("sqlite://", "must be a file"),
        ("sqlite:///:memory:", "must be a file"),
        ("sqlite://ledger.db", "is not an SQLite file"),
        ("postgres://u:hunter2hunter2@h/d", "the scheme is postgresql"),
        ("postgresql+asyncpg://u:hunter2hunter2@h/d", "the driver is ours to choose"),
        ("postgresql://u:hunter2hunter2@h", "names no database"),
        ("postgresql:///d", "names no host"),
        ("postgresql://h:port/d", "is not a PostgreSQL address"),
        ("postgresql://u:12/hunter2hunter2@h/d", "%2F"),
        ("postgresql://u:hunter2/hunter2@h/d", "is not a PostgreSQL address"),
        ("postgresql://h/d?password=hunter2hunter2", "before the @"),
    ],
)
def test_any_other_database_is_refused_with_what_to_write_and_without_its_password(
    problem: Problem, url: str, words: str
) -> None:
    said = problem(f'[database]\nurl = "{url}"')
    assert said.startswith("hookledger.toml: database.url")
    assert words in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ('host = "::1"', "host", "::1"),
        ("port = 0", "port", 0),
        ('public_url = "https://hooks.example.com/in/"', "public_url", "https://hooks.example.com/in"),
        ('public_url = "http://hookledger:8080"', "public_url", "http://hookledger:8080"),
        ('public_url = "http://10.0.0.1"', "public_url", "http://10.0.0.1"),
        ('max_body = "1 MiB"', "max_body", 2**20),
        ('body_timeout = "3s"', "body_timeout", timedelta(seconds=3)),
        ("max_connections = 500", "max_connections", 500),
        ("max_connections_per_client = 5", "max_connections_per_client", 5),
        ('trusted_proxies = ["10.0.0.0/8", "::1"]', "trusted_proxies", ("10.0.0.0/8", "::1")),
        ('trusted_proxies = "10.0.0.1, 10.0.0.2"', "trusted_proxies", ("10.0.0.1", "10.0.0.2")),
        ("answer_within = 1.5", "answer_within", timedelta(seconds=1.5)),
        ("metrics_public = true", "metrics_public", True),
        ('lease = "2m"', "lease", timedelta(minutes=2)),
        ('item = "30s"', "item", timedelta(seconds=30)),
        ('pass = "5m"', "pass_budget", timedelta(minutes=5)),
    ],
)
def test_a_server_setting_is_as_it_was_set(load: Load, line: str, field: str, value: object) -> None:
    assert getattr(load(f"[server]\n{line}").server, field) == value
    assert getattr(Config().server, field) != value


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("port = 65536", "less than or equal to 65535"),
        ('port = "http"', "must be a whole number"),
        ('host = "0.0.0.0:80"', "the port goes to `port`"),
        ('host = ""', "at least 1 character"),
        ('public_url = "http://hooks.example.com"', "must be https://"),
        ('public_url = "hooks.example.com"', "must be the address upstreams call"),
        ('max_body = "0"', "must be a size"),
        ('body_timeout = "0"', "longer than zero"),
        ("max_connections = 0", "greater than or equal to 1"),
        ("max_connections_per_client = true", "must be a whole number"),
        ('trusted_proxies = ["*"]', '"*" must be an address or a network'),
        ('trusted_proxies = "[oops"', "must be a list"),
        ('item = "90s"', "`item` must be shorter than `lease`"),
        ('pass_budget = "55s"', "no such setting"),
        ('metrics_public = "maybe"', "must be true or false"),
        ('prot = "hunter2hunter2"', "did you mean port?"),
    ],
)
def test_a_wrong_server_setting_is_told_with_what_would_be_right(problem: Problem, line: str, words: str) -> None:
    said = problem(f"[server]\n{line}")
    assert said.startswith("hookledger.toml: server")
    assert words in said
    assert "hunter2" not in said


def test_the_defaults_are_those_of_the_documentation() -> None:
    server = Config().server
    assert (server.host, server.port, server.public_url, server.max_body) == ("127.0.0.1", 8080, None, 10 * 2**20)
    times = (server.body_timeout, server.answer_within, server.lease, server.item, server.pass_budget)
    assert [time.total_seconds() for time in times] == [10, 2.5, 90, 60, 55]
    assert server.trusted_proxies == ()
    assert (server.max_connections, server.max_connections_per_client) == (10_000, 1000)
    assert not server.metrics_public


def test_every_mistake_is_told_at_once_each_in_a_line_of_its_own(problem: Problem) -> None:
    said = problem('[server]\nport = -1\n[source.it]\nprovider = "x"\n', DATABASE__URL="mysql://h/d")
    lines = said.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("environment HOOKLEDGER_DATABASE__URL: database.url")
    assert lines[1].startswith("hookledger.toml: server.port = -1: must be")
    assert lines[2] == "hookledger.toml: source: no such setting; did you mean sources?"


@pytest.mark.parametrize(
    "text", ['sources = "hunter2hunter2"', '[sources]\nit = "hunter2hunter2"', 'database = "hunter2"']
)
def test_a_value_where_a_table_belongs_is_told_so_and_not_shown(problem: Problem, text: str) -> None:
    said = problem(text)
    assert "must be a table" in said
    assert "hunter2" not in said


def test_a_variable_that_is_both_a_value_and_a_table_is_an_error(problem: Problem) -> None:
    assert "both a value and a table" in problem(SOURCES__IT="x", SOURCES__IT__PROVIDER="civitai")


def test_all_secrets_are_known_for_redaction(load: Load) -> None:
    assert load(EVERYTHING).secret_values() == {
        API_KEY, TOKEN, TOKEN + "2", SIGNING, SIGNING.removeprefix("whsec_"),
        "p%40ss-of-the-database", "p@ss-of-the-database", "key-in-the-options",
    }  # fmt: skip


@pytest.mark.parametrize("password", ["short", "postgres"])
def test_a_database_password_that_is_an_ordinary_word_is_not_replaced_everywhere(load: Load, password: str) -> None:
    assert load(f'[database]\nurl = "postgresql://u:{password}@h/d"').secret_values() == frozenset()


def test_no_secret_is_in_the_repr_of_a_configuration(load: Load) -> None:
    config = load(EVERYTHING)
    shown: list[Any] = [config, config.database, config.sources["it"], config.account("it")]
    for secret in config.secret_values():
        assert all(secret not in f"{item!r} {item}" for item in shown)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:a-password@h:5432/d?ssl=1", "postgresql://u@h:5432/d?ssl=1"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("sqlite:////var/a.db", "sqlite:////var/a.db"),
    ],
)
def test_the_databases_address_is_shown_without_its_password(load: Load, url: str, shown: str) -> None:
    assert load(f'[database]\nurl = "{url}"').database_url_public() == shown

"""`hookledger token`."""

from __future__ import annotations

import re

import pytest

from tests.commands.conftest import Command


def test_a_token_is_shown_once_and_listed_without_itself(hookledger: Command) -> None:
    made = hookledger("token", "create", "dashboard", "--scope", "read", "--json").json
    assert made.keys() == {"name", "scope", "token"}
    assert re.fullmatch(r"hl_[A-Za-z0-9_-]{43}", made["token"])
    listed = hookledger("token", "list", "--json")
    assert [(one["name"], one["scope"]) for one in listed.json["items"]] == [("dashboard", "read")]
    for output in (listed.out, hookledger("token", "list").out):
        assert "dashboard" in output
        assert made["token"] not in output


def test_without_json_only_the_token_is_on_standard_output(hookledger: Command) -> None:
    done = hookledger("token", "create", "ci", "--scope", "admin")
    assert re.fullmatch(r"hl_[A-Za-z0-9_-]{43}\n", done.out)
    assert "not shown again" in done.err


def test_a_revoked_token_stays_listed_and_its_name_taken(hookledger: Command) -> None:
    hookledger("token", "create", "ci", "--scope", "read")
    assert hookledger("token", "revoke", "ci").code == 0
    assert hookledger("token", "list", "--json").json["items"][0]["revoked_at"]
    again = hookledger("token", "create", "ci", "--scope", "read")
    assert (again.code, again.out) == (2, "")
    assert "revoked" in again.err
    gone = hookledger("token", "revoke", "ci")
    assert (gone.code, gone.err) == (1, "hookledger: no valid token is named ci\n")


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 65, "ü"])
def test_a_name_that_cannot_be_is_one_clear_line_and_makes_nothing(hookledger: Command, name: str) -> None:
    done = hookledger("token", "create", "--scope", "read", "--", name)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert hookledger("token", "list", "--json").json["items"] == []


def test_no_tokens_yet_says_how_to_make_one(hookledger: Command) -> None:
    assert "hookledger token create" in hookledger("token", "list").out

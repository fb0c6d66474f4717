"""Texts made to be slow to read: each is read in one go, where reading it again and again would take hours."""

from __future__ import annotations

import io
import json
import logging

import pytest

from receiver.incidents import _seconds
from receiver.ledger.records import Trust
from receiver.logs import log_event, setup_logging
from receiver.providers.answers import said
from receiver.providers.base import Account, Response
from receiver.providers.envelopes import read_fault
from receiver.providers.expiry import expires_at
from receiver.redaction import Redactor
from tests.ledger.histories import at

MANY = 1_000_000
SECRET = "planted-secret-of-the-hostile-texts"


@pytest.fixture
def log():
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    setup_logging(Redactor([SECRET]), "info", stream)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)


@pytest.mark.parametrize("piece", [b"<title", b"<title>", b"<title ", b"<<title>x"])
def test_a_page_that_begins_its_title_for_ever_is_an_error_like_any_other(piece):
    assert read_fault(piece * MANY).code is None
    answer = Response(500, {}, piece * MANY, at(0), at(0))
    assert len(said(answer, Account("civ", "https://up.test", Trust.TOKEN))) <= 200


def test_the_title_of_a_gateways_page_is_still_its_message():
    page = b"<!doctype html><html><head><TITLE lang=en>502 Bad\n Gateway</TITLE></head><body>x</body></html>"
    assert read_fault(page).message == "502 Bad Gateway"


def test_a_url_that_begins_a_token_for_ever_says_nothing_of_its_end():
    for _ in range(1000):  # files of one delivery
        assert expires_at("https://up.test/" + "eyJ" * 5000) is None


@pytest.mark.parametrize(("begin", "piece"), [("?", "http://"), ("#", "/a"), ("? ", "/"), ("http://h/?", "x")])
def test_a_long_message_full_of_addresses_is_logged(log, begin, piece):
    log_event("fetch", message=begin + piece * MANY)
    assert json.loads(log.getvalue())["event"] == "fetch"


def test_a_long_message_is_cut_after_its_secrets_have_gone(log):
    whole = "x" * 7990 + SECRET + "y" * 100
    log_event("fetch", message=whole)
    log_event("fetch", error=ValueError(whole))
    assert SECRET[:10] not in log.getvalue()
    assert log.getvalue().count("[secret]") == 2


def test_a_duration_followed_by_a_million_spaces_is_none():
    assert _seconds({"duration": "5" + " " * MANY + "!"}) is None
    assert _seconds({"duration": " 5 sec "}) == 5.0

"""Log lines: JSON, one each, with times in UTC, without secrets and query strings."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from receiver.logs import log_event, log_soon, setup_logging, without_query
from receiver.redaction import Redactor

TOKEN = "hook-token-of-civitai-0001"


class _Whole(Exception):
    whole_message = True


class Lines(io.StringIO):
    """A stream that gives back what was logged."""

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def one(self) -> dict[str, Any]:
        (line,) = self.all()
        return line


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Logging as the program sets it up, into memory; as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = Lines()
    setup_logging(Redactor([TOKEN]), "info", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def test_an_event_is_one_json_line_with_its_fields_and_a_time_in_utc(lines: Lines) -> None:
    log_event("delivery", source="civitai", status=200, workflow=None, took=0.25)
    line = lines.one()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "info", "event": "delivery", "source": "civitai", "status": 200, "workflow": None, "took": 0.25,
    }  # fmt: skip


def test_no_field_can_pass_for_the_lines_own(lines: Lines) -> None:
    log_event("delivery", time="yesterday")
    assert lines.one()["time"] != "yesterday"


def test_a_line_feed_in_a_field_does_not_make_a_second_line(lines: Lines) -> None:
    log_event("delivery\n{}", word='x\n{"event": "forged"}\r\u2028')
    assert len(lines.getvalue().split("\n")) == 2
    assert lines.getvalue().endswith("}\n")


def test_every_line_passes_the_redactor(lines: Lines) -> None:
    log_event("delivery", deep={"a": [f"Bearer {TOKEN}"]}, **{TOKEN: 1})
    logging.getLogger("somebody").warning("it said %s", TOKEN)
    log_event("fetch", error=ValueError(f"refused {TOKEN}"))
    assert TOKEN not in lines.getvalue()
    assert lines.getvalue().count("[secret]") == 4


@pytest.mark.parametrize(
    ("url", "left"),
    [
        ("https://h/p?token=abc", "https://h/p"),
        ("https://h/p#frag", "https://h/p"),
        ("/hooks/x?token=abc&ref=1", "/hooks/x"),
        ("https://h/p", "https://h/p"),
        ("?a=b", ""),
    ],
)
def test_a_url_is_logged_without_its_query(lines: Lines, url: str, left: str) -> None:
    assert without_query(url) == left
    if left:
        log_event("fetch", url=url)
        assert lines.one()["url"] == left


def test_queries_are_taken_out_of_other_libraries_messages_and_of_errors(lines: Lines) -> None:
    logging.getLogger("somebody").error('"GET /hooks/x?token=abc HTTP/1.1" from https://h/p?sig=def failed')
    log_event("fetch", error=ValueError("cannot connect to https://h/p?sig=def"))
    told = lines.all()
    assert told[0]["message"] == '"GET /hooks/x HTTP/1.1" from https://h/p failed'
    assert told[1]["error"]["message"] == "cannot connect to https://h/p"


def test_an_exception_is_told_in_the_same_line_with_its_cause(lines: Lines) -> None:
    try:
        try:
            raise KeyError("inner")  # noqa: TRY301 - an exception with a cause is what is tested
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as outer:
        log_event("pass-failed", level="error", error=outer)
    line = lines.one()
    assert line["level"] == "error"
    assert (line["error"]["type"], line["error"]["message"]) == ("ValueError", "outer")
    assert line["error"]["cause"] == {"type": "KeyError", "message": "'inner'"}
    (frame,) = line["error"]["traceback"]
    assert re.search(r"test_logs\.py:\d+ test_an_exception_is_told", frame)


def test_an_exception_that_was_hidden_on_purpose_stays_hidden(lines: Lines) -> None:
    try:
        try:
            raise KeyError("hidden")  # noqa: TRY301 - as above
        except KeyError:
            raise ValueError("shown") from None
    except ValueError as error:
        log_event("failed", error=error)
    assert "hidden" not in json.dumps({k: v for k, v in lines.one()["error"].items() if k != "traceback"})


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no")


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_nothing_a_field_may_hold_stops_the_line(lines: Lines) -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    cases: list[Any] = [
        "\ud800",
        2**200,
        float("nan"),
        b"\xff",
        {1, 2},
        {(1, 2): 3},
        Unspeakable(),
        deep,
        "\x00",
        "x" * 10**6,
    ]
    for case in cases:
        log_event("odd", case=case)
    log_event("odd", error=UnspeakableError())
    told = lines.all()
    assert [line["event"] for line in told] == ["odd"] * (len(cases) + 1)
    assert len(lines.getvalue()) < 20_000


def test_uvicorn_and_sqlalchemy_are_routed_in_but_not_the_access_log(lines: Lines) -> None:
    for name in ("uvicorn.error", "sqlalchemy.engine", "uvicorn.access", "hookledger"):
        logging.getLogger(name).warning("%s speaks", name)
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("sqlalchemy.engine").info("SELECT 1")
    assert [line["message"] for line in lines.all()] == [
        "uvicorn.error speaks", "sqlalchemy.engine speaks", "hookledger speaks", "started",
    ]  # fmt: skip


def test_the_level_decides_which_events_are_written(lines: Lines) -> None:
    log_event("quiet", level="debug")
    assert lines.all() == []
    setup_logging(Redactor([]), "debug", lines)
    log_event("quiet", level="debug")
    setup_logging(Redactor([]), "error", lines)
    log_event("loud", level="warning")
    assert [line["event"] for line in lines.all()] == ["quiet"]


def test_setting_up_twice_writes_each_line_once(lines: Lines) -> None:
    setup_logging(Redactor([TOKEN]), "info", lines)
    log_event("delivery")
    assert len(lines.all()) == 1


def test_an_unknown_level_is_refused_with_the_known_ones(lines: Lines) -> None:
    with pytest.raises(ValueError, match="must be debug, info, warning or error"):
        setup_logging(Redactor([]), "loud", lines)


async def test_lines_of_one_turn_of_the_loop_are_written_together_in_order_and_without_secrets(lines: Lines) -> None:
    log_soon("delivery", source="civitai", workflow=f"wf-{TOKEN}")
    log_soon("delivery", source="civitai", workflow="wf-2")
    assert lines.getvalue() == ""
    log_event("later")
    first, second, third = lines.all()
    assert (first["workflow"], second["workflow"], third["event"]) == ("wf-[secret]", "wf-2", "later")
    log_soon("delivery", workflow="wf-3")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert lines.all()[3]["workflow"] == "wf-3"


async def test_what_may_hold_a_query_string_is_cleaned_as_every_line_is(lines: Lines) -> None:
    log_soon("delivery", workflow="https://example.com/x?sig=abc")
    assert lines.one()["workflow"] == "https://example.com/x"


def test_a_line_without_an_event_loop_is_written_at_once(lines: Lines) -> None:
    log_soon("delivery", workflow="wf-1", word="\ud800")
    assert lines.one()["workflow"] == "wf-1"


def test_an_error_that_has_said_all_has_no_traceback(lines: Lines) -> None:
    for error in (_Whole("the database is away"), ValueError("a bug")):
        log_event("x", level="error", error=error)
    assert ["traceback" in line["error"] for line in lines.all()] == [False, True]

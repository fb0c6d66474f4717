"""No known secret leaves, however it is written."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from receiver.redaction import MARK, Redactor

TOKEN = "hook-token_of~civitai.0001"
KEY = "sk/live+key=with&all?the:rest@of#it"
PASSWORD = 'p "q\\r\\\\s/t\u00e9\U0001f600'
NUMBER = "1234567890123456"
SECRETS = (TOKEN, KEY, PASSWORD, NUMBER)


def _unicode(secret: str, form: str) -> str:
    units = secret.encode("utf-16-be")
    return "".join("\\u" + format(int.from_bytes(units[at : at + 2]), form) for at in range(0, len(units), 2))


def _percent(secret: str) -> str:
    return "".join(f"%{byte:02x}" for byte in secret.encode())


ENCODINGS: dict[str, Callable[[str], str]] = {
    "raw": lambda s: s,
    "json": lambda s: json.dumps(s)[1:-1],
    "json, not ascii": lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    "json with slashes escaped": lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    "json with every character escaped": lambda s: _unicode(s, "04x"),
    "json with every character escaped, upper case": lambda s: _unicode(s, "04X"),
    "json in json": lambda s: json.dumps(json.dumps(s)[1:-1])[1:-1],
    "json in json in json": lambda s: json.dumps(json.dumps(json.dumps(s)[1:-1])[1:-1])[1:-1],
    "percent": lambda s: quote(s, safe=""),
    "percent with slashes": quote,
    "percent of a form": quote_plus,
    "percent of every character, lower case": _percent,
    "percent twice": lambda s: quote(quote(s, safe=""), safe=""),
    "percent in json": lambda s: json.dumps(quote(s, safe=""))[1:-1],
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 for urls": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "base64 without padding": lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
    "base64 of basic credentials": lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
    "base64 of a longer text": lambda s: base64.b64encode(f"it is {s}, is it not".encode()).decode(),
    "base64 at the third place": lambda s: base64.b64encode(f"xx{s}".encode()).decode(),
    "base64 in a url": lambda s: quote(base64.b64encode(s.encode()).decode(), safe=""),
    "bearer": lambda s: f"Bearer {s}",
}


def core(name: str, secret: str) -> str:
    """What of the written form must be gone: for base64, the part that depends on the secret alone."""
    written = ENCODINGS[name](secret)
    return written[8:][: len(secret)] if "base64" in name else written


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("name", ENCODINGS)
def test_a_secret_is_replaced_in_every_way_to_write_it(name: str, secret: str) -> None:
    redactor = Redactor(SECRETS)
    written = f"https://h/?token={ENCODINGS[name](secret)} and more"
    for cleaned in (redactor.text(written), redactor.bytes(written.encode()).decode(), redactor.json([written])[0]):
        assert MARK in cleaned
        assert core(name, secret) not in cleaned
        assert cleaned.startswith("https://h/?token=")
        assert cleaned.endswith(" and more")


plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
documents = st.recursive(
    plain | st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def planted(draw: st.DrawFn) -> tuple[str, str, Any]:
    """A document with one secret written in one way somewhere inside, in a value or a name, with text around it."""
    name = draw(st.sampled_from(sorted(ENCODINGS)))
    secret = draw(st.sampled_from(SECRETS))
    value: Any = draw(plain) + " " + ENCODINGS[name](secret) + " " + draw(plain)
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["value", "name", "list"]))
        if kind == "list":
            value = [draw(documents), value, draw(documents)]
        elif kind == "value" or not isinstance(value, str):
            value = draw(st.dictionaries(plain, documents, max_size=3)) | {draw(plain): value}
        else:
            value = {value: draw(documents)}
    return name, secret, value


@settings(max_examples=600, deadline=None)
@given(planted())
@example(("raw", NUMBER, {"n": int(NUMBER), "f": float(NUMBER)}))
def test_a_secret_planted_anywhere_in_a_document_is_in_no_output(case: tuple[str, str, Any]) -> None:
    name, secret, document = case
    redactor = Redactor(SECRETS)
    cleaned = redactor.json(document)
    for written in (orjson.dumps(cleaned), redactor.bytes(orjson.dumps(document)) if name != "raw" else b""):
        text = written.decode()
        for other in ENCODINGS:
            assert core(other, secret) not in text
    assert secret not in json.dumps(cleaned, ensure_ascii=False)


@settings(max_examples=300, deadline=None)
@given(planted())
def test_encoded_json_is_still_json_after_redaction(case: tuple[str, str, Any]) -> None:
    orjson.loads(Redactor(SECRETS[:3]).bytes(orjson.dumps(case[2])))


@settings(max_examples=300, deadline=None)
@given(documents)
def test_what_holds_no_secret_is_the_very_same_object(document: Any) -> None:
    redactor = Redactor((TOKEN, KEY))
    assert redactor.json(document) is document
    encoded = orjson.dumps(document)
    assert redactor.bytes(encoded) is encoded
    text = encoded.decode()
    assert redactor.text(text) is text


def test_a_document_is_never_changed_in_place() -> None:
    document = {"a": [TOKEN, {"b": TOKEN}], TOKEN: 1}
    assert Redactor([TOKEN]).json(document) == {"a": [MARK, {"b": MARK}], MARK: 1}
    assert document == {"a": [TOKEN, {"b": TOKEN}], TOKEN: 1}


def test_a_longer_secret_is_replaced_before_a_shorter_one_inside_it() -> None:
    assert Redactor([TOKEN, TOKEN + "-and-more"]).text(f"<{TOKEN}-and-more>") == f"<{MARK}>"


def test_all_secrets_in_one_text_are_replaced() -> None:
    assert Redactor(SECRETS).text(f"{TOKEN} {KEY} {TOKEN}") == f"{MARK} {MARK} {MARK}"


def test_a_value_too_short_to_be_a_secret_is_left_alone() -> None:
    assert Redactor(["failed", ""]).text("failed") == "failed"


def test_without_secrets_nothing_is_touched() -> None:
    value = {"a": TOKEN}
    assert Redactor([]).json(value) is value


def test_documents_nested_deeper_than_python_recurses_are_cleaned() -> None:
    value: Any = TOKEN
    for _ in range(20_000):
        value = [value]
    cleaned = Redactor([TOKEN]).json(value)
    while isinstance(cleaned, list):
        cleaned = cleaned[0]
    assert cleaned == MARK


def test_a_lone_surrogate_does_not_stop_redaction() -> None:
    assert Redactor([TOKEN]).json(["\ud800" + TOKEN]) == ["\ud800" + MARK]
    assert Redactor([TOKEN]).text("\ud800" + TOKEN) == "\ud800" + MARK


def test_bytes_that_are_not_utf_8_are_cleaned_all_the_same() -> None:
    assert Redactor([TOKEN]).bytes(b"\xff\xfe" + TOKEN.encode() + b"\xff") == b"\xff\xfe" + MARK.encode() + b"\xff"


@pytest.mark.parametrize("filler", ["\\", "%25", "\\u0068", "%68", "\\\\u0068", "h", "hook-token_of~"])
def test_hostile_text_does_not_slow_redaction_down_more_than_its_length(filler: str) -> None:
    redactor = Redactor(SECRETS)

    def seconds(size: int) -> float:
        text = (filler * (size // len(filler)) + TOKEN).encode()
        start = time.process_time()
        assert MARK.encode() in redactor.bytes(text)
        return time.process_time() - start

    seconds(1000)
    # Quadratic time would be 256 times as long for 16 times the text; the rest is room for a busy machine.
    assert seconds(800_000) < 100 * max(seconds(50_000), 0.005)


def test_its_repr_shows_no_secret() -> None:
    assert TOKEN not in repr(Redactor([TOKEN]))

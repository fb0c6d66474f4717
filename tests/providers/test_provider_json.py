"""Bytes from outside become JSON that can be held, stored and written again, or a clear refusal."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.providers.base import Unreadable
from receiver.providers.jsonbody import MAX_DEPTH, NotJson, clean, parse, parse_object, strict

NOT_JSON = (
    *(b"", b" ", b"x", b"{", b'{"a":1,}', b"{'a':1}", b"{} {}", b"\x00", b"\xff\xfe{", b'"\xff"', b"\xef\xbb\xbf{}"),
    *(b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":1e400}', b'{"a":-1e400}'),
    *(b'{"a":"\\ud800"}', b'{"\\udc00":1}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\x00"}'),
    b'{"a":' + b"9" * 5000 + b"}",
    b"[" * 10_000,
    b"[" * 10_000 + b"]" * 10_000,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
)


@pytest.mark.parametrize("body", NOT_JSON)
def test_hostile_bytes_are_refused_in_a_short_sentence(body: bytes) -> None:
    with pytest.raises(NotJson) as caught:
        parse_object(body)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"1", b"1.5", b"true", b"null"])
def test_json_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Unreadable, match="where an object belongs") as caught:
        parse_object(body)
    assert not isinstance(caught.value, NotJson)


def nested(depth: int, wide: int = 0) -> bytes:
    return b'{"w":[' + b",".join([b"{}"] * wide) + b'],"d":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize("wide", [0, 500])
def test_nesting_ends_at_the_limit_and_not_before(wide: int) -> None:
    assert orjson.dumps([[[parse_object(nested(MAX_DEPTH, wide))]]])
    for depth in (MAX_DEPTH + 1, MAX_DEPTH + 2, 300, 1000):
        with pytest.raises(Unreadable, match="nested"):
            parse_object(nested(depth, wide))


def test_brackets_in_a_text_are_no_nesting() -> None:
    assert parse_object(b'{"a":"' + b"[{" * 5000 + b'"}') == {"a": "[{" * 5000}


def test_of_a_key_that_comes_twice_the_last_counts() -> None:
    assert parse_object(b'{"status":"succeeded","status":"failed"}') == {"status": "failed"}


def test_a_number_beyond_64_bits_becomes_a_float_that_can_be_written() -> None:
    value = parse_object(b'{"a":' + b"9" * 300 + b',"b":18446744073709551615,"c":-9223372036854775809}')
    assert value == {"a": 1e300, "b": 2**64 - 1, "c": -9223372036854775808.0}
    assert orjson.dumps(value)


def test_nul_characters_are_replaced_in_keys_and_texts_at_every_level() -> None:
    assert parse(b'{"a\\u0000":["\\u0000",{"b":"x\\u0000y"}],"c":1}') == {
        "a\ufffd": ["\ufffd", {"b": "x\ufffdy"}],
        "c": 1,
    }
    assert parse(b'{"a":"\\\\u0000"}') == {"a": "\\u0000"}
    assert clean(["\x00", 1, None, 1.5, True]) == ["\ufffd", 1, None, 1.5, True]


def test_what_another_reader_made_is_read_as_if_it_were_ours() -> None:
    assert strict({"a": math.nan, "b": [math.inf], "c": "\x00"}) == {"a": None, "b": [None], "c": "\ufffd"}
    deep: Any = []
    for _ in range(150):
        deep = [deep]
    for value in ({"a": 2**64}, {"a": "\ud800"}, {1: 2}, {"a": object()}, {"a": deep}, [1], "x", None):
        with pytest.raises(Unreadable):
            strict(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(), children, max_size=5),
    max_leaves=30,
)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_in_what_comes_out_can_be_stored(body: bytes) -> None:
    try:
        value = parse(body)
    except Unreadable:
        return
    written = orjson.dumps(value)
    assert b"\\u0000" not in written.replace(b"\\\\", b"")
    assert orjson.loads(written) == value


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"[]," * 3_000_000 + b"[]]",
        b"[" + b"{}," * 3_000_000 + b"{}]",
        b"[" + b"1," * 3_000_000 + b"1]",
        b"[" + (b"[" * 90 + b"]" * 90 + b",") * 50_000 + b"1]",
        b'["' + b"\\u0000" * 1_500_000 + b'"]',
        b"{" + b",".join(b'"%d":1' % n for n in range(1_100_000)) + b"}",
    ],
    ids=["lists", "objects", "numbers", "deep lists", "NULs", "keys"],
)
def test_a_swarm_of_values_is_refused_before_it_is_read(body: bytes) -> None:
    with pytest.raises(Unreadable, match="more than"):
        parse(body)


def test_a_large_document_as_upstreams_have_them_is_read() -> None:
    step = {"name": "$0", "input": {"prompt": "a fox, " * 40}, "output": {"images": [{"id": "x" * 26}] * 4}}
    body = orjson.dumps({"workflowId": "wf-1", "details": {"steps": [step] * 12_000}})
    assert len(body) > 4 * 2**20
    assert len(parse(body)["details"]["steps"]) == 12_000

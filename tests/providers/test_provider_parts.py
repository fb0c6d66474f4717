"""The small parts every provider is made of: instants, ids, tokens, names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.providers import PROVIDERS, provider_named
from receiver.providers.base import BadSignature, Unreadable
from receiver.providers.ids import checked, is_id, quoted
from receiver.providers.instants import EARLIEST, LATEST, from_unix, http_date, instant, rfc3339
from receiver.providers.tokens import check_token


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-10-29T21:29:24.7599308Z", datetime(2025, 10, 29, 21, 29, 24, 759930, tzinfo=UTC)),
        ("2025-10-29T21:29:24.9999999Z", datetime(2025, 10, 29, 21, 29, 24, 999999, tzinfo=UTC)),
        ("2025-10-29T21:29:24.123456789012Z", datetime(2025, 10, 29, 21, 29, 24, 123456, tzinfo=UTC)),
        ("2026-04-12T22:58:14Z", datetime(2026, 4, 12, 22, 58, 14, tzinfo=UTC)),
        ("2026-04-12t22:58:14.5z", datetime(2026, 4, 12, 22, 58, 14, 500000, tzinfo=UTC)),
        ("2026-04-12T22:58:14", datetime(2026, 4, 12, 22, 58, 14, tzinfo=UTC)),
        ("2026-04-12 22:58:14", datetime(2026, 4, 12, 22, 58, 14, tzinfo=UTC)),
        ("2026-04-12 22:58:14 +00:00", datetime(2026, 4, 12, 22, 58, 14, tzinfo=UTC)),
        ("2026-04-12T23:58:14+05:30", datetime(2026, 4, 12, 18, 28, 14, tzinfo=UTC)),
        ("2026-04-12T23:58:14-0730", datetime(2026, 4, 13, 7, 28, 14, tzinfo=UTC)),
        ("2030-01-01T00:00:00.000Z", datetime(2030, 1, 1, tzinfo=UTC)),
        ("2030-01-01T00:00Z", datetime(2030, 1, 1, tzinfo=UTC)),
        ("2000-01-01T00:00:00Z", datetime(2000, 1, 1, tzinfo=UTC)),
    ],
)
def test_an_instant_is_read_however_it_is_spelled(text: str, expected: datetime) -> None:
    found = instant(text)
    assert found == expected
    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        *(None, 5, 1.5, True, [], {}, b"2026-04-12T22:58:14Z"),
        *("", " ", "now", "2026", "2026-04-12", "20260412T225814Z", "2026-W15-7T22:58:14Z", "2026-04-12T22Z"),
        *("2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-01T25:00:00Z", "2026-01-01T00:00:61Z"),
        *("2026-01-01T00:00:00+99:00", "2026-01-01T00:00:00Z trailing", "٢٠٢٦-04-12T22:58:14Z"),
        *("1999-12-31T23:59:59.9999999Z", "2000-01-01T00:00:00+01:00", "0001-01-01T00:00:00", "0000-00-00T00:00:00Z"),
        *("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"),
        *("2026-04-12T22:58:14." + "1" * 5000 + "Z", "1" * 5000),
    ],
)
def test_what_is_no_believable_instant_is_none(value: object) -> None:
    assert instant(value) is None


@given(st.one_of(st.text(), st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9.]{2,12}[Z+-].{0,6}")))
def test_no_text_makes_reading_an_instant_fail(text: str) -> None:
    for read in (instant, from_unix, http_date):
        found = read(text)
        assert found is None or (found.tzinfo is UTC and 2000 <= found.year < 9999)


@given(
    st.datetimes(
        EARLIEST.replace(tzinfo=None), LATEST.replace(tzinfo=None) - timedelta.resolution, timezones=st.just(UTC)
    )
)
def test_an_instant_we_write_is_the_instant_we_read(moment: datetime) -> None:
    assert instant(rfc3339(moment)) == moment


def test_unix_seconds_are_whole_numbers_within_reason() -> None:
    assert from_unix("1893456000") == from_unix(1893456000) == datetime(2030, 1, 1, tzinfo=UTC)
    for value in ("", "-1", "1e9", "9" * 5000, 10**30, -5, 1.5, True, None, 0, "253402300799"):
        assert from_unix(value) is None


def test_an_http_date_is_utc() -> None:
    assert http_date("Wed, 21 Jan 2026 22:30:40 GMT") == datetime(2026, 1, 21, 22, 30, 40, tzinfo=UTC)
    assert http_date("Wed, 21 Jan 2026 22:30:40 -0000") == datetime(2026, 1, 21, 22, 30, 40, tzinfo=UTC)
    for value in (None, "", "soon", "Wed, 21 Jan 1926 22:30:40 GMT", "0 0 0 0", "Wed, 21 Jan 99999 22:30:40 GMT"):
        assert http_date(value) is None


GOOD_IDS = ("a", "wf_01HXYZ...", "8484131-20260121222126332", "$0", "a b", "ä", "...", "a\\b", "x" * 256)
BAD_IDS = (
    "",
    ".",
    "..",
    "a/b",
    "../x",
    "a\nb",
    "a\x00b",
    "a\ufffdb",
    "\u202ex",
    "x" * 257,
    "\ud800",
    None,
    5,
    True,
    ["a"],
)


def test_the_rule_for_ids() -> None:
    assert all(is_id(value) for value in GOOD_IDS)
    assert not any(is_id(value) for value in BAD_IDS)


@pytest.mark.parametrize("value", BAD_IDS)
def test_an_id_that_breaks_the_rule_is_unreadable_and_not_repeated_in_the_message(value: object) -> None:
    with pytest.raises(Unreadable) as caught:
        checked(value, "jobId")
    assert str(caught.value).startswith("jobId is ")
    assert "x" * 257 not in str(caught.value)


@given(st.text(min_size=1, max_size=300))
def test_an_id_in_a_url_is_one_segment_of_plain_characters(value: str) -> None:
    if is_id(value):
        assert set(quoted(value)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~%")
    else:
        with pytest.raises(Unreadable):
            quoted(value)


def test_every_token_of_a_rotation_is_right() -> None:
    for token in ("new", "old", "schlüssel"):
        check_token({"token": token}, ("new", "old", "schlüssel"))


@pytest.mark.parametrize(
    "query", [{}, {"token": ""}, {"token": "ne"}, {"token": "new "}, {"token": "\udcff"}, {"t": "new"}]
)
def test_a_token_missing_or_wrong_is_not_believed_and_not_repeated(query: dict[str, str]) -> None:
    with pytest.raises(BadSignature) as caught:
        check_token(query, ("new", "old"))
    assert "new" not in str(caught.value)


@pytest.mark.parametrize("tokens", [(), ("",), ("", "real")])
def test_an_empty_token_opens_nothing(tokens: tuple[str, ...]) -> None:
    for given_token in ("", "x"):
        with pytest.raises(BadSignature):
            check_token({"token": given_token}, tokens)


def test_a_provider_is_found_by_its_name_and_a_wrong_name_lists_the_right_ones() -> None:
    for name, provider in PROVIDERS.items():
        assert provider_named(name) is provider
        assert provider.name == name
    with pytest.raises(ValueError, match=r"'nosuch'; known providers: .*civitai"):
        provider_named("nosuch")

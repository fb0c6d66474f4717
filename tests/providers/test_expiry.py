"""When a signed URL ends, in every dialect; and which refusals mean that it has."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.providers.expiry import expires_at, is_expiry

END = datetime(2030, 1, 1, tzinfo=UTC)
UNIX = 1893456000


def policy(*ends: Any, **more: Any) -> str:
    """A CloudFront policy as it stands in a URL."""
    statements = [
        {"Resource": "https://d1.cloudfront.net/*", "Condition": {"DateLessThan": {"AWS:EpochTime": end}, **more}}
        for end in ends
    ]
    packed = base64.b64encode(json.dumps({"Statement": statements}, separators=(",", ":")).encode()).decode()
    return packed.translate(str.maketrans("+=/", "-_~"))


def jwt(claims: Any, header: Any = None) -> str:
    def part(document: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")

    return f"{part(header or {'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}.c2lnbmF0dXJl"


DIALECTS = {
    "Civitai": "sig=abc&exp=2030-01-01T00:00:00.000Z",
    "an offset": "exp=2030-01-01T02:00:00+02:00",
    "an offset, escaped": "exp=2030-01-01T02%3A00%3A00%2B02%3A00",
    "Azure": "sv=2023-11-03&st=2029-12-31T00%3A00%3A00Z&se=2030-01-01T00%3A00%3A00Z&sr=b&sp=r&sig=x",
    "Azure, to the minute": "se=2030-01-01T00:00Z&sig=x",
    "Azure, a day": "se=2030-01-01&sig=x",
    "Azure, its key ends first": "ske=2030-01-01T00:00:00Z&se=2030-01-02T00:00:00Z&sig=x",
    "AWS 4": "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20291231T230000Z&X-Amz-Expires=3600&X-Amz-Signature=x",
    "AWS 4, lower case": "x-amz-date=20291231T230000Z&x-amz-expires=3600",
    "AWS 2": f"AWSAccessKeyId=AKIA&Expires={UNIX}&Signature=x%2B",
    "Google 4": "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Date=20291231T230000Z&X-Goog-Expires=3600",
    "Google 2": f"GoogleAccessId=a%40b&Expires={UNIX}&Signature=b",
    "Alibaba 4": "x-oss-date=20291231T230000Z&x-oss-expires=3600",
    "Volcengine": "X-Tos-Date=20291231T230000Z&X-Tos-Expires=3600",
    "Tencent": f"q-sign-algorithm=sha1&q-sign-time=1893452400;{UNIX}&q-signature=x",
    "Tencent, escaped": f"q-sign-time=1893452400%3B{UNIX}",
    "CloudFront, canned": f"Expires={UNIX}&Signature=x__&Key-Pair-Id=K",
    "CloudFront, custom": f"Policy={policy(UNIX)}&Signature=x&Key-Pair-Id=K",
    "CloudFront, several": f"Policy={policy(UNIX + 60, UNIX)}",
    "CloudFront, with a beginning": f"Policy={policy(UNIX, DateGreaterThan={'AWS:EpochTime': 1})}",
    "milliseconds": f"expires={UNIX}000",
    "JWT": f"token={jwt({'exp': UNIX, 'iat': 1})}",
    "JWT, a fraction": f"token={jwt({'exp': UNIX + 0.5})}",
    "two ends": f"exp=2031-01-01T00:00:00Z&Expires={UNIX}",
    "one end twice": f"Expires={UNIX + 60}&Expires={UNIX}",
    "the earliest of a doubled duration": "X-Amz-Date=20291231T230000Z&X-Amz-Expires=7200&X-Amz-Expires=3600",
    "escaped name": f"%45xpires={UNIX}",
    "before a fragment": f"Expires={UNIX}#Expires=1",
    "one that is readable among others": f"exp=never&se=-1&Expires={UNIX}&Policy=%00&token=eyJ.eyJ.x",
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_tells_its_end(dialect: str) -> None:
    assert expires_at(f"https://cdn.example.com/a/b.png?{DIALECTS[dialect]}") == END


def test_a_token_in_the_path_tells_its_end() -> None:
    assert expires_at(f"https://cdn.example.com/{jwt({'exp': UNIX})}/b.png") == END


@pytest.mark.parametrize(
    "url",
    [
        "", "https://x.example/a.png", "https://x.example/?", "https://x.example/#exp=2030-01-01T00:00:00Z", "?exp",
        "?X-Amz-Expires=3600", "?X-Amz-Date=20291231T230000Z", "?X-Amz-Date=20291331T230000Z&X-Amz-Expires=1",
        "?X-Amz-Date=20291231T230000Z&X-Goog-Expires=3600", "http://[bad?x=1",
    ],
)  # fmt: skip
def test_a_url_that_does_not_say_when_it_ends_has_no_end(url: str) -> None:
    assert expires_at(url) is None


HOSTILE = (
    "", "9999-12-31T23:59:59.9999999Z", "9999", "253402300800", "-1", "-99999999999", "0x7f", "1e400", "NaN", "٣",
    "١٨٩٣٤٥٦٠٠٠", "9" * 5000, "0" * 13, "99999999999999", "1" * 12, "soon", "%", "%ff", "\x00", "2030-02-30", "[]",
    "2030-13-01T00:00:00Z", "1999-01-01T00:00:00Z", "eyJ.eyJ.", "\ud800", "{}",
)  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
def test_no_end_that_cannot_be_believed_is_believed(value: str) -> None:
    for url in (
        f"https://x.example/?exp={value}",
        f"https://x.example/?se={value}&Expires={value}&expiry={value}",
        f"https://x.example/?X-Amz-Date={value}&X-Amz-Expires={value}",
        f"https://x.example/?X-Amz-Date=99981231T235959Z&X-Amz-Expires={'9' * 9}&q-sign-time={value};{value}",
        f"https://x.example/?Policy={value}&Policy={policy(value)}",
        f"https://x.example/{jwt({'exp': value}) if value.isprintable() else value}/?token={value}",
    ):
        assert expires_at(url) is None


@pytest.mark.parametrize("claims", [[], "exp", None, {"exp": None}, {"exp": True}, {"exp": -1}, {"exp": 1e300},
                                    {"exp": {"exp": UNIX}}, {"exp": 10**30}, {"exp": str(UNIX)[:4]}])  # fmt: skip
def test_no_token_or_policy_of_another_shape_is_believed(claims: Any) -> None:
    assert expires_at(f"https://x.example/?token={jwt(claims)}") is None
    odd = base64.b64encode(json.dumps({"Statement": claims}).encode()).decode()
    assert expires_at(f"https://x.example/?Policy={quote(odd)}") is None


def test_depth_without_end_is_no_end() -> None:
    deep = base64.urlsafe_b64encode(b'{"a":' * 2000).decode().rstrip("=")
    assert expires_at(f"https://x.example/?Policy={deep}&t=eyJh.{deep}.x") is None


texts = st.text(max_size=40) | st.sampled_from(HOSTILE) | st.integers().map(str) | st.floats().map(str)
names = st.sampled_from(["exp", "Expires", "se", "X-Amz-Date", "X-Amz-Expires", "Policy", "token", "q-sign-time", "x"])


@given(st.lists(st.tuples(names, texts | st.just("20291231T230000Z")), max_size=8), texts, st.booleans())
@example([("Policy", "e30")], "", False)
def test_nothing_in_a_url_raises_and_what_comes_out_is_an_instant_one_can_reckon_with(
    pairs: list[tuple[str, str]], path: str, escaped: bool
) -> None:
    query = "&".join(f"{name}={quote(value, errors='replace') if escaped else value}" for name, value in pairs)
    end = expires_at(f"https://x.example/{path}?{query}")
    assert end is None or (end.tzinfo is UTC and end - timedelta(days=1) < end < end + timedelta(days=1))


@given(st.text(max_size=200))
def test_what_is_no_url_at_all_has_no_trouble_either(text: str) -> None:
    expires_at(text)


@given(st.datetimes(datetime(2001, 1, 1), datetime(9998, 1, 1)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC)))  # noqa: DTZ001 - made aware
def test_whatever_the_end_is_every_dialect_tells_the_same(end: datetime) -> None:
    seconds = int(end.timestamp())
    stamp = (end - timedelta(hours=1)).strftime("%Y%m%dT%H%M%SZ")
    told = {
        expires_at(f"https://x.example/?{query}")
        for query in (
            f"exp={end.isoformat().replace('+00:00', 'Z')}", f"Expires={seconds}", f"Policy={policy(seconds)}",
            f"X-Amz-Date={stamp}&X-Amz-Expires=3600", f"t={jwt({'exp': seconds})}",
        )
    }  # fmt: skip
    assert told <= {end, None}
    assert end in told


NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("answer", "ends", "expiry"),
    [
        (b"", NOW - timedelta(seconds=1), True),  # the URL's own clock, whatever is said
        (b"Mature content is withheld.", NOW, True),
        (b"Mature content is withheld.", NOW + timedelta(minutes=1), False),
        (b"Mature content is withheld.", None, False),
        (b"<Code>AccessDenied</Code><Message>Request has expired</Message>", None, True),
        (b"<AuthenticationErrorDetail>Signature not valid in the specified time frame", None, True),
        (b"The URL has expired or its signature is wrong.", NOW + timedelta(minutes=1), True),  # their clock is ahead
        (b"<Code>AccessDenied</Code>", None, False),
        (b"\xff" * 10_000_000, None, False),
    ],
)
def test_a_refusal_for_time_is_told_from_a_block(answer: bytes, ends: datetime | None, expiry: bool) -> None:
    assert is_expiry(answer, ends, NOW) is expiry

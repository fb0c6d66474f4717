"""Signatures: the documented vectors, what must be refused, and four independent libraries as oracles."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import openai
import pytest
import replicate.webhook
import standardwebhooks
import svix.webhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.ledger.records import Trust
from receiver.providers.base import Account, BadSignature, Inbound, KeysUnavailable, Unreadable
from receiver.providers.jwks import MAX_KEYS, published_keys
from receiver.providers.schemes import (
    BEARER,
    FAL,
    KIE,
    OPENAI,
    OPENROUTER,
    POLLO,
    SHA256_TIMESTAMPED,
    STANDARD_V1,
    STANDARD_V1A,
    SVIX_V1,
    Scheme,
)
from receiver.providers.signing import check_proofs, check_published, check_signature, decoded, secrets_problem

MINUTES_5 = timedelta(minutes=5)
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
ROTATED = "whsec_NzY1NDMyMTBmZWRjYmE5ODc2NTQzMjEw"
BODY = b'{"id":"ufawqhfynnddngldkgtslldrkq","status":"succeeded"}'


@dataclass(frozen=True)
class Vector:
    """A signature as documented, or made by hand here: scheme, secrets, and the delivery that carries it."""

    scheme: Scheme
    secret: str
    headers: Mapping[str, str]
    body: bytes
    at: datetime
    subject: str | None = None

    def check(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        at: datetime | None = None,
        secrets: tuple[str, ...] | None = None,
        tolerance: timedelta = MINUTES_5,
    ) -> None:
        changed = Inbound(
            headers=self.headers if headers is None else headers,
            query={},
            body=self.body if body is None else body,
            received_at=at or self.at,
        )
        check_signature(
            (self.scheme,), changed, (self.secret,) if secrets is None else secrets, tolerance, subject=self.subject
        )


def unix(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


V1A_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
V1A_MESSAGE = b"msg_1.1700000000." + BODY
STANDARD_HEADERS = {
    "webhook-id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
    "webhook-timestamp": "1674087231",
    "webhook-signature": "v1,e+TrmOLzLNQpzQUM+/HbiRBMrGyU26h8LbPdZWRYWkY=",
}

VECTORS = {
    # UPSTREAMS §5.0
    "standard": Vector(STANDARD_V1, SECRET, STANDARD_HEADERS, BODY, unix(1674087231)),
    "openai": Vector(OPENAI, SECRET, STANDARD_HEADERS, BODY, unix(1674087231)),
    "svix": Vector(
        SVIX_V1,
        SECRET,
        {name.replace("webhook-", "svix-"): value for name, value in STANDARD_HEADERS.items()},
        BODY,
        unix(1674087231),
    ),
    # UPSTREAMS §4.4
    "removebgvideo": Vector(
        SHA256_TIMESTAMPED,
        "gen-fixture-secret",
        {
            "x-webhook-timestamp": "2026-04-20T10:00:00Z",
            "x-webhook-signature": "sha256=0d9600b7b877d0f615f9db7e77c35e6fc0a38758c7e971ffebad7cf898c1930b",
        },
        BODY,
        datetime(2026, 4, 20, 10, tzinfo=UTC),
    ),
    # UPSTREAMS §5.8
    "openrouter": Vector(
        OPENROUTER,
        "secret",
        {
            "x-openrouter-signature": (
                "t=1800000000,v1=6c4a26ba93eaac5510ffcae1629a8643d7a8b1311fa38659b2206500bd194174"
            )
        },
        b'{"type":"video.generation.completed"}',
        unix(1800000000),
    ),
    "kie": Vector(
        KIE,
        "kie-hmac-key",
        {
            "x-webhook-timestamp": "1755500000",
            "x-webhook-signature": "zsiPwKB1viklyXZiMtUihOJLW2kADvRc15ZK/N6aHVw=",
        },
        b'{"code":200,"data":{"taskId":"ee603959-debb-48d1-98c4-a6d1c717eba6"}}',
        unix(1755500000),
        subject="ee603959-debb-48d1-98c4-a6d1c717eba6",
    ),
    # No published vector: made here from the scheme's description.
    "pollo": Vector(
        POLLO,
        base64.b64encode(b"pollo key").decode(),
        {
            "x-webhook-id": "msg_1",
            "x-webhook-timestamp": "1700000000",
            "x-webhook-signature": base64.b64encode(
                hmac.new(b"pollo key", b"msg_1.1700000000." + BODY, hashlib.sha256).digest()
            ).decode(),
        },
        BODY,
        unix(1700000000),
    ),
    "standard v1a": Vector(
        STANDARD_V1A,
        "whpk_" + base64.b64encode(V1A_KEY.public_key().public_bytes_raw()).decode(),
        {
            "webhook-id": "msg_1",
            "webhook-timestamp": "1700000000",
            "webhook-signature": "v1a," + base64.b64encode(V1A_KEY.sign(V1A_MESSAGE)).decode(),
        },
        BODY,
        unix(1700000000),
    ),
}

# UPSTREAMS §5.2; the signer is key 1 of RFC 8032 §7.1.
FAL_HEADERS = {
    "x-fal-webhook-request-id": "123e4567-e89b-12d3-a456-426614174000",
    "x-fal-webhook-user-id": "user_1",
    "x-fal-webhook-timestamp": "1758000000",
    "x-fal-webhook-signature": (
        "65f5637dd12be8dffc23a4c62afa3cbfd5e71de77444da72a47dde52260e9fcd"
        "176c96164407a30c28dad766eeec3379cfd08621ef5f495c1d3deb29f2aac406"
    ),
}
FAL_BODY = (
    b'{"request_id":"123e4567-e89b-12d3-a456-426614174000",'
    b'"gateway_request_id":"123e4567-e89b-12d3-a456-426614174000","status":"OK","payload":{}}'
)
FAL_AT = unix(1758000000)
FAL_JWK = {"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
OTHER_JWK = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": base64.urlsafe_b64encode(V1A_KEY.public_key().public_bytes_raw()).decode().rstrip("="),
}

HOSTILE_VALUES = (
    *("", " ", "garbage", ",", "v1,", "v1", "sha256=", "t=,v1=", "=", "v1,====", "\x00", "é" * 10, "v1,é", "sha256=é"),
    *("t=1,t=2,v1=00", "v1,AAAA" * 2000, "v1,AAAA " * 500, "9" * 400, "nan", "-1", "1e9", "\uff11\uff17", "\xb2"),
    *("\N{SNOWMAN}", "\ud800", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "Bearer", "Bearer "),
)


@pytest.fixture(params=sorted(VECTORS))
def vector(request: pytest.FixtureRequest) -> Vector:
    return VECTORS[request.param]


def test_every_documented_vector_is_verified(vector: Vector) -> None:
    vector.check()


def test_a_tampered_body_is_refused_wherever_the_signature_covers_it(vector: Vector) -> None:
    for body in (vector.body + b" ", vector.body[:-1], b"", b"\xff\xfe", vector.body.replace(b"e", b"E", 1)):
        if vector.scheme.proves is Trust.SIGNED:
            with pytest.raises(BadSignature):
                vector.check(body=body)
        else:
            vector.check(body=body)


def test_only_a_signature_over_the_body_makes_a_delivery_more_than_a_hint() -> None:
    assert KIE.proves is Trust.HINT
    assert BEARER.proves is Trust.TOKEN
    assert {scheme.proves for scheme in (STANDARD_V1, STANDARD_V1A, SHA256_TIMESTAMPED, OPENROUTER, FAL)} == {
        Trust.SIGNED
    }


def test_another_secret_is_refused_and_a_rotated_one_may_be_newer_or_older(vector: Vector) -> None:
    other = ROTATED if vector.secret.startswith("whsec_") else "another-secret-of-ours"
    for secrets in ((other, vector.secret), (vector.secret, other)):
        vector.check(secrets=secrets)
    for secrets in ((other,), (), ("",), (vector.secret[:-2],)):
        with pytest.raises(BadSignature) as caught:
            vector.check(secrets=secrets)
        assert other not in str(caught.value)


def test_the_window_is_closed_in_both_directions_and_adjustable(vector: Vector) -> None:
    second = timedelta(seconds=1)
    for side in (1, -1):
        vector.check(at=vector.at + side * MINUTES_5)
        with pytest.raises(BadSignature, match="too old" if side == 1 else "too far ahead"):
            vector.check(at=vector.at + side * (MINUTES_5 + second))
        vector.check(at=vector.at + side * timedelta(hours=1), tolerance=timedelta(hours=1))
        with pytest.raises(BadSignature):
            vector.check(at=vector.at + side * 11 * second, tolerance=timedelta(seconds=10))


def test_every_header_is_required_and_signed(vector: Vector) -> None:
    for name, value in vector.headers.items():
        with pytest.raises(BadSignature, match=name):
            vector.check(headers={other: kept for other, kept in vector.headers.items() if other != name})
        if name.endswith("-id"):
            with pytest.raises(BadSignature):
                vector.check(headers={**vector.headers, name: value + "x"})


def test_a_moved_timestamp_is_refused(vector: Vector) -> None:
    name = vector.scheme.timestamp or vector.scheme.signature
    moved = vector.headers[name].replace("1", "2", 1) if vector.scheme.timestamp is None else str(vector_unix(vector))
    with pytest.raises(BadSignature):
        vector.check(headers={**vector.headers, name: moved})
    with pytest.raises(BadSignature):
        vector.check(headers={**vector.headers, name: moved}, at=vector.at + timedelta(seconds=1))


def vector_unix(vector: Vector) -> int:
    return int(vector.at.timestamp()) + 1


@pytest.mark.parametrize("hostile", HOSTILE_VALUES)
def test_hostile_headers_are_bad_signatures_and_nothing_else(vector: Vector, hostile: str) -> None:
    # With a comma or a space in it, what stands before or after may be a list that holds a right signature.
    joined = not any(char in hostile for char in " ,") and hostile
    for name, right in vector.headers.items():
        for value in (hostile, hostile + right, right + hostile) if joined else (hostile,):
            with pytest.raises(BadSignature):
                vector.check(headers={**vector.headers, name: value})


@settings(max_examples=200)
@given(data=st.data(), name=st.sampled_from(sorted(VECTORS)))
def test_any_header_ends_in_belief_or_a_bad_signature(data: st.DataObject, name: str) -> None:
    vector = VECTORS[name]
    header = data.draw(st.sampled_from(sorted(vector.headers)))
    value = data.draw(
        st.text() | st.text("tv1=,. 0a", max_size=40) | st.binary().map(lambda raw: raw.decode("latin-1"))
    )
    try:
        vector.check(headers={**vector.headers, header: value})
    except BadSignature:
        return
    assert value.strip() == vector.headers[header]


def test_one_right_signature_among_several_is_enough_and_too_many_are_refused() -> None:
    vector = VECTORS["standard"]
    right = vector.headers["webhook-signature"]
    wrong = "v1," + base64.b64encode(bytes(32)).decode()
    many = " ".join([wrong] * 17)
    for value in (f"{wrong} {right}", f"{right} {wrong}", f"v2,abc v1a,AAAA {right}", f" {right} "):
        vector.check(headers={**vector.headers, "webhook-signature": value})
    for value in (right.replace("v1,", "v2,"), right.replace("v1,", "v1a,"), right[3:], f"{many} {right}"):
        with pytest.raises(BadSignature):
            vector.check(headers={**vector.headers, "webhook-signature": value})


def test_the_fields_of_a_signature_may_stand_in_any_order_and_its_time_only_once() -> None:
    vector = VECTORS["openrouter"]
    stamp, right = vector.headers["x-openrouter-signature"].split(",")
    for value in (f"{right},{stamp}", f"{stamp}, {right}", f"{stamp},v1=00,{right}", f"{stamp},v0=ab,{right}"):
        vector.check(headers={"x-openrouter-signature": value})
    for value in (f"{stamp},{stamp},{right}", right, stamp, f"{stamp},v0{right[2:]}"):
        with pytest.raises(BadSignature):
            vector.check(headers={"x-openrouter-signature": value})


def test_a_dot_where_openrouter_has_a_comma_is_another_signature() -> None:
    vector = VECTORS["openrouter"]
    dotted = hmac.new(b"secret", b"1800000000." + vector.body, hashlib.sha256).hexdigest()
    with pytest.raises(BadSignature):
        vector.check(headers={"x-openrouter-signature": f"t=1800000000,v1={dotted}"})


def test_a_public_key_is_no_shared_secret() -> None:
    """Who knows the public key must not be able to sign with it, whatever label they choose."""
    vector = VECTORS["standard v1a"]
    raw = V1A_KEY.public_key().public_bytes_raw()
    for key in (raw, vector.secret.encode(), base64.b64encode(raw)):
        forged = "v1," + base64.b64encode(hmac.new(key, V1A_MESSAGE, hashlib.sha256).digest()).decode()
        delivery = Inbound({**vector.headers, "webhook-signature": forged}, {}, BODY, vector.at)
        with pytest.raises(BadSignature):
            check_signature((STANDARD_V1, STANDARD_V1A), delivery, (vector.secret,), MINUTES_5)


def test_both_standard_algorithms_are_told_apart_by_label_and_secret() -> None:
    symmetric, asymmetric = VECTORS["standard"], VECTORS["standard v1a"]
    schemes, secrets = (STANDARD_V1, STANDARD_V1A), (symmetric.secret, asymmetric.secret)
    for vector in (symmetric, asymmetric):
        check_signature(schemes, Inbound(vector.headers, {}, BODY, vector.at), secrets, MINUTES_5)
        with pytest.raises(BadSignature):
            check_signature(schemes, Inbound(vector.headers, {}, b"{}", vector.at), secrets, MINUTES_5)


def test_a_right_signature_counts_whatever_stands_beside_it() -> None:
    symmetric, asymmetric = VECTORS["standard"], VECTORS["standard v1a"]
    other = "v1a," + base64.b64encode(bytes(64)).decode()
    headers = {**symmetric.headers, "webhook-signature": f"{symmetric.headers['webhook-signature']} {other}"}
    delivery = Inbound(headers, {}, BODY, symmetric.at)
    for schemes in ((STANDARD_V1, STANDARD_V1A), (STANDARD_V1A, STANDARD_V1)):
        check_signature(schemes, delivery, (symmetric.secret, asymmetric.secret), MINUTES_5)


def test_only_what_is_marked_as_a_public_key_is_one() -> None:
    key = VECTORS["standard v1a"].secret.removeprefix("whpk_")
    assert decoded(STANDARD_V1A, f"whpk_{key}") == [V1A_KEY.public_key().public_bytes_raw()]
    for other in (key, f"whsk_{key}", f"12345{key}", f"whpk_{key[:-4]}", "whpk_"):
        assert decoded(STANDARD_V1A, other) == []


def test_a_signature_in_hex_has_nothing_between_its_digits() -> None:
    vector = VECTORS["removebgvideo"]
    right = vector.headers["x-webhook-signature"]
    vector.check(headers={**vector.headers, "x-webhook-signature": right.upper()})
    with pytest.raises(BadSignature):
        vector.check(headers={**vector.headers, "x-webhook-signature": f"{right[:9]} {right[9:]}"})


def test_a_header_beyond_all_measure_is_refused_even_when_it_is_signed() -> None:
    vector, key = VECTORS["standard"], base64.b64decode(SECRET[6:])
    for length, right in ((8192, True), (8193, False)):
        name = "m" * length
        digest = hmac.new(key, f"{name}.1674087231.".encode() + BODY, hashlib.sha256).digest()
        headers = {
            "webhook-id": name,
            "webhook-timestamp": "1674087231",
            "webhook-signature": "v1," + base64.b64encode(digest).decode(),
        }
        if right:
            vector.check(headers=headers)
        else:
            with pytest.raises(BadSignature):
                vector.check(headers=headers)


def test_kie_signs_the_task_it_is_told_about_and_no_other() -> None:
    vector = VECTORS["kie"]
    for subject in ("another-task", "", None, "\ud800"):
        with pytest.raises(BadSignature):
            replace(vector, subject=subject).check()


def test_pollos_key_may_be_the_text_or_what_it_decodes_to() -> None:
    vector = VECTORS["pollo"]
    as_text = base64.b64encode(
        hmac.new(vector.secret.encode(), b"msg_1.1700000000." + BODY, hashlib.sha256).digest()
    ).decode()
    vector.check(headers={**vector.headers, "x-webhook-signature": as_text})


def test_a_bearer_secret_is_compared_whole() -> None:
    def check(value: str) -> None:
        delivery = Inbound({"authorization": value}, {}, BODY, FAL_AT)
        check_signature((BEARER,), delivery, ("new-secret", "old-secret"), MINUTES_5)

    for value in ("Bearer new-secret", "bearer old-secret", "BEARER  new-secret"):
        check(value)
    for value in ("new-secret", "Bearer new-secre", "Bearer new-secret2", "Basic new-secret", "Bearer \N{SNOWMAN}"):
        with pytest.raises(BadSignature):
            check(value)


# Keys that upstream publishes


def fal(
    keys: list[object] | None,
    *,
    age: timedelta = timedelta(seconds=1),
    headers: Mapping[str, str] = FAL_HEADERS,
    body: bytes = FAL_BODY,
    at: datetime = FAL_AT,
) -> None:
    kept = None if keys is None else {"keys": keys, "fetched_at": (at - age).isoformat()}
    check_published(FAL, Inbound(headers, {}, body, at), kept, MINUTES_5)


def test_fals_documented_vector_is_verified_with_any_of_the_keys() -> None:
    for keys in ([FAL_JWK], [OTHER_JWK, FAL_JWK], [{"kty": "RSA", "n": "x", "e": "AQAB"}, "x", None, FAL_JWK]):
        fal(keys)
        fal(keys, age=timedelta(hours=23))


@pytest.mark.parametrize("field", sorted(FAL_HEADERS))
def test_fals_signature_covers_the_body_and_every_header(field: str) -> None:
    changed = {**FAL_HEADERS, field: FAL_HEADERS[field][:-1] + ("0" if FAL_HEADERS[field][-1] != "0" else "1")}
    for headers, body in ((changed, FAL_BODY), (FAL_HEADERS, FAL_BODY + b" "), (FAL_HEADERS, b"\xff")):
        with pytest.raises(BadSignature):
            fal([FAL_JWK], headers=headers, body=body)


def test_a_bad_signature_against_young_keys_is_refused_and_against_old_ones_asks_for_new_ones() -> None:
    for age in (timedelta(0), timedelta(seconds=60), -timedelta(seconds=5)):
        with pytest.raises(BadSignature):
            fal([OTHER_JWK], age=age)
    for age in (timedelta(seconds=61), timedelta(hours=23)):
        with pytest.raises(KeysUnavailable):
            fal([OTHER_JWK], age=age)


def test_without_keys_nothing_is_rightnor_disbelieved() -> None:
    for keys in (None, [], ["x"], [{**FAL_JWK, "x": "short"}], [{**FAL_JWK, "crv": "X25519"}], [{**FAL_JWK, "x": "é"}]):
        with pytest.raises(KeysUnavailable):
            fal(keys)
    for age in (timedelta(hours=25), -timedelta(minutes=6)):
        with pytest.raises(KeysUnavailable):
            fal([FAL_JWK], age=age)
    for kept in ({}, {"keys": [FAL_JWK]}, {"keys": [FAL_JWK], "fetched_at": 5}, {"keys": FAL_JWK}):
        with pytest.raises(KeysUnavailable):
            check_published(FAL, Inbound(FAL_HEADERS, {}, FAL_BODY, FAL_AT), kept, MINUTES_5)


@pytest.mark.parametrize("hostile", HOSTILE_VALUES)
@pytest.mark.parametrize("field", sorted(FAL_HEADERS))
def test_what_no_key_could_have_signed_is_refused_even_without_keys(field: str, hostile: str) -> None:
    """Otherwise anybody could have the keys fetched again and again, and be answered 503 instead of 401."""
    headers = {**FAL_HEADERS, field: hostile}
    with pytest.raises((BadSignature, KeysUnavailable)) as caught:
        fal(None, headers=headers)
    if not hostile or field.endswith(("signature", "timestamp")):
        assert caught.type is BadSignature
    with pytest.raises(BadSignature):
        fal([FAL_JWK], headers=headers)
    for moved in (MINUTES_5, -MINUTES_5):
        with pytest.raises(BadSignature):
            fal(None, at=FAL_AT + moved * 2)


def test_published_keys_are_kept_with_the_time_they_were_fetched() -> None:
    document = {"keys": [{**FAL_JWK, "use": "sig", "d": "never"}, {"kty": "RSA"}, *[OTHER_JWK] * 50], "extra": 1}
    kept = published_keys(document, FAL_AT)
    assert kept["fetched_at"] == "2025-09-16T05:20:00Z"
    assert kept["keys"][:2] == [FAL_JWK, OTHER_JWK]
    assert len(kept["keys"]) == MAX_KEYS
    json.dumps(kept)
    check_published(FAL, Inbound(FAL_HEADERS, {}, FAL_BODY, FAL_AT), kept, MINUTES_5)
    for empty in ({}, {"keys": []}, {"keys": {}}, {"keys": [{"kty": "RSA"}, 5]}):
        with pytest.raises(Unreadable):
            published_keys(empty, FAL_AT)


# What a source declares


OFFERED = (Trust.SIGNED, Trust.TOKEN, Trust.HINT, Trust.NONE)


def account(trust: Trust, *, tokens: tuple[str, ...] = (), secrets: tuple[str, ...] = ()) -> Account:
    return Account(source="s", base_url="https://x.example", trust=trust, hook_tokens=tokens, signing_secrets=secrets)


def test_every_configured_proof_is_required() -> None:
    headers, at = STANDARD_HEADERS, unix(1674087231)
    signed = Inbound(headers, {}, BODY, at)
    named = Inbound({}, {"token": "hook-token"}, BODY, at)
    both = Inbound(headers, {"token": "hook-token"}, BODY, at)
    bare = Inbound({}, {}, BODY, at)
    cases: list[tuple[Account, tuple[Inbound, ...], tuple[Inbound, ...]]] = [
        (account(Trust.SIGNED, secrets=(SECRET,)), (signed, both), (named, bare)),
        (account(Trust.TOKEN, tokens=("hook-token",)), (named, both), (signed, bare)),
        (account(Trust.HINT), (signed, named, both, bare), ()),
        *(
            (account(trust, tokens=("hook-token",), secrets=(SECRET,)), (both,), (signed, named, bare))
            for trust in (Trust.SIGNED, Trust.TOKEN, Trust.HINT)
        ),
        (account(Trust.SIGNED), (), (signed, named, both, bare)),
        (account(Trust.TOKEN), (), (signed, named, both, bare)),
        (account(Trust.NONE), (), (signed, named, both, bare)),
    ]
    for source, believed, refused in cases:
        for delivery in believed:
            check_proofs(delivery, source, OFFERED, (STANDARD_V1,))
        for delivery in refused:
            with pytest.raises(BadSignature):
                check_proofs(delivery, source, OFFERED, (STANDARD_V1,))


def test_a_secret_that_upstream_could_not_sign_with_is_named_by_its_place() -> None:
    public = VECTORS["standard v1a"].secret
    both = (STANDARD_V1, STANDARD_V1A)
    for schemes, secrets in (
        (both, ()),
        (both, (SECRET, public, SECRET.removeprefix("whsec_"))),
        ((OPENAI,), (SECRET, "a plain text")),
        ((OPENROUTER,), ("a plain text",)),
    ):
        assert secrets_problem(schemes, account(Trust.SIGNED, secrets=secrets)) is None
    for schemes, wrong in (
        (both, "whsec_not*base64"),
        (both, "whsec_"),
        (both, "whpk_AAAA"),
        ((STANDARD_V1,), public),
        ((OPENAI,), "whsec_not*base64"),
    ):
        problem = secrets_problem(schemes, account(Trust.SIGNED, secrets=(SECRET, wrong)))
        assert problem is not None
        assert problem.startswith("signing_secrets: number 2 ")
        assert wrong.removeprefix("whsec_") not in problem or wrong == "whsec_"


def test_a_trust_that_upstream_cannot_offer_believes_nothing() -> None:
    both = Inbound(STANDARD_HEADERS, {"token": "hook-token"}, BODY, unix(1674087231))
    source = account(Trust.SIGNED, tokens=("hook-token",), secrets=(SECRET,))
    with pytest.raises(BadSignature):
        check_proofs(both, source, (Trust.TOKEN, Trust.HINT), (STANDARD_V1,))


# Independent libraries. They read the clock themselves, so the deliveries are of now.


def by_standardwebhooks(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        standardwebhooks.Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (standardwebhooks.WebhookVerificationError, ValueError):
        return False
    return True


def by_svix(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        svix.webhooks.Webhook(secret).verify(body, dict(headers))
    except (svix.webhooks.WebhookVerificationError, ValueError):
        return False
    return True


def by_replicate(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    key = replicate.webhook.WebhookSigningSecret(key=secret)
    try:
        replicate.webhook.Webhooks.validate(headers=dict(headers), body=body.decode(), secret=key, tolerance=300)
    except ValueError:
        return False
    return True


def by_openai(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    with openai.OpenAI(api_key="none") as client:
        try:
            client.webhooks.verify_signature(body, dict(headers), secret=secret)
        except (openai.InvalidWebhookSignatureError, ValueError, TypeError):
            return False
    return True


ORACLES = {
    "standardwebhooks": (by_standardwebhooks, STANDARD_V1),
    "svix": (by_svix, STANDARD_V1),
    "replicate": (by_replicate, STANDARD_V1),
    "openai": (by_openai, OPENAI),
}
Oracle = Callable[[str, Mapping[str, str], bytes], bool]


def believed(scheme: Scheme, secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    try:
        check_signature((scheme,), Inbound(headers, {}, body, datetime.now(UTC)), (secret,), MINUTES_5)
    except BadSignature:
        return False
    return True


def signed_by_library(body: str, moved: int = 0) -> dict[str, str]:
    """Headers as the `standardwebhooks` package signs, `moved` seconds from now."""
    at = datetime.fromtimestamp(int(time.time()) + moved, UTC)
    signature = standardwebhooks.Webhook(SECRET).sign("msg_1", at, body)
    stamp = str(int(at.timestamp()))
    return {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": signature}


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_we_agree_with_an_independent_library(name: str) -> None:
    oracle, scheme = ORACLES[name]
    body = '{"id":"p","prompt":"ein Fuchs \u72d0"}'
    good = signed_by_library(body)
    signature = good["webhook-signature"]
    cases = [
        (SECRET, good, body, True),
        (ROTATED, good, body, False),
        (SECRET, good, body + " ", False),
        (SECRET, {**good, "webhook-id": "msg_2"}, body, False),
        (SECRET, {**good, "webhook-signature": "v1,AAAA"}, body, False),
        (SECRET, {**good, "webhook-signature": f"v1,AAAA {signature}"}, body, True),
        (SECRET, signed_by_library(body, -400), body, False),
        (SECRET, signed_by_library(body, 400), body, False),
        (SECRET, signed_by_library(body, -200), body, True),
        (SECRET, signed_by_library(body, 200), body, True),
        (SECRET, {key: value for key, value in good.items() if key != "webhook-id"}, body, False),
        (SECRET, {**good, "webhook-timestamp": "soon"}, body, False),
    ]
    for secret, headers, sent, expected in cases:
        assert oracle(secret, headers, sent.encode()) is expected, (headers, sent)
        assert believed(scheme, secret, headers, sent.encode()) is expected, (headers, sent)


def test_a_secret_without_its_prefix_is_read_as_each_library_reads_it() -> None:
    good = signed_by_library("{}")
    bare = SECRET.removeprefix("whsec_")
    assert by_standardwebhooks(bare, good, b"{}")
    assert believed(STANDARD_V1, bare, good, b"{}")
    assert not by_openai(bare, good, b"{}")
    assert not believed(OPENAI, bare, good, b"{}")
    content = f"msg_1.{good['webhook-timestamp']}.{{}}".encode()
    digest = hmac.new(bare.encode(), content, hashlib.sha256).digest()
    plain = {**good, "webhook-signature": "v1," + base64.b64encode(digest).decode()}
    assert by_openai(bare, plain, b"{}")
    assert believed(OPENAI, bare, plain, b"{}")


def test_a_body_that_is_not_utf_8_is_only_bytes() -> None:
    body = b"\xff\x00\xfe"
    stamp = str(int(time.time()))
    digest = hmac.new(base64.b64decode(SECRET[6:]), b"msg_1." + stamp.encode() + b"." + body, hashlib.sha256).digest()
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    assert believed(STANDARD_V1, SECRET, headers, body)
    assert not believed(STANDARD_V1, SECRET, headers, body[:-1])

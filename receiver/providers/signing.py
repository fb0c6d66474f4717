"""One verifier for every way upstreams sign what they deliver: `schemes` says how, checking it is the same for all.

Bytes are compared in constant time, all secrets and all signatures given are tried (both sides rotate), and whatever is
wrong with a header is a BadSignature, never another error.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from receiver.ledger.records import JsonObject, Trust
from receiver.providers.base import Account, BadSignature, Inbound, KeysUnavailable
from receiver.providers.instants import from_unix, instant
from receiver.providers.jwks import age, public_keys
from receiver.providers.schemes import Algorithm, Encoding, Form, Key, Part, Scheme
from receiver.providers.tokens import check_token

MAX_HEADER = 8192  # characters; the longest real one holds a handful of signatures of 88
MAX_SIGNATURES = 16  # of the scheme's own kind; upstreams send one, two while they rotate
YOUNG = timedelta(seconds=60)  # published keys this young are the ones upstream signs with now
LASTING = timedelta(hours=24)  # fal: keys may be kept for 24 h (UPSTREAMS §5.2)
_LENGTHS = {Algorithm.HMAC_SHA256: 32, Algorithm.ED25519: 64}  # bytes of a signature


def check_proofs(
    inbound: Inbound,
    account: Account,
    offered: Sequence[Trust],
    schemes: Sequence[Scheme] = (),
    *,
    subject: str | None = None,
) -> None:
    """Return when a delivery carries every proof its source declares (R9); raise BadSignature.

    A signature under one of `schemes` is required for trust `signed` and wherever the source has signing secrets, the
    URL's token for trust `token` and wherever it has hook tokens. `offered` is what the upstream can prove at all.
    """
    if account.trust not in offered or account.trust is Trust.NONE:
        raise BadSignature(f"deliveries of this upstream cannot be believed with trust '{account.trust}'")
    if account.trust is Trust.TOKEN or account.hook_tokens:
        check_token(inbound.query, account.hook_tokens)
    if account.trust is Trust.SIGNED or account.signing_secrets:
        check_signature(schemes, inbound, account.signing_secrets, account.tolerance, subject=subject)


def check_signature(
    schemes: Sequence[Scheme],
    inbound: Inbound,
    secrets: Sequence[str],
    tolerance: timedelta,
    *,
    subject: str | None = None,
) -> None:
    """Return when a delivery carries a signature by one of `secrets` under one of `schemes`; raise BadSignature.

    Of several schemes (the same headers, another algorithm) one must match. The signature's time may be `tolerance` off
    `received_at`, either way. `subject` is the signed id where no header carries it.
    """
    keys = [(scheme, key) for scheme in schemes for secret in secrets for key in decoded(scheme, secret)]
    if not keys:
        raise BadSignature("this source has no signing secret that upstream could sign with")
    matched, compared = False, False
    problems: list[tuple[bool, BadSignature]] = []
    for scheme in schemes:
        try:
            message, given = _presented(scheme, inbound, tolerance, subject)
        except BadSignature as error:
            problems.append((scheme.signature in inbound.headers, error))
            continue
        # Every key against every signature: how long it takes tells nothing about which was near.
        tried = [_matches(scheme, key, message, one) for of, key in keys if of is scheme for one in given]
        matched, compared = matched or any(tried), compared or bool(tried)
    if matched:
        return
    if compared or not problems:
        raise BadSignature("no signature of this delivery was made with a secret of this source")
    # What is wrong with a header that came tells more than that another scheme's did not come.
    raise next((error for came, error in problems if came), problems[0][1])


def check_published(scheme: Scheme, inbound: Inbound, keys: JsonObject | None, tolerance: timedelta) -> None:
    """Return when a delivery is signed with one of the keys upstream publishes; raise BadSignature or KeysUnavailable.

    `keys` is what `jwks.published_keys` made. No match with keys younger than YOUNG is BadSignature; with older ones,
    or none, KeysUnavailable: upstream may sign with a newer key, and whoever keeps them should fetch them again. Keys
    older than LASTING, or of unknown age, count as none.
    """
    message, given = _presented(scheme, inbound, tolerance, None)
    since = age(keys, inbound.received_at)
    raw = public_keys(keys)
    if not raw or since is None or since > LASTING:
        raise KeysUnavailable("there are no recent public keys of the signer to check with; fetch them again")
    if any([_matches(scheme, key, message, one) for key in raw for one in given]):  # noqa: C419 - all are compared
        return
    if since <= YOUNG:
        raise BadSignature("no signature of this delivery was made with a key that upstream publishes")
    raise KeysUnavailable("no key known here made this signature; upstream may have a newer one: fetch them again")


def secrets_problem(schemes: Sequence[Scheme], account: Account) -> str | None:
    """Say which of a source's signing secrets cannot be one under any of the schemes, None when all can."""
    for number, secret in enumerate(account.signing_secrets, 1):
        if not any(decoded(scheme, secret) for scheme in schemes):
            wanted = " or ".join(dict.fromkeys(_WANTED[form] for scheme in schemes for form in scheme.key))
            return f"signing_secrets: number {number} is none that upstream could sign with; it must be {wanted}"
    return None


def decoded(scheme: Scheme, secret: str) -> list[bytes]:
    """Return the keys a configured secret may mean under a scheme, [] when it cannot be one."""
    found = [_DECODERS[form](secret) for form in scheme.key]
    return list(dict.fromkeys(key for key in found if key))


def delivery_id(scheme: Scheme, inbound: Inbound) -> str:
    """Return upstream's own id of a delivery (`Reading.identity`), '' when it has none that can be kept.

    Only from a delivery that was believed: in others anybody may have written it.
    """
    value = inbound.headers.get(scheme.id or "", "")
    return value if len(value) <= 256 and value.isprintable() else ""


def _presented(
    scheme: Scheme, inbound: Inbound, tolerance: timedelta, subject: str | None
) -> tuple[bytes, list[bytes]]:
    """Return what is said to be signed, and the signatures given. Raises BadSignature."""
    text = _header(inbound, scheme.signature)
    stamp, written = _taken_apart(scheme, text)
    if len(written) > MAX_SIGNATURES:
        raise BadSignature(f"the header {scheme.signature} holds more than {MAX_SIGNATURES} signatures")
    found = [_unwritten(scheme.encoding, each) for each in written]
    length = _LENGTHS.get(scheme.algorithm)
    given = [one for one in found if one and (length is None or len(one) == length)]
    if not given:
        raise BadSignature(f"the header {scheme.signature} holds no signature of the kind {scheme.name} has")
    if Part.TIMESTAMP in scheme.parts:
        if scheme.timestamp is not None:
            stamp = _header(inbound, scheme.timestamp)
        _check_time(stamp, inbound.received_at, tolerance)
    pieces: dict[Part, Callable[[], bytes]] = {
        Part.ID: lambda: _signed_id(scheme, inbound, subject),
        Part.TIMESTAMP: lambda: _bytes(stamp, "the signature's time"),
        Part.BODY: lambda: inbound.body,
        Part.BODY_SHA256: lambda: hashlib.sha256(inbound.body).hexdigest().encode(),
        Part.USER: lambda: _bytes(_header(inbound, scheme.user or ""), "the signed user"),
    }
    return scheme.separator.join(pieces[part]() for part in scheme.parts), given


def _header(inbound: Inbound, name: str) -> str:
    value = inbound.headers.get(name)
    if not value:
        raise BadSignature(f"the delivery has no header {name}")
    if len(value) > MAX_HEADER:
        raise BadSignature(f"the header {name} is longer than {MAX_HEADER} characters")
    return value


def _signed_id(scheme: Scheme, inbound: Inbound, subject: str | None) -> bytes:
    if scheme.id is not None:
        return _bytes(_header(inbound, scheme.id), "the signed id")
    if not subject:
        raise BadSignature("the delivery does not name what its signature is about")
    return subject.encode("utf-8", "surrogatepass")  # from a body, not from a header


def _taken_apart(scheme: Scheme, text: str) -> tuple[str, list[str]]:
    """Return the timestamp in a signature header ('' when it has none) and the signatures as written."""
    if scheme.form is Form.BARE:
        return "", [text]
    if scheme.form is Form.LABELLED:
        known = text[: len(scheme.label)].lower() == scheme.label.lower()
        return "", [text[len(scheme.label) :].strip(" ")] if known else []
    if scheme.form is Form.LIST:
        pairs = [item.partition(",") for item in text.split(" ")]
        return "", [signature for label, _, signature in pairs if label == scheme.label]
    fields = [item.strip(" ").partition("=") for item in text.split(",")]
    stamps = [value for name, _, value in fields if name == "t"]
    if len(stamps) != 1:
        raise BadSignature(f"the header {scheme.signature} must hold the time `t=` exactly once")
    return stamps[0], [value for name, _, value in fields if name == scheme.label]


def _check_time(stamp: str, now: datetime, tolerance: timedelta) -> None:
    """Raise BadSignature unless a timestamp (Unix seconds or ISO 8601) is at most `tolerance` from now, either way."""
    at = from_unix(stamp) or instant(stamp)
    if at is None:
        raise BadSignature("the signature's time is missing or cannot be read")
    if abs(at - now) > tolerance:
        side = "old" if at < now else "far ahead"
        raise BadSignature(f"the signature's time is too {side}: more than {int(tolerance.total_seconds())} s from now")


def _matches(scheme: Scheme, key: bytes, message: bytes, given: bytes) -> bool:
    if scheme.algorithm is Algorithm.ED25519:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(given, message)
        except (InvalidSignature, ValueError):
            return False
        return True
    if scheme.algorithm is Algorithm.SAME:
        # By digest, so that the time taken does not tell how long the secret is.
        return hmac.compare_digest(hashlib.sha256(key).digest(), hashlib.sha256(given).digest())
    return hmac.compare_digest(hmac.new(key, message, hashlib.sha256).digest(), given)


def _bytes(text: str, what: str) -> bytes:
    # Header values are latin-1 text, so this gives back the bytes that were sent.
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise BadSignature(f"{what} is not text that a header can hold") from None


def _unwritten(encoding: Encoding, text: str) -> bytes | None:
    """Return the bytes of a signature as written, None when it is not written as the scheme says."""
    try:
        if encoding is Encoding.HEX:
            # `fromhex` takes spaces between the digits; no upstream writes any.
            return bytes.fromhex(text) if text.isalnum() else None
        return base64.b64decode(text, validate=True) if encoding is Encoding.BASE64 else text.encode("latin-1")
    except ValueError:
        return None


def _base64(text: str) -> bytes | None:
    """Return the bytes of a secret, whose padding is often lost when it is copied."""
    bare = text.rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:
        return None


def _whsec_or_text(secret: str) -> bytes | None:
    return _base64(secret[6:]) if secret.startswith("whsec_") else secret.encode()


def _whpk(secret: str) -> bytes | None:
    raw = _base64(secret[5:]) if secret.startswith("whpk_") else None
    return raw if raw is not None and len(raw) == 32 else None


_WANTED = {
    Key.TEXT: "any text",
    Key.BASE64: "base64",
    Key.WHSEC: "`whsec_` and base64",
    Key.WHSEC_OR_TEXT: "`whsec_` and base64, or a text that begins otherwise",
    Key.WHPK: "`whpk_` and the base64 of an Ed25519 public key",
}

_DECODERS: dict[Key, Callable[[str], bytes | None]] = {
    Key.TEXT: lambda secret: secret.encode(),
    Key.BASE64: _base64,
    Key.WHSEC: lambda secret: _base64(secret.removeprefix("whsec_")),
    Key.WHSEC_OR_TEXT: _whsec_or_text,
    Key.WHPK: _whpk,
}

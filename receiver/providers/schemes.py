"""How upstreams sign what they deliver, as data: which headers carry the proof, what exactly is signed, and with what.

`signing` checks a delivery against these.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from receiver.ledger.records import Trust


class Part(Enum):
    """What may be signed. The parts are joined with the scheme's separator."""

    ID = auto()  # the delivery's id, from a header or told by the caller (Kie.ai's task id, from the body)
    TIMESTAMP = auto()
    BODY = auto()
    BODY_SHA256 = auto()  # in lower-case hex
    USER = auto()


class Form(Enum):
    """How the signature header is written."""

    LIST = auto()  # `v1,… v1,…`: labels before a comma, spaces between
    LABELLED = auto()  # `sha256=…`, or `Bearer …`: the label is whatever stands before the signature
    FIELDS = auto()  # `t=…,v1=…`: the timestamp in the same header
    BARE = auto()  # nothing but the signature


class Encoding(Enum):
    """How the bytes of a signature are written."""

    HEX = auto()
    BASE64 = auto()
    PLAIN = auto()  # not a signature but a secret as it is


class Key(Enum):
    """How a configured secret becomes the bytes of a key."""

    TEXT = auto()
    BASE64 = auto()
    WHSEC = auto()  # base64, with or without `whsec_` before it
    WHSEC_OR_TEXT = auto()  # base64 after `whsec_`, else the text itself
    WHPK = auto()  # the 32 bytes of an Ed25519 public key in base64 after `whpk_`


class Algorithm(Enum):
    """How a signature is made from a key and what is signed."""

    HMAC_SHA256 = auto()
    ED25519 = auto()
    SAME = auto()  # the secret itself is sent


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to sign. Header names are lower case.

    `timestamp` None means that the signature's own header carries it (`Form.FIELDS`) or that there is none.
    """

    name: str
    signature: str
    parts: tuple[Part, ...]
    key: tuple[Key, ...]  # every reading of a secret that upstream may mean; () for published keys
    form: Form = Form.BARE
    label: str = ""
    encoding: Encoding = Encoding.BASE64
    separator: bytes = b"."
    algorithm: Algorithm = Algorithm.HMAC_SHA256
    id: str | None = None
    timestamp: str | None = None
    user: str | None = None

    @property
    def proves(self) -> Trust:
        """The most that a delivery with this proof can be believed (R9): what does not cover the body is a hint."""
        if Part.BODY in self.parts or Part.BODY_SHA256 in self.parts:
            return Trust.SIGNED
        return Trust.TOKEN if self.algorithm is Algorithm.SAME else Trust.HINT


_SIGNED_BY_ID = (Part.ID, Part.TIMESTAMP, Part.BODY)


def _standard(
    name: str, label: str, key: Key, algorithm: Algorithm = Algorithm.HMAC_SHA256, prefix: str = "webhook"
) -> Scheme:
    return Scheme(
        name,
        f"{prefix}-signature",
        _SIGNED_BY_ID,
        (key,),
        form=Form.LIST,
        label=label,
        algorithm=algorithm,
        id=f"{prefix}-id",
        timestamp=f"{prefix}-timestamp",
    )


# Standard Webhooks (UPSTREAMS §5.0), symmetric and asymmetric, and the same under the header names it had at Svix.
STANDARD_V1 = _standard("Standard Webhooks v1", "v1", Key.WHSEC)
STANDARD_V1A = _standard("Standard Webhooks v1a", "v1a", Key.WHPK, Algorithm.ED25519)
SVIX_V1 = _standard("Svix v1", "v1", Key.WHSEC, prefix="svix")
SVIX_V1A = _standard("Svix v1a", "v1a", Key.WHPK, Algorithm.ED25519, prefix="svix")
# OpenAI's own library takes a secret without `whsec_` as it is (UPSTREAMS §5.3).
OPENAI = _standard("OpenAI", "v1", Key.WHSEC_OR_TEXT)
# RemoveBGVideo (UPSTREAMS §4.4): its timestamps are ISO 8601 text.
SHA256_TIMESTAMPED = Scheme(
    "sha256 over timestamp and body",
    "x-webhook-signature",
    (Part.TIMESTAMP, Part.BODY),
    (Key.TEXT,),
    form=Form.LABELLED,
    label="sha256=",
    encoding=Encoding.HEX,
    timestamp="x-webhook-timestamp",
)
# OpenRouter (UPSTREAMS §5.8): between timestamp and body stands a comma, where Stripe and its kin have a dot.
OPENROUTER = Scheme(
    "OpenRouter",
    "x-openrouter-signature",
    (Part.TIMESTAMP, Part.BODY),
    (Key.TEXT,),
    form=Form.FIELDS,
    label="v1",
    encoding=Encoding.HEX,
    separator=b",",
)
FAL = Scheme(  # UPSTREAMS §5.2
    "fal",
    "x-fal-webhook-signature",
    (Part.ID, Part.USER, Part.TIMESTAMP, Part.BODY_SHA256),
    (),
    encoding=Encoding.HEX,
    separator=b"\n",
    algorithm=Algorithm.ED25519,
    id="x-fal-webhook-request-id",
    timestamp="x-fal-webhook-timestamp",
    user="x-fal-webhook-user-id",
)
# Kie.ai (UPSTREAMS §5.8) signs the task's id and the time, not the body: it proves no more than a hint.
KIE = Scheme(
    "Kie.ai",
    "x-webhook-signature",
    (Part.ID, Part.TIMESTAMP),
    (Key.TEXT,),
    timestamp="x-webhook-timestamp",
)
# Pollo (UPSTREAMS §5.8): whether its key is the secret's bytes or what they decode to is not confirmed.
POLLO = Scheme(
    "Pollo",
    "x-webhook-signature",
    _SIGNED_BY_ID,
    (Key.BASE64, Key.TEXT),
    id="x-webhook-id",
    timestamp="x-webhook-timestamp",
)
BEARER = Scheme(
    "bearer",
    "authorization",
    (),
    (Key.TEXT,),
    form=Form.LABELLED,
    label="Bearer ",
    encoding=Encoding.PLAIN,
    algorithm=Algorithm.SAME,
)

SCHEMES = (
    STANDARD_V1, STANDARD_V1A, SVIX_V1, SVIX_V1A, OPENAI, SHA256_TIMESTAMPED, OPENROUTER, FAL, KIE, POLLO, BEARER,
)  # fmt: skip

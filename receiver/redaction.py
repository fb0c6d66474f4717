"""Takes the values of known secrets out of everything that leaves (DESIGN §8.2).

Upstream documents echo our own hook URLs and tokens, so a secret may come back raw, escaped by JSON (also twice, JSON
in JSON), percent-encoded, or as base64 at any alignment. All of these, mixed as they may be, become `[secret]`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson

MARK = "[secret]"
# Our own API tokens are kept as hashes only: their value is not known, but their shape is.
_API_TOKEN = (b"hl_", r"hl_[A-Za-z0-9_-]{43}")
SHORTEST = 8  # characters; shorter values are ignored, because replacing them would eat ordinary text

_SHORT_ESCAPES = {'"': '"', "/": "/", "\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
_SLASHES = r"\\++"  # possessive: however often it was escaped
_LAYERS = 4
_PERCENT = r"%(?:25){0,3}"  # up to four times
_HEX = {digit: f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in "0123456789abcdef"}

# The look-behind keeps a long run of backslashes from being tried again at each of its places.
_UNICODE = re.compile(rb"\\(?<!\\\\)\\*+u([0-9a-fA-F]{4})")


class Redactor:
    """Replaces every known secret by `[secret]`, longest first. Where there is none, nothing is copied.

    Finding comes in two steps: plain searches in the text and in the text with its escapes undone say which secrets
    may be there (usually none, at the speed of memory), and only for those a pattern is tried that knows every way to
    write them. Safe to share between threads. `secrets` are the raw values.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret for secret in secrets if len(secret) >= SHORTEST}
        forms = [(secret, "|".join(_alternatives(secret))) for secret in known]
        forms += [form for secret in known for form in _base64_forms(secret)]
        forms.sort(key=lambda form: (-len(form[0]), form[0]))
        self._needles = [(None if _unusual(plain) else plain.encode(), pattern) for plain, pattern in forms]
        self._needles.append(_API_TOKEN)
        # A secret of digits alone comes back from JSON as a number.
        self._numbers = any(secret.isdigit() for secret in known)

    def __repr__(self) -> str:
        return "Redactor(…)"

    def text(self, value: str) -> str:
        """Return `value` with every known secret replaced; the very same object when it holds none."""
        pattern = _pattern_for(self._needles, value.encode("utf-8", "surrogatepass"))
        return re.sub(pattern, MARK, value) if pattern else value

    def bytes(self, value: bytes) -> bytes:
        """Return UTF-8 text, such as encoded JSON, with every known secret replaced; the same object when none."""
        pattern = _pattern_for(self._needles, value)
        return re.sub(pattern.encode("utf-8", "surrogatepass"), MARK.encode(), value) if pattern else value

    def json(self, value: Any) -> Any:
        """Return JSON data (dicts, lists, texts, numbers, however deep) with secrets replaced in values and names.

        The very same object when it holds none; never changed in place.
        """
        try:
            # A walk over all texts takes ten times as long as their encoding, which is one more layer to take off.
            pattern = _pattern_for(self._needles, orjson.dumps(value), _LAYERS + 1)
        except TypeError:  # such as half a surrogate pair
            texts = "\0".join(self._texts(value))
            pattern = _pattern_for(self._needles, texts.encode("utf-8", "surrogatepass"))
        return _replaced(value, re.compile(pattern), numbers=self._numbers) if pattern else value

    def _texts(self, value: Any) -> Iterator[str]:
        work = [value]
        while work:
            item = work.pop()
            if isinstance(item, str):
                yield item
            elif isinstance(item, dict):
                work += item.keys()
                work += item.values()
            elif isinstance(item, (list, tuple)):
                work += item
            elif self._numbers and isinstance(item, (int, float)):
                yield str(item)


def _pattern_for(needles: Iterable[tuple[bytes | None, str]], content: bytes, layers: int = _LAYERS) -> str:
    """Return the pattern of every secret that `content` may hold under so many layers of escapes, '' for none."""
    if not needles:
        return ""
    stages = tuple(_undone(content, layers))
    return "|".join(
        pattern for needle, pattern in needles if needle is None or any(needle in stage for stage in stages)
    )


def _replaced(value: Any, pattern: re.Pattern[str], *, numbers: bool) -> Any:
    """Return a copy of JSON data with every match of `pattern` replaced."""

    def leaf(item: Any) -> Any:
        if isinstance(item, str):
            return pattern.sub(MARK, item)
        if numbers and isinstance(item, (int, float)) and not isinstance(item, bool):
            return MARK if pattern.search(str(item)) else item
        return item

    result: list[Any] = [None]
    # A stack, not recursion: upstream decides how deep its documents nest.
    work: list[tuple[Any, Any, Any]] = [(result, 0, value)]
    while work:
        target, place, item = work.pop()
        if isinstance(item, dict):
            named = [(leaf(name) if isinstance(name, str) else name, below) for name, below in item.items()]
            target[place] = fresh = dict.fromkeys(name for name, _ in named)
            work += [(fresh, name, below) for name, below in named]
        elif isinstance(item, (list, tuple)):
            target[place] = slots = [None] * len(item)
            work += [(slots, at, below) for at, below in enumerate(item)]
        else:
            target[place] = leaf(item)
    return result[0]


def _unusual(plain: str) -> bool:
    # Their escapes cannot be undone one by one, so they are always searched for with their pattern. Upstreams' keys
    # and tokens are never like this; a database's password may be.
    return "\\" in plain or " " in plain or not (plain.isascii() and plain.isprintable())


def _undone(content: bytes, layers: int) -> Iterator[bytes]:
    """Yield the content as it is, and with one layer of JSON's and of URLs' escapes after the other taken off."""
    yield content
    for _ in range(layers):
        before = content
        if b"\\" in content:
            content = _UNICODE.sub(lambda found: chr(int(found[1], 16)).encode("utf-8", "surrogatepass"), content)
            content = content.replace(b"\\", b"")
            yield content
        if b"%" in content:
            content = unquote_to_bytes(content)
            yield content
        if content == before:
            return


def _alternatives(value: str) -> list[str]:
    """Return patterns of a value in any mixture of the encodings.

    Each starts with a plain character, so that the engine skips fast to where one may begin.
    """
    parts = _parts(value)
    rest = "".join(f"(?:{'|'.join(forms)})" for forms in parts[1:])
    return [first + rest for first in parts[0]]


def _parts(value: str) -> list[list[str]]:
    """Return, for each character of a value (a run of backslashes counts as one), the ways it may be written."""
    parts: list[list[str]] = []
    for run in re.findall(r"\\+|[^\\]", value, re.DOTALL):
        if run[0] == "\\":
            # However often it was escaped, a run of backslashes is a run of backslashes.
            once, more = rf"{_SLASHES}(?:u005[cC])?", f"{{0,{2 * len(run)}}}"
            tail = f"(?:{once}|{_PERCENT}5[cC]){more}"
            parts.append([once + tail, f"{_PERCENT}5[cC]{tail}"])
        else:
            parts.append(_forms(run))
    return parts


def _forms(char: str) -> list[str]:
    escape = r"\\(?<!\\\\)\\*+"
    units = char.encode("utf-16-be", "surrogatepass")
    unicode = _SLASHES.join(f"u{_hex(units[at : at + 2])}" for at in range(0, len(units), 2))
    percent = "".join(_PERCENT + _hex(bytes([byte])) for byte in char.encode("utf-8", "surrogatepass"))
    forms = [re.escape(char), escape + unicode, percent]
    if char in _SHORT_ESCAPES:
        forms.append(escape + re.escape(_SHORT_ESCAPES[char]))
    if char == " ":
        forms.append(r"\+")
    return forms


def _hex(content: bytes) -> str:
    return "".join(_HEX[digit] for digit in content.hex())


def _base64_forms(secret: str) -> Iterator[tuple[str, str]]:
    """Yield how a secret looks inside base64, with the pattern for it, for each place in a group of three bytes."""
    content = secret.encode("utf-8", "surrogatepass")
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + content).decode()
        # Of the sextets, those at the edges hold bits of the neighbours too: only the inner ones are sure.
        first, last = -(-before * 8 // 6), (before + len(content)) * 8 // 6
        sure = whole[first:last]
        edge = "[A-Za-z0-9+/_-]?(?:=|%3[dD]){0,2}" if (before + len(content)) % 3 else ""
        for form in dict.fromkeys((sure, sure.translate(str.maketrans("+/", "-_")))):
            yield form, "|".join(alternative + edge for alternative in _alternatives(form))

"""Logging: one JSON object per line on standard error, without secrets and without query strings."""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from receiver.redaction import Redactor

LOGGER = "hookledger"

_QUERY = re.compile(r"[?#].*", re.DOTALL)
# A URL, or a path, as a whole: looked for with its query, a long text without one would be read again at each `http`.
_URL = re.compile(r"(?:https?://|(?:^|(?<=[\s\"']))/)[^\s\"'<>]*+")
_FRAMES = 12  # of a traceback, the innermost
_PLAIN = 2000  # bytes of a line that needs no second look; ids have at most 256 characters
_LONGEST = 8000  # characters of one text; an upstream's error page must not fill a disk


class JsonLines(logging.Formatter):
    """Turns records into JSON lines: `time`, `level`, `event`, fields, and `error` for exceptions."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return one line without its newline; never raises for what a field may hold."""
        line: dict[str, Any] = {"time": _stamp(record.created), "level": record.levelname.lower()}
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line["event"] = record.getMessage()
            line.update((name, self._cleaned(value)) for name, value in fields.items() if name not in line)
        else:
            # A line of uvicorn's, SQLAlchemy's or another library's, in its own words.
            line |= {"event": "log", "logger": record.name, "message": self._cleaned(record.getMessage())}
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe_exception(record.exc_info[1], self._cleaned)
        return self._redactor.bytes(_encoded(line)).decode("utf-8", "replace")

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, str) and len(value) > _LONGEST:
            value = self._redactor.text(value)  # before it is cut: half a secret would not be known for one
        return _cleaned(value)


class LineWriter(logging.StreamHandler[TextIO]):
    """Writes lines to a stream; those handed to `soon` together, at the end of this turn of the event loop.

    What is said of every delivery would cost a fifth of its time if each line were made, searched for secrets and
    written by itself.
    """

    def __init__(self, redactor: Redactor, stream: TextIO) -> None:
        super().__init__(stream)
        self.setFormatter(JsonLines(redactor))
        self._redactor = redactor
        self._waiting: list[bytes] = []
        self._stamped = (0, "")
        atexit.register(self.flush)

    def soon(self, event: str, fields: dict[str, Any]) -> bool:
        """Take a line of level info and write it soon; returns False when it is not plain enough, or no loop runs."""
        at = time.time()
        if int(at * 1000) != self._stamped[0]:
            self._stamped = (int(at * 1000), _stamp(at))
        try:
            line = orjson.dumps({"time": self._stamped[1], "level": "info", "event": event, **fields})
            if len(line) > _PLAIN or b"?" in line or b"#" in line:
                return False  # it may hold a query string
            if not self._waiting:
                asyncio.get_running_loop().call_soon(self.flush)
        except (TypeError, ValueError, RuntimeError):
            return False
        self._waiting.append(line)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, after what waits."""
        self._write_waiting()
        super().emit(record)

    def flush(self) -> None:
        """Write what waits and empty the stream's own buffer."""
        self._write_waiting()
        super().flush()

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        lines, self._waiting = self._waiting, []
        try:
            # No secret spans two lines: a line feed inside one is escaped in JSON.
            self.stream.write(self._redactor.bytes(b"\n".join(lines)).decode("utf-8", "replace") + self.terminator)
        except Exception:  # noqa: BLE001 - a full disk or a closed pipe must not cost deliveries, as in `logging` itself
            self.handleError(logging.makeLogRecord({"msg": "lines lost", "levelname": "ERROR"}))


def setup_logging(redactor: Redactor, level: str = "info", stream: TextIO | None = None) -> None:
    """Send all logging, uvicorn's and SQLAlchemy's too, as JSON lines to `stream` (default: standard error).

    May be called again, once the configuration is known: the last call holds. uvicorn must be started with
    `log_config=None`, or it puts its own handlers back. Raises ValueError for a level
    that is not debug, info, warning or error.
    """
    if level not in ("debug", "info", "warning", "error"):
        raise ValueError(f'"{level}" is no log level; it must be debug, info, warning or error')
    root = logging.getLogger()
    for old in root.handlers:
        old.flush()
    root.handlers[:] = [LineWriter(redactor, stream or sys.stderr)]
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER).setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "sqlalchemy", "alembic", "aiohttp"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    logging.getLogger("uvicorn").setLevel(logging.INFO)
    # Its lines hold query strings, and ours say more.
    logging.getLogger("uvicorn.access").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)


_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def log_event(event: str, /, *, level: str = "info", error: BaseException | None = None, **fields: Any) -> None:
    """Log one event: a name such as `delivery`, and whatever fields tell the rest. URLs go through `without_query`."""
    logger = logging.getLogger(LOGGER)
    number = _LEVELS[level]
    if logger.isEnabledFor(number):
        logger.log(number, event, exc_info=error, extra={"fields": fields})


def log_soon(event: str, /, **fields: Any) -> None:
    """Log what happens thousands of times a second, at level info: as `log_event` does, a moment later (LineWriter)."""
    logger = logging.getLogger(LOGGER)
    if not logger.isEnabledFor(logging.INFO):
        return
    writer = next((handler for handler in logger.root.handlers if type(handler) is LineWriter), None)
    if writer is None or not writer.soon(event, fields):
        log_event(event, **fields)


def without_query(url: str) -> str:
    """Return a URL or a request's target without its query and fragment, where tokens and signatures are."""
    return _QUERY.sub("", url)


def describe_exception(error: BaseException, cleaned: Callable[[str], str]) -> dict[str, Any]:
    """Return an exception as log data: `type`, `message`, `traceback` (innermost last) and `cause` where it has one.

    `cleaned` takes out of messages what no log should hold. An error whose class is marked `whole_message` has said all
    there is in its sentence: a line a second of an outage needs no traceback.
    """
    told: dict[str, Any] = {"type": type(error).__qualname__, "message": cleaned(_message_of(error))}
    if not getattr(error, "whole_message", False):
        frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
        told["traceback"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and cause is not error:
        told["cause"] = {"type": type(cause).__qualname__, "message": cleaned(_message_of(cause))}
    return told


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not cost the line that tells about it
        return "(no message)"


def _cleaned(value: Any) -> Any:
    """Take the query strings out of every URL in a text, and cut it to a length; anything else is left alone."""
    if not isinstance(value, str):
        return value
    text = _URL.sub(lambda url: without_query(url[0]), value) if "?" in value or "#" in value else value
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def _encoded(line: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(line, default=_plain, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z)
    except (TypeError, ValueError):
        pass  # lone surrogates and integers beyond 64 bits, which the standard library does write
    try:
        return json.dumps(line, default=_plain).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        # Names of no text, or nesting without end: that field's kind is all there is to say.
        said = {
            name: value if isinstance(value, (str, int)) else f"({type(value).__name__})"
            for name, value in line.items()
        }
        return json.dumps(said).encode("ascii")


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, (bytes, bytearray)):
        return f"({len(value)} bytes)"
    try:
        return _cleaned(str(value))
    except Exception:  # noqa: BLE001 - as above
        return f"({type(value).__qualname__})"

"""Texts on their way into a page. Pure."""

from __future__ import annotations

from urllib.parse import quote

import orjson


def seg(text: str) -> str:
    """Return a text as one segment of a path."""
    return quote(text, safe="")


def paragraphs(value: object) -> str:
    """Return JSON data as text to read, indented; a text as it is."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()

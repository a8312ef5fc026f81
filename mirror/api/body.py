"""The kind of a body, and the words of one that is no JSON."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from enum import StrEnum

from mirror.text import quotable

_MAX_READ = 64 * 1024  # bytes
_MAX_WORDS = 200  # characters
_HTML_START = re.compile(rb"<(?:!doctype html|html|head|title|body|h1|center)\b")
_TAG_OR_TEXT = re.compile(r"<(/?)([a-z0-9]*)[^<>]*>?|([^<]+)", re.IGNORECASE)
_INVISIBLE = {"script", "style", "noscript", "svg", "template"}

Redactor = Callable[[str], str]
"""Removes secrets from a text."""


class BodyKind(StrEnum):
    """The kind of a body, as a noun."""

    EMPTY = "empty"
    HTML = "an HTML page"
    JSON = "JSON"
    TEXT = "plain text"
    BINARY = "binary data"


def body_kind(body: bytes | bytearray) -> BodyKind:
    """Return the kind of a body, by its start."""
    start = bytes(body[:512]).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not start:
        return BodyKind.EMPTY
    if start.startswith(b"<") and _HTML_START.search(start):
        return BodyKind.HTML
    if start[:1] in {b"{", b"["}:
        return BodyKind.JSON
    text = "".join(start.decode("utf-8", "replace")[:-1].split())
    is_text = text.isprintable() and "\ufffd" not in text
    return BodyKind.TEXT if is_text else BodyKind.BINARY


def first_words(body: bytes | bytearray, redact: Redactor) -> str:
    """Return the first words of a page or text, which tell who sent it; empty for other bodies.

    Args:
        body: the body, or its start.
        redact: removes secrets, before the words are cut.
    """
    kind = body_kind(body)
    if kind not in {BodyKind.HTML, BodyKind.TEXT}:
        return ""
    text = bytes(body[:_MAX_READ]).decode("utf-8", "replace").lstrip("\ufeff")
    return quotable(redact(_visible_text(text) if kind is BodyKind.HTML else text), _MAX_WORDS)


def _visible_text(page: str) -> str:
    """Return the title and text of an HTML page, without repetitions. It takes linear time."""
    first, *others = page.split("<!--")
    without_comments = first + "".join(part.partition("-->")[2] for part in others)
    texts, hidden_until = [], ""
    for end, tag, text in _TAG_OR_TEXT.findall(without_comments):
        if hidden_until:
            if end and tag.lower() == hidden_until:
                hidden_until = ""
        elif text:
            texts.append(text.strip())
        elif not end and tag.lower() in _INVISIBLE:
            hidden_until = tag.lower()
    return html.unescape(" ".join(dict.fromkeys(texts)))

"""The kind of a body, and the words of a page, whatever it holds."""

from __future__ import annotations

import time

import pytest

from mirror.api.body import BodyKind, body_kind, first_words
from mirror.config.settings import Secret
from tests.support.upstream import TOKEN


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b" \r\n", BodyKind.EMPTY),
        (b"\xef\xbb\xbf<!doctype html>", BodyKind.HTML),
        (b"\n<HTML>", BodyKind.HTML),
        (b"<!-- x -->\n<head><title>", BodyKind.HTML),
        (b"<h1>Not here</h1>", BodyKind.HTML),
        (b"<?xml version='1.0'?><Error/>", BodyKind.TEXT),
        (b"<htmlx>", BodyKind.TEXT),
        (b"no <html>", BodyKind.TEXT),
        (b' {"a":1}', BodyKind.JSON),
        (b"[", BodyKind.JSON),
        (b"\x00\x01", BodyKind.BINARY),
        ("caf\xe9".encode("utf-16"), BodyKind.BINARY),
    ],
)
def test_kinds(body: bytes, kind: BodyKind) -> None:
    """The start of a body decides."""
    assert body_kind(body) is kind


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<html><title> A &amp;\n B </title><body>A &amp;\n B<p>C.</p>", "A & B C"),
        ("<html><script>if (a<b) {'<p>x</p>'}</script><STYLE>y</style>D", "D"),
        ("<html><!-- E <b>F</b> -->G<!-- never ends <p>H", "G"),
        ("<html><svg><title>I</title></svg>J<script>K", "J"),
        ("<html>a < b <p", "a"),
        (f"<html>{TOKEN}</html>", "[token]"),
        (f"<html>{TOKEN.replace('_', '&#95;')}</html>", "[token]"),
        (f"<html>{'x' * 190}{TOKEN}", "x" * 190 + "[token]"),
        ("L\r\nM.", "L M"),
        ('{"message": "N"}', ""),
        ("", ""),
    ],
)
def test_first_words(body: str, words: str) -> None:
    """Title and text once each, without scripts, styles, comments and the token."""
    assert first_words(body.encode(), Secret(TOKEN).redact) == words


@pytest.mark.parametrize(
    "part", ["<", "<!--", "<script>", "<!", "<p", ">", "&", "&#", "a<b", "<svg><svg", "-->"]
)
def test_a_hostile_page_takes_linear_time(part: str) -> None:
    """No page of the size that is read takes long."""
    began = time.process_time()  # other processes do not count
    first_words(b"<html>" + part.encode() * (64 * 1024 // len(part)), str)
    assert time.process_time() - began < 1

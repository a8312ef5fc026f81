"""JSON that is decoded one level at a time; characters and numbers that no database can store."""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

DECODING_ERRORS = (msgspec.MsgspecError, RecursionError, OverflowError, UnicodeDecodeError)
"""All exceptions of decoding, in every version of the library."""

NULL = Raw(b"null")

_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_SURROGATE = rb"[dD][89a-fA-F][0-9a-fA-F]{2}"
# Escaped backslashes and whole pairs match first, so that no part of them is replaced.
_LONE_SURROGATE = re.compile(rb"\\\\|" + _PAIR + rb"|(\\u" + _SURROGATE + rb")")
_UNSTORABLE = re.compile(rb"\\\\|" + _PAIR + rb"|(\\u(?:0000|" + _SURROGATE + rb"))")

_MAX_DIGITS = 1_000
_MAX_EXPONENT_DIGITS = 2
_MAYBE_HUGE = re.compile(rb"[\[:,\s]-?[0-9](?:[0-9.]{1000}|[0-9.]*[eE][-+]?[0-9]{3})")
_STRING_OR_NUMBER = re.compile(
    rb'"(?:[^"\\]|\\.)*"|(-?(?P<digits>[0-9.]+)(?:[eE][-+]?(?P<exponent>[0-9]+))?)'
)

_fields = msgspec.json.Decoder(dict[str, Raw])


def decode_fields(raw: bytes | bytearray | Raw) -> dict[str, Raw]:
    """Return the fields of an object, their values not yet decoded.

    Raises:
        DECODING_ERRORS: it is not an object.
    """
    return _fields.decode(raw)


def is_object(text: bytes | bytearray) -> bool:
    """Return whether a text is a JSON object."""
    try:
        decode_fields(text)
    except DECODING_ERRORS:
        return False
    return True


def replace_lone_surrogates(text: bytes | bytearray) -> bytes:
    """Replace the escapes of lone surrogates by that of U+FFFD."""
    return _LONE_SURROGATE.sub(_replacement, text)


def replace_unstorable(text: bytes | bytearray) -> bytes:
    """Replace the escapes of NUL and of lone surrogates by that of U+FFFD."""
    return _UNSTORABLE.sub(_replacement, text)


def quote_huge_numbers(text: bytes) -> bytes:
    """Make a string of each number with more than 1,000 digits or an exponent of three or more.

    `jsonb` holds 131,072 digits before the point and 16,383 after it, and writes all of them: a
    million times 1e999 would be a value that Postgres cannot return.
    """
    if not _MAYBE_HUGE.search(text):
        return text
    return _STRING_OR_NUMBER.sub(_quote_huge, text)


def _quote_huge(match: re.Match[bytes]) -> bytes:
    digits, exponent = match["digits"] or b"", match["exponent"] or b""
    if len(digits) > _MAX_DIGITS or len(exponent) > _MAX_EXPONENT_DIGITS:
        return b'"%b"' % match[0]
    return match[0]


def _replacement(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match[1] else match[0]

"""Why a body is no usable JSON, derived from its structure.

The JSON library has messages too, but they change between versions: they are neither parsed nor
shown. Everything here runs only after decoding has failed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import msgspec
from msgspec import Raw

from mirror.api.raw_json import DECODING_ERRORS, decode_fields

MAX_IDENTIFIER = 255
"""Characters; longer identifiers do not fit an index entry of Postgres (2,704 bytes)."""

TOO_DEEP = "nested too deeply to be read"

_ESCAPE = re.compile(rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_ASCII = bytes(range(128)) + b"?" * 128
_UP_TO_BRACKET = re.compile(rb'(?:[^"{}\[\]]*"[^"]*"){0,64}[^"{}\[\]]*([{}\[\]]?)')
"""Matches many strings at once, as there are ten to a bracket; not all, which takes memory."""
_CLOSING = {b"{": b"}", b"[": b"]"}
_WORD = b"+-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WORD_START = re.compile(
    rb"t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?"
    rb"|-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:(?<=[0-9])[eE][-+]?[0-9]*)?)?"
)
"""A literal or a number, complete or not."""

_any = msgspec.json.Decoder(Raw)
_text = msgspec.json.Decoder(str | None)
_time = msgspec.json.Decoder(datetime | None)
_boolean = msgspec.json.Decoder(bool)
_array = msgspec.json.Decoder(list[Raw])


def is_truncated(body: bytes | bytearray) -> bool:
    """Return whether a body ends in the middle: with more after it, it would be JSON.

    A body whose brackets are all closed is not truncated, whatever else is wrong with it.

    Raises:
        RecursionError: it is nested too deeply.
    """
    text = _simplify(body)
    in_string = text.count(b'"') % 2 == 1
    if in_string:
        text = text[: text.rindex(b'"')]
    missing, _ = _match_brackets(text)
    if not missing:
        return False
    word = text[len(text.rstrip(_WORD)) :]
    endings: tuple[bytes, ...]
    if in_string:
        endings = (b'""', b'"":0')
    elif word:
        text = text[: -len(word)]
        endings = (b"0",) if _WORD_START.fullmatch(word) else ()
    else:
        endings = (b"", b"0", b":0", b'"":0')
    return any(_is_json(text + ending + missing) for ending in endings)


def json_fault(body: bytes | bytearray) -> str | None:
    """Return why a body that starts like JSON, and is not truncated, is not JSON; None if it is.

    Raises:
        RecursionError: it is nested too deeply.
    """
    text = _simplify(body)
    if _is_json(text):
        return None
    missing, end = _match_brackets(text)
    if not missing and text[end:].strip() and _is_json(text[:end]):
        return "data follows after its end"
    return "its syntax is invalid"


def envelope_fault(body: bytes | bytearray) -> str | None:
    """Return why a JSON body is not a list of release requests; None if it looks like one.

    Raises:
        RecursionError: it is nested too deeply.
    """
    try:
        fields = decode_fields(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _utf8_fault(body) or "it is not an object"
    for name, decoder, kind in (
        ("success", _boolean, "true or false"),
        ("data", _array, "an array"),
    ):
        if name not in fields:
            return f"`{name}` is missing"
        try:
            decoder.decode(fields[name])
        except msgspec.MsgspecError:
            return f"`{name}` is not {kind}"
    return None


def record_fault(entry: bytes) -> str:
    """Return the first reason why an entry of the list is not a release request."""
    if fault := _utf8_fault(entry):
        return fault
    try:
        for name, fault in field_faults(decode_fields(entry)):
            return f"`{name}` {fault}"
    except RecursionError:
        return TOO_DEEP
    except DECODING_ERRORS:
        return "not an object"
    return "not a release request"


def field_faults(fields: dict[str, Raw]) -> Iterator[tuple[str, str]]:
    """Yield each known field that cannot be read, or is required and lacks a value, and why."""
    for name, rule in _RULES.items():
        value, fault = fields.get(name), None
        if value is not None and bytes(value) != b"null":
            fault = rule(value)
        elif name in _REQUIRED:
            fault = "is missing" if value is None else "is null"
        if fault:
            yield name, fault


def _utf8_fault(text: bytes | bytearray) -> str | None:
    try:
        text.decode()
    except UnicodeDecodeError:
        return "not valid UTF-8"
    return None


def _text_fault(value: Raw) -> str | None:
    try:
        _text.decode(value)
    except msgspec.MsgspecError:
        return "is not a string"
    return None


def _short_text_fault(value: Raw) -> str | None:
    if fault := _text_fault(value):
        return fault
    too_long = len(_text.decode(value) or "") > MAX_IDENTIFIER
    return f"is longer than {MAX_IDENTIFIER} characters" if too_long else None


def _identifier_fault(value: Raw) -> str | None:
    return "is empty" if bytes(value) == b'""' else _short_text_fault(value)


def _time_fault(value: Raw) -> str | None:
    try:
        time = _time.decode(value)
        if time is not None and time.tzinfo is None:
            return "has no time zone"
        if time is not None:
            time.astimezone(UTC)
    except msgspec.MsgspecError:
        return "is not a time"
    except OverflowError:
        return "lies outside the years 1 to 9999 in UTC"
    return None


_RULES: dict[str, Callable[[Raw], str | None]] = {
    "id": _identifier_fault,
    "phone_number": _identifier_fault,
    "status": _identifier_fault,
    "requested_at": _time_fault,
    "phone_number_id": _short_text_fault,
    "reason": _text_fault,
    "resolved_at": _time_fault,
    "rejection_reason": _text_fault,
}
_REQUIRED = {"id", "phone_number", "status", "requested_at"}


def _simplify(body: bytes | bytearray) -> bytes:
    """Return a text of the same structure whose strings are ASCII without escapes.

    An invalid escape stays, as it makes the string invalid.
    """
    return _ESCAPE.sub(b"x", body).translate(_ASCII)


def _match_brackets(text: bytes) -> tuple[bytes, int]:
    """Return the closing brackets that a simplified text lacks, and where its first value ends.

    A value that is neither an object nor an array has no brackets, and ends with the text.
    """
    missing = bytearray()
    for match in _UP_TO_BRACKET.finditer(text):
        bracket = match[1]
        if bracket in _CLOSING:
            missing += _CLOSING[bracket]
        elif bracket:
            if missing:
                missing.pop()
            if not missing:
                return b"", match.end()
    missing.reverse()
    return bytes(missing), len(text)


def _is_json(text: bytes) -> bool:
    try:
        _any.decode(text)
    except msgspec.MsgspecError:
        return False
    return True

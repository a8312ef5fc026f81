"""What is wrong with JSON that could not be read, found out from its structure.

The library that reads JSON has words for it too, but they change from version to version: nothing
is decided by them, and nobody is shown them. All this runs only after reading has failed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from msgspec import Raw

LONGEST_IDENTIFIER = 255
"""Characters; longer ones do not fit an index entry of Postgres (2,704 bytes)."""

DECODING_ERRORS = (msgspec.MsgspecError, RecursionError, OverflowError, UnicodeDecodeError)
"""All that decoding raises, whatever the version of the library."""

TOO_DEEP = "nested too deeply to be read"

_ESCAPE = re.compile(rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_ASCII = bytes(range(128)) + b"?" * 128
_UP_TO_BRACKET = re.compile(rb'(?:[^"{}\[\]]*"[^"]*"){0,64}[^"{}\[\]]*([{}\[\]]?)')
"""It takes many strings at once, as there are ten to a bracket; not all, which takes memory."""
_CLOSING = {b"{": b"}", b"[": b"]"}
_WORD = b"+-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BEGUN = re.compile(
    rb"t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?"
    rb"|-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:(?<=[0-9])[eE][-+]?[0-9]*)?)?"
)
"""The beginning of a literal or of a number, or all of it."""

_any = msgspec.json.Decoder(Raw)
_fields = msgspec.json.Decoder(dict[str, Raw])
_text = msgspec.json.Decoder(str | None)
_time = msgspec.json.Decoder(datetime | None)
_truth = msgspec.json.Decoder(bool)
_array = msgspec.json.Decoder(list[Raw])

_Rule = Callable[[Raw], str | None]


def is_cut(body: bytes | bytearray) -> bool:
    """Tell whether an answer ends in the middle: with more after it, it would be JSON.

    One whose brackets are all closed is not cut, whatever else may be wrong with it.

    Raises:
        RecursionError: it is nested too deeply.
    """
    text = _plain(body)
    in_string = text.count(b'"') % 2 == 1
    if in_string:
        text = text[: text.rindex(b'"')]
    missing, _ = _brackets(text)
    if not missing:
        return False
    word = text[len(text.rstrip(_WORD)) :]
    ends: tuple[bytes, ...]
    if in_string:
        ends = (b'""', b'"":0')
    elif word:
        text = text[: -len(word)]
        ends = (b"0",) if _BEGUN.fullmatch(word) else ()
    else:
        ends = (b"", b"0", b":0", b'"":0')
    return any(_is_json(text + end + missing) for end in ends)


def why_not_json(body: bytes | bytearray) -> str | None:
    """Say why an answer that begins like JSON, and is not cut, is none; None if it is JSON.

    Raises:
        RecursionError: it is nested too deeply.
    """
    text = _plain(body)
    if _is_json(text):
        return None
    missing, end = _brackets(text)
    if not missing and text[end:].strip() and _is_json(text[:end]):
        return "something follows after its end"
    return "its syntax is wrong"


def why_no_list(body: bytes | bytearray) -> str | None:
    """Say why an answer that is JSON is not a list of release requests; None if it looks like one.

    Raises:
        RecursionError: it is nested too deeply.
    """
    try:
        fields = _fields.decode(body)
    except UnicodeDecodeError:
        return _not_utf8(body)
    except msgspec.MsgspecError:
        return _not_utf8(body) or "it is not an object"
    for name, decoder, kind in (("success", _truth, "true or false"), ("data", _array, "an array")):
        if name not in fields:
            return f"`{name}` is missing"
        try:
            decoder.decode(fields[name])
        except msgspec.MsgspecError:
            return f"`{name}` is not {kind}"
    return None


def why_no_request(entry: bytes) -> str:
    """Say why an entry of the list is not a release request: the first thing that is wrong."""
    if fault := _not_utf8(entry):
        return fault
    try:
        fields = _fields.decode(entry)
        for name, rule in _RULES.items():
            if (value := fields.get(name)) is None:
                fault = "is missing" if name in _REQUIRED else None
            elif bytes(value) == b"null":
                fault = "is null" if name in _REQUIRED else None
            else:
                fault = rule(value)
            if fault:
                return f"`{name}` {fault}"
    except RecursionError:
        return TOO_DEEP
    except DECODING_ERRORS:
        return "not an object"
    return "not a release request"


def _not_utf8(text: bytes | bytearray) -> str | None:
    try:
        text.decode()
    except UnicodeDecodeError:
        return "not valid UTF-8"
    return None


def _short_text(value: Raw) -> str | None:
    if fault := _any_text(value):
        return fault
    long = len(_text.decode(value) or "") > LONGEST_IDENTIFIER
    return f"is longer than {LONGEST_IDENTIFIER} characters" if long else None


def _identifier(value: Raw) -> str | None:
    return "is empty" if bytes(value) == b'""' else _short_text(value)


def _any_text(value: Raw) -> str | None:
    try:
        _text.decode(value)
    except msgspec.MsgspecError:
        return "is not a text"
    return None


def _zoned_time(value: Raw) -> str | None:
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


_RULES: dict[str, _Rule] = {
    "id": _identifier,
    "phone_number": _identifier,
    "status": _identifier,
    "requested_at": _zoned_time,
    "phone_number_id": _short_text,
    "reason": _any_text,
    "resolved_at": _zoned_time,
    "rejection_reason": _any_text,
}
_REQUIRED = {"id", "phone_number", "status", "requested_at"}


def _plain(body: bytes | bytearray) -> bytes:
    """Return a text of the same structure whose strings are of ASCII and hold no escape.

    A wrong escape stays: a string with one is none.
    """
    return _ESCAPE.sub(b"x", body).translate(_ASCII)


def _brackets(text: bytes) -> tuple[bytes, int]:
    """Return the brackets that a plain text lacks at its end, and where its first value ends.

    A value that is neither an object nor an array has no brackets, and ends nowhere before the end.
    """
    missing = bytearray()
    for found in _UP_TO_BRACKET.finditer(text):
        sign = found[1]
        if sign in _CLOSING:
            missing += _CLOSING[sign]
        elif sign:
            if missing:
                missing.pop()
            if not missing:
                return b"", found.end()
    missing.reverse()
    return bytes(missing), len(text)


def _is_json(text: bytes) -> bool:
    try:
        _any.decode(text)
    except msgspec.MsgspecError:
        return False
    return True

"""The envelope of a response: success, entries, paging, or one of three shapes of an error.

The shapes are those of the vendor's public documentation; what is not promised there is treated as
optional.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from mirror.api import malformed
from mirror.api.malformed import DECODING_ERRORS
from mirror.errors import ApiError
from mirror.text import one_line

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


_PAIR = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"


_HALF = rb"[dD][89a-fA-F][0-9a-fA-F]{2}"


_HALF_PAIR = re.compile(rb"\\\\|" + _PAIR + rb"|(\\u" + _HALF + rb")")


_UNSTORABLE = re.compile(rb"\\\\|" + _PAIR + rb"|(\\u(?:0000|" + _HALF + rb"))")


_NOTHING = Raw(b"null")


class Paging(Struct, frozen=True):
    """What an answer says about the pages of its list."""

    current_page: int | None = None
    last_page: int | None = None
    per_page: int | None = None
    total: int | None = None

    @property
    def pages(self) -> int | None:
        """How many pages there are, as stated or as `total` and `per_page` imply."""
        if self.last_page is not None:
            return max(1, self.last_page)
        if self.total is not None and self.per_page:
            return max(1, -(-self.total // self.per_page))
        return 1 if self.current_page is None and self.per_page is None else None


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the list: its entries, not yet decoded, and its paging if there is any."""

    entries: list[Raw]
    paging: Paging | None


Redactor = Callable[[str], str]


def _nothing_hidden(text: str) -> str:
    return text


class PayloadError(ApiError):
    """An answer is not the documented envelope, or says that it failed."""


class TruncatedPayload(PayloadError):
    """An answer ends in the middle: the connection was cut where HTTP could not tell."""


class _Envelope(Struct):
    success: bool
    data: list[Raw]
    meta: Raw = _NOTHING
    pagination: Raw = _NOTHING
    links: Raw = _NOTHING
    current_page: Raw = _NOTHING
    last_page: Raw = _NOTHING
    per_page: Raw = _NOTHING
    total: Raw = _NOTHING
    next_page_url: Raw = _NOTHING


class _Error(Struct):
    success: Any = None
    error: Any = None
    message: Any = None
    code: Any = None
    errors: Any = None


_envelope = msgspec.json.Decoder(_Envelope)


_fields = msgspec.json.Decoder(dict[str, Raw])


_paging = msgspec.json.Decoder(Paging, strict=False)


_number = msgspec.json.Decoder(Annotated[int, Meta(ge=0)], strict=False)


_PAGING_FIELDS = Paging.__struct_fields__


_NO_MORE = {b"null", b"false", b'""'}


_MORE = ("next_page_url", "next_cursor", "next")


def parse_page(body: bytes | bytearray, hide: Redactor = _nothing_hidden) -> Page:
    """Read the envelope of one answer.

    Args:
        body: the answer.
        hide: takes out of a text of upstream's what must not be shown.

    Raises:
        TruncatedPayload: the JSON ends too early.
        PayloadError: it is not JSON, not the documented envelope, or `success` is not true.
    """
    if body.startswith(_BYTE_ORDER_MARK):  # removeprefix alone would copy the body in any case
        body = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        envelope = _read_envelope(body)
    except DECODING_ERRORS as error:
        raise _unusable(body, hide) from error
    if not envelope.success:
        raise PayloadError(f"the API says that it failed: {error_summary(body, hide)}")
    return Page(entries=envelope.data, paging=_find_paging(envelope))


def _read_envelope(body: bytes | bytearray) -> _Envelope:
    """Decode an envelope, also if a text in it holds half of a surrogate pair.

    JSON's grammar allows that, no database can store it, and msgspec refuses the whole document.
    """
    try:
        return _envelope.decode(body)
    except msgspec.DecodeError:
        repaired = _HALF_PAIR.sub(_replaced, body)
        if repaired == body:
            raise
        return _envelope.decode(repaired)


def _storable(text: bytes | bytearray) -> bytes:
    """Replace the escapes that no database can store, NUL and half surrogate pairs, by U+FFFD."""
    return _UNSTORABLE.sub(_replaced, text)


def _replaced(found: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if found[1] else found[0]


def _unusable(body: bytes | bytearray, hide: Redactor) -> PayloadError:
    """Say what came instead of the documented envelope."""
    if not body.strip():
        return PayloadError("the answer is empty")
    try:
        if malformed.is_cut(body):
            return TruncatedPayload("the answer ends in the middle of its JSON")
        if (wrong := malformed.why_not_json(body)) is not None:
            kind = _kind(body)
            what = f"not valid JSON: {wrong}" if kind == "JSON" else f"{kind}, not JSON"
            return PayloadError(f"the answer is {what}")
        with suppress(*DECODING_ERRORS):
            if stated := _stated_error(body, hide):
                return PayloadError(f"the API says that it failed: {stated}")
        # What is wrong with none of its fields as they stand last is wrong with one before.
        repaired = _HALF_PAIR.sub(_replaced, body)
        wrong = malformed.why_no_list(repaired) or "a field is given twice"
        return PayloadError(f"the answer is not a list of release requests: {wrong}")
    except RecursionError:
        return PayloadError(f"the answer is {malformed.TOO_DEEP}")


def error_summary(body: bytes | bytearray, hide: Redactor = _nothing_hidden) -> str:
    """Return what the body of a failed answer says, in one line of at most 500 characters.

    Args:
        body: the answer, or its start.
        hide: takes out of it what must not be shown, before it is cut.
    """
    try:
        stated = _stated_error(body, hide)
    except DECODING_ERRORS:
        stated = None
    return stated or f"({_kind(body)} without code or message)"


def _stated_error(body: bytes | bytearray, hide: Redactor) -> str | None:
    """Find code and message in any of the three documented shapes of an error."""
    outer = msgspec.json.decode(
        _storable(body).decode("utf-8", "replace").lstrip("\ufeff"), type=_Error
    )
    if outer.success is not False and not (outer.error or outer.errors or outer.code):
        return (
            one_line(hide(str(outer.message))) if outer.success is None and outer.message else None
        )
    inner = outer.error if isinstance(outer.error, dict) else {"message": outer.error}
    code = inner.get("code") or outer.code
    message = inner.get("message") or outer.message
    parts = [str(part) for part in (code, message) if part]
    details = outer.errors or inner.get("details")
    if isinstance(details, dict) and details:
        parts.append(msgspec.json.encode(details).decode())
    if not parts and outer.success is False:
        return "success is false, without code or message"
    return one_line(hide(": ".join(parts))) or None


def _kind(body: bytes | bytearray) -> str:
    """Name what a body looks like."""
    start = bytes(body[:512]).lstrip().lower()
    if not start:
        return "empty"
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if start[:1] in {b"{", b"["}:
        return "JSON"
    text = "".join(start.decode("utf-8", "replace")[:-1].split())
    return "plain text" if text.isprintable() and "\ufffd" not in text else "binary data"


def _find_paging(envelope: _Envelope) -> Paging | None:
    """Find the paging, under its two documented names or where Laravel puts it else.

    Raises:
        PayloadError: it cannot be read, or the list goes on in a way that is not known.
    """
    meta, pagination, links = map(_object, (envelope.meta, envelope.pagination, envelope.links))
    top = {name: getattr(envelope, name) for name in (*_PAGING_FIELDS, "next_page_url")}
    places = (meta, pagination, _object(meta.get("pagination", _NOTHING)), top)
    for place in places:
        stated = {
            name: place[name] for name in _PAGING_FIELDS if place.get(name, _NOTHING) != _NOTHING
        }
        if stated:
            return _read_paging(stated)
    hints = (place.get(name, _NOTHING) for place in (*places, links) for name in _MORE)
    if any(bytes(hint) not in _NO_MORE for hint in hints):
        raise PayloadError("the list goes on elsewhere, in pages of a kind that is not known")
    return None


def _read_paging(stated: dict[str, Raw]) -> Paging:
    """Read the numbers of a paging."""
    for name, value in stated.items():
        try:
            _number.decode(value)
        except DECODING_ERRORS as error:
            raise PayloadError(
                f"the paging of the list cannot be read: `{name}` is not a usable whole number"
            ) from error
    return _paging.decode(msgspec.json.encode(stated))


def _object(raw: Raw) -> dict[str, Raw]:
    """Return the fields of what may be an object."""
    try:
        return _fields.decode(raw)
    except DECODING_ERRORS:
        return {}

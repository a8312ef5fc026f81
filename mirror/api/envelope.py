"""The envelope of a response: success, entries, paging, or one of three shapes of an error.

The shapes are those of the vendor's public documentation; anything not documented is optional.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from mirror.api import malformed
from mirror.api.body import BodyKind, Redactor, body_kind, first_words
from mirror.api.raw_json import (
    DECODING_ERRORS,
    NULL,
    decode_fields,
    replace_lone_surrogates,
    replace_unstorable,
)
from mirror.errors import ApiError
from mirror.text import quotable

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NO_SUCCESS = "the API reports a failure: "


class Paging(Struct, frozen=True):
    """The paging that a response states."""

    current_page: int | None = None
    last_page: int | None = None
    per_page: int | None = None
    total: int | None = None

    @property
    def pages(self) -> int | None:
        """Number of pages, as stated or computed from `total` and `per_page`; None if unknown."""
        if self.last_page is not None:
            return max(1, self.last_page)
        if self.total is not None and self.per_page:
            return max(1, -(-self.total // self.per_page))
        return 1 if self.current_page is None and self.per_page is None else None


class Page(msgspec.Struct, frozen=True):
    """A page of the list.

    Attributes:
        data: the JSON array of its entries.
        paging: its paging, if any.
    """

    data: Raw
    paging: Paging | None


class PayloadError(ApiError):
    """A body is not the documented envelope, or states a failure."""


class TruncatedPayload(PayloadError):
    """A body ends in the middle: the connection was cut where HTTP could not notice."""


class _Envelope(Struct):
    success: bool
    data: Raw
    meta: Raw = NULL
    pagination: Raw = NULL
    links: Raw = NULL
    current_page: Raw = NULL
    last_page: Raw = NULL
    per_page: Raw = NULL
    total: Raw = NULL
    next_page_url: Raw = NULL


class _ErrorEnvelope(Struct):
    success: Any = None
    error: Any = None
    message: Any = None
    code: Any = None
    errors: Any = None


_envelope = msgspec.json.Decoder(_Envelope)
_paging = msgspec.json.Decoder(Paging, strict=False)
_number = msgspec.json.Decoder(Annotated[int, Meta(ge=0)], strict=False)
_PAGING_FIELDS = Paging.__struct_fields__
_NO_NEXT_PAGE = {b"null", b"false", b'""'}
_NEXT_PAGE_FIELDS = ("next_page_url", "next_cursor", "next")


def _unredacted(text: str) -> str:
    return text


def parse_page(body: bytes | bytearray, redact: Redactor = _unredacted) -> Page:
    """Parse the envelope of a page.

    Args:
        body: the response body.
        redact: removes secrets from upstream's texts.

    Raises:
        TruncatedPayload: the JSON ends too early.
        PayloadError: it is not JSON, not the documented envelope, or `success` is not true.
    """
    if body.startswith(_BYTE_ORDER_MARK):  # removeprefix alone would always copy the body
        body = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        envelope = _decode_envelope(body)
    except DECODING_ERRORS as error:
        raise _payload_error(body, redact) from error
    if bytes(memoryview(envelope.data)[:1]) != b"[":
        raise _payload_error(body, redact)
    if not envelope.success:
        raise PayloadError(_NO_SUCCESS + error_summary(body, redact))
    return Page(envelope.data, _find_paging(envelope))


def _decode_envelope(body: bytes | bytearray) -> _Envelope:
    """Decode an envelope, also if a text in it holds a lone surrogate.

    JSON's grammar allows lone surrogates, but no database can store them, and msgspec refuses the
    whole document.
    """
    try:
        return _envelope.decode(body)
    except msgspec.DecodeError:
        repaired = replace_lone_surrogates(body)
        if repaired == body:
            raise
        return _envelope.decode(repaired)


def _payload_error(body: bytes | bytearray, redact: Redactor) -> PayloadError:
    """Return the error for a body that is not the documented envelope."""
    if not body.strip():
        return PayloadError("the response is empty")
    try:
        if malformed.is_truncated(body):
            return TruncatedPayload("the response ends in the middle of its JSON")
        if (fault := malformed.json_fault(body)) is not None:
            kind, words = body_kind(body), first_words(body, redact)
            description = f"{kind}, not JSON" + (f" ({words})" if words else "")
            if kind is BodyKind.JSON:
                description = f"not valid JSON: {fault}"
            return PayloadError(f"the response is {description}")
        with suppress(*DECODING_ERRORS):
            if message := _error_from_envelope(body, redact):
                return PayloadError(_NO_SUCCESS + message)
        # If the last value of each field is right, an earlier value of one is wrong.
        repaired = replace_lone_surrogates(body)
        fault = malformed.envelope_fault(repaired) or "a field occurs twice"
        return PayloadError(f"the response is not a list of release requests: {fault}")
    except RecursionError:
        return PayloadError(f"the response is {malformed.TOO_DEEP}")


def error_summary(body: bytes | bytearray, redact: Redactor = _unredacted) -> str:
    """Return the message of an error response, as one line of at most 500 characters.

    It can be followed by more words: a full stop at its end is left out.

    Args:
        body: the response body, or its start.
        redact: removes secrets, before the text is cut.
    """
    try:
        message = _error_from_envelope(body, redact)
    except DECODING_ERRORS:
        message = None
    if message:
        return message
    words = first_words(body, redact)
    return f"({body_kind(body)}{f': {words}' if words else ' without code or message'})"


def _error_from_envelope(body: bytes | bytearray, redact: Redactor) -> str | None:
    """Return code and message of any of the three documented shapes of an error."""
    text = replace_unstorable(body).decode("utf-8", "replace").lstrip("\ufeff")
    outer = msgspec.json.decode(text, type=_ErrorEnvelope)
    if outer.success is not False and not (outer.error or outer.errors or outer.code):
        if outer.success is None and outer.message:
            return quotable(redact(str(outer.message))) or None
        return None
    inner = outer.error if isinstance(outer.error, dict) else {"message": outer.error}
    code = inner.get("code") or outer.code
    message = inner.get("message") or outer.message
    parts = [str(part) for part in (code, message) if part]
    details = outer.errors or inner.get("details")
    if isinstance(details, dict) and details:
        parts.append(msgspec.json.encode(details).decode())
    if not parts and outer.success is False:
        return "success is false, without code or message"
    return quotable(redact(": ".join(parts))) or None


def _find_paging(envelope: _Envelope) -> Paging | None:
    """Find the paging under its two documented names, or at other places where Laravel has it.

    Raises:
        PayloadError: it is malformed, or there are more pages of an unknown kind.
    """
    meta, pagination, links = map(
        _fields_or_empty, (envelope.meta, envelope.pagination, envelope.links)
    )
    top = {name: getattr(envelope, name) for name in (*_PAGING_FIELDS, "next_page_url")}
    places = (meta, pagination, _fields_or_empty(meta.get("pagination", NULL)), top)
    for place in places:
        fields = {name: place[name] for name in _PAGING_FIELDS if place.get(name, NULL) != NULL}
        if fields:
            return _parse_paging(fields)
    links_to_next = (
        place.get(name, NULL) for place in (*places, links) for name in _NEXT_PAGE_FIELDS
    )
    if any(bytes(link) not in _NO_NEXT_PAGE for link in links_to_next):
        raise PayloadError("the list has more pages, of an unknown kind")
    return None


def _parse_paging(fields: dict[str, Raw]) -> Paging:
    for name, value in fields.items():
        try:
            _number.decode(value)
        except DECODING_ERRORS as error:
            raise PayloadError(
                f"the paging of the list is invalid: `{name}` is not a usable whole number"
            ) from error
    return _paging.decode(msgspec.json.encode(fields))


def _fields_or_empty(raw: Raw) -> dict[str, Raw]:
    """Return the fields of an object; none if it is not an object."""
    try:
        return decode_fields(raw)
    except DECODING_ERRORS:
        return {}

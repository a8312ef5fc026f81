"""The envelope of a response: success, entries, paging, or one of three shapes of an error.

The shapes are those of the vendor's public documentation; anything not documented is optional.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw, Struct

from mirror.api import malformed
from mirror.api.body import BodyKind, Redactor, body_kind, first_words
from mirror.api.entries import array_of_values
from mirror.api.paging import Continuation, Head, InvalidPaging, Paging, find_paging
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


class Page(Struct, frozen=True):
    """A page of the list.

    Attributes:
        data: the JSON array of its entries.
        paging: its paging, if any.
        continuation: what else the response says about what follows.
    """

    data: Raw
    paging: Paging | None
    continuation: Continuation = Continuation()

    @property
    def states_length(self) -> bool:
        """Whether the response says anything that its number of entries has to agree with."""
        return self.paging is not None or self.continuation.at_least > 0

    @property
    def pages(self) -> int | None:
        """Number of pages of the list; None if it is not stated."""
        if self.paging is None or (self.continuation.next_page and not self.paging.states_pages):
            return None
        return self.paging.pages


class PayloadError(ApiError):
    """A body is not the documented envelope, or states a failure."""


class TruncatedPayload(PayloadError):
    """A body ends in the middle: the connection was cut where HTTP could not notice."""


class _Envelope(Struct):
    success: bool
    data: Raw


class _ErrorEnvelope(Struct):
    success: Any = None
    error: Any = None
    message: Any = None
    code: Any = None
    errors: Any = None


_envelope = msgspec.json.Decoder(_Envelope)


def _unredacted(text: str) -> str:
    return text


def parse_page(
    body: bytes | bytearray,
    redact: Redactor = _unredacted,
    head: Head | None = None,
    number: int = 1,
) -> Page:
    """Parse the envelope of a page.

    Args:
        body: the response body.
        redact: removes secrets from upstream's texts.
        head: URL and headers of the response.
        number: of the requested page.

    Raises:
        TruncatedPayload: the JSON ends too early.
        PayloadError: it is not JSON, not the documented envelope, `success` is not true, the paging
            is malformed, it is not the first page when that was requested, or more follows in a way
            that is not known.
    """
    if body.startswith(_BYTE_ORDER_MARK):  # removeprefix alone would always copy the body
        body = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        envelope, members = _decode_envelope(body)
        data, around = _find_list(envelope.data, members)
    except DECODING_ERRORS as error:
        raise _payload_error(body, redact) from error
    if data is None:
        raise _payload_error(body, redact)
    if not envelope.success:
        raise PayloadError(_NO_SUCCESS + error_summary(body, redact))
    return _page(data, around, head or Head(), number)


def _decode_envelope(body: bytes | bytearray) -> tuple[_Envelope, dict[str, Raw]]:
    """Decode an envelope, also if a text in it holds a lone surrogate; return its members, too.

    JSON's grammar allows lone surrogates, but no database can store them, and msgspec refuses the
    whole document.
    """
    try:
        envelope = _envelope.decode(body)
    except msgspec.DecodeError:
        repaired = replace_lone_surrogates(body)
        if repaired == body:
            raise
        return _decode_envelope(repaired)
    return envelope, _other_members(body, envelope.data)


def _other_members(body: bytes | bytearray, data: Raw) -> dict[str, Raw]:
    """Decode the members beside `data`, which is cut out: it may be large."""
    view = memoryview(data)
    begin = body.find(view[:64])
    end = begin + len(view)
    if begin >= 0 and body.startswith(view, begin):
        with suppress(*DECODING_ERRORS):
            return decode_fields(body[:begin] + NULL + body[end:])
    return decode_fields(body)


def _find_list(data: Raw, members: dict[str, Raw]) -> tuple[Raw | None, dict[str, dict[str, Raw]]]:
    """Return the array of entries, None if there is none, and the members of the objects around it.

    It is `data`, or `data.data`, which is what Laravel makes of a paginator under `data`. An object
    whose keys are whole numbers is what PHP makes of a filtered list; its values are the entries.
    """
    around = {"": {name: value for name, value in members.items() if name != "data"}}
    if _is_object(data) and not (values := array_of_values(data)):
        inner = decode_fields(data)
        data = inner.pop("data", NULL)
        around = {"data.": inner} | around
    if _is_object(data) and (values := array_of_values(data)):
        data = values
    return (data if bytes(memoryview(data)[:1]) == b"[" else None), around


def _is_object(raw: Raw) -> bool:
    return bytes(memoryview(raw)[:1]) == b"{"


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
    kind, words = body_kind(body), first_words(body, redact)
    if kind is BodyKind.EMPTY:  # or none of it could be received or decompressed
        return "(no readable body)"
    return f"({kind}{f': {words}' if words else ' without code or message'})"


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
    texts = (quotable(redact(str(part))) for part in (code, message) if part)
    parts = [text for text in texts if text]
    details = outer.errors or inner.get("details")
    if isinstance(details, dict) and details:
        parts.append(msgspec.json.encode(details).decode())
    if not parts and outer.success is False:
        return "success is false, without code or message"
    return quotable(redact(": ".join(parts))) or None


def _page(data: Raw, around: dict[str, dict[str, Raw]], head: Head, number: int) -> Page:
    """Return a page with its paging.

    Raises:
        PayloadError: the paging is malformed, it is not the first page when that was requested, or
            more follows in a way that is not known.
    """
    try:
        paging, continuation = find_paging(around, head, number)
    except InvalidPaging as error:
        raise PayloadError(
            f"the paging of the list is invalid: `{error}` is not a usable whole number"
        ) from error
    page = Page(data, paging, continuation)
    if continuation.before:
        raise PayloadError(
            "page 1 was requested, but the response says that it is not the first page "
            f"({quotable(continuation.before)})"
        )
    if continuation.next_page:
        more = "the header Link" if page.pages is not None and page.pages <= number else None
    else:
        more = continuation.more if (page.pages or 1) <= number else None
    if more:
        raise PayloadError(f"the list has more pages, of an unknown kind ({quotable(more)})")
    return page

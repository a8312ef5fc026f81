"""Status and headers of a response; failures become errors."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime

import anyio

from mirror.api import network
from mirror.api.body import BodyKind, body_kind
from mirror.api.compression import iter_decompressed
from mirror.api.envelope import error_summary
from mirror.api.httpx_lite import httpx
from mirror.api.rate_limit import seconds_until
from mirror.config.settings import ApiSettings
from mirror.errors import ApiError, ApiUnavailable, MirrorError, TokenRefused
from mirror.text import one_line

_MAX_ERROR_BODY = 64 * 1024  # bytes
_SECONDS = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?s?", re.ASCII)


class RetryableError(ApiUnavailable):
    """A failure that another attempt may overcome.

    Its causes: a status that is transient, a timeout, a connection that fails or ends before the
    response is complete, and a body that cannot be decompressed.

    Args:
        message: what happened.
        reason: the same in a few words.
        wait: seconds to wait first, if the API stated them.
        is_rate_limited: it was a 429, which concerns all requests.
        may_be_rate_limited: it was a 503 that stated no wait. nginx limits rates with it (the
            default of `limit_req_status`), but it also means that a server is down.
    """

    def __init__(
        self,
        message: str,
        reason: str,
        *,
        wait: float | None = None,
        is_rate_limited: bool = False,
        may_be_rate_limited: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.wait = wait
        self.is_rate_limited = is_rate_limited
        self.may_be_rate_limited = may_be_rate_limited


def connection_error(
    settings: ApiSettings, error: Exception, status: int | None, *, responding: bool = False
) -> MirrorError:
    """Return the error for a request that has no complete response.

    Args:
        settings: base URL and limits.
        error: one of `network.FAILURES`, or a `TimeoutError`.
        status: of the last response, that of a proxy included.
        responding: whether the headers of a response had been received.

    Returns:
        A `RetryableError`, unless it would be the same again.
    """
    if isinstance(error, httpx.TimeoutException):
        seconds = f"{settings.timeout:g}"
        return RetryableError(
            f"the API at {settings.base_url} sent nothing for {seconds} seconds",
            f"the API sent nothing for {seconds} s",
        )
    reason = network.describe(error, responding=responding)
    return network.final_error(settings.base_url, error, status) or RetryableError(
        f"{network.connection_to(settings.base_url)} failed ({reason})", reason
    )


async def refuse_redirect(settings: ApiSettings, response: httpx.Response) -> None:
    """Fail on a redirect, before httpx parses its target, which may be no URL at all.

    Raises:
        ApiError: the response is a redirect.
    """
    if response.has_redirect_location:
        target = _redact_line(settings, response.headers["Location"])
        raise ApiError(
            f"the API at {settings.base_url} answered {response.status_code} and points "
            f"to {target}",
            hint="redirects are not followed, correct --base-url, or try again later if this is "
            "a maintenance page",
        )


def error_from_response(
    settings: ApiSettings, response: httpx.Response, body: bytes
) -> MirrorError:
    """Return the error for a response whose status is not 200.

    Args:
        settings: base URL and token.
        response: the response.
        body: its start, as far as it was received; the status is enough for an error without it.
    """
    status = response.status_code
    summary = error_summary(body, settings.token.redact)
    message = f"the API at {settings.base_url} answered {status}: {summary}"
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        if _is_of_another_program(response, body):
            return ApiError(
                f"{message}, which is not how the API refuses a token",
                hint="check --base-url, or ask the operator of the firewall or gateway that "
                "answered to allow this machine",
            )
        return TokenRefused(
            message,
            hint="check the token and its environment, and if it was regenerated, use the new one",
        )
    is_rate_limited = status == httpx.codes.TOO_MANY_REQUESTS
    if network.is_transient(status):
        wait = retry_after(response)
        if wait is not None:
            message += f"; it asks to wait {wait:.0f} seconds"
        return RetryableError(
            message,
            f"the API answered {status}",
            wait=wait,
            is_rate_limited=is_rate_limited,
            may_be_rate_limited=status == httpx.codes.SERVICE_UNAVAILABLE and wait is None,
        )
    if status == httpx.codes.NOT_FOUND:
        return ApiError(message, hint="check --base-url, which ends with /api/v1")
    return ApiError(message, hint="report this to the API's operator")


def _is_of_another_program(response: httpx.Response, body: bytes) -> bool:
    """Return whether a 401 or 403 is from a program in front of the API: it refused no token.

    The API sends JSON. A 403 in another form is from a firewall, for example. A 401 in another form
    still concerns the token, unless it asks for another login than by token.
    """
    kind = body_kind(body)
    if kind is BodyKind.JSON:
        return False
    if response.status_code == httpx.codes.FORBIDDEN:
        is_html = "html" in response.headers.get("Content-Type", "").lower()
        return is_html or kind in {BodyKind.HTML, BodyKind.TEXT}
    challenges = response.headers.get_list("WWW-Authenticate")
    return bool(challenges) and not any("bearer" in item.lower() for item in challenges)


async def start_of_body(settings: ApiSettings, response: httpx.Response, timeout: float) -> bytes:
    """Read as much of an error response as its summary can need.

    Args:
        settings: base URL and token.
        response: its body has not been read.
        timeout: seconds to read it.
    """
    body = b""
    with (
        anyio.move_on_after(timeout),
        suppress(*network.FAILURES, ApiError),
    ):
        async for chunk in iter_decompressed(settings, response):
            body += chunk
            if len(body) > _MAX_ERROR_BODY:
                break
    return body


def is_empty(response: httpx.Response) -> bool:
    """Return whether a body that was read is empty, and its connection was not cut.

    Args:
        response: what was read of its body is all that was received.
    """
    is_framed = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
    return is_framed and response.is_closed and not response.num_bytes_downloaded


def _redact_line(settings: ApiSettings, text: str) -> str:
    return one_line(settings.token.redact(text))


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds of `Retry-After`, in either of its forms (RFC 9110, 10.2.3).

    Numbers such as `20.0`, `20s` and a Unix time, which some servers send, are understood. Of
    several values the longest counts.

    Returns:
        None if there is no valid value, or none above 0.
    """
    now = server_time(response)
    waits = [0.0]
    for value in response.headers.get_list("Retry-After", split_commas=True):
        if number := _SECONDS.fullmatch(value):
            waits.append(seconds_until(float(number[1]), now))
        elif (date := _unix_time(value)) is not None:
            waits.append(date - now)
    return max(waits) or None


def server_time(response: httpx.Response) -> float:
    """Return the Unix time of a response by the server's clock; by our own if it states none.

    Times in a response are compared with this one, because the two clocks may differ.
    """
    date = _unix_time(response.headers.get("Date", ""))
    return time.time() if date is None else date


def _unix_time(date: str) -> float | None:
    """Return the Unix time of a date of HTTP, None if it is invalid."""
    try:
        when = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return when.replace(tzinfo=when.tzinfo or UTC).timestamp()

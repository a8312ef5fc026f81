"""HTTP requests with retries, deadline, size limit and token redaction.

`mirror.api.rate_limit` decides when a request is sent, `mirror.api.client` what the responses mean.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar
from urllib.parse import urlencode

import anyio
import stamina
import stamina.instrumentation

from mirror.api import network
from mirror.api.body import Redactor
from mirror.api.compression import COMPRESSION, UNCOMPRESSED, content_encoding, iter_decompressed
from mirror.api.connection import ResponseTrace, http_client, redacted_logs
from mirror.api.envelope import PayloadError, TruncatedPayload
from mirror.api.httpx_lite import httpx
from mirror.api.paging import Head
from mirror.api.rate_limit import LONG_WAIT, Clock, RateLimiter, parse_rate_limit_headers
from mirror.api.raw_json import is_object
from mirror.api.responses import (
    RetryableError,
    connection_error,
    error_from_response,
    is_empty,
    refuse_redirect,
    server_time,
    start_of_body,
)
from mirror.config.settings import ApiSettings
from mirror.errors import ApiError, ApiUnavailable, MirrorError
from mirror.progress import Progress

ATTEMPTS = 5

_FIRST_BACKOFF, _JITTER = 0.5, 0.5  # seconds
_HEADER_ENCODING = "latin-1"
_ABSENT = {
    httpx.codes.BAD_REQUEST,
    httpx.codes.NOT_FOUND,
    httpx.codes.GONE,
    httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE,
    httpx.codes.UNPROCESSABLE_ENTITY,
}
"""Statuses with which an API may say that it has no such page."""

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApiResponse(Generic[T]):
    """A complete response.

    Attributes:
        parsed: the parsed body.
        body: the body, decompressed.
        etag: its ETag, if any.
    """

    parsed: T
    body: bytearray
    etag: str | None


@dataclass(frozen=True, slots=True)
class _Request:
    path: str
    params: dict[str, int]
    etag: str | None = field(repr=False)
    may_be_absent: bool = False
    stop_at: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        return f"GET {self.path}?{urlencode(self.params)}"


@dataclass(slots=True, eq=False)
class _Attempt:
    """The latest attempt of a request."""

    number: int = 0
    ticket: int = 0  # of the rate limiter
    failures: int = 0  # attempts so far that count; refusals do not


class HttpSession:
    """Sends requests to the API, for one fetch.

    Args:
        settings: base URL, token and limits.
        clock: monotonic clock and waits.
        progress: counts bytes and pages; its `bytes` are the size of the list so far.

    Raises:
        UsageError: the host cannot exist in DNS, or the proxy or the certificates that the
            environment variables name are unusable.

    Attributes:
        responses: number of complete responses with content.
        bytes_received: their size, decompressed.
        rate_limiter: shared by all requests.
    """

    def __init__(self, settings: ApiSettings, clock: Clock, progress: Progress) -> None:
        self.responses = 0
        self.bytes_received = 0
        self.rate_limiter = RateLimiter(settings, clock, progress)
        self._settings = settings
        self._clock = clock
        self._progress = progress
        # stamina's default hook writes to the console; `_retry_delay` logs instead.
        stamina.instrumentation.set_on_retry_hooks(())
        self._http = http_client(settings)
        self._http.event_hooks = {"response": [partial(refuse_redirect, settings)]}

    @asynccontextmanager
    async def fetching(self) -> AsyncIterator[None]:
        """Start the time allowed for the fetch; redact the token in errors raised within."""
        self.rate_limiter.start()
        redact = self._settings.token.redact
        try:
            with redacted_logs(self._settings.token):
                async with self._http:
                    yield
        except MirrorError as error:
            # Redact the token even if the server echoes it, in any encoding.
            hint = error.hint and redact(error.hint)
            raise type(error)(redact(error.message), hint=hint) from error

    async def get_json(
        self,
        path: str,
        params: dict[str, int],
        parse: Callable[[bytearray, Redactor, Head], T],
        etag: str | None = None,
        *,
        may_be_absent: bool = False,
        stop_at: bytes = b"",
    ) -> ApiResponse[T] | None:
        """Send a GET request, with retries.

        Args:
            path: below the base URL.
            params: of the query.
            parse: parses a body, or raises `PayloadError`; its second argument redacts the token,
                its third has the URL and the headers.
            etag: of the response that is known already.
            may_be_absent: 204 is expected, and 400, 404, 410, 416 and 422 are if the body is empty
                or a JSON object: a page of the API does not exist.
            stop_at: the start of a body that is not read on; the body is then this start alone.

        Returns:
            The response, or None if its ETag is still `etag`, or it is expected to be absent.

        Raises:
            TokenRefused: the API does not accept the token.
            ApiUnavailable: the API is unreachable for now.
            ApiError: the response is unusable.
        """
        request = _Request(path, params, etag, may_be_absent, stop_at)
        latest = _Attempt()
        retry_delay = partial(self._retry_delay, request, latest)
        try:
            async for attempt in stamina.retry_context(on=retry_delay, attempts=None, timeout=None):
                with attempt:
                    latest.number = attempt.num
                    latest.ticket = await self._acquire(request)
                    try:
                        received = await self._send(latest.ticket, request)
                    finally:
                        self.rate_limiter.release(latest.ticket)
                    self.rate_limiter.on_success(latest.ticket)
                    if received is None:
                        return None
                    body, head = received
                    parsed = parse(body, self._settings.token.redact, head)
        except (RetryableError, TruncatedPayload) as error:
            tried = f" (tried {latest.number} times)" if latest.number > 1 else ""
            raise ApiUnavailable(f"{error}{tried}", hint="try again later") from error
        except PayloadError as error:
            raise ApiError(
                f"{self._settings.base_url} returned no list: {error}",
                hint="check --base-url, or ask the API's operator",
            ) from error
        finally:
            self._progress.resume(latest)
        self._progress.pages += 1
        return ApiResponse(parsed, body, head.get("ETag"))

    async def _acquire(self, request: _Request) -> int:
        """Wait for the rate limiter; log a long wait."""
        began = self._clock.now()
        ticket = await self.rate_limiter.acquire()
        waited = self._clock.now() - began
        if waited > LONG_WAIT:
            logger.debug("%s: waited %.1f s for its turn", request, waited)
        return ticket

    def _retry_delay(self, request: _Request, latest: _Attempt, error: Exception) -> bool | float:
        """Return the seconds until the next attempt, or False if there should be none."""
        if not isinstance(error, RetryableError | TruncatedPayload):
            return False
        stated = error.wait if isinstance(error, RetryableError) else None
        if isinstance(error, RetryableError) and self._is_refusal(error):
            wait = 0.0  # the rate limiter waits
            goes_on = self.rate_limiter.on_refused(latest.ticket, stated, str(error))
            next_step = "trying again more slowly" if goes_on else "slower requests do not help"
        else:
            latest.failures += 1
            jitter = random.uniform(0, _JITTER)  # noqa: S311 (no cryptography)
            wait = max(stated or 0.0, _FIRST_BACKOFF * 2 ** (latest.failures - 1) + jitter)
            in_time = wait < self.rate_limiter.deadline - self._clock.now()
            goes_on = in_time and latest.failures < ATTEMPTS
            next_step = f"trying again in {wait:.1f} s" if goes_on else "not trying again"
            reason = getattr(error, "reason", "the response is cut off")
            attempt = f"attempt {latest.failures + 1} of {ATTEMPTS}"
            self._progress.wait(latest, f"{reason}, {attempt}", seconds=wait)
        logger.debug("%s: %s; %s", request, self._settings.token.redact(str(error)), next_step)
        return wait if goes_on else False

    def _is_refusal(self, error: RetryableError) -> bool:
        """Return whether the API's rate limiter refused a request.

        Before the first response, a 503 more likely means that the API is down.
        """
        return error.is_rate_limited or (error.may_be_rate_limited and self.responses > 0)

    async def _send(self, ticket: int, request: _Request) -> tuple[bytearray, Head] | None:
        """Send a request once; return body and head, or None if nothing new is there."""
        etag, began, is_responding = request.etag, self._clock.now(), False
        trace = ResponseTrace()
        try:
            with anyio.move_on_after(self.rate_limiter.remaining_time()):
                async with self._http.stream(
                    "GET",
                    self._settings.base_url + request.path,
                    params=request.params,
                    headers=[(b"If-None-Match", etag.encode(_HEADER_ENCODING))] if etag else None,
                    timeout=self._settings.timeout,
                    extensions={"trace": trace},
                ) as response:
                    is_responding = True
                    self.rate_limiter.update_from_headers(
                        ticket, parse_rate_limit_headers(response.headers, server_time(response))
                    )
                    try:
                        received = await self._receive(request, response)
                    except MirrorError:
                        self._log_response(request, response, began)
                        raise
                    self._log_response(request, response, began)
                    return received
        except network.FAILURES as error:
            raise connection_error(
                self._settings, error, trace.status, responding=is_responding
            ) from error
        raise self.rate_limiter.deadline_error()

    def _log_response(self, request: _Request, response: httpx.Response, began: float) -> None:
        """Log a response after its body; `_retry_delay` logs incomplete ones."""
        encoding = content_encoding(response)
        logger.debug(
            "%s: %d, %s bytes%s in %.3f s",
            request,
            response.status_code,
            f"{response.num_bytes_downloaded:,}",
            "" if encoding == UNCOMPRESSED else f" ({COMPRESSION})",
            self._clock.now() - began,
        )

    async def _receive(
        self, request: _Request, response: httpx.Response
    ) -> tuple[bytearray, Head] | None:
        """Check the status and receive the body; return None if a 304 or no page was expected."""
        if response.status_code == httpx.codes.NOT_MODIFIED and request.etag:
            return None
        if response.status_code == httpx.codes.NO_CONTENT and request.may_be_absent:
            return None
        if response.status_code != httpx.codes.OK:
            timeout = min(self._settings.timeout, self.rate_limiter.remaining_time() / 2)
            body = await start_of_body(self._settings, response, timeout)
            may_be_absent = request.may_be_absent and response.status_code in _ABSENT
            if may_be_absent and (is_object(body) or is_empty(response)):
                return None
            raise error_from_response(self._settings, response, body)
        received = await self._receive_body(response, request.stop_at)
        if not received and "Content-Length" not in response.headers:
            raise RetryableError(
                f"the API at {self._settings.base_url} closed the connection before its response",
                "no response",
            )
        response.headers.encoding = _HEADER_ENCODING
        return received, Head(str(response.url), response.headers.multi_items())

    async def _receive_body(self, response: httpx.Response, stop_at: bytes) -> bytearray:
        """Receive a body within the allowed size of the list, unless it begins with `stop_at`."""
        progress, body = self._progress, bytearray()
        length = response.headers.get("Content-Length", "")
        if progress.pages_expected is None and content_encoding(response) == UNCOMPRESSED:
            # Until the number of pages is known, a body may be the whole list.
            progress.bytes_expected = progress.bytes + int(length) if length.isdecimal() else None
        try:
            async for chunk in iter_decompressed(self._settings, response):
                body += chunk
                progress.bytes += len(chunk)
                if progress.bytes > self._settings.max_bytes:
                    raise ApiError(
                        f"the list is larger than the {self._settings.max_bytes:,} bytes allowed",
                        hint="raise --max-bytes to allow it",
                    )
                if stop_at and len(body) >= len(stop_at):
                    if body.startswith(stop_at):
                        del body[len(stop_at) :]
                        break
                    stop_at = b""
            self.rate_limiter.remaining_time()  # the scope ends only what waits
        except BaseException:
            progress.bytes -= len(body)
            raise
        self.responses += 1
        self.bytes_received += len(body)
        return body

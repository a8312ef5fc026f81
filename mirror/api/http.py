"""HTTP requests with retries, deadline, size limit and token redaction.

`mirror.api.rate_limit` decides when a request is sent, `mirror.api.client` what the responses mean.
Any number of threads may send requests.
"""

from __future__ import annotations

import hashlib
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Self, TypeVar
from urllib.parse import urlencode

import stamina
import stamina.instrumentation

from mirror.api import network
from mirror.api.connection import COMPRESSION, http_client, invalid_host, redacted_logs
from mirror.api.digest import Digest
from mirror.api.envelope import PayloadError, Redactor, TruncatedPayload
from mirror.api.fetch_state import FetchState
from mirror.api.httpx_lite import httpx
from mirror.api.rate_limit import Cancelled, Clock, RateLimiter, parse_rate_limit_headers
from mirror.api.responses import (
    UNCOMPRESSED,
    RetryableError,
    content_encoding,
    error_from_response,
    iter_decompressed,
    refuse_redirect,
)
from mirror.api.sockets import OpenSockets
from mirror.config.settings import ApiSettings
from mirror.errors import ApiError, ApiUnavailable, MirrorError

ATTEMPTS = 5

_FIRST_BACKOFF, _JITTER = 0.5, 0.5  # seconds
_MAX_TIMEOUT = 1e6  # seconds; sockets accept no more than some years
_HEADER_ENCODING = "latin-1"
_LONG_WAIT = 1.0  # seconds

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Body:
    """A complete response body.

    Attributes:
        content: its bytes, decompressed.
        sha256: of the content, if requested.
    """

    content: bytearray
    sha256: hashlib._Hash | None


@dataclass(frozen=True, slots=True)
class ApiResponse(Generic[T]):
    """A complete response.

    Attributes:
        parsed: the parsed body.
        body: the body.
        etag: its ETag, if any.
    """

    parsed: T
    body: Body
    etag: str | None


@dataclass(frozen=True, slots=True)
class _Request:
    path: str
    params: dict[str, int]
    etag: str | None = field(repr=False)
    hashed: bool

    def __str__(self) -> str:
        return f"GET {self.path}?{urlencode(self.params)}"


@dataclass(slots=True)
class _Attempt:
    """The latest attempt of a request."""

    number: int = 0
    ticket: int = 0  # of the rate limiter
    next_not_before: float = 0.0  # earliest time of the next attempt, by the clock


class HttpSession:
    """Sends requests to the API; use it as a context manager, for one fetch.

    Args:
        settings: base URL, token and limits.
        clock: monotonic clock and waits.

    Raises:
        UsageError: the proxy or the certificates that the environment variables name are unusable.

    Attributes:
        responses: number of complete responses with content.
        bytes_received: their size, decompressed.
        rate_limiter: shared by all requests.
    """

    def __init__(self, settings: ApiSettings, clock: Clock) -> None:
        self.responses = 0
        self.bytes_received = 0
        self.rate_limiter = RateLimiter(settings, clock)
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._sockets = OpenSockets()
        # stamina's default hook writes to the console; `_retry_delay` logs instead.
        stamina.instrumentation.set_on_retry_hooks(())
        self._http = http_client(settings)
        self._http.event_hooks = {"response": [partial(refuse_redirect, settings)]}
        self._resources = ExitStack()

    def __enter__(self) -> Self:
        self._resources.enter_context(redacted_logs(self._settings.token))
        self._resources.callback(self._http.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """Start the time allowed for the fetch; redact the token in errors raised within."""
        self.rate_limiter.start()
        try:
            with self._sockets.closed_after(self._settings.deadline):
                yield
        except MirrorError as error:
            # Redact the token even if the server echoes it, in any encoding.
            redact = self._settings.token.redact
            hint = error.hint and redact(error.hint)
            raise type(error)(redact(error.message), hint=hint) from error

    def cancel(self, state: FetchState) -> None:
        """End each `get_json` of an attempt at once."""
        state.cancelled.set()
        self.rate_limiter.notify()
        self._sockets.close_all()

    def get_json(
        self,
        state: FetchState,
        path: str,
        params: dict[str, int],
        parse: Callable[[Body, Redactor], T],
        etag: str | None = None,
        *,
        hashed: bool = False,
    ) -> ApiResponse[T] | None:
        """Send a GET request, with retries.

        Args:
            state: of the attempt to fetch the list.
            path: below the base URL.
            params: of the query.
            parse: parses a body, or raises `PayloadError`; its second argument redacts the token.
            etag: of the response that is known already.
            hashed: whether the SHA-256 of the body is needed.

        Returns:
            The response, or None if its ETag is still `etag`.

        Raises:
            TokenRefused: the API does not accept the token.
            ApiUnavailable: the API is unreachable for now.
            ApiError: the response is unusable.
            Cancelled: the attempt was cancelled.
        """
        request, latest = _Request(path, params, etag, hashed), _Attempt()
        retry_delay = partial(self._retry_delay, latest)
        try:
            for attempt in stamina.retry_context(on=retry_delay, attempts=ATTEMPTS, timeout=None):
                with attempt:
                    latest.number = attempt.num
                    latest.ticket = self._acquire(state, request, latest.next_not_before)
                    try:
                        received = self._send(state, latest.ticket, request)
                    finally:
                        self.rate_limiter.release()
                    if received is None:
                        return None
                    body, new_etag = received
                    parsed = parse(body, self._settings.token.redact)
        except (RetryableError, TruncatedPayload) as error:
            tried = f" (tried {latest.number} times)" if latest.number > 1 else ""
            raise ApiUnavailable(f"{error}{tried}", hint="try again later") from error
        except PayloadError as error:
            raise ApiError(
                f"{self._settings.base_url} returned no list: {error}. "
                "Check --base-url, or ask the API's operator"
            ) from error
        state.add_page()
        return ApiResponse(parsed, body, new_etag)

    def _acquire(self, state: FetchState, request: _Request, not_before: float) -> int:
        """Wait for the rate limiter; log a long wait."""
        began = self._clock.now()
        ticket = self.rate_limiter.acquire(state.cancelled, not_before)
        waited = self._clock.now() - began
        if waited > _LONG_WAIT:
            logger.debug("%s: waited %.1f s for its turn", request, waited)
        return ticket

    def _retry_delay(self, latest: _Attempt, error: Exception) -> bool | float:
        """Decide whether to retry, and when.

        The rate limiter waits, because its waits can be cancelled; stamina waits 0 s.
        """
        if not isinstance(error, RetryableError | TruncatedPayload):
            return False
        wait = error.wait if isinstance(error, RetryableError) else None
        if wait is None:
            jitter = random.uniform(0, _JITTER)  # noqa: S311 (no cryptography)
            wait = _FIRST_BACKOFF * 2 ** (latest.number - 1) + jitter
        in_time = wait < self.rate_limiter.deadline - self._clock.now()
        if in_time and stamina.is_testing():
            wait = 0.0
        if isinstance(error, RetryableError) and error.is_rate_limited:
            self.rate_limiter.on_429(latest.ticket, wait, str(error))
        latest.next_not_before = self._clock.now() + wait
        next_step = (
            f"trying again in {wait:.1f} s" if in_time else "the deadline is too near to try again"
        )
        logger.debug("%s; %s", self._settings.token.redact(str(error)), next_step)
        return 0.0 if in_time else False

    def _send(
        self, state: FetchState, ticket: int, request: _Request
    ) -> tuple[Body, str | None] | None:
        """Send a request once; return body and ETag, or None for 304."""
        timeout = min(self._settings.timeout, self.rate_limiter.remaining_time(), _MAX_TIMEOUT)
        etag, began, responding = request.etag, self._clock.now(), False
        try:
            with self._http.stream(
                "GET",
                self._settings.base_url + request.path,
                params=request.params,
                headers=[(b"If-None-Match", etag.encode(_HEADER_ENCODING))] if etag else None,
                timeout=timeout,
                extensions={"trace": partial(self._sockets.track, partial(self._is_late, state))},
            ) as response:
                responding = True
                self.rate_limiter.update_from_headers(
                    ticket, parse_rate_limit_headers(response.headers, time.time())
                )
                with self._log_response(state, request, response, began):
                    return self._receive(state, response, request)
        except httpx.TimeoutException as error:
            self._check_not_cancelled_or_late(state)
            raise RetryableError(
                f"the API at {self._settings.base_url} sent nothing for {timeout:g} seconds"
            ) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            self._check_not_cancelled_or_late(state)
            raise RetryableError(
                f"the connection to {self._settings.base_url} failed "
                f"({network.describe(error, responding=responding)})"
            ) from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise invalid_host(self._settings) from error

    @contextmanager
    def _log_response(
        self, state: FetchState, request: _Request, response: httpx.Response, began: float
    ) -> Iterator[None]:
        """Log a response after its body, unless it is cancelled or incomplete.

        `_retry_delay` logs incomplete responses.
        """
        failure: MirrorError | None = None
        try:
            yield
        except MirrorError as error:
            failure = error
        if not state.cancelled.is_set():
            encoding = content_encoding(response)
            logger.debug(
                "%s: %d, %s bytes%s in %.3f s",
                request,
                response.status_code,
                f"{response.num_bytes_downloaded:,}",
                "" if encoding == UNCOMPRESSED else f" ({COMPRESSION})",
                self._clock.now() - began,
            )
        if failure is not None:
            raise failure

    def _receive(
        self, state: FetchState, response: httpx.Response, request: _Request
    ) -> tuple[Body, str | None] | None:
        """Check the status and receive the body; return None for an expected 304."""
        if response.status_code == httpx.codes.NOT_MODIFIED and request.etag:
            return None
        if response.status_code != httpx.codes.OK:
            raise error_from_response(self._settings, response)
        body = self._receive_body(state, response, hashed=request.hashed)
        if not body.content and "Content-Length" not in response.headers:
            raise RetryableError(
                f"the API at {self._settings.base_url} closed the connection before its response"
            )
        response.headers.encoding = _HEADER_ENCODING
        return body, response.headers.get("ETag")

    def _receive_body(self, state: FetchState, response: httpx.Response, *, hashed: bool) -> Body:
        """Receive a body within the allowed size and time."""
        content = bytearray()
        length = response.headers.get("Content-Length", "")
        is_stated = length.isdecimal() and content_encoding(response) == UNCOMPRESSED
        state.expect_bytes(int(length) if is_stated else None)
        try:
            with Digest() if hashed else nullcontext() as digest:
                for chunk in iter_decompressed(self._settings, response):
                    content += chunk
                    if digest is not None:
                        digest.update(chunk)
                    state.add_bytes(len(chunk))
                    self._check_not_cancelled_or_late(state)
                # A body without Content-Length also ends where the deadline closes the socket.
                self._check_not_cancelled_or_late(state)
        except BaseException:
            state.discard_bytes(len(content))
            raise
        with self._lock:
            self.responses += 1
            self.bytes_received += len(content)
        return Body(content, digest.sha256 if digest is not None else None)

    def _check_not_cancelled_or_late(self, state: FetchState) -> None:
        """Stop if the response is no longer needed, or the deadline has passed."""
        if state.cancelled.is_set():
            raise Cancelled
        self.rate_limiter.remaining_time()

    def _is_late(self, state: FetchState) -> bool:
        """Return whether a new connection is no longer needed."""
        return state.cancelled.is_set() or self._clock.now() >= self.rate_limiter.deadline

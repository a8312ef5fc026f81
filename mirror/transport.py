"""Questions and answers: one request over HTTP, and what may be spent on it.

Retries, the rate, the time-out, the deadline and the size cap are kept here, and the token is taken
out of whatever a server says. What the answers mean is known to `mirror.api`.
"""

from __future__ import annotations

import logging
import math
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import stamina
import stamina.instrumentation

from mirror import __version__, payload
from mirror.errors import ApiError, ApiUnavailable, MirrorError, TokenRefused, UsageError
from mirror.payload import TruncatedPayload
from mirror.settings import ApiSettings, Secret, is_loopback

ATTEMPTS = 5

_FIRST_WAIT, _JITTER = 0.5, 0.5
_LONGEST_PATIENCE = 1e6  # seconds; sockets take no more than some years
_FOREVER = 10**12  # minutes
_ERROR_BODY = 64 * 1024
_HEADERS = "latin-1"
_COMPRESSION = "gzip"
_LOGGERS_OF_HTTP = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """An answer that came whole.

    Attributes:
        said: what was read from its body.
        body: its bytes, decompressed.
        etag: if it had one.
    """

    said: T
    body: bytearray
    etag: str | None


class _Transient(ApiUnavailable):
    """A failure that another attempt may get over.

    Args:
        message: what happened.
        wait: seconds to wait first, if the API said so.
    """

    def __init__(self, message: str, *, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class _Redaction(logging.Filter):
    """Keeps a token that a server says back out of the logs of the HTTP libraries."""

    def __init__(self, token: Secret) -> None:
        super().__init__()
        self._token = token

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._token.redact(record.getMessage()), ()
        return True


class Transport:
    """Asks the API; use it as a context manager, for one pull.

    Args:
        settings: where the API is, and what may be spent on a pull.
        sleep: waits for a number of seconds.

    Raises:
        UsageError: the proxy or the certificates that the surroundings name cannot be used.

    Attributes:
        answers: answers with content that have come so far.
        received: bytes of them, decompressed.
    """

    def __init__(self, settings: ApiSettings, *, sleep: Callable[[float], None] = time.sleep):
        self.answers = 0
        self.received = 0
        self._settings = settings
        self._sleep = sleep
        self._size = 0
        self._made = 0
        self._ends = math.inf
        self._sent: deque[float] = deque(maxlen=settings.rate)
        self._socket: socket.socket | None = None
        # Its default hook writes to the console; `_wait` logs in its place.
        stamina.instrumentation.set_on_retry_hooks(())
        self._http = _http_client(settings)
        # Before httpx looks at where a redirect leads, which may be no URL at all.
        self._http.event_hooks = {"response": [self._refuse_redirect]}
        self._redaction = _Redaction(settings.token)

    def __enter__(self) -> Self:
        for name in _LOGGERS_OF_HTTP:
            logging.getLogger(name).addFilter(self._redaction)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()
        for name in _LOGGERS_OF_HTTP:
            logging.getLogger(name).removeFilter(self._redaction)

    @contextmanager
    def pull(self) -> Iterator[None]:
        """Let the time that is allowed begin; what is raised within does not hold the token."""
        self._ends = time.monotonic() + self._settings.deadline
        watch = threading.Timer(min(self._settings.deadline, threading.TIMEOUT_MAX), self._hang_up)
        watch.daemon = True
        watch.start()
        try:
            yield
        except MirrorError as error:
            # However a hostile server says the token back, it is not in what we say.
            raise type(error)(self._settings.token.redact(str(error))) from error
        finally:
            watch.cancel()

    def begin_reading(self) -> None:
        """Let the size that is allowed begin anew."""
        self._size = 0

    def expect(self, questions: int) -> None:
        """Give up at once if so many more questions cannot be asked in the time that is left."""
        # The number is the API's, and may be too large for a float.
        minutes = min((len(self._sent) + questions - 1) // self._settings.rate, _FOREVER)
        if self._sent[0] + 60 * minutes >= self._ends:
            raise self._too_slow()

    def ask(
        self,
        path: str,
        params: dict[str, int],
        read: Callable[[bytearray, payload.Hide], T],
        etag: str | None = None,
    ) -> Answer[T] | None:
        """Ask a question, again if that may help.

        Args:
            path: below the base URL.
            params: of the query.
            read: makes something of a body, or raises `PayloadError`; is told what hides the token.
            etag: of the answer that is known already.

        Returns:
            The answer, or None if it is the one with that `etag`.

        Raises:
            TokenRefused: the API does not accept the token.
            ApiUnavailable: the API is out of reach.
            ApiError: the API answered something that cannot be used.
        """
        try:
            for attempt in stamina.retry_context(on=self._wait, attempts=ATTEMPTS, timeout=None):
                with attempt:
                    self._made = attempt.num
                    answer = self._get(path, params, etag)
                    if answer is None:
                        return None
                    body, new_etag = answer
                    said = read(body, self._settings.token.redact)
        except (_Transient, TruncatedPayload) as error:
            tried = f" (tried {self._made} times)" if self._made > 1 else ""
            raise ApiUnavailable(f"{error}{tried}; try again later") from error
        except payload.PayloadError as error:
            raise ApiError(
                f"{self._settings.base_url} did not give the list: {error}. "
                "Check --base-url, or ask the API's operator"
            ) from error
        return Answer(said, body, new_etag)

    def _wait(self, error: Exception) -> bool | float:
        """Return how many seconds to wait before another attempt, or False if it is in vain."""
        if not isinstance(error, _Transient | TruncatedPayload):
            return False
        wait = error.wait if isinstance(error, _Transient) else None
        if wait is None:
            jitter = random.uniform(0, _JITTER)  # noqa: S311 (no cryptography)
            wait = _FIRST_WAIT * 2 ** (self._made - 1) + jitter
        worth_it = wait < self._ends - time.monotonic()
        logger.info(
            "%s; %s",
            self._settings.token.redact(str(error)),
            "trying again" if worth_it else "the deadline is too near to try again",
        )
        return wait if worth_it else False

    def _get(
        self, path: str, params: dict[str, int], known: str | None
    ) -> tuple[bytearray, str | None] | None:
        """Ask a question once; return body and ETag."""
        self._pace()
        patience = min(self._settings.timeout, self._left(), _LONGEST_PATIENCE)
        try:
            with self._http.stream(
                "GET",
                self._settings.base_url + path,
                params=params,
                headers=[(b"If-None-Match", known.encode(_HEADERS))] if known else None,
                timeout=patience,
                extensions={"trace": self._remember_socket},
            ) as response:
                return self._answer(response, known)
        except httpx.TimeoutException as error:
            self._left()
            raise _Transient(
                f"the API at {self._settings.base_url} sent nothing for {patience:g} seconds"
            ) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            self._left()
            raise _Transient(
                f"the connection to {self._settings.base_url} failed "
                f"({self._shown(str(error)) or type(error).__name__})"
            ) from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise UsageError(f"there can be no such host ({error}); check --base-url") from error

    def _answer(
        self, response: httpx.Response, known: str | None
    ) -> tuple[bytearray, str | None] | None:
        """Read an answer; None if it says that it is still the `known` one."""
        if response.status_code == httpx.codes.NOT_MODIFIED and known:
            return None
        if response.status_code != httpx.codes.OK:
            raise self._failure(response)
        body = self._body(response)
        if not body and "Content-Length" not in response.headers:
            raise _Transient(
                f"the API at {self._settings.base_url} closed the connection before its answer"
            )
        response.headers.encoding = _HEADERS
        return body, response.headers.get("ETag")

    def _body(self, response: httpx.Response) -> bytearray:
        """Read a body, within the size and the time that are allowed."""
        body = bytearray()
        for chunk in self._decompressed(response):
            body += chunk
            if self._size + len(body) > self._settings.max_bytes:
                raise ApiError(
                    f"the list is larger than the {self._settings.max_bytes:,} bytes allowed; "
                    "if it may be, raise --max-bytes"
                )
            self._left()
        self._left()  # a body without a stated length ends where `_hang_up` ended it
        self.answers += 1
        self._size += len(body)
        self.received += len(body)
        return body

    def _remember_socket(self, event: str, info: dict[str, Any]) -> None:
        """Keep the connection's socket, so that the deadline can end any wait for it."""
        if event == "connection.connect_tcp.complete":
            self._socket = info["return_value"].get_extra_info("socket")

    def _hang_up(self) -> None:
        """End what is being waited for: the deadline is over (called from another thread).

        The time-out is for silence, so a server that drips bytes could otherwise hold us for ever.
        """
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _shown(self, text: str) -> str:
        """Return what may be shown of a text of the API's: without the token, and in one line."""
        return payload.one_line(self._settings.token.redact(text))

    def _refuse_redirect(self, response: httpx.Response) -> None:
        if response.has_redirect_location:
            where = self._shown(response.headers["Location"])
            raise ApiError(
                f"the API at {self._settings.base_url} answered {response.status_code} and points "
                f"to {where}; redirects are not followed, correct --base-url"
            )

    def _failure(self, response: httpx.Response) -> MirrorError:
        """Turn an answer that is not 200 into an error that says what came and what to do."""
        status = response.status_code
        said = payload.describe_error(self._start_of_body(response), self._settings.token.redact)
        told = f"the API at {self._settings.base_url} answered {status}: {said}"
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            return TokenRefused(
                f"{told}. Check the token and its environment; if it was regenerated, use the new "
                "one"
            )
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
            wait = _retry_after(response)
            asks = "" if wait is None else f"; it asks to wait {wait:.0f} seconds"
            return _Transient(told + asks, wait=wait)
        if status == httpx.codes.NOT_FOUND:
            return ApiError(f"{told}. Check --base-url: it ends with /api/v1")
        return ApiError(f"{told}. Nothing was changed; report this to the API's operator")

    def _decompressed(self, response: httpx.Response) -> Iterator[bytes]:
        """Read a body as it comes, decompressed in steps that a few bytes cannot blow up.

        Raises:
            ApiError: it is compressed in another way than was asked for, perhaps twice.
        """
        encoding = response.headers.get("Content-Encoding", _COMPRESSION).strip().lower()
        if encoding not in {_COMPRESSION, "identity"}:
            raise ApiError(
                f"the answer is compressed as {self._shown(encoding)!r}, but {_COMPRESSION} was "
                "asked for; report this to the API's operator"
            )
        return response.iter_bytes()

    def _start_of_body(self, response: httpx.Response) -> bytes:
        """Read as much of a failed answer as its error can need."""
        body = b""
        # The status has said it all.
        with suppress(httpx.TransportError, httpx.DecodingError, ApiError):
            for chunk in self._decompressed(response):
                body += chunk
                if len(body) > _ERROR_BODY:
                    break
        return body

    def _left(self) -> float:
        """Return the seconds left for the pull, or give up."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise ApiUnavailable(
                f"the pull took longer than the {self._settings.deadline:g} seconds allowed; "
                "try again later, or raise --deadline"
            )
        return left

    def _pace(self) -> None:
        """Wait until another request is within the rate that is allowed."""
        full = len(self._sent) == self._sent.maxlen
        wait = self._sent[0] + 60 - time.monotonic() if full else 0.0
        if wait > 0:
            if wait >= self._left():
                raise self._too_slow()
            self._sleep(wait)
        self._sent.append(time.monotonic())

    def _too_slow(self) -> ApiUnavailable:
        return ApiUnavailable(
            f"at {self._settings.rate} requests a minute the list cannot be read within "
            f"{self._settings.deadline:g} seconds; raise --rate or --deadline"
        )


def _http_client(settings: ApiSettings) -> httpx.Client:
    url = urlsplit(settings.base_url)
    try:
        return httpx.Client(
            headers={
                "Authorization": f"Bearer {settings.token.reveal()}",
                "Accept": "application/json",
                "Accept-Encoding": _COMPRESSION,
                "User-Agent": f"talkover-mirror/{__version__}",
            },
            follow_redirects=False,
            # A proxy may carry https, which hides the token from it, but never plain http.
            trust_env=not is_loopback(url.hostname or ""),
            # Reading certificates takes 50 ms; where no TLS is spoken there is nothing to verify.
            verify=url.scheme == "https",
        )
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise UsageError(
            f"the proxy of HTTPS_PROXY or ALL_PROXY cannot be used ({error}); name one of the form "
            "http://host:port, or none"
        ) from error
    except OSError as error:
        raise UsageError(
            f"the certificates cannot be read ({error}); check SSL_CERT_FILE and SSL_CERT_DIR"
        ) from error


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that `Retry-After` asks for, in either of its forms (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())

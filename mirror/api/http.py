"""Questions and answers: one request over HTTP, and what may be spent on it.

Retries, the time-out, the deadline and the size cap are kept here, and the token is taken out of
whatever a server says. When a request may be sent is known to `mirror.api.rate_limit`, and what the
answers mean to `mirror.api.client`. Any number of threads may ask at once.
"""

from __future__ import annotations

import hashlib
import logging
import random
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from urllib.parse import urlencode, urlsplit

import stamina
import stamina.instrumentation

from mirror.api.digest import Digest
from mirror.api.envelope import PayloadError, Redactor, TruncatedPayload, error_summary
from mirror.api.rate_limit import Cancelled, Clock, RateLimiter, parse_rate_limit_headers
from mirror.api.sockets import OpenSockets
from mirror.config.settings import ApiSettings, Secret, is_loopback
from mirror.errors import ApiError, ApiUnavailable, MirrorError, TokenRefused, UsageError
from mirror.progress import Progress
from mirror.text import one_line
from mirror.version import __version__


@contextmanager
def _without_a_command_line() -> Iterator[None]:
    """Keep httpx from importing its own command line, which takes as long as all the rest of it.

    It does without where that cannot be imported. Whoever imports `httpx._main` later gets it.
    """
    name = "httpx._main"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the way to make an import fail
    try:
        yield
    finally:
        del sys.modules[name]


with _without_a_command_line():
    import httpx

    from mirror.api import network
    from mirror.api.envelope import PayloadError, Redactor, error_summary
    from mirror.text import one_line

ATTEMPTS = 5

_FIRST_WAIT, _JITTER = 0.5, 0.5
_LONGEST_PATIENCE = 1e6  # seconds; sockets take no more than some years
_ERROR_BODY = 64 * 1024
_HEADERS = "latin-1"
_COMPRESSION = "gzip"
_UNCOMPRESSED = "identity"
_LONG_WAIT = 1.0  # seconds
_LOGGERS_OF_HTTP = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Body:
    """A body that came whole.

    Attributes:
        content: its bytes, decompressed.
        sha256: of them, if that was asked for.
    """

    content: bytearray
    sha256: hashlib._Hash | None


@dataclass(frozen=True, slots=True)
class ApiResponse(Generic[T]):
    """An answer that came whole.

    Attributes:
        said: what was read from its body.
        body: what it came in.
        etag: if it had one.
    """

    said: T
    body: Body
    etag: str | None


class FetchState:
    """One attempt to read the list, which has several questions.

    Attributes:
        over: set when their answers are not wanted any more.
        size: bytes of the answers so far, also of those that are still coming.
    """

    def __init__(self) -> None:
        self.over = threading.Event()
        self.size = 0


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked.

    Attributes:
        path: below the base URL.
        params: of the query.
        etag: of the answer that is known already.
        hashed: the SHA-256 of the body is wanted.
    """

    path: str
    params: dict[str, int]
    etag: str | None = field(repr=False)
    hashed: bool

    def __str__(self) -> str:
        return f"GET {self.path}?{urlencode(self.params)}"


@dataclass(slots=True)
class _Tries:
    """The attempts at a question so far.

    Attributes:
        made: how many.
        turn: of the last one, among all questions.
        not_before: the next one must wait until then, by the clock.
    """

    made: int = 0
    turn: int = 0
    not_before: float = 0.0


class _Transient(ApiUnavailable):
    """A failure that another attempt may get over.

    Args:
        message: what happened.
        wait: seconds to wait first, if the API said so.
        refused: it was a 429, which is meant for all questions.
    """

    def __init__(self, message: str, *, wait: float | None = None, refused: bool = False) -> None:
        super().__init__(message)
        self.wait = wait
        self.refused = refused


class _Redaction(logging.Filter):
    """Keeps a token that a server says back out of the logs of the HTTP libraries."""

    _changing = threading.Lock()

    def __init__(self, token: Secret) -> None:
        super().__init__()
        self._token = token

    def begin(self) -> None:
        """Read what they log from now on."""
        self._change(lambda others: [*others, self])

    def end(self) -> None:
        """Read it no longer."""
        self._change(lambda others: [one for one in others if one is not self])

    def _change(self, change: Callable[[list[Any]], list[Any]]) -> None:
        """Put other lists in place: one that shrinks makes who goes through it miss a filter."""
        with self._changing:
            for name in _LOGGERS_OF_HTTP:
                theirs = logging.getLogger(name)
                theirs.filters = change(theirs.filters)

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._token.redact(record.getMessage()), ()
        return True


class HttpSession:
    """Asks the API; use it as a context manager, for one pull.

    Args:
        settings: where the API is, and what may be spent on a pull.
        clock: tells the time, and waits.
        progress: where the bytes and pages of the reading that goes on are counted.

    Raises:
        UsageError: the proxy or the certificates that the surroundings name cannot be used.

    Attributes:
        answers: answers with content that have come so far.
        received: bytes of them, decompressed.
        budget: when the next question may be asked.
    """

    def __init__(self, settings: ApiSettings, clock: Clock, progress: Progress) -> None:
        self.answers = 0
        self.received = 0
        self.budget = RateLimiter(settings, clock)
        self._settings = settings
        self._clock = clock
        self._progress = progress
        self._counting = threading.Lock()
        self._sockets = OpenSockets()
        # Its default hook writes to the console; `_again` logs in its place.
        stamina.instrumentation.set_on_retry_hooks(())
        self._http = http_client(settings)
        # Before httpx looks at where a redirect leads, which may be no URL at all.
        self._http.event_hooks = {"response": [self._refuse_redirect]}
        self._redaction = _Redaction(settings.token)

    def __enter__(self) -> Self:
        self._redaction.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()
        self._redaction.end()

    @contextmanager
    def pull(self) -> Iterator[None]:
        """Let the time that is allowed begin; what is raised within does not hold the token."""
        self.budget.begin()
        # The time-out is for silence: a server that drips bytes could otherwise hold us for ever.
        watch = threading.Timer(
            min(self._settings.deadline, threading.TIMEOUT_MAX), self._sockets.hang_up
        )
        watch.daemon = True
        watch.start()
        try:
            yield
        except MirrorError as error:
            # However a hostile server says the token back, it is not in what we say.
            redact = self._settings.token.redact
            hint = error.hint and redact(error.hint)
            raise type(error)(redact(error.message), hint=hint) from error
        finally:
            watch.cancel()

    def end(self, reading: FetchState) -> None:
        """End each `get_json` of a reading at once, wherever it has come to."""
        reading.over.set()
        self.budget.wake()
        self._sockets.hang_up()

    def get_json(
        self,
        reading: FetchState,
        path: str,
        params: dict[str, int],
        read: Callable[[Body, Redactor], T],
        etag: str | None = None,
        *,
        hashed: bool = False,
    ) -> ApiResponse[T] | None:
        """Ask a question, again if that may help.

        Args:
            reading: whose question it is.
            path: below the base URL.
            params: of the query.
            read: makes something of a body, or raises `PayloadError`; is told what hides the token.
            etag: of the answer that is known already.
            hashed: the SHA-256 of the body is wanted.

        Returns:
            The answer, or None if it is the one with that `etag`.

        Raises:
            TokenRefused: the API does not accept the token.
            ApiUnavailable: the API is out of reach.
            ApiError: the API answered something that cannot be used.
            Abandoned: the reading is over.
        """
        question, tries = _Question(path, params, etag, hashed), _Tries()
        again = partial(self._again, tries)
        try:
            for attempt in stamina.retry_context(on=again, attempts=ATTEMPTS, timeout=None):
                with attempt:
                    tries.made = attempt.num
                    tries.turn = self._wait_for_turn(reading, question, tries.not_before)
                    try:
                        answer = self._get(reading, tries.turn, question)
                    finally:
                        self.budget.done()
                    if answer is None:
                        return None
                    body, new_etag = answer
                    said = read(body, self._settings.token.redact)
        except (_Transient, TruncatedPayload) as error:
            tried = f" (tried {tries.made} times)" if tries.made > 1 else ""
            raise ApiUnavailable(f"{error}{tried}", hint="try again later") from error
        except PayloadError as error:
            raise ApiError(
                f"{self._settings.base_url} did not give the list: {error}. "
                "Check --base-url, or ask the API's operator"
            ) from error
        self._count_page(reading)
        return ApiResponse(said, body, new_etag)

    def _wait_for_turn(self, reading: FetchState, question: _Question, not_before: float) -> int:
        began = self._clock.now()
        turn = self.budget.take(reading.over, not_before)
        waited = self._clock.now() - began
        if waited > _LONG_WAIT:
            logger.debug("%s: waited %.1f s for its turn", question, waited)
        return turn

    def _again(self, tries: _Tries, error: Exception) -> bool | float:
        """Tell whether another attempt is worth it, and note how long it has to wait.

        The wait itself is the budget's, which can be woken; stamina is told to wait no time.
        """
        if not isinstance(error, _Transient | TruncatedPayload):
            return False
        wait = error.wait if isinstance(error, _Transient) else None
        if wait is None:
            jitter = random.uniform(0, _JITTER)  # noqa: S311 (no cryptography)
            wait = _FIRST_WAIT * 2 ** (tries.made - 1) + jitter
        worth_it = wait < self.budget.ends - self._clock.now()
        if worth_it and stamina.is_testing():
            wait = 0.0
        if isinstance(error, _Transient) and error.refused:
            self.budget.refused(tries.turn, wait, f"{error}; try again later")
        tries.not_before = self._clock.now() + wait
        logger.debug(
            "%s; %s",
            self._settings.token.redact(str(error)),
            f"trying again in {wait:.1f} s"
            if worth_it
            else "the deadline is too near to try again",
        )
        return 0.0 if worth_it else False

    def _get(
        self, reading: FetchState, turn: int, question: _Question
    ) -> tuple[Body, str | None] | None:
        """Ask a question once; return body and ETag."""
        patience = min(self._settings.timeout, self.budget.left(), _LONGEST_PATIENCE)
        etag, began, answering = question.etag, self._clock.now(), False
        try:
            with self._http.stream(
                "GET",
                self._settings.base_url + question.path,
                params=question.params,
                headers=[(b"If-None-Match", etag.encode(_HEADERS))] if etag else None,
                timeout=patience,
                extensions={
                    "trace": partial(self._sockets.follow, partial(self._unwanted, reading))
                },
            ) as response:
                answering = True
                self.budget.heard(turn, parse_rate_limit_headers(response.headers, time.time()))
                with self._told(reading, question, response, began):
                    return self._answer(reading, response, question)
        except httpx.TimeoutException as error:
            self._check(reading)
            raise _Transient(
                f"the API at {self._settings.base_url} sent nothing for {patience:g} seconds"
            ) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            self._check(reading)
            raise _Transient(
                f"the connection to {self._settings.base_url} failed "
                f"({network.broken(error, answering=answering)})"
            ) from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise no_such_host(self._settings) from error

    @contextmanager
    def _told(
        self, reading: FetchState, question: _Question, response: httpx.Response, began: float
    ) -> Iterator[None]:
        """Log an answer when it was read, unless it did not come whole or is not wanted any more.

        What did not come whole is told by who asks again.
        """
        failure: MirrorError | None = None
        try:
            yield
        except MirrorError as error:
            failure = error
        if not reading.over.is_set():
            logger.debug(
                "%s: %d, %s bytes%s in %.3f s",
                question,
                response.status_code,
                f"{response.num_bytes_downloaded:,}",
                f" ({_COMPRESSION})" if _encoding(response) != _UNCOMPRESSED else "",
                self._clock.now() - began,
            )
        if failure is not None:
            raise failure

    def _answer(
        self, reading: FetchState, response: httpx.Response, question: _Question
    ) -> tuple[Body, str | None] | None:
        """Read an answer; None if it says that it is still the known one."""
        if response.status_code == httpx.codes.NOT_MODIFIED and question.etag:
            return None
        if response.status_code != httpx.codes.OK:
            raise self._failure(response)
        body = self._body(reading, response, hashed=question.hashed)
        if not body.content and "Content-Length" not in response.headers:
            raise _Transient(
                f"the API at {self._settings.base_url} closed the connection before its answer"
            )
        response.headers.encoding = _HEADERS
        return body, response.headers.get("ETag")

    def _body(self, reading: FetchState, response: httpx.Response, *, hashed: bool) -> Body:
        """Read a body, within the size and the time that are allowed."""
        content = bytearray()
        self._expect(reading, response)
        with self._counted(reading, content), Digest() if hashed else nullcontext() as digest:
            for chunk in self._decompressed(response):
                content += chunk
                if digest is not None:
                    digest.update(chunk)
                self._count(reading, len(chunk))
                self._check(reading)
            self._check(reading)  # a body without a stated length ends where it is hung up on
        with self._counting:
            self.answers += 1
            self.received += len(content)
        return Body(content, digest.sha256 if digest is not None else None)

    def _expect(self, reading: FetchState, response: httpx.Response) -> None:
        """Note how large the list will be, if an answer says so before it is read.

        While it is not known whether there are more pages, one question is asked at a time.
        """
        length = response.headers.get("Content-Length", "")
        if self._progress.pages_expected is None:
            known = length.isdecimal() and _encoding(response) == _UNCOMPRESSED
            self._progress.bytes_expected = reading.size + int(length) if known else None

    @contextmanager
    def _counted(self, reading: FetchState, content: bytearray) -> Iterator[None]:
        """Take what came off the size again if it was in vain."""
        try:
            yield
        except BaseException:
            self._count(reading, -len(content))
            raise

    def _count(self, reading: FetchState, size: int) -> None:
        """Add to the size of a reading, which many threads do, within the size that is allowed."""
        with self._counting:
            reading.size += size
            if not reading.over.is_set():
                self._progress.bytes = reading.size
            too_large = size > 0 and reading.size > self._settings.max_bytes
        if too_large:
            raise ApiError(
                f"the list is larger than the {self._settings.max_bytes:,} bytes allowed",
                hint="if it may be, raise --max-bytes",
            )

    def _count_page(self, reading: FetchState) -> None:
        with self._counting:
            if not reading.over.is_set():
                self._progress.pages += 1

    def _check(self, reading: FetchState) -> None:
        """Go on only if the answer is still wanted, and there is time for it."""
        if reading.over.is_set():
            raise Cancelled
        self.budget.left()

    def _unwanted(self, reading: FetchState) -> bool:
        """Tell whether a connection for a reading comes too late."""
        return reading.over.is_set() or self._clock.now() >= self.budget.ends

    def _shown(self, text: str) -> str:
        """Return what may be shown of a text of the API's: without the token, and in one line."""
        return one_line(self._settings.token.redact(text))

    def _refuse_redirect(self, response: httpx.Response) -> None:
        if response.has_redirect_location:
            where = self._shown(response.headers["Location"])
            raise ApiError(
                f"the API at {self._settings.base_url} answered {response.status_code} and points "
                f"to {where}",
                hint="redirects are not followed, correct --base-url",
            )

    def _failure(self, response: httpx.Response) -> MirrorError:
        """Turn an answer that is not 200 into an error that says what came and what to do."""
        status = response.status_code
        said = error_summary(self._start_of_body(response), self._settings.token.redact)
        told = f"the API at {self._settings.base_url} answered {status}: {said}"
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            return TokenRefused(
                f"{told}. Check the token and its environment",
                hint="if it was regenerated, use the new one",
            )
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
            wait = _retry_after(response)
            asks = "" if wait is None else f"; it asks to wait {wait:.0f} seconds"
            refused = status == httpx.codes.TOO_MANY_REQUESTS
            return _Transient(told + asks, wait=wait, refused=refused)
        if status == httpx.codes.NOT_FOUND:
            return ApiError(f"{told}. Check --base-url: it ends with /api/v1")
        return ApiError(f"{told}. Nothing was changed", hint="report this to the API's operator")

    def _decompressed(self, response: httpx.Response) -> Iterator[bytes]:
        """Read a body as it comes, decompressed in steps that a few bytes cannot blow up.

        Raises:
            ApiError: it is compressed in another way than was asked for, perhaps twice.
        """
        encoding = _encoding(response)
        if encoding not in {_COMPRESSION, _UNCOMPRESSED}:
            raise ApiError(
                f"the answer is compressed as {self._shown(encoding)!r}, but {_COMPRESSION} was "
                "asked for",
                hint="report this to the API's operator",
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


def http_client(settings: ApiSettings) -> httpx.Client:
    """Make an HTTP client that sends the token, and to the API alone: it follows no redirect.

    Raises:
        UsageError: the proxy or the certificates that the surroundings name cannot be used.
    """
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
            # Who may ask is decided before, so nobody ever waits for a connection of the pool.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            # A proxy may carry https, which hides the token from it, but never plain http.
            trust_env=not is_loopback(url.hostname or ""),
            # Reading certificates takes 50 ms; where no TLS is spoken there is nothing to verify.
            verify=url.scheme == "https",
        )
    except OSError as error:
        wrong = "there is none" if isinstance(error, ssl.SSLError) else error.strerror
        raise UsageError(
            f"the certificates cannot be read ({wrong})",
            hint="check SSL_CERT_FILE and SSL_CERT_DIR",
        ) from error
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise UsageError(
            "the proxy of HTTPS_PROXY or ALL_PROXY, or what NO_PROXY says, cannot be used",
            hint="name a proxy of the form http://host:port, or none",
        ) from error


def no_such_host(settings: ApiSettings) -> UsageError:
    """Say that the host of the base URL is none that a name server could know."""
    host = urlsplit(settings.base_url).hostname
    return UsageError(f"there can be no host {host!r}", hint="check --base-url")


def _encoding(response: httpx.Response) -> str:
    said: str = response.headers.get("Content-Encoding", _UNCOMPRESSED)
    return said.strip().lower()


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

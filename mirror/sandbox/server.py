"""The mock API: the documented endpoints and errors over a simulation, and faults on demand."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import msgspec

from mirror.sandbox.faults import FAULTS, Fault, Page, Response
from mirror.sandbox.simulation import ApiProblem, ReleaseRequest, Simulation, iso
from mirror.sandbox.transport import HttpServer, Request

API_PREFIX = "/api/v1"
DEFAULT_TOKEN = "talq_sandbox"  # noqa: S105 (it opens nothing but this mock)

_LIST_PATH = f"{API_PREFIX}/phone-numbers/release-requests"
_MAX_PAGE = 1_000_000
_MAX_PER_PAGE = 100
_MAX_DAYS = 3650
_NO_FAULT = Fault("no fault")


@dataclass(slots=True)
class SandboxConfig:
    """How the API behaves.

    Attributes:
        token: the bearer token it accepts.
        paging: the key of the paging information in the envelope, or None for a list without pages.
        etag: send an ETag, and 304 to a matching If-None-Match.
        file: send the current content of this file as the list.
        latency: seconds that each response with the list takes.
        limit: requests for the list allowed per minute, or None for any number.
    """

    token: str = DEFAULT_TOKEN
    paging: Literal["meta", "pagination"] | None = None
    etag: bool = False
    file: Path | None = None
    latency: float = 0.0
    limit: int | None = None


class Sandbox:
    """Serves a simulation over HTTP on a loopback port.

    Args:
        upstream: the simulation.
        config: how the API behaves; may be changed while it runs.
        port: 0 for any free one.

    Attributes:
        request_log: path and query of each request so far.
    """

    def __init__(
        self, upstream: Simulation, config: SandboxConfig | None = None, port: int = 0
    ) -> None:
        self.upstream = upstream
        self.config = config or SandboxConfig()
        self.request_log: list[str] = []
        self._lock = threading.Lock()
        self._entries_cache: tuple[tuple[datetime, int], list[bytes]] | None = None
        self._file = _CachedFile()
        self._etag_cache = (b"", "")
        self._generation = 0
        self._fault: str | None = None
        self._faults_left: int | None = None
        self._window_ends, self._used = 0.0, 0
        self._closed = threading.Event()
        self._server = HttpServer(port, self._respond)

    @property
    def base_url(self) -> str:
        """The base URL to give to `mirror`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{API_PREFIX}"

    def close(self) -> None:
        """Release the port."""
        self._closed.set()
        self._server.server_close()

    @contextmanager
    def running(self) -> Iterator[Sandbox]:
        """Serve in a background thread while the context lasts, then release the port."""
        thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        try:
            thread.start()
            try:
                yield self
            finally:
                self._server.shutdown()
                thread.join()
        finally:
            self.close()

    def advance(self, days: float) -> None:
        """Advance the clock of the simulation."""
        with self._lock:
            self._advance(days)

    def invalidate(self) -> None:
        """Discard the cached list, after the simulation was changed directly."""
        with self._lock:
            self._generation += 1

    def set_fault(self, fault: str | None, times: int | None = None) -> None:
        """Inject a fault into responses with the list.

        Args:
            fault: a name in `FAULTS`, or None for no fault.
            times: the number of faulty responses; None for all from now on.

        Raises:
            ValueError: there is no such fault, or it would not show; the message says why.
        """
        with self._lock:
            self._set_fault(fault, times)

    # The methods below run with the lock held, apart from `_respond`.

    def _set_fault(self, fault: str | None, times: int | None) -> None:
        if fault is not None:
            if fault not in FAULTS:
                raise ValueError(f"there is no fault {fault!r}")
            if FAULTS[fault].needs_pages and self.config.paging is None:
                raise ValueError(f"the fault {fault!r} shows only in a list that comes in pages")
            if self.config.file is not None and FAULTS[fault].response is None:
                raise ValueError(f"the fault {fault!r} does not show in a list given by a file")
            if times is not None and times < 1:
                raise ValueError("a fault shows at least once")
        self._fault, self._faults_left = fault, times

    def _advance(self, days: float) -> None:
        self.upstream.advance(days)
        self._generation += 1

    def _respond(self, request: Request) -> Response:
        """Return the response to a request; concurrent requests wait for the latency together."""
        self.request_log.append(request.target)
        with self._lock:
            try:
                response = self._route(request)
            except ApiProblem as problem:
                response = _error(problem)
        if self.config.latency and request.path == _LIST_PATH:
            self._closed.wait(self.config.latency)
        return response

    def _route(self, request: Request) -> Response:
        for method, pattern, endpoint in _ENDPOINTS:
            if request.method == method and (match := pattern.fullmatch(request.path)):
                if endpoint is not Sandbox._get_health:
                    self._check_token(request)
                return endpoint(self, request, *match.groups())
        raise ApiProblem(HTTPStatus.NOT_FOUND, "NOT_FOUND", "There is nothing here")

    def _check_token(self, request: Request) -> None:
        authorization = request.headers.get("Authorization", "")
        if not hmac.compare_digest(authorization.encode(), f"Bearer {self.config.token}".encode()):
            raise ApiProblem(
                HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "The token is missing or not valid"
            )

    # Documented endpoints

    def _get_health(self, _request: Request) -> Response:
        return Response(HTTPStatus.OK, b'{"status":"ok"}')

    def _request_release(self, request: Request, phone_number_id: str) -> Response:
        body = _json_object(request.body)
        made = self.upstream.request_release(phone_number_id, body.get("reason"))
        return self._changed(HTTPStatus.CREATED, made)

    def _cancel(self, _request: Request, request_id: str) -> Response:
        return self._changed(HTTPStatus.OK, self.upstream.cancel(request_id))

    def _changed(self, status: HTTPStatus, request: ReleaseRequest) -> Response:
        self._generation += 1
        return _success(request.payload(self.upstream.now), status)

    def _get_list(self, request: Request) -> Response:
        headers = self._count_request(self.config.limit) if self.config.limit else {}
        if "Retry-After" in headers:
            response = _error(
                ApiProblem(HTTPStatus.TOO_MANY_REQUESTS, "RATE_LIMITED", "Too many requests")
            )
        else:
            response = self._list_response(request)
        return replace(response, headers=headers | response.headers)

    def _count_request(self, limit: int) -> dict[str, str]:
        """Count a request against the limit, as Laravel does, and return its headers.

        A window of a minute begins with the first request after the last window. Refused requests
        are not counted.
        """
        now = time.monotonic()
        if now >= self._window_ends:
            self._window_ends, self._used = now + 60, 0
        seconds_left = math.ceil(self._window_ends - now)
        is_refused = self._used >= limit
        self._used += not is_refused
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - self._used)),
            "X-RateLimit-Reset": str(math.ceil(time.time()) + seconds_left),
        } | ({"Retry-After": str(seconds_left)} if is_refused else {})

    def _list_response(self, request: Request) -> Response:
        fault = FAULTS[self._fault] if self._fault else _NO_FAULT
        response = self._with_etag(request, self._list_body(request, fault))
        if fault.response is not None:
            response = fault.response(response, request.headers.get("Authorization", ""))
        if self._faults_left is not None:
            self._faults_left -= 1
            if not self._faults_left:
                self._fault = self._faults_left = None
        return response

    def _with_etag(self, request: Request, body: bytes) -> Response:
        if not self.config.etag:
            return Response(HTTPStatus.OK, body)
        if self._etag_cache[0] is not body:
            self._etag_cache = body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        etag = self._etag_cache[1]
        if request.headers.get("If-None-Match") == etag:
            return Response(HTTPStatus.NOT_MODIFIED, b"", {"ETag": etag})
        return Response(HTTPStatus.OK, body, {"ETag": etag})

    def _list_body(self, request: Request, fault: Fault) -> bytes:
        if self.config.file is not None:
            return self._file.read(self.config.file)
        entries = self._entries()
        if fault.entries is not None:
            entries = fault.entries(entries, len(self.request_log))
        if self.config.paging is None:
            return b'{"success":true,"data":[%s]}' % b",".join(entries)
        number = _query_number(request, "page", 1, _MAX_PAGE)
        per_page = _query_number(request, "per_page", 15, _MAX_PER_PAGE)
        paging = {
            "current_page": number,
            "per_page": per_page,
            "total": len(entries),
            "last_page": max(1, -(-len(entries) // per_page)),
        }
        page = Page(entries[(number - 1) * per_page : number * per_page], paging)
        if fault.page is not None:
            page = fault.page(page)
        return b'{"success":true,"data":[%s],"%s":%s}' % (
            b",".join(page.entries),
            self.config.paging.encode(),
            msgspec.json.encode(page.paging),
        )

    def _entries(self) -> list[bytes]:
        """Return the entries of the list as JSON, encoded anew only after a change."""
        key = (self.upstream.now, self._generation)
        if self._entries_cache is None or self._entries_cache[0] != key:
            entries = [msgspec.json.encode(entry) for entry in self.upstream.list_payload()]
            self._entries_cache = (key, entries)
        return self._entries_cache[1]

    # Endpoints of the sandbox itself

    def _get_state(self, _request: Request) -> Response:
        now = self.upstream.now
        statuses = [request.status(now) for request in self.upstream.requests.values()]
        return _success(
            {
                "now": iso(now),
                "requests": len(statuses),
                "by_status": {status: statuses.count(status) for status in sorted(set(statuses))},
                "fault": self._fault and {"name": self._fault, "times": self._faults_left},
            }
        )

    def _post_advance(self, request: Request) -> Response:
        days = _json_object(request.body).get("days", 1)
        if isinstance(days, bool) or not isinstance(days, int | float) or not 0 < days <= _MAX_DAYS:
            raise _invalid("days must be a number > 0")
        self._advance(days)
        return self._get_state(request)

    def _post_fault(self, request: Request) -> Response:
        body = _json_object(request.body)
        name, times = body.get("name"), body.get("times")
        if name is not None and not isinstance(name, str):
            raise _invalid("name must be that of a fault, or null")
        if times is not None and (isinstance(times, bool) or not isinstance(times, int)):
            raise _invalid("times must be a whole number, or null")
        try:
            self._set_fault(name, times)
        except ValueError as error:
            raise _invalid(str(error)) from error
        return self._get_state(request)


_ENDPOINTS: list[tuple[str, re.Pattern[str], Callable[..., Response]]] = [
    (method, re.compile(API_PREFIX + path), endpoint)
    for method, path, endpoint in (
        ("GET", "/health", Sandbox._get_health),
        ("GET", "/phone-numbers/release-requests", Sandbox._get_list),
        ("POST", "/phone-numbers/([^/]+)/request-release", Sandbox._request_release),
        ("DELETE", "/phone-numbers/release-requests/([^/]+)", Sandbox._cancel),
        ("GET", "/sandbox", Sandbox._get_state),
        ("POST", "/sandbox/advance", Sandbox._post_advance),
        ("POST", "/sandbox/fault", Sandbox._post_fault),
    )
]


def _success(data: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(status, msgspec.json.encode({"success": True, "data": data}))


def _error(problem: ApiProblem) -> Response:
    return Response(problem.status, msgspec.json.encode(problem.body))


def _invalid(message: str) -> ApiProblem:
    return ApiProblem(HTTPStatus.UNPROCESSABLE_ENTITY, "VALIDATION_ERROR", message)


def _query_number(request: Request, name: str, default: int, maximum: int) -> int:
    """Return a positive whole number of the query, or refuse it as the API does."""
    text = request.query.get(name, [str(default)])[0]
    if text.isdecimal() and len(text) <= len(str(maximum)) and 1 <= int(text) <= maximum:
        return int(text)
    raise ApiProblem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "VALIDATION_ERROR",
        "The given data was invalid",
        errors={name: [f"The {name} must be between 1 and {maximum}"]},
    )


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decoded = None
    if isinstance(decoded, dict):
        return decoded
    raise ApiProblem(HTTPStatus.BAD_REQUEST, "BAD_REQUEST", "The body is not a JSON object")


class _CachedFile:
    """The content of a file, read again only after a change, so that a large list is sent fast."""

    def __init__(self) -> None:
        self._key: tuple[int, ...] | None = None
        self._content = b""

    def read(self, path: Path) -> bytes:
        """Return the current content."""
        try:
            status = path.stat()
            key = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
            if key != self._key:
                self._content = path.read_bytes()
                # File times are coarse: a second change within a second may leave no trace.
                self._key = key if time.time() - status.st_mtime > 1 else None
        except OSError as error:
            raise ApiProblem(
                HTTPStatus.INTERNAL_SERVER_ERROR, "SERVER_ERROR", f"{path}: {error.strerror}"
            ) from error
        return self._content

"""A look at the API, without reading the list: is it there, and does it take the token."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial

import httpx

from mirror.api import network
from mirror.api.client import LIST_PATH
from mirror.api.http import http_client, no_such_host
from mirror.api.sockets import OpenSockets
from mirror.config.settings import ApiSettings
from mirror.errors import ApiError, ApiUnavailable, TokenRefused

HEALTH_PATH = "/health"
"""Needs no token, and is exempt from the rate limit, says the vendor's documentation."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """An answer of the API, without its body.

    Attributes:
        status: of HTTP.
        seconds: how long its head took.
        skew: how much this machine's clock is ahead of the API's, to half a second and half of
            `seconds`; None if the API does not say what time it is.
        limit: requests a minute that it allows, as it says; None if it does not.
        is_json: whether it says that its body is JSON.
    """

    status: int
    seconds: float
    skew: timedelta | None
    limit: str | None
    is_json: bool


def check_health(settings: ApiSettings, now: Callable[[], datetime]) -> ProbeResult:
    """Ask whether the API is there.

    Args:
        settings: how to talk to it.
        now: this machine's clock, UTC.

    Raises:
        ApiUnavailable: nobody answers.
    """
    return _look(settings, HEALTH_PATH, now)


def check_token(settings: ApiSettings, now: Callable[[], datetime]) -> ProbeResult:
    """Ask for the list, without reading it, to see whether the token is accepted.

    Raises:
        TokenRefused: it is not.
        ApiUnavailable: nobody answers, or not for now.
        ApiError: the answer is not that of the API.
    """
    seen = _look(settings, LIST_PATH, now)
    where = f"the API at {settings.base_url}"
    if seen.status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        raise TokenRefused(
            f"{where} answered {seen.status}",
            hint="check the token and its environment, and if it was regenerated, use the new one",
        )
    if seen.status == httpx.codes.TOO_MANY_REQUESTS or seen.status >= 500:
        raise ApiUnavailable(f"{where} answered {seen.status}", hint="try again later")
    if seen.status != httpx.codes.OK or not seen.is_json:
        what = "something else than JSON" if seen.status == httpx.codes.OK else seen.status
        raise ApiError(f"{where} answered {what}", hint="check --base-url, which ends with /api/v1")
    return seen


def _look(settings: ApiSettings, path: str, now: Callable[[], datetime]) -> ProbeResult:
    patience = min(settings.timeout, settings.deadline)
    with _translated(settings), http_client(settings) as client, _within(patience) as sockets:
        asked_at, began = now(), time.monotonic()
        with client.stream(
            "GET",
            settings.base_url + path,
            params={"page": 1, "per_page": 1} if path == LIST_PATH else None,
            timeout=patience,
            extensions={"trace": partial(sockets.follow, lambda: False)},
        ) as response:
            seconds = time.monotonic() - began
            middle = asked_at + timedelta(seconds=seconds / 2)
            kind = response.headers.get("Content-Type", "")
            limit = response.headers.get("X-RateLimit-Limit") or response.headers.get(
                "RateLimit-Limit"
            )
            return ProbeResult(
                status=response.status_code,
                seconds=seconds,
                skew=_skew(response.headers.get("Date", ""), middle),
                limit=limit if limit and limit.isdecimal() else None,
                is_json="json" in kind.lower(),
            )


@contextmanager
def _within(seconds: float) -> Iterator[OpenSockets]:
    """Hang up after some time: the time-out is for silence, and a head may come in drips."""
    sockets, late = OpenSockets(), threading.Event()

    def end() -> None:
        late.set()
        sockets.hang_up()

    watch = threading.Timer(min(seconds, threading.TIMEOUT_MAX), end)
    watch.daemon = True
    watch.start()
    try:
        yield sockets
    except httpx.TransportError as error:
        if late.is_set():
            raise httpx.ReadTimeout("it was hung up on") from error
        raise
    finally:
        watch.cancel()


@contextmanager
def _translated(settings: ApiSettings) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise ApiUnavailable(
            f"the API at {settings.base_url} cannot be reached ({network.broken(error)})",
            hint="check --base-url, the network and its proxies",
        ) from error
    except (httpx.InvalidURL, UnicodeError) as error:
        raise no_such_host(settings) from error


def _skew(date: str, here: datetime) -> timedelta | None:
    """Return how much a clock is ahead of a `Date` header, which is cut to the second."""
    try:
        there = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    if there.tzinfo is None:
        there = there.replace(tzinfo=UTC)
    return here - there - timedelta(seconds=0.5)

"""Checks the API and the token without reading the list."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial

import anyio

from mirror.api import network
from mirror.api.client import LIST_PATH, page_params
from mirror.api.connection import ResponseTrace, http_client
from mirror.api.event_loop import run
from mirror.api.httpx_lite import httpx
from mirror.api.responses import (
    RetryableError,
    connection_error,
    error_from_response,
    refuse_redirect,
    start_of_body,
)
from mirror.config.settings import ApiSettings
from mirror.errors import ApiUnavailable

HEALTH_PATH = "/health"
"""Needs no token and is exempt from the rate limit, according to the vendor's documentation."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A response of the API, without its body.

    Attributes:
        status: HTTP status.
        seconds: time until its headers were received.
        skew: how far this machine's clock is ahead of the API's, accurate to half a second plus
            half of `seconds`; None if the API does not state its time.
        limit: requests allowed per minute, as stated; None if not stated.
        is_json: whether its content type is JSON.
    """

    status: int
    seconds: float
    skew: timedelta | None
    limit: str | None
    is_json: bool


_MORE_TIME = 1.0
"""Seconds by which dripping headers may take longer than silence, which is another finding."""


def check_health(settings: ApiSettings, now: Callable[[], datetime]) -> ProbeResult:
    """Check whether the API responds.

    Args:
        settings: base URL, token and limits.
        now: this machine's clock, UTC.

    Raises:
        ApiUnavailable: it does not.
    """
    return _probe(settings, HEALTH_PATH, now)


def check_token(settings: ApiSettings, now: Callable[[], datetime]) -> ProbeResult:
    """Check whether the API accepts the token: request the list without reading it.

    Args:
        settings: base URL, token and limits.
        now: this machine's clock, UTC.

    Raises:
        TokenRefused: it does not.
        ApiUnavailable: it is unreachable, or refuses requests for now.
        ApiError: the response is an error.
    """
    return _probe(settings, LIST_PATH, now)


def _probe(settings: ApiSettings, path: str, now: Callable[[], datetime]) -> ProbeResult:
    trace = ResponseTrace()
    try:
        return run(partial(_send, settings, path, now, trace))
    except RetryableError as error:
        raise ApiUnavailable(error.message, hint="try again later") from error
    except (TimeoutError, *network.FAILURES) as error:
        failure = connection_error(settings, error, trace.status)
        if isinstance(failure, RetryableError):
            hint = "check --base-url, the network and its proxies"
            failure = ApiUnavailable(failure.message, hint=hint)
        raise failure from error


async def _send(
    settings: ApiSettings, path: str, now: Callable[[], datetime], trace: ResponseTrace
) -> ProbeResult:
    """Send a request; for the list, fail as a sync does unless the status is 200."""
    timeout = min(settings.timeout, settings.deadline)
    is_list = path == LIST_PATH
    client = http_client(settings)
    if is_list:
        client.event_hooks = {"response": [partial(refuse_redirect, settings)]}
    # The time-out of httpx is for silence, not for dripping bytes.
    with anyio.fail_after(timeout + _MORE_TIME):
        sent_at, began = now(), time.monotonic()
        async with (
            client,
            client.stream(
                "GET",
                settings.base_url + path,
                params=page_params(1) if is_list else None,
                timeout=timeout,
                extensions={"trace": trace},
            ) as response,
        ):
            seconds, headers = time.monotonic() - began, response.headers
            if is_list and response.status_code != httpx.codes.OK:
                body = await start_of_body(settings, response, timeout / 2)
                raise error_from_response(settings, response, body)
            limit = headers.get("X-RateLimit-Limit") or headers.get("RateLimit-Limit")
            return ProbeResult(
                status=response.status_code,
                seconds=seconds,
                skew=_skew(headers.get("Date", ""), sent_at + timedelta(seconds=seconds / 2)),
                limit=limit if limit and limit.isdecimal() else None,
                is_json="json" in headers.get("Content-Type", "").lower(),
            )


def _skew(date: str, local: datetime) -> timedelta | None:
    """Return how far a local time is ahead of a `Date` header, which is cut to the second."""
    try:
        remote = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    if remote.tzinfo is None:
        remote = remote.replace(tzinfo=UTC)
    return local - remote - timedelta(seconds=0.5)

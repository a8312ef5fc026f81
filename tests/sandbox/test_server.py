"""The mock API: it responds as documented, and its faults and limits show as configured."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from mirror.api.client import Client, FetchedList
from mirror.api.envelope import error_summary
from mirror.config.settings import ApiSettings, Secret
from mirror.sandbox.faults import FAULTS
from mirror.sandbox.server import DEFAULT_TOKEN, Sandbox, SandboxConfig
from tests.support.fake_clock import FakeClock
from tests.support.simulations import (
    REASON,
    RESOLVED,
    START,
    list_at,
    phone_number_id,
    request_id,
    simulation,
)

LIST = "/phone-numbers/release-requests"
ENDPOINTS = [
    ("GET", LIST),
    ("POST", "/phone-numbers/some-number/request-release"),
    ("DELETE", f"{LIST}/some-request"),
    ("GET", "/sandbox"),
    ("POST", "/sandbox/advance"),
    ("POST", "/sandbox/fault"),
]


@pytest.fixture(scope="module")
def _server() -> Iterator[Sandbox]:
    with Sandbox(simulation(count=0)).running() as running:
        yield running


@pytest.fixture
def sandbox(_server: Sandbox) -> Sandbox:
    """A sandbox as it is right after its start."""
    _server.upstream = simulation()
    _server.config = SandboxConfig()
    _server.set_fault(None)
    _server.request_log.clear()
    _server._window_ends = 0.0
    _server.invalidate()
    return _server


@pytest.fixture(scope="module")
def _client(_server: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=_server.base_url, trust_env=False) as client:
        yield client


@pytest.fixture
def api(sandbox: Sandbox, _client: httpx.Client) -> httpx.Client:
    """A client of the sandbox, with its token."""
    _client.headers["Authorization"] = f"Bearer {DEFAULT_TOKEN}"
    return _client


def data(response: httpx.Response, status: int = 200) -> Any:
    """The data of a response, which must be a success of the documented form."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    body = response.json()
    assert body["success"] is True
    return body["data"]


def assert_error(response: httpx.Response, status: int, code: str) -> None:
    """Check that a response is a documented error of the flat form, with a message."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    body = response.json()
    assert (body["success"], body["code"]) == (False, code)
    assert body["message"]
    assert error_summary(response.content) == f"{code}: {body['message']}"


def assert_invalid(response: httpx.Response, field: str) -> None:
    """Check that a response is a documented error of validation, about one field."""
    assert response.status_code == 422, response.text
    body = response.json()
    assert body["success"] is False
    assert body["message"]
    assert list(body["errors"]) == [field]
    assert all(isinstance(text, str) for text in body["errors"][field])


def request_release(api: httpx.Client, number: str, **body: object) -> httpx.Response:
    """Request the release of a number, with a valid reason unless a body is given."""
    return api.post(f"/phone-numbers/{number}/request-release", json=body or {"reason": REASON})


# Latency and limit


def test_only_the_list_is_slow(
    sandbox: Sandbox, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each response with the list takes the latency, and other requests do not wait for it."""
    waits: list[float] = []
    others: list[int] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        others.append(data(api.get("/sandbox"))["requests"])

    monkeypatch.setattr(sandbox._closed, "wait", wait)
    sandbox.config.latency = 3600.0
    assert len(data(api.get(LIST))) == 300
    assert httpx.get(sandbox.base_url + "/health", trust_env=False).status_code == 200
    assert (waits, others) == ([3600.0], [300])


class Time:
    """A replacement for the module `time`."""

    passed = 0.0

    def monotonic(self) -> float:
        """Return seconds since some moment."""
        return 5000 + self.passed

    def time(self) -> float:
        """Return the Unix time."""
        return 1_700_000_000 + self.passed


def rate_headers(response: httpx.Response) -> tuple[int, ...]:
    """The rate limit headers of a response: limit, remaining, reset."""
    return tuple(
        int(response.headers[f"X-RateLimit-{name}"]) for name in ("Limit", "Remaining", "Reset")
    )


def test_the_limit_is_announced_and_enforced(
    sandbox: Sandbox, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each response with the list has the remaining requests; beyond them it is 429."""
    clock = Time()
    monkeypatch.setattr("mirror.sandbox.server.time", clock)
    sandbox.config.limit = 3
    for remaining in (2, 1, 0):
        response = api.get(LIST)
        data(response)
        assert rate_headers(response) == (3, remaining, 1_700_000_060)
        assert "Retry-After" not in response.headers
    clock.passed = 20.5
    for _ in range(2):
        response = api.get(LIST)
        assert_error(response, 429, "RATE_LIMITED")
        assert rate_headers(response)[:2] == (3, 0)
        assert response.headers["Retry-After"] == "40"
    assert "X-RateLimit-Limit" not in api.get("/sandbox").headers
    clock.passed = 60
    response = api.get(LIST)
    data(response)
    assert rate_headers(response) == (3, 2, 1_700_000_120)


def test_the_client_keeps_to_the_announced_limit(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull of more pages than a minute allows waits for the next minute, and is never refused."""
    clock = FakeClock()

    class Now(Time):
        @property
        def passed(self) -> float:  # type: ignore[override]
            """Seconds that the client has waited."""
            return clock.time - 1_000_000

    for module in ("mirror.sandbox.server", "http.server"):  # the latter sends `Date`
        monkeypatch.setattr(f"{module}.time", Now())
    # A clock that jumps would not wait for what others have sent already.
    monkeypatch.setattr("mirror.api.client.concurrency_for_rate", lambda _: 1)
    sandbox.config.limit, sandbox.config.paging = 4, "meta"
    sandbox.upstream = simulation(count=850)
    settings = ApiSettings(sandbox.base_url, Secret(DEFAULT_TOKEN), rate=1000)
    client = Client(settings, clock)
    fetched = client.fetch_list()
    assert isinstance(fetched, FetchedList)
    assert (fetched.scan.count, client.pages, len(sandbox.request_log)) == (850, 9, 9)
    assert sum(clock.waits) == 120


# Health and token

TOKENS = [
    None, "", "Bearer", "Bearer wrong", f"Bearer {DEFAULT_TOKEN}x", f"Bearer {DEFAULT_TOKEN[:-1]}",
    f"Token {DEFAULT_TOKEN}", DEFAULT_TOKEN, "Bearer tälq",
]  # fmt: skip


def test_all_endpoints_but_health_need_the_token(sandbox: Sandbox, api: httpx.Client) -> None:
    """Without the current token the response is 401 in the nested form, and nothing changes."""
    before = list_at(sandbox.upstream)
    del api.headers["Authorization"]
    for token in TOKENS:
        headers = [] if token is None else [(b"Authorization", token.encode())]
        response = api.get("/health", headers=headers)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
        for method, path in ENDPOINTS:
            response = api.request(method, path, headers=headers)
            assert response.status_code == 401, (token, path)
            body = response.json()
            assert (body["success"], body["error"]["code"]) == (False, "UNAUTHORIZED")
            assert body["error"]["message"]
    assert list_at(sandbox.upstream) == before
    assert sandbox.upstream.now == START
    old, new = ({"Authorization": f"Bearer {token}"} for token in (DEFAULT_TOKEN, "talq_new"))
    assert [api.get(LIST, headers=headers).status_code for headers in (old, new)] == [200, 401]
    sandbox.config.token = "talq_new"
    assert [api.get(LIST, headers=headers).status_code for headers in (old, new)] == [401, 200]


def test_other_paths_and_methods_are_not_found(api: httpx.Client) -> None:
    """Any other path or method is 404, in the documented form."""
    for method, path in (
        ("GET", "/"), ("GET", "/phone-numbers"), ("GET", f"{LIST}/"), ("GET", f"{LIST}/one"),
        ("POST", LIST), ("DELETE", LIST), ("POST", "/health"), ("GET", "/sandbox/advance"),
    ):  # fmt: skip
        assert_error(api.request(method, path), 404, "NOT_FOUND")


# The list


def test_the_list_without_pages(sandbox: Sandbox, api: httpx.Client) -> None:
    """Without paging all requests come in one response, whatever page is requested."""
    response = api.get(LIST)
    assert data(response) == list_at(sandbox.upstream)
    assert list(response.json()) == ["success", "data"]
    assert "ETag" not in response.headers
    queries = ("?page=2&per_page=10", "?page=0", "?per_page=1000")
    for query in queries:
        assert api.get(LIST + query).content == response.content
    assert sandbox.request_log == [f"/api/v1{LIST}{query}" for query in ("", *queries)]


KEYS: tuple[Literal["meta", "pagination"], ...] = ("meta", "pagination")


@pytest.mark.parametrize("key", KEYS)
def test_the_list_in_pages(
    sandbox: Sandbox, api: httpx.Client, key: Literal["meta", "pagination"]
) -> None:
    """The pages together are the list; the first is the default, one beyond the end empty."""
    sandbox.config.paging = key
    for count, per_page, pages in ((7, 3, 3), (0, 100, 1), (300, 100, 3)):
        sandbox.upstream = simulation(count=count)
        sandbox.invalidate()
        listed = []
        for page in range(1, pages + 2):
            response = api.get(LIST, params={"page": page, "per_page": per_page})
            entries = data(response)
            listed += entries
            assert list(response.json()) == ["success", "data", key]
            assert response.json()[key] == {
                "current_page": page,
                "per_page": per_page,
                "total": count,
                "last_page": pages,
            }
        assert entries == []
        assert listed == list_at(sandbox.upstream)
        assert len(listed) == count
    response = api.get(LIST)
    paging = response.json()[key]
    assert paging["current_page"] == 1
    assert len(data(response)) == paging["per_page"] < paging["total"] == 300


def test_invalid_pages(sandbox: Sandbox, api: httpx.Client) -> None:
    """Pages begin at 1 and hold 1 to 100 entries; anything else is an error of validation."""
    sandbox.config.paging = "meta"
    for value in ("0", "101", "-1", "1.5", "many", "²"):
        assert_invalid(api.get(LIST, params={"per_page": value}), "per_page")
    for value in ("0", "-1", "one", "9" * 30, "9" * 5000):
        assert_invalid(api.get(LIST, params={"page": value}), "page")


@pytest.mark.parametrize("paging", [None, "meta"])
def test_etag(sandbox: Sandbox, api: httpx.Client, paging: Literal["meta"] | None) -> None:
    """A response that did not change has the same ETag and is not sent twice; another one is."""
    sandbox.config.etag = True
    sandbox.config.paging = paging
    first = api.get(LIST)
    etag = first.headers["ETag"]
    second = api.get(LIST, headers={"If-None-Match": etag})
    assert (second.status_code, second.content, second.headers["ETag"]) == (304, b"", etag)
    other = api.get(LIST, headers={"If-None-Match": '"other"'})
    assert (other.content, other.headers["ETag"]) == (first.content, etag)
    data(request_release(api, phone_number_id(sandbox.upstream)), 201)
    changed = api.get(LIST, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag
    if paging:  # each page has its own
        for page, status in ((1, 304), (2, 200)):
            headers = {"If-None-Match": changed.headers["ETag"]}
            assert api.get(LIST, params={"page": page}, headers=headers).status_code == status


def test_a_file_as_the_list(sandbox: Sandbox, api: httpx.Client, tmp_path: Path) -> None:
    """A file is sent byte for byte, as it is now; one that cannot be read is a 5xx."""
    file = tmp_path / "list.json"
    sandbox.config = SandboxConfig(file=file, etag=True)
    for content in (b'{"success": true, "data": []}\n', b"<html>", b"", b"\xff\0", b"x" * 100_000):
        file.write_bytes(content)
        first = api.get(LIST)
        assert (first.status_code, first.content) == (200, content)
        file.write_bytes(content + b" ")
        second = api.get(LIST, headers={"If-None-Match": first.headers["ETag"]})
        assert (second.status_code, second.content) == (200, content + b" ")
        assert api.get(LIST, headers={"Authorization": "Bearer wrong"}).status_code == 401
    file.unlink()
    assert api.get(LIST).is_server_error


def test_a_large_file_is_read_once(sandbox: Sandbox, api: httpx.Client, tmp_path: Path) -> None:
    """The content of an unchanged file is kept; a change counts, also of the same length."""
    file = tmp_path / "list.json"
    file.write_bytes(b"first")
    hour_ago = time.time() - 3600
    os.utime(file, (hour_ago, hour_ago))
    sandbox.config = SandboxConfig(file=file, etag=True)
    first, second = api.get(LIST), api.get(LIST)
    assert (second.content, second.headers["ETag"]) == (b"first", first.headers["ETag"])
    assert sandbox._file.read(file) is sandbox._file.read(file)
    for content in (b"other", b"third"):
        file.write_bytes(content)
        response = api.get(LIST, headers={"If-None-Match": first.headers["ETag"]})
        assert (response.status_code, response.content) == (200, content)


# Requesting a release


def test_requesting_a_release(sandbox: Sandbox, api: httpx.Client) -> None:
    """A new request is pending, has the given number and reason, and ends the list."""
    number = phone_number_id(sandbox.upstream)
    before = data(api.get(LIST))
    made = data(request_release(api, number), 201)
    assert made == {
        "id": made["id"],
        "phone_number_id": number,
        "phone_number": sandbox.upstream._numbers[number],
        "reason": REASON,
        "status": "pending",
        "requested_at": "2024-01-11T12:00:00Z",
    }
    assert data(api.get(LIST)) == [*before, made]


def test_reasons(sandbox: Sandbox, api: httpx.Client) -> None:
    """A reason has 10 to 500 characters, of any script; anything else makes no request."""
    for reason in ("x" * 10, "é" * 500, "10 letters", "日本語" * 100):
        response = request_release(api, phone_number_id(sandbox.upstream), reason=reason)
        assert data(response, 201)["reason"] == reason
    before = list_at(sandbox.upstream)
    number = phone_number_id(sandbox.upstream)
    for invalid in (None, "", "x" * 9, "x" * 501, 12345678901, [REASON], True):
        assert_invalid(request_release(api, number, reason=invalid), "reason")
    assert_invalid(request_release(api, number, Reason=REASON), "reason")
    assert_invalid(api.post(f"/phone-numbers/{number}/request-release", json={}), "reason")
    assert list_at(sandbox.upstream) == before


def test_numbers_that_cannot_be_released(sandbox: Sandbox, api: httpx.Client) -> None:
    """No request is made for an unknown number, one in use, or one with a pending request."""
    upstream = sandbox.upstream
    free, pending = phone_number_id(upstream), phone_number_id(upstream, pending=True)
    assert request_release(api, free).status_code == 201
    for number, status, code in (
        ("unknown", 404, "NOT_FOUND"),
        (pending, 409, "RELEASE_ALREADY_PENDING"),
        (free, 409, "RELEASE_ALREADY_PENDING"),
        (phone_number_id(upstream, in_use=True), 422, "PHONE_NUMBER_IN_USE"),
    ):
        assert_error(request_release(api, number), status, code)
    assert len(upstream.requests) == 301


@pytest.mark.parametrize("path", ["/phone-numbers/{number}/request-release", "/sandbox/advance"])
def test_a_body_that_is_no_json_object(sandbox: Sandbox, api: httpx.Client, path: str) -> None:
    """Any other body gets a response, which is 400."""
    number = phone_number_id(sandbox.upstream)
    for body in (
        b"{", b"reason=The+office+has+moved", b"[]", b'"text"', b"null",
        b'{"reason": "The office \xff has moved"}', b'{"reason": ' + b"[" * 100_000,
    ):  # fmt: skip
        assert_error(api.post(path.format(number=number), content=body), 400, "BAD_REQUEST")
    assert (len(sandbox.upstream.requests), sandbox.upstream.now) == (300, START)


# Cancelling


def test_a_cancelled_request_stays_in_the_list(sandbox: Sandbox, api: httpx.Client) -> None:
    """A cancelled request keeps its place, and its number can be requested again."""
    pending = request_id(sandbox.upstream, "pending")
    before = data(api.get(LIST))
    cancelled = data(api.delete(f"{LIST}/{pending}"))
    assert (cancelled["id"], cancelled["status"]) == (pending, "cancelled")
    assert "resolved_at" not in cancelled
    expected = [cancelled if entry["id"] == pending else entry for entry in before]
    assert data(api.get(LIST)) == expected
    sandbox.advance(30)
    assert cancelled in data(api.get(LIST))
    sandbox.upstream._in_use.clear()
    second = data(request_release(api, cancelled["phone_number_id"]), 201)
    assert second["id"] != pending
    assert second["phone_number"] == cancelled["phone_number"]


def test_only_pending_requests_can_be_cancelled(sandbox: Sandbox, api: httpx.Client) -> None:
    """A resolved request stays as it is, also if it was cancelled a moment ago."""
    pending = request_id(sandbox.upstream, "pending")
    assert api.delete(f"{LIST}/{pending}").status_code == 200
    before = list_at(sandbox.upstream)
    assert_error(api.delete(f"{LIST}/unknown"), 404, "NOT_FOUND")
    for request in (pending, *(request_id(sandbox.upstream, status) for status in RESOLVED)):
        assert_error(api.delete(f"{LIST}/{request}"), 409, "RELEASE_ALREADY_RESOLVED")
    assert list_at(sandbox.upstream) == before


# Time and state


def test_the_state(sandbox: Sandbox, api: httpx.Client) -> None:
    """The state has the time of the sandbox and the number of its requests, by status."""
    counts = Counter(entry["status"] for entry in data(api.get(LIST)))
    assert set(counts) == {"pending", *RESOLVED}
    assert data(api.get("/sandbox")) == {
        "now": "2024-01-11T12:00:00Z",
        "requests": 300,
        "by_status": counts,
        "fault": None,
    }


@pytest.mark.calendar
def test_advancing_the_clock(sandbox: Sandbox, api: httpx.Client) -> None:
    """The clock is advanced by one day or up to ten years; the response is the new state."""
    bodies: list[tuple[dict[str, float] | None, str]] = [
        (None, "2024-01-12T12:00:00Z"),
        ({}, "2024-01-13T12:00:00Z"),
        ({"days": 1}, "2024-01-14T12:00:00Z"),
        ({"days": 0.5}, "2024-01-15T00:00:00Z"),
        ({"days": 3650}, "2034-01-12T00:00:00Z"),
    ]
    for body, now in bodies:
        state = data(api.post("/sandbox/advance", json=body))
        assert state["now"] == now
        assert state == data(api.get("/sandbox"))
        assert data(api.get(LIST)) == list_at(sandbox.upstream)
    for days in (0, -1, 3651, 1e300, "1", None, [1]):
        response = api.post("/sandbox/advance", json={"days": days})
        assert_error(response, 422, "VALIDATION_ERROR")
    assert data(api.get("/sandbox"))["now"] == now


def test_invalidate(sandbox: Sandbox, api: httpx.Client) -> None:
    """After a direct change of the simulation the list is encoded anew."""
    before = data(api.get(LIST))
    sandbox.upstream.cancel(request_id(sandbox.upstream, "pending"))
    sandbox.invalidate()
    assert data(api.get(LIST)) != before


# Faults


def test_a_fault_for_some_responses(sandbox: Sandbox, api: httpx.Client) -> None:
    """The list has the fault in as many responses as configured, and no other endpoint has it."""
    state = data(api.post("/sandbox/fault", json={"name": "maintenance", "times": 2}))
    assert state["fault"] == {"name": "maintenance", "times": 2}
    assert api.get("/health").status_code == 200
    assert api.get(LIST).status_code == 503
    assert data(api.get("/sandbox"))["fault"] == {"name": "maintenance", "times": 1}
    assert api.get(LIST).status_code == 503
    assert data(api.get("/sandbox"))["fault"] is None
    assert data(api.get(LIST)) == list_at(sandbox.upstream)


def test_a_fault_until_it_is_removed(sandbox: Sandbox, api: httpx.Client) -> None:
    """Without a number of times a fault shows until it is removed."""
    data(api.post("/sandbox/fault", json={"name": "lost"}))
    for _ in range(3):
        assert data(api.get(LIST)) == list_at(sandbox.upstream)[:150]
    assert data(api.post("/sandbox/fault", json={"name": None}))["fault"] is None
    assert data(api.get(LIST)) == list_at(sandbox.upstream)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"name": "hiccups"}, "there is no fault 'hiccups'"),
        ({"name": 5}, "name must be"),
        ({"name": "stall", "times": 0}, "at least once"),
        ({"name": "stall", "times": True}, "times must be"),
        ({"name": "stall", "times": "2"}, "times must be"),
        ({"name": "moving"}, "comes in pages"),
    ],
    ids=str,
)
def test_invalid_faults(body: dict[str, object], message: str, api: httpx.Client) -> None:
    """A fault that does not exist or would not show is refused with the reason."""
    response = api.post("/sandbox/fault", json=body)
    assert_error(response, 422, "VALIDATION_ERROR")
    assert message in response.json()["message"]
    assert data(api.get("/sandbox"))["fault"] is None


def test_a_file_shows_only_faults_of_the_response(sandbox: Sandbox, tmp_path: Path) -> None:
    """The entries of a file are sent unchanged, so that a fault in them is refused."""
    sandbox.config.file = tmp_path / "list.json"
    with pytest.raises(ValueError, match="given by a file"):
        sandbox.set_fault("garbled")
    sandbox.set_fault("cut")


def test_descriptions_of_faults_fit_into_a_line() -> None:
    """`mirror sandbox --faults` prints each on a line of 80 columns."""
    for name, fault in FAULTS.items():
        assert len(name) <= 16
        assert len(fault.description) <= 50


def test_the_port_is_released() -> None:
    """After a sandbox has ended, another one can use its port."""
    with Sandbox(simulation(count=0)).running() as first:
        port = httpx.URL(first.base_url).port
        assert port
    with Sandbox(simulation(count=0), port=port).running() as second:
        assert second.base_url == first.base_url == f"http://127.0.0.1:{port}/api/v1"
        assert httpx.get(second.base_url + "/health", trust_env=False).status_code == 200

"""The stand-in for the API: it answers as documented, and its world behaves like the real one."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from mirror.api import records as payload
from mirror.api.client import Client, FetchedList
from mirror.api.envelope import error_summary, parse_page
from mirror.config.settings import ApiSettings, Secret
from mirror.sandbox.faults import FAULTS
from mirror.sandbox.server import DEFAULT_TOKEN, Sandbox, SandboxConfig
from mirror.sandbox.simulation import Simulation
from tests.support.fake_clock import FakeClock

LIST = "/phone-numbers/release-requests"
START = datetime(2024, 1, 11, 12, 0, 0, tzinfo=UTC)
REASON = "The office has moved"
RESOLVED = ("approved", "rejected", "cancelled")
LONGEST_REVIEW = 7
"""Days after which each request that was pending has been resolved."""

ENDPOINTS = [
    ("GET", LIST),
    ("POST", "/phone-numbers/some-number/request-release"),
    ("DELETE", f"{LIST}/some-request"),
    ("GET", "/sandbox"),
    ("POST", "/sandbox/advance"),
    ("POST", "/sandbox/fault"),
]


def world(seed: int = 7, count: int = 300, new_per_day: int = 0) -> Simulation:
    """A world as it begins."""
    return Simulation(count, seed, START, new_per_day)


@pytest.fixture(scope="module")
def _server() -> Iterator[Sandbox]:
    with Sandbox(world(count=0)).running() as running:
        yield running


@pytest.fixture
def sandbox(_server: Sandbox) -> Sandbox:
    """A sandbox as it is right after its start."""
    _server.upstream = world()
    _server.manner = SandboxConfig()
    _server.misbehave(None)
    _server.asked.clear()
    _server._window_ends = 0.0
    _server.forget()
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


def data(answer: httpx.Response, status: int = 200) -> Any:
    """The data of an answer, which must be a success of the documented form."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert body["success"] is True
    return body["data"]


def said_no(answer: httpx.Response, status: int, code: str) -> None:
    """Check that an answer is a documented error of the flat form, with a message for a person."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert (body["success"], body["code"]) == (False, code)
    assert body["message"]
    assert error_summary(answer.content) == f"{code}: {body['message']}"


def said_invalid(answer: httpx.Response, field: str) -> None:
    """Check that an answer is a documented error of validation, about one field."""
    assert answer.status_code == 422, answer.text
    body = answer.json()
    assert body["success"] is False
    assert body["message"]
    assert list(body["errors"]) == [field]
    assert all(isinstance(text, str) for text in body["errors"][field])


def phone_number_id(upstream: Simulation, *, in_use: bool = False, pending: bool = False) -> str:
    """A number that is assigned to an agent or not, and has a pending request or not."""
    waiting = {
        one.phone_number_id
        for one in upstream.requests.values()
        if one.status(upstream.now) == "pending"
    }
    fitting = (
        one
        for one in upstream._numbers
        if (one in upstream._in_use) is in_use and (one in waiting) is pending
    )
    return next(fitting)


def request_id(upstream: Simulation, status: str) -> str:
    """A request with a status."""
    fitting = (one for one in upstream.requests.values() if one.status(upstream.now) == status)
    return next(fitting).id


def shown(upstream: Simulation) -> list[dict[str, str]]:
    """The list as the API shows it now."""
    return [one.as_answered(upstream.now) for one in upstream.requests.values()]


# Latency and limit


def test_only_the_list_is_slow(
    sandbox: Sandbox, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer of the list takes so long, and nobody else waits meanwhile."""
    asked: list[float] = []
    nobody_waits: list[bool] = []

    def wait(seconds: float) -> None:
        asked.append(seconds)
        nobody_waits.append(data(api.get("/sandbox"))["requests"] == 300)

    monkeypatch.setattr(sandbox._closed, "wait", wait)
    sandbox.manner.latency = 3600.0
    assert len(data(api.get(LIST))) == 300
    assert httpx.get(sandbox.base_url + "/health", trust_env=False).status_code == 200
    assert (asked, nobody_waits) == ([3600.0], [True])


def test_a_limit_is_told_and_kept(
    sandbox: Sandbox, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer of the list says what remains; who asks more often is told when to come back."""
    clock = Time()
    monkeypatch.setattr("mirror.sandbox.server.time", clock)
    sandbox.manner.limit = 3
    for remaining in (2, 1, 0):
        answer = api.get(LIST)
        data(answer)
        assert rates(answer) == (3, remaining, 1_700_000_060)
        assert "Retry-After" not in answer.headers
    clock.passed = 20.5
    for _ in range(2):
        answer = api.get(LIST)
        said_no(answer, 429, "RATE_LIMITED")
        assert rates(answer)[:2] == (3, 0)
        assert answer.headers["Retry-After"] == "40"
    assert "X-RateLimit-Limit" not in api.get("/sandbox").headers
    clock.passed = 60
    answer = api.get(LIST)
    data(answer)
    assert rates(answer) == (3, 2, 1_700_000_120)


class Time:
    """The time of a machine, as a test wants it to be."""

    passed = 0.0

    def monotonic(self) -> float:
        """Return seconds since some moment."""
        return 5000 + self.passed

    def time(self) -> float:
        """Return the Unix time."""
        return 1_700_000_000 + self.passed


def test_the_client_keeps_to_the_limit_it_is_told(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull of more pages than a minute allows waits for the next minute, and is never refused."""
    clock = FakeClock()

    class Now(Time):
        @property
        def passed(self) -> float:  # type: ignore[override]
            """Seconds that the client has waited."""
            return clock.time - 1_000_000

    for module in ("mirror.sandbox.server", "mirror.api.http"):
        monkeypatch.setattr(f"{module}.time", Now())
    # A clock that jumps would not wait for what others have sent already.
    monkeypatch.setattr("mirror.api.client.concurrency_for_rate", lambda _: 1)
    sandbox.manner.limit, sandbox.manner.paging = 4, "meta"
    sandbox.upstream = world(count=850)
    settings = ApiSettings(sandbox.base_url, Secret(DEFAULT_TOKEN), rate=1000)
    with Client(settings, clock) as client:
        found = client.fetch_list()
    assert isinstance(found, FetchedList)
    assert (found.count, client.pages, len(sandbox.asked)) == (850, 9, 9)
    assert sum(clock.waits) == 120


def rates(answer: httpx.Response) -> tuple[int, ...]:
    """What an answer says of the rate: limit, remaining, reset."""
    return tuple(
        int(answer.headers[f"X-RateLimit-{name}"]) for name in ("Limit", "Remaining", "Reset")
    )


# Health and token


TOKENS = [
    None, "", "Bearer", "Bearer wrong", f"Bearer {DEFAULT_TOKEN}x", f"Bearer {DEFAULT_TOKEN[:-1]}",
    f"Token {DEFAULT_TOKEN}", DEFAULT_TOKEN, "Bearer tälq",
]  # fmt: skip


def test_everything_but_the_health_needs_the_token(sandbox: Sandbox, api: httpx.Client) -> None:
    """Without the right token the answer is 401 in the nested form, and nothing happens.

    As soon as there is another token, the old one is refused.
    """
    before = shown(sandbox.upstream)
    del api.headers["Authorization"]
    for given in TOKENS:
        headers = [] if given is None else [(b"Authorization", given.encode())]
        answer = api.get("/health", headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        for method, path in ENDPOINTS:
            answer = api.request(method, path, headers=headers)
            assert answer.status_code == 401, (given, path)
            body = answer.json()
            assert (body["success"], body["error"]["code"]) == (False, "UNAUTHORIZED")
            assert body["error"]["message"]
    assert shown(sandbox.upstream) == before
    assert sandbox.upstream.now == START
    for token, old, new in ((DEFAULT_TOKEN, 200, 401), ("talq_new", 401, 200)):
        sandbox.manner.token = token
        assert (
            api.get(LIST, headers={"Authorization": f"Bearer {DEFAULT_TOKEN}"}).status_code == old
        )
        assert api.get(LIST, headers={"Authorization": "Bearer talq_new"}).status_code == new


def test_what_does_not_exist_is_not_found(api: httpx.Client) -> None:
    """Any other path or method is answered by 404, in the documented form."""
    for method, path in (
        ("GET", "/"), ("GET", "/phone-numbers"), ("GET", f"{LIST}/"), ("GET", f"{LIST}/one"),
        ("POST", LIST), ("DELETE", LIST), ("POST", "/health"), ("GET", "/sandbox/advance"),
    ):  # fmt: skip
        said_no(api.request(method, path), 404, "NOT_FOUND")


# The list


def test_the_list_comes_whole(sandbox: Sandbox, api: httpx.Client) -> None:
    """Without paging all requests come in one answer, whatever page is asked for."""
    answer = api.get(LIST)
    assert data(answer) == shown(sandbox.upstream)
    assert list(answer.json()) == ["success", "data"]
    assert "ETag" not in answer.headers
    queries = ("?page=2&per_page=10", "?page=0", "?per_page=1000")
    for query in queries:
        assert api.get(LIST + query).content == answer.content
    assert sandbox.asked == [f"/api/v1{LIST}{query}" for query in ("", *queries)]


KEYS: tuple[Literal["meta", "pagination"], ...] = ("meta", "pagination")


@pytest.mark.parametrize("key", KEYS)
def test_the_list_in_pages(
    sandbox: Sandbox, api: httpx.Client, key: Literal["meta", "pagination"]
) -> None:
    """The pages together are the list, each says where it stands, and under which key is chosen.

    A page beyond the end is empty, and who asks for none gets the first one.
    """
    sandbox.manner.paging = key
    for count, per_page, pages in ((7, 3, 3), (0, 100, 1), (300, 100, 3)):
        sandbox.upstream = world(count=count)
        sandbox.forget()
        found = []
        for page in range(1, pages + 2):
            answer = api.get(LIST, params={"page": page, "per_page": per_page})
            entries = data(answer)
            found += entries
            assert list(answer.json()) == ["success", "data", key]
            assert answer.json()[key] == {
                "current_page": page,
                "per_page": per_page,
                "total": count,
                "last_page": pages,
            }
        assert entries == []
        assert found == shown(sandbox.upstream)
        assert len(found) == count
    answer = api.get(LIST)
    paging = answer.json()[key]
    assert paging["current_page"] == 1
    assert len(data(answer)) == paging["per_page"] < paging["total"] == 300


def test_a_page_that_cannot_be_is_invalid(sandbox: Sandbox, api: httpx.Client) -> None:
    """Pages begin at 1 and hold 1 to 100 entries; anything else is an error of validation."""
    sandbox.manner.paging = "meta"
    for value in ("0", "101", "-1", "1.5", "many", "²"):
        said_invalid(api.get(LIST, params={"per_page": value}), "per_page")
    for value in ("0", "-1", "one", "9" * 30, "9" * 5000):
        said_invalid(api.get(LIST, params={"page": value}), "page")


@pytest.mark.parametrize("paging", [None, "meta"])
def test_etag(sandbox: Sandbox, api: httpx.Client, paging: Literal["meta"] | None) -> None:
    """The same answer has the same ETag and is not sent twice; another one is."""
    sandbox.manner.etag = True
    sandbox.manner.paging = paging
    first = api.get(LIST)
    tag = first.headers["ETag"]
    again = api.get(LIST, headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    other = api.get(LIST, headers={"If-None-Match": '"other"'})
    assert (other.content, other.headers["ETag"]) == (first.content, tag)
    data(ask_for_release(api, phone_number_id(sandbox.upstream)), 201)
    changed = api.get(LIST, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag
    if paging:  # each page has its own
        for page, status in ((1, 304), (2, 200)):
            headers = {"If-None-Match": changed.headers["ETag"]}
            assert api.get(LIST, params={"page": page}, headers=headers).status_code == status


def test_a_file_is_given_as_it_stands(sandbox: Sandbox, api: httpx.Client, tmp_path: Path) -> None:
    """A file in place of the list is sent byte for byte, read anew each time, token or not.

    One that cannot be read is answered by a 5xx, as a broken upstream would.
    """
    file = tmp_path / "list.json"
    sandbox.manner = SandboxConfig(file=file, etag=True)
    for content in (b'{"success": true, "data": []}\n', b"<html>", b"", b"\xff\0", b"x" * 100_000):
        file.write_bytes(content)
        first = api.get(LIST)
        assert (first.status_code, first.content) == (200, content)
        file.write_bytes(content + b" ")
        answer = api.get(LIST, headers={"If-None-Match": first.headers["ETag"]})
        assert (answer.status_code, answer.content) == (200, content + b" ")
        assert api.get(LIST, headers={"Authorization": "Bearer wrong"}).status_code == 401
    file.unlink()
    assert api.get(LIST).is_server_error


def test_a_large_file_is_read_once(sandbox: Sandbox, api: httpx.Client, tmp_path: Path) -> None:
    """While a file stays as it is its bytes are kept; a change counts, also of the same length."""
    file = tmp_path / "list.json"
    file.write_bytes(b"first")
    long_ago = time.time() - 3600
    os.utime(file, (long_ago, long_ago))
    sandbox.manner = SandboxConfig(file=file, etag=True)
    first, again = api.get(LIST), api.get(LIST)
    assert (again.content, again.headers["ETag"]) == (b"first", first.headers["ETag"])
    assert sandbox._file.content(file) is sandbox._file.content(file)
    for content in (b"other", b"third"):
        file.write_bytes(content)
        answer = api.get(LIST, headers={"If-None-Match": first.headers["ETag"]})
        assert (answer.status_code, answer.content) == (200, content)


# Asking for a release


def ask_for_release(api: httpx.Client, number: str, **body: object) -> httpx.Response:
    """Ask for the release of a number, with a good reason if no other body is given."""
    return api.post(f"/phone-numbers/{number}/request-release", json=body or {"reason": REASON})


def test_a_release_is_requested(sandbox: Sandbox, api: httpx.Client) -> None:
    """A new request is pending, has the number and reason that were given, and ends the list."""
    number = phone_number_id(sandbox.upstream)
    before = data(api.get(LIST))
    made = data(ask_for_release(api, number), 201)
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
        answer = ask_for_release(api, phone_number_id(sandbox.upstream), reason=reason)
        assert data(answer, 201)["reason"] == reason
    before = shown(sandbox.upstream)
    number = phone_number_id(sandbox.upstream)
    for wrong in (None, "", "x" * 9, "x" * 501, 12345678901, ["The office has moved"], True):
        said_invalid(ask_for_release(api, number, reason=wrong), "reason")
    said_invalid(ask_for_release(api, number, Reason=REASON), "reason")
    said_invalid(api.post(f"/phone-numbers/{number}/request-release", json={}), "reason")
    assert shown(sandbox.upstream) == before


def test_numbers_that_cannot_be_released(sandbox: Sandbox, api: httpx.Client) -> None:
    """No request is made for an unknown number, one in use, or one that has a pending request."""
    upstream = sandbox.upstream
    free, pending = phone_number_id(upstream), phone_number_id(upstream, pending=True)
    assert ask_for_release(api, free).status_code == 201
    for number, status, code in (
        ("unknown", 404, "NOT_FOUND"),
        (pending, 409, "RELEASE_ALREADY_PENDING"),
        (free, 409, "RELEASE_ALREADY_PENDING"),
        (phone_number_id(upstream, in_use=True), 422, "PHONE_NUMBER_IN_USE"),
    ):
        said_no(ask_for_release(api, number), status, code)
    assert len(upstream.requests) == 301


@pytest.mark.parametrize("path", ["/phone-numbers/{number}/request-release", "/sandbox/advance"])
def test_a_body_that_is_no_json_object(sandbox: Sandbox, api: httpx.Client, path: str) -> None:
    """Whatever is sent, there is an answer, and it is 400."""
    number = phone_number_id(sandbox.upstream)
    for body in (
        b"{", b"reason=The+office+has+moved", b"[]", b'"text"', b"null",
        b'{"reason": "The office \xff has moved"}', b'{"reason": ' + b"[" * 100_000,
    ):  # fmt: skip
        said_no(api.post(path.format(number=number), content=body), 400, "BAD_REQUEST")
    assert (len(sandbox.upstream.requests), sandbox.upstream.now) == (300, START)


# Cancelling


def test_a_pending_request_is_cancelled_and_stays(sandbox: Sandbox, api: httpx.Client) -> None:
    """A cancelled request stays in its place in the list, and its number can be asked for again."""
    chosen = request_id(sandbox.upstream, "pending")
    before = data(api.get(LIST))
    answer = data(api.delete(f"{LIST}/{chosen}"))
    assert (answer["id"], answer["status"], "resolved_at" in answer) == (chosen, "cancelled", False)
    assert data(api.get(LIST)) == [answer if one["id"] == chosen else one for one in before]
    sandbox.advance(30)
    assert answer in data(api.get(LIST))
    sandbox.upstream._in_use.clear()
    again = data(ask_for_release(api, answer["phone_number_id"]), 201)
    assert again["id"] != chosen
    assert again["phone_number"] == answer["phone_number"]


def test_what_is_resolved_or_unknown_is_not_cancelled(sandbox: Sandbox, api: httpx.Client) -> None:
    """What was resolved stays as it is, also if it was cancelled a moment ago."""
    chosen = request_id(sandbox.upstream, "pending")
    assert api.delete(f"{LIST}/{chosen}").status_code == 200
    before = shown(sandbox.upstream)
    said_no(api.delete(f"{LIST}/unknown"), 404, "NOT_FOUND")
    for one in (chosen, *(request_id(sandbox.upstream, status) for status in RESOLVED)):
        said_no(api.delete(f"{LIST}/{one}"), 409, "RELEASE_ALREADY_RESOLVED")
    assert shown(sandbox.upstream) == before


# Time and state


def test_the_state_is_that_of_the_list(sandbox: Sandbox, api: httpx.Client) -> None:
    """The state tells the time of the sandbox and how many requests it has, by status."""
    counts = Counter(one["status"] for one in data(api.get(LIST)))
    assert set(counts) == {"pending", *RESOLVED}
    assert data(api.get("/sandbox")) == {
        "now": "2024-01-11T12:00:00Z",
        "requests": 300,
        "by_status": counts,
        "fault": None,
    }


@pytest.mark.calendar
def test_time_is_advanced(sandbox: Sandbox, api: httpx.Client) -> None:
    """Time passes by the days that are given, one if none are, and the new state is answered.

    It passes forwards, by a number of days up to ten years.
    """
    bodies: list[tuple[dict[str, float] | None, str]] = [
        (None, "2024-01-12T12:00:00Z"),
        ({}, "2024-01-13T12:00:00Z"),
        ({"days": 1}, "2024-01-14T12:00:00Z"),
        ({"days": 0.5}, "2024-01-15T00:00:00Z"),
        ({"days": 3650}, "2034-01-12T00:00:00Z"),
    ]
    for body, now in bodies:
        answer = data(api.post("/sandbox/advance", json=body))
        assert answer["now"] == now
        assert answer == data(api.get("/sandbox"))
        assert data(api.get(LIST)) == shown(sandbox.upstream)
    for days in (0, -1, 3651, 1e300, "1", None, [1]):
        said_no(api.post("/sandbox/advance", json={"days": days}), 422, "VALIDATION_ERROR")
    assert data(api.get("/sandbox"))["now"] == now


def test_the_list_shows_what_was_changed_from_outside(sandbox: Sandbox, api: httpx.Client) -> None:
    """Who changes the world itself says so, and the next list is made anew."""
    before = data(api.get(LIST))
    sandbox.upstream.cancel(request_id(sandbox.upstream, "pending"))
    sandbox.forget()
    assert data(api.get(LIST)) != before


# Misbehaviour


def test_a_fault_shows_as_often_as_asked_for(sandbox: Sandbox, api: httpx.Client) -> None:
    """The list misbehaves in so many answers and then no more; nothing else does."""
    state = data(api.post("/sandbox/fault", json={"name": "maintenance", "times": 2}))
    assert state["fault"] == {"name": "maintenance", "times": 2}
    assert api.get("/health").status_code == 200
    assert api.get(LIST).status_code == 503
    assert data(api.get("/sandbox"))["fault"] == {"name": "maintenance", "times": 1}
    assert api.get(LIST).status_code == 503
    assert data(api.get("/sandbox"))["fault"] is None
    assert data(api.get(LIST)) == shown(sandbox.upstream)


def test_a_fault_stays_until_it_is_mended(sandbox: Sandbox, api: httpx.Client) -> None:
    """Without a number of times a fault shows until it is taken back."""
    data(api.post("/sandbox/fault", json={"name": "lost"}))
    for _ in range(3):
        assert data(api.get(LIST)) == shown(sandbox.upstream)[:150]
    assert data(api.post("/sandbox/fault", json={"name": None}))["fault"] is None
    assert data(api.get(LIST)) == shown(sandbox.upstream)


def test_faults_that_cannot_be_are_refused(sandbox: Sandbox, api: httpx.Client) -> None:
    """A fault that does not exist or could not be seen is refused with the reason."""
    bodies: list[tuple[dict[str, object], str]] = [
        ({"name": "hiccups"}, "there is no fault 'hiccups'"),
        ({"name": 5}, "name must be"),
        ({"name": "stall", "times": 0}, "at least once"),
        ({"name": "stall", "times": True}, "times must be"),
        ({"name": "stall", "times": "2"}, "times must be"),
        ({"name": "moving"}, "comes in pages"),
    ]
    for body, said in bodies:
        answer = api.post("/sandbox/fault", json=body)
        said_no(answer, 422, "VALIDATION_ERROR")
        assert said in answer.json()["message"]
        assert data(api.get("/sandbox"))["fault"] is None


def test_a_file_shows_only_faults_of_the_whole_answer(sandbox: Sandbox, tmp_path: Path) -> None:
    """The entries of a file are given as they stand, so that a fault in them is refused."""
    sandbox.manner.file = tmp_path / "list.json"
    with pytest.raises(ValueError, match="given by a file"):
        sandbox.misbehave("garbled")
    sandbox.misbehave("cut")


def test_every_fault_is_described_in_a_line() -> None:
    """`mirror sandbox --faults` has room for each on 80 columns."""
    for name, fault in FAULTS.items():
        assert len(name) <= 16
        assert len(fault.does) <= 50


def test_a_sandbox_gives_its_port_back() -> None:
    """After a sandbox has ended, another one can have its port."""
    with Sandbox(world(count=0)).running() as first:
        port = httpx.URL(first.base_url).port
        assert port
    with Sandbox(world(count=0), port=port).running() as second:
        assert second.base_url == first.base_url == f"http://127.0.0.1:{port}/api/v1"
        assert httpx.get(second.base_url + "/health", trust_env=False).status_code == 200


# The world


def _told(seed: int) -> list[object]:
    """All that a world tells while some of its days pass and somebody acts in it."""
    upstream = world(seed, count=50, new_per_day=3)
    told: list[object] = [shown(upstream)]
    for _ in range(5):
        upstream.advance(1)
        upstream.request_release(phone_number_id(upstream), REASON)
        upstream.cancel(request_id(upstream, "pending"))
        told.append(shown(upstream))
    return told


def test_the_seed_decides_everything() -> None:
    """The same seed and actions make the same world, ids included; another seed another."""
    assert _told(7) == _told(7)
    assert _told(7) != _told(8)


def test_a_world_has_as_many_requests_as_asked_for() -> None:
    """The number of requests at the start is exact, and their ids are distinct.

    As many are made a day as were asked for, within the time that passes.
    """
    for count in (0, 1, 2, 1000):
        assert len({one["id"] for one in shown(world(count=count))}) == count
    for days, new in ((1, 3), (10, 30), (0.5, 2), (0.1, 0)):
        upstream = world(count=20, new_per_day=3)
        upstream.advance(days)
        made = shown(upstream)[20:]
        assert len(made) == new
        for one in made:
            assert START <= datetime.fromisoformat(one["requested_at"]) <= upstream.now


@pytest.mark.parametrize("seed", range(3))
def test_every_record_is_understood(seed: int) -> None:
    """What the sandbox gives, the mirror understands: no reject, no repetition, nothing extra."""
    sandbox = Sandbox(world(seed, count=500, new_per_day=20))
    try:
        for _ in range(4):
            body = b'{"success":true,"data":[%s]}' % b",".join(sandbox._entries())
            items = parse_page(body).entries
            surveyed = payload.IdIndex()
            surveyed.add(items)
            records = list(payload.decode(items, surveyed.repeated))
            assert (surveyed.distinct, surveyed.repeated) == (len(items), frozenset())
            assert all(isinstance(one, payload.Record) and one.extra == "" for one in records)
            sandbox.advance(2)
    finally:
        sandbox.close()


@pytest.mark.parametrize("seed", range(3))
def test_records_are_as_documented(seed: int) -> None:
    """Each record has the documented fields for its status, and times that make sense."""
    upstream = world(seed, count=500)
    always = {"id", "phone_number_id", "phone_number", "reason", "status", "requested_at"}
    more = {"approved": {"resolved_at"}, "rejected": {"resolved_at", "rejection_reason"}}
    for one in shown(upstream):
        assert set(one) == always | more.get(one["status"], set())
        assert one["status"] in {"pending", *RESOLVED}
        assert one["phone_number"].removeprefix("+").isdecimal()
        assert 10 <= len(one["reason"]) <= 500
        times = [one["requested_at"], one.get("resolved_at", one["requested_at"])]
        asked, resolved = (datetime.fromisoformat(text) for text in times)
        assert START - timedelta(days=366) <= asked <= resolved <= START
        assert all(text.endswith("Z") for text in times)


@pytest.mark.parametrize("seed", range(3))
def test_time_resolves_what_is_pending_and_changes_nothing_else(seed: int) -> None:
    """The pending are resolved within days; what was resolved never changes, leaves or moves."""
    upstream = world(seed, new_per_day=5)
    waiting = {one["id"] for one in shown(upstream) if one["status"] == "pending"}
    assert waiting
    before = shown(upstream)
    for _ in range(LONGEST_REVIEW):
        upstream.advance(1)
        after = shown(upstream)
        assert [one["id"] for one in after[: len(before)]] == [one["id"] for one in before]
        for old, new in zip(before, after, strict=False):
            assert new == old or old["status"] == "pending" != new["status"]
            assert {name: new[name] for name in old if name != "status"} == {
                name: value for name, value in old.items() if name != "status"
            }
        before = after
    statuses = {one["id"]: one["status"] for one in before}
    assert {statuses[one] for one in waiting} <= set(RESOLVED)


@pytest.mark.parametrize("seed", range(3))
def test_a_number_has_one_open_request_at_a_time(seed: int) -> None:
    """A number is asked for again only after a denial, and never once it was released."""
    histories: dict[str, list[dict[str, str]]] = {}
    for one in shown(world(seed, count=500)):
        histories.setdefault(one["phone_number_id"], []).append(one)
    assert max(len(history) for history in histories.values()) > 2
    for history in histories.values():
        assert len({one["phone_number"] for one in history}) == 1
        assert all(one["status"] in {"rejected", "cancelled"} for one in history[:-1])
        asked = [one["requested_at"] for one in history]
        assert asked == sorted(asked)
        for old, new in pairwise(history):
            assert old.get("resolved_at", "") < new["requested_at"]

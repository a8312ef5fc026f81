"""The simulation behind the mock API: it behaves like the real one, and can be repeated."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from mirror.api.entries import EntryScan
from mirror.api.envelope import parse_page
from mirror.api.records import Record
from mirror.sandbox.server import Sandbox
from tests.support.api_payloads import records_of
from tests.support.simulations import (
    REASON,
    RESOLVED,
    START,
    list_at,
    phone_number_id,
    request_id,
    simulation,
)

MAX_REVIEW_DAYS = 7
"""Days after which each request that was pending has been resolved."""


def lists(seed: int) -> list[object]:
    """The lists of some days, while requests are made and cancelled."""
    upstream = simulation(seed, count=50, new_per_day=3)
    lists: list[object] = [list_at(upstream)]
    for _ in range(5):
        upstream.advance(1)
        upstream.request_release(phone_number_id(upstream), REASON)
        upstream.cancel(request_id(upstream, "pending"))
        lists.append(list_at(upstream))
    return lists


def test_the_seed_determines_everything() -> None:
    """The same seed and actions make the same lists, ids included; another seed makes others."""
    assert lists(7) == lists(7)
    assert lists(7) != lists(8)
    ids = [{entry["id"] for entry in list_at(simulation(seed))} for seed in range(20)]
    assert len(set.union(*ids)) == sum(map(len, ids))


def test_the_number_of_requests_is_exact() -> None:
    """As many requests are made at the start and each day as configured, with distinct ids."""
    for count in (0, 1, 2, 1000):
        assert len({entry["id"] for entry in list_at(simulation(count=count))}) == count
    for days, new in ((1, 3), (10, 30), (0.5, 2), (0.1, 0)):
        upstream = simulation(count=20, new_per_day=3)
        upstream.advance(days)
        made = list_at(upstream)[20:]
        assert len(made) == new
        for entry in made:
            assert START <= datetime.fromisoformat(entry["requested_at"]) <= upstream.now


@pytest.mark.parametrize("seed", range(3))
def test_every_record_is_decoded(seed: int) -> None:
    """The mirror decodes each entry of the sandbox: no reject, no repetition, nothing extra."""
    sandbox = Sandbox(simulation(seed, count=500, new_per_day=20))
    try:
        for _ in range(4):
            body = b'{"success":true,"data":[%s]}' % b",".join(sandbox._entries())
            scan = EntryScan()
            count = scan.add(parse_page(body).data)
            records = records_of(scan)
            assert (scan.distinct_ids, len(records)) == (count, count)
            assert all(isinstance(record, Record) and record.extra == "" for record in records)
            sandbox.advance(2)
    finally:
        sandbox.close()


@pytest.mark.parametrize("seed", range(3))
def test_records_are_as_documented(seed: int) -> None:
    """Each record has the documented fields for its status, and times that make sense."""
    always = {"id", "phone_number_id", "phone_number", "reason", "status", "requested_at"}
    more = {"approved": {"resolved_at"}, "rejected": {"resolved_at", "rejection_reason"}}
    for entry in list_at(simulation(seed, count=500)):
        assert set(entry) == always | more.get(entry["status"], set())
        assert entry["status"] in {"pending", *RESOLVED}
        assert entry["phone_number"].removeprefix("+").isdecimal()
        assert 10 <= len(entry["reason"]) <= 500
        times = [entry["requested_at"], entry.get("resolved_at", entry["requested_at"])]
        requested, resolved = (datetime.fromisoformat(text) for text in times)
        assert START - timedelta(days=366) <= requested <= resolved <= START
        assert all(text.endswith("Z") for text in times)


@pytest.mark.parametrize("seed", range(3))
def test_time_resolves_pending_requests_and_changes_no_others(seed: int) -> None:
    """Pending requests are resolved within days; resolved ones never change, leave or move."""
    upstream = simulation(seed, new_per_day=5)
    before = list_at(upstream)
    pending = {entry["id"] for entry in before if entry["status"] == "pending"}
    assert pending
    for _ in range(MAX_REVIEW_DAYS):
        upstream.advance(1)
        after = list_at(upstream)
        assert [entry["id"] for entry in after[: len(before)]] == [entry["id"] for entry in before]
        for old, new in zip(before, after, strict=False):
            assert new == old or old["status"] == "pending" != new["status"]
            assert old.items() - {("status", "pending")} <= new.items()
        before = after
    statuses = {entry["id"]: entry["status"] for entry in before}
    assert {statuses[request] for request in pending} <= set(RESOLVED)


@pytest.mark.parametrize("seed", range(3))
def test_a_number_has_one_open_request_at_a_time(seed: int) -> None:
    """A number is requested again only after a denial, and never once it was released."""
    histories: dict[str, list[dict[str, str]]] = {}
    for entry in list_at(simulation(seed, count=500)):
        histories.setdefault(entry["phone_number_id"], []).append(entry)
    assert max(len(history) for history in histories.values()) > 2
    for history in histories.values():
        assert len({entry["phone_number"] for entry in history}) == 1
        assert all(entry["status"] in {"rejected", "cancelled"} for entry in history[:-1])
        times = [entry["requested_at"] for entry in history]
        assert times == sorted(times)
        for old, new in pairwise(history):
            assert old.get("resolved_at", "") < new["requested_at"]

"""Entries of which only a part can be read: the row follows that part, the entry is quarantined."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mirror.db.runs import Counts, Outcome
from mirror.queries import helpers
from mirror.queries.results import ReleaseRequest
from tests.support.mirrors import Mirror
from tests.support.upstream import request, requests

OLD, NEW = "2024-01-11T09:00:00Z", "2024-01-12T09:00:00Z"
REJECTED = {"status": "rejected", "rejection_reason": "In use", "resolved_at": OLD}

CASES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    # what the entry has instead; what the row has then; why it is in quarantine
    (
        {
            "phone_number": None,
            "status": "approved",
            "resolved_at": NEW,
            "rejection_reason": None,
        },
        {"status": "approved", "resolved_at": NEW, "rejection_reason": None},
        "`phone_number` is null",
    ),
    ({"phone_number": "", "reason": "New"}, {"reason": "New"}, "`phone_number` is empty"),
    (
        {"phone_number": None, "phone_number_id": None, "reason": None},
        {"phone_number_id": None, "reason": None},
        "`phone_number` is null",
    ),
    (
        {"phone_number_id": 5, "phone_number": "+15557654321"},
        {"phone_number": "+15557654321"},
        "`phone_number_id` is not a string",
    ),
    ({"reason": {}, "resolved_at": NEW}, {"resolved_at": NEW}, "`reason` is not a string"),
    ({"requested_at": OLD[:-1], "reason": "New"}, {"reason": "New"}, "`requested_at` has no"),
    ({"resolved_at": "soon", "reason": "New"}, {"reason": "New"}, "`resolved_at` is not a time"),
    (
        {"rejection_reason": [], "resolved_at": NEW},
        {"resolved_at": NEW},
        "`rejection_reason` is not a string",
    ),
    # The time and the reason of a status are not those of another one.
    (
        {"resolved_at": "soon", "status": "cancelled", "rejection_reason": None},
        {"status": "cancelled", "resolved_at": None, "rejection_reason": None},
        "`resolved_at` is not a time",
    ),
    (
        {"rejection_reason": [], "status": "approved", "resolved_at": NEW},
        {"status": "approved", "resolved_at": NEW, "rejection_reason": None},
        "`rejection_reason` is not a string",
    ),
    (
        {"status": 7, "resolved_at": NEW, "rejection_reason": "New", "reason": "New"},
        {"reason": "New"},
        "`status` is not a string",
    ),
    (
        {"status": "x" * 256, "phone_number": 5, "requested_at": None},
        {},
        "`phone_number` is not a string",
    ),
]
FIRST = [request(number, **REJECTED) for number in range(len(CASES))]
OTHERS = requests(*range(100, 220))


def _followed(number: int) -> dict[str, Any]:
    """The readable entry of the values that a request has after its case."""
    return FIRST[number] | CASES[number][1]


def _rows(mirror: Mirror) -> Iterator[tuple[ReleaseRequest, dict[str, Any]]]:
    """The row of each case, and the fields that it must have."""
    rows = {row.id: row for row in mirror.query(helpers.release_requests)}
    for number in range(len(CASES)):
        entry = _followed(number)
        yield rows[entry["id"]], entry


def test_a_row_follows_what_can_be_read(mirror: Mirror) -> None:
    """Each field that cannot be read stays as it was last known, and makes no version."""
    mirror.sync([*FIRST, *OTHERS])
    partial = [json.dumps(FIRST[n] | case[0]).encode() for n, case in enumerate(CASES)]
    result = mirror.sync([*partial, *OTHERS])
    count = len(CASES)
    assert result.counts == Counts(
        fetched=count + 120,
        updated=count - 1,
        unchanged=120,
        quarantined=count,
        newly_quarantined=count,
    )
    for row, expected in _rows(mirror):
        for name in expected:
            value = getattr(row, name)
            if name.endswith("_at") and value is not None:
                value = value.isoformat().replace("+00:00", "Z")
            assert value == expected[name], (row.id, name)
    errors = dict(mirror.rows("SELECT request_id, error FROM quarantined_records"))
    for number, (_, _, error) in enumerate(CASES):
        assert errors[f"request-{number}"].startswith(error)

    state = mirror.state()
    assert mirror.sync().outcome is Outcome.UNCHANGED
    again = mirror.sync([*OTHERS, *partial])
    assert again.counts == Counts(fetched=count + 120, unchanged=120, quarantined=count)
    assert mirror.state()["release_requests"] == state["release_requests"]
    past = "SELECT count(*) FROM release_request_past_versions"
    assert mirror.rows(past) == [(count - 1,)]

    readable = [_followed(number) for number in range(count)]
    assert mirror.sync([*readable, *OTHERS]).counts == Counts(
        fetched=count + 120, unchanged=count + 120
    )
    assert mirror.rows(past) == [(count - 1,)]
    assert mirror.query(helpers.quarantine) == []
    # From now on the entries are known by their digests.
    assert mirror.rows("SELECT count(*) FROM release_requests WHERE digest IS NULL") == [(0,)]


def test_what_an_entry_lacks_is_not_read_as_null(mirror: Mirror) -> None:
    """An entry that has little more than its id changes nothing but what it has."""
    mirror.sync([request(1, **REJECTED, carrier="Example"), *requests(2, 3)])
    before = mirror.query(helpers.release_requests)
    assert mirror.sync([{"id": "request-1"}, *requests(2, 3)]).counts.updated == 0
    assert mirror.query(helpers.release_requests) == before
    more = {"id": "request-1", "status": "approved", "carrier": "Other"}
    assert mirror.sync([more, *requests(2, 3)]).counts.updated == 1
    (row,) = (row for row in mirror.query(helpers.release_requests) if row.id == "request-1")
    assert (row.status, row.resolved_at, row.rejection_reason) == ("approved", None, None)
    assert (row.reason, row.phone_number_id) == ("Number is no longer in use", "phone-1")
    assert json.loads(row.extra) == {"carrier": "Other"}


def test_a_missing_request_returns_with_an_unreadable_field(mirror: Mirror) -> None:
    """It is in the list again, whatever can be read of it; contradicting entries prove nothing."""
    mirror.sync(requests(1, 2, 3))
    mirror.sync(requests(3))
    other = [request(2), request(2, reason="Other")]
    result = mirror.sync([request(1, status=5), *other, request(3)])
    assert (result.counts.returned, result.counts.quarantined) == (1, 3)
    listed = {row.id for row in mirror.query(helpers.release_requests)}
    assert listed == {"request-1", "request-3"}
    assert mirror.sync(requests(1, 2, 3)).counts == Counts(fetched=3, unchanged=2, returned=1)


def test_a_request_that_was_never_known_stays_in_quarantine(mirror: Mirror) -> None:
    """Without a last known value there is no row, and none is made up."""
    mirror.sync(requests(1, 2))
    new = json.dumps(request(3) | {"phone_number": None}).encode()
    result = mirror.sync([*requests(1, 2), new])
    assert result.counts == Counts(fetched=3, unchanged=2, quarantined=1, newly_quarantined=1)
    assert len(mirror.query(helpers.release_requests)) == 2


@pytest.mark.parametrize("accept", [False, True])
def test_a_partial_entry_of_another_environment_is_refused(mirror: Mirror, accept: bool) -> None:
    """The id is enough to know that tokens are mixed up."""
    mirror.sync([request(1)], environment="dev")
    result = mirror.sync([request(1, status=5)], environment="prod", accept_missing=accept)
    assert result.outcome is Outcome.REFUSED
    assert "belongs to the environment 'dev'" in str(result.failure)


def test_invalid_utf8_in_one_field(mirror: Mirror) -> None:
    """The other fields of the entry are read; an unknown field that is not text stays."""
    mirror.sync([request(1, carrier="Example"), request(2)])
    entry = json.dumps(request(1, status="approved", reason="@", carrier="@")).encode()
    assert mirror.sync([entry.replace(b"@", b"caf\xe9"), request(2)]).counts.updated == 1
    row = min(mirror.query(helpers.release_requests), key=lambda row: row.id)
    assert (row.status, row.reason) == ("approved", "Number is no longer in use")
    assert json.loads(row.extra) == {"carrier": "Example"}


def test_the_number_beside_an_unreadable_field(mirror: Mirror) -> None:
    """A new number has its E.164 form, which a number that is kept does not lose."""
    form = "SELECT phone_number, phone_number_e164 FROM release_requests WHERE id = 'request-1'"
    mirror.sync(requests(1, 2))
    mirror.sync([request(1, phone_number="15550100199", status=5), request(2)])
    assert mirror.rows(form) == [("15550100199", "+15550100199")]
    mirror.sync([request(1, phone_number=5, status="approved"), request(2)])
    assert mirror.rows(form) == [("15550100199", "+15550100199")]

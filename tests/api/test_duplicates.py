"""Entries with the same id, and what tells invalid entries apart."""

from __future__ import annotations

import json

import pytest

from mirror.api.records import InvalidRecord, Record, decode_entries
from tests.support.api_payloads import (
    LONE,
    alone,
    decoded,
    entry,
    entry_with,
    entry_without,
    invalid,
    scan_of,
    valid,
)
from tests.support.upstream import request

# The same id twice


@pytest.mark.parametrize(
    "other",
    [
        entry(),
        json.dumps(dict(reversed(request().items())), indent=2).encode(),
        entry(requested_at="2024-01-10T11:30:00.000-03:00"),
        entry(resolved_at=None),
        entry_with("reason", rb'"Number is no longer in \u0075se"'),
    ],
    ids=["same-bytes", "other-order", "other-zone", "null-for-absent", "other-escapes"],
)
def test_equal_entries_count_once(other: bytes) -> None:
    """Entries of the same content in other bytes are one request."""
    assert decoded(entry(), other, entry()) == [valid(entry())]


def test_contradicting_entries_are_all_rejected() -> None:
    """Of contradicting entries none is valid, and other requests are not affected."""
    raws = [entry(), entry(status="approved"), entry()]
    other, *records = decoded(raws[0], entry(id="b"), *raws[1:])
    assert isinstance(other, Record)
    for raw, record in zip(raws, records, strict=True):
        assert isinstance(record, InvalidRecord)
        assert (record.id, record.raw) == ("request-1", raw.decode())
        assert "3 contradicting entries" in record.error


def test_a_valid_and_an_invalid_entry_contradict_each_other() -> None:
    """Both are rejected, each for its own reason."""
    good, bad = decoded(entry(), entry(status=5))
    assert isinstance(good, InvalidRecord)
    assert isinstance(bad, InvalidRecord)
    assert "2 contradicting entries" in good.error
    assert bad.error == "`status` is not a string"
    assert good.fingerprint != bad.fingerprint


def test_equal_invalid_entries_count_once() -> None:
    """Of equal entries with the same id only one is kept, also if they are invalid."""
    assert decoded(entry(status=5), entry(status=5)) == [invalid(entry(status=5))]


def test_contradictions_in_unknown_fields_keep_both_entries() -> None:
    """Entries that differ only in an unknown field are two, with a fingerprint each."""
    records = decoded(entry(score=1), entry(score=2))
    fingerprints = {one.fingerprint for one in records if isinstance(one, InvalidRecord)}
    assert len(fingerprints) == 2


# The fingerprint


@pytest.mark.parametrize(
    "other",
    [
        entry(status=5, carrier={"name": "Example"}, score=1),
        json.dumps(dict(reversed(request(status=5).items()))).encode(),
    ],
    ids=["added-fields", "other-order"],
)
def test_the_fingerprint_is_of_the_known_fields(other: bytes) -> None:
    """Neither a field that upstream adds nor another order makes another invalid record."""
    plain, changed = invalid(entry(status=5)), invalid(other)
    assert (changed.fingerprint, len(plain.fingerprint)) == (plain.fingerprint, 64)
    assert changed.raw != plain.raw


@pytest.mark.parametrize("change", [{"id": "b"}, {"reason": "x"}, {"status": 6}], ids=str)
def test_the_fingerprint_tells_known_fields_apart(change: dict[str, object]) -> None:
    """Entries that differ in a known field are different invalid records."""
    changed = invalid(entry(**{"status": 5} | change))
    assert changed.fingerprint != invalid(entry(status=5)).fingerprint


def test_the_fingerprint_is_of_the_whole_entry_if_no_field_is_known() -> None:
    """Entries without any known field are told apart by all they contain."""
    raws = (b'{"a":1}', b'{"a":2}', b"{}", b'"a"', b"5")
    assert len({invalid(raw).fingerprint for raw in raws}) == len(raws)


def test_the_fingerprint_does_not_depend_on_the_rest_of_the_list() -> None:
    """A lone surrogate in one entry does not change the fingerprint of another."""
    bad = entry(status=5, reason="\0")
    beside, other = decoded(bad, entry_with("reason", b'"%s"' % LONE).replace(b"st-1", b"st-2"))
    assert isinstance(other, Record)
    assert isinstance(beside, InvalidRecord)
    assert beside.fingerprint == invalid(bad).fingerprint


# The index of ids


LONGEST = "x" * 255
INDEXED: dict[str, tuple[list[bytes], int, int]] = {
    "nothing": ([], 0, 0),
    "distinct": ([entry(id="a"), entry(id="b")], 2, 0),
    "repeated": ([entry(id="a"), entry(id="b"), entry(id="a"), entry(id="a")], 2, 2),
    "invalid-repeated": ([entry(id="a"), entry(id="a", status=5)], 1, 1),
    "without-id": ([b'"x"', b'"x"', b"5", entry(id=""), entry(id=""), entry(id=5)], 6, 0),
    "too-long": ([entry(id=LONGEST + "x")] * 2, 2, 0),
    "longest": ([entry(id=LONGEST)] * 2, 1, 1),
    "nul": ([entry(id="a\0"), entry(id="a\ufffd")], 1, 1),
    "escapes": ([entry(id="é"), entry_with("id", '"é"'.encode())], 1, 1),
    "case": ([entry(id="A"), entry(id="a"), entry(id="a ")], 3, 0),
    "not-utf-8": ([entry(id="a"), *[entry_with("id", b'"\xff"')] * 2], 3, 0),
}


@pytest.mark.parametrize(("raws", "distinct", "repetitions"), INDEXED.values(), ids=INDEXED)
def test_ids_are_counted(raws: list[bytes], distinct: int, repetitions: int) -> None:
    """Each id counts once, and each entry without a usable id counts, added at once or in steps."""
    for scan in (scan_of(raws), scan_of(*([raw] for raw in raws))):
        assert (scan.count, scan.count - scan.repetitions) == (len(raws), distinct)
        assert scan.repetitions == repetitions


# Batches


def test_an_unusual_entry_does_not_affect_its_neighbours() -> None:
    """Entries are decoded many at a time, each with the same result as alone."""
    unusual = [
        entry_without("status"),
        entry_with("id", b'"\xff"'),
        entry_with("reason", rb'"a\u0000b"'),
        entry_with("requested_at", b'"0001-01-01T00:00:00+14:00"'),
        entry_with("extra", b"[" * 900 + b"]" * 900),
        entry(id="with more", score=1),
        b"5",
    ]
    raws = [entry(id=f"request-{number}") for number in range(2_500)]
    for place, raw in enumerate(unusual):
        raws.insert(place * 333, raw)
    expected = [alone(raw) for raw in raws]
    assert list(decode_entries(b",".join(raws))) == expected
    assert sum(isinstance(record, InvalidRecord) for record in expected) == 4


def test_duplicates_are_merged_across_batches() -> None:
    """Equal entries count once and contradicting ones are all invalid, also if far apart."""
    raws = [entry(id=f"request-{number}") for number in range(2_500)]
    raws += [entry(id="request-0"), entry(id="request-1", status="approved")]
    ids = [record.id for record in decoded(*raws) if isinstance(record, Record)]
    assert len(ids) == 2_499
    assert set(ids) == {f"request-{number}" for number in range(2_500)} - {"request-1"}

"""The scan of a list: its blocks, its ids, and which entries the mirror knows already."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.api import entries
from mirror.api.entries import digests_of, split
from mirror.api.records import Record
from tests.support.api_payloads import (
    JSON_VALUES,
    entries_of,
    entry,
    records_of,
    scan_of,
    unknown_entries,
)
from tests.support.commands import run_python

A, B, C = (entry(id=name) for name in "abc")


def known(*raws: bytes) -> list[tuple[str, int]]:
    """Ids and digests of a mirror that has read some entries."""
    return [
        (json.loads(raw)["id"], digest) for raw, digest in zip(raws, digests_of(raws), strict=True)
    ]


# Blocks


@given(
    st.lists(JSON_VALUES | st.just({"text": "},{", "list": [{"a": 1}, {"a": "},{"}]})),
    st.sampled_from([(",", ":"), (" ,\n ", " : "), (",\t", ":")]),
    st.sampled_from([None, 1]),
    st.integers(1, 60),
)
def test_blocks_are_cut_between_entries(
    values: list[object], separators: tuple[str, str], indent: int | None, size: int
) -> None:
    """An array is cut between its values only, wherever blocks end and however it is written."""
    data = json.dumps(values, separators=separators, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entries, "_BLOCK", size)
        assert entries_of(data) == list(
            map(bytes, msgspec.json.decode(data, type=list[msgspec.Raw]))
        )


def test_blocks_are_small() -> None:
    """A long list is never cut into its entries as a whole, even if texts look like boundaries."""
    raws = [
        entry(id=str(number), reason='},{"},{' * 50, legs=[{"a": 1}, {"a": 2}] * 2)
        for number in range(8_000)
    ]
    sizes = [len(text) for text, _ in split(b"[%b]" % b",".join(raws))]
    assert len(sizes) > 3
    assert max(sizes) < 4 * entries._BLOCK


# Known entries


def test_known_entries_are_dropped() -> None:
    """An entry whose digest the mirror has is dropped, a changed or new one is kept."""
    changed = entry(id="b", status="approved")
    scan = scan_of([A, changed], [C], known=known(A, B))
    assert unknown_entries(scan) == [changed, C]
    assert (scan.known, scan.count, scan.unknown) == (2, 3, 2)
    assert scan.unmatched_ids(known(A, B)) == {"b"}
    scan.match(known(B))
    assert scan.unmatched == 0


def test_a_missing_request_stays_unmatched() -> None:
    """A request that the list lacks is found by what the mirror has of it."""
    scan = scan_of([C, A], known=known(A, B, C))
    assert records_of(scan) == []
    assert scan.unmatched_ids(known(A, B, C)) == {"b"}


@pytest.mark.parametrize("wrong", ["none", "other", "swapped", "same"])
def test_wrong_digests_hide_nothing(wrong: str) -> None:
    """With any other digest than its own an entry is compared; that of another request is other."""
    (a, first), (b, second) = known(A, B)
    digests: dict[str, list[tuple[str, int | None]]] = {
        "none": [(a, None), (b, None)],
        "other": [(a, 1), (b, -1)],
        "swapped": [(a, second), (b, first)],
        "same": [(a, second), (b, second + 1)],
    }
    scan = scan_of([A, B], known=digests[wrong])
    assert unknown_entries(scan) == [A, B]
    assert scan.unmatched_ids(digests[wrong]) == {"a", "b"}


@pytest.mark.parametrize("pages", [[[A, B, A]], [[A, A, B]], [[A, B], [A]]])
def test_a_known_entry_that_occurs_twice(pages: list[list[bytes]]) -> None:
    """Equal entries count once, also if they are known."""
    scan = scan_of(*pages, known=known(A, B))
    assert (scan.count, scan.distinct_ids, scan.repetitions) == (3, 2, 1)
    if len(pages) == 1:
        assert [record.id for record in records_of(scan)] == ["a"]


def test_a_known_entry_is_contradicted() -> None:
    """If another entry with its id differs, a known entry is as invalid as the other one."""
    scan = scan_of([A, B, entry(id="a", status="approved")], known=known(A, B))
    contradicting = records_of(scan)
    assert [record.id for record in contradicting] == ["a", "a"]
    assert not any(isinstance(record, Record) for record in contradicting)


def test_digests_belong_to_a_version() -> None:
    """The digest of an entry is signed, has 64 bits, and another version has another one."""
    (digest,) = digests_of([A])
    assert -(1 << 63) <= digest < 1 << 63
    code = (
        "import sys, mirror.version\n"
        "mirror.version.__version__ += sys.argv[1]\n"
        "from mirror.api.entries import digests_of\n"
        "print(*digests_of([sys.argv[2].encode()]))"
    )
    same, other = (run_python("-c", code, text, A.decode()) for text in ("", ".1"))
    assert (same.code, other.code, int(same.out)) == (0, 0, digest)
    assert int(other.out) != digest


def test_entries_are_decoded_in_the_order_of_ids() -> None:
    """Those without an id come first, and each keeps its digest."""
    raws = [C, b"5", A, B]
    decoded = [pair for batch in scan_of(raws).decode(in_order=True) for pair in batch]
    assert [record.id for record, _ in decoded] == [None, "a", "b", "c"]
    assert [digest for _, digest in decoded] == [*digests_of([b"5", A, B, C])]

"""On 100,000 requests no question reads a whole table, in whatever way the planners plan then."""

from __future__ import annotations

from collections.abc import Callable

from tests.db.test_plans import expect_indexes


def test_no_question_reads_a_large_table(
    database_url: str, record_property: Callable[[str, object], None]
) -> None:
    """The plan of each question goes by indexes, and is put on record."""
    expect_indexes(database_url, 100_000, record_property)

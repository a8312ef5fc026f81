"""With 100,000 requests no common query reads a whole table."""

from __future__ import annotations

from collections.abc import Callable

from tests.db.test_plans import expect_indexes


def test_no_query_reads_a_large_table(
    database_url: str, record_property: Callable[[str, object], None]
) -> None:
    """Each query uses indexes; its plan is recorded."""
    expect_indexes(database_url, 100_000, record_property)

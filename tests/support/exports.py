"""Mirrors to export, and exports to read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import sqlalchemy as sa

from mirror.export.run import RELATIONS
from tests.support.commands import Ran, run_mirror
from tests.support.mirrors import Mirror
from tests.support.rows import in_order, rows_of
from tests.support.upstream import request

NAMES = ("prod", "007", "2024-01-01", "a b", "ü/%=é", "x+y,z", "'q\"", "{a}[b]^*?", "%2F", "日本")
"""Environments. Readers could take some for numbers or dates; others are escaped in paths."""

TEXTS = ('a "b"\n,c\r\n', "", "NULL", "\\N", " ", "'", '"', "t", "漢字 🙂")
"""Texts that mean something in CSV."""


def fill(mirror: Mirror, *names: str) -> None:
    """Sync environments, each with requests, past versions, changes and quarantine."""
    for number, name in enumerate(names):
        own = range(100 * number, 100 * number + len(TEXTS))
        entries = [request(one, reason=text) for one, text in zip(own, TEXTS, strict=True)]
        entries += [
            request(
                own[0] + 50, surprise={"a": [1, None, "é"]}, requested_at="2023-12-31T23:59:59.9Z"
            ),
            request(own[0] + 51, requested_at="9999-12-31T23:59:59.999Z"),
            request(own[0] + 52, phone_number=f"1555000{number:04d}"),
            request(own[0] + 53, requested_at="yesterday"),
        ]
        mirror.sync(entries, environment=name)
        resolved = {"status": "approved", "resolved_at": "2024-01-11T09:00:00.001Z"}
        entries[0] |= resolved
        mirror.sync(entries[:-2], environment=name, accept_missing=True)


def export(mirror: Mirror, folder: Path, *options: str) -> Ran:
    """Run the command."""
    return run_mirror("export", str(folder), "--database", mirror.url, *options)


def read(folder: Path, table: str) -> pa.Table:
    """Read a table or view of an export."""
    partition = pa.dataset.partitioning(pa.schema([("environment", pa.string())]), flavor="hive")
    return pa.dataset.dataset(folder / table, partitioning=partition).to_table()


def expected(mirror: Mirror, table: sa.Table) -> list[dict[str, Any]]:
    """The rows of a table or view, by SQL."""
    return in_order(rows_of(mirror, table))


def normalized(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of an export as `expected` has them: times in UTC, JSON decoded, names apart."""
    return in_order([{name: _value(name, value) for name, value in row.items()} for row in rows])


def _value(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if name == "changed_fields":
        return tuple(value.split(",")) if value else ()
    return json.loads(value) if name == "extra" and value is not None else value


def assert_is(folder: Path, mirror: Mirror) -> None:
    """An export holds all rows of the mirror."""
    for table in RELATIONS:
        assert normalized(read(folder, table.name).to_pylist()) == expected(mirror, table)


def generations(folder: Path) -> list[str]:
    """The folders of exports, without the links to them."""
    return sorted(path.name for path in folder.glob(".export-*"))


def count(folder: Path) -> int:
    """The number of requests in an export."""
    return len(read(folder, "release_requests"))

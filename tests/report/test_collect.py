"""What the report reads, and how."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from mirror.queries import helpers
from mirror.report import collect
from mirror.report.statistics import Statistics
from tests.support.databases import DATABASES
from tests.support.reports import default_period, sync_hourly
from tests.support.upstream import request


@pytest.mark.calendar
@pytest.mark.parametrize("kind", DATABASES)
def test_one_snapshot_over_one_connection(
    make_ready_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A report opens one connection, and does not see a sync that completes meanwhile."""
    url, now = make_ready_database(kind), datetime.now(UTC)
    requested_at = (now - timedelta(days=2)).isoformat()
    before = [request(number, requested_at=requested_at) for number in (1, 2)]
    after = [before[0] | {"status": "rejected"}, request(3, requested_at=requested_at)]
    connect, hours_by_day, connections = helpers.connect, Statistics.hours_by_day, []

    def counted(database_url: str) -> AbstractContextManager[Connection]:
        connections.append(database_url)
        return connect(database_url)

    def overtaken(*arguments: Any, **options: Any) -> Any:
        sync_hourly(url, after)
        return hours_by_day(*arguments, **options)

    sync_hourly(url, before)
    expected = collect.collect(url, default_period(now), now=now)
    assert (expected.figures.open, expected.figures.counts.requested) == (2, 2)
    monkeypatch.setattr(helpers, "connect", counted)
    monkeypatch.setattr(Statistics, "hours_by_day", overtaken)
    assert collect.collect(url, default_period(now), now=now) == expected
    assert connections == [url]
    monkeypatch.undo()
    assert collect.collect(url, default_period(now), now=now).figures.missing == 1
